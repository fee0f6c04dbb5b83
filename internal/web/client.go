package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// ClientOptions tune a guarded client; the zero value is right for most.
type ClientOptions struct {
	Timeout  time.Duration  // for the whole exchange; 0 means 5 s behind FencePublic, 10 s behind FenceAdmin
	RootCAs  *x509.CertPool // nil means the system's
	Resolver *net.Resolver  // nil means the system's
	Dialed   func()         // told of each connection that was opened; may be nil
}

const (
	dialTimeout       = 5 * time.Second
	maxResponseHeader = 64 << 10
	maxRedirects      = 5
	resumable         = 256 // servers whose TLS session a new connection resumes; Go checks their certificate again all the same
)

// NewClient returns a client for short requests that stays behind the fence.
//
// FencePublic speaks https only, refuses redirects and ignores proxy settings. FenceAdmin follows redirects within one
// origin, and uses the proxy that the environment names (HTTPS_PROXY and its kin); the fence then holds for the
// proxy's address and for address literals, while the proxy resolves names. Bodies are the caller's to bound: see
// ReadAll. Nothing is decompressed.
func NewClient(fence Fence, o ClientOptions) *http.Client {
	t := newTransport(fence, o)
	t.ResponseHeaderTimeout = 10 * time.Second
	c := &http.Client{Transport: &guard{fence, t}, CheckRedirect: fence.checkRedirect, Timeout: o.Timeout}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
		if fence == FencePublic {
			c.Timeout = 5 * time.Second
		}
	}
	return c
}

// NewTargetClient returns a client for traffic to targets, behind FenceAdmin. It has no overall timeout, since answers
// stream and tools take their time: the caller's context bounds each call. Its pool keeps a connection for every call
// that runs at once.
func NewTargetClient(o ClientOptions) *http.Client {
	t := newTransport(FenceAdmin, o)
	t.MaxIdleConns = 0 // no limit over all targets
	t.MaxIdleConnsPerHost = maxIdle
	t.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(resumable)
	return &http.Client{Transport: newWire(FenceAdmin, t), CheckRedirect: FenceAdmin.checkRedirect, Timeout: o.Timeout}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dial tells of each connection that a dialer opens.
func (o ClientOptions) dial(dial dialFunc) dialFunc {
	if o.Dialed == nil {
		return dial
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err == nil {
			o.Dialed()
		}
		return c, err
	}
}

func newTransport(fence Fence, o ClientOptions) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Resolver: o.Resolver, Control: fence.control}
	t := &http.Transport{
		DialContext:            o.dial(dialer.DialContext),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		TLSHandshakeTimeout:    dialTimeout,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    8,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		ExpectContinueTimeout:  2 * time.Second, // for requests that say Expect: 100-continue
	}
	if fence == FenceAdmin {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// checkRedirect is the CheckRedirect hook of http.Client.
func (f Fence) checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case f != FenceAdmin:
		return fmt.Errorf("%w: redirects are not followed", ErrFenced)
	case req.URL.Scheme != first.Scheme || req.URL.Host != first.Host:
		return fmt.Errorf("%w: redirect from %s to %s leaves the origin", ErrFenced, first.Host, req.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}

// guard checks what can be told from the URL alone, before a proxy or a pooled connection is used.
type guard struct {
	fence Fence
	next  *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := g.fence.checkURL(req); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	return g.next.RoundTrip(req)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the pool.
func (g *guard) CloseIdleConnections() { g.next.CloseIdleConnections() }

func (f Fence) checkURL(req *http.Request) error {
	if f == FencePublic && req.URL.Scheme != "https" {
		return fmt.Errorf("%w: scheme %q, only https", ErrFenced, req.URL.Scheme)
	}
	if addr, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		return f.check(addr)
	}
	return nil
}

// ErrBodyTooLarge means that ReadAll met its limit.
var ErrBodyTooLarge = errors.New("body is too large")

// ReadAll reads a body of at most max bytes; a longer one is ErrBodyTooLarge.
func ReadAll(body io.Reader, max int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, max+1))
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%w: over %d bytes", ErrBodyTooLarge, max)
	}
	return b, nil
}
