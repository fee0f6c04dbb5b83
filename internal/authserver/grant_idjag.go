package authserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/store"
)

// Enterprise-Managed Authorization: the MCP extension io.modelcontextprotocol/enterprise-managed-authorization, and
// draft-ietf-oauth-identity-assertion-authz-grant on which it rests.
const (
	grantProfile = "urn:ietf:params:oauth:grant-profile:id-jag"
	typIDJAG     = "oauth-id-jag+jwt"
	idJAGLife    = 20 * time.Minute // from iat to exp, at most; the extension's own example has a quarter of an hour
)

// Assertions are the identity providers whose word about a person counts here without the person.
type Assertions interface {
	// VerifyAssertion checks that a trusted provider signed the assertion. When the provider cannot be asked for its keys,
	// the error has the reason jose.KeysUnavailable.
	VerifyAssertion(ctx context.Context, t *jose.Token) error
	// AssertedPerson returns whom verified claims speak of, or identity.ErrGone when they may not come in.
	AssertedPerson(ctx context.Context, claims identity.Claims) (identity.Person, error)
}

// idJAG is an identity assertion grant, and what of it is in force.
type idJAG struct {
	claims   identity.Claims
	id       string
	issued   time.Time
	expires  time.Time
	resource *Resource
	scopes   identity.Scopes
}

// redeemIDJAG is the grant of Enterprise-Managed Authorization: an identity provider has decided that this client may act
// for this person at this endpoint, and says so in an ID-JAG. Nothing of it is asked of the person; so everything in it is
// held to the letter, and it is good once. There is no refresh token: the client gets a new ID-JAG, and the identity
// provider its say (draft §4.4.2).
func (s *Server) redeemIDJAG(req *redemption) (*issue, error) {
	text := req.form.Get("assertion")
	if text == "" {
		return nil, refuse(codeInvalidRequest, "id_jag_missing", "assertion is missing")
	}
	t, err := jose.Parse(text)
	if err != nil {
		return nil, refuseIDJAG("id_jag_unreadable", "the assertion is not a signed JWT", err)
	}
	a, err := s.checkIDJAG(req, t)
	if err != nil {
		return nil, err
	}
	ctx := req.r.Context()
	switch err := s.Assertions.VerifyAssertion(ctx, t); {
	case jose.ReasonOf(err) == jose.KeysUnavailable:
		return nil, unavailable(err)
	case err != nil:
		return nil, refuseIDJAG("id_jag_signature", "the assertion is not signed by an identity provider that is trusted here", err)
	}
	if err := s.useIDJAG(ctx, a); err != nil {
		return nil, err
	}
	person, err := s.assertedPerson(ctx, a.claims)
	if err != nil {
		return nil, err
	}
	grant := store.Grant{
		ID: identity.GrantID(rand.Text()), Person: person.Key, Client: req.client.ID, ClientName: req.client.Name, Resource: a.resource.URL,
		Scopes: a.scopes, CreatedAt: a.issued, LastUsed: req.now, Expires: req.now.Add(req.client.Lifetimes.Access),
	}
	if at, ok := a.claims.Time("auth_time"); ok && !at.After(req.now) {
		grant.AuthTime = at
	}
	// What was revoked since the identity provider said so stays revoked: the grant counts from then.
	switch err := s.Store.CreateGrant(ctx, grant, nil); {
	case errors.Is(err, store.ErrRevoked):
		return nil, refuse(codeInvalidGrant, "grant_revoked", "the person's access was ended after the assertion was made")
	case err != nil:
		return nil, unavailable(err)
	}
	return &issue{grant: grant, person: person, scopes: grant.Scopes}, nil
}

// refuseIDJAG never says what stood in the assertion: that is in the cause, for the log, and not the assertion itself.
func refuseIDJAG(reason, description string, cause error) error {
	e := refuse(codeInvalidGrant, reason, description)
	e.Cause = cause
	return e
}

// checkIDJAG checks all claims but the person's, before anything is asked of anybody (draft §4.4.1; RFC 7523 §3).
func (s *Server) checkIDJAG(req *redemption, t *jose.Token) (*idJAG, error) {
	c := t.Claims
	client, _ := c.String("client_id")
	switch {
	case !t.Header.IsType(typIDJAG):
		return nil, refuseIDJAG("id_jag_type", "the typ of the assertion is not "+typIDJAG, fmt.Errorf("typ is %.64q", t.Header.Typ))
	case !soleString(c["aud"], string(s.Issuer)):
		return nil, refuseIDJAG("id_jag_audience", "the aud of the assertion is not this server's issuer, or not it alone", fmt.Errorf("aud is %.200q, want %s", fmt.Sprint(c["aud"]), s.Issuer))
	case client != string(req.client.ID):
		return nil, refuseIDJAG("id_jag_client", "the client_id of the assertion is another client's", fmt.Errorf("client_id is %.200q", client))
	}
	a := &idJAG{claims: c}
	if err := a.checkTimes(req.now); err != nil {
		return nil, err
	}
	if a.id, _ = c.String("jti"); a.id == "" || len(a.id) > maxJTI {
		return nil, refuseIDJAG("id_jag_jti_missing", "the assertion needs a jti", nil)
	}
	if err := checkConfirmed(c, req.key); err != nil {
		return nil, err
	}
	if err := s.findAsserted(req, a); err != nil {
		return nil, err
	}
	return a, s.checkProofNeeded(req, a.resource.URL)
}

// soleString reports whether a claim is that text, alone or in a list of one. A second name could be that of a server which
// took the assertion to present it here.
func soleString(claim any, want string) bool {
	switch v := claim.(type) {
	case string:
		return v == want
	case []any:
		return len(v) == 1 && v[0] == want
	}
	return false
}

func (a *idJAG) checkTimes(now time.Time) error {
	var hasIssued, hasExpires bool
	a.issued, hasIssued = a.claims.Time("iat")
	a.expires, hasExpires = a.claims.Time("exp")
	switch notBefore, ok := a.claims.Time("nbf"); {
	case !hasIssued || !hasExpires || a.claims["nbf"] != nil && !ok:
		return refuseIDJAG("id_jag_time", "the assertion needs iat and exp, in seconds since 1970", nil)
	case !now.Before(a.expires.Add(assertionSkew)):
		return refuseIDJAG("id_jag_expired", "the assertion has expired", fmt.Errorf("exp %s, our clock %s", a.expires.UTC(), now.UTC()))
	case a.issued.After(now.Add(assertionSkew)) || ok && notBefore.After(now.Add(assertionSkew)):
		return refuseIDJAG("id_jag_time", "the assertion is not valid yet", fmt.Errorf("iat %s, nbf %s, our clock %s; is one of the clocks wrong?", a.issued.UTC(), notBefore.UTC(), now.UTC()))
	case a.expires.Sub(a.issued) > idJAGLife:
		return refuseIDJAG("id_jag_lifetime", "the assertion lives too long", fmt.Errorf("from iat to exp %s, accepted are %s", a.expires.Sub(a.issued), idJAGLife))
	}
	if a.issued.After(now) {
		a.issued = now
	}
	return nil
}

// checkConfirmed holds an assertion that is bound to a key against the key of the request's proof.
func checkConfirmed(c identity.Claims, key string) error {
	confirmation, ok := c.Confirmation()
	if !ok || confirmation.Certificate != "" {
		return refuseIDJAG("unknown_binding", "the assertion is bound to its holder in a way that is not known here", fmt.Errorf("cnf is %.200q", fmt.Sprint(c["cnf"])))
	}
	return checkKey(confirmation.Key, key, "the assertion")
}

// findAsserted finds the endpoint and the scopes. The assertion is for its resource and no other; where it names none, the
// request does. Scopes are those of the assertion that the endpoint knows, and of those what the request asks for.
func (s *Server) findAsserted(req *redemption, a *idJAG) error {
	var err error
	if named, present := a.claims["resource"]; present {
		list, ok := a.claims.Strings("resource")
		if !ok || len(list) == 0 || list[0] == "" {
			return refuseIDJAG("id_jag_resource", "the resource of the assertion is no URL", fmt.Errorf("resource is %.200q", fmt.Sprint(named)))
		}
		if a.resource, err = s.current.Load().findResource(list); err != nil {
			return refuseIDJAG("id_jag_resource", "the resource of the assertion is not an endpoint of this server, or not one alone", fmt.Errorf("resource is %.200q", list))
		}
		if err := checkResource(req.form["resource"], a.resource.URL); err != nil {
			return err
		}
	} else if a.resource, err = s.current.Load().findResource(req.form["resource"]); err != nil {
		return err
	}
	if a.resource == nil {
		return refuse(codeInvalidTarget, "resource_missing", "name the endpoint that the token is for in resource")
	}
	return a.findScopes(req)
}

func (a *idJAG) findScopes(req *redemption) error {
	known := a.resource.Scopes
	if len(req.client.Scopes) > 0 {
		known = known.Intersect(req.client.Scopes)
	}
	a.scopes = known.Intersect(a.resource.DefaultScopes) // of an assertion that says nothing about scopes
	if named, present := a.claims["scope"]; present {
		text, ok := named.(string)
		a.scopes = identity.ParseScopes(text).Intersect(known)
		if !ok || len(a.scopes) == 0 && text != "" {
			return refuseIDJAG("id_jag_scope", "the scope of the assertion has none that this client may have at the endpoint", fmt.Errorf("scope is %.200q, known there are %q", fmt.Sprint(named), known.String()))
		}
	}
	if asked := identity.ParseScopes(req.form.Get("scope")); len(asked) > 0 {
		if a.scopes = asked.Intersect(a.scopes); len(a.scopes) == 0 {
			return refuse(codeInvalidScope, "scope_not_allowed", "the assertion allows none of these scopes")
		}
	}
	return nil
}

// useIDJAG takes an assertion once, on all copies, for as long as it could come again.
func (s *Server) useIDJAG(ctx context.Context, a *idJAG) error {
	iss, _ := a.claims.String("iss")
	first, err := s.Store.UseOnce(ctx, "identity assertion", iss+"\x00"+a.id, a.expires.Add(assertionSkew))
	switch {
	case err != nil:
		return unavailable(err)
	case !first:
		return refuseIDJAG("id_jag_replayed", "the assertion was used before: get a new one for each token", nil)
	}
	return nil
}

func (s *Server) assertedPerson(ctx context.Context, claims identity.Claims) (identity.Person, error) {
	person, err := s.Assertions.AssertedPerson(ctx, claims)
	switch {
	case errors.Is(err, identity.ErrGone):
		e := refuse(codeInvalidGrant, "person_gone", "the person may not have access")
		e.Cause = err
		return person, e
	case err != nil:
		return person, unavailable(err)
	}
	return person, nil
}
