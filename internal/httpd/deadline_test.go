package httpd

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener of connections in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return nil }

// servePipes runs a server inside a synctest bubble, and returns what connects to it and what stops it.
func servePipes(t *testing.T, o Options) (dial func() (net.Conn, *bufio.Reader), stop func()) {
	o.Log = slog.New(slog.DiscardHandler)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, served := make(pipes), make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	dial = func() (net.Conn, *bufio.Reader) {
		here, there := net.Pipe()
		l <- there
		return here, bufio.NewReader(here)
	}
	return dial, func() {
		close(l)
		<-served
		_ = s.Close()
		synctest.Wait()
	}
}

func answered(t *testing.T, in *bufio.Reader) {
	t.Helper()
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// A deadline is not set for each request anew. Whatever came before, a connection that rests ends in time.
func TestConnectionsRestForAWhile(t *testing.T) {
	const idle = time.Minute
	get, half := "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nh"
	for name, before := range map[string]func(c net.Conn, in *bufio.Reader){
		"one request": func(c net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(c, get)
			answered(t, in)
		},
		"many": func(c net.Conn, in *bufio.Reader) {
			for range 1000 {
				time.Sleep(200 * time.Millisecond)
				_, _ = io.WriteString(c, get)
				answered(t, in)
			}
		},
		"a body that came late": func(c net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(c, half)
			time.Sleep(time.Second)
			_, _ = io.WriteString(c, "i")
			answered(t, in)
		},
		"a body that its handler left": func(c net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(c, "PUT"+half[4:])
			answered(t, in)
			_, _ = io.WriteString(c, "i")
		},
		"a head in two parts": func(c net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(c, get+get[:9])
			answered(t, in)
			_, _ = io.WriteString(c, get[9:])
			answered(t, in)
		},
		"a request that is watched": func(c net.Conn, in *bufio.Reader) {
			_, _ = io.WriteString(c, "GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
			answered(t, in)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial, stop := servePipes(t, Options{IdleTimeout: idle, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case r.URL.Path == "/long":
						time.Sleep(5 * watchEvery)
					case r.Method == http.MethodPost:
						_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
						_, _ = io.Copy(io.Discard, r.Body)
						_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
					}
				})})
				defer stop()
				c, in := dial()
				defer c.Close()
				_, _ = io.WriteString(c, get)
				answered(t, in)
				before(c, in)
				synctest.Wait()
				rests := time.Now()
				if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				if took := time.Since(rests); took > idle || took < idle-idle/8 {
					t.Errorf("it rested for %s", took)
				}
			})
		})
	}
}

// A connection that has sent a request rests for no longer because others may take long for their first.
func TestRestIsNotThatOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Second
		dial, stop := servePipes(t, Options{HeaderTimeout: time.Minute, IdleTimeout: idle, Handler: http.NotFoundHandler()})
		defer stop()
		c, in := dial()
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		answered(t, in)
		rests := time.Now()
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if took := time.Since(rests); took > idle {
			t.Errorf("it rested for %s", took)
		}
	})
}

// Whatever was written before, a client that does not read is cut off in time.
func TestStalledWritesEnd(t *testing.T) {
	const stall = time.Minute
	for _, before := range []int{0, 1, 1000} {
		synctest.Test(t, func(t *testing.T) {
			dial, stop := servePipes(t, Options{StallTimeout: stall, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "x")
			})})
			defer stop()
			c, in := dial()
			defer c.Close()
			for range before {
				_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				answered(t, in)
				time.Sleep(100 * time.Millisecond)
			}
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			began := time.Now()
			for err := error(nil); err == nil; { // a pipe takes nothing that is not read
				_, err = io.WriteString(c, "x")
			}
			if took := time.Since(began); took > stall || took < stall-stall/8 {
				t.Errorf("after %d requests it was cut off after %s", before, took)
			}
		})
	}
}
