package httpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// counting is a listener that counts what is written to its connections, and how often.
type counting struct {
	net.Listener
	narrow bool          // the system takes little from the server at once
	large  chan struct{} // told about each large write before it begins
	writes atomic.Int64
}

type countingConn struct {
	net.Conn
	of *counting
}

func (c *counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok && c.narrow {
		_ = tcp.SetWriteBuffer(4 << 10)
	}
	return &countingConn{conn, c}, err
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.of.writes.Add(1)
	if len(p) > 20<<10 {
		select {
		case c.of.large <- struct{}{}:
		default:
		}
	}
	return c.Conn.Write(p)
}

// overTLS serves with a certificate that the returned configuration trusts.
func overTLS(t *testing.T, narrow bool, handler http.HandlerFunc) (l *counting, s *Server, client *tls.Config) {
	t.Helper()
	known := httptest.NewUnstartedServer(nil)
	known.StartTLS()
	known.Close()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = &counting{Listener: inner, narrow: narrow, large: make(chan struct{}, 1)}
	s, err = New(Options{Handler: handler, Log: slog.New(slog.DiscardHandler), TLS: &tls.Config{Certificates: known.TLS.Certificates}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.mu.Lock()
		s.stopping.Store(true)
		s.mu.Unlock()
		l.Close()
		_ = s.Close()
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
		s.serving.Wait()
	})
	return l, s, known.Client().Transport.(*http.Transport).TLSClientConfig
}

// parts is what response.WriteParts is called through.
type parts interface {
	WriteParts(parts ...[]byte) (int, error)
}

func TestLargeAnswersOverTLSLeaveAtOnce(t *testing.T) {
	t.Parallel()
	first, second := bytes.Repeat([]byte("a"), 70<<10), bytes.Repeat([]byte("b"), 300<<10)
	l, _, config := overTLS(t, false, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		body := [][]byte{first}
		if r.URL.Path == "/larger" {
			body = append(body, second)
		}
		if _, err := w.(parts).WriteParts(body...); err != nil {
			t.Error(err)
		}
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	before := int64(0)
	for n, path := range []string{"/", "/", "/larger", "/"} { // TLS begins with small records
		resp, err := client.Get("https://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		want, most := first, int64(1)
		if path == "/larger" {
			want, most = append(bytes.Clone(first), second...), 4
		}
		if err != nil || !bytes.Equal(body, want) {
			t.Errorf("%d: %d bytes of %d, %v", n, len(body), len(want), err)
		}
		if now := l.writes.Load(); n > 0 && now-before > most {
			t.Errorf("%d: %d writes for %d bytes, want %d at most", n, now-before, len(want), most)
		}
		before = l.writes.Load()
	}
}

func TestCutWhileClientDoesNotRead(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("x"), 100<<10) // more than the system takes here, and held as a whole
	ended := make(chan error, 1)
	l, s, config := overTLS(t, true, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, err := w.(parts).WriteParts(large)
		ended <- err
	})
	config = config.Clone()
	config.ServerName = "example.com"
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := raw.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, config)
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-l.large
	before := time.Now()
	_ = s.Close()
	if took := time.Since(before); took > 3*time.Second {
		t.Errorf("to cut a connection whose client does not read took %s", took)
	}
	if err := <-ended; err == nil {
		t.Error("the answer that was cut has been written")
	}
}
