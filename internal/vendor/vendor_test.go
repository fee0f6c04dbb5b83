package vendor_test

import (
	"slices"
	"testing"

	"gatehouse/internal/oauthclient"
	"gatehouse/internal/vendor"
)

func TestOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]vendor.Name{
		"https://acme.okta.com":                                 vendor.Okta,
		"https://acme.oktapreview.com/oauth2/default":           vendor.Okta,
		"https://login.microsoftonline.com/common/v2.0":         vendor.Entra,
		"https://sts.windows.net/tid/":                          vendor.Entra,
		"https://cognito-idp.us-east-1.amazonaws.com/us-east-1": vendor.Cognito,
		"https://ACME.eu.auth0.com/":                            vendor.Auth0,
		"https://accounts.google.com":                           vendor.Google,
		"https://auth.pingone.eu/env/as":                        vendor.PingOne,
		"https://acme.zitadel.cloud":                            vendor.Zitadel,
		"https://sso.acme.example/realms/acme":                  vendor.Keycloak,
		"https://sso.acme.example/application/o/gatehouse/":     vendor.Authentik,
		"https://evil-okta.com":                                 "",
		"https://okta.com.evil.example":                         "",
		"https://sso.acme.example":                              "",
		"://":                                                   "",
	} {
		if got := vendor.Of(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// TestEveryPresetHasATitle, and the vendor of its example is told, as far as an address tells it.
func TestEveryPresetHasATitle(t *testing.T) {
	t.Parallel()
	for _, p := range oauthclient.Presets() {
		if vendor.Name(p.Name).Title() == "" {
			t.Errorf("%s has no title", p.Name)
		}
		if of := vendor.Of(p.DiscoveryExample); of != vendor.Name(p.Name) && p.Name != "dex" {
			t.Errorf("%s is taken for %q", p.DiscoveryExample, of)
		}
	}
}

func TestDirect(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][]vendor.Code{
		"https://login.microsoftonline.com/t/v2.0/.well-known/openid-configuration": {vendor.NoRegistration, vendor.NoPKCE, vendor.RefusesResource},
		"https://acme.okta.com/.well-known/openid-configuration":                    {vendor.NoRegistration, vendor.OpaqueTokens},
		"https://acme.okta.com/oauth2/default/.well-known/openid-configuration":     {vendor.NoRegistration},
		"https://sso.acme.example/realms/acme/.well-known/openid-configuration":     nil,
	} {
		var got []vendor.Code
		for _, o := range vendor.Direct(address) {
			got = append(got, o.Code)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}
