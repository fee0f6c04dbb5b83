package oauthclient

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/identity"
)

// BeginOptions is what one sign-in asks for (OpenID Connect Core §3.1.2.1).
type BeginOptions struct {
	LoginHint string         // who is probably signing in
	Prompt    string         // login, consent, select_account (login where that is unknown), or none alone
	MaxAge    *time.Duration // how long ago the person may have signed in at the IdP; checked in the ID token
}

// Pending is one sign-in under way: what the answer must match. It holds secrets. The caller seals it into a cookie of
// the browser that asked, and accepts it once; it encodes as JSON.
type Pending struct {
	Provider    string          `json:"provider"`
	Issuer      identity.Issuer `json:"issuer"`
	IssRequired bool            `json:"iss_required,omitempty"` // the IdP advertises iss in its answers (RFC 9207 §3)
	RedirectURI string          `json:"redirect_uri"`
	State       string          `json:"state"`
	Nonce       string          `json:"nonce"`
	Verifier    string          `json:"verifier"`
	MaxAge      *int64          `json:"max_age,omitempty"` // seconds
	Expires     time.Time       `json:"expires"`
}

// String keeps the secrets out of messages.
func (s Pending) String() string { return "sign-in at " + s.Provider }

// GoString does the same for %#v.
func (s Pending) GoString() string { return s.String() }

// LogValue does the same for logs.
func (s Pending) LogValue() slog.Value { return slog.StringValue(s.String()) }

// PendingLifetime is how long a person has to sign in at the IdP.
const PendingLifetime = 10 * time.Minute

const selectAccount = "select_account"

// Begin returns the URL at the IdP to send the browser to, and what to keep until it comes back.
func (p *Provider) Begin(ctx context.Context, o BeginOptions) (string, Pending, error) {
	m, err := p.Metadata(ctx)
	if err != nil {
		return "", Pending{}, err
	}
	if len(m.ChallengeMethods) > 0 && !slices.Contains(m.ChallengeMethods, "S256") {
		return "", Pending{}, p.fail(Misconfigured, ReasonDiscovery, "the IdP offers PKCE, but not with S256", nil)
	}
	pending := Pending{
		Provider: p.o.Name, Issuer: m.Issuer, IssRequired: m.IssParameter, RedirectURI: p.o.RedirectURI,
		State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), Expires: p.o.Now().Add(PendingLifetime),
	}
	if o.MaxAge != nil {
		seconds := int64(max(*o.MaxAge, 0) / time.Second)
		pending.MaxAge = &seconds
	}
	to, err := url.Parse(m.AuthorizationEndpoint)
	if err != nil {
		return "", Pending{}, p.fail(Misconfigured, ReasonDiscovery, "the discovery document's authorization_endpoint", err)
	}
	query := to.Query() // the endpoint may have parameters of its own (RFC 6749 §3.1)
	for name, values := range p.authorizeParams(m, o, pending) {
		query[name] = values
	}
	to.RawQuery = query.Encode()
	return to.String(), pending, nil
}

func (p *Provider) authorizeParams(m Metadata, o BeginOptions, s Pending) url.Values {
	q := url.Values{}
	for _, param := range slices.Concat(p.preset.AuthorizeParams, p.o.AuthorizeParams) {
		q.Set(param.Name, param.Value)
	}
	if p.preset.Name == "" && p.scopes.Has(offlineAccess) && !q.Has("prompt") {
		q.Set("prompt", "consent") // or IdPs that keep to the letter give no refresh token (OpenID Connect Core §11)
	}
	if prompt := p.prompt(m, q.Get("prompt"), o.Prompt); prompt != "" {
		q.Set("prompt", prompt)
	}
	if o.LoginHint != "" {
		q.Set("login_hint", o.LoginHint)
	}
	if s.MaxAge != nil {
		q.Set("max_age", strconv.FormatInt(*s.MaxAge, 10))
	}
	challenge := sha256.Sum256([]byte(s.Verifier)) // RFC 7636 §4.2
	for name, value := range map[string]string{
		"response_type": "code", "client_id": string(p.o.ClientID), "redirect_uri": p.o.RedirectURI, "scope": p.scopes.String(),
		"state": s.State, "nonce": s.Nonce,
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	return q
}

// prompt joins what the configuration always asks for with what this sign-in asks for. none goes with nothing else. Only
// none and login are known to every IdP (OpenID Connect Core §15.1); some answer select_account with an error.
func (p *Provider) prompt(m Metadata, always, now string) string {
	switch {
	case now == "none":
		return now
	case now == selectAccount && !p.preset.SelectAccount && !slices.Contains(m.Prompts, selectAccount):
		now = "login"
	}
	words := identity.ParseScopes(always + " " + now)
	if i := slices.Index(words, "login"); i >= 0 && p.preset.LoginPrompt != "" {
		words[i] = p.preset.LoginPrompt
	}
	return strings.Join(words, " ")
}
