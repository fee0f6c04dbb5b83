//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// cold starts mcp-remote without any stored state, signs in, and completes the handshake.
func cold(t *testing.T, tm *team, home string, args ...string) *remote {
	t.Helper()
	return signedInRemote(t, home, append([]string{tm.mcp}, args...)...)
}

func signedInRemote(t *testing.T, home string, args ...string) *remote {
	t.Helper()
	r := startRemote(t, home, args...)
	w := r.beginInitialize()
	last := testkit.NewBrowser(t).SignIn(r.authorizeURL(), username, password)
	if last.Status != 200 || !strings.Contains(last.URL.Path, "/oauth/callback") {
		t.Fatalf("the sign-in ended at %s, not at the client's callback:\n%s", last, last.Text)
	}
	r.finishInitialize(w)
	return r
}

func TestColdSignInByDynamicRegistration(t *testing.T) {
	tm, _ := newTeam(t)
	r := cold(t, tm, t.TempDir())
	useEverything(t, r)
}

// The walkthrough's Kiro entry, with only the ports changed.
func TestColdSignInByStaticClient(t *testing.T) {
	tm, callback := newTeam(t)
	info := fmt.Sprintf(`{"client_id":"kiro-static","redirect_uris":["http://localhost:%d/oauth/callback"],"scope":"openid profile email offline_access"}`, callback)
	r := cold(t, tm, t.TempDir(), fmt.Sprint(callback), "--static-oauth-client-info", info)
	useEverything(t, r)
	if claims := whoami(t, r); claims["cid"] != "kiro-static" || claims["team"] != "platform" {
		t.Errorf("whoami claims = %v, want cid and team among them", claims)
	}
}

// useEverything goes through what an assistant does with a server: tools, a long call with progress, prompts,
// resources, completion, log level.
func useEverything(t *testing.T, r *remote) {
	t.Helper()
	tools := names(t, r.call("tools/list", map[string]any{}), "tools", "name")
	for _, want := range []string{"everything___echo", "everything___get-sum", "demo___whoami"} {
		if !slices.Contains(tools, want) {
			t.Errorf("tools/list lacks %s: %v", want, tools)
		}
	}
	if got := r.tool("everything___echo", map[string]any{"message": "hello"}); !strings.Contains(got, "hello") {
		t.Errorf("echo said %q", got)
	}
	long := r.call("tools/call", map[string]any{
		"name": "everything___trigger-long-running-operation", "arguments": map[string]any{"duration": 1, "steps": 4},
		"_meta": map[string]any{"progressToken": "p1"},
	})
	if got := toolText(t, "trigger-long-running-operation", long); !strings.Contains(got, "4") {
		t.Errorf("the long operation said %q", got)
	}
	if n := r.notifications("notifications/progress"); n < 3 {
		t.Errorf("got %d progress notifications of the long operation, want at least 3", n)
	}
	prompts := names(t, r.call("prompts/list", map[string]any{}), "prompts", "name")
	if !slices.Contains(prompts, "everything___simple-prompt") {
		t.Errorf("prompts/list lacks everything___simple-prompt: %v", prompts)
	}
	if got := string(r.call("prompts/get", map[string]any{"name": "everything___simple-prompt"})); !strings.Contains(got, "messages") {
		t.Errorf("prompts/get said %s", got)
	}
	uris := names(t, r.call("resources/list", map[string]any{}), "resources", "uri")
	if len(uris) == 0 {
		t.Fatal("resources/list is empty")
	}
	if got := string(r.call("resources/read", map[string]any{"uri": uris[0]})); !strings.Contains(got, "contents") {
		t.Errorf("resources/read %s said %s", uris[0], got)
	}
	r.call("logging/setLevel", map[string]any{"level": "debug"})
	r.call("ping", map[string]any{})
}

func TestWarmRestartNeedsNoSignIn(t *testing.T) {
	tm, _ := newTeam(t)
	home := t.TempDir()
	cold(t, tm, home).close()
	r := startRemote(t, home, tm.mcp)
	r.finishInitialize(r.beginInitialize())
	r.tool("everything___echo", map[string]any{"message": "again"})
	if r.askedForSignIn() {
		t.Error("a warm restart asked for a sign-in")
	}
}

// Nothing may be lost when the gateway restarts: registrations, grants, keys, browser sessions.
func TestGatewayRestartLosesNothing(t *testing.T) {
	tm, _ := newTeam(t)
	r := cold(t, tm, t.TempDir())
	r.tool("everything___echo", map[string]any{"message": "before"})
	tm.stop()
	tm.start()
	if got := r.tool("everything___echo", map[string]any{"message": "after"}); !strings.Contains(got, "after") {
		t.Errorf("echo after the restart said %q", got)
	}
	r.close()
	expireStoredToken(t, r.home())
	again := startRemote(t, r.home(), tm.mcp)
	again.finishInitialize(again.beginInitialize())
	again.tool("everything___echo", map[string]any{"message": "refreshed"})
	if again.askedForSignIn() {
		t.Error("after a restart of the gateway the refresh token did not work")
	}
}

func TestRefreshWhenTheTokenExpires(t *testing.T) {
	tm, _ := newTeam(t)
	home := t.TempDir()
	cold(t, tm, home).close()
	before := expireStoredToken(t, home)
	r := startRemote(t, home, tm.mcp)
	r.finishInitialize(r.beginInitialize())
	r.tool("everything___echo", map[string]any{"message": "refreshed"})
	if r.askedForSignIn() {
		t.Error("an expired access token led to a sign-in instead of a refresh")
	}
	if after := storedTokens(t, home); after["access_token"] == before["access_token"] || after["refresh_token"] == before["refresh_token"] {
		t.Error("the tokens were not rotated")
	}
}

func TestThreeInstancesAtOnce(t *testing.T) {
	tm, _ := newTeam(t)
	home := t.TempDir()
	cold(t, tm, home).close()
	expireStoredToken(t, home)
	var all []*remote
	for range 3 {
		all = append(all, startRemote(t, home, tm.mcp))
	}
	var waits []<-chan wireMessage
	for _, r := range all {
		waits = append(waits, r.beginInitialize())
	}
	for i, r := range all {
		r.finishInitialize(waits[i])
		r.tool("everything___echo", map[string]any{"message": "one of three"})
		if r.askedForSignIn() {
			t.Errorf("instance %d asked for a sign-in", i)
		}
	}
}

func TestWrongPasswordThenRight(t *testing.T) {
	tm, _ := newTeam(t)
	r := startRemote(t, t.TempDir(), tm.mcp)
	w := r.beginInitialize()
	b := testkit.NewBrowser(t)
	p := b.Password(b.Open(r.authorizeURL()), username, "not the password")
	if p.Status != 401 && p.Status != 200 {
		t.Errorf("a wrong password was answered with %s", p)
	}
	if strings.Contains(p.URL.Path, "consent") {
		t.Fatal("a wrong password led to the consent page")
	}
	p = b.Password(p, username, password)
	b.Submit(p, "allow", nil)
	r.finishInitialize(w)
}

func TestConsentDenied(t *testing.T) {
	tm, _ := newTeam(t)
	r := startRemote(t, t.TempDir(), tm.mcp)
	r.beginInitialize()
	b := testkit.NewBrowser(t)
	p := b.Password(b.Open(r.authorizeURL()), username, password)
	p.MustShow(t, "MCP CLI Proxy", "localhost", tm.mcp, "Alice Doe")
	last := b.Submit(p, "deny", nil)
	if q := last.URL.Query(); q.Get("error") != "access_denied" || q.Get("iss") != tm.url || q.Get("state") == "" {
		t.Errorf("a denied consent led to %s", last.URL)
	}
}

// A disabled person is out at once, although the access token has not expired.
func TestDisabledPersonIsOut(t *testing.T) {
	tm, _ := newTeam(t)
	r := cold(t, tm, t.TempDir())
	r.tool("everything___echo", map[string]any{"message": "in"})
	tm.run("", "user", "disable", username, "-c", tm.config)
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case m := <-r.begin("tools/call", map[string]any{"name": "everything___echo", "arguments": map[string]any{"message": "out?"}}):
			if m.Error != nil {
				return
			}
		case <-time.After(3 * time.Second):
			return // mcp-remote waits for a new sign-in, which alice cannot complete
		}
	}
	t.Error("a disabled person still calls tools after 10 s")
}

func (r *remote) home() string {
	for _, e := range r.cmd.Env {
		if v, ok := strings.CutPrefix(e, "HOME="); ok {
			return v
		}
	}
	return ""
}

func tokenFile(t *testing.T, home string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(home, "mcp-auth", "*", "*_tokens.json"))
	if err != nil || len(found) != 1 {
		t.Fatalf("mcp-remote's token file: found %v (%v), want one", found, err)
	}
	return found[0]
}

func storedTokens(t *testing.T, home string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(tokenFile(t, home))
	if err != nil {
		t.Fatal(err)
	}
	var tokens map[string]any
	if err := json.Unmarshal(raw, &tokens); err != nil {
		t.Fatalf("mcp-remote's token file: %v", err)
	}
	return tokens
}

// expireStoredToken makes mcp-remote believe that its access token has run out, and returns what was stored.
func expireStoredToken(t *testing.T, home string) map[string]any {
	t.Helper()
	tokens := storedTokens(t, home)
	changed := map[string]any{}
	for k, v := range tokens {
		changed[k] = v
	}
	changed["expires_in"] = 1
	if _, ok := tokens["expires_at"]; ok {
		changed["expires_at"] = time.Now().Add(-time.Hour).UnixMilli()
	}
	raw, err := json.Marshal(changed)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, tokenFile(t, home), string(raw))
	return tokens
}
