package target

import (
	"errors"
	"fmt"
	"strings"
)

// TroubleKind says what went wrong with a target.
type TroubleKind string

// The kinds of trouble.
const (
	Down              TroubleKind = "down"               // not reachable, not startable, or it broke off
	Timeout           TroubleKind = "timeout"            // no answer in time
	CredentialRefused TroubleKind = "credential_refused" // the target answered 401 or 403 to Gatehouse's own credential
	Rubbish           TroubleKind = "rubbish"            // it answered, but not in the protocol
	TooLarge          TroubleKind = "too_large"          // one message exceeded the limit
	Canceled          TroubleKind = "canceled"           // the caller gave up
)

// Trouble is what we inferred about a target, as opposed to an *mcp.Error, which is what the target said.
type Trouble struct {
	Target  string
	Kind    TroubleKind
	Message string // safe for clients
	Cause   error  // for the log; may hold addresses and texts of the target

	Unsent bool // the request certainly did not reach the target

	heard   bool // some of the target's answer had come
	refused bool // at the gate
}

// Error implements error with the full text, for the log.
func (t *Trouble) Error() string {
	if t.Cause == nil {
		return fmt.Sprintf("target %s: %s", t.Target, t.Message)
	}
	return fmt.Sprintf("target %s: %s: %v", t.Target, strings.TrimSuffix(t.Message, "."), t.Cause)
}

// Unwrap returns the cause.
func (t *Trouble) Unwrap() error { return t.Cause }

// TroubleKinds returns the kinds of trouble that a target can have by itself.
func TroubleKinds() []TroubleKind {
	return []TroubleKind{Down, Timeout, CredentialRefused, Rubbish, TooLarge}
}

// told tells of trouble at the end of a request. What was refused at the gate never became one, and what we ended
// ourselves is not the target's.
func (t *Target) told(err error) error {
	if trouble, ok := errors.AsType[*Trouble](err); ok && !trouble.refused && trouble.Kind != Canceled && !errors.Is(err, errClosed) {
		t.opt.Troubled(trouble.Kind)
	}
	return err
}

func (t *Target) tooLarge() *Trouble {
	return t.trouble(TooLarge, fmt.Errorf("a message of more than %d bytes", t.opt.MaxMessage))
}

func (t *Target) trouble(kind TroubleKind, cause error) *Trouble {
	messages := map[TroubleKind]string{
		Down:              "is not available",
		Timeout:           "did not answer in time",
		CredentialRefused: "refused the gateway's credential; its administrator has to renew it",
		Rubbish:           "gave an answer that is not valid MCP",
		TooLarge:          "gave an answer that is too large",
		Canceled:          "was not waited for, the call was cancelled",
	}
	return &Trouble{
		Target: t.opt.Name, Kind: kind, Message: fmt.Sprintf("The server %q %s.", t.opt.Name, messages[kind]), Cause: cause, Unsent: unsent(cause),
	}
}
