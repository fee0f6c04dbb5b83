package target

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"gatehouse/internal/web"
)

// parcels lends buffers for requests and answers over HTTP.
type parcels struct{ pool sync.Pool }

// parcel is what a request is written in, or an answer read into. Whoever reads from it holds it, and with the last of
// them its buffer goes back: a transport may still read the body of a request when it has answered it, until it closes it
// (net/http, RoundTripper). One that is never released is left to the garbage collector.
type parcel struct {
	buf     []byte
	holders atomic.Int32
	of      *parcels
}

// keptParcel is the size above which a buffer is left to the garbage collector.
const keptParcel = 256 << 10

// get returns an empty parcel, which the caller holds.
func (p *parcels) get() *parcel {
	one := &parcel{of: p}
	one.holders.Store(1)
	if buf, ok := p.pool.Get().(*[]byte); ok {
		one.buf = (*buf)[:0]
	} else {
		one.buf = make([]byte, 0, 4<<10)
	}
	return one
}

// hold reports false when the buffer has gone back already.
func (p *parcel) hold() bool {
	for {
		n := p.holders.Load()
		if n == 0 {
			return false
		}
		if p.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (p *parcel) release() {
	if p.holders.Add(-1) == 0 && cap(p.buf) <= keptParcel {
		p.of.pool.Put(&p.buf)
	}
}

// sent is the body of a request: bytes that last, or such of a parcel.
type sent struct {
	mu     sync.Mutex // guards what follows: a transport may close a body that it reads
	rest   bytes.Reader
	in     *parcel // nil when the bytes last
	closed bool

	lines *web.HeaderLines // of the request; may be nil
}

// HeaderLines implements web.HasHeaderLines.
func (s *sent) HeaderLines() *web.HeaderLines { return s.lines }

var errSentClosed = errors.New("the body of the request has been closed")

// setBody gives a request its body, and its headers written out, if they have been. In is the parcel that the body is in,
// nil when it is in none.
func setBody(r *http.Request, lines *web.HeaderLines, body []byte, in *parcel) {
	open := func() (io.ReadCloser, error) {
		if in != nil && !in.hold() {
			return nil, errSentClosed
		}
		s := &sent{in: in, lines: lines}
		s.rest.Reset(body)
		return s, nil
	}
	r.Body, _ = open() // the caller holds the parcel
	r.ContentLength, r.GetBody = int64(len(body)), open
}

// Read implements io.Reader.
func (s *sent) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errSentClosed
	}
	return s.rest.Read(p)
}

// Close implements io.Closer.
func (s *sent) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.in != nil {
		s.in.release()
	}
	s.closed = true
	return nil
}
