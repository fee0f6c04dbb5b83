//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// enterpriseConfig has people sign in at identity providers, and only there.
const enterpriseConfig = `
public_url: %[1]s
listen: 127.0.0.1:%[2]d
state_dir: state
master_key: {file: master.key}
sign_in:
  users: false
%[3]s
  oidc:
%[4]s
targets:
  demo: {demo: true}
endpoints:
  /mcp:
    issuers: [gatehouse]
    access: %[5]s
    scopes: {default: [mcp:tools]}
    targets: [demo]
%[6]s
`

// enterprise says what differs from the simplest set-up with enterprise sign-in.
type enterprise struct {
	signIn    string            // further lines of sign_in
	providers map[string]string // further lines of a provider, by its name
	access    string            // of /mcp; empty: any_signed_in
	rest      string            // further parts of the file
}

// startEnterprise runs Gatehouse as a client of identity providers.
func startEnterprise(t *testing.T, at place, e enterprise, idps ...*idp) *house {
	t.Helper()
	dir := t.TempDir()
	key := make([]byte, 32)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	var providers strings.Builder
	for _, p := range idps {
		fmt.Fprintf(&providers, "    - name: %s\n      label: %s\n      discovery_url: %s\n      client_id: %s\n      client_secret: %s\n%s\n",
			p.name, p.label, p.discovery, p.webClient, p.webSecret, e.providers[p.name])
		if p.preset != "" {
			fmt.Fprintf(&providers, "      preset: %s\n", p.preset)
		}
	}
	if e.access == "" {
		e.access = "any_signed_in"
	}
	config := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, config, fmt.Sprintf(enterpriseConfig, at.house, at.housePort, e.signIn, providers.String(), e.access, e.rest))
	return startHouse(t, dir, at.house, "serve", "-c", config)
}

// through is the way of a person through Gatehouse's pages and those of the IdP in between.
func (p *idp) through(person string) []formPage {
	return slices.Concat([]formPage{{Press: p.name}}, p.pages(person), []formPage{{Press: "allow"}})
}

// remoteEnterprise starts mcp-remote and lets a person sign in; with a name, in Chromium, which leaves pictures.
func remoteEnterprise(t *testing.T, picture string, at place, p *idp, home, person string) (*remote, walked) {
	t.Helper()
	r := startRemote(t, home, at.house+"/mcp", at.callbackPort())
	w := r.beginInitialize()
	address := r.authorizeURL()
	if !strings.HasPrefix(address, at.house) {
		t.Fatalf("mcp-remote sends the person to %s, not to %s", address, at.house)
	}
	var way walked
	if picture != "" {
		way = walk(t, picture, address, at.house, p.through(person))
	} else {
		way = browse(t, address, p.through(person))
	}
	way.mustBeCallback(t, at)
	r.finishInitialize(w)
	return r, way
}

// enterpriseSignIn is what holds for every IdP: a cold sign-in in Chromium, the claims, and a refresh afterwards.
func enterpriseSignIn(t *testing.T, at place, p *idp, groups ...string) {
	t.Helper()
	startEnterprise(t, at, enterprise{providers: map[string]string{p.name: p.settings}, access: "{claim: groups, type: string_array, operator: contains, value: eng}"}, p)
	home := t.TempDir()
	r, way := remoteEnterprise(t, p.name+"-enterprise", at, p, home, username)
	before, after := way.texts[0], way.texts[len(way.texts)-2]
	for _, want := range []string{"MCP CLI Proxy", "unverified", "localhost", p.label} {
		if !strings.Contains(strings.ToLower(before), strings.ToLower(want)) {
			t.Errorf("the page in front of the IdP does not show %q:\n%s", want, before)
		}
	}
	for _, want := range []string{"MCP CLI Proxy", username, at.house + "/mcp"} {
		if !strings.Contains(strings.ToLower(after), strings.ToLower(want)) {
			t.Errorf("the consent page does not show %q:\n%s", want, after)
		}
	}
	claims := whoami(t, r)
	if claims["iss"] != at.house || claims["idp"] != p.name || fmt.Sprint(claims["groups"]) != fmt.Sprint(groups) {
		t.Errorf("whoami knows %v; want iss %s, idp %s, groups %v", claims, at.house, p.name, groups)
	}
	r.close()
	stored := expireStoredToken(t, home)
	again := startRemote(t, home, at.house+"/mcp", at.callbackPort())
	again.finishInitialize(again.beginInitialize())
	if now := whoami(t, again); now["sub"] != claims["sub"] {
		t.Errorf("after a refresh the person is %v, before %v", now["sub"], claims["sub"])
	}
	if again.askedForSignIn() {
		t.Error("an expired access token led to a sign-in instead of a refresh")
	}
	if now := storedTokens(t, home); now["refresh_token"] == stored["refresh_token"] {
		t.Error("the refresh token was not rotated")
	}
}
