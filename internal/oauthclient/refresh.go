package oauthclient

import (
	"context"
	"net/url"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// RefreshOutcome says what a refresh means for the person's grants.
type RefreshOutcome string

// The outcomes.
const (
	OutcomeRenewed       RefreshOutcome = "renewed"       // the IdP still vouches for the person
	OutcomeEnded         RefreshOutcome = "ended"         // the IdP said no: the person has to sign in again, if they may
	OutcomeUnknown       RefreshOutcome = "unknown"       // the IdP said nothing that counts: unreachable, in trouble, too slow
	OutcomeMisconfigured RefreshOutcome = "misconfigured" // the IdP does not accept Gatehouse itself; says nothing of the person
)

// RefreshOptions say whose refresh token it is.
type RefreshOptions struct {
	Person identity.PersonKey
	// Known is what the IdP said of the person before, as in Person.Claims, for Options.Require: when it says nothing new,
	// that is still so; and how the person signed in (acr, amr) is so until they sign in again.
	Known identity.Claims
}

// Refresh redeems a refresh token for the person to whom it was given (RFC 6749 §6, OpenID Connect Core §12).
//
// The result is nil only when the IdP gave no tokens. Otherwise its RefreshToken, if there is one, replaces the old one
// whatever the outcome, since the IdP may accept no other from now on; and everything else in it counts only when the
// outcome is OutcomeRenewed. Without IDTokenClaims the IdP said nothing new of the person: only the key is filled in. Redeem
// one at a time: an IdP that rotates takes two at once for theft.
func (p *Provider) Refresh(ctx context.Context, token secret.Text, o RefreshOptions) (*Result, RefreshOutcome, error) {
	m, err := p.Metadata(ctx)
	if err != nil {
		return nil, outcomeOf(err), err
	}
	t, err := p.redeem(ctx, m, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.Reveal()}})
	if err != nil {
		return rotated(t), outcomeOf(err), err
	}
	if t.IDToken == "" {
		if err := p.stillAdmit(o.Known); err != nil {
			return rotated(t), outcomeOf(err), err
		}
		r := rotated(t)
		if r == nil {
			r = &Result{}
		}
		r.Issuer, r.Person.Key, r.AccessTokenExpiry = o.Person.Issuer, o.Person, t.expiry(p.o.Now())
		return r, OutcomeRenewed, nil
	}
	r, err := p.result(ctx, m, t, expectation{known: o.Known})
	if err == nil && r.Person.Key != o.Person {
		err = p.fail(Rejected, ReasonTokenSubject, "the refreshed ID token is another person's", nil)
	}
	if err != nil {
		return rotated(t), outcomeOf(err), err
	}
	return r, OutcomeRenewed, nil
}

// stillAdmit applies the rule to what the IdP said before. A rule that is newer than that has nothing to go by.
func (p *Provider) stillAdmit(known identity.Claims) error {
	if p.o.Require != nil && known == nil {
		return p.fail(SignInNeeded, ReasonPersonRefused, "whether the person meets what is required is only known after another sign-in", nil)
	}
	return p.admit(known)
}

// rotated keeps the one thing that must not get lost.
func rotated(t tokens) *Result {
	if t.RefreshToken == "" {
		return nil
	}
	return &Result{RefreshToken: secret.New(t.RefreshToken)}
}

// outcomeOf is strict about what ends a person's access: the IdP's own no, the administrator's own rules, and an ID
// token of somebody else. An ID token that we cannot accept for another reason is a fault between the IdP and us.
func outcomeOf(err error) RefreshOutcome {
	switch reason := ReasonOf(err); KindOf(err) {
	case Denied, SignInNeeded:
		return OutcomeEnded
	case Rejected:
		if reason == ReasonGrantRefused || reason == ReasonTokenSubject || reason == ReasonUserinfo {
			return OutcomeEnded
		}
		return OutcomeMisconfigured
	case Misconfigured:
		return OutcomeMisconfigured
	}
	return OutcomeUnknown
}
