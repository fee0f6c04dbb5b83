package oauthclient

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
)

// Metadata is what we use of an IdP's discovery document (OpenID Connect Discovery §3, RFC 8414 §2, RFC 9207 §3, OpenID
// Connect RP-Initiated Logout §2.1, Initiating User Registration via OpenID Connect §4).
type Metadata struct {
	Issuer                identity.Issuer `json:"issuer"`
	AuthorizationEndpoint string          `json:"authorization_endpoint"`
	TokenEndpoint         string          `json:"token_endpoint"`
	UserinfoEndpoint      string          `json:"userinfo_endpoint"`
	RevocationEndpoint    string          `json:"revocation_endpoint"`
	EndSessionEndpoint    string          `json:"end_session_endpoint"`
	JWKSURI               string          `json:"jwks_uri"`
	IssParameter          bool            `json:"authorization_response_iss_parameter_supported"`
	TokenAuthMethods      []string        `json:"token_endpoint_auth_methods_supported"`
	ChallengeMethods      []string        `json:"code_challenge_methods_supported"`
	Prompts               []string        `json:"prompt_values_supported"`
	Scopes                []string        `json:"scopes_supported"`
	SigningAlgorithms     []string        `json:"id_token_signing_alg_values_supported"`
}

const (
	maxDocument    = 256 << 10
	metadataFresh  = time.Hour
	metadataRetry  = time.Minute     // after a failure, while an older document serves
	metadataPause  = 5 * time.Second // after a failure without one: how long requests are spared the wait
	requestTimeout = 10 * time.Second
)

// Metadata returns the IdP's metadata, at most an hour old unless the IdP is away: then what it said last time holds.
func (p *Provider) Metadata(ctx context.Context) (Metadata, error) {
	p.mu.Lock()
	known, due, last := p.known, p.due, p.last
	p.mu.Unlock()
	if p.o.Now().Before(due) {
		if known == nil {
			return Metadata{}, last
		}
		return *known, nil // also when it could not be refreshed
	}
	fetched := p.flight.DoChan("", func() (any, error) { return p.renewMetadata(context.WithoutCancel(ctx)) })
	select {
	case r := <-fetched:
		if r.Err != nil {
			return Metadata{}, r.Err
		}
		return *r.Val.(*Metadata), nil
	case <-ctx.Done():
		return Metadata{}, p.fail(Temporary, ReasonUnreachable, "wait for the discovery document", ctx.Err())
	}
}

// renewMetadata fetches the document and returns what holds afterwards.
func (p *Provider) renewMetadata(ctx context.Context) (*Metadata, error) {
	fresh, err := p.fetchMetadata(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.o.Now()
	switch {
	case err == nil:
		p.known, p.due, p.last = fresh, now.Add(metadataFresh), nil
	case p.known == nil:
		p.due, p.last = now.Add(metadataPause), err
		return nil, err
	default:
		p.due, p.last = now.Add(metadataRetry), err
		p.o.Log.Warn("discovery document not refreshed", "provider", p.o.Name, "error", err)
	}
	return p.known, nil
}

func (p *Provider) fetchMetadata(ctx context.Context) (*Metadata, error) {
	answer, err := p.get(ctx, p.o.DiscoveryURL, "")
	if err != nil {
		return nil, p.fail(Temporary, ReasonUnreachable, "get the discovery document", err)
	}
	if answer.status != 200 {
		return nil, p.fail(Temporary, ReasonUnreachable, fmt.Sprintf("get the discovery document: status %d", answer.status), nil)
	}
	var m Metadata
	if err := json.Unmarshal(answer.body, &m); err != nil {
		return nil, p.fail(Misconfigured, ReasonDiscovery, "read the discovery document", err)
	}
	return &m, p.checkMetadata(m)
}

// checkMetadata compares the issuer byte for byte (OpenID Connect Discovery §4.3) and admits only endpoints that keep
// secrets secret.
func (p *Provider) checkMetadata(m Metadata) error {
	if p.template != "" && m.Issuer != p.template || p.template == "" && !p.keys.Issues(m.Issuer) {
		e := p.fail(Misconfigured, ReasonDiscovery, fmt.Sprintf("%s names the issuer %q, which is not the one of that URL", p.o.DiscoveryURL, m.Issuer), nil)
		e.Hint = "use the discovery URL of that issuer, or set the issuer as well"
		if p.preset.FormHint != "" {
			e.Hint += "; " + p.preset.FormHint
		}
		return e
	}
	for _, endpoint := range []struct {
		name, url string
		required  bool
	}{
		{"authorization_endpoint", m.AuthorizationEndpoint, true}, {"token_endpoint", m.TokenEndpoint, true},
		{"userinfo_endpoint", m.UserinfoEndpoint, p.needsUserinfo()}, {"revocation_endpoint", m.RevocationEndpoint, false},
		{"end_session_endpoint", m.EndSessionEndpoint, false},
	} {
		if endpoint.url == "" && !endpoint.required {
			continue
		}
		err := checkEndpoint(endpoint.url)
		if err == nil && strings.HasPrefix(p.o.DiscoveryURL, "https:") && !strings.HasPrefix(strings.ToLower(endpoint.url), "https:") {
			err = fmt.Errorf("URL %q: a document that came over https must name https", endpoint.url) // or an IdP could have this machine's own services asked
		}
		if err != nil {
			return p.fail(Misconfigured, ReasonDiscovery, "the discovery document's "+endpoint.name, err)
		}
	}
	_, err := p.authMethod(m)
	return err
}

// keepMetadata refreshes the document when it is due.
func (p *Provider) keepMetadata(ctx context.Context) error {
	for ctx.Err() == nil {
		_, err := p.Metadata(ctx)
		p.mu.Lock()
		wait := p.due.Sub(p.o.Now())
		p.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			p.o.Log.Warn("discovery document not read", "provider", p.o.Name, "error", err)
			wait = metadataRetry
		}
		timer := time.NewTimer(max(wait, time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
	return nil
}
