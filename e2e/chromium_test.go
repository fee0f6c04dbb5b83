//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A person signs in with Chromium: each page in light and dark, on a desktop and on a phone without JavaScript. The
// screenshots are kept as artefacts, for a person to look at.
func TestSignInInChromium(t *testing.T) {
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Fatal("chromium is not installed; run e2e/install.sh")
	}
	tm, _ := newTeam(t)
	r := startRemote(t, t.TempDir(), tm.mcp)
	w := r.beginInitialize()
	headless := startRemote(t, t.TempDir(), tm.mcp, "--device-code")
	waiting := headless.beginInitialize()
	cmd := exec.Command(kit.node, filepath.Join("node", "signin.mjs"), r.authorizeURL(), username, password, kit.artifacts, tm.url+"/account", headless.deviceURL())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("drive Chromium: %v\n%s", err, stderr.String())
	}
	var report struct {
		Pages    map[string]string `json:"pages"`
		Problems []string          `json:"problems"`
		Ended    string            `json:"ended"`
		Passkey  bool              `json:"passkey"`
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("the driver's report is not JSON: %v\n%s", err, out)
	}
	for _, p := range report.Problems {
		t.Error(p)
	}
	consent := report.Pages["desktop-light-3-consent"]
	for _, want := range []string{"MCP CLI Proxy", "localhost", tm.mcp, "Alice Doe", "unverified"} {
		if !strings.Contains(strings.ToLower(consent), strings.ToLower(want)) {
			t.Errorf("the consent page does not show %q:\n%s", want, consent)
		}
	}
	if !strings.Contains(report.Ended, "/oauth/callback?") {
		t.Errorf("the browser ended at %s, not at the client's callback", report.Ended)
	}
	if !report.Passkey {
		t.Error("no sign-in with a passkey")
	}
	headless.finishInitialize(waiting)
	r.finishInitialize(w)
	if got := r.tool("demo___whoami", map[string]any{}); !strings.Contains(got, username) {
		t.Errorf("whoami after the sign-in in Chromium said %s", got)
	}
}
