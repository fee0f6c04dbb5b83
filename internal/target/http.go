package target

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// NewHTTPClient returns a client with room for many idle connections to few hosts: the default keeps two a host and
// opens a new one for most calls under load.
func NewHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		MaxIdleConnsPerHost:    2048,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // answers are read strictly bounded, and never from a small bomb
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

var ownHeaders = []string{"Accept"}

type httpDialer struct{}

func newHTTPDialer(*Target) dialer                           { return httpDialer{} }
func (httpDialer) dial(context.Context, *Conn) (link, error) { return nil, errors.New("later") }
func (httpDialer) close()                                    {}

func newCommandDialer(*Target) dialer { return httpDialer{} }

type demoDialer struct{ t *Target }

func (demoDialer) dial(context.Context, *Conn) (link, error) { return nil, errors.New("later") }
func (demoDialer) close()                                    {}
