package httpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"gatehouse/internal/callctx"
)

// Sizes of what a connection holds.
const (
	firstBuffer = 4 << 10
	maxDiscard  = 256 << 10 // of a body that the handler did not read, to keep the connection
)

// longAgo makes a read that is under way fail.
var longAgo = time.Unix(1, 0)

// conn is one connection. Only the goroutine that runs serve uses its fields, except where a comment says otherwise. While a
// request takes long, a second goroutine, lookout, reads from the connection and uses the read buffer; end stops it and
// waits for it before the next request is read.
type conn struct {
	s      *Server
	nc     net.Conn // mu guards its one change, in the handshake
	tls    *tls.ConnectionState
	gather *gather // between TLS and the network; nil without TLS

	remote  string     // the client's address and port
	peer    netip.Addr // the address in remote
	known   bool       // the client has sent a whole request before
	buf     []byte     // the read buffer: buf[r:w] was read and not used yet
	r, w    int
	lines   Lines       // reads the heads of requests
	asked   asked       // by the last request
	out     []byte      // the part of the answer that was not written yet
	pending []byte      // the beginning of a body whose length is not known yet
	header  http.Header // of the answer; a handler must not use it once it has returned
	wrote   time.Time   // when the last write began
	limit   time.Time   // the write deadline

	mu       sync.Mutex // guards what follows
	state    connState
	began    time.Time        // when the request under way began
	request  *callctx.Context // of the request under way; nil once its handler has returned
	watched  chan struct{}    // closed when lookout has ended; nil when it does not run
	readable bool             // the request's body has been read to its end, so lookout may read from the connection
	restTill time.Time        // the read deadline, if it was set by mayRest; else zero
}

type connState uint8

const (
	stateIdle   connState = iota // waits for a request
	stateActive                  // a request is under way
	stateClosed
)

// serve serves one request after another until the connection ends.
func (c *conn) serve() {
	if !c.handshake() {
		return
	}
	defer func() { _ = c.nc.Close() }()
	c.remote = c.nc.RemoteAddr().String()
	c.peer = Peer(c.remote)
	for c.one() {
	}
}

// Peer is the address that http.Request.RemoteAddr names. It is invalid when that names none.
func Peer(remote string) netip.Addr {
	ap, _ := netip.ParseAddrPort(remote)
	return ap.Addr().Unmap().WithZone("")
}

// release gives up buffers that a large request made grow.
func (c *conn) release() {
	if c.r == c.w && len(c.buf) > firstBuffer {
		c.buf, c.r, c.w = nil, 0, 0
	}
	if cap(c.out) > maxOut {
		c.out = nil
	}
}

// one serves one request from its first byte to the last byte of its answer, and reports whether the connection can take
// another.
func (c *conn) one() bool {
	if !c.awaitRequest() {
		return false
	}
	head, err := c.readHead()
	if err != nil {
		c.refuse(err)
		return false
	}
	x := &exchange{}
	if err := x.parse(c, head); err != nil {
		c.refuse(err)
		return false
	}
	if !c.begin(x, time.Now()) {
		return false
	}
	c.known = true
	if !x.body.complete() {
		_ = c.readTill(time.Time{}) // how long a body may take is for the handler to say
	}
	ok := c.handle(x)
	c.end()
	if !ok || !x.finish() {
		return false
	}
	return c.rest()
}

// awaitRequest waits for the first byte of a request.
func (c *conn) awaitRequest() bool {
	return c.r < c.w || c.mayRest() && c.fill() == nil
}

// mayRest sets how long the connection may wait for its next request; it reports false when the connection was closed
// meanwhile. Setting a deadline is expensive, so the one of an earlier request stays while most of it is left. How much is
// left is reckoned from the time of the last write, which spares reading the clock.
func (c *conn) mayRest() bool {
	wait := c.s.o.IdleTimeout
	if !c.known { // a client that opens connections and sends nothing cannot keep them for long
		wait = c.s.o.HeaderTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateClosed {
		return false
	}
	if left := c.restTill.Sub(c.wrote); left > wait || mustRenew(left, wait) {
		c.restTill = time.Now().Add(wait)
		_ = c.nc.SetReadDeadline(c.restTill)
	}
	return true
}

// mustRenew reports whether less than seven eighths of a deadline are left.
func mustRenew(left, wanted time.Duration) bool { return left < wanted-wanted/8 }

// readTill sets a read deadline other than that of a connection that rests.
func (c *conn) readTill(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restTill = time.Time{}
	return c.nc.SetReadDeadline(t)
}

// fill reads more into the buffer.
func (c *conn) fill() error {
	if c.buf == nil {
		c.buf = make([]byte, firstBuffer)
	}
	if c.r > 0 {
		copy(c.buf, c.buf[c.r:c.w])
		c.r, c.w = 0, c.w-c.r
	}
	if c.w == len(c.buf) {
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// readHead reads the head of a request.
func (c *conn) readHead() (Head, error) {
	for c.w-c.r >= 2 && c.buf[c.r] == '\r' && c.buf[c.r+1] == '\n' {
		c.r += 2 // an empty line before a request (RFC 9112 §2.2)
	}
	for seen, late := 0, false; ; {
		// Nearly always the whole head came with the first read. If not, what came before is not looked at again and again.
		if seen == 0 || bytes.Contains(c.buf[c.r+seen:c.w], []byte("\r\n\r\n")) {
			head, n, err := c.lines.Parse(c.buf[c.r:c.w])
			if err != nil {
				return Head{}, badRequest("a header of the request is malformed")
			}
			if n > 0 {
				c.r += n
				return head, nil
			}
		}
		if c.w-c.r > c.s.o.MaxHeader {
			return Head{}, &fault{http.StatusRequestHeaderFieldsTooLarge, "the head of the request is too long"}
		}
		if bytes.Contains(c.buf[c.r+seen:c.w], []byte("\n\n")) {
			return Head{}, badRequest("lines end with CR LF")
		}
		seen = max(0, c.w-c.r-3)
		if !late {
			late = true
			_ = c.readTill(time.Now().Add(c.s.o.HeaderTimeout))
		}
		if err := c.fill(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return Head{}, &fault{http.StatusRequestTimeout, "the head of the request took too long"}
			}
			return Head{}, errGone
		}
	}
}

// errGone means that the client has gone, so that nothing has to be answered.
var errGone = errors.New("the client has gone")

// refuse answers a request that cannot be read; the connection ends with it.
func (c *conn) refuse(err error) {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return
	}
	c.s.o.Log.Debug("request refused", "client", c.nc.RemoteAddr().String(), "status", f.status, "error", f.text)
	c.out = appendRefusal(c.out[:0], f)
	_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := c.nc.Write(c.out); err != nil {
		return
	}
	c.linger()
}

// lingering is how long a client that is still sending gets to read the answer.
const lingering = 500 * time.Millisecond

// linger reads and drops, for a moment, what the client is still sending. Closing a connection with unread bytes resets it,
// and then the client may lose the answer that it has not read yet.
func (c *conn) linger() {
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.Copy(io.Discard, c.nc)
}

// begin makes x the request under way. It reports false when the server has closed the connection meanwhile.
func (c *conn) begin(x *exchange, began time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateClosed {
		return false
	}
	c.state, c.began, c.request, c.readable = stateActive, began, &x.ctx, x.body.state == bodyDone
	return true
}

// handle calls the handler. It reports false when the connection must be cut.
func (c *conn) handle(x *exchange) (ok bool) {
	defer func() {
		if p := recover(); p != nil {
			ok = false
			c.panicked(p, debug.Stack())
		}
	}()
	c.s.o.Handler.ServeHTTP(&x.response, &x.request)
	return true
}

// end is called when the handler has returned: it stops lookout, if that runs, and cancels the context of the request.
func (c *conn) end() {
	c.mu.Lock()
	watched := c.watched
	c.watched, c.readable = nil, false
	request := c.request
	c.request = nil
	c.mu.Unlock()
	if watched != nil {
		_ = c.nc.SetReadDeadline(longAgo)
		<-watched
	}
	request.Cancel(nil)
}

// rest marks the connection as idle, so that a server that stops may close it, and frees buffers that have grown. It reports
// false when the server is stopping already.
func (c *conn) rest() bool {
	c.release()
	if c.s.stopping.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateClosed {
		return false
	}
	c.state = stateIdle
	return true
}

// closeIfIdle ends the connection if it waits for a request. The server calls it when it stops.
func (c *conn) closeIfIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == stateIdle {
		c.state = stateClosed
		_ = c.nc.SetReadDeadline(longAgo)
	}
}

// cut closes the connection and cancels its request. The server calls it when it does not wait any longer.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state = stateClosed
	if c.request != nil {
		c.request.Cancel(nil)
	}
	if c.gather != nil { // TLS would say good-bye first, and wait for a client that does not read
		_ = c.gather.Conn.Close()
	}
	_ = c.nc.Close()
}

// bodyRead notes that the request's body has been read to its end: until the answer is complete, nobody but lookout needs
// to read from the connection. After the handler has returned it does nothing, because then the server itself reads: the
// rest of the body, and the next request.
func (c *conn) bodyRead() {
	c.mu.Lock()
	c.readable = c.request != nil
	c.mu.Unlock()
}

// tick starts lookout for a request that has been under way for a while. Server.watch calls it.
func (c *conn) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != stateActive || !c.readable || c.watched != nil || time.Since(c.began) < watchEvery {
		return
	}
	done := make(chan struct{})
	c.watched, c.restTill = done, time.Time{}
	_ = c.nc.SetReadDeadline(time.Time{})
	go c.lookout(done, c.request)
}

// lookout waits for something to read while a request is under way: when the client closes the connection, it cancels the
// request. A byte that comes is the beginning of the client's next request; it is kept, and lookout ends. It runs until then
// or until end moves the read deadline into the past.
func (c *conn) lookout(done chan struct{}, request *callctx.Context) {
	defer close(done)
	if c.r < c.w {
		return
	}
	c.buf, c.r, c.w, c.lines, c.asked = nil, 0, 0, Lines{}, asked{} // a stream may last
	var b [1]byte
	n, err := c.nc.Read(b[:])
	switch {
	case n > 0:
		c.buf, c.r, c.w = append(make([]byte, 0, firstBuffer), b[0])[:firstBuffer], 0, 1
	case errors.Is(err, os.ErrDeadlineExceeded):
	default:
		request.Cancel(nil)
	}
}
