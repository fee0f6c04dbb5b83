// Package identity holds the words for who is asking: persons, principals, scopes, claims, and the rules that
// match claims. It is pure: no I/O, no HTTP, no clock.
package identity

import (
	"cmp"
	"errors"
	"strings"
	"sync/atomic"
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

// ServicePrefix begins the subjects of services at Gatehouse's own authorization server, and of nobody else there.
const ServicePrefix = "service:"

// ServiceKey is who a client is when it acts as itself (client credentials) at Gatehouse's own authorization server.
func ServiceKey(own Issuer, client ClientID) PersonKey {
	return PersonKey{Issuer: own, Subject: ServicePrefix + string(client)}
}

// IsService reports whether the subject is one of a service, for keys of Gatehouse's own authorization server. No person
// there may have such a subject.
func (k PersonKey) IsService() bool { return strings.HasPrefix(k.Subject, ServicePrefix) }

// Person is somebody whom a sign-in back end knows.
type Person struct {
	Key           PersonKey
	Username      string
	Name          string
	Email         string
	EmailVerified bool
	Groups        []string
	GroupsUnknown bool   // the provider does not list them all: rules on groups must deny
	Claims        Claims // what goes into tokens besides: an administrator added it with --claim, or chose it from what the provider says
	Provider      string // which identity provider vouches for the person, by its name here; empty for built-in users
}

// Label is what a page calls the person. It is nothing to go by: people choose their own names.
func (p Person) Label() string { return cmp.Or(p.Username, p.Name, p.Key.Subject) }

// SignedIn is a person at a browser: what the authorization server learns from a sign-in back end.
type SignedIn struct {
	Person    Person
	SessionID string // stable for one browser session; never the cookie value
	AuthTime  time.Time
	Methods   []string // RFC 8176 values: "pwd", "hwk", "user", …

	ProviderLabel string        // what people call the person's identity provider; empty for built-in users
	IDPSession    string        // sid: what the identity provider calls its own session, if it does
	AccessFor     time.Duration // how long clients can have access at most before another sign-in; 0 for no such limit
}

// Principal is who stands behind one request: the result of checking one access token.
type Principal struct {
	Key        PersonKey
	Client     ClientID
	Scopes     Scopes
	Claims     Claims
	Grant      GrantID
	Service    bool   // nobody signed in: a client acts as itself
	Authorizer string // the name of the rule set that accepted the token
	IssuedAt   time.Time
	Expires    time.Time

	judged atomic.Pointer[judgement] // see Judged
}

// judgement is what judge last said about a principal.
type judgement struct {
	by   any
	said string
}

// Judged returns judge(p), and remembers it: if the next caller passes the same by, judge is not called again. By must be a
// pointer to something that never changes, and judge may look at nothing but that and the principal. All requests of one
// token share a principal, and matching its claims anew for each of them would cost more than the rest of a decision.
func (p *Principal) Judged(by any, judge func(*Principal) string) string {
	if j := p.judged.Load(); j != nil && j.by == by {
		return j.said
	}
	said := judge(p)
	p.judged.Store(&judgement{by, said})
	return said
}

// ErrGone means that a person may no longer sign in or keep access: unknown, disabled or removed.
var ErrGone = errors.New("the person is unknown or disabled")

// Gone is ErrGone with the reason, in a fixed phrase that everybody may read.
type Gone struct{ Reason string }

func (g *Gone) Error() string { return "the person may no longer have access: " + g.Reason }

// Is makes every Gone an ErrGone.
func (g *Gone) Is(target error) bool { return target == ErrGone }

// SignInStart is what a sign-in page needs to know about why it is shown.
type SignInStart struct {
	ReturnTo       string // local path and query to come back to
	LoginHint      string // fills in the name field (OpenID Connect Core §3.1.2.1)
	ClientName     string // the client on whose behalf, for the page
	Reauthenticate bool   // ask again even when somebody is signed in (prompt=login, max_age)
	OtherAccount   bool   // the person wants to be asked which account to use (prompt=select_account)

	// Client is what is known about the client, for the page that asks before the browser goes to an identity
	// provider; nil when no client asks.
	Client *ClientFacts
}

// ClientFacts is what a person should know about a client before they decide about it.
type ClientFacts struct {
	Verified     bool   // an administrator, or the host that the client's id names, vouches for it
	Host         string // that host; unless Verified the client merely says so
	Unchecked    bool   // what the client says of itself is read once somebody has signed in
	ClientID     string // shown for clients that an administrator wrote down, whose ids people may know
	RedirectHost string // where the answer goes
	Loopback     bool   // that is a program on this device, whoever it is
	App          bool   // that is an application on this device, by its private scheme
	Resource     string // the endpoint; empty when only the person's identity is asked for
	ResourceName string
}
