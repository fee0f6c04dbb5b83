package web

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"

	"gatehouse/internal/callctx"
)

const requestIDHeader = "X-Request-Id"

// WithRequestID gives each request an id of 128 random bits, which the answer carries in X-Request-Id. An id that
// comes with the request is never taken over.
func WithRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := &facts{id: newRequestID()}
		f.notes = f.room[:0]
		f.header[0] = f.id
		w.Header()[requestIDHeader] = f.header[:]
		if c, ok := r.Context().(*callctx.Context); !ok || !c.Keep(factsKey{}, f) {
			r = r.WithContext(context.WithValue(r.Context(), factsKey{}, f))
		}
		next.ServeHTTP(w, r)
	})
}

// RequestID returns the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	if f := factsOf(ctx); f != nil {
		return f.id
	}
	return ""
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program when the system has no randomness
	return hex.EncodeToString(b[:])
}
