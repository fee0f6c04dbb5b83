package web

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"gatehouse/internal/mcp"
)

// Error is an error at the HTTP edge: what the caller may read, and the cause that only the log sees.
type Error struct {
	Status     int
	Code       string // for programs, snake_case
	Reason     string // which refusal of that code it is, in one stable word (docs/reasons.md); empty when the code says it
	Message    string // for the caller; carries nothing secret
	RetryAfter time.Duration
	Cause      error
}

// Error returns the full text, for the log.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Code + ": " + e.Public()
	}
	return fmt.Sprintf("%s: %s: %v", e.Code, e.Public(), e.Cause)
}

// Public is what the caller reads: the message, and behind it the reason, for people who look for it in a log or a
// manual.
func (e *Error) Public() string {
	if e.Reason == "" {
		return e.Message
	}
	return e.Message + " (" + e.Reason + ")"
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

func internalError(cause error) *Error {
	return &Error{Status: http.StatusInternalServerError, Code: "internal_error", Message: "internal error", Cause: cause}
}

// AsError returns the *Error in err's chain; anything else is an internal error with err as its cause.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return internalError(err)
}

// HandlerFunc is a handler that returns an error instead of writing it. As an http.Handler it answers errors in JSON.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP implements http.Handler.
func (h HandlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, WriteError) }

// ErrorWriter answers with an error; pages have one that draws HTML.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, e *Error)

// Handler adapts h with its own way to write errors.
func Handler(h HandlerFunc, write ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, write) })
}

func (h HandlerFunc) serve(w http.ResponseWriter, r *http.Request, write ErrorWriter) {
	rec := recorderOf(w)
	err := h(rec, r)
	if err == nil {
		return
	}
	NotesOf(r.Context()).Text("error", err.Error())
	noteReason(r, AsError(err))
	if _, ours := errors.AsType[*Error](err); !ours && r.Context().Err() != nil {
		Note(r.Context(), "client_gone", true)
		return
	}
	if rec.started() {
		panic(http.ErrAbortHandler) // half an answer is out: cut it, so that it is not taken for a whole one
	}
	write(rec, r, AsError(err))
}

// WriteError answers with e as JSON, in the shape of RFC 6749 §5.2 with the request id added.
func WriteError(w http.ResponseWriter, r *http.Request, e *Error) {
	noteReason(r, e)
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	PrepareError(w, e)
	w.WriteHeader(e.Status)
	body := append(make([]byte, 0, 256), `{"error":`...)
	body = mcp.AppendString(body, e.Code)
	if text := e.Public(); text != "" {
		body = mcp.AppendString(append(body, `,"error_description":`...), text)
	}
	if id := RequestID(r.Context()); id != "" {
		body = mcp.AppendString(append(body, `,"request_id":`...), id)
	}
	_, _ = w.Write(append(body, '}', '\n'))
}

// noteReason gives the request's log record the word under which the refusal stands in docs/reasons.md.
func noteReason(r *http.Request, e *Error) {
	NotesOf(r.Context()).Text("reason", cmp.Or(e.Reason, e.Code))
}

// PrepareError sets the headers that an error asks for whatever its body looks like; an ErrorWriter calls it first.
func PrepareError(w http.ResponseWriter, e *Error) {
	if e.RetryAfter > 0 {
		seconds := int64((e.RetryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusRequestTimeout {
		w.Header().Set("Connection", "close") // the rest of the body is not worth reading
	}
}
