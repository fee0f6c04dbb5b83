package doctor_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/doctor"
	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// vendorOrigins are where the vendors' own servers are.
var vendorOrigins = map[string]string{
	"okta": "https://acme.okta.com", "entra": "https://login.microsoftonline.com", "cognito": "https://cognito-idp.us-east-1.amazonaws.com",
	"auth0": "https://acme.eu.auth0.com", "keycloak": "https://sso.acme.example", "google": "https://accounts.google.com", "pingone": "https://auth.pingone.eu",
	"dex": "https://dex.acme.example", "authentik": "https://sso.acme.example", "zitadel": "https://acme.zitadel.cloud", "": "https://idp.acme.example",
}

// idp is a provider at its vendor's address, and Gatehouse's application there.
type idp struct {
	*testkit.UpstreamIDP
	net     *testkit.Internet
	setup   doctor.Setup
	options oauthclient.Options
}

func newIDP(t *testing.T, name string) *idp {
	t.Helper()
	i := &idp{UpstreamIDP: testkit.NewUpstreamIDP(t, name), net: testkit.NewInternet(t), setup: quiet(t)}
	i.net.Publish(t, i.UpstreamIDP, vendorOrigins[name])
	i.setup.Client, i.setup.RootCAs = i.net.Client(), i.net.Pool()
	i.options = oauthclient.Options{
		Name: "idp", Preset: name, DiscoveryURL: i.DiscoveryURL(), ClientID: "gatehouse", ClientSecret: secret.New("s3cret+/&="),
		RedirectURI: "https://gw.example/oauth/callback/" + name, Client: i.net.Client(), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	}
	return i
}

// signIn looks at the provider as one at which people sign in.
func (i *idp) signIn(t *testing.T) []doctor.Finding {
	i.setup.Providers = []doctor.Provider{{Name: "idp", Setting: "sign_in.oidc[0]", DiscoveryURL: i.options.DiscoveryURL, SignIn: &i.options}}
	return run(t, i.setup)
}

// direct looks at the provider as one whose tokens are accepted.
func (i *idp) direct(t *testing.T, change func(*doctor.Provider)) []doctor.Finding {
	p := doctor.Provider{Name: "idp", Setting: "authorizers[0]", DiscoveryURL: i.options.DiscoveryURL, Leads: []string{"/mcp"}, Audience: true, Clients: []identity.ClientID{"gatehouse"}}
	if change != nil {
		change(&p)
	}
	i.setup.Providers = []doctor.Provider{p}
	return run(t, i.setup)
}

// TestSignInAtEachVendor: a good application, and the three mistakes that everybody makes, at each vendor.
func TestSignInAtEachVendor(t *testing.T) {
	t.Parallel()
	for _, name := range append(oauthclient.PresetNames(), "") {
		t.Run("at "+name, func(t *testing.T) {
			t.Parallel()
			i := newIDP(t, name)
			found := i.signIn(t)
			wantsNothing(t, found)
			if doctor.Count(found, doctor.Skip) != 1 { // nothing serves public_url yet
				t.Errorf("something is skipped: %+v", found)
			}
			good := i.options
			i.options.RedirectURI = "https://gw.example/other"
			wants(t, i.signIn(t), doctor.Fail, doctor.RedirectURIUnregistered, "register https://gw.example/other")
			i.options = good
			i.options.ClientID = "another"
			wants(t, i.signIn(t), doctor.Fail, doctor.ProviderClientUnknown, "client id")
			i.options = good
			i.options.ClientSecret = secret.New("old")
			wants(t, i.signIn(t), doctor.Fail, doctor.ClientSecretRefused, "secret")
		})
	}
}

// TestBrokenProviders: what else can be wrong with a provider at which people sign in.
func TestBrokenProviders(t *testing.T) {
	t.Parallel()
	document := func(members map[string]any) func(*testing.T, *idp) {
		return func(_ *testing.T, i *idp) { i.SetDocument(members) }
	}
	says := func(code, text string) func(*testing.T, *idp) {
		return func(_ *testing.T, i *idp) {
			i.Configure(func(c *testkit.UpstreamConfig) { c.AuthorizeErr, c.ErrText = code, text })
		}
	}
	token := func(status int, body string) func(*testing.T, *idp) {
		return func(_ *testing.T, i *idp) {
			i.Configure(func(c *testkit.UpstreamConfig) {
				c.TokenAnswer = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(status)
					_, _ = w.Write([]byte(body))
				}
			})
		}
	}
	for name, tc := range map[string]struct {
		vendor string
		change func(*testing.T, *idp)
		status doctor.Status
		code   doctor.Code
		fix    string
	}{
		"no such host": {"okta", func(_ *testing.T, i *idp) {
			i.options.DiscoveryURL = strings.Replace(i.options.DiscoveryURL, "acme", "acmme", 1)
		}, doctor.Fail, doctor.NameUnknown, "sign_in.oidc[0].discovery_url"},
		"not there": {"okta", func(_ *testing.T, i *idp) {
			i.options.DiscoveryURL = "https://acme.okta.com/oauth2/wrong/openid-configuration"
		}, doctor.Fail, doctor.MetadataMissing, "Security"},
		"away":              {"", func(_ *testing.T, i *idp) { i.SetDown(true) }, doctor.Fail, doctor.MetadataMissing, "copy sign_in.oidc[0].discovery_url"},
		"another issuer":    {"", document(map[string]any{"issuer": "https://other.example"}), doctor.Fail, doctor.IssuerDiffers, "https://other.example/.well-known"},
		"http behind proxy": {"keycloak", document(map[string]any{"issuer": "http://sso.acme.example/realms/acme"}), doctor.Fail, doctor.IssuerDiffers, "hostname and proxy headers"},
		"v1 at Entra":       {"entra", document(map[string]any{"issuer": "https://sts.windows.net/x/"}), doctor.Fail, doctor.IssuerDiffers, "requestedAccessTokenVersion"},
		"common":            {"entra", document(map[string]any{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}), doctor.Fail, doctor.IssuerDiffers, "tenant's id"},
		"no keys":           {"", document(map[string]any{"jwks_uri": ""}), doctor.Fail, doctor.KeysUnusable, "right document"},
		"keys by http":      {"", document(map[string]any{"jwks_uri": "http://idp.acme.example/keys"}), doctor.Fail, doctor.EndpointInsecure, "https"},
		"keys away":         {"", document(map[string]any{"jwks_uri": "https://idp.acme.example/nothing"}), doctor.Fail, doctor.MetadataMissing, "reach it"},
		"no signing key":    {"authentik", document(map[string]any{"id_token_signing_alg_values_supported": []string{"HS256"}}), doctor.Fail, doctor.KeysUnusable, "Signing Key"},
		"weak key":          {"", func(t *testing.T, i *idp) { i.SetKeySet(weakKeys(t)) }, doctor.Fail, doctor.KeysUnusable, "sign with"},
		"for encryption": {"", func(_ *testing.T, i *idp) {
			i.SetKeySet([]byte(`{"keys":[{"kty":"EC","use":"enc","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
		}, doctor.Fail, doctor.KeysUnusable, "sign with"},
		"plain PKCE":        {"", document(map[string]any{"code_challenge_methods_supported": []string{"plain"}}), doctor.Fail, doctor.ProviderSettings, "sign_in.oidc[0]"},
		"no secrets":        {"", document(map[string]any{"token_endpoint_auth_methods_supported": []string{"tls_client_auth"}}), doctor.Fail, doctor.ProviderSettings, "client secret"},
		"http endpoints":    {"", document(map[string]any{"token_endpoint": "http://idp.acme.example/token"}), doctor.Fail, doctor.ProviderSettings, "sign_in.oidc[0]"},
		"no offline_access": {"okta", document(map[string]any{"scopes_supported": []string{"openid"}}), doctor.Warn, doctor.RefreshScopeAbsent, "allow it"},
		"scope refused":     {"", says("invalid_scope", "offline_access"), doctor.Fail, doctor.SignInRefused, "scopes"},
		"grant refused":     {"", says("unauthorized_client", "no code grant"), doctor.Fail, doctor.SignInRefused, "grants"},
		"not assigned":      {"okta", says("access_denied", "User is not assigned to the client application."), doctor.Fail, doctor.SignInRefused, "assign the person"},
		"an error page": {"", func(_ *testing.T, i *idp) {
			i.SetDocument(map[string]any{"authorization_endpoint": i.Issuer() + "/nothing"})
		}, doctor.Fail, doctor.SignInRefused, "browser"},
		"no refresh grant":   {"auth0", token(403, `{"error":"unauthorized_client","error_description":"Grant type 'refresh_token' not allowed for the client."}`), doctor.Fail, doctor.RefreshNotAllowed, "Refresh Token"},
		"expired secret":     {"entra", token(401, `{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired."}`), doctor.Fail, doctor.ClientSecretRefused, "expired"},
		"secret, Keycloak":   {"keycloak", token(401, `{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}`), doctor.Fail, doctor.ClientSecretRefused, "tab Credentials"},
		"secret's id":        {"entra", token(401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`), doctor.Fail, doctor.ClientSecretRefused, "value, not its id"},
		"token endpoint":     {"", token(502, `<html>`), doctor.Fail, doctor.TokenEndpointSilent, "reach"},
		"unclear":            {"", token(400, `{"error":"invalid_request"}`), doctor.Warn, doctor.CredentialUnclear, "refresh tokens"},
		"another preset":     {"okta", func(_ *testing.T, i *idp) { i.options.Preset = "nobody" }, doctor.Fail, doctor.ProviderSettings, "sign_in.oidc[0]"},
		"clock of the other": {"", func(_ *testing.T, i *idp) { i.setup.Now = func() time.Time { return time.Now().Add(5 * time.Minute) } }, doctor.Fail, doctor.ClockSkew, "NTP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIDP(t, tc.vendor)
			tc.change(t, i)
			wants(t, i.signIn(t), tc.status, tc.code, tc.fix)
		})
	}
}

func weakKeys(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "RSA", "kid": "weak", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes())}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestRedirectURIThatShowsLate: a provider that compares only after the sign-in is not said to be fine.
func TestRedirectURIThatShowsLate(t *testing.T) {
	t.Parallel()
	i := newIDP(t, "")
	i.ComparesLate()
	for _, uri := range []string{i.options.RedirectURI, "https://gw.example/other"} {
		i.options.RedirectURI = uri
		found := i.signIn(t)
		wantsNothing(t, found)
		said := false
		for _, f := range found {
			said = said || f.Status == doctor.Skip && strings.Contains(f.Found, "only when somebody signs in")
		}
		if !said {
			t.Errorf("%+v", found)
		}
	}
}

// TestDirectAtEachVendor: what each vendor's metadata and known quirks mean for MCP clients that are sent there.
func TestDirectAtEachVendor(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"okta": "", "entra": "pkce_not_advertised resource_refused", "cognito": "pkce_not_advertised", "auth0": "", "keycloak": "",
		"google": "tokens_opaque", "pingone": "", "dex": "", "authentik": "", "zitadel": "",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIDP(t, name)
			var codes []string
			for _, f := range i.direct(t, nil) {
				if f.Code != "" {
					codes = append(codes, string(f.Code))
					if !strings.Contains(f.Fix, "sign_in.oidc with preset: "+name) || !strings.Contains(f.Fix, "docs/idp/"+name+".md") {
						t.Errorf("%s does not name the cure: %s", f.Code, f.Fix)
					}
				}
			}
			if got := strings.Join(codes, " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestBrokenDirect: what can be wrong with a provider to which clients are sent.
func TestBrokenDirect(t *testing.T) {
	t.Parallel()
	type change = func(*testing.T, *idp, *doctor.Provider)
	document := func(members map[string]any) change {
		return func(_ *testing.T, i *idp, _ *doctor.Provider) { i.SetDocument(members) }
	}
	asking := func(in doctor.Introspection) change {
		return func(_ *testing.T, _ *idp, p *doctor.Provider) { p.Introspection = &in }
	}
	for name, tc := range map[string]struct {
		vendor string
		change change
		status doctor.Status
		code   doctor.Code
		fix    string
	}{
		"no registration":                  {"", func(_ *testing.T, _ *idp, p *doctor.Provider) { p.Clients = nil }, doctor.Warn, "registration_absent", "by hand"},
		"no audience":                      {"", func(_ *testing.T, _ *idp, p *doctor.Provider) { p.Audience = false }, doctor.Warn, doctor.AudienceUnchecked, "authorizers[0].allowed_audience"},
		"no audience, where nobody is led": {"", func(_ *testing.T, _ *idp, p *doctor.Provider) { p.Audience, p.Leads = false, nil }, doctor.Warn, doctor.AudienceUnchecked, "authorizers[0].allowed_audience"},
		"plain PKCE":                       {"", document(map[string]any{"code_challenge_methods_supported": []string{"plain"}}), doctor.Fail, doctor.PKCEAbsent, "sign_in.oidc"},
		"http endpoint":                    {"", document(map[string]any{"token_endpoint": "http://idp.acme.example/token"}), doctor.Fail, doctor.EndpointInsecure, "https"},
		"no token endpoint":                {"", document(map[string]any{"token_endpoint": ""}), doctor.Fail, doctor.EndpointAbsent, "OAuth"},
		"another issuer":                   {"okta", document(map[string]any{"issuer": "https://acme.okta.com"}), doctor.Fail, doctor.IssuerDiffers, "https://acme.okta.com/.well-known"},
		"org server of Okta": {"okta", func(_ *testing.T, i *idp, p *doctor.Provider) {
			p.DiscoveryURL = "https://acme.okta.com/.well-known/openid-configuration"
			i.SetDocument(map[string]any{"issuer": "https://acme.okta.com"})
		}, doctor.Fail, "tokens_opaque", "preset: okta"},
		"redirect URI": {"okta", func(_ *testing.T, i *idp, _ *doctor.Provider) {
			i.setup.RedirectURI = "http://localhost:3334/oauth/callback"
		}, doctor.Fail, doctor.RedirectURIUnregistered, "for the client gatehouse"},
		"client unknown": {"okta", func(_ *testing.T, i *idp, p *doctor.Provider) {
			i.setup.RedirectURI, p.Clients[0] = i.options.RedirectURI, "other"
		}, doctor.Fail, doctor.ProviderClientUnknown, "client id"},
		"introspection as nobody": {"", asking(doctor.Introspection{ClientID: "x", ClientSecret: secret.New("y")}), doctor.Fail, doctor.IntrospectionRefused, "client_secret"},
		"introspection elsewhere": {"", asking(doctor.Introspection{URL: "https://idp.acme.example/nothing", Post: true}), doctor.Fail, doctor.IntrospectionAbsent, "introspection.url"},
		"introspection absent": {"", func(_ *testing.T, i *idp, p *doctor.Provider) {
			i.SetDocument(map[string]any{"introspection_endpoint": ""})
			p.Introspection = &doctor.Introspection{}
		}, doctor.Fail, doctor.IntrospectionAbsent, "some providers have none"},
		"introspection away": {"", asking(doctor.Introspection{URL: "https://nobody.example/introspect"}), doctor.Fail, doctor.NameUnknown, "authorizers[0].introspection.url"},
		"introspection lies": {"", func(t *testing.T, i *idp, p *doctor.Provider) {
			i.net.Serve(t, "liar.example", status(200, "application/json", `{"active":true}`))
			p.Introspection = &doctor.Introspection{URL: "https://liar.example/"}
		}, doctor.Fail, doctor.IntrospectionLies, "do not use"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIDP(t, tc.vendor)
			wants(t, i.direct(t, func(p *doctor.Provider) { tc.change(t, i, p) }), tc.status, tc.code, tc.fix)
		})
	}
	t.Run("good, with introspection", func(t *testing.T) {
		t.Parallel()
		i := newIDP(t, "okta")
		i.setup.RedirectURI = i.options.RedirectURI
		wantsNothing(t, i.direct(t, func(p *doctor.Provider) {
			p.Introspection = &doctor.Introspection{ClientID: testkit.IntrospectionClient, ClientSecret: secret.New(testkit.IntrospectionSecret)}
		}))
	})
}

// TestEntraRefusesTheClientsResource: a sign-in as an MCP client begins it shows AADSTS9010010, and names the cure.
func TestEntraRefusesTheClientsResource(t *testing.T) {
	t.Parallel()
	i := newIDP(t, "entra")
	i.setup.RedirectURI = i.options.RedirectURI
	for _, f := range i.direct(t, nil) {
		if f.Check == "sign-in" {
			if f.Status != doctor.Fail || f.Code != doctor.SignInRefused || !strings.Contains(f.Found, "AADSTS9010010") || !strings.Contains(f.Fix, "sign_in.oidc with preset: entra") {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Error("no sign-in was begun")
}
