//go:build e2e

package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The files of examples/walkthrough as they stand there, with the authorizer in Gatehouse's words and in AgentCore's
// own JSON. Only the ports are others, so that tests can run side by side.
func TestWalkthroughExample(t *testing.T) {
	for _, file := range []string{"gatehouse.yaml", "gatehouse-agentcore.yaml"} {
		t.Run(file, func(t *testing.T) { walkthrough(t, file) })
	}
}

func walkthrough(t *testing.T, file string) {
	dir, port, callback := t.TempDir(), freePort(t), freePort(t)
	ports := strings.NewReplacer("8080", fmt.Sprint(port), "3334", fmt.Sprint(callback))
	for _, name := range []string{file, "authorizer.json", "mcp.json"} {
		writeFile(t, filepath.Join(dir, name), ports.Replace(readFile(t, filepath.Join("..", "examples", "walkthrough", name))))
	}
	key := make([]byte, 32)
	rand.Read(key)
	t.Setenv("GATEHOUSE_MASTER_KEY", base64.StdEncoding.EncodeToString(key))
	url := fmt.Sprintf("http://localhost:%d", port)
	(&house{t: t, dir: dir}).run(password+"\n", "user", "add", username, "-c", file, "--password-stdin")
	h := startHouse(t, dir, url, "serve", "-c", file)

	resp, err := http.Post(url+"/mcp", "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(resp.Header.Get("WWW-Authenticate"), url+"/.well-known/oauth-protected-resource/mcp") {
		t.Errorf("without a token: %s, WWW-Authenticate %q; want 401 with the metadata's URL", resp.Status, resp.Header.Get("WWW-Authenticate"))
	}

	var kiro struct {
		Servers map[string]struct {
			Args []string `json:"args"`
		} `json:"mcpServers"`
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(dir, "mcp.json"))), &kiro); err != nil {
		t.Fatal(err)
	}
	args := kiro.Servers["gateway-tools"].Args
	if len(args) < 3 || args[1] != "mcp-remote@0.15.1" {
		t.Fatalf("mcp.json starts %q, not the mcp-remote that is pinned here", args)
	}
	tm := &team{house: h, mcp: url + "/mcp"}
	who := whoami(t, signedInRemote(t, t.TempDir(), args[2:]...))
	for claim, want := range map[string]string{"cid": "kiro-walkthrough", "aud": "api://default", "client_id": "kiro-walkthrough", "scope": "openid profile email offline_access"} {
		if got := fmt.Sprint(who[claim]); got != want {
			t.Errorf("claim %s of the walkthrough's token is %q, want %q", claim, got, want)
		}
	}
	plain := whoami(t, cold(t, tm, t.TempDir()))
	if got := fmt.Sprint(plain["aud"]); !strings.Contains(got, tm.mcp) {
		t.Errorf("a client that registered itself got a token for %q, want %q", got, tm.mcp)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// whoami returns the claims of the token that the call came with.
func whoami(t *testing.T, r *remote) map[string]any {
	t.Helper()
	var who struct {
		Claims map[string]any `json:"claims"`
	}
	if err := json.Unmarshal([]byte(r.tool("demo___whoami", map[string]any{})), &who); err != nil {
		t.Fatalf("whoami is not JSON: %v", err)
	}
	return who.Claims
}
