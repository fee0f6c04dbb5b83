package oauthclient

import (
	"context"
	"maps"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

// VerifyAssertion checks that this IdP signed a JWT that a client brought (ID-JAG,
// draft-ietf-oauth-identity-assertion-authz-grant §4.4.1), and that it is of its own issuer. What the claims allow is
// for the authorization server to judge.
func (p *Provider) VerifyAssertion(ctx context.Context, t *jose.Token) error {
	if err := p.signature(t.Header, t.Verify(ctx, p.keys, p.o.Algorithms)); err != nil {
		return err
	}
	return p.checkIssuer(t.Claims)
}

// Asserted is what an assertion says about a person.
type Asserted struct {
	Person        identity.Person // Key is the same as at a sign-in
	GroupsUnknown bool            // they are only referred to, or of a form without names
	SaysGroups    bool            // there is a claim for them; without one nothing is known
}

// AssertedKey names the person that a verified assertion speaks of: the same key as at a sign-in.
func (p *Provider) AssertedKey(claims identity.Claims) (identity.PersonKey, error) {
	if sub, _ := claims.String("sub"); !usableSubject(sub) {
		return identity.PersonKey{}, p.fail(Rejected, ReasonTokenSubject, "sub is missing or unusable", nil)
	}
	return p.key(claims)
}

// Asserted reads the claims of a verified assertion. Known is what the IdP said of the person lately, which an
// administrator's rule about who may sign in is held against together with the assertion, which wins.
func (p *Provider) Asserted(claims, known identity.Claims) (*Asserted, error) {
	merged := identity.Claims{}
	maps.Copy(merged, known)
	maps.Copy(merged, claims)
	person, groupsUnknown, err := p.person(claims, merged)
	if err != nil {
		return nil, err
	}
	out := &Asserted{Person: person, GroupsUnknown: groupsUnknown, SaysGroups: p.groupsClaim() == ""}
	if values, moved := claims.Lookup(p.groupsClaim()); p.groupsClaim() != "" && (moved || len(values) > 0 || claims["hasgroups"] == true) {
		out.SaysGroups = true
	}
	return out, nil
}
