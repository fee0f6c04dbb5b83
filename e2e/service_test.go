//go:build e2e

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// A service without a person: mcp-remote with its own credentials, first by secret in the body, then by Basic.
func TestClientCredentialsThroughMCPRemote(t *testing.T) {
	tm, _ := newTeam(t)
	for _, method := range []string{"client_secret_post", "client_secret_basic"} {
		tm.stop()
		writeFile(t, tm.config, serviceConfig(t, tm, method))
		tm.start()
		info := fmt.Sprintf(`{"client_id":"nightly","client_secret":"s3cret/+ of: nightly","token_endpoint_auth_method":%q}`, method)
		metadata := fmt.Sprintf(`{"token_endpoint_auth_method":%q}`, method)
		r := startRemote(t, t.TempDir(), tm.mcp, "--client-credentials", "--static-oauth-client-info", info, "--static-oauth-client-metadata", metadata)
		r.finishInitialize(r.beginInitialize())
		claims := whoami(t, r)
		if claims["sub"] != "service:nightly" || claims["team"] != "build" {
			t.Errorf("%s: whoami claims = %v", method, claims)
		}
		r.close()
	}
}

func serviceConfig(t *testing.T, tm *team, method string) string {
	t.Helper()
	dir := filepath.Dir(tm.config)
	writeFile(t, filepath.Join(dir, "nightly.secret"), "s3cret/+ of: nightly")
	return strings.ReplaceAll(fmt.Sprintf(`
public_url: %s
listen: %s
state_dir: state
master_key: {file: master.key}
clients:
  - client_id: nightly
    grant_types: [client_credentials]
    token_endpoint_auth_method: %s
    client_secret: {file: nightly.secret}
    scopes: [mcp:tools]
    access_token_claims: {team: build}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [nightly]}, targets: [demo]}
`, tm.url, strings.TrimPrefix(tm.url, "http://"), method), "listen: localhost", "listen: 127.0.0.1")
}
