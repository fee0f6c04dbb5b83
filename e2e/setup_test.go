//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	username = "alice"
	password = "correct horse battery staple"
)

// team is a house with a configuration file: one person, the real server-everything behind it, and a static client.
type team struct {
	*house
	mcp    string // the endpoint's URL
	config string // path of the configuration file
}

const teamConfig = `
public_url: %[1]s
listen: 127.0.0.1:%[2]d
state_dir: state
master_key: {file: master.key}
clients:
  - client_id: kiro-static
    name: Kiro
    redirect_uris: ["http://localhost:%[3]d/oauth/callback"]
    grant_types: [authorization_code, refresh_token]
    token_endpoint_auth_method: none
    scopes: [openid, profile, email, offline_access]
    audience: api://default
    access_token_claims: {cid: kiro-static}
    access_token_ttl: 1h
    refresh_token_ttl: 90d
authorizers:
  - name: walkthrough
    discovery_url: %[1]s/.well-known/openid-configuration
    allowed_audience: [api://default]
    allowed_clients: [kiro-static]
    custom_claims:
      - {claim: cid, type: string, operator: equals, value: kiro-static}
targets:
  everything: {command: [%[4]s]}
  demo: {demo: true}
endpoints:
  /mcp:
    issuers: [gatehouse, walkthrough]
    access: any_signed_in
    scopes: {default: []}
    targets: [everything, demo]
`

// newTeam starts Gatehouse with teamConfig and the user alice.
func newTeam(t *testing.T) (*team, int) {
	t.Helper()
	dir, port, callback := t.TempDir(), freePort(t), freePort(t)
	url := fmt.Sprintf("http://localhost:%d", port)
	tm := &team{mcp: url + "/mcp", config: filepath.Join(dir, "gatehouse.yaml")}
	key := make([]byte, 32)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	var argv []string
	for _, a := range kit.everything() {
		argv = append(argv, fmt.Sprintf("%q", a))
	}
	writeFile(t, tm.config, fmt.Sprintf(teamConfig, url, port, callback, strings.Join(argv, ", ")))
	adding := &house{t: t, dir: dir}
	adding.run(password+"\n", "user", "add", username, "-c", tm.config, "--password-stdin",
		"--name", "Alice Doe", "--email", "alice@example.com", "--group", "eng", "--claim", "team=platform")
	tm.house = startHouse(t, dir, url, "serve", "-c", tm.config)
	return tm, callback
}

var printedPassword = regexp.MustCompile(`(?m)^\s*password:?\s+(\S+)\s*$`)
var printedUser = regexp.MustCompile(`(?m)^\s*user(?:name)?:?\s+(\S+)\s*$`)

// quickstart starts Gatehouse as a newcomer does and returns the printed user and password.
func quickstart(t *testing.T) (h *house, user, pass string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	h = startHouse(t, dir, fmt.Sprintf("http://localhost:%d", port), "--listen", fmt.Sprintf("localhost:%d", port), "--state-dir", filepath.Join(dir, "state"))
	printed := func(pattern *regexp.Regexp) string {
		return h.log.wait(t, "the quickstart to print user and password", time.Minute, func(text string) (string, bool) {
			if m := pattern.FindStringSubmatch(text); m != nil {
				return m[1], true
			}
			return "", false
		})
	}
	return h, printed(printedUser), printed(printedPassword)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
