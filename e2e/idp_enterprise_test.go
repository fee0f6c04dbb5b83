//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/internal/testkit"
)

// enterpriseConfig has people sign in at identity providers, and only there.
const enterpriseConfig = `
public_url: %[1]s
listen: 127.0.0.1:%[2]d
state_dir: %[7]s
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
	dir := newHouseDir(t)
	return startHouse(t, dir, at.house, "serve", "-c", e.write(t, at, filepath.Join(dir, "gatehouse.yaml"), at.housePort, idps))
}

// startCopies runs copies of one Gatehouse on one PostgreSQL, behind a balancer that gives them the requests in turn.
func startCopies(t *testing.T, at place, copies int, e enterprise, idps ...*idp) {
	t.Helper()
	server, err := testkit.StartPostgres()
	if err != nil {
		t.Fatalf("PostgreSQL, which e2e/install.sh installs: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	dsn, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.rest += fmt.Sprintf("database: %q\n", dsn)
	dir := newHouseDir(t)
	var behind []*url.URL
	for i := range copies {
		port := freePort(t)
		name := fmt.Sprintf("copy-%d", i)
		h := startHouse(t, dir, fmt.Sprintf("http://localhost:%d", port), "serve", "-c", e.write(t, at, filepath.Join(dir, name+".yaml"), port, idps))
		there, err := url.Parse(h.url)
		if err != nil {
			t.Fatal(err)
		}
		behind = append(behind, there)
	}
	balance(t, at.housePort, behind)
}

// balance gives each request that comes to the port to the next of the servers.
func balance(t *testing.T, port int, servers []*url.URL) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	var turn atomic.Int64
	server := &http.Server{Handler: &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(servers[int(turn.Add(1))%len(servers)])
		r.Out.Host = r.In.Host
	}}}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
}

// newHouseDir makes a directory with a master key.
func newHouseDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key := make([]byte, 32)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	return dir
}

// write makes the configuration file of the copy on a port.
func (e enterprise) write(t *testing.T, at place, path string, port int, idps []*idp) string {
	t.Helper()
	var providers strings.Builder
	for _, p := range idps {
		fmt.Fprintf(&providers, "    - name: %s\n      label: %s\n      discovery_url: %s\n      client_id: %s\n%s\n",
			p.name, p.label, p.discovery, p.webClient, e.providers[p.name])
		if p.webSecret != "" {
			fmt.Fprintf(&providers, "      client_secret: %s\n", p.webSecret)
		}
		if p.preset != "" {
			fmt.Fprintf(&providers, "      preset: %s\n", p.preset)
		}
	}
	if e.access == "" {
		e.access = "any_signed_in"
	}
	state := strings.TrimSuffix(filepath.Base(path), ".yaml") + "-state"
	writeFile(t, path, fmt.Sprintf(enterpriseConfig, at.house, port, e.signIn, providers.String(), e.access, e.rest, state))
	return path
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
	h := startEnterprise(t, at, enterprise{providers: map[string]string{p.name: p.settings}, access: "{claim: groups, type: string_array, operator: contains, value: eng}"}, p)
	if said := h.run("", "doctor", "-c", filepath.Join(h.dir, "gatehouse.yaml")); !strings.Contains(said, "the provider takes it") || !strings.Contains(said, "0 failures") {
		t.Errorf("doctor says of a set-up that works:\n%s", said)
	}
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
