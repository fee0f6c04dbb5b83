package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
)

// Recover turns a panic into a 500 that names the request id, and writes the stack to the log. When the answer has
// begun, the connection (HTTP/1.1) or stream (HTTP/2) is cut instead, so that nobody takes half an answer for a whole
// one. http.ErrAbortHandler passes through.
func Recover(log *slog.Logger) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec := recorderOf(w)
			defer func() {
				p := recover()
				if p == nil {
					return
				}
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				log.ErrorContext(r.Context(), "handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				if rec.started() {
					panic(http.ErrAbortHandler)
				}
				clear(rec.Header())
				rec.Header().Set(requestIDHeader, RequestID(r.Context()))
				WriteError(rec, r, internalError(nil))
			}()
			next.ServeHTTP(rec, r)
		})
	}
}
