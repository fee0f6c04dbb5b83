package web

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// connections serves each connection to addr with serve, and closes it then.
func connections(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

// mustTell sends a request and wants to be told this.
func mustTell(t *testing.T, w *wire, req *http.Request, want string) {
	t.Helper()
	resp, err := w.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(said) != want || err != nil {
		t.Errorf("%s was told %q, %v", want, said, err)
	}
}

// What comes over a connection that rests makes it useless: another answer, or its end. The request goes over another
// connection, even when its body cannot be read again.
func TestWireTakesNoLeftovers(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(net.Conn){
		"an answer": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad") },
		"its end":   func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			left, asked := make(chan struct{}), make(chan struct{})
			url := "http://" + connections(t, func(c net.Conn) {
				in := bufio.NewReader(c)
				r, err := http.ReadRequest(in)
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(r.Body)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"+string(body))
				<-asked // the answer has been read
				leave(c)
				left <- struct{}{}
				if r, err := http.ReadRequest(in); err == nil {
					t.Errorf("%s was sent over it again", r.Method)
				}
			})
			w := target(t)
			for _, who := range []string{"ada", "bob", "eve"} {
				req := postTo(t, url, "")
				req.Body, req.ContentLength, req.GetBody = io.NopCloser(strings.NewReader(who)), 3, nil
				mustTell(t, w, req, who)
				asked <- struct{}{}
				<-left
			}
			w.CloseIdleConnections()
		})
	}
}

// A server that does not read holds nobody longer than they want to wait.
func TestWireEndsWhileItSends(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	url := "http://" + connections(t, func(c net.Conn) { <-over })
	defer close(over)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := target(t).RoundTrip(postTo(t, url, strings.Repeat("x", 16<<20)).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// An answer that comes while the request is still being sent counts.
func TestWireAnsweredBeforeItIsSent(t *testing.T) {
	t.Parallel()
	const early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nsorry"
	url := "http://" + connections(t, func(c net.Conn) {
		for in := bufio.NewReader(c); ; {
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, early)
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	w := target(t)
	for range 2 {
		resp, err := w.RoundTrip(postTo(t, url, strings.Repeat("x", 16<<20)))
		if err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge || string(said) != "sorry" || err != nil {
			t.Errorf("%d %q, %v", resp.StatusCode, said, err)
		}
	}
}

// A server that says good-bye to a new connection, before the request or after it, lets nobody wait.
func TestWireHeardGoodByeAtOnce(t *testing.T) {
	t.Parallel()
	url := "http://" + connections(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	})
	w := target(t)
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		resp, err := w.RoundTrip(postTo(t, url, "{}").WithContext(ctx))
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil || ctx.Err() != nil {
			t.Fatalf("ended with %v, %v", resp, err)
		}
		cancel()
	}
}
