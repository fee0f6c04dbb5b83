package signin

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/store"
)

// asserting is the provider whose assertions about people are trusted, among those to whom the issuer belongs.
func (s *Settings) asserting(iss identity.Issuer) *Provider {
	for i := range s.Providers {
		if p := &s.Providers[i]; p.Assertions && p.Issues(iss) {
			return p
		}
	}
	return nil
}

// VerifyAssertion checks that an identity provider which is trusted for that signed an assertion. When the provider cannot
// be asked for its keys, the error is a *jose.Error that says so.
func (s *Service) VerifyAssertion(ctx context.Context, t *jose.Token) error {
	iss, _ := t.Claims.String("iss")
	p := s.settings.Load().asserting(identity.Issuer(iss))
	if p == nil {
		return &oauthclient.Error{Kind: oauthclient.Rejected, Reason: oauthclient.ReasonTokenIssuer,
			Detail: fmt.Sprintf("no identity provider with id_jag: true has the issuer %.200q", iss)}
	}
	err := p.VerifyAssertion(ctx, t)
	if err != nil && oauthclient.KindOf(err) == oauthclient.Temporary {
		return &jose.Error{Reason: jose.KeysUnavailable, Detail: "ask " + p.Name(), Cause: err}
	}
	return err
}

// AssertedPerson returns whom verified claims speak of: the same person as at a sign-in there, known or new. Its error is
// identity.ErrGone for somebody who may not come in. An assertion says who it is, and rarely more; what the provider said
// before counts while its word holds (VouchLife), and groups that nobody has named are not known.
func (s *Service) AssertedPerson(ctx context.Context, claims identity.Claims) (identity.Person, error) {
	iss, _ := claims.String("iss")
	p := s.settings.Load().asserting(identity.Issuer(iss))
	if p == nil {
		return identity.Person{}, &identity.Gone{Reason: "the identity provider is no longer trusted"}
	}
	who, err := p.AssertedKey(claims)
	if err != nil {
		return identity.Person{}, err
	}
	key := store.FederatedKey{Provider: p.Name(), Issuer: who.Issuer, Subject: who.Subject}
	before, err := s.Store.FindFederated(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		before = store.FederatedPerson{}
	case err != nil:
		return identity.Person{}, err
	case before.EndedReason != "" && !before.NeverSignedIn():
		return identity.Person{}, &identity.Gone{Reason: before.EndedReason}
	}
	if before.NeverSignedIn() || s.age(before) >= VouchLife {
		before = store.FederatedPerson{ID: before.ID}
	}
	asserted, err := p.Asserted(claims, before.Known)
	if oauthclient.ReasonOf(err) == oauthclient.ReasonPersonRefused {
		return identity.Person{}, &identity.Gone{Reason: "the person does not meet what the administrator requires of people of " + p.Name()}
	}
	if err != nil {
		return identity.Person{}, err
	}
	profile, err := profileOfAsserted(p, asserted, before)
	if err != nil {
		return identity.Person{}, err
	}
	if profile.FederatedKey, profile.ID = key, before.ID; profile.ID == "" {
		if profile.ID, err = s.Store.FederatedID(ctx, key); err != nil {
			return identity.Person{}, err
		}
	}
	return s.personOfFederated(p, profile), nil
}

// profileOfAsserted joins what the assertion says with what the provider said before, if that still counts. Nothing of it is
// stored: an assertion is for one client.
func profileOfAsserted(p *Provider, asserted *oauthclient.Asserted, before store.FederatedPerson) (store.FederatedPerson, error) {
	profile, err := profileOf(p, &oauthclient.Result{Person: asserted.Person, GroupsUnknown: asserted.GroupsUnknown || !asserted.SaysGroups})
	if err != nil || before.Provider == "" {
		return profile, err
	}
	keepNames(&profile, before)
	if profile.Email == "" {
		profile.Email = before.Email
	}
	if !asserted.SaysGroups {
		profile.Groups, profile.GroupsUnknown = before.Groups, before.GroupsUnknown
	}
	claims := maps.Clone(before.Claims)
	if claims == nil {
		claims = map[string]any{}
	}
	maps.Copy(claims, profile.Claims)
	profile.Claims = claims
	return profile, nil
}
