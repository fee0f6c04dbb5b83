package upauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"time"

	"gatehouse/internal/identity"
)

// Grant is a way to a first token: ClientCredentials, AuthorizationCode or Assertion.
type Grant interface {
	grantType() string
	// request returns what goes into the token request beside scope, resource and client authentication.
	request(ctx context.Context, s *Source, p *place, c Client, scopes identity.Scopes) (url.Values, error)
	describe(m *registration)
	// alone reports whether a token can be had at any time, without a person.
	alone() bool
	patience() time.Duration
}

// machinePatience bounds everything that it takes to get a token without a person.
const machinePatience = 30 * time.Second

// ClientCredentials gets tokens for Gatehouse itself (RFC 6749 §4.4, SEP-1046).
func ClientCredentials() Grant { return clientCredentials{} }

type clientCredentials struct{}

func (clientCredentials) grantType() string       { return "client_credentials" }
func (clientCredentials) describe(*registration)  {}
func (clientCredentials) alone() bool             { return true }
func (clientCredentials) patience() time.Duration { return machinePatience }

func (clientCredentials) request(context.Context, *Source, *place, Client, identity.Scopes) (url.Values, error) {
	return url.Values{}, nil
}

// Assertion gets tokens for a JWT that another issuer has signed (RFC 7523 §2.1). sign is asked for one each time, for
// the issuer of the authorization server and for the target's resource identifier.
func Assertion(sign func(ctx context.Context, issuer identity.Issuer, resource string, scopes identity.Scopes) (string, error)) Grant {
	return assertion{sign}
}

type assertion struct {
	sign func(ctx context.Context, issuer identity.Issuer, resource string, scopes identity.Scopes) (string, error)
}

func (assertion) grantType() string       { return "urn:ietf:params:oauth:grant-type:jwt-bearer" }
func (assertion) describe(*registration)  {}
func (assertion) alone() bool             { return true }
func (assertion) patience() time.Duration { return machinePatience }

func (g assertion) request(ctx context.Context, s *Source, p *place, _ Client, scopes identity.Scopes) (url.Values, error) {
	jwt, err := g.sign(ctx, p.server.Issuer, p.resource, scopes)
	if err != nil {
		return nil, s.fail("get an assertion", err, "")
	}
	return url.Values{"assertion": {jwt}}, nil
}

// AuthorizationCode gets tokens for a person, with PKCE (RFC 6749 §4.1, RFC 7636). visit takes the person to the
// authorization URL, and returns the URL on which the person came back to redirectURI.
func AuthorizationCode(redirectURI string, visit func(ctx context.Context, authorizationURL string) (*url.URL, error)) Grant {
	return authorizationCode{redirectURI, visit}
}

type authorizationCode struct {
	redirect string
	visit    func(ctx context.Context, authorizationURL string) (*url.URL, error)
}

func (authorizationCode) grantType() string       { return "authorization_code" }
func (authorizationCode) alone() bool             { return false }
func (authorizationCode) patience() time.Duration { return 10 * time.Minute }

func (g authorizationCode) describe(m *registration) {
	m.RedirectURIs, m.Responses = []string{g.redirect}, []string{"code"}
	m.Grants = append(m.Grants, "refresh_token")
	m.Application = applicationType(g.redirect)
}

func (g authorizationCode) request(ctx context.Context, s *Source, p *place, c Client, scopes identity.Scopes) (url.Values, error) {
	const doing = "ask for an authorization"
	at, err := secureURL(p.server.AuthorizationEndpoint)
	if err != nil {
		return nil, s.fail(doing, fmt.Errorf("authorization_endpoint: %w", err), "")
	}
	if !can(p.server.Challenges, "none", "S256") {
		return nil, s.fail(doing, errors.New("the authorization server does not say that it checks PKCE with S256"), "")
	}
	state, verifier := rand.Text(), rand.Text()+rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	q := at.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": string(c.ID), "redirect_uri": g.redirect, "state": state, "resource": p.resource,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	if len(scopes) > 0 {
		q.Set("scope", scopes.String())
	}
	if s.o.WithoutResource {
		q.Del("resource")
	}
	at.RawQuery = q.Encode()
	back, err := g.visit(ctx, at.String())
	if err != nil {
		return nil, s.fail(doing, err, "")
	}
	code, err := codeIn(back.Query(), state, p.server)
	if err != nil {
		return nil, s.fail(doing, err, "")
	}
	return url.Values{"code": {code}, "redirect_uri": {g.redirect}, "code_verifier": {verifier}}, nil
}

// codeIn reads an authorization response. Its issuer is compared byte for byte before anything that it says is believed,
// also when it is an error (RFC 9207 §2.4).
func codeIn(q url.Values, state string, m server) (string, error) {
	for _, name := range []string{"state", "iss", "code", "error"} {
		if len(q[name]) > 1 {
			return "", fmt.Errorf("the answer has %s more than once", name)
		}
	}
	switch iss, named := q["iss"]; {
	case subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1:
		return "", errors.New("the answer belongs to another request: its state is another one")
	case named && iss[0] != string(m.Issuer):
		return "", fmt.Errorf("the answer comes from the issuer %.200q, and %s was asked", iss[0], m.Issuer)
	case !named && m.IssParameter:
		return "", errors.New("the answer does not name its issuer, though the authorization server says that it does")
	case q.Has("error"):
		return "", fmt.Errorf("it was refused: %.100q %.300q", q.Get("error"), q.Get("error_description"))
	case q.Get("code") == "":
		return "", errors.New("the answer has no code")
	}
	return q.Get("code"), nil
}
