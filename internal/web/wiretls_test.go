package web

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// secure returns a server that offers TLS, not started, and a transport that trusts it.
func secure(t *testing.T, h http.Handler, http2 bool) (*httptest.Server, *wire) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := NewTargetClient(ClientOptions{RootCAs: roots})
	t.Cleanup(c.CloseIdleConnections)
	return s, c.Transport.(*wire)
}

// closable is a body that gives nothing once it has been closed.
type closable struct {
	mu     sync.Mutex // guards what follows
	rest   io.Reader
	closed bool
}

func (c *closable) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, errors.New("the body has been closed")
	}
	return c.rest.Read(p)
}

func (c *closable) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// A server for HTTP/2 may begin its answer before it has read the request, and gets the rest of it all the same.
func TestWireHTTP2AnswersEarly(t *testing.T) {
	t.Parallel()
	s, w := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		n, err := io.Copy(io.Discard, r.Body)
		if err == nil && n == r.ContentLength {
			_, _ = io.WriteString(w, "all of it")
		}
	}), true)
	for range 2 { // the first one finds out that the server speaks HTTP/2
		const size = 4 << 20
		body := &closable{rest: strings.NewReader(strings.Repeat("x", size))}
		req := postTo(t, s.URL, "")
		req.Body, req.ContentLength, req.GetBody = body, size, nil
		resp, err := w.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.ProtoMajor != 2 || string(said) != "all of it" || err != nil {
			t.Errorf("%s: %q, %v", resp.Proto, said, err)
		}
	}
}

// corked lets what was written leave at once.
type corked struct {
	net.Conn
	held []byte // nil while writes go through
}

func (c *corked) Write(p []byte) (int, error) {
	if c.held == nil {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// What a server sends behind its answer is never taken for the answer to the next request, wherever it waits.
func TestWireTakesNoLeftoversOverTLS(t *testing.T) {
	t.Parallel()
	s, w := secure(t, nil, false)
	addr := connections(t, func(nc net.Conn) {
		below := &corked{Conn: nc}
		c := tls.Server(below, &tls.Config{Certificates: s.TLS.Certificates})
		defer c.Close()
		for in := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(r.Body)
			below.held = []byte{}
			for _, said := range [][]byte{body, bytes.ToUpper(body)} { // each in a record of its own, both in one packet
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"+string(said))
			}
			both := below.held
			below.held = nil
			_, _ = below.Write(both)
		}
	})
	t.Cleanup(w.CloseIdleConnections)
	for _, who := range []string{"ada", "bob", "eve"} {
		mustTell(t, w, postTo(t, "https://"+addr, who), who)
	}
}

// A connection over TLS on which all is as it should be is used again.
func TestWireKeepsConnectionsOverTLS(t *testing.T) {
	t.Parallel()
	var seen sync.Map
	s, w := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.RemoteAddr, true)
		echoBody(w, r)
	}), false)
	for _, size := range []int{1, 100 << 10, 1} {
		resp, err := w.RoundTrip(postTo(t, s.URL, strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); n != int64(size) || err != nil {
			t.Errorf("%d bytes of %d, %v", n, size, err)
		}
		_ = resp.Body.Close()
	}
	connections := 0
	seen.Range(func(any, any) bool { connections++; return true })
	if connections != 1 {
		t.Errorf("%d connections", connections)
	}
}
