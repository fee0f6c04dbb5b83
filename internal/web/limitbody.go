package web

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"
)

// LimitBody refuses bodies over max bytes with 413, and bodies that take longer than within to arrive with 408: reading such
// a body fails with a *Error, which the handler returns. The deadline is lifted once the body has been read, so that the
// answer may be a stream that lasts. Where one LimitBody wraps another, the smaller limit counts.
func LimitBody(max int64, within time.Duration) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ContentLength > max {
				WriteError(w, r, tooLarge(max))
				return
			}
			if r.Body != nil && r.Body != http.NoBody {
				b := boundedFor(r)
				*b = boundedBody{ReadCloser: r.Body, max: max, left: max}
				if reads := recorderOf(w).reads; reads != nil && !arrived(reads) {
					b.reads = reads
					b.limit(time.Now().Add(within))
				}
				r.Body = b
			}
			next.ServeHTTP(w, r)
		})
	}
}

// arrived reports whether the whole body has arrived already, so that no deadline is needed. The server of httpd can tell; of
// others it is not known, and arrived reports false.
func arrived(below readLimiter) bool {
	knows, ok := below.(interface{ BodyArrived() bool })
	return ok && knows.BodyArrived()
}

// boundedFor returns the place for the body that the request's facts have, unless another limit took it.
func boundedFor(r *http.Request) *boundedBody {
	if f := factsOf(r.Context()); f != nil && f.body.ReadCloser == nil {
		return &f.body
	}
	return &boundedBody{}
}

type boundedBody struct {
	io.ReadCloser
	reads readLimiter // nil when there is nothing to limit
	max   int64
	left  int64
	over  bool
}

// limit sets until when the body may arrive.
func (b *boundedBody) limit(until time.Time) {
	if b.reads != nil {
		_ = b.reads.SetReadDeadline(until)
	}
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.over {
		return 0, tooLarge(b.max)
	}
	if int64(len(p)) > b.left+1 { // one more, to see whether there is more
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if int64(n) > b.left {
		b.over = true
		return int(b.left), tooLarge(b.max)
	}
	b.left -= int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.limit(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &Error{Status: http.StatusRequestTimeout, Code: "request_timeout", Message: "the request body took too long to arrive", Cause: err}
	}
	return n, err
}

func tooLarge(max int64) *Error {
	return &Error{
		Status: http.StatusRequestEntityTooLarge, Code: "request_too_large",
		Message: fmt.Sprintf("the request body is larger than %d bytes", max),
	}
}

// IsJSON reports whether the headers declare a body of type application/json, once. A browser cannot send that type to
// another origin without asking first.
func IsJSON(h http.Header) bool {
	values := h["Content-Type"]
	if len(values) != 1 {
		return false
	}
	if values[0] == "application/json" {
		return true
	}
	t, _, err := mime.ParseMediaType(values[0])
	return err == nil && t == "application/json"
}
