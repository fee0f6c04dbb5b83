// Package identity holds the words for who is asking: persons, principals, scopes, claims, and the rules that
// match claims. It is pure: no I/O, no HTTP, no clock.
package identity

import (
	"errors"
	"time"
)

// Issuer is the issuer identifier of an authorization server: the exact string of its metadata and of a token's iss.
type Issuer string

// ClientID names an OAuth client at the issuer that knows it (RFC 6749 §2.2).
type ClientID string

// Short returns the id in a form for log lines and for the record of each call: the ids of clients that registered
// themselves carry their metadata and are long. The record of the grant has the whole id.
func (c ClientID) Short() string {
	if len(c) <= 40 {
		return string(c)
	}
	return string(c[:16]) + "…" + string(c[len(c)-12:])
}

// GrantID names one authorization that a person gave to a client at Gatehouse's own authorization server. Every
// token of that authorization carries it, so that revoking it ends them all. Empty for tokens that others issued.
type GrantID string

// PersonKey is who a person is, for every decision: e-mail addresses and names never identify anybody.
type PersonKey struct {
	Issuer  Issuer
	Subject string
}

// String returns issuer and subject joined by a NUL byte, which neither may contain: a key for maps and AEAD data.
func (k PersonKey) String() string { return string(k.Issuer) + "\x00" + k.Subject }

// IsZero reports whether nobody is named.
func (k PersonKey) IsZero() bool { return k.Issuer == "" && k.Subject == "" }

// Person is somebody whom a sign-in back end knows.
type Person struct {
	Key           PersonKey
	Username      string
	Name          string
	Email         string
	EmailVerified bool
	Groups        []string
	Claims        Claims // what an administrator added with --claim
}

// SignedIn is a person at a browser: what the authorization server learns from a sign-in back end.
type SignedIn struct {
	Person    Person
	SessionID string // stable for one browser session; never the cookie value
	AuthTime  time.Time
	Methods   []string // RFC 8176 values: "pwd", "hwk", "user", …
}

// Principal is who stands behind one request: the result of checking one access token.
type Principal struct {
	Key        PersonKey
	Client     ClientID
	Scopes     Scopes
	Claims     Claims
	Grant      GrantID
	Authorizer string // the name of the rule set that accepted the token
	IssuedAt   time.Time
	Expires    time.Time
}

// ErrGone means that a person may no longer sign in or keep access: unknown, disabled or removed.
var ErrGone = errors.New("the person is unknown or disabled")

// SignInStart is what a sign-in page needs to know about why it is shown.
type SignInStart struct {
	ReturnTo       string // local path and query to come back to
	LoginHint      string // fills in the name field (OpenID Connect Core §3.1.2.1)
	ClientName     string // the client on whose behalf, for the page
	Reauthenticate bool   // ask again even when somebody is signed in (prompt=login, max_age)
}
