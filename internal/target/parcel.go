package target

import (
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
	kept    *[]byte // what the buffer is kept in until it is lent again
}

// keptParcel is the size above which a buffer is left to the garbage collector.
const keptParcel = 256 << 10

// lend fills a parcel that was never used with an empty buffer. The caller holds it.
func (p *parcels) lend(one *parcel) *parcel {
	kept, ok := p.pool.Get().(*[]byte)
	if !ok {
		buf := make([]byte, 0, 4<<10)
		kept = &buf
	}
	one.buf, one.of, one.kept = (*kept)[:0], p, kept
	one.holders.Store(1)
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
		*p.kept = p.buf
		p.of.pool.Put(p.kept)
	}
}

// sent is the body of a request: bytes that last, or such of a parcel.
type sent struct {
	mu     sync.Mutex // guards what follows: a transport may close a body that it reads
	read   int        // of whole
	closed bool

	whole []byte
	in    *parcel          // nil when the bytes last
	lines *web.HeaderLines // of the request
}

// HeaderLines implements web.HasHeaderLines.
func (s *sent) HeaderLines() *web.HeaderLines { return s.lines }

var errSentClosed = errors.New("the body of the request has been closed")

// give makes s the body of a request, and says what stands for its headers. Whoever calls it holds the parcel.
func (s *sent) give(r *http.Request, lines *web.HeaderLines) {
	s.lines = lines
	_ = s.open()
	r.Body, r.ContentLength, r.GetBody = s, int64(len(s.whole)), s.again
}

// again is for http.Request.GetBody.
func (s *sent) again() (io.ReadCloser, error) {
	one := &sent{whole: s.whole, in: s.in, lines: s.lines}
	if err := one.open(); err != nil {
		return nil, err
	}
	return one, nil
}

func (s *sent) open() error {
	if s.in != nil && !s.in.hold() {
		return errSentClosed
	}
	return nil
}

// Read implements io.Reader.
func (s *sent) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errSentClosed
	}
	if s.read == len(s.whole) {
		return 0, io.EOF
	}
	n := copy(p, s.whole[s.read:])
	s.read += n
	return n, nil
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
