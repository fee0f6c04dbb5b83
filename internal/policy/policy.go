// Package policy answers one question: may this principal make this call? It is pure: no I/O, no clock, no state, and
// whatever it was not told to allow it denies. What a principal is belongs to identity, how tokens are checked to
// authn; how a denial looks to the client is the gateway's business.
package policy

import (
	"errors"
	"fmt"
	"slices"

	"gatehouse/internal/identity"
)

// Access says who may use an endpoint at all. Its zero value lets nobody in.
type Access struct {
	AnySignedIn bool           // every principal that an authorizer accepted
	Rule        *identity.Rule // principals whose claims match

	// Services are the clients that may act as themselves, with no person behind them, by the name of the authorizer that
	// accepts their tokens. Such a client must be listed here and also pass the rule above.
	Services map[string][]identity.ClientID
}

func (a Access) allows(p *identity.Principal) bool {
	return a.AnySignedIn || a.Rule != nil && a.Rule.Match(p.Claims)
}

func (a Access) admitsService(p *identity.Principal) bool {
	return slices.Contains(a.Services[p.Authorizer], p.Client)
}

// Requirement names scopes that a call needs on top of access. An empty Target, Method or Name stands for all of them.
type Requirement struct {
	Target string // name of the target
	Method string // JSON-RPC method, such as tools/call
	Name   string // the target's own name of a tool or prompt, or the URI of a resource
	Scopes identity.Scopes
}

// Options are what a policy is made of.
type Options struct {
	Access   Access
	Requires []Requirement
}

// Question is one call that somebody wants to make. Target and Name are empty for what Gatehouse answers itself.
type Question struct {
	Principal *identity.Principal
	Endpoint  string
	Target    string
	Method    string
	Name      string
	Alias     string // a second name of the same thing, under which rules may know it; empty: none
}

// Decision is the answer. A denial with MissingScopes is the only one whose reason a client may learn, so that it can
// step up; every other denial must look like a thing that does not exist.
type Decision struct {
	Allow         bool
	Reason        string          // for the audit record
	MissingScopes identity.Scopes // every scope the call needs, when some of them are not granted
}

// The reasons of decisions, as they stand in audit records.
const (
	ReasonAllowed       = "allowed"
	ReasonNoPolicy      = "no_policy"
	ReasonNobody        = "no_principal"
	ReasonAccessRule    = "access_rule"
	ReasonService       = "service_not_admitted"
	ReasonMissingScopes = "missing_scopes"
)

// Policy decides for one endpoint. It is immutable; a nil Policy denies everything.
type Policy struct {
	access   Access
	requires map[subject]identity.Scopes // the scope requirements
	patterns []pattern                   // which fields the subjects of requires have set; each costs one map lookup a question
}

// subject is what a scope requirement is about. An empty field stands for everything.
type subject struct{ target, method, name string }

// pattern says which fields of a subject are set.
type pattern struct{ target, method, name bool }

// New checks the rules and makes the policy. Access that lets nobody in is a fault here, because nobody means it.
func New(o Options) (*Policy, error) {
	if err := o.Access.validate(); err != nil {
		return nil, err
	}
	p := &Policy{access: o.Access, requires: make(map[subject]identity.Scopes, len(o.Requires))}
	seen := make(map[pattern]bool)
	for _, r := range o.Requires {
		for _, s := range r.Scopes {
			if !identity.ValidScope(s) {
				return nil, fmt.Errorf("scope requirement on %s %s: %q is not a scope; scopes have no spaces, quotes or backslashes (RFC 6749 §3.3)", r.Method, r.Name, s)
			}
		}
		k := subject{r.Target, r.Method, r.Name}
		p.requires[k] = p.requires[k].Union(r.Scopes)
		if pat := (pattern{r.Target != "", r.Method != "", r.Name != ""}); !seen[pat] {
			seen[pat] = true
			p.patterns = append(p.patterns, pat)
		}
	}
	return p, nil
}

func (a Access) validate() error {
	switch {
	case a.AnySignedIn && a.Rule != nil:
		return errors.New("access: any_signed_in and a claim rule exclude each other; keep the one you mean")
	case !a.AnySignedIn && a.Rule == nil:
		return errors.New("access: no rule given; write any_signed_in or a claim rule")
	case a.Rule != nil:
		return a.Rule.Validate()
	}
	return nil
}

// Decide answers whether the call may be made. First the access rule of the endpoint must let the principal in; then the
// token must have every scope that the call needs.
func (p *Policy) Decide(q *Question) Decision {
	if reason := p.refuses(q.Principal); reason != "" {
		return Decision{Reason: reason}
	}
	if needed := p.needed(q); !q.Principal.Scopes.HasAll(needed) {
		return Decision{Reason: ReasonMissingScopes, MissingScopes: needed}
	}
	return Decision{Allow: true, Reason: ReasonAllowed}
}

// Sees reports whether lists show a principal what is there. Whoever is let in sees all of it: a missing scope hides
// nothing, because the client can step up.
func (p *Policy) Sees(who *identity.Principal) bool { return p.refuses(who) == "" }

// refuses returns the reason why the endpoint lets a principal do nothing at all, or "" when it lets the principal in.
func (p *Policy) refuses(who *identity.Principal) (reason string) {
	switch {
	case p == nil:
		return ReasonNoPolicy
	case who == nil || who.Key.Issuer == "" || who.Key.Subject == "":
		return ReasonNobody
	}
	return who.Judged(p, p.judge)
}

// judge is the part of refuses that depends on nothing but policy and principal, so that Judged can remember it.
func (p *Policy) judge(who *identity.Principal) (reason string) {
	switch {
	case who.Service && !p.access.admitsService(who):
		return ReasonService
	case !p.access.allows(who):
		return ReasonAccessRule
	}
	return ""
}

// needed returns the scopes of all requirements that cover the call, by its name or its alias. It allocates only when more
// than one requirement covers the call.
func (p *Policy) needed(q *Question) identity.Scopes {
	out := p.neededBy(q, q.Name)
	if q.Alias != "" {
		out = out.Union(p.neededBy(q, q.Alias))
	}
	return out
}

func (p *Policy) neededBy(q *Question, name string) identity.Scopes {
	var out identity.Scopes
	for _, pat := range p.patterns {
		var k subject
		if pat.target {
			k.target = q.Target
		}
		if pat.method {
			k.method = q.Method
		}
		if pat.name {
			k.name = name
		}
		switch scopes := p.requires[k]; {
		case len(scopes) == 0:
		case out == nil:
			out = scopes
		default:
			out = out.Union(scopes)
		}
	}
	return out
}
