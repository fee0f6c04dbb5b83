package testkit

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Internet leads public names to servers of a test, over TLS, so that fakes can have the addresses of what they stand
// for. Nothing leaves the machine.
type Internet struct {
	*CA
	mu    sync.Mutex // guards hosts
	hosts map[string]string
}

// NewInternet returns one without any servers.
func NewInternet(t testing.TB) *Internet {
	return &Internet{CA: NewCA(t), hosts: map[string]string{}}
}

// Serve answers https://host until the test ends.
func (n *Internet) Serve(t testing.TB, host string, h http.Handler) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{n.Issue(t, host)}}
	s.StartTLS()
	t.Cleanup(s.Close)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = s.Listener.Addr().String()
}

// Client reaches these servers and nobody else, except on this machine.
func (n *Internet) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: n.Pool(), MinVersion: tls.VersionTLS12}, DisableCompression: true, ExpectContinueTimeout: 2 * time.Second,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			n.mu.Lock()
			to, ok := n.hosts[host]
			n.mu.Unlock()
			switch ip := net.ParseIP(host); {
			case ok:
				addr = to
			case host != "localhost" && (ip == nil || !ip.IsLoopback()):
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
}

// Publish gives a provider the origin of its vendor, such as https://acme.okta.com.
func (n *Internet) Publish(t testing.TB, u *UpstreamIDP, origin string) {
	t.Helper()
	at, err := url.Parse(origin)
	if err != nil || at.Scheme != "https" {
		t.Fatal(fmt.Errorf("publish at %q: want https://host, %w", origin, err))
	}
	n.Serve(t, at.Hostname(), u)
	u.mu.Lock()
	u.origin = origin
	u.mu.Unlock()
	u.SetDocument(nil)
}
