package upauth

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/loopback"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

// clientAt returns what the server of a place knows us as, in the order of MCP basic/authorization: registered by hand, by
// our metadata document, dynamically. What was registered at one issuer is never used at another.
func (s *Source) clientAt(ctx context.Context, p *place) (Client, error) {
	issuer := p.server.Issuer
	if s.o.Client.ID != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.home == "" {
			s.home = issuer
		}
		if s.home != issuer {
			return Client{}, s.fail("choose the client", fmt.Errorf("it belongs to %s, and the target has turned to %.200q", s.home, issuer), "")
		}
		return s.o.Client, nil
	}
	if s.o.Document != "" && p.server.Documents {
		return Client{ID: identity.ClientID(s.o.Document)}, nil
	}
	s.mu.Lock()
	c, known := s.clients[issuer]
	s.mu.Unlock()
	if known && (c.expires.IsZero() || s.o.Now().Before(c.expires)) {
		return c, nil
	}
	if p.server.RegistrationEndpoint == "" {
		return Client{}, s.fail("become a client", fmt.Errorf("%.200q has no dynamic registration, and takes no client metadata documents", issuer),
			"register a client there by hand and set its client id")
	}
	c, err := s.register(ctx, p)
	if err != nil {
		return Client{}, err
	}
	s.mu.Lock()
	s.clients[issuer] = c
	s.mu.Unlock()
	return c, nil
}

// forget drops a dynamic registration that its server no longer knows.
func (s *Source) forget(issuer identity.Issuer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, issuer)
}

// registration is client metadata (RFC 7591 §2, with application_type of OpenID Connect Registration §2).
type registration struct {
	Name         string   `json:"client_name"`
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	Grants       []string `json:"grant_types"`
	Responses    []string `json:"response_types,omitempty"`
	AuthMethod   string   `json:"token_endpoint_auth_method"`
	Application  string   `json:"application_type"`
	Bound        bool     `json:"dpop_bound_access_tokens,omitzero"`
}

// register registers dynamically (RFC 7591 §3).
func (s *Source) register(ctx context.Context, p *place) (Client, error) {
	const doing = "register at the authorization server"
	at, err := secureURL(p.server.RegistrationEndpoint)
	if err != nil {
		return Client{}, s.fail(doing, err, "")
	}
	m := registration{Name: "Gatehouse", Grants: []string{s.o.Grant.grantType()}, AuthMethod: s.registeredMethod(p.server), Application: "web", Bound: s.key != nil}
	s.o.Grant.describe(&m)
	body, err := json.Marshal(m)
	if err != nil {
		return Client{}, s.fail(doing, err, "")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return Client{}, s.fail(doing, err, "")
	}
	req.Header.Set("Content-Type", "application/json")
	a, err := s.do(req, p.trusted)
	if err != nil {
		return Client{}, s.fail(doing, err, "")
	}
	if a.status != http.StatusCreated && a.status != http.StatusOK {
		return Client{}, s.refusedBy("for a registration", a)
	}
	var r struct {
		ID         identity.ClientID `json:"client_id"`
		Secret     string            `json:"client_secret"`
		Expires    float64           `json:"client_secret_expires_at"`
		AuthMethod string            `json:"token_endpoint_auth_method"`
	}
	if err := json.Unmarshal(a.body, &r); err != nil {
		return Client{}, s.fail("read the answer to the registration", err, "")
	}
	c := Client{ID: r.ID, Secret: secret.New(r.Secret), AuthMethod: m.AuthMethod}
	if r.AuthMethod != "" {
		c.AuthMethod = r.AuthMethod
	}
	if r.Expires > 0 {
		c.expires = time.Unix(int64(r.Expires), 0)
	}
	switch c.AuthMethod {
	case authNone:
		c.Secret = secret.Text{}
	case oauthclient.AuthBasic, oauthclient.AuthPost:
		if r.Secret == "" {
			return Client{}, s.fail("read the answer to the registration", fmt.Errorf("it gives no secret for %s", c.AuthMethod), "")
		}
	default:
		return Client{}, s.fail("read the answer to the registration", fmt.Errorf("it wants clients to authenticate by %.100q", c.AuthMethod), "")
	}
	if c.ID == "" {
		return Client{}, s.fail("read the answer to the registration", fmt.Errorf("it names no client_id"), "")
	}
	return c, nil
}

// registeredMethod is the best way to authenticate that the server offers to who registers.
func (s *Source) registeredMethod(m server) string {
	for _, method := range []string{oauthclient.AuthBasic, oauthclient.AuthPost} {
		if can(m.AuthMethods, oauthclient.AuthBasic, method) {
			return method
		}
	}
	return authNone
}

// applicationType is native for redirects to this machine, web for all others (MCP basic/authorization, registration).
func applicationType(redirect string) string {
	u, err := url.Parse(redirect)
	if err == nil && (loopback.Is(u.Hostname()) || !strings.HasPrefix(u.Scheme, "http")) {
		return "native"
	}
	return "web"
}
