package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"gatehouse/internal/identity"
)

// Kind names what happened. The names are stable: alerts and reports rest on them.
type Kind string

// The kinds of events.
const (
	KindStarted Kind = "started"
	KindStopped Kind = "stopped"
	KindReload  Kind = "reload"

	KindRegistration Kind = "registration" // a client registered
	KindDevice       Kind = "device"       // a device asked for a code to be typed in elsewhere
	KindDeviceGuess  Kind = "device_guess" // somebody typed in a code that no device waits with
	KindConsent      Kind = "consent"      // a person allowed a client in
	KindDeny         Kind = "deny"         // a person refused a client
	KindIssue        Kind = "issue"        // tokens for a code
	KindRefresh      Kind = "refresh"      // tokens for a refresh token
	KindReuse        Kind = "reuse"        // a code or refresh token came twice: its grant is ended
	KindRevoke       Kind = "revoke"       // a grant, person or client was cut off

	KindSignIn         Kind = "signin"
	KindSignInFailed   Kind = "signin_failed"
	KindSignOut        Kind = "signout"
	KindPasskeyAdded   Kind = "passkey_added"
	KindPasskeyRemoved Kind = "passkey_removed"

	KindUserAdded       Kind = "user_added"
	KindUserChanged     Kind = "user_changed" // groups or claims
	KindUserDisabled    Kind = "user_disabled"
	KindUserEnabled     Kind = "user_enabled"
	KindPasswordChanged Kind = "password_changed"

	KindKeyAdded Kind = "key_added" // a signing key
	KindBackup   Kind = "backup"
	KindRestore  Kind = "restore"

	KindRefused Kind = "refused" // a request without a good token or without the scope
	KindCall    Kind = "call"    // a call of a tool, prompt or resource, allowed or not
)

// Decision is the answer to "may this be done".
type Decision string

// The decisions; empty where there was nothing to decide.
const (
	Allow Decision = "allow"
	Deny  Decision = "deny"
)

// Event is one thing that happened. Fields that say nothing stay empty and are left out of the file.
type Event struct {
	Time      time.Time // zero means now
	Kind      Kind
	RequestID string
	Address   netip.Addr // of the client
	Person    identity.PersonKey
	Actor     string // who did it to the person, when that is somebody else: an administrator's name, "command line"
	Client    identity.ClientID
	Grant     identity.GrantID
	Scopes    identity.Scopes
	Endpoint  string
	Target    string
	Method    string // of MCP, or of the sign-in; "device" where a device was allowed
	Provider  string // the identity provider that vouched, or did not
	Name      string // of the tool, prompt or resource; or what an identity provider calls the person
	Decision  Decision
	Reason    string // a fixed phrase, never what somebody typed
	Outcome   string // how an allowed call ended: ok, error, cancelled, …
	Duration  time.Duration
}

// line is the form in the file; the version tells readers apart when the form changes.
type line struct {
	Version    int               `json:"v"`
	Time       string            `json:"time"`
	Kind       Kind              `json:"kind"`
	RequestID  string            `json:"request_id,omitempty"`
	Address    string            `json:"address,omitempty"`
	Issuer     identity.Issuer   `json:"issuer,omitempty"`
	Subject    string            `json:"subject,omitempty"`
	Actor      string            `json:"actor,omitempty"`
	Client     identity.ClientID `json:"client,omitempty"`
	Grant      identity.GrantID  `json:"grant,omitempty"`
	Scopes     string            `json:"scopes,omitempty"`
	Endpoint   string            `json:"endpoint,omitempty"`
	Target     string            `json:"target,omitempty"`
	Method     string            `json:"method,omitempty"`
	Provider   string            `json:"provider,omitempty"`
	Name       string            `json:"name,omitempty"`
	Decision   Decision          `json:"decision,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Outcome    string            `json:"outcome,omitempty"`
	DurationMS float64           `json:"duration_ms,omitempty"`
}

// What others can write into the record is bounded: names of tools, client ids. A client id that is cut could not be
// revoked, so the longest that registration gives out fits.
const (
	maxField  = 512
	maxClient = 1536
)

// encode returns the event as a line with its line feed.
func encode(e Event) ([]byte, error) {
	l := line{
		Version: 1, Time: e.Time.UTC().Format(time.RFC3339Nano), Kind: e.Kind, RequestID: bounded(e.RequestID),
		Issuer: identity.Issuer(bounded(string(e.Person.Issuer))), Subject: bounded(e.Person.Subject), Actor: bounded(e.Actor),
		Client: identity.ClientID(cut(string(e.Client), maxClient)), Grant: identity.GrantID(bounded(string(e.Grant))), Scopes: bounded(e.Scopes.String()),
		Endpoint: bounded(e.Endpoint), Target: bounded(e.Target), Method: bounded(e.Method), Provider: bounded(e.Provider), Name: bounded(e.Name),
		Decision: e.Decision, Reason: bounded(e.Reason), Outcome: bounded(e.Outcome),
		DurationMS: float64(e.Duration.Microseconds()) / 1000,
	}
	if e.Address.IsValid() {
		l.Address = e.Address.String()
	}
	b, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

func bounded(s string) string { return cut(s, maxField) }

// cut shortens a long text and adds a digest, so that two that differ only behind the cut stay apart.
func cut(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.ToValidUTF8(s[:longest], "") + "…sha256:" + hex.EncodeToString(sum[:8])
}
