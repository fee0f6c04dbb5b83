package doctor

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/loopback"
	"gatehouse/internal/vendor"
)

// direct looks at a provider as the MCP clients that an endpoint sends there: what they insist on (MCP 2025-11-25
// basic/authorization), and what is known of the vendor.
func (p *probe) direct(ctx context.Context, s *Setup, m serverMetadata, o Provider, r *report) {
	r.about = "provider " + o.Name + " for clients of " + strings.Join(o.Leads, ", ")
	cure := facade(vendor.Of(m.Issuer))
	p.findable(ctx, m, r)
	r.endpoints(m)
	if m.Registration == "" {
		if len(o.Clients) == 0 {
			r.warn("registration", trouble{Code(vendor.NoRegistration), "no registration_endpoint: clients cannot register themselves", "a registration endpoint, or clients that are named",
				"register a public client at the provider by hand, name it in allowed_clients, and give people its client id; or " + cure})
		} else {
			r.ok("registration", "none; people enter the client id %s", list(o.Clients))
		}
	} else {
		r.ok("registration", "clients may register themselves")
	}
	switch {
	case len(m.Challenges) == 0:
		r.warn("PKCE", trouble{Code(vendor.NoPKCE), "code_challenge_methods_supported is absent", "S256",
			"clients of the Go SDK, Claude and Zed refuse to sign in there, mcp-remote does not; " + cure})
	case !slices.Contains(m.Challenges, "S256"):
		r.fail("PKCE", trouble{PKCEAbsent, "only " + list(m.Challenges) + " is advertised", "S256", cure})
	default:
		r.ok("PKCE", "S256")
	}
	r.obstacles(m, o, cure)
	p.resource(ctx, s, m, o, r, cure)
}

// facade is the cure for providers that do not suit MCP clients.
func facade(who vendor.Name) string {
	if who == "" {
		return vendor.Facade(who)
	}
	return vendor.Facade(who) + "; see docs/idp/" + string(who) + ".md"
}

// obstacles are what no metadata tells.
func (r *report) obstacles(m serverMetadata, o Provider, cure string) {
	for _, known := range vendor.Direct(m.Issuer) {
		switch known.Code {
		case vendor.RefusesResource:
			r.warn("resource", trouble{Code(known.Code), "it refuses the resource parameter, which MCP clients send (AADSTS9010010)", "a provider that takes or ignores it (RFC 8707)",
				"mcp-remote has --disable-resource-parameter, others have nothing; " + cure})
		case vendor.OpaqueTokens:
			if o.Introspection == nil {
				r.fail("tokens", trouble{Code(known.Code), "it " + known.What, "JWTs, or introspection", cure})
			}
		}
	}
}

// audience says so where nobody looks at it, whoever leads clients there.
func (r *report) audience(o Provider) {
	if !o.Audience {
		r.warn("audience", trouble{AudienceUnchecked, "nobody looks at the audience: a token passes that one of the allowed clients got for another API", "allowed_audience",
			"have the provider put this API into aud, and name it in " + o.Setting + ".allowed_audience"})
	}
}

// findable sees whether clients find the metadata: they know the issuer only, and look in three places.
func (p *probe) findable(ctx context.Context, m serverMetadata, r *report) {
	u, err := url.Parse(m.Issuer)
	if err != nil {
		return
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.Path, "/")
	places := []string{origin + asWellKnown + path, origin + oidcWellKnown + path, origin + path + oidcWellKnown}
	for _, at := range slices.Compact(places) {
		a := p.get(ctx, at)
		if _, bad := document(a, at, ""); bad {
			continue
		}
		if a.status == 200 {
			r.ok("discovery", "clients find the metadata at %s", clip(at, 140))
			return
		}
	}
	r.fail("discovery", trouble{MetadataMissing, "no metadata in any of the places where clients look", strings.Join(places, " or "), "let the provider serve its metadata there, as application/json and without a redirect"})
}

// endpoints sees whether clients may use the endpoints at all.
func (r *report) endpoints(m serverMetadata) {
	for _, e := range []struct{ name, at string }{{"authorization_endpoint", m.Authorization}, {"token_endpoint", m.Token}} {
		u, err := url.Parse(e.at)
		switch {
		case err != nil || u.Host == "":
			r.fail("endpoints", trouble{EndpointAbsent, "the metadata has no " + e.name, "one", "see whether this is the metadata of an OAuth server"})
			return
		case u.Scheme != "https" && !loopback.Is(u.Hostname()):
			r.fail("endpoints", trouble{EndpointInsecure, e.name + " is " + clip(e.at, 120), "https: clients refuse plain http off this machine",
				"tell the provider its public https address (Keycloak: hostname and proxy headers)"})
			return
		}
	}
}

// resource begins a sign-in as an MCP client does, with the resource parameter, where a client and its redirect URI are
// known.
func (p *probe) resource(ctx context.Context, s *Setup, m serverMetadata, o Provider, r *report, cure string) {
	switch {
	case s.RedirectURI == "":
		r.skip("sign-in", "not tried: give --redirect-uri with that of a client, such as http://localhost:3334/oauth/callback")
		return
	case len(o.Clients) == 0:
		r.skip("sign-in", "not tried: allowed_clients names no client")
		return
	}
	for _, client := range o.Clients {
		q := url.Values{
			"response_type": {"code"}, "client_id": {string(client)}, "redirect_uri": {s.RedirectURI}, "state": {"gatehouse-doctor"}, "scope": {"openid"},
			"code_challenge": {anyChallenge}, "code_challenge_method": {"S256"}, "resource": {s.PublicURL + o.Leads[0]}, "prompt": {"none"},
		}
		to, err := url.Parse(m.Authorization)
		if err != nil {
			return
		}
		for name, values := range to.Query() {
			q[name] = values
		}
		to.RawQuery = q.Encode()
		t := trial{at: to, redirectURI: s.RedirectURI, client: string(client), where: "at the provider, for the client " + string(client), hint: func(text string) string {
			if strings.Contains(text, "AADSTS9010010") || strings.Contains(text, "AADSTS901002") {
				return cure
			}
			return ""
		}}
		r.verdict("sign-in", p.try(ctx, t), t)
	}
}
