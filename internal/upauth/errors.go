package upauth

import (
	"errors"
	"fmt"
)

// Error is every error about getting a token for a target. Its text is for the log: it may hold what an authorization
// server said, and never a token or secret.
type Error struct {
	Target string
	Doing  string // what was attempted
	Code   string // the error code of an authorization server, if there was one (RFC 6749 §5.2)
	Hint   string // what the administrator can do
	Cause  error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("token for target %s: %s", e.Target, e.Doing)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CredentialRefused tells whoever sends requests that the target was not even asked.
func (e *Error) CredentialRefused() bool { return true }

// fail says what was attempted, and why it did not work.
func (s *Source) fail(doing string, cause error, hint string) error {
	if inner, ok := errors.AsType[*Error](cause); ok {
		return inner
	}
	return &Error{Target: s.o.Target, Doing: doing, Cause: cause, Hint: hint}
}

// codeOf returns the error code of an authorization server inside err, or "".
func codeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
