package app

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// federation is a house whose people sign in at identity providers, and a clock for all of them.
type federation struct {
	*house
	clock *testkit.Clock
	idps  map[string]*testkit.UpstreamIDP // by the name in the configuration
}

// newFederation starts identity providers of these names and a Gatehouse whose configuration names them. $OIDC in the
// settings stands for the list of providers, each with what extra says about it.
func newFederation(t *testing.T, settings string, extra map[string]string) *federation {
	t.Helper()
	f := &federation{house: prepareHouse(t, demoOnly), clock: testkit.NewClock(time.Now().Truncate(time.Second)), idps: map[string]*testkit.UpstreamIDP{}}
	f.now = f.clock.Now
	for name := range extra {
		f.idps[name] = f.newIDP(name)
	}
	f.configure(f.settings(settings, extra))
	f.start()
	return f
}

func (f *federation) newIDP(name string) *testkit.UpstreamIDP {
	idp := testkit.NewUpstreamIDP(f.t, "")
	idp.Configure(func(c *testkit.UpstreamConfig) {
		c.Now, c.RedirectURI = f.clock.Now, f.url+"/oauth/callback/"+name
	})
	return idp
}

func (f *federation) settings(settings string, extra map[string]string) string {
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		fmt.Fprintf(&list, "\n    - {name: %s, discovery_url: %q, client_id: gatehouse, client_secret: \"s3cret+/&=\"%s}", name, f.idps[name].DiscoveryURL(), extra[name])
	}
	return strings.ReplaceAll(settings, "$OIDC", list.String())
}

// database returns everything that lies in the database's files.
func (f *federation) database() string {
	f.t.Helper()
	files, err := filepath.Glob(filepath.Join(f.dir, "state", "gatehouse.db*"))
	if err != nil || len(files) == 0 {
		f.t.Fatalf("no database: %v", err)
	}
	var all strings.Builder
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

const oneEndpoint = demoOnly + `sign_in:
  users: false
  oidc: $OIDC
`

// leave begins a client's sign-in and goes to the provider. It returns the page at which the browser ends up.
func (c *client) leave(provider string, scopes ...string) (verifier string, last testkit.Page) {
	c.t.Helper()
	verifier = rand.Text() + rand.Text()
	p := c.browser.Open(c.authorizeURL(verifier, scopes...))
	return verifier, c.browser.Submit(p, provider, nil)
}

// signInAt takes the person through the identity provider and redeems the code.
func (c *client) signInAt(provider string) {
	c.t.Helper()
	verifier, p := c.leave(provider, "mcp:tools", "profile", "email")
	c.allow(verifier, p)
}

// allow is the confirmation after the identity provider, and the code.
func (c *client) allow(verifier string, p testkit.Page) {
	c.t.Helper()
	last := c.browser.Submit(p, "allow", nil)
	q := last.URL.Query()
	if q.Get("code") == "" || q.Get("state") != c.state || q.Get("iss") != c.h.url {
		c.t.Fatalf("the sign-in ended at %s:\n%s", last, last.Text)
	}
	c.code = q.Get("code")
	if status, doc := c.token(url.Values{"grant_type": {"authorization_code"}, "code": {c.code}, "redirect_uri": {c.redirect}, "code_verifier": {verifier}}); status != http.StatusOK {
		c.t.Fatalf("token: %d %v", status, doc)
	}
}

// join is a new client whose person signs in at the provider and begins an MCP session.
func (f *federation) join(provider string) *client {
	f.t.Helper()
	c := newClient(f.house, "/mcp")
	c.register()
	c.signInAt(provider)
	c.initialize()
	return c
}

// From nothing to a tool call, with the person at an identity provider.
func TestFederatedSignIn(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": `, label: Okta of Acme, claims: [department], groups_claim: teams`})
	f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) {
		c.Person = maps.Clone(c.Person)
		maps.Copy(c.Person, map[string]any{"department": "R&D", "salary": 100, "teams": []string{"sre", "eng"}, "idp": "forged", "gid": "forged"})
		c.SessionID = "sid-1"
	})
	c := newClient(f.house, "/mcp")
	c.register()
	verifier := rand.Text() + rand.Text()
	page := c.browser.Open(c.authorizeURL(verifier, "mcp:tools", "profile", "email"))
	// Before the browser leaves: client, "unverified", redirect host, endpoint, identity provider.
	page.MustShow(t, "Assistant", "unverified", strings.TrimSuffix(strings.TrimPrefix(c.redirect, "http://"), "/callback"), c.endpoint, "Continue with Okta of Acme")
	if strings.Contains(page.Text, `name="password"`) || len(f.idps["okta"].Requests("authorize")) > 0 {
		t.Errorf("a password is asked for, or the identity provider was asked already")
	}
	page = c.browser.Submit(page, "okta", nil)
	if page.URL.Path != "/consent" {
		t.Fatalf("the identity provider leads to %s:\n%s", page, page.Text)
	}
	// After it: the person and the scopes as well.
	page.MustShow(t, "Assistant", "unverified", c.endpoint, "<strong>alice</strong>", "at Okta of Acme", "mcp:tools")
	c.allow(verifier, page)
	c.initialize()
	got := claims(t, c.access)
	if got["idp"] != "okta" || got["preferred_username"] != "alice" || fmt.Sprint(got["groups"]) != "[eng sre]" || got["department"] != "R&D" {
		t.Errorf("access token %v", got)
	}
	for _, name := range []string{"salary", "teams"} {
		if _, ok := got[name]; ok {
			t.Errorf("the access token carries %s, for which nobody asked", name)
		}
	}
	if got["iss"] != f.url || got["sub"] == "" || got["sub"] == "alice-sub" || strings.Contains(fmt.Sprint(got["gid"]), "forged") {
		t.Errorf("access token %v", got)
	}
	if id := claims(t, c.idToken); id["email"] != "alice@acme.example" || id["email_verified"] != true || id["name"] != "Alice Adams" {
		t.Errorf("ID token %v", id)
	}
	if text := c.mustCall("demo___whoami", `{}`); !strings.Contains(text, "alice") {
		t.Errorf("whoami: %s", text)
	}
	asked := f.idps["okta"].Requests("authorize")
	if len(asked) != 1 {
		t.Fatalf("%d authorization requests at the identity provider", len(asked))
	}
	for _, name := range []string{"resource", "audience"} {
		if asked[0].Params.Has(name) {
			t.Errorf("the client's %s reached the identity provider", name)
		}
	}
	if asked[0].Params.Get("state") == c.state || asked[0].Params.Get("code_challenge_method") != "S256" || asked[0].Params.Get("nonce") == "" {
		t.Errorf("authorization request %v", asked[0].Params)
	}
	// The same person again is the same subject, on another client.
	if other := claims(t, f.join("okta").access); other["sub"] != got["sub"] {
		t.Errorf("the second sign-in is %v, the first was %v", other["sub"], got["sub"])
	}
	f.mustRecord("signin")
	for _, want := range []string{`"provider":"okta"`, `"method":"oidc"`} {
		if !strings.Contains(f.auditRecords(), want) {
			t.Errorf("the audit records lack %s", want)
		}
	}
}

// The same subject at two identity providers is two people, and both sit beside the built-in users.
func TestSeveralIdentityProviders(t *testing.T) {
	t.Parallel()
	f := newFederation(t, demoOnly+"sign_in:\n  oidc: $OIDC\n", map[string]string{"one": "", "two": ""})
	f.addUser("alice", "eng")
	one, two := f.join("one"), f.join("two")
	built := newClient(f.house, "/mcp")
	built.register()
	built.signIn("alice", "mcp:tools")
	built.initialize()
	subjects := map[any]bool{}
	for _, c := range []*client{one, two, built} {
		subjects[claims(t, c.access)["sub"]] = true
		c.mustCall("demo___whoami", `{}`)
	}
	if len(subjects) != 3 {
		t.Errorf("three people have the subjects %v", subjects)
	}
	if claims(t, built.access)["idp"] != nil {
		t.Errorf("a built-in user's token names an identity provider")
	}
}

// An e-mail domain picks the identity provider. What is said does not depend on who exists.
func TestHomeRealmDiscovery(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"acme": `, hidden: true, email_domains: [acme.example]`, "open": ""})
	c := newClient(f.house, "/mcp")
	c.register()
	verifier := rand.Text() + rand.Text()
	page := c.browser.Open(c.authorizeURL(verifier, "mcp:tools") + "&login_hint=carol%40other.example")
	page.MustShow(t, "Continue with open", "E-mail address")
	if got := page.Field("address"); got != "carol@other.example" {
		t.Errorf("the field is filled in with %q", got)
	}
	if strings.Contains(page.Text, "acme") {
		t.Error("a hidden identity provider is offered")
	}
	for _, address := range []string{"alice@other.example", "bob@other.example", "x@acme.example.evil.example"} {
		got := c.browser.Submit(page, "Continue", map[string]string{"address": address})
		if got.Status != http.StatusUnprocessableEntity || !strings.Contains(got.Text, "No identity provider is set up for addresses of that kind") {
			t.Errorf("%s: %s", address, got)
		}
	}
	page = c.browser.Submit(page, "Continue", map[string]string{"address": "Nobody.Known@ACME.example"})
	page.MustShow(t, "Continue with acme", "Nobody.Known@ACME.example", "unverified", c.endpoint)
	if strings.Contains(page.Text, "Continue with open") || len(f.idps["acme"].Requests("authorize")) > 0 {
		t.Error("other identity providers are still offered, or the browser left before the person agreed")
	}
	page = c.browser.Submit(page, "acme", nil)
	c.allow(verifier, page)
	if hint := f.idps["acme"].Requests("authorize")[0].Params.Get("login_hint"); hint != "Nobody.Known@ACME.example" {
		t.Errorf("login_hint %q", hint)
	}
}

// Only people who meet the rule get in; the others read that they may not, and no session is opened.
func TestFederatedRequire(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": `, groups_claim: groups, require: {claim: groups, operator: contains, value: staff}`})
	c := newClient(f.house, "/mcp")
	c.register()
	_, page := c.leave("okta")
	if page.Status != http.StatusForbidden || !strings.Contains(page.Text, "You may not sign in here") || !strings.Contains(page.Text, "idp_person_refused") {
		t.Errorf("%s:\n%s", page, page.Text)
	}
	if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("signed in all the same: %s", got)
	}
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) {
		u.Person = maps.Clone(u.Person)
		u.Person["groups"] = []string{"staff"}
	})
	c.signInAt("okta")
}

// What an identity provider says when it refuses is shown escaped, and the client hears nothing of it (checklist 35).
func TestChecklist35_ErrorOfTheIdentityProvider(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	const nasty = `<script>alert(1)</script> "quoted" & https://evil.example/`
	f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) { c.AuthorizeErr, c.ErrText = "access_denied", nasty })
	c := newClient(f.house, "/mcp")
	c.register()
	_, page := c.leave("okta")
	if page.Status != http.StatusForbidden || page.URL.Path != "/oauth/callback/okta" {
		t.Errorf("%s", page)
	}
	page.MustShow(t, "&lt;script&gt;alert(1)&lt;/script&gt;", "access_denied", "idp_access_denied", "Try again")
	if strings.Contains(page.Text, "<script>alert") || strings.Contains(page.Text, `href="https://evil`) {
		t.Errorf("not escaped:\n%s", page.Text)
	}
	// The person can go back to the client, which learns that they did not sign in and nothing else.
	page = c.browser.Open(c.authorizeURL(rand.Text() + rand.Text()))
	page = c.browser.Submit(page, "cancel", nil)
	if q := page.URL.Query(); q.Get("error") != "access_denied" || q.Get("state") != c.state || strings.Contains(page.URL.String(), "evil") {
		t.Errorf("cancelled: %s", page)
	}
}

// An attacker begins a sign-in, agrees, and hands the victim the identity provider's address: the callback refuses in
// the victim's browser, with or without a sign-in of the victim's own under way (checklist 29).
func TestChecklist29_UpstreamAddressOfAnother(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	attacker, victim := newClient(f.house, "/mcp"), newClient(f.house, "/mcp")
	attacker.register()
	victim.register()

	stop := attacker.stopAtIDP(f.idps["okta"])
	page := attacker.browser.Open(attacker.authorizeURL(rand.Text() + rand.Text()))
	attacker.browser.Submit(page, "okta", nil)
	handed := stop()

	for _, underWay := range []bool{false, true} {
		if underWay {
			stop := victim.stopAtIDP(f.idps["okta"])
			victim.leave("okta")
			stop()
		}
		got := victim.browser.Open(handed)
		if got.Status != http.StatusBadRequest || !strings.Contains(got.Text, "This sign-in was not begun here") {
			t.Errorf("under way %v: %s:\n%s", underWay, got, got.Text)
		}
		if got := victim.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
			t.Errorf("under way %v: the victim is signed in: %s", underWay, got)
		}
	}
	// Nor does the attacker get in with what the victim's browser brought back.
	if got := attacker.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("the attacker is signed in: %s", got)
	}
}

// stopAtIDP has the browser stop at the identity provider; the returned function lets it go on again and says where it
// stopped.
func (c *client) stopAtIDP(idp *testkit.UpstreamIDP) func() string {
	at := ""
	c.browser.Client.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), idp.URL()) {
			at = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	return func() string {
		c.browser.Client.CheckRedirect = nil
		if at == "" {
			c.t.Fatal("the browser was not sent to the identity provider")
		}
		return at
	}
}

// The callback is good once, for ten minutes, and only with the cookie that this very sign-in set (checklist 29).
func TestChecklist29_CallbackOnce(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := newClient(f.house, "/mcp")
	c.register()
	refused := func(what, address string) {
		t.Helper()
		if got := c.browser.Open(address); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %s", what, got)
		}
		if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
			t.Errorf("%s: signed in: %s", what, got)
		}
	}
	callback := func() string {
		stop := c.stopAtIDP(f.idps["okta"])
		c.leave("okta")
		back := f.idps["okta"].Visit(t, stop())
		return f.url + "/oauth/callback/okta?" + back.Encode()
	}
	late := callback()
	f.clock.Advance(10*time.Minute + time.Second)
	refused("after ten minutes", late)

	wrong := mustParse(t, callback())
	q := wrong.Query()
	q.Set("code", "another")
	wrong.RawQuery = q.Encode()
	refused("with another code", wrong.String())

	// The cookie of one sign-in under the name of another: a planted one does not fit.
	first, second := mustParse(t, callback()), mustParse(t, callback())
	swapCookies(t, c, first.Query().Get("state"), second.Query().Get("state"))
	refused("with the cookie of another sign-in", second.String())

	good := callback()
	if req, err := c.browser.Client.Head(good); err != nil || req.StatusCode != http.StatusOK { // such as a preview of the address
		t.Errorf("HEAD: %v %v", req, err)
	}
	if got := c.browser.Open(good); got.URL.Path != "/consent" {
		t.Fatalf("the good one leads to %s:\n%s", got, got.Text)
	}
	if got := c.browser.Open(good); got.Status != http.StatusBadRequest {
		t.Errorf("a second time: %s", got)
	}
}

// swapCookies puts the value of the cookie of one state under the name of the other.
func swapCookies(t *testing.T, c *client, from, to string) {
	t.Helper()
	site := mustParse(t, c.h.url)
	var names []string
	values := map[string]string{}
	for _, cookie := range c.browser.Client.Jar.Cookies(site) {
		if strings.Contains(cookie.Name, "-idp-") {
			names = append(names, cookie.Name)
			values[cookie.Name] = cookie.Value
		}
	}
	if len(names) != 2 {
		t.Fatalf("%d cookies of sign-ins under way (%v), want two for %s and %s", len(names), names, from, to)
	}
	c.browser.Client.Jar.SetCookies(site, []*http.Cookie{
		{Name: names[0], Value: values[names[1]], Path: "/"}, {Name: names[1], Value: values[names[0]], Path: "/"},
	})
}

// Two identity providers cannot be mixed up: an answer of one is nothing at the callback of the other, whoever the
// answer says that it is from (checklist 34).
func TestChecklist34_MixUp(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"honest": "", "evil": ""})
	for _, idp := range f.idps {
		idp.SetDocument(map[string]any{"authorization_response_iss_parameter_supported": true})
	}
	f.restart() // reads the documents anew
	for what, change := range map[string]func(callback string, q url.Values) (string, url.Values){
		"the other callback": func(_ string, q url.Values) (string, url.Values) { return "evil", q },
		"the other issuer": func(c string, q url.Values) (string, url.Values) {
			q.Set("iss", f.idps["evil"].Issuer())
			return c, q
		},
		"no issuer": func(c string, q url.Values) (string, url.Values) { q.Del("iss"); return c, q },
		"two issuers": func(c string, q url.Values) (string, url.Values) {
			q.Add("iss", f.idps["evil"].Issuer())
			return c, q
		},
		"two states": func(c string, q url.Values) (string, url.Values) { q.Add("state", "x"); return c, q },
	} {
		c := newClient(f.house, "/mcp")
		c.register()
		stop := c.stopAtIDP(f.idps["honest"])
		c.leave("honest")
		callback, q := change("honest", f.idps["honest"].Visit(t, stop()))
		got := c.browser.Open(f.url + "/oauth/callback/" + callback + "?" + q.Encode())
		if got.Status != http.StatusBadRequest {
			t.Errorf("%s: %s:\n%s", what, got, got.Text)
		}
		if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
			t.Errorf("%s: signed in: %s", what, got)
		}
	}
	for name, idp := range f.idps {
		if n := len(idp.Requests("token")); n > 0 {
			t.Errorf("%s was asked for tokens %d times", name, n)
		}
	}
}

// A session that somebody knew before the sign-in is not the one after it (checklist 31).
func TestChecklist31_FederatedSessionIsNew(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := f.join("okta")
	site := mustParse(t, f.url)
	session := func() string {
		for _, cookie := range c.browser.Client.Jar.Cookies(site) {
			if strings.HasPrefix(cookie.Name, "gatehouse-") && !strings.HasSuffix(cookie.Name, "-form") && !strings.Contains(cookie.Name, "-idp-") {
				return cookie.Value
			}
		}
		return ""
	}
	planted := session()
	page := c.browser.Submit(c.browser.Open(c.authorizeURL(rand.Text()+rand.Text(), "mcp:tools")), "switch", nil)
	c.browser.Submit(page, "okta", nil)
	if now := session(); now == "" || now == planted {
		t.Errorf("session %q after the sign-in, %q before", now, planted)
	}
	if asked := f.idps["okta"].Requests("authorize"); asked[len(asked)-1].Params.Get("prompt") != "consent login" {
		t.Errorf("signing in as somebody else asks the provider with %v", asked[len(asked)-1].Params)
	}
	old := testkit.NewBrowser(t)
	old.Client.Jar.SetCookies(site, []*http.Cookie{{Name: "gatehouse-" + site.Port(), Value: planted, Path: "/"}})
	if got := old.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("the session from before still works: %s", got)
	}
}

// prompt=login has the identity provider ask anew, and one that lets an old sign-in count does not get anybody in.
func TestFederatedPromptLogin(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := f.join("okta")
	f.clock.Advance(10 * time.Second)
	begin := func() testkit.Page {
		return c.browser.Open(c.authorizeURL(rand.Text()+rand.Text(), "mcp:tools") + "&prompt=login")
	}
	page := begin()
	page.MustShow(t, "Confirm it is you")
	if page = c.browser.Submit(page, "okta", nil); page.URL.Path != "/consent" {
		t.Fatalf("%s:\n%s", page, page.Text)
	}
	if asked := f.idps["okta"].Requests("authorize"); asked[len(asked)-1].Params.Get("prompt") != "consent login" {
		t.Errorf("asked with %v", asked[len(asked)-1].Params)
	}
	f.clock.Advance(10 * time.Minute)
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) {
		u.IDToken = func(claims map[string]any) { claims["auth_time"] = f.clock.Now().Add(-10 * time.Minute).Unix() }
	})
	if page = c.browser.Submit(begin(), "okta", nil); page.Status != http.StatusForbidden || !strings.Contains(page.Text, "id_token_auth_time") {
		t.Errorf("an old sign-in counted: %s:\n%s", page, page.Text)
	}
}

// A provider that a reload takes away lets nobody in any more, not even with tokens of before; one that comes does.
func TestFederatedReload(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"old": "", "stays": ""})
	gone, stays := f.join("old"), f.join("stays")
	f.idps["new"] = f.newIDP("new")
	if !f.reload(f.settings(oneEndpoint, map[string]string{"stays": "", "new": ""})) {
		t.Fatal("the configuration was not taken")
	}
	if a := gone.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("token of a provider that is gone: %s", a)
	}
	if status, doc := gone.refreshTokens(); status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
		t.Errorf("refresh with a provider that is gone: %d %v", status, doc)
	}
	if got := gone.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("browser session with a provider that is gone: %s", got)
	}
	if got := gone.browser.Open(f.url + "/oauth/callback/old?state=x&code=y"); got.Status != http.StatusNotFound {
		t.Errorf("callback of a provider that is gone: %s", got)
	}
	stays.mustCall("demo___whoami", `{}`)
	if status, doc := stays.refreshTokens(); status != http.StatusOK {
		t.Errorf("refresh: %d %v", status, doc)
	}
	f.join("new")
}

// A service has nobody who vouches for it, and gets in all the same where nobody has a password.
func TestServicesBesideFederatedPeople(t *testing.T) {
	t.Parallel()
	settings := strings.Replace(oneEndpoint, "access: any_signed_in,", "access: any_signed_in, services: {gatehouse: [ci]},", 1) + `
clients:
  - {client_id: ci, grant_types: [client_credentials], token_endpoint_auth_method: client_secret_post, client_secret: {file: secret}, scopes: [mcp:tools]}
`
	f := &federation{house: prepareHouse(t, demoOnly), clock: testkit.NewClock(time.Now().Truncate(time.Second)), idps: map[string]*testkit.UpstreamIDP{}}
	f.now = f.clock.Now
	f.idps["okta"] = f.newIDP("okta")
	f.write("secret", "the secret of ci")
	f.configure(f.settings(settings, map[string]string{"okta": ""}))
	f.start()
	c := newClient(f.house, "/mcp")
	c.id = "ci"
	status, doc := c.answerTo(f.url+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"ci"}, "client_secret": {"the secret of ci"}, "resource": {c.endpoint}})
	if status != http.StatusOK {
		t.Fatalf("token: %d %v", status, doc)
	}
	c.access = doc["access_token"].(string)
	c.initialize()
	c.mustCall("demo___echo", `{"text":"night"}`)
	f.join("okta").mustCall("demo___whoami", `{}`)
}

func (c *client) answerTo(address string, form url.Values) (int, map[string]any) {
	c.t.Helper()
	resp, err := c.http.PostForm(address, form)
	return c.readJSON(resp, err)
}

// Groups that the provider only points at are unknown here too: a rule on them denies, and so does its opposite.
func TestFederatedGroupsUnknown(t *testing.T) {
	t.Parallel()
	settings := strings.Replace(oneEndpoint, "  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}", `  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
  /in/mcp: {issuers: [gatehouse], access: {claim: groups, operator: contains, value: eng}, targets: [demo]}
  /out/mcp: {issuers: [gatehouse], access: {not: {claim: groups, operator: contains, value: guests}}, targets: [demo]}`, 1)
	f := newFederation(t, settings, map[string]string{"okta": ", groups_claim: groups"})
	try := func(path string) int {
		c := newClient(f.house, path)
		c.register()
		c.signInAt("okta")
		return c.rpc("initialize", initializeParams).status
	}
	person := func(claims map[string]any) {
		f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) { c.Person = claims })
	}
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("group-%d", i)
	}
	for name, claims := range map[string]map[string]any{
		"moved elsewhere": {"_claim_names": map[string]any{"groups": "src1"}},
		"too many":        {"groups": append(many, "eng")},
	} {
		person(claims)
		if in, out, any := try("/in/mcp"), try("/out/mcp"), try("/mcp"); in != http.StatusForbidden || out != http.StatusForbidden || any != http.StatusOK {
			t.Errorf("%s: a rule %d, its opposite %d, no rule %d", name, in, out, any)
		}
	}
	person(map[string]any{"groups": []string{"eng"}})
	if in, out := try("/in/mcp"), try("/out/mcp"); in != http.StatusOK || out != http.StatusOK {
		t.Errorf("known groups: a rule %d, its opposite %d", in, out)
	}
}

// The name that people write for themselves is no username, by which rules go.
func TestFederatedNameIsNoUsername(t *testing.T) {
	t.Parallel()
	settings := strings.Replace(oneEndpoint, "access: any_signed_in", "access: {claim: preferred_username, operator: equals, value: alice}", 1)
	f := newFederation(t, settings, map[string]string{"okta": ""})
	for _, test := range []struct {
		person map[string]any
		want   int
	}{
		{map[string]any{"name": "alice"}, http.StatusForbidden},
		{map[string]any{"name": "alice", "email": "alice", "email_verified": true}, http.StatusForbidden},
		{map[string]any{"name": "Mallory", "preferred_username": "alice"}, http.StatusOK},
	} {
		f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) { c.Person = test.person })
		c := newClient(f.house, "/mcp")
		c.register()
		c.signInAt("okta")
		if status := c.rpc("initialize", initializeParams).status; status != test.want {
			t.Errorf("%v: %d", test.person, status)
		}
	}
	f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) { c.Person = map[string]any{"name": "Alice A."} })
	b := testkit.NewBrowser(t)
	b.Submit(b.Open(f.url+"/account"), "okta", nil).MustShow(t, "Signed in as", "Alice A.")
}

// sign_in.users: false in a reload shuts out who came with a password, and leaves the others.
func TestReloadTakesPasswordsAway(t *testing.T) {
	t.Parallel()
	both := strings.Replace(oneEndpoint, "  users: false\n", "", 1)
	f := newFederation(t, both, map[string]string{"okta": ""})
	f.addUser("alice", "eng")
	built, federated := newClient(f.house, "/mcp"), f.join("okta")
	built.register()
	built.signIn("alice", "mcp:tools")
	built.initialize()
	if !f.reload(f.settings(oneEndpoint, map[string]string{"okta": ""})) {
		t.Fatal("the configuration was not taken")
	}
	built.isOut()
	federated.isIn()
	if status, _ := built.answerTo(f.url+"/signin", url.Values{"username": {"alice"}, "password": {alicePassword}}); status != http.StatusMethodNotAllowed {
		t.Errorf("posting a password: %d", status)
	}
}

// What a person says about themselves does not make tokens too large: the sign-in fails, and says to whom it matters.
func TestFederatedClaimsTooLarge(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ", claims: [biography]"})
	f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) {
		c.Person = maps.Clone(c.Person)
		c.Person["biography"] = strings.Repeat("once upon a time ", 300)
	})
	c := newClient(f.house, "/mcp")
	c.register()
	_, page := c.leave("okta")
	if page.Status != http.StatusBadGateway || !strings.Contains(page.Text, "idp_claims_too_large") {
		t.Errorf("%s:\n%s", page, page.Text)
	}
}
