package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/jose"
)

func itoa[T ~int | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// resourceMetadata reads the protected-resource metadata as clients do (RFC 9728 §3), and returns the issuer that it
// leads to.
func (p *probe) resourceMetadata(ctx context.Context, s *Setup, e Endpoint, r *report) (issuer string) {
	const check = "resource metadata"
	at := s.PublicURL + prmWellKnown + e.Path
	a := p.get(ctx, at)
	if t, bad := document(a, at, "let the proxy send /.well-known/oauth-protected-resource to Gatehouse, without a sign-in"); bad {
		r.fail(check, t)
		return ""
	}
	var doc struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		r.fail(check, trouble{MetadataUnreadable, "not the JSON that RFC 9728 describes: " + cause(err), "a JSON object", "see what answers at " + at})
		return ""
	}
	want := s.PublicURL + e.Path
	switch {
	case doc.Resource != want:
		r.fail(check, trouble{ResourceDiffers, "resource is " + clip(doc.Resource, 120), want + ", byte for byte", "let public_url and the endpoint's path be what people type: clients compare them"})
	case len(doc.Servers) == 0:
		r.fail(check, trouble{IssuerAbsent, "authorization_servers is empty", "an issuer", "the issuer that leads the endpoint could not be reached; see the findings about it"})
	case doc.Scopes == nil:
		r.fail(check, trouble{ScopesAbsent, "scopes_supported is absent", "a list, if need be an empty one", "see what answers at " + at + ": Gatehouse writes it, and Kiro needs it"})
	default:
		r.ok(check, "resource is the endpoint's URL, sign-in at %s", clip(doc.Servers[0], 120))
	}
	if len(doc.Servers) == 0 {
		return ""
	}
	if e.Own && doc.Servers[0] != s.PublicURL {
		r.fail("issuer", trouble{IssuerDiffers, "authorization_servers begins with " + clip(doc.Servers[0], 120), s.PublicURL + ", byte for byte", "another installation answers, or one with another configuration"})
		return ""
	}
	return doc.Servers[0]
}

// document says what is wrong with the answer for a metadata document, before anybody reads it. Clients follow no
// redirects for it, and some insist on the media type.
func document(a answer, at, forward string) (trouble, bool) {
	expected := "a JSON document at " + at
	switch {
	case a.err != nil:
		u, err := url.Parse(at)
		if err != nil {
			return trouble{MetadataMissing, cause(err), expected, "correct the URL"}, true
		}
		_, t := way(a.err, u, at)
		return t, true
	case a.status/100 == 3:
		return trouble{MetadataRedirected, "a redirect to " + clip(a.header.Get("Location"), 120), expected, "serve it without a redirect: clients do not follow one here"}, true
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return trouble{MetadataGuarded, a.looks(), expected, "metadata is for everybody: " + forward}, true
	case a.status != http.StatusOK:
		return trouble{MetadataMissing, a.looks(), expected, forward}, true
	case a.isHTML():
		return trouble{MetadataMissing, a.looks(), expected, forward}, true
	case a.mediaType() != "application/json":
		return trouble{MetadataMediaType, "Content-Type is " + clip(a.header.Get("Content-Type"), 60), "application/json", "let the proxy pass Content-Type as it is"}, true
	}
	return trouble{}, false
}

// serverMetadata is what clients read of an authorization server (RFC 8414 §2, OpenID Connect Discovery §3).
type serverMetadata struct {
	Issuer            string   `json:"issuer"`
	Authorization     string   `json:"authorization_endpoint"`
	Token             string   `json:"token_endpoint"`
	Registration      string   `json:"registration_endpoint"`
	JWKS              string   `json:"jwks_uri"`
	Challenges        []string `json:"code_challenge_methods_supported"`
	ResponseTypes     []string `json:"response_types_supported"`
	Scopes            []string `json:"scopes_supported"`
	AuthMethods       []string `json:"token_endpoint_auth_methods_supported"`
	SigningAlgorithms []string `json:"id_token_signing_alg_values_supported"`
	Introspection     string   `json:"introspection_endpoint"`
}

// ownServer walks through the built-in authorization server as a client does.
func (p *probe) ownServer(ctx context.Context, s *Setup, issuer string, r *report) {
	if issuer == "" {
		r.skip("metadata", "no endpoint leads there, or its metadata could not be read")
		return
	}
	const forward = "let the proxy send /.well-known/oauth-authorization-server and /.well-known/openid-configuration to Gatehouse, without a sign-in"
	var m serverMetadata
	var bodies [][]byte
	for _, at := range []string{issuer + asWellKnown, issuer + oidcWellKnown} {
		a := p.get(ctx, at)
		t, bad := document(a, at, forward)
		if !bad {
			if err := json.Unmarshal(a.body, &m); err != nil {
				t, bad = trouble{MetadataUnreadable, "not the JSON that RFC 8414 describes: " + cause(err), "a JSON object", "see what answers at " + at}, true
			}
		}
		if bad {
			r.fail("metadata", t)
			return
		}
		bodies = append(bodies, a.body)
	}
	if !bytes.Equal(bodies[0], bodies[1]) {
		r.warn("metadata", trouble{MetadataDiffers, "the documents of RFC 8414 and of OpenID Connect differ", "the same document at both places", "empty the cache in front of Gatehouse"})
	}
	if m.Issuer != issuer {
		r.fail("metadata", trouble{IssuerDiffers, "issuer is " + clip(m.Issuer, 120), issuer + ", byte for byte", "another server answers, or one with another public_url; clients refuse this"})
		return
	}
	for name, at := range map[string]string{"authorization_endpoint": m.Authorization, "token_endpoint": m.Token, "jwks_uri": m.JWKS} {
		if !strings.HasPrefix(at, issuer+"/") {
			r.fail("metadata", trouble{EndpointElsewhere, name + " is " + clip(at, 120), "a URL below " + issuer, "a proxy rewrites the document; let it pass bodies as they are"})
			return
		}
	}
	if !slices.Contains(m.Challenges, "S256") {
		r.fail("metadata", trouble{PKCEAbsent, "code_challenge_methods_supported has no S256", "S256", "a proxy or another server answers; clients refuse this"})
		return
	}
	r.ok("metadata", "issuer is the public URL; both documents agree")
	p.ownKeys(ctx, m.JWKS, r)
	p.ownEndpoints(ctx, s, m, r)
}

// ownKeys reads the published signing keys.
func (p *probe) ownKeys(ctx context.Context, at string, r *report) {
	a := p.get(ctx, at)
	if t, bad := document(a, at, "let the proxy send it to Gatehouse: "+at); bad {
		r.fail("keys", t)
		return
	}
	r.keys(a.body, nil)
}

// ownEndpoints asks the endpoints of the authorization server things that must be refused in a certain way, which shows
// that they are reached; and for each static client it begins a sign-in.
func (p *probe) ownEndpoints(ctx context.Context, s *Setup, m serverMetadata, r *report) {
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
	a := p.do(ctx, ask{method: http.MethodPost, url: m.Token, header: form, body: "grant_type=refresh_token&refresh_token=none&client_id=gatehouse-doctor"})
	if said, ours := a.refusal(); a.err != nil || !ours || said.Error != "invalid_client" {
		r.fail("token endpoint", trouble{PostNotForwarded, "an unknown client is answered with " + p.outcome(a), "invalid_client from Gatehouse", "let the proxy send POST /token to Gatehouse"})
	} else {
		r.ok("token endpoint", "answers")
	}
	if s.Registration {
		// What is registered must be refused: nothing is to be left behind.
		a = p.do(ctx, ask{method: http.MethodPost, url: m.Registration, header: map[string]string{"Content-Type": "application/json", "Accept": "application/json"}, body: `{"redirect_uris":[]}`})
		if said, ours := a.refusal(); a.err != nil || !ours || !strings.HasPrefix(said.Error, "invalid_") {
			r.fail("registration", trouble{PostNotForwarded, "a registration without redirect URIs is answered with " + p.outcome(a), "a refusal from Gatehouse", "let the proxy send POST /register to Gatehouse"})
		} else {
			r.ok("registration", "answers")
		}
	}
	a = p.authorizeAt(ctx, s, m, "gatehouse-doctor", "https://doctor.invalid/callback")
	if said, ours := a.refusal(); a.err != nil || !ours || said.Error != "invalid_client" {
		r.fail("authorization endpoint", trouble{PathNotForwarded, "an unknown client is answered with " + p.outcome(a), "invalid_client from Gatehouse", "let the proxy send /authorize, /consent, /signin and /static to Gatehouse"})
	} else {
		r.ok("authorization endpoint", "answers")
	}
	for _, c := range s.Clients {
		for _, uri := range c.RedirectURIs {
			r.staticClient(p.authorizeAt(ctx, s, m, string(c.ID), uri), c, uri, m.Issuer)
		}
	}
}

// authorizeAt begins a sign-in for a client, which writes nothing.
func (p *probe) authorizeAt(ctx context.Context, s *Setup, m serverMetadata, client, redirect string) answer {
	q := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {redirect}, "state": {"doctor"}, "resource": {s.PublicURL + s.ownEndpoint()},
		"code_challenge": {anyChallenge}, "code_challenge_method": {"S256"}, "prompt": {"none"},
	}
	a := p.get(ctx, m.Authorization+"?"+q.Encode())
	if to, err := url.Parse(a.header.Get("Location")); err == nil && a.status == http.StatusSeeOther && to.Path == "/consent" {
		return p.get(ctx, s.PublicURL+to.RequestURI())
	}
	return a
}

func (s *Setup) ownEndpoint() string {
	i := slices.IndexFunc(s.Endpoints, func(e Endpoint) bool { return e.Own })
	return s.Endpoints[max(i, 0)].Path
}

// staticClient reads the answer to a sign-in in which nobody may be asked anything: the browser is sent back at once,
// with an error that only a person could help, and with the issuer (RFC 9207), which clients compare.
func (r *report) staticClient(a answer, c Client, redirect, issuer string) {
	check := "client " + string(c.ID)
	said, _ := a.refusal()
	back, err := url.Parse(a.header.Get("Location"))
	sentBack := err == nil && a.status/100 == 3 && strings.HasPrefix(a.header.Get("Location"), redirect)
	switch o := cameHome(orEmpty(back), a); {
	case a.err != nil:
		r.fail(check, trouble{ConnectionBroken, cause(a.err), "a sign-in that begins", "look at the log"})
	case sentBack && o.kind != cameBack:
		r.warn(check, trouble{ClientRefused, "a sign-in ends with " + clip(o.text, 160), "a sign-in that only a person is missing for", "correct the client under clients, and what it asks for"})
	case sentBack && back.Query().Get("iss") != issuer:
		r.fail(check, trouble{IssuerDiffers, "iss in the answer is " + clip(back.Query().Get("iss"), 100), issuer + ", byte for byte", "a proxy rewrites redirects; let it pass Location as it is"})
	case sentBack:
		r.ok(check, "a sign-in with %s begins, and names the issuer", clip(redirect, 100))
	case said.Error == "invalid_client":
		r.fail(check, trouble{ClientUnknown, "the running Gatehouse does not know the client", "a sign-in that begins", "has this file been loaded? See the log for “configuration not reloaded”"})
	default:
		r.fail(check, trouble{RedirectURIRefused, "a sign-in with " + clip(redirect, 100) + " is answered with " + a.looks(), "a sign-in that begins", "correct redirect_uris of the client"})
	}
}

func orEmpty(u *url.URL) *url.URL {
	if u == nil {
		return &url.URL{}
	}
	return u
}

// keys reads a JWK set as Gatehouse does. allowed are the algorithms that a token may be signed with; nil for the
// default ones.
func (r *report) keys(body []byte, allowed []string) {
	set, err := jose.ParseKeySet(body)
	if err != nil {
		r.fail("keys", trouble{KeysUnusable, clip(err.Error(), 200), "a key set with a signing key: RSA of 2048 bits or more, P-256, Ed25519", "let the issuer sign with such a key"})
		return
	}
	if len(allowed) == 0 {
		allowed = jose.DefaultAlgorithms()
	}
	algorithms, skipped := set.Usable()
	if !slices.ContainsFunc(algorithms, func(a string) bool { return slices.Contains(allowed, a) }) {
		r.fail("keys", trouble{KeysUnusable, "the keys are for " + strings.Join(algorithms, ", "), "one for " + strings.Join(allowed, ", "), "let the issuer sign with one of these"})
		return
	}
	slices.Sort(algorithms)
	text := fmt.Sprintf("%d usable (%s)", len(algorithms), strings.Join(slices.Compact(algorithms), ", "))
	if len(skipped) > 0 {
		text += fmt.Sprintf(", %d left out: %s", len(skipped), clip(skipped[0].Error(), 80))
	}
	r.ok("keys", "%s", text)
}
