package web

import (
	"log/slog"
	"net/http"
	"slices"
	"time"
)

// Record writes one log record per request when it ends, with everything that was noted on the way. For a stream that
// is when the stream ends. The query is left out: it may carry codes.
func Record(log *slog.Logger, now func() time.Time) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec, start := recorderOf(w), now()
			done := false
			defer func() {
				if !done { // a panic passes through, http.ErrAbortHandler for example
					Note(r.Context(), "aborted", true)
				}
				writeRecord(log, r, rec, now().Sub(start))
			}()
			next.ServeHTTP(rec, r)
			done = true
		})
	}
}

func writeRecord(log *slog.Logger, r *http.Request, rec *recorder, took time.Duration) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	attrs := []slog.Attr{
		slog.String("method", clip(r.Method, 32)),
		slog.String("route", r.Pattern),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", rec.bytes),
		slog.String("client_ip", ClientIP(r).String()),
	}
	level := slog.LevelInfo
	if status >= 500 {
		level = slog.LevelError
	}
	if f := factsOf(r.Context()); f != nil {
		f.mu.Lock()
		attrs = slices.Concat(attrs, f.notes)
		if f.quiet {
			level = slog.LevelDebug
		}
		f.mu.Unlock()
	}
	log.LogAttrs(r.Context(), level, "request", attrs...)
}
