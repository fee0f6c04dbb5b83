//go:build e2e

package e2e

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

var typing = regexp.MustCompile(`(?s)To authorize this client, visit:.*?(https?://\S+)\s`)

// deviceURL waits for the address that mcp-remote, without a browser, asks the person to open elsewhere.
func (r *remote) deviceURL() string {
	r.t.Helper()
	return r.log.wait(r.t, "mcp-remote to show a code", 60*time.Second, func(s string) (string, bool) {
		if m := typing.FindStringSubmatch(s); m != nil {
			return m[1], true
		}
		return "", false
	})
}

// A headless machine: mcp-remote shows a code, the person types it in on another machine, and the tokens last.
func TestDeviceCodeThroughMCPRemote(t *testing.T) {
	tm, _ := newTeam(t)
	home := t.TempDir()
	r := startRemote(t, home, tm.mcp, "--device-code")
	w := r.beginInitialize()
	link := r.deviceURL()
	_, code, _ := strings.Cut(link, "user_code=")
	b := testkit.NewBrowser(t)
	// By hand: without the code in the address, in lower case.
	p := b.Password(b.Open(tm.url+"/device"), username, password)
	p.MustShow(t, "Type in the code")
	p = b.Submit(p, "", map[string]string{"user_code": strings.ToLower(strings.ReplaceAll(code, "-", ""))})
	p.MustShow(t, code, "MCP CLI Proxy", "unverified", tm.mcp, "Did somebody send you")
	if p = b.Submit(p, "allow", nil); p.Status != 422 {
		t.Errorf("allowed without a comparison of the codes: %s", p)
	}
	p = b.Submit(p, "allow", map[string]string{"same": "yes"})
	p.MustShow(t, "connected")
	r.finishInitialize(w)
	if got := r.tool("demo___whoami", map[string]any{}); !strings.Contains(got, username) {
		t.Errorf("whoami said %s", got)
	}
	r.close()

	// The next start needs nobody, also when the access token has expired.
	expireStoredToken(t, home)
	again := startRemote(t, home, tm.mcp, "--device-code")
	again.finishInitialize(again.beginInitialize())
	again.tool("everything___echo", map[string]any{"message": "again"})
	if typing.MatchString(again.log.String()) {
		t.Error("the second start asked for a code")
	}
}

func TestDeniedDeviceCodeThroughMCPRemote(t *testing.T) {
	tm, _ := newTeam(t)
	r := startRemote(t, t.TempDir(), tm.mcp, "--device-code")
	r.beginInitialize()
	b := testkit.NewBrowser(t)
	p := b.Password(b.Open(r.deviceURL()), username, password)
	b.Submit(p, "deny", nil).MustShow(t, "refused")
	r.log.wait(t, "mcp-remote to say that it was denied", 30*time.Second, func(s string) (string, bool) {
		return "", strings.Contains(s, "Authorization was denied")
	})
}
