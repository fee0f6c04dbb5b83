package doctor

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/loopback"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/vendor"
)

// Provider is somebody else's issuer: one whose tokens are accepted, or, with SignIn, one at which people sign in.
type Provider struct {
	Name         string
	Setting      string // where it stands in the configuration
	DiscoveryURL string
	SignIn       *oauthclient.Options // Gatehouse's application there

	Leads         []string // paths of the endpoints whose metadata sends clients there
	Audience      bool     // the aud of its tokens is checked
	Clients       []identity.ClientID
	Introspection *Introspection
}

// Introspection says where to ask about opaque tokens, and as whom.
type Introspection struct {
	URL          string // empty: as the metadata says
	ClientID     string
	ClientSecret secret.Text
	Post         bool // the secret goes into the form
}

// provider reads the provider's metadata and keys as Gatehouse and clients do, then what depends on its use.
func (p *probe) provider(ctx context.Context, s *Setup, o Provider) []Finding {
	r := &report{about: "provider " + o.Name}
	setting := o.Setting + ".discovery_url"
	a := p.get(ctx, o.DiscoveryURL)
	if !r.connection(a, setting, s.Now()) {
		return r.all
	}
	r.clock(a, hostOf(o.DiscoveryURL))
	m, ok := r.discovery(a, o)
	if !ok {
		return r.all
	}
	p.providerKeys(ctx, m, o, r)
	if o.SignIn != nil {
		p.signIn(ctx, m, o, r)
		return r.all
	}
	if len(o.Leads) > 0 {
		p.direct(ctx, s, m, o, r)
	}
	r.audience(o)
	if o.Introspection != nil {
		p.introspection(ctx, m, o, r)
	}
	return r.all
}

// discovery reads the document, and compares the issuer in it byte for byte (RFC 8414 §3.3).
func (r *report) discovery(a answer, o Provider) (m serverMetadata, ok bool) {
	const check = "metadata"
	t, bad := document(a, o.DiscoveryURL, "copy "+o.Setting+".discovery_url from the provider")
	if bad && t.code != MetadataMediaType {
		if o.SignIn != nil && t.code == MetadataMissing {
			preset, _ := oauthclient.LookupPreset(o.SignIn.Preset)
			t.fix += orElse("", "; ", preset.FormHint)
		}
		r.fail(check, t)
		return m, false
	}
	if err := json.Unmarshal(a.body, &m); err != nil {
		r.fail(check, trouble{MetadataUnreadable, "not the JSON that RFC 8414 describes: " + cause(err), "a JSON object", "correct " + o.Setting + ".discovery_url"})
		return m, false
	}
	if bad && len(o.Leads) > 0 {
		r.warn(check, t) // clients of the Go SDK insist
	}
	expected, err := jose.IssuersOf(o.DiscoveryURL)
	if err != nil {
		r.fail(check, trouble{MetadataUnreadable, clip(err.Error(), 160), "a discovery URL", "correct " + o.Setting + ".discovery_url"})
		return m, false
	}
	if o.SignIn != nil && o.SignIn.Issuer != "" {
		expected = []identity.Issuer{o.SignIn.Issuer}
	}
	template := strings.Contains(m.Issuer, "{tenantid}")
	if !slices.Contains(expected, identity.Issuer(m.Issuer)) && (!template || o.SignIn == nil || len(o.SignIn.Tenants) == 0) {
		r.fail(check, issuerTrouble(m.Issuer, string(expected[0]), o))
		return m, false
	}
	r.ok(check, "issuer %s", clip(m.Issuer, 120))
	return m, true
}

func issuerTrouble(found, expected string, o Provider) trouble {
	t := trouble{IssuerDiffers, "issuer is " + clip(found, 120), expected + ", byte for byte", "use the discovery URL of that issuer: " + clip(strings.TrimSuffix(found, "/"), 120) + oidcWellKnown}
	switch {
	case strings.Contains(found, "{tenantid}"):
		t.fix = "use the tenant's id in place of common or organizations"
	case strings.HasPrefix(found, "http:") && strings.HasPrefix(expected, "https:"):
		t.fix = "the provider does not know that a proxy in front of it does https: tell it its public address (Keycloak: hostname and proxy headers; Dex: issuer; Authentik, Zitadel: the external domain)"
	case vendor.Of(found) == vendor.Entra && strings.Contains(found, "sts.windows.net"):
		t.fix = "use the discovery URL with /v2.0/ in it, and set requestedAccessTokenVersion to 2 at the app registration"
	case o.SignIn != nil:
		t.fix += "; or, if it is meant, set " + o.Setting + ".issuer"
	}
	return t
}

// providerKeys reads the published keys.
func (p *probe) providerKeys(ctx context.Context, m serverMetadata, o Provider, r *report) {
	u, err := url.Parse(m.JWKS)
	if err != nil || u.Host == "" {
		r.fail("keys", trouble{KeysUnusable, "jwks_uri is absent", "a URL", "see whether " + o.DiscoveryURL + " is the right document"})
		return
	}
	if u.Scheme != "https" && !loopback.Is(u.Hostname()) {
		r.fail("keys", trouble{EndpointInsecure, "jwks_uri is " + clip(m.JWKS, 120), "https", "let the provider serve its keys over https"})
		return
	}
	a := p.get(ctx, m.JWKS)
	if t, bad := document(a, m.JWKS, "let this machine reach it"); bad && t.code != MetadataMediaType {
		r.fail("keys", t)
		return
	}
	if len(m.SigningAlgorithms) > 0 && !slices.ContainsFunc(m.SigningAlgorithms, jose.KnownAlgorithm) {
		r.fail("keys", trouble{KeysUnusable, "tokens are signed with " + clip(strings.Join(m.SigningAlgorithms, ", "), 80), "one of " + strings.Join(jose.DefaultAlgorithms(), ", "),
			"give the provider a signing key (Authentik: Signing Key of the OAuth2 provider); with a shared secret nobody else can check tokens"})
		return
	}
	r.keys(a.body, nil)
}

// introspection asks about a token that nobody gave out (RFC 7662).
func (p *probe) introspection(ctx context.Context, m serverMetadata, o Provider, r *report) {
	const check = "introspection"
	in := o.Introspection
	at := in.URL
	if at == "" {
		at = m.Introspection
	}
	if at == "" {
		r.fail(check, trouble{IntrospectionAbsent, "the metadata names no introspection_endpoint", "an endpoint to ask about tokens", "set " + o.Setting + ".introspection.url; some providers have none"})
		return
	}
	form := url.Values{"token": {"gatehouse-doctor"}, "token_type_hint": {"access_token"}}
	q := ask{method: http.MethodPost, url: at, header: map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}}
	if in.Post {
		form.Set("client_id", in.ClientID)
		form.Set("client_secret", in.ClientSecret.Reveal())
	} else {
		q.header["Authorization"] = basic(in.ClientID, in.ClientSecret)
	}
	q.body = form.Encode()
	a := p.do(ctx, q)
	var said struct {
		Active *bool `json:"active"`
	}
	switch {
	case a.err != nil:
		u, err := url.Parse(at)
		if err != nil {
			return
		}
		_, t := way(a.err, u, o.Setting+".introspection.url")
		r.fail(check, t)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status == http.StatusBadRequest:
		r.fail(check, trouble{IntrospectionRefused, a.looks(), "active: false for a made-up token", "correct client_id, client_secret and auth_method of " + o.Setting + ".introspection, and let that client introspect"})
	case a.status != http.StatusOK || json.Unmarshal(a.body, &said) != nil || said.Active == nil:
		r.fail(check, trouble{IntrospectionAbsent, a.looks(), "active: false for a made-up token", "correct " + o.Setting + ".introspection.url"})
	case *said.Active:
		r.fail(check, trouble{IntrospectionLies, "a made-up token is called active", "active: false", "do not use this: whatever answers says yes to everybody"})
	default:
		r.ok(check, "answers, and knows no made-up token")
	}
}

func basic(id string, password secret.Text) string {
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(password.Reveal())) // RFC 6749 §2.3.1
	return req.Header.Get("Authorization")
}

// orElse is text with something before it, unless it is empty.
func orElse(fallback, before, text string) string {
	if text == "" {
		return fallback
	}
	return before + text
}

func list[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, s := range all {
		texts[i] = string(s)
	}
	return clip(strings.Join(texts, ", "), 160)
}
