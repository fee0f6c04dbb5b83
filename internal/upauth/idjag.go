package upauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// Exchange is where a person's ID token is exchanged for an assertion of the person's identity to an authorization server
// (RFC 8693, draft-ietf-oauth-identity-assertion-authz-grant). The administrator answers for its URL.
type Exchange struct {
	TokenEndpoint string // of the identity provider
	Issuer        identity.Issuer
	Client        Client // at the identity provider
	IDToken       func(ctx context.Context) (secret.Text, error)
}

// EnterpriseManaged gets tokens for the person of an ID token, through the person's identity provider (SEP-990).
func EnterpriseManaged(x Exchange) Grant { return enterpriseManaged{assertion{}, x} }

type enterpriseManaged struct {
	assertion
	x Exchange
}

const idJAG = "urn:ietf:params:oauth:token-type:id-jag"

func (g enterpriseManaged) request(ctx context.Context, s *Source, p *place, _ Client, scopes identity.Scopes) (url.Values, error) {
	const doing = "exchange the ID token at the identity provider"
	at, err := secureURL(g.x.TokenEndpoint)
	if err != nil {
		return nil, s.fail(doing, err, "")
	}
	idToken, err := g.x.IDToken(ctx)
	if err != nil {
		return nil, s.fail("get the person's ID token", err, "")
	}
	form, header := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {idJAG},
		"subject_token": {idToken.Reveal()}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
		"audience": {string(p.server.Issuer)}, "resource": {p.resource},
	}, http.Header{}
	if len(scopes) > 0 {
		form.Set("scope", scopes.String())
	}
	if err := s.authenticate(server{Issuer: g.x.Issuer}, g.x.Client, form, header); err != nil {
		return nil, s.fail(doing, err, "")
	}
	a, err := s.post(ctx, at, true, form, header)
	if err != nil {
		return nil, s.fail(doing, err, "")
	}
	if a.status != http.StatusOK {
		return nil, s.refusedBy("the identity provider", a)
	}
	var r tokenResponse
	if err := json.Unmarshal(a.body, &r); err != nil {
		return nil, s.fail(doing, err, "")
	}
	switch {
	case r.Issued != idJAG:
		return nil, s.fail(doing, fmt.Errorf("it issued a %.100q, want %s", r.Issued, idJAG), "")
	case r.Access == "":
		return nil, s.fail(doing, errors.New("it issued nothing"), "")
	}
	return url.Values{"assertion": {r.Access}}, nil
}
