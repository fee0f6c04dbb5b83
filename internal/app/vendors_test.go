package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// TestPeopleOfEachVendor: at each vendor a person signs in with the vendor's preset, gets in by a group of theirs, and is
// out after the vendor has put them out. Neither the client's resource nor its audience reaches the vendor.
func TestPeopleOfEachVendor(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]struct{ group, extra string }{
		"okta":      {"eng", ""},
		"entra":     {"Mcp.Admin", ", groups_claim: roles"},
		"cognito":   {"eng", ""},
		"auth0":     {"eng", `, groups_claim: "https://acme.example/groups"`},
		"keycloak":  {"/eng", ""},
		"google":    {"", ", require: {claim: hd, operator: equals, value: acme.example}"},
		"pingone":   {"eng", ""},
		"dex":       {"eng", ""},
		"authentik": {"eng", ""},
		"zitadel":   {"admin", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &federation{house: prepareHouse(t, demoOnly), clock: testkit.NewClock(time.Now().Truncate(time.Second)), idps: map[string]*testkit.UpstreamIDP{}}
			f.now = f.clock.Now
			idp := testkit.NewUpstreamIDP(t, name)
			idp.Configure(func(c *testkit.UpstreamConfig) {
				c.Now, c.RedirectURI = f.clock.Now, f.url+"/oauth/callback/"+name
			})
			f.idps[name] = idp
			settings := oneEndpoint
			if v.group != "" {
				settings = strings.Replace(settings, "access: any_signed_in", fmt.Sprintf("access: {claim: groups, operator: contains, value: %q}", v.group), 1)
			}
			f.configure(f.settings(settings, map[string]string{name: ", preset: " + name + v.extra}))
			f.start()
			c := f.join(name)
			if text := c.mustCall("demo___whoami", `{}`); !strings.Contains(text, "sub") {
				t.Errorf("whoami: %s", text)
			}
			for _, r := range idp.Requests("authorize") {
				if r.Params.Has("resource") || r.Params.Has("audience") {
					t.Errorf("the vendor was sent %v", r.Params)
				}
			}
			f.clock.Advance(10 * time.Minute)
			if status, doc := c.refreshTokens(); status != http.StatusOK {
				t.Fatalf("refresh: %d %v", status, doc)
			}
			idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = true })
			f.clock.Advance(10 * time.Minute)
			if status, doc := c.refreshTokens(); status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
				t.Errorf("refresh of somebody whom the vendor put out: %d %v", status, doc)
			}
		})
	}
}
