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

// parcel is a lent buffer, in which a request is written or into which an answer is read. It counts its holders, and goes back
// to the pool with the last of them: the HTTP client is one of them, because it may still read the body of a request after it
// has returned the answer, until it closes the body (net/http, RoundTripper). A parcel that somebody never releases is left to
// the garbage collector.
type parcel struct {
	buf     []byte
	holders atomic.Int32
	kept    *kept
}

// kept is what the pool keeps of a parcel.
type kept struct {
	buf []byte
	of  *parcels
}

// keptParcel is the size above which a buffer is left to the garbage collector.
const keptParcel = 256 << 10

// lend fills a parcel that was never used with an empty buffer. The caller holds it.
func (p *parcels) lend(one *parcel) *parcel {
	from, ok := p.pool.Get().(*kept)
	if !ok {
		from = &kept{make([]byte, 0, 4<<10), p}
	}
	one.buf, one.kept = from.buf[:0], from
	one.holders.Store(1)
	return one
}

// hold adds a holder. It reports false when the buffer has gone back already.
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

// Release takes a holder away.
func (p *parcel) Release() {
	if p.holders.Add(-1) == 0 && cap(p.buf) <= keptParcel {
		p.kept.buf = p.buf
		p.kept.of.pool.Put(p.kept)
	}
}

// sent is the body of an HTTP request to a target. It holds the parcel that its bytes are part of until it is closed.
type sent struct {
	mu     sync.Mutex // guards what follows: an HTTP client may close a body while it reads
	read   int        // how many bytes of whole have been read
	closed bool

	whole   []byte
	in      *parcel          // nil if whole is in no parcel
	head    *web.RequestHead // the request's head, written out
	request http.Request     // the request itself, so that both are one allocation
}

// RequestHead implements web.HasRequestHead.
func (s *sent) RequestHead() *web.RequestHead { return s.head }

var errSentClosed = errors.New("the body of the request has been closed")

// give makes s the body of its request, and says what stands for that one's head. Whoever calls it holds the parcel.
func (s *sent) give(head *web.RequestHead) {
	s.head = head
	_ = s.open()
	s.request.Body, s.request.ContentLength, s.request.GetBody = s, int64(len(s.whole)), s.again
}

// again is for http.Request.GetBody.
func (s *sent) again() (io.ReadCloser, error) {
	one := &sent{whole: s.whole, in: s.in, head: s.head}
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
		s.in.Release()
	}
	s.closed = true
	return nil
}
