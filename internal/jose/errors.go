package jose

import "errors"

// Reason says in one stable word why a token did not verify.
type Reason string

// The reasons. Only KeysUnavailable is not the token's fault.
const (
	Malformed       Reason = "token_malformed"   // not a compact JWS with a JSON object in it
	TooLarge        Reason = "token_too_large"   // longer than MaxToken
	HeaderRefused   Reason = "header_refused"    // carries or points at its own key, or demands an extension
	AlgRefused      Reason = "algorithm_refused" // not on the caller's list
	UnknownKey      Reason = "unknown_key"       // the issuer publishes no such key for this algorithm
	BadSignature    Reason = "bad_signature"     // the key is known, the signature is not its
	TypeRefused     Reason = "type_refused"      // of a proof: another kind of token
	KeyRefused      Reason = "key_refused"       // of a proof: its key is missing, weak, or more than a public key
	KeysUnavailable Reason = "keys_unavailable"  // the issuer's keys cannot be had at the moment
)

// Error is every error about a token. Its text is for logs: it may name what was found in the token's header, never
// the token.
type Error struct {
	Reason Reason
	Detail string
	Cause  error
}

func (e *Error) Error() string {
	s := string(e.Reason) + ": " + e.Detail
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// ReasonOf returns the reason inside err, or "" when err is about something else.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func fail(r Reason, detail string, cause error) error {
	return &Error{Reason: r, Detail: detail, Cause: cause}
}
