package web

import (
	"net/http"
	"time"
)

// stallTimeout is how long one write may wait for a client that does not read.
const stallTimeout = 30 * time.Second

// recorder is the ResponseWriter that the middleware gives to handlers. It remembers the status and size of the answer, and
// sets a deadline for each write, so that a client that stops reading does not hold the handler for ever. It implements
// Unwrap, so that http.ResponseController works through it, and Flush, so that streaming does.
type recorder struct {
	http.ResponseWriter
	reads  readLimiter  // nil when the writer below knows no deadlines
	writes writeLimiter // nil when the writer below knows none: that of httpd ends writes that stall by itself
	status int          // 0 until the header is written
	bytes  int64
}

type (
	readLimiter  interface{ SetReadDeadline(time.Time) error }
	writeLimiter interface{ SetWriteDeadline(time.Time) error }
)

// recorderOf returns the recorder that w already is or wraps, or a new one around w.
func recorderOf(w http.ResponseWriter) *recorder {
	for inner := w; ; {
		if rec, ok := inner.(*recorder); ok {
			return rec
		}
		u, ok := inner.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			rec := &recorder{}
			rec.around(w)
			return rec
		}
		inner = u.Unwrap()
	}
}

// around makes r a recorder for w.
func (r *recorder) around(w http.ResponseWriter) {
	r.ResponseWriter = w
	r.reads, _ = w.(readLimiter)
	r.writes, _ = w.(writeLimiter)
	if _, wraps := w.(interface{ Unwrap() http.ResponseWriter }); wraps {
		below := http.NewResponseController(w)
		r.reads, r.writes = below, below
	}
}

func (r *recorder) started() bool { return r.status != 0 }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 { // 1xx answers are not the answer
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	r.ok()
	defer r.lift(r.guard())
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// PartsWriter is a writer that takes a whole body in parts, without putting them together first.
type PartsWriter interface {
	WriteParts(parts ...[]byte) (int, error)
}

// WriteParts writes a whole body that is in parts, to a writer that a middleware of this package has wrapped.
func WriteParts(w http.ResponseWriter, parts ...[]byte) (int, error) {
	if p, ok := w.(PartsWriter); ok {
		return p.WriteParts(parts...)
	}
	total := 0
	for _, part := range parts {
		n, err := w.Write(part)
		if total += n; err != nil {
			return total, err
		}
	}
	return total, nil
}

// WriteParts implements PartsWriter.
func (r *recorder) WriteParts(parts ...[]byte) (int, error) {
	r.ok()
	defer r.lift(r.guard())
	n, err := WriteParts(r.ResponseWriter, parts...)
	r.bytes += int64(n)
	return n, err
}

// FlushError implements what http.ResponseController looks for.
func (r *recorder) FlushError() error {
	r.ok()
	defer r.lift(r.guard())
	return http.NewResponseController(r.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (r *recorder) Flush() { _ = r.FlushError() }

// Unwrap returns the writer below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ok notes status 200, which a server sends when the handler sets none before the first write.
func (r *recorder) ok() {
	if r.status == 0 {
		r.status = http.StatusOK
	}
}

// guard sets the write deadline, and reports whether there is one to lift. Writers that know no deadlines go without.
func (r *recorder) guard() bool {
	return r.writes != nil && r.writes.SetWriteDeadline(time.Now().Add(stallTimeout)) == nil
}

func (r *recorder) lift(guarded bool) {
	if guarded {
		_ = r.writes.SetWriteDeadline(time.Time{})
	}
}
