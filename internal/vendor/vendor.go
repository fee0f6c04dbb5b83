// Package vendor knows identity providers: how to tell them by their addresses, and what stands in the way of MCP
// clients that sign in there without Gatehouse's own authorization server between. It is pure and knows no tenant: what
// a provider's metadata says counts for more. How Gatehouse itself signs people in there stands in oauthclient.
package vendor

import (
	"net/url"
	"strings"
)

// Name is a vendor's name in the configuration.
type Name string

// The vendors.
const (
	Okta      Name = "okta"
	Entra     Name = "entra"
	Cognito   Name = "cognito"
	Auth0     Name = "auth0"
	Keycloak  Name = "keycloak"
	Google    Name = "google"
	PingOne   Name = "pingone"
	Dex       Name = "dex"
	Authentik Name = "authentik"
	Zitadel   Name = "zitadel"
)

// Title is the name for people.
func (n Name) Title() string {
	return map[Name]string{
		Okta: "Okta", Entra: "Entra ID", Cognito: "Amazon Cognito", Auth0: "Auth0", Keycloak: "Keycloak", Google: "Google",
		PingOne: "PingOne", Dex: "Dex", Authentik: "Authentik", Zitadel: "Zitadel",
	}[n]
}

// Of tells the vendor by an issuer or a discovery URL; "" when it cannot be told, as with domains of one's own.
func Of(address string) Name {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	is := func(domains ...string) bool {
		for _, d := range domains {
			if host == d || strings.HasSuffix(host, "."+d) {
				return true
			}
		}
		return false
	}
	switch {
	case is("okta.com", "oktapreview.com", "okta-emea.com", "okta-gov.com"):
		return Okta
	case is("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "sts.windows.net"):
		return Entra
	case strings.HasPrefix(host, "cognito-idp."):
		return Cognito
	case is("auth0.com"):
		return Auth0
	case host == "accounts.google.com":
		return Google
	case strings.HasPrefix(host, "auth.pingone."):
		return PingOne
	case is("zitadel.cloud"):
		return Zitadel
	case strings.Contains(u.Path, "/realms/"):
		return Keycloak
	case strings.Contains(u.Path, "/application/o/"):
		return Authentik
	}
	return ""
}

// orgServer reports whether an address is Okta's org authorization server, whose access tokens only Okta can verify.
func orgServer(address string) bool {
	return Of(address) == Okta && !strings.Contains(address, "/oauth2/")
}

// Obstacle is one thing that keeps MCP clients from signing in at a provider without help.
type Obstacle struct {
	Code Code
	What string // goes on after the provider's name
}

// Code names an obstacle in one stable word. docs/reasons.md lists them.
type Code string

// The obstacles.
const (
	NoRegistration  Code = "registration_absent" // clients cannot register themselves (RFC 7591)
	NoPKCE          Code = "pkce_not_advertised" // code_challenge_methods_supported is absent (MCP 2025-11-25 basic/authorization)
	RefusesResource Code = "resource_refused"    // the resource parameter (RFC 8707), which MCP clients always send
	OpaqueTokens    Code = "tokens_opaque"       // access tokens that only the provider can read
	NoAudience      Code = "audience_absent"     // access tokens that do not say for whom they are
)

// Direct lists what is known of the provider at an address, whose metadata was not asked.
func Direct(address string) []Obstacle {
	registration := Obstacle{NoRegistration, "registers no clients"}
	pkce := Obstacle{NoPKCE, "does not advertise PKCE"}
	switch Of(address) {
	case Entra:
		return []Obstacle{registration, pkce, {RefusesResource, "refuses the resource parameter that they send (AADSTS9010010)"}}
	case Cognito:
		return []Obstacle{registration, pkce, {NoAudience, "names no audience in access tokens unless the client names a resource"}}
	case Google:
		return []Obstacle{registration, {OpaqueTokens, "gives out access tokens that only Google can read"}}
	case Okta:
		if orgServer(address) {
			return []Obstacle{registration, {OpaqueTokens, "gives out access tokens of its org authorization server, which only Okta can verify"}}
		}
		return []Obstacle{registration}
	case PingOne, Authentik:
		return []Obstacle{registration}
	}
	return nil
}

// Facade is the cure for all of them.
func Facade(n Name) string {
	preset := ""
	if n != "" {
		preset = " with preset: " + string(n)
	}
	return "let people sign in through Gatehouse: sign_in.oidc" + preset + ", and issuers: [gatehouse]"
}
