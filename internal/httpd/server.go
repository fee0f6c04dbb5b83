// Package httpd is a server for HTTP/1.1 (RFC 9110, RFC 9112). It calls an http.Handler, with the types of net/http, for
// each request; a connection whose client chooses HTTP/2 in the TLS handshake goes to another server. It owns reading and
// writing on the wire, the time that each part of that may take, and the list of open connections. It knows nothing of what
// is served.
//
// It takes the place of net/http's server because every request passes it: a small request costs a third of the CPU time,
// and an idle stream a quarter of the memory. It is stricter than net/http: lines must end with CR LF, the length of a body
// may be given in one way only, and header lines may not be folded. What it accepts, net/http reads the same way
// (FuzzRequest).
//
// Where to look: server.go accepts connections and stops, conn.go is the loop of one connection, parse.go and lines.go read
// the head of a request, body.go its body, response.go writes the answer.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Options describe a server. Only Handler and Log are required. To save system calls, a deadline that was set before is kept
// while at least seven eighths of it are left, so IdleTimeout and StallTimeout may end up to an eighth early.
type Options struct {
	Handler       http.Handler
	Log           *slog.Logger
	Context       context.Context // of requests, with what they all carry; nil means context.Background
	TLS           *tls.Config     // nil means no TLS
	HTTP2         func(*tls.Conn) // takes a connection whose client chose HTTP/2; nil means that none is offered
	HeaderTimeout time.Duration   // how long a request's head may take from its first byte, that of a connection's first request, and a TLS handshake; 0 means 5 s
	IdleTimeout   time.Duration   // how long a connection may rest between requests; 0 means 2 min
	StallTimeout  time.Duration   // how long one write may wait for a client that does not read; 0 means 30 s
	MaxHeader     int             // bytes of a request's head; 0 means 32 KiB
}

// Server serves connections. Serve may be called once. Each connection has a goroutine of its own, which Shutdown waits for;
// one more goroutine, watch, runs from Serve until Shutdown or Close.
type Server struct {
	o       Options
	date    atomic.Pointer[date]
	spare   sync.Pool      // see gather
	serving sync.WaitGroup // the goroutines of connections

	watching sync.WaitGroup // the goroutine of watch
	quit     chan struct{}  // closed to end watch
	quitting sync.Once      // closes quit

	stopping atomic.Bool // set under mu
	mu       sync.Mutex  // guards what follows
	conns    map[*conn]struct{}
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = http.ErrServerClosed

// New checks the options. It starts nothing.
func New(o Options) (*Server, error) {
	if o.Handler == nil || o.Log == nil {
		return nil, errors.New("HTTP server: handler and log are required")
	}
	orDuration := func(d *time.Duration, otherwise time.Duration) {
		if *d == 0 {
			*d = otherwise
		}
	}
	orDuration(&o.HeaderTimeout, 5*time.Second)
	orDuration(&o.IdleTimeout, 2*time.Minute)
	orDuration(&o.StallTimeout, 30*time.Second)
	if o.MaxHeader == 0 {
		o.MaxHeader = 32 << 10
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		o.TLS.NextProtos = []string{"http/1.1"}
		if o.HTTP2 != nil {
			o.TLS.NextProtos = []string{"h2", "http/1.1"}
		}
	}
	return &Server{o: o, conns: make(map[*conn]struct{}), quit: make(chan struct{})}, nil
}

// Serve accepts connections until the listener is closed, and returns why it accepts no more. Requests go on; Shutdown
// waits for them.
func (s *Server) Serve(l net.Listener) error {
	s.watching.Go(s.watch)
	for wait := time.Duration(0); ; {
		nc, err := l.Accept()
		if err != nil {
			if s.stopping.Load() {
				return ErrServerClosed
			}
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || isTemporary(err) {
				wait = min(max(2*wait, 5*time.Millisecond), time.Second)
				s.o.Log.Warn("connection not accepted", "error", err, "retry_in", wait.String())
				time.Sleep(wait)
				continue
			}
			return err
		}
		wait = 0
		s.start(nc)
	}
}

// isTemporary reports whether accepting may work again, such as when files run out.
func isTemporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

func (s *Server) start(nc net.Conn) {
	c := &conn{s: s, nc: nc}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping.Load() {
		_ = nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.serving.Go(func() {
		defer s.forget(c)
		c.serve()
	})
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// watchEvery is how soon a client that vanishes while its request is under way is noticed, at the latest twice that.
const watchEvery = 100 * time.Millisecond

// watch looks, every watchEvery, for connections whose request takes long, and has each of them notice when its client goes
// away (conn.tick). Doing that for every request from its beginning would cost more than most requests do. It runs until
// stopWatching.
func (s *Server) watch() {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.quit:
			return
		}
		s.each((*conn).tick)
	}
}

// each calls f for every open connection. It holds s.mu meanwhile.
func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// Shutdown closes connections that rest, waits for the requests that are under way, and returns ctx's error when that
// takes longer than ctx. The caller has closed the listener.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop((*conn).closeIfIdle)
	done := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(done)
	}()
	select {
	case <-done:
		s.stopWatching()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts every connection and cancels its request. It does not wait for handlers that go on all the same. The caller
// has closed the listener.
func (s *Server) Close() error {
	s.stop((*conn).cut)
	s.stopWatching()
	return nil
}

// stop refuses new connections from now on, and calls end for those that are open.
func (s *Server) stop(end func(*conn)) {
	s.mu.Lock()
	s.stopping.Store(true)
	s.mu.Unlock()
	s.each(end)
}

func (s *Server) stopWatching() {
	s.quitting.Do(func() { close(s.quit) })
	s.watching.Wait()
}

// date is the text of the Date header, which changes once a second.
type date struct {
	second int64
	text   string
}

func (s *Server) appendDate(dst []byte, now time.Time) []byte {
	d := s.date.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
		s.date.Store(d)
	}
	return append(dst, d.text...)
}

// handshake does the TLS handshake, if the server has TLS. It reports false when there is nothing left to serve here: the
// handshake failed, or the client chose HTTP/2 and the connection went to the server for that.
func (c *conn) handshake() bool {
	if c.s.o.TLS == nil {
		return true
	}
	below := &gather{Conn: c.nc, spare: &c.s.spare}
	secure := tls.Server(below, c.s.o.TLS)
	ctx, cancel := context.WithTimeout(context.Background(), c.s.o.HeaderTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.s.o.Log.Debug("TLS handshake failed", "client", c.nc.RemoteAddr().String(), "error", err)
		_ = c.nc.Close()
		return false
	}
	state := secure.ConnectionState()
	if state.NegotiatedProtocol == "h2" && c.s.o.HTTP2 != nil {
		c.s.o.HTTP2(secure)
		return false
	}
	c.mu.Lock() // a server that stops may look at it
	c.nc, c.tls, c.gather = secure, &state, below
	c.mu.Unlock()
	return true
}

func (c *conn) panicked(p any, stack []byte) {
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return
	}
	c.s.o.Log.Error("handler panicked", "panic", fmt.Sprint(p), "stack", string(stack))
}
