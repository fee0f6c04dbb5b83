package app

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const serviceSettings = `
clients:
  - {client_id: ci, grant_types: [client_credentials], token_endpoint_auth_method: client_secret_post, client_secret: {file: secret}, scopes: [mcp:tools], groups: [robots]}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
  /ci/mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [ci]}, targets: [demo]}
  /eng/mcp: {issuers: [gatehouse], access: {claim: groups, operator: contains, value: eng}, services: {gatehouse: [ci]}, targets: [demo]}
  /robots/mcp: {issuers: [gatehouse], access: {claim: groups, operator: contains, value: robots}, targets: [demo]}
`

// A service gets in where it is named and where the access rule holds for it too, and nowhere else; any_signed_in is
// about people.
func TestServicesAreAdmittedByName(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, serviceSettings)
	h.write("secret", "the secret of ci")
	h.addUser("alice", "eng")
	h.start()
	for path, admitted := range map[string]bool{"/ci/mcp": true, "/mcp": false, "/eng/mcp": false, "/robots/mcp": false} {
		c := newClient(h, path)
		c.id = "ci"
		if status, doc := c.token(url.Values{"grant_type": {"client_credentials"}, "client_secret": {"the secret of ci"}, "resource": {c.endpoint}}); status != http.StatusOK {
			t.Fatalf("%s: token: %d %v", path, status, doc)
		}
		if !admitted {
			if a := c.rpc("initialize", initializeParams); a.status != http.StatusForbidden || !strings.Contains(a.body, "access_denied") {
				t.Errorf("%s admits a service: %s", path, a)
			}
			continue
		}
		c.initialize()
		if got := c.mustCall("demo___whoami", `{}`); !strings.Contains(got, "service:ci") || !strings.Contains(got, "robots") {
			t.Errorf("whoami said %s", got)
		}
		if !h.reload(strings.Replace(serviceSettings, "/ci/mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [ci]},", "/ci/mcp: {issuers: [gatehouse], access: any_signed_in,", 1)) {
			t.Fatal("not reloaded")
		}
		if a := c.call("demo___whoami", `{}`); a.status == http.StatusOK && !strings.Contains(a.body, "Unknown tool") {
			t.Errorf("a service that is named no longer still calls: %s", a)
		}
		if !h.reload(serviceSettings) {
			t.Fatal("not reloaded")
		}
	}
	alice := connect(h, "/ci/mcp")
	alice.mustCall("demo___whoami", `{}`)
	records := h.auditRecords()
	for _, want := range []string{`"subject":"service:ci"`, `"reason":"service_not_admitted"`, `"reason":"access_rule"`} {
		if !strings.Contains(records, want) {
			t.Errorf("the audit records lack %s:\n%s", want, records)
		}
	}
}
