package app

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

const idJAGSettings = demoOnly + `  /eng/mcp: {issuers: [gatehouse], access: {claim: groups, operator: contains, value: eng}, targets: [demo]}
sign_in:
  users: false
  oidc: $OIDC
clients:
  - {client_id: copilot, name: Copilot, grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"], token_endpoint_auth_method: client_secret_post, client_secret: {file: secret}}
`

// idJAGHouse trusts its identity provider's word about people.
func idJAGHouse(t *testing.T, extra string) *federation {
	t.Helper()
	f := &federation{house: prepareHouse(t, demoOnly), clock: testkit.NewClock(time.Now().Truncate(time.Second)), idps: map[string]*testkit.UpstreamIDP{}}
	f.now = f.clock.Now
	f.idps["okta"] = f.newIDP("okta")
	f.write("secret", "the secret of copilot")
	f.configure(f.settings(idJAGSettings, map[string]string{"okta": extra}))
	f.start()
	return f
}

// managed is a client for which the identity provider speaks.
func (f *federation) managed(path string) *client {
	c := newClient(f.house, path)
	c.id = "copilot"
	return c
}

func (c *client) exchange(assertion string) (int, map[string]any) {
	c.t.Helper()
	return c.token(url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "client_secret": {"the secret of copilot"}, "assertion": {assertion}})
}

// Enterprise-Managed Authorization from end to end: the person never sees a page of ours, is the same person as at a
// sign-in, and nothing that does not fit gets in.
func TestChecklist45_IDJAGEndToEnd(t *testing.T) {
	t.Parallel()
	f := idJAGHouse(t, ", id_jag: true, groups_claim: groups")
	idp := f.idps["okta"]
	c := f.managed("/mcp")
	_, doc := c.getJSON(f.url + "/.well-known/oauth-authorization-server")
	if profiles, _ := doc["authorization_grant_profiles_supported"].([]any); len(profiles) != 1 || profiles[0] != "urn:ietf:params:oauth:grant-profile:id-jag" {
		t.Errorf("metadata %v", doc)
	}
	assertion := idp.IDJAG(t, f.url, "copilot", nil, map[string]any{"resource": c.endpoint, "scope": "mcp:tools"})
	if status, doc := c.exchange(assertion); status != http.StatusOK || doc["refresh_token"] != nil || doc["scope"] != "mcp:tools" {
		t.Fatalf("exchange: %d %v", status, doc)
	}
	c.initialize()
	who := c.mustCall("demo___whoami", `{}`)
	signedIn := f.join("okta")
	if claims(t, c.access)["sub"] != claims(t, signedIn.access)["sub"] || !strings.Contains(who, claims(t, c.access)["sub"].(string)) {
		t.Errorf("asserted %v, signed in %v", claims(t, c.access), claims(t, signedIn.access))
	}
	if status, doc := c.exchange(assertion); status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
		t.Errorf("the assertion again: %d %v", status, doc)
	}
	for name, extra := range map[string]map[string]any{
		"another server's": {"aud": "https://other.example"}, "another client's": {"client_id": "x"}, "an ID token's audience": {"aud": "gatehouse"},
		"another endpoint": {"resource": "https://other.example/mcp"}, "old": {"iat": f.clock.Now().Add(-time.Hour).Unix(), "exp": f.clock.Now().Add(-55 * time.Minute).Unix()},
	} {
		if status, doc := c.exchange(idp.IDJAG(t, f.url, "copilot", nil, extra)); status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, status, doc)
		}
	}
	if status, _ := c.exchange(idp.IDJAG(t, f.url, "copilot", map[string]any{"typ": "JWT"}, nil)); status != http.StatusBadRequest {
		t.Errorf("an ID token: %d", status)
	}
	if a := f.managed("/mcp"); true {
		a.access = idp.IDJAG(t, f.url, "copilot", nil, nil)
		if got := a.rpc("initialize", initializeParams); got.status != http.StatusUnauthorized {
			t.Errorf("the assertion as an access token: %s", got)
		}
	}
	// Its token is for its endpoint alone.
	other := f.managed("/eng/mcp")
	other.access = c.access
	if got := other.rpc("initialize", initializeParams); got.status != http.StatusUnauthorized {
		t.Errorf("at another endpoint: %s", got)
	}
	for _, secret := range []string{assertion, c.access, "the secret of copilot"} {
		if strings.Contains(f.log.String(), secret) || strings.Contains(f.auditRecords(), secret) || strings.Contains(f.database(), secret) {
			t.Error("an assertion, a token or the secret lies about")
		}
	}
	eventually(t, patience, "a record of the exchange", func() bool { return strings.Contains(f.auditRecords(), `"method":"jwt-bearer"`) })
}

// Groups that nobody has named are unknown: a rule on them denies until the assertion or a sign-in says.
func TestIDJAGGroups(t *testing.T) {
	t.Parallel()
	f := idJAGHouse(t, ", id_jag: true, groups_claim: groups")
	idp := f.idps["okta"]
	try := func(extra map[string]any) int {
		c := f.managed("/eng/mcp")
		all := map[string]any{"resource": c.endpoint}
		for k, v := range extra {
			all[k] = v
		}
		if status, doc := c.exchange(idp.IDJAG(t, f.url, "copilot", nil, all)); status != http.StatusOK {
			t.Fatalf("exchange: %d %v", status, doc)
		}
		return c.rpc("initialize", initializeParams).status
	}
	if got := try(nil); got != http.StatusForbidden {
		t.Errorf("without groups: %d", got)
	}
	if got := try(map[string]any{"groups": []string{"eng"}}); got != http.StatusOK {
		t.Errorf("with groups: %d", got)
	}
	idp.Configure(func(c *testkit.UpstreamConfig) { c.Person = map[string]any{"groups": []string{"eng"}} })
	f.join("okta")
	if got := try(nil); got != http.StatusOK {
		t.Errorf("after a sign-in that named them: %d", got)
	}
	if got := try(map[string]any{"groups": []string{"sales"}}); got != http.StatusForbidden {
		t.Errorf("with other groups: %d", got)
	}
}

// What the administrator takes back is gone: the trust at once, the provider with all tokens that name it.
func TestIDJAGTrustTakenBack(t *testing.T) {
	t.Parallel()
	f := idJAGHouse(t, ", id_jag: true")
	idp := f.idps["okta"]
	c := f.managed("/mcp")
	if status, doc := c.exchange(idp.IDJAG(t, f.url, "copilot", nil, map[string]any{"resource": c.endpoint})); status != http.StatusOK {
		t.Fatalf("exchange: %d %v", status, doc)
	}
	c.initialize()
	if !f.reload(f.settings(idJAGSettings, map[string]string{"okta": ""})) {
		t.Fatal("not reloaded")
	}
	if status, doc := f.managed("/mcp").exchange(idp.IDJAG(t, f.url, "copilot", nil, map[string]any{"resource": c.endpoint})); status != http.StatusBadRequest || doc["error"] != "unsupported_grant_type" {
		t.Errorf("no longer trusted: %d %v", status, doc)
	}
	c.mustCall("demo___whoami", `{}`) // the hour that it was given
	if !f.reload(strings.Replace(f.settings(idJAGSettings, map[string]string{"okta": ", id_jag: true"}), "name: okta", "name: another", 1)) {
		t.Fatal("not reloaded")
	}
	if a := c.rpc("tools/list", `{}`); a.status != http.StatusUnauthorized {
		t.Errorf("a token of a provider that is gone: %s", a)
	}
}
