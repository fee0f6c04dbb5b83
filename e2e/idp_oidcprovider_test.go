//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// oidcProviderOptions are the words of node/oidc-provider.mjs.
type oidcProviderOptions struct {
	Port         int              `json:"port"`
	Clients      []map[string]any `json:"clients"`
	Registration bool             `json:"registration"`
	Resource     string           `json:"resource"`
	Audience     string           `json:"audience,omitempty"`
}

// startOIDCProvider runs npm oidc-provider. What o does not say: the clients, the port.
func startOIDCProvider(t *testing.T, at place, o oidcProviderOptions) (*idp, *service) {
	t.Helper()
	p := &idp{
		name: "oidcprovider", label: "Acme", settings: "      scopes: [profile, email, groups, offline_access]\n      groups_claim: groups", origin: at.idp, discovery: at.idp + "/.well-known/openid-configuration", scopes: `["mcp:tools"]`, audience: o.Audience,
		webClient: "gatehouse", webSecret: "a secret of the web client",
		pages: func(person string) []formPage {
			return []formPage{{Fields: map[string]string{"login": person, "password": "any"}, Press: "Sign-in"}, {Press: "Continue"}}
		},
	}
	o.Port = at.idpPort
	o.Clients = []map[string]any{{
		"client_id": p.webClient, "client_secret": p.webSecret, "redirect_uris": []string{at.house + "/oauth/callback/" + p.name},
		"grant_types": []string{"authorization_code", "refresh_token"},
	}, {
		"client_id": "service", "client_secret": "a secret of the service", "redirect_uris": []string{}, "response_types": []string{},
		"grant_types": []string{"client_credentials"},
	}}
	if !o.Registration {
		p.assistant = "mcp-remote"
		o.Clients = append(o.Clients, map[string]any{
			"client_id": p.assistant, "token_endpoint_auth_method": "none", "application_type": "native",
			"redirect_uris": []string{fmt.Sprintf("http://localhost:%d/oauth/callback", at.callback)},
			"grant_types":   []string{"authorization_code", "refresh_token"},
		})
	}
	options, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(kit.node, filepath.Join("node", "oidc-provider.mjs"), string(options))
	return p, startService(t, cmd, p.discovery, time.Minute)
}

// The ways in which an IdP like this one can be set up, each with the person's own sign-in there.
func TestOIDCProvider(t *testing.T) {
	const fixed = "api://default"
	for name, c := range map[string]struct {
		options oidcProviderOptions
		args    []string // of mcp-remote
	}{
		"registers itself":             {options: oidcProviderOptions{Registration: true, Resource: "indicators"}},
		"static client":                {options: oidcProviderOptions{Resource: "indicators"}},
		"one audience, whatever asked": {options: oidcProviderOptions{Registration: true, Resource: "fixed", Audience: fixed}},
		"no resource asked for": {
			options: oidcProviderOptions{Resource: "fixed", Audience: fixed},
			args:    []string{"--disable-resource-parameter"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := newPlace(t)
			p, _ := startOIDCProvider(t, at, c.options)
			if p.audience == "" {
				p.audience = at.house + "/mcp"
			}
			startDirect(t, at, p, direct{})
			home := t.TempDir()
			r := remoteDirect(t, at, p, home, username, c.args...)
			claims := whoami(t, r)
			if claims["sub"] != username || claims["iss"] != at.idp || fmt.Sprint(claims["aud"]) != p.audience {
				t.Errorf("whoami knows %v; want sub %s, iss %s, aud %s", claims, username, at.idp, p.audience)
			}
			r.close()
			expireStoredToken(t, home)
			again := startRemote(t, home, p.remoteArgs(at, "/mcp", c.args...)...)
			again.finishInitialize(again.beginInitialize())
			again.tool("demo___whoami", map[string]any{})
			if again.askedForSignIn() {
				t.Error("an expired access token led to a sign-in instead of a refresh at the IdP")
			}
		})
	}
}

// An IdP without resource indicators issues opaque tokens: good when Gatehouse may ask about them, refused otherwise.
func TestOIDCProviderOpaqueTokens(t *testing.T) {
	at := newPlace(t)
	p, _ := startOIDCProvider(t, at, oidcProviderOptions{Resource: "off"})
	startDirect(t, at, p, direct{authorizer: fmt.Sprintf(`
    allowed_clients: [%s]
    introspection: {client_id: %s, client_secret: %s}
`, p.assistant, p.webClient, p.webSecret)})
	r := chromiumDirect(t, "oidcprovider-direct", at, p, t.TempDir(), username)
	if claims := whoami(t, r); claims["sub"] != username {
		t.Errorf("whoami knows %v, want sub %s", claims, username)
	}
	token := fmt.Sprint(storedTokens(t, r.home())["access_token"])
	if strings.Count(token, ".") == 2 {
		t.Error("the token is a JWT; this test is about opaque ones")
	}

	elsewhere := at
	elsewhere.housePort = freePort(t)
	elsewhere.house = fmt.Sprintf("http://localhost:%d", elsewhere.housePort)
	h := startDirect(t, elsewhere, p, direct{authorizer: fmt.Sprintf("    allowed_clients: [%s]", p.assistant)})
	c := newCaller(t, elsewhere.house+"/mcp")
	if status := c.initialize(token); status != http.StatusUnauthorized {
		t.Errorf("without introspection an opaque token gets %d, want 401", status)
	}
	h.logged(t, `"auth_refused":"token_malformed"`)
}

// Gatehouse's own sign-in needs neither registration nor resources, and does not mind them.
func TestOIDCProviderEnterprise(t *testing.T) {
	for name, options := range map[string]oidcProviderOptions{
		"plain":                      {Resource: "off"},
		"registration and resources": {Registration: true, Resource: "indicators"},
	} {
		t.Run(name, func(t *testing.T) {
			at := newPlace(t)
			p, _ := startOIDCProvider(t, at, options)
			enterpriseSignIn(t, at, p, "eng")
		})
	}
}

// Enterprise sign-in while the IdP lives its life: a new key between two sign-ins, then it is out of reach.
func TestOIDCProviderComesAndGoes(t *testing.T) {
	at := newPlace(t)
	p, provider := startOIDCProvider(t, at, oidcProviderOptions{Resource: "off"})
	h := startEnterprise(t, at, enterprise{
		signIn: "  idp_recheck: 1s", rest: houseClients(at, "laptop"), providers: map[string]string{p.name: p.settings},
	}, p)
	laptop := houseClient(at, "laptop")
	laptop.signIn(t, p.through(username))
	get(t, at.idp+"/test/rotate")
	token := laptop.signIn(t, p.through(username))

	provider.stop()
	<-time.After(1100 * time.Millisecond) // until the IdP's word is old, by the real clock of another process
	token, refused := laptop.refresh(t, token)
	if refused != nil {
		t.Fatalf("while the IdP is away a refresh is refused: %v", refused)
	}
	h.logged(t, `"msg":"identity provider is not asked for a while"`)
	if status := newCaller(t, at.house+"/mcp").initialize(token.AccessToken); status != http.StatusOK {
		t.Errorf("while the IdP is away a good token gets %d", status)
	}
}

func TestOIDCProviderTogether(t *testing.T) {
	at := newPlace(t)
	p, _ := startOIDCProvider(t, at, oidcProviderOptions{Resource: "off"})
	refreshTogether(t, at, p, 1)
}

func TestOIDCProviderSignOut(t *testing.T) {
	at := newPlace(t)
	p, _ := startOIDCProvider(t, at, oidcProviderOptions{Resource: "off"})
	signOutBoth(t, at, p, formPage{Press: "yes"})
}
