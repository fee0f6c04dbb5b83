//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// A client made with somebody else's library binds its tokens to a key: discovery, registration, nonces, calls, refresh.
func TestDPoPWithOAuth4WebAPI(t *testing.T) {
	tm, _ := newTeam(t)
	landing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "You may close this window.") }))
	t.Cleanup(landing.Close)
	cmd := exec.CommandContext(t.Context(), kit.node, filepath.Join("node", "dpop.mjs"), tm.mcp, landing.URL+"/callback")
	cmd.WaitDelay = 5 * time.Second
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	read := func(into any) {
		t.Helper()
		if !lines.Scan() || json.Unmarshal(lines.Bytes(), into) != nil {
			_ = cmd.Wait()
			t.Fatalf("the client printed %q and ended:\n%s", lines.Text(), stderr.String())
		}
	}
	var begun struct{ Authorize string }
	read(&begun)
	last := testkit.NewBrowser(t).SignIn(begun.Authorize, username, password)
	fmt.Fprintln(stdin, last.URL)
	type answer struct {
		Status int
		Text   string
	}
	var report struct {
		Type          string
		First, Second answer
		Nonces        int
		Algs          [][]string
		Bearer        struct {
			Status    int
			Challenge string
		}
	}
	read(&report)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if report.Type != "dpop" || report.Nonces == 0 || len(report.Algs) != 2 || len(report.Algs[0]) == 0 || len(report.Algs[1]) == 0 {
		t.Errorf("report %+v", report)
	}
	for name, a := range map[string]answer{"first": report.First, "after the refresh": report.Second} {
		if a.Status != http.StatusOK || !strings.Contains(a.Text, `"serverInfo"`) {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if report.Bearer.Status != http.StatusUnauthorized || !strings.HasPrefix(report.Bearer.Challenge, "DPoP ") || !strings.Contains(report.Bearer.Challenge, "token_bound") {
		t.Errorf("without the key: %+v", report.Bearer)
	}
}
