package page

import (
	"errors"
	"log/slog"
	"net/http"
)

// Failure is an error that a person may read about.
type Failure struct {
	Status      int
	Title, Text string
	Cause       error // for the log only
}

func (f *Failure) Error() string {
	if f.Cause == nil {
		return f.Title
	}
	return f.Title + ": " + f.Cause.Error()
}

func (f *Failure) Unwrap() error { return f.Cause }

// Handler adapts a function that answers with a page. An error must be returned before anything is written; it is
// logged here, and shown as a page that says no more than a Failure allows.
func Handler(log *slog.Logger, serve func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := serve(w, r)
		if err == nil {
			return
		}
		f := &Failure{
			Status: http.StatusInternalServerError,
			Title:  "Something went wrong here",
			Text:   "It is not your fault. Please try again; if it stays like this, tell whoever runs this Gatehouse.",
			Cause:  err,
		}
		errors.As(err, &f)
		level := slog.LevelInfo
		if f.Status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		log.Log(r.Context(), level, "page refused", "path", r.URL.Path, "status", f.Status, "error", err)
		m := Message{Title: f.Title, Text: f.Text}
		if id := w.Header().Get("X-Request-Id"); id != "" {
			m.Detail = "Request " + id
		}
		if err := Render(w, r, f.Status, "message", m); err != nil {
			log.ErrorContext(r.Context(), "error page failed", "path", r.URL.Path, "error", err)
			http.Error(w, "internal error", http.StatusInternalServerError)
		}
	})
}
