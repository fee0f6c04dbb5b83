package clientdoc

import "errors"

// Reason says in one stable word why there is no document.
type Reason string

// The reasons.
const (
	Unreachable Reason = "document_unreachable" // no answer from its host, or none that we may have
	Status      Reason = "document_status"      // answered, but not with 200
	Type        Reason = "document_type"        // not JSON by its content type
	TooLarge    Reason = "document_too_large"
	Invalid     Reason = "document_invalid"  // not what the draft asks for
	Mismatch    Reason = "document_mismatch" // it speaks of another client
	Busy        Reason = "document_busy"     // too many fetches are under way
)

// Error says what is wrong with a document. Detail is safe for everybody; what the network said is in Cause, for the log.
type Error struct {
	Reason Reason
	Detail string
	Cause  error

	passing bool // it may be well again in a moment: what was read before still counts
}

func (e *Error) Error() string {
	s := string(e.Reason) + ": " + e.Detail
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// Temporary reports whether another attempt may do better without anything having been changed.
func (e *Error) Temporary() bool { return e.passing }

// ErrNotFetched means that a fetch would have been needed and was not permitted.
var ErrNotFetched = errors.New("client document: not fetched")

func fail(r Reason, detail string, cause error) *Error {
	return &Error{Reason: r, Detail: detail, Cause: cause}
}

func passing(r Reason, detail string, cause error) *Error {
	return &Error{Reason: r, Detail: detail, Cause: cause, passing: true}
}
