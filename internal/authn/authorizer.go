package authn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

const defaultMaxLifetime = 24 * time.Hour

// Authorizer is one set of rules for access tokens of one issuer. A token that passes all rules that are set becomes a
// principal. An Authorizer is immutable.
type Authorizer struct {
	Name string

	// Own marks the rule set for Gatehouse's own tokens: the audience must be the endpoint, and every default scope of
	// the endpoint is needed. Another rule set may take tokens of the own issuer too, by its own audience.
	Own bool

	// Issuer is the exact iss. It may be empty when Keys learn it from a discovery document.
	Issuer identity.Issuer
	Keys   jose.KeySource // of this issuer; a pointer, and the same one for all authorizers of one issuer

	Algorithms      []string // empty: jose.DefaultAlgorithms
	AllowedAudience []string // one must be in aud
	NoAudience      bool     // aud is not looked at, for issuers that set none; AllowedClients is required then
	AllowedClients  []identity.ClientID
	AllowedScopes   identity.Scopes // one of them suffices
	// AdvertisedScopes maps a scope as it stands in the token to the name that clients have to ask for, where the
	// issuer uses two.
	AdvertisedScopes map[string]string
	CustomClaims     []*identity.Rule // all of them must hold
	// Introspection asks the issuer about tokens that are not JWTs. Without it they are refused.
	Introspection *Introspector
	MaxLifetime   time.Duration // from iat to exp; default 24 h
}

// discovered is a KeySource that learns its issuer from a discovery document.
type discovered interface {
	Load(ctx context.Context) error  // reads the document if that has not happened yet
	Issuer() identity.Issuer         // "" while unknown
	Issues(iss identity.Issuer) bool // may be true for more than one while unknown
}

// Validate reports rules that cannot be meant.
func (z *Authorizer) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if z.Keys == nil {
		fault("it has no keys")
	}
	if _, ok := z.Keys.(discovered); z.Issuer == "" && !ok {
		fault("it has no issuer")
	}
	for _, a := range z.Algorithms {
		if !jose.KnownAlgorithm(a) {
			fault("algorithm %q is not one that tokens may be signed with here", a)
		}
	}
	switch {
	case z.Own && (z.NoAudience || len(z.AllowedAudience) > 0):
		fault("the audience of own tokens is the endpoint; it cannot be set")
	case z.Own:
	case z.NoAudience && len(z.AllowedAudience) > 0:
		fault("it has allowed audiences and is told to look at none")
	case z.NoAudience && len(z.AllowedClients) == 0:
		fault("without an audience the allowed clients are required, or tokens for any other application would do")
	case !z.NoAudience && len(z.AllowedAudience) == 0:
		fault("allowed audience is empty; name what the issuer puts into aud")
	}
	for _, rule := range z.CustomClaims {
		if err := rule.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	if z.Introspection != nil && z.Own {
		fault("own tokens are never opaque; introspection is for other issuers")
	}
	if z.MaxLifetime < 0 {
		fault("the longest lifetime is negative")
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("authorizer %s: %w", z.Name, err)
	}
	return nil
}

func (z *Authorizer) issuer() identity.Issuer {
	if z.Issuer != "" {
		return z.Issuer
	}
	if d, ok := z.Keys.(discovered); ok {
		return d.Issuer()
	}
	return ""
}

func (z *Authorizer) accepts(iss identity.Issuer) bool {
	if z.Issuer != "" {
		return z.Issuer == iss
	}
	d, ok := z.Keys.(discovered)
	return ok && d.Issues(iss)
}

func (z *Authorizer) algorithms() []string {
	if len(z.Algorithms) > 0 {
		return z.Algorithms
	}
	return jose.DefaultAlgorithms()
}

// advertised translates scopes of the token into what clients ask for.
func (z *Authorizer) advertised(scopes identity.Scopes) identity.Scopes {
	var out identity.Scopes
	for _, s := range scopes {
		if name, ok := z.AdvertisedScopes[s]; ok {
			s = name
		}
		out = out.Union(identity.Scopes{s})
	}
	return out
}

func (z *Authorizer) longest() time.Duration { return cmp.Or(z.MaxLifetime, defaultMaxLifetime) }

// judge applies the rules to a token whose signature and times are good, and returns the first that does not hold, or nil.
func (z *Authorizer) judge(t *verified, e *Endpoint) *Refusal {
	if t.via == nil && !slices.Contains(z.algorithms(), t.header.Alg) {
		return invalidToken(stepSignature, Reason(jose.AlgRefused), "the access token is signed with an algorithm that is not accepted", nil)
	}
	if t.ours() && !t.header.IsType("at+jwt") { // RFC 9068 §4; the only other JWTs that we sign for clients are ID tokens
		return invalidToken(stepType, IDTokenUsed, "this is an ID token; use the access token",
			fmt.Errorf("typ header %.32q, own access tokens have at+jwt", t.header.Typ))
	}
	if longest := z.longest(); t.lifetime > longest {
		return invalidToken(stepTime, LifetimeTooLong, "the access token is valid for longer than is accepted",
			fmt.Errorf("lifetime %s, accepted %s", t.lifetime, longest))
	}
	if !z.audienceOK(t, e) {
		return invalidToken(stepAudience, WrongAudience, "the access token was issued for another audience",
			fmt.Errorf("aud is %.200q, accepted %q", t.audience, z.audience(e)))
	}
	if len(z.AllowedClients) > 0 && !slices.Contains(z.AllowedClients, t.client) {
		return invalidToken(stepClient, WrongClient, "the access token was issued to a client that is not accepted here",
			fmt.Errorf("client is %.200q, accepted %q", t.client, z.AllowedClients))
	}
	for _, rule := range z.CustomClaims {
		if m := rule.Mismatch(t.claims); m != nil {
			return claimRefused(m)
		}
	}
	return z.judgeScopes(t, e)
}

// audience is what aud has to contain one of.
func (z *Authorizer) audience(e *Endpoint) []string {
	if z.Own {
		return []string{e.Resource}
	}
	return z.AllowedAudience
}

func (z *Authorizer) audienceOK(t *verified, e *Endpoint) bool {
	switch {
	case z.Own:
		return slices.Contains(t.audience, e.Resource)
	case z.NoAudience:
		return true
	}
	return slices.ContainsFunc(t.audience, func(a string) bool { return slices.Contains(z.AllowedAudience, a) })
}

func (z *Authorizer) judgeScopes(t *verified, e *Endpoint) *Refusal {
	if len(z.AllowedScopes) > 0 && !t.scopes.HasAny(z.AllowedScopes) {
		return NewInsufficientScope(z.advertised(t.scopes), z.advertised(z.AllowedScopes))
	}
	if z.Own && !t.scopes.HasAll(e.DefaultScopes) {
		return NewInsufficientScope(t.scopes, e.DefaultScopes)
	}
	return nil
}

// claimRefused is the refusal for a claim rule that does not hold. It has another reason when the issuer left the claim out
// of the token because it grew too long (OpenID Connect Core §5.6.2), so that nobody knows what it would say.
func claimRefused(m *identity.Mismatch) *Refusal {
	if m.Moved != "" {
		return invalidToken(stepClaims, GroupsUnknown, "the access token does not carry a claim that is needed here, because it has too many values",
			fmt.Errorf("claim %q is only referred to (_claim_names); have the issuer assign fewer groups to the application, or use application roles", m.Moved))
	}
	return invalidToken(stepClaims, ClaimMismatch, "a claim of the access token does not have a value that is accepted here",
		fmt.Errorf("expected %s, found %s", m.Expected, m.Found))
}
