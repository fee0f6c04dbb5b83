package audit

import (
	"net/netip"
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

	KindSignIn          Kind = "signin"
	KindSignInFailed    Kind = "signin_failed"
	KindSignOut         Kind = "signout"
	KindPersonEnded     Kind = "person_ended"     // an identity provider no longer vouches for somebody, who is out
	KindProviderLogout  Kind = "provider_logout"  // somebody signed out at an identity provider, and so here
	KindProviderTrouble Kind = "provider_trouble" // an identity provider does not accept Gatehouse itself

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
