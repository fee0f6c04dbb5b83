//go:build e2e

package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

const manyProviders = `
public_url: %[1]s
listen: 127.0.0.1:%[2]d
state_dir: state
master_key: {file: master.key}
sign_in:
  oidc:
    - {name: okta, label: Okta of Acme, discovery_url: "%[3]s", client_id: gatehouse, client_secret: {file: secret}}
    - {name: entra, label: Microsoft, discovery_url: "%[3]s", client_id: gatehouse, client_secret: {file: secret}}
    - {name: beta, label: Keycloak of Beta Ltd, discovery_url: "%[3]s", client_id: gatehouse, client_secret: {file: secret}, email_domains: [beta.example], hidden: true}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
`

// The pages of enterprise sign-in in Chromium, each as a picture: several identity providers, an e-mail address that leads to
// one, consent before and after, what the provider refuses, the account, signing out here and there.
func TestEnterprisePagesInChromium(t *testing.T) {
	t.Parallel()
	idp := testkit.NewUpstreamIDP(t, "")
	dir, port := t.TempDir(), freePort(t)
	ours := fmt.Sprintf("http://localhost:%d", port)
	key := make([]byte, 32)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	writeFile(t, filepath.Join(dir, "secret"), "s3cret+/&=")
	file := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, file, fmt.Sprintf(manyProviders, ours, port, idp.DiscoveryURL()))
	startHouse(t, dir, ours, "serve", "-c", file)

	a := newAssistant(t, ours)
	at := func(provider string, change func(*testkit.UpstreamConfig)) {
		idp.Configure(func(c *testkit.UpstreamConfig) {
			c.RedirectURI = ours + "/oauth/callback/" + provider
			if change != nil {
				change(c)
			}
		})
	}
	at("okta", nil)
	w := walk(t, "enterprise-1-several", a.authorizeURL(), ours, []formPage{{Press: "okta"}, {Press: "allow"}})
	w.mustShow(t, 0, "Continue with Okta of Acme", "Continue with Microsoft", "E-mail address", "unverified", ours+"/mcp")
	w.mustShow(t, 1, "at Okta of Acme", "alice", "unverified", "mcp:tools")
	if strings.Contains(w.texts[0], "Beta") {
		t.Error("a hidden provider is shown")
	}
	a.redeem(t, w.ended)
	w = walk(t, "enterprise-1-again", a.authorizeURL(), ours, []formPage{{Press: "okta"}, {Press: "allow"}})
	a.redeem(t, w.ended)

	at("beta", nil)
	w = walk(t, "enterprise-2-address", a.authorizeURL(), ours, []formPage{{Fields: map[string]string{"address": "carol@beta.example"}}, {Press: "beta"}, {Press: "allow"}})
	w.mustShow(t, 1, "carol@beta.example", "Continue with Keycloak of Beta Ltd", "unverified")
	w = walk(t, "enterprise-3-no-such-address", a.authorizeURL(), ours, []formPage{{Fields: map[string]string{"address": "carol@nowhere.example"}}})
	w.mustShow(t, 1, "No identity provider is set up for addresses of that kind")

	at("entra", func(c *testkit.UpstreamConfig) {
		c.AuthorizeErr, c.ErrText = "access_denied", "AADSTS50105: The signed in user is not assigned to a role for the application."
	})
	w = walk(t, "enterprise-4-refused", a.authorizeURL(), ours, []formPage{{Press: "entra"}})
	w.mustShow(t, 1, "Microsoft did not let you in", "AADSTS50105", "Try again")

	at("okta", func(c *testkit.UpstreamConfig) { c.AuthorizeErr, c.ErrText = "", "" })
	w = walk(t, "enterprise-5-account", ours+"/account", ours, []formPage{{Press: "okta"}, {Press: "Sign out everywhere"}})
	w.mustShow(t, 1, "at Okta of Acme", "Connected clients", "Assistant")
	w.mustShow(t, 2, "still signed in at Okta of Acme", "Sign out at Okta of Acme")
	// Signing out leads to the provider itself.
	w = walk(t, "enterprise-6-signout", ours+"/account", ours, []formPage{{Press: "okta"}, {Press: "Sign out"}})
	w.mustShow(t, 2, "You are signed out")
}

// mustShow insists on texts of one of the pages, in whatever case the page shows them.
func (w walked) mustShow(t *testing.T, n int, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if !strings.Contains(strings.ToLower(w.texts[n]), strings.ToLower(want)) {
			t.Errorf("page %d does not show %q:\n%s", n, want, w.texts[n])
		}
	}
}

// assistant is a client that has registered itself.
type assistant struct {
	ours, id, redirect, verifier string
}

func newAssistant(t *testing.T, ours string) *assistant {
	t.Helper()
	landing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "You may close this window.") }))
	t.Cleanup(landing.Close)
	a := &assistant{ours: ours, redirect: landing.URL + "/callback"}
	body, err := json.Marshal(map[string]any{"client_name": "Assistant", "redirect_uris": []string{a.redirect}, "token_endpoint_auth_method": "none"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(ours+"/register", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || doc.ID == "" {
		t.Fatalf("register: %s %v", resp.Status, err)
	}
	a.id = doc.ID
	return a
}

// redeem turns the code that the browser brought to the client into tokens.
func (a *assistant) redeem(t *testing.T, callback *url.URL) {
	t.Helper()
	resp, err := http.PostForm(a.ours+"/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {a.id}, "code": {callback.Query().Get("code")}, "code_verifier": {a.verifier},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("token: %s, after the walk ended at %s", resp.Status, callback)
	}
}

func (a *assistant) authorizeURL() string {
	a.verifier = rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(a.verifier))
	return a.ours + "/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {a.id}, "redirect_uri": {a.redirect}, "state": {rand.Text()}, "scope": {"openid profile mcp:tools offline_access"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}, "resource": {a.ours + "/mcp"},
	}.Encode()
}
