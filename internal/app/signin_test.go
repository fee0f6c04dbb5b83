package app

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

// demoAnd is a house with the demo and one upstream server behind /mcp.
func demoAnd(upstream *testkit.MCPServer) string {
	return fmt.Sprintf(`
targets:
  demo: {demo: true}
  up: {url: %q}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo, up]}
`, upstream.URL)
}

const demoOnly = `
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
`

// From nothing to a tool call: 401, registration, sign-in, consent, tokens, session, list, calls.
func TestColdSignIn(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	settings := demoAnd(up) + `
clients:
  - client_id: kiro
    name: Kiro
    redirect_uris: ["http://127.0.0.1:1/callback"]
    grant_types: [authorization_code, refresh_token]
    token_endpoint_auth_method: none
`
	h := openHouse(t, settings)
	for _, id := range []string{"", "kiro"} {
		c := newClient(h, "/mcp")
		if a := c.rpc("initialize", initializeParams); a.status != http.StatusUnauthorized {
			t.Fatalf("without a token: %s", a)
		}
		if c.id = id; id == "" {
			c.register()
		}
		c.signIn("alice")
		c.initialize()
		if got := c.tools(); !slices.Contains(got, "demo___whoami") || !slices.Contains(got, "up___echo") {
			t.Errorf("tools %v, want those of both targets", got)
		}
		if text := c.mustCall("demo___whoami", `{}`); !strings.Contains(text, `"preferred_username": "alice"`) || !strings.Contains(text, c.id) {
			t.Errorf("whoami knows neither alice nor the client: %s", text)
		}
		if text := c.mustCall("up___echo", `{"b":1.0,"a":"ä"}`); text != `{"b":1.0,"a":"ä"}` {
			t.Errorf("the arguments arrived as %s", text)
		}
		if status, doc := c.refreshTokens(); status != http.StatusOK {
			t.Errorf("refresh: %d %v", status, doc)
		}
		c.mustCall("demo___echo", `{"text":"after a refresh"}`)
	}
}

// Checklist 50: a client's token never reaches a target. And nothing secret reaches the log or the audit records.
func TestChecklist50_SecretsStayInside(t *testing.T) {
	t.Parallel()
	const canary, credential = "argument-canary-8f1d", "static-credential-canary-77ab"
	up := testkit.NewMCPServer(t)
	up.Tool("fail", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Error(-32000, "cannot do that") })
	h := openHouse(t, strings.Replace(demoAnd(up), "up: {url:", "up: {headers: {X-Api-Key: "+credential+"}, url:", 1))
	c := newClient(h, "/mcp")
	c.register()
	refused := c.browser.Password(c.browser.Open(c.authorizeURL("verifier-of-the-first-try")), "alice", "wrong-password-canary")
	secrets := []string{canary, credential, alicePassword, "wrong-password-canary", refused.Field("csrf"), c.state}
	keep := func() { secrets = append(secrets, c.access, c.refresh, c.idToken, c.code, c.state) }
	c.signIn("alice")
	keep()
	c.initialize()
	c.mustCall("up___echo", `{"secret":"`+canary+`"}`)
	c.mustCall("demo___echo", `{"text":"`+canary+`"}`)
	c.call("up___fail", `{"secret":"`+canary+`"}`)
	c.call("up___absent", `{"secret":"`+canary+`"}`)
	c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up___echo","arguments":{"secret":"` + canary + `","secret":1}}}`)
	old := c.refresh
	c.refreshTokens()
	keep()
	c.mustCall("up___echo", `{"secret":"`+canary+`"}`)
	c.token(url.Values{"grant_type": {"authorization_code"}, "code": {c.code}, "redirect_uri": {c.redirect}, "code_verifier": {"verifier-canary-verifier-canary-verifier-canary"}})
	c.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old}})
	if a := c.rpc("ping", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("a grant whose code came twice still works: %s", a)
	}
	c.http.Get(h.url + "/mcp?access_token=" + c.access)
	for _, cookie := range c.browser.Client.Jar.Cookies(mustParse(t, h.url)) {
		secrets = append(secrets, cookie.Value)
	}
	h.stop()

	if len(up.RequestsOf("tools/call")) < 3 {
		t.Fatal("the upstream got too few calls for this test to mean anything")
	}
	for _, r := range up.Requests() {
		if r.Header.Get("X-Api-Key") != credential {
			t.Errorf("%s %s came without the target's credential", r.HTTPMethod, r.Method)
		}
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			if v := r.Header.Get(name); v != "" {
				t.Errorf("%s of %s %s reached the target: %q", name, r.HTTPMethod, r.Method, v)
			}
		}
		for _, token := range []string{c.access, c.refresh, c.idToken, c.session} {
			if strings.Contains(r.Body, token) || strings.Contains(fmt.Sprint(r.Header), token) {
				t.Errorf("a token or the client's session reached the target with %s", r.Method)
			}
		}
	}
	places := map[string]string{"log": h.log.String(), "audit records": h.auditRecords()}
	if !strings.Contains(places["log"], `"level":"DEBUG"`) || !strings.Contains(places["audit records"], `"call"`) {
		t.Fatal("log or audit records hold too little for this test to mean anything")
	}
	for place, text := range places {
		for i, s := range secrets {
			if s == "" {
				t.Fatalf("secret %d is empty", i)
			}
			if at := strings.Index(text, s); at >= 0 {
				t.Errorf("the %s hold secret %d: …%s…", place, i, text[max(0, at-200):at+len(s)])
			}
		}
	}
}

func mustParse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
