package app

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

// logout posts a logout token to the endpoint of a provider.
func (f *federation) logout(provider, token string) (int, map[string]any) {
	f.t.Helper()
	c := newClient(f.house, "/mcp")
	resp, err := c.http.PostForm(f.url+"/oauth/backchannel-logout/"+provider, url.Values{"logout_token": {token}})
	if err == nil && resp.Header.Get("Cache-Control") != "no-store" {
		f.t.Errorf("Cache-Control %q", resp.Header.Get("Cache-Control"))
	}
	return c.readJSON(resp, err)
}

// isOut wants a client and its browser to be shut out.
func (c *client) isOut() {
	c.t.Helper()
	if a := c.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
		c.t.Errorf("access token: %s", a)
	}
	if got := c.browser.Open(c.h.url + "/account"); got.URL.Path != "/signin" {
		c.t.Errorf("browser session: %s", got)
	}
	c.refusedRefresh()
}

// isIn wants a client and its browser to go on.
func (c *client) isIn() {
	c.t.Helper()
	c.mustCall("demo___whoami", `{}`)
	if got := c.browser.Open(c.h.url + "/account"); got.URL.Path != "/account" {
		c.t.Errorf("browser session: %s", got)
	}
	c.mustRefresh()
}

// Somebody signs out at the provider: what rests on that session ends at once, here and on other copies.
func TestBackchannelLogoutOfASession(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": "", "other": ""})
	at := func(provider, sid string) *client {
		f.idps[provider].Configure(func(c *testkit.UpstreamConfig) { c.SessionID = sid })
		return f.join(provider)
	}
	laptop, phone, elsewhere := at("okta", "laptop"), at("okta", "phone"), at("other", "laptop")
	beside, err := store.Open(t.Context(), store.Options{DSN: f.dir + "/state/gatehouse.db", Now: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	token := f.idps["okta"].LogoutToken(t, nil, map[string]any{"sid": "laptop"})
	if status, doc := f.logout("okta", token); status != http.StatusOK {
		t.Fatalf("%d %v", status, doc)
	}
	laptop.isOut()
	phone.isIn()
	elsewhere.isIn()
	got := claims(t, laptop.access)
	if err := beside.LoadRevocations(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !beside.Revoked(identity.PersonKey{Issuer: identity.Issuer(f.url), Subject: got["sub"].(string)}, identity.GrantID(got["gid"].(string)), "x", f.clock.Now()) {
		t.Error("another copy does not know")
	}
	f.mustRecord("provider_logout")
	// The token is good once; later it does not end what was begun since.
	back := at("okta", "laptop-2")
	if status, doc := f.logout("okta", token); status != http.StatusBadRequest || doc["error"] != "invalid_request" {
		t.Errorf("a second time: %d %v", status, doc)
	}
	back.isIn()
}

// A logout that names no session is of all of them; and one that does is also of what came without a session's name.
func TestBackchannelLogoutOfAPerson(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	idp := f.idps["okta"]
	idp.Configure(func(c *testkit.UpstreamConfig) { c.SessionID = "one" })
	one := f.join("okta")
	idp.Configure(func(c *testkit.UpstreamConfig) { c.SessionID = "" })
	nameless := f.join("okta")
	idp.Configure(func(c *testkit.UpstreamConfig) { c.Subject = "bob" })
	bob := f.join("okta")
	alice := idpSubject(t, f, one)
	idp.Configure(func(c *testkit.UpstreamConfig) { c.Subject = alice })
	if status, doc := f.logout("okta", idp.LogoutToken(t, nil, map[string]any{"sid": "another"})); status != http.StatusOK {
		t.Fatalf("%d %v", status, doc)
	}
	nameless.isOut()
	one.isIn()
	idp.Configure(func(c *testkit.UpstreamConfig) { c.SessionID = "two" })
	two := f.join("okta")
	if status, doc := f.logout("okta", idp.LogoutToken(t, nil, map[string]any{"sid": nil})); status != http.StatusOK {
		t.Fatalf("%d %v", status, doc)
	}
	one.isOut()
	two.isOut()
	bob.isIn()
}

// idpSubject is what the provider calls the person whom a client has tokens of.
func idpSubject(t *testing.T, f *federation, c *client) string {
	t.Helper()
	p, err := f.app.state.Store.FederatedPerson(t.Context(), claims(t, c.access)["sub"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return p.TokenSubject
}

func TestBackchannelLogoutRefuses(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": "", "other": ""})
	c := f.join("okta")
	okta := f.idps["okta"]
	forged := testkit.NewUpstreamIDP(t, "")
	for name, token := range map[string]string{
		"an ID token":             okta.LogoutToken(t, map[string]any{"typ": "JWT"}, map[string]any{"events": nil, "nonce": "n"}),
		"another provider's":      f.idps["other"].LogoutToken(t, nil, nil),
		"for another client":      okta.LogoutToken(t, nil, map[string]any{"aud": "somebody else"}),
		"an old one":              okta.LogoutToken(t, nil, map[string]any{"iat": f.clock.Now().Add(-time.Hour).Unix()}),
		"without jti":             okta.LogoutToken(t, nil, map[string]any{"jti": nil}),
		"without anybody":         okta.LogoutToken(t, nil, map[string]any{"sub": nil, "sid": nil}),
		"with a foreign key":      forged.LogoutToken(t, nil, map[string]any{"iss": okta.Issuer(), "iat": f.clock.Now().Unix(), "exp": nil}),
		"of another issuer":       okta.LogoutToken(t, nil, map[string]any{"iss": "https://evil.example"}),
		"not a token":             "x",
		"an access token of ours": c.access,
	} {
		if status, doc := f.logout("okta", token); status != http.StatusBadRequest || doc["error"] != "invalid_request" {
			t.Errorf("%s: %d %v", name, status, doc)
		}
	}
	if status, _ := f.logout("nobody", okta.LogoutToken(t, nil, nil)); status != http.StatusNotFound {
		t.Errorf("a provider that is not there: %d", status)
	}
	resp, err := c.http.Post(f.url+"/oauth/backchannel-logout/okta", "application/json", strings.NewReader(`{"logout_token":"x"}`))
	if status, _ := c.readJSON(resp, err); status != http.StatusBadRequest {
		t.Errorf("JSON: %d", status)
	}
	resp, err = c.http.Get(f.url + "/oauth/backchannel-logout/okta?logout_token=x")
	if status, _ := c.readJSON(resp, err); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
	c.isIn()
}

// A sign-in that was begun before a logout does not come in after it.
func TestBackchannelLogoutDuringASignIn(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	idp := f.idps["okta"]
	idp.Configure(func(c *testkit.UpstreamConfig) { c.SessionID = "s" })
	c := newClient(f.house, "/mcp")
	c.register()
	stop := c.stopAtIDP(idp)
	c.leave("okta")
	back := idp.Visit(t, stop())
	if status, doc := f.logout("okta", idp.LogoutToken(t, nil, map[string]any{"sub": nil})); status != http.StatusOK {
		t.Fatalf("%d %v", status, doc)
	}
	got := c.browser.Open(f.url + "/oauth/callback/okta?" + back.Encode())
	if got.Status != http.StatusForbidden || !strings.Contains(got.Text, "wants to see you first") {
		t.Errorf("%s:\n%s", got, got.Text)
	}
	if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("signed in: %s", got)
	}
}

// Signing out here offers to sign out at the provider too, with the ID token as a hint of who it is.
func TestSignOutAtTheProviderToo(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": `, label: Okta of Acme`})
	c := f.join("okta")
	page := c.browser.Open(f.url + "/signout")
	page.MustShow(t, "Sign out here and at Okta of Acme", "<strong>alice</strong>")
	stop := c.stopAtIDP(f.idps["okta"])
	c.browser.Submit(page, "provider", nil)
	to := mustParse(t, stop())
	if q := to.Query(); to.Path != "/logout" || q.Get("tenant") != "1" || q.Get("client_id") != "gatehouse" || claims(t, q.Get("id_token_hint"))["iss"] != f.idps["okta"].Issuer() {
		t.Errorf("the browser goes to %s", to)
	}
	if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("still signed in here: %s", got)
	}
	c.mustCall("demo___whoami", `{}`) // clients keep what they were given

	for _, way := range []struct{ from, press string }{{"/signout", "Sign out"}, {"/account", "Sign out"}, {"/account", "Sign out everywhere"}} {
		c.browser.Submit(c.browser.Open(f.url+"/signin"), "okta", nil)
		page := c.browser.Submit(c.browser.Open(f.url+way.from), way.press, nil)
		page.MustShow(t, "still signed in at Okta of Acme", "Sign out at Okta of Acme", f.idps["okta"].URL()+"/logout?")
	}
	// Which ended the client too, and told the provider to forget the refresh token.
	if a := c.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("after signing out everywhere: %s", a)
	}
	if n := len(f.idps["okta"].Requests("revoke")); n != 1 {
		t.Errorf("%d refresh tokens were revoked at the provider", n)
	}
	// A provider that offers no sign-out, or is away, keeps nobody from signing out.
	f.idps["okta"].SetDocument(map[string]any{"end_session_endpoint": nil})
	f.restart()
	c.browser.Submit(c.browser.Open(f.url+"/signin"), "okta", nil)
	page = c.browser.Submit(c.browser.Open(f.url+"/signout"), "provider", nil)
	page.MustShow(t, "still signed in at Okta of Acme")
	if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("still signed in here: %s", got)
	}
}

// People see what they allowed, and take back one or all of it.
func TestAccountOfAFederatedPerson(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": `, label: Okta of Acme`})
	all := []*client{f.join("okta"), f.join("okta"), f.join("okta")}
	b := all[0].browser
	page := b.Open(f.url + "/account")
	page.MustShow(t, "alice", "at Okta of Acme", "Assistant", f.url+"/mcp", "mcp:tools", "Allowed on", "last used on", "Disconnect all")
	for _, absent := range []string{"Passkeys", "Change password", "Current password"} {
		if strings.Contains(page.Text, absent) {
			t.Errorf("the page offers %q to somebody who has none here", absent)
		}
	}
	b.Submit(page, "Disconnect", nil)
	out := 0
	for _, c := range all {
		if c.call("demo___whoami", `{}`).status == http.StatusUnauthorized {
			out++
		}
	}
	if out != 1 {
		t.Errorf("%d clients are out after one was disconnected", out)
	}
	page = b.Submit(b.Open(f.url+"/account"), "Disconnect all", nil)
	page.MustShow(t, "All clients are disconnected", "No client is connected.")
	for _, c := range all {
		if a := c.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
			t.Errorf("after all were disconnected: %s", a)
		}
		c.refusedRefresh()
	}
}
