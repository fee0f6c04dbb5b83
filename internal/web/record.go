package web

import (
	"log/slog"
	"net/http"
	"time"
)

// Record writes one log record for each request when the request ends, with everything that was noted on the way (Note). A
// request that is answered with a stream ends with the stream. The query is not logged, because it may carry codes. The same
// facts go to told, unless that is nil.
func Record(log *slog.Logger, now func() time.Time, told func(Ended)) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			rec, start := recorderFor(w, r), now()
			done := false
			defer func() {
				if !done { // a panic passes through, http.ErrAbortHandler for example
					Note(r.Context(), "aborted", true)
				}
				writeRecord(log, r, rec, start, now(), told)
			}()
			next.ServeHTTP(rec, r)
			done = true
		})
	}
}

// recorderFor is recorderOf, but a new recorder is made in the room that the request's facts have for it.
func recorderFor(w http.ResponseWriter, r *http.Request) *recorder {
	f := factsOf(r.Context())
	if f == nil || f.rec.ResponseWriter != nil {
		return recorderOf(w)
	}
	f.rec.around(w)
	return &f.rec
}

// Ended is what is known about a request that has ended.
type Ended struct {
	Method, Route string
	Status        int
	Took          time.Duration
	Notes         []slog.Attr // what was noted on the way; valid only during the call that is given it
}

func writeRecord(log *slog.Logger, r *http.Request, rec *recorder, start, end time.Time, told func(Ended)) {
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	f, level, took := factsOf(r.Context()), slog.LevelInfo, end.Sub(start)
	if status >= 500 {
		level = slog.LevelError
	}
	if f != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if told != nil {
			told(Ended{r.Method, r.Pattern, status, took, f.notes})
		}
		if f.quiet || f.recorded && status < 400 {
			level = slog.LevelDebug
		}
	}
	h := log.Handler()
	if !h.Enabled(r.Context(), level) {
		return
	}
	var room [16]slog.Attr
	attrs := append(room[:0],
		slog.String("method", clip(r.Method, 32)),
		slog.String("route", r.Pattern),
		slog.Int("status", status),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
		slog.Int64("bytes", rec.bytes),
		slog.String("client_ip", ClientIP(r).String()),
	)
	if f != nil {
		attrs = append(attrs, f.notes...)
	}
	record := slog.NewRecord(end, level, "request", 0) // no place in the source: it would always be this one
	record.AddAttrs(attrs...)
	_ = h.Handle(r.Context(), record) // a Logger drops this error, too: there is nowhere to report it
}
