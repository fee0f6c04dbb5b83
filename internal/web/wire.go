package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/callctx"
	"gatehouse/internal/httpd"
)

// wire is the http.RoundTripper for calls to targets. It speaks HTTP/1.1 over connections that it keeps open. All of it
// happens on the caller's own goroutine, where http.Transport has two more for each connection; that is what makes it
// cheaper. Requests to servers that choose HTTP/2 in the TLS handshake, or that are reached through a proxy, go to an
// http.Transport.
//
// Answers with the same header lines share one http.Header, which must not be changed.
//
// Like http.Transport it sends a request a second time only when the connection had carried another request before, nothing
// of the answer had come, and either nothing of the request had left or the request can be repeated.
type wire struct {
	fence   Fence
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	tls     *tls.Config
	std     http.RoundTripper
	proxied func(*http.Request) bool

	mu     sync.Mutex           // guards what follows
	plain  map[string]*wireHost // of http, by the host in their URL
	secure map[string]*wireHost // of https
}

// wireHost is what is known about one server. The mutex of wire guards it.
type wireHost struct {
	standard bool        // the standard transport does it: HTTP/2, or a proxy
	idle     []*wireConn // connections to use again; the one used last stands at the end
	unused   int         // how many of them, from the front, have stood there since expire looked last
	prune    *time.Timer // has expire look; nil when none is idle
}

// Bounds of the connections that are kept for one server.
const (
	maxIdle    = 2048
	idleExpiry = 45 * time.Second // at least, and twice that at most
)

// wireConn is one connection, used by one exchange at a time. An exchange begins with a read: Read sends the request, if it
// was not sent yet, and then waits for the answer. So both can be one step for raw.swap, which saves a system call.
type wireConn struct {
	net.Conn
	in    *bufio.Reader // reads through Read below
	lines httpd.Lines   // reads the heads of answers
	out   []byte        // the request, head and body
	old   bool          // has carried an exchange before
	amiss atomic.Bool   // see Amiss
	raw   *raw          // the socket; nil when it cannot be had, and then the connection is not used again
	swaps bool          // requests are sent with raw.swap: there is a socket and no TLS

	// Of the request that is on its way.
	unsent []byte // what the next Read sends before it reads; nil once that was tried
	sent   bool   // some of it has left
	cut    error  // why not all of it could be sent
}

// newWire returns a wire with the settings of std, which serves the requests that wire cannot.
func newWire(fence Fence, std *http.Transport) *wire {
	config := std.TLSClientConfig.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	return &wire{
		fence: fence, dial: std.DialContext, tls: config, std: &guard{fence, std},
		plain: make(map[string]*wireHost), secure: make(map[string]*wireHost),
		proxied: func(req *http.Request) bool {
			if std.Proxy == nil {
				return false
			}
			u, err := std.Proxy(req)
			return u != nil || err != nil
		},
	}
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.roundTrip(req)
	if errors.Is(err, errStandard) {
		return w.std.RoundTrip(req) // it closes the body, and may read it after it has returned
	}
	if req.Body != nil {
		_ = req.Body.Close()
	}
	return resp, err
}

// roundTrip sends the request over one connection after another until one of them brings an answer, or a failure after which
// the request may not be sent again.
func (w *wire) roundTrip(req *http.Request) (*http.Response, error) {
	host, err := w.host(req)
	if err != nil {
		return nil, err
	}
	var written []byte // the request, once it has been put together
	for {
		c, err := w.take(req, host)
		if err != nil {
			if written != nil && errors.Is(err, errStandard) {
				if trouble := rewind(req); trouble != nil {
					err = fmt.Errorf("send the request again: %w", trouble)
				}
			}
			return nil, err
		}
		if written != nil {
			c.out = written
		} else if c.out, err = appendHTTP(c.out[:0], req); err != nil {
			_ = c.Close()
			return nil, err
		}
		resp, err := c.exchange(w, host, req)
		if err == nil {
			return resp, nil
		}
		_ = c.Close()
		if ctxErr := req.Context().Err(); ctxErr != nil {
			return nil, ctxErr
		}
		if !c.old || c.sent && !repeatable(req) {
			return nil, err
		}
		written = c.out
	}
}

// repeatable reports whether a request that may have arrived can be sent again without harm (RFC 9110 §9.2.2).
func repeatable(req *http.Request) bool {
	return req.Method == http.MethodGet || req.Method == http.MethodDelete
}

// rewind gives a request whose body has been read a fresh one.
func rewind(req *http.Request) error {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	if req.GetBody == nil {
		return errors.New("the body cannot be read again")
	}
	body, err := req.GetBody()
	if err == nil {
		_ = req.Body.Close()
		req.Body = body
	}
	return err
}

// errStandard means that the standard transport has to send the request.
var errStandard = errors.New("the server has chosen HTTP/2, or is behind a proxy")

// errUseless means that a connection cannot be used, or not any more. Nothing was sent over it.
var errUseless = errors.New("the connection has ended, or something came that was not asked for")

// host returns what is known about the request's server. The first request to a server has its URL checked.
func (w *wire) host(req *http.Request) (*wireHost, error) {
	var hosts map[string]*wireHost
	switch req.URL.Scheme {
	case "http":
		hosts = w.plain
	case "https":
		hosts = w.secure
	}
	w.mu.Lock()
	h := hosts[req.URL.Host]
	w.mu.Unlock()
	if h != nil {
		return h, nil
	}
	if err := w.fence.checkURL(req); err != nil {
		return nil, err
	}
	if hosts == nil || req.URL.Host == "" {
		return nil, fmt.Errorf("send a request to %q: not an http or https URL", req.URL.Redacted())
	}
	h = &wireHost{standard: w.proxied(req)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if known := hosts[req.URL.Host]; known != nil {
		return known, nil
	}
	hosts[req.URL.Host] = h
	return h, nil
}

// take returns an idle connection, or a new one. Whether an idle one is still good is checked here, except for those that
// send with raw.swap, which checks it itself.
func (w *wire) take(req *http.Request, h *wireHost) (*wireConn, error) {
	for {
		w.mu.Lock()
		n, standard := len(h.idle), h.standard
		if n == 0 || standard {
			w.mu.Unlock()
			if standard {
				return nil, errStandard
			}
			return w.connect(req, h)
		}
		c := h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		h.unused = min(h.unused, n-1)
		w.mu.Unlock()
		if !c.amiss.Load() && (c.swaps || c.alive()) {
			return c, nil
		}
		_ = c.Close()
	}
}

// alive reports whether the connection is still open and the server has sent nothing since the last answer. Anything that it
// sent would be taken for the answer to the next request, which may be another person's. With TLS there are two places to
// look at: what the TLS layer has read already, and the socket.
func (c *wireConn) alive() bool {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.SetReadDeadline(longAgo) // only what has been read already
		var b [1]byte
		if _, err := secure.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) || secure.SetReadDeadline(time.Time{}) != nil {
			return false
		}
	}
	return c.raw.alive()
}

func (w *wire) connect(req *http.Request, h *wireHost) (*wireConn, error) {
	ctx := req.Context()
	conn, err := w.dial(ctx, "tcp", hostPort(req.URL.Scheme, req.URL.Host))
	if err != nil {
		return nil, err
	}
	if req.URL.Scheme == "https" {
		config := w.tls.Clone()
		config.ServerName = req.URL.Hostname()
		secure := tls.Client(conn, config)
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("TLS with %s: %w", req.URL.Host, err)
		}
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			_ = secure.Close()
			w.mu.Lock()
			h.standard = true
			w.mu.Unlock()
			return nil, errStandard
		}
		conn = secure
	}
	return newWireConn(conn), nil
}

func newWireConn(conn net.Conn) *wireConn {
	c := &wireConn{Conn: conn, raw: newRaw(conn)}
	_, secure := conn.(*tls.Conn)
	c.swaps = c.raw != nil && !secure
	c.in = bufio.NewReaderSize(c, 4<<10)
	return c
}

// Read implements io.Reader. If the request was not sent yet, it sends it first.
func (c *wireConn) Read(p []byte) (n int, err error) {
	out := c.unsent
	if out == nil {
		return c.Conn.Read(p)
	}
	c.unsent = nil
	if c.swaps {
		if n, out, err = c.raw.swap(out, p); err != nil || len(out) == 0 {
			c.sent = len(out) < len(c.out)
			return n, err
		}
	}
	n, err = c.Write(out)
	if c.sent = n > 0 || len(out) < len(c.out); err != nil {
		if !c.sent {
			return 0, err
		}
		c.cut = fmt.Errorf("send the request: %w", err) // it may have been answered all the same
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
	}
	return c.Conn.Read(p)
}

// Ended implements callctx.Watcher: it makes reads and writes that are under way fail.
func (c *wireConn) Ended() { _ = c.SetDeadline(longAgo) }

// watch ends an exchange when the context of its request ends.
type watch struct {
	c   *wireConn
	ctx callctx.Watchable // nil when the context is another kind
	end func() bool
}

func (c *wireConn) watch(ctx context.Context) watch {
	if w, ok := ctx.(callctx.Watchable); ok {
		w.Watch(c)
		return watch{c: c, ctx: w}
	}
	return watch{c: c, end: context.AfterFunc(ctx, c.Ended)}
}

// stop ends watching. It reports false when the context has ended before, so that the connection's deadline is in the past.
func (w watch) stop() bool {
	if w.ctx != nil {
		return w.ctx.Unwatch(w.c)
	}
	return w.end()
}

func hostPort(scheme, host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	port := "80"
	if scheme == "https" {
		port = "443"
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	return net.JoinHostPort(host, port)
}

// keep makes a connection idle whose exchange is complete, for the next request.
func (w *wire) keep(h *wireHost, c *wireConn) {
	c.old = true
	if cap(c.out) > keptOut {
		c.out = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(h.idle) >= maxIdle || h.standard {
		_ = c.Close()
		return
	}
	h.idle = append(h.idle, c)
	if h.prune == nil {
		h.prune = time.AfterFunc(idleExpiry, func() { w.expire(h) })
	}
}

// keptOut is the size above which a connection's buffer is left to the garbage collector.
const keptOut = 32 << 10

// expire closes the connections that nobody has used since it looked last. A timer calls it while there are idle ones.
func (w *wire) expire(h *wireHost) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range h.idle[:h.unused] {
		_ = c.Close()
	}
	h.idle = slices.Delete(h.idle, 0, h.unused)
	h.unused, h.prune = len(h.idle), nil
	if len(h.idle) > 0 {
		h.prune = time.AfterFunc(idleExpiry, func() { w.expire(h) })
	}
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the pool.
func (w *wire) CloseIdleConnections() {
	w.mu.Lock()
	for _, hosts := range []map[string]*wireHost{w.plain, w.secure} {
		for _, h := range hosts {
			for _, c := range h.idle {
				_ = c.Close()
			}
			h.idle, h.unused = nil, 0
			if h.prune != nil {
				h.prune.Stop()
				h.prune = nil
			}
		}
	}
	w.mu.Unlock()
	if std, ok := w.std.(interface{ CloseIdleConnections() }); ok {
		std.CloseIdleConnections()
	}
}

// wireBody is the body of an answer. When it has been read to its end, the connection becomes idle again, if both sides want
// to keep it. As with every body, Close may be called during Read.
type wireBody struct {
	w         *wire
	h         *wireHost
	c         *wireConn
	ctx       context.Context // of the request
	watch     watch           // ends the exchange with ctx
	chunks    io.Reader       // decodes the transfer coding chunked; nil without it
	left      int64           // bytes that were not read yet; -1: the body runs to the end of the connection
	keepAlive bool            // the connection may be used again
	state     atomic.Uint32   // bodyOpen, or how it ended
}

const (
	bodyOpen uint32 = iota
	bodyRead        // to its end
	bodyCut
)

var errBodyCut = errors.New("the body of the answer has been closed")

// Read implements io.Reader.
func (b *wireBody) Read(p []byte) (int, error) {
	switch b.state.Load() {
	case bodyRead:
		return 0, io.EOF
	case bodyCut:
		return 0, errBodyCut
	}
	n, err := b.read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.finish(nil)
	default:
		if b.ctx.Err() != nil {
			err = b.ctx.Err()
		}
		b.finish(err)
	}
	return n, err
}

// read returns io.EOF only at the true end of the body.
func (b *wireBody) read(p []byte) (int, error) {
	switch {
	case b.chunks != nil:
		n, err := b.chunks.Read(p)
		if err == io.EOF { // a chunk that breaks off is another error
			if err := b.c.skipTrailer(); err != nil {
				return n, err
			}
		}
		return n, err
	case b.left < 0:
		return b.c.in.Read(p)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.c.in.Read(p)
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements io.Closer. A body that was not read to its end takes its connection with it.
func (b *wireBody) Close() error {
	b.finish(errBodyCut)
	return nil
}

// Amiss is called by a reader who finds that this was not the answer to the request. The connection is then one answer behind,
// so it carries no more requests, even if it is idle already.
func (b *wireBody) Amiss() { b.c.amiss.Store(true) }

// finish ends the exchange: with a nil error the connection may become idle, else it is closed. Only the first call counts.
func (b *wireBody) finish(err error) {
	how := bodyRead
	if err != nil {
		how = bodyCut
	}
	if !b.state.CompareAndSwap(bodyOpen, how) {
		return
	}
	if untouched := b.watch.stop(); err == nil && untouched && b.keepAlive && b.c.in.Buffered() == 0 {
		b.w.keep(b.h, b.c)
		return
	}
	_ = b.c.Close()
}
