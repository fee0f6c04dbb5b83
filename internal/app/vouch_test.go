package app

import (
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// refreshes counts the refresh tokens that a provider was asked to redeem.
func (f *federation) refreshes(provider string) int {
	n := 0
	for _, r := range f.idps[provider].Requests("token") {
		if r.Params.Get("grant_type") == "refresh_token" {
			n++
		}
	}
	return n
}

// later moves the clock, and lets what is read every second be read.
func (f *federation) later(d time.Duration) {
	f.t.Helper()
	f.clock.Advance(d)
	if err := f.app.state.Store.LoadRevocations(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// mustRecord waits for an audit event of that kind.
func (f *federation) mustRecord(kind string) {
	f.t.Helper()
	eventually(f.t, patience, "an audit event "+kind, func() bool { return strings.Contains(f.auditRecords(), `"kind":"`+kind+`"`) })
}

func (c *client) mustRefresh() {
	c.t.Helper()
	if status, doc := c.refreshTokens(); status != http.StatusOK {
		c.t.Fatalf("refresh: %d %v", status, doc)
	}
}

// refused refreshes and wants to be told to sign in again.
func (c *client) refusedRefresh() string {
	c.t.Helper()
	status, doc := c.refreshTokens()
	if status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
		c.t.Fatalf("refresh: %d %v, want invalid_grant", status, doc)
	}
	return doc["error_description"].(string)
}

// The provider is asked when it was last asked longer ago than idp_recheck, whoever of the person's clients refreshes,
// and its rotating refresh token is the clients' common one.
func TestVouchingOnRefresh(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	one, two := f.join("okta"), f.join("okta")
	f.later(4 * time.Minute)
	one.mustRefresh()
	if n := f.refreshes("okta"); n != 0 {
		t.Errorf("asked %d times within five minutes", n)
	}
	for round := 1; round <= 3; round++ {
		f.later(30 * time.Minute)
		one.mustRefresh()
		two.mustRefresh()
		one.mustRefresh()
		if n := f.refreshes("okta"); n != round {
			t.Errorf("after %d rounds the provider was asked %d times", round, n)
		}
		two.mustCall("demo___whoami", `{}`)
	}
	f.stop()
	f.start() // the refresh token survives a restart
	one.http.CloseIdleConnections()
	f.later(time.Hour)
	one.mustRefresh()
	if n := f.refreshes("okta"); n != 4 {
		t.Errorf("after a restart the provider was asked %d times", n)
	}
}

// Clients that refresh at the same time redeem the provider's token once: twice would look like theft.
func TestVouchingOnceForAllAtOnce(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	all := make([]*client, 6)
	for i := range all {
		all[i] = f.join("okta")
	}
	f.later(time.Hour)
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			if status, doc := c.refreshTokens(); status != http.StatusOK {
				t.Errorf("refresh: %d %v", status, doc)
			}
		})
	}
	wg.Wait()
	if n := f.refreshes("okta"); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// A person removed at the provider is out with the next refresh: every client, every browser, at once, on record.
func TestVouchingRemoval(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	one, two := f.join("okta"), f.join("okta")
	f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) { c.Disabled = true })
	f.later(50 * time.Minute) // the access tokens are still good
	two.mustCall("demo___whoami", `{}`)
	if why := one.refusedRefresh(); !strings.Contains(why, "okta no longer vouches for the person (idp_grant_refused)") {
		t.Errorf("the client reads %q", why)
	}
	for _, c := range []*client{one, two} {
		if a := c.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
			t.Errorf("access token: %s", a)
		}
		if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
			t.Errorf("browser session: %s", got)
		}
	}
	two.refusedRefresh()
	f.mustRecord("person_ended")
	if !strings.Contains(f.auditRecords(), "okta no longer vouches for the person (idp_grant_refused)") {
		t.Error("the audit records do not say why")
	}
	if !strings.Contains(f.log.String(), "person ended by their identity provider") || !strings.Contains(f.log.String(), "idp_grant_refused") {
		t.Error("the log does not say why")
	}
	// Back at the provider, back here.
	f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) { c.Disabled = false })
	f.join("okta").mustCall("demo___whoami", `{}`)
}

// The rule about who may sign in holds at every check, and so do groups that the provider has taken away.
func TestVouchingRequireAndGroups(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": `, groups_claim: groups, require: {claim: groups, operator: contains, value: staff}`})
	groups := func(names ...string) {
		f.idps["okta"].Configure(func(c *testkit.UpstreamConfig) {
			c.Person = maps.Clone(c.Person)
			c.Person["groups"] = names
		})
	}
	groups("staff", "finance")
	one, two := f.join("okta"), f.join("okta")
	f.later(10*time.Minute + 300*time.Millisecond)
	groups("staff")
	one.mustRefresh()
	if got := claims(t, one.access)["groups"]; len(got.([]any)) != 1 {
		t.Errorf("groups %v", got)
	}
	one.mustCall("demo___whoami", `{}`) // the token that came with the news is good
	if a := two.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("a token with the old groups is still good: %s", a)
	}
	two.mustRefresh()
	two.mustCall("demo___whoami", `{}`)

	f.later(10 * time.Minute)
	groups("finance")
	if why := one.refusedRefresh(); !strings.Contains(why, "idp_person_refused") {
		t.Errorf("the client reads %q", why)
	}
	if a := two.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("another client's token is still good: %s", a)
	}
}

// A provider that does not answer is not one that says no. keep: its last word holds for eight hours, and then until it
// answers there are no new tokens; nothing is revoked.
func TestUnreachableKeep(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := f.join("okta")
	f.idps["okta"].SetDown(true)
	for range 7 {
		f.later(time.Hour)
		c.mustRefresh()
		c.mustCall("demo___whoami", `{}`)
	}
	f.later(time.Hour)
	for range 2 {
		if status, doc := c.refreshTokens(); status != http.StatusServiceUnavailable {
			t.Fatalf("after eight hours: %d %v", status, doc)
		}
	}
	if status, body := f.bodyOf("/readyz?verbose"); status != http.StatusOK || !strings.Contains(body, "identity providers: degraded okta: ") || !strings.Contains(body, "idp_unreachable") {
		t.Errorf("health: %d %s", status, body)
	}
	f.idps["okta"].SetDown(false)
	f.later(time.Minute)
	c.mustRefresh()
	c.initialize()
	c.mustCall("demo___whoami", `{}`)
	if _, body := f.bodyOf("/readyz?verbose"); !strings.Contains(body, "identity providers: ok") {
		t.Errorf("health: %s", body)
	}
}

// end: while the provider does not answer there are no new tokens, and when it does again all is as it was.
func TestUnreachableEnd(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint+"  idp_unreachable: end\n", map[string]string{"okta": ""})
	c := f.join("okta")
	f.idps["okta"].SetDown(true)
	f.later(10 * time.Minute)
	status, doc := c.refreshTokens()
	if status != http.StatusServiceUnavailable {
		t.Fatalf("refresh: %d %v", status, doc)
	}
	c.mustCall("demo___whoami", `{}`) // what was issued lives on for its hour
	f.later(time.Hour)
	if a := c.call("demo___whoami", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("an hour later: %s", a)
	}
	f.idps["okta"].SetDown(false)
	f.later(time.Minute)
	c.mustRefresh()
}

// While it is silent a provider is asked now and then, not for every refresh.
func TestUnreachableIsNotAskedEveryTime(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	one, two := f.join("okta"), f.join("okta")
	f.idps["okta"].SetDown(true)
	f.later(10 * time.Minute)
	for range 5 {
		one.mustRefresh()
		two.mustRefresh()
	}
	if n := f.refreshes("okta"); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
	f.later(11 * time.Second)
	one.mustRefresh()
	if n := f.refreshes("okta"); n != 2 {
		t.Errorf("asked %d times after eleven seconds", n)
	}
}

// Gatehouse's own secret has expired: nobody is ended by that, and operators cannot miss it.
func TestProviderDoesNotAcceptGatehouse(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := f.join("okta")
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) { u.ClientSecret = "a new one" })
	f.later(10 * time.Minute)
	from := f.log.size()
	c.mustRefresh()
	line := f.log.await(t, from, "identity provider does not accept Gatehouse")
	if !strings.Contains(line, `"level":"ERROR"`) || !strings.Contains(line, "idp_client_refused") || !strings.Contains(line, "whether the secret has expired") {
		t.Errorf("the log says %s", line)
	}
	if _, body := f.bodyOf("/readyz?verbose"); !strings.Contains(body, "identity providers: degraded okta: ") || !strings.Contains(body, "idp_client_refused") {
		t.Errorf("health: %s", body)
	}
	f.mustRecord("provider_trouble")
	_, page := c.leaveAsSomebodyElse("okta")
	if page.Status != http.StatusBadGateway || !strings.Contains(page.Text, "does not work at the moment") {
		t.Errorf("a sign-in meanwhile: %s", page)
	}
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) { u.ClientSecret = "s3cret+/&=" })
	f.later(time.Minute)
	c.mustRefresh()
	if _, body := f.bodyOf("/readyz?verbose"); !strings.Contains(body, "identity providers: ok") {
		t.Errorf("health: %s", body)
	}
}

// leaveAsSomebodyElse goes to the provider in a browser that is not signed in.
func (c *client) leaveAsSomebodyElse(provider string) (string, testkit.Page) {
	other := newClient(c.h, "/mcp")
	other.register()
	return other.leave(provider)
}

// Without a refresh token of the provider's a sign-in is good for eight hours, and the consent page says so.
func TestNoRefreshTokenMeansEightHours(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) { u.NoRefresh = true })
	c := newClient(f.house, "/mcp")
	c.register()
	verifier, page := c.leave("okta", "mcp:tools")
	page.MustShow(t, "Access lasts for up to 8 hours")
	c.allow(verifier, page)
	for range 7 {
		f.later(time.Hour)
		c.mustRefresh()
	}
	f.later(time.Hour)
	if why := c.refusedRefresh(); !strings.Contains(why, "gives no refresh token") {
		t.Errorf("the client reads %q", why)
	}
	if got := c.browser.Open(f.url + "/account"); got.URL.Path != "/signin" {
		t.Errorf("the browser session outlives the provider's word: %s", got)
	}
	if n := f.refreshes("okta"); n != 0 {
		t.Errorf("asked %d times", n)
	}
	c.signInAt("okta")
	c.mustRefresh()
}

// A code that is redeemed in a browser session of before asks the provider too: the person may be gone by now.
func TestVouchingForACode(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := f.join("okta")
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) { u.Disabled = true })
	f.later(time.Hour)
	other := newClient(f.house, "/mcp")
	other.browser = c.browser
	other.register()
	verifier := "verifier-verifier-verifier-verifier-verifier-verifier"
	last := other.browser.Submit(other.browser.Open(other.authorizeURL(verifier, "mcp:tools")), "allow", nil)
	status, doc := other.token(map[string][]string{
		"grant_type": {"authorization_code"}, "code": {last.URL.Query().Get("code")}, "redirect_uri": {other.redirect}, "code_verifier": {verifier},
	})
	if status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
		t.Errorf("token: %d %v", status, doc)
	}
}

// Nothing of the identity provider's gets into the log, the audit records or a token: not its tokens, not our secret.
func TestChecklist62_ProvidersSecretsStayInside(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oneEndpoint, map[string]string{"okta": ""})
	c := f.join("okta")
	secrets := []string{"s3cret+/&="}
	f.later(time.Hour)
	c.mustRefresh()
	f.later(time.Hour)
	c.mustRefresh()
	f.idps["okta"].Configure(func(u *testkit.UpstreamConfig) { u.ClientSecret = "x" })
	f.later(time.Hour)
	c.mustRefresh()
	for _, r := range f.idps["okta"].Requests("token") {
		for _, name := range []string{"code", "code_verifier", "refresh_token"} {
			if v := r.Params.Get(name); v != "" {
				secrets = append(secrets, v)
			}
		}
	}
	for _, r := range f.idps["okta"].Requests("authorize") {
		secrets = append(secrets, r.Params.Get("state"), r.Params.Get("nonce"))
	}
	if len(secrets) < 7 {
		t.Fatalf("%d secrets are too few for this test to mean anything", len(secrets))
	}
	f.stop()
	for place, text := range map[string]string{"log": f.log.String(), "audit records": f.auditRecords(), "database": f.database()} {
		for i, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("the %s hold secret %d", place, i)
			}
		}
	}
}
