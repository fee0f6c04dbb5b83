package authn

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/vendor"
)

// sameVendor reports whether two issuers are on one host, or of one product that has an issuer for each tenant.
func sameVendor(a, b string) bool {
	x, errA := url.Parse(a)
	y, errB := url.Parse(b)
	if errA != nil || errB != nil || a == "" || b == "" {
		return false
	}
	return strings.EqualFold(x.Hostname(), y.Hostname()) || vendor.Of(a) != "" && vendor.Of(a) == vendor.Of(b)
}

// personalTenant is where Microsoft keeps everybody's personal accounts.
const personalTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

// isGraph knows the names of Microsoft Graph, whose tokens nobody else can verify.
func isGraph(audience []string) bool {
	for _, a := range audience {
		if a == "00000003-0000-0000-c000-000000000000" || strings.TrimSuffix(a, "/") == "https://graph.microsoft.com" {
			return true
		}
	}
	return false
}

var graphCause = Cause{"this is a token for Microsoft Graph, which nobody else can verify: the client asked for no scope of this API",
	"Expose an API at the app registration, and have the client ask for its scope: api://…/mcp.access."}

func (x *explainer) issuerCause() Cause {
	iss := string(x.v.key.Issuer)
	if iss == "" {
		return Cause{"the token does not say who issued it", "Take an access token of the provider that the authorizer names; tokens without iss cannot be used."}
	}
	for _, z := range x.e.Authorizers {
		if c, ok := nearIssuer(string(z.issuer()), iss); ok {
			return c
		}
	}
	want := string(x.z.issuer())
	switch {
	case want == "":
		return Cause{"the metadata of the authorizer's issuer cannot be read, so nobody knows whose tokens to accept", "Open discovery_url from this machine; the log says what is wrong with it."}
	case x.z.Own:
		return Cause{"the token is of another issuer, and this endpoint takes only Gatehouse's own", "Add an authorizer for that issuer and name it in issuers of the endpoint; or sign in to Gatehouse. If it is of an earlier public_url: sign in again."}
	case vendor.Of(iss) == vendor.Entra && vendor.Of(want) == vendor.Entra:
		return entraIssuer(want, iss)
	case vendor.Of(iss) == vendor.Okta && vendor.Of(want) == vendor.Okta && sameHost(want, iss):
		return oktaIssuer(want, iss)
	case vendor.Of(iss) == vendor.Keycloak && vendor.Of(want) == vendor.Keycloak:
		return keycloakIssuer(want, iss)
	case sameVendor(want, iss):
		return Cause{fmt.Sprintf("the token is of another tenant: %.200q instead of %q", iss, want), "Use the discovery URL of the tenant in which people sign in, or have the client sign in at the right one."}
	}
	return Cause{fmt.Sprintf("the token is of another issuer: %.200q", iss), "Have the client sign in at " + want + ", or add an authorizer with the discovery URL of the token's issuer."}
}

// nearIssuer finds issuers that people take for the same.
func nearIssuer(want, iss string) (Cause, bool) {
	const exact = "Issuers are compared character by character. "
	switch {
	case want == "" || want == iss:
	case strings.TrimSuffix(want, "/") == strings.TrimSuffix(iss, "/"):
		return Cause{"the issuers differ in a trailing slash only", exact + "Use the discovery URL whose metadata names the issuer as the token does; Auth0 and Authentik have the slash."}, true
	case strings.EqualFold(want, iss):
		return Cause{"the issuers differ in case only", exact + "Write discovery_url as the issuer writes itself."}, true
	case strings.TrimPrefix(want, "https://") == strings.TrimPrefix(iss, "http://"):
		return Cause{"the issuer calls itself http behind a proxy that does https", "Tell the issuer its public https address (Keycloak: hostname; proxy headers)."}, true
	case sameHost(want, iss) && strings.TrimPrefix(port(want), ":") != strings.TrimPrefix(port(iss), ":") && path(want) == path(iss):
		return Cause{"the issuers differ in the port only: it was reached at two addresses", "Give the issuer one public address, and use it in discovery_url and in the client."}, true
	}
	return Cause{}, false
}

func sameHost(a, b string) bool {
	x, errA := url.Parse(a)
	y, errB := url.Parse(b)
	return errA == nil && errB == nil && strings.EqualFold(x.Hostname(), y.Hostname())
}

func port(s string) string { u, _ := url.Parse(s); return u.Port() }
func path(s string) string { u, _ := url.Parse(s); return u.Path }

// entraIssuer compares two issuers of Entra: versions first, then tenants.
func entraIssuer(want, iss string) Cause {
	v1 := func(s string) bool { return strings.Contains(s, "sts.windows.net") }
	tenant := func(s string) string { return strings.Split(strings.Trim(path(s), "/"), "/")[0] }
	switch {
	case tenant(iss) == personalTenant:
		return Cause{"the person signed in with a personal Microsoft account", "Sign in with the organisation's account, and let the app registration accept only accounts of this directory."}
	case tenant(want) != tenant(iss):
		return Cause{fmt.Sprintf("wrong tenant: the token is of %.64q, accepted is %q", tenant(iss), tenant(want)), "Sign in with an account of the right tenant, or use the discovery URL of the other one."}
	case v1(iss) && !v1(want):
		return Cause{"Entra v1 issuer: the API's app registration gives out v1 tokens", "Set requestedAccessTokenVersion to 2 in the manifest of the API's app registration; new tokens then have the v2.0 issuer."}
	}
	return Cause{"Entra v2 issuer, and the authorizer expects v1", "Use the discovery URL with /v2.0/ in it."}
}

func oktaIssuer(want, iss string) Cause {
	switch custom := func(s string) bool { return strings.Contains(s, "/oauth2/") }; {
	case !custom(iss):
		return Cause{"the token is of Okta's org authorization server, and only Okta can verify it", "Have the client sign in at the custom authorization server: " + want + "."}
	case !custom(want):
		return Cause{"the token is of a custom authorization server, and the authorizer has Okta's org server", "Use its discovery URL: " + iss + "/.well-known/openid-configuration."}
	}
	return Cause{"the token is of another of Okta's custom authorization servers", "Use one authorization server in discovery_url and in the client."}
}

func keycloakIssuer(want, iss string) Cause {
	if path(want) == path(iss) {
		return Cause{"the realm is right, but Keycloak was reached under another host name", "Set Keycloak's hostname to its public address, and use that in discovery_url."}
	}
	return Cause{"the token is of another realm of Keycloak", "Use one realm in discovery_url and in the client."}
}

func (x *explainer) signatureCause() Cause {
	iss := string(x.z.issuer())
	switch jose.ReasonOf(x.signature) {
	case jose.KeysUnavailable:
		return Cause{"the keys of the issuer cannot be fetched", "Open discovery_url and the jwks_uri in it from this machine; check proxy, DNS and certificates."}
	case jose.UnknownKey, jose.BadSignature:
		if isGraph(x.v.audience) {
			return graphCause
		}
	}
	switch jose.ReasonOf(x.signature) {
	case jose.UnknownKey:
		switch {
		case vendor.Of(iss) == vendor.Okta && !strings.Contains(iss, "/oauth2/"):
			return Cause{"Okta's org authorization server does not publish the keys of its access tokens: for everybody else they are opaque", "Create a custom authorization server at Okta (…/oauth2/default), and use its discovery URL here and in the client."}
		case x.t.Header.Kid == "":
			return Cause{"the token does not say which key signed it, and the issuer has several", "Have the issuer set kid."}
		}
		return Cause{"the issuer publishes no key with this id (unknown kid): it was withdrawn, or the token is of another environment of the same name, or forged", "Get a fresh token; when that fails too, compare kid with the issuer's jwks_uri."}
	case jose.BadSignature:
		return Cause{"the token was changed after it was signed, or signed by somebody else", "Copy it again. When a fresh token fails too: two environments use the same kid, or somebody forges tokens."}
	}
	return Cause{} // the algorithm; see algorithmCause
}

func (x *explainer) audienceCause() Cause {
	aud, c := x.v.audience, x.t.Claims
	want := x.z.audience(x.e)
	who := vendor.Of(string(x.z.issuer()))
	_, hash := c["at_hash"]
	_, nonce := c["nonce"]
	switch {
	case len(aud) == 0 && who == vendor.Cognito:
		return Cause{"Cognito's access tokens have no audience", "Replace allowed_audience by allowed_clients with the app client's id, or have the client name the resource (resource binding)."}
	case len(aud) == 0:
		return Cause{"the token has no audience", "Have the issuer set aud for this API; where it cannot, replace allowed_audience by allowed_clients."}
	case isGraph(aud):
		return graphCause
	}
	for _, have := range aud {
		for _, w := range want {
			switch {
			case strings.TrimSuffix(have, "/") == strings.TrimSuffix(w, "/"):
				return Cause{"the audiences differ in a trailing slash only", "Audiences are compared character by character: write it as the token has it."}
			case strings.EqualFold(have, w):
				return Cause{"the audiences differ in case only", "Audiences are compared character by character: write it as the token has it."}
			case have == "api://"+w || "api://"+have == w:
				return Cause{"Entra names the API by its client id in v2 tokens and by api://… in v1 tokens", "List both in allowed_audience."}
			case x.z.Own && sameHost(have, w):
				return Cause{"the token is for another endpoint of this Gatehouse: " + have, "Each endpoint needs a token of its own: sign in again with the address " + w + "."}
			}
		}
	}
	switch {
	case len(aud) == 1 && (identity.ClientID(aud[0]) == x.v.client || slices.Contains(x.z.AllowedClients, identity.ClientID(aud[0]))) || hash:
		what := "the audience is the client id"
		if hash || nonce {
			what = "this looks like an ID token: " + what
		}
		return Cause{what, "Give the access token. If it is one: have the client ask for a scope or resource of this API, or, where the issuer always does so (Authentik, Entra v2 for a client that calls itself), name the client id in allowed_audience."}
	case len(aud) == 1 && aud[0] == "account":
		return Cause{"Keycloak was told no audience: account is what it puts there by itself", "Add an audience mapper to a client scope of the client, with the value in allowed_audience."}
	case who == vendor.PingOne && len(aud) == 1 && strings.HasPrefix(aud[0], "https://api.pingone."):
		return Cause{"the token is only good for PingOne's own API", "Add a custom resource at PingOne, and have the client ask for one of its scopes."}
	case who == vendor.Auth0 && len(aud) == 1 && strings.HasSuffix(aud[0], "/userinfo"):
		return Cause{"the token is only good for Auth0's userinfo", "Have the client ask for the API's audience."}
	case x.z.Own:
		return Cause{"the client asked for a token for something else (resource)", "Give the client exactly " + want[0] + " as the server's address, and sign in again."}
	}
	return Cause{"the token was issued for another API", "Have the client ask for this one; or, if that API is meant, add its name to allowed_audience."}
}
