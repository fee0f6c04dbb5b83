//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// The official suite as the servers behind Gatehouse: the code that talks to targets, and the OAuth client that gets
// tokens for them, in both eras. Every scenario that the suite runs passes, the extensions and later additions too,
// which it does not score.
func TestConformanceClient(t *testing.T) {
	s := conformanceSuite(t)
	client := filepath.Join(t.TempDir(), "client")
	build := exec.Command("go", "build", "-o", client, "./conformance/client")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the client: %v\n%s", err, out)
	}
	for _, c := range []struct {
		requirements   string
		scored, passed int
	}{{"2026-07-28", 32, 39}, {"2025-11-25", 18, 25}} {
		t.Run(c.requirements, func(t *testing.T) {
			out := runSuite(t, s, []string{"client", "--command", client, "--requirements", c.requirements, "-o", filepath.Join(t.TempDir(), "results")}, true)
			passed := len(passedClientLine.FindAllString(out, -1))
			if passed < c.passed {
				t.Errorf("%d scenarios passed, want %d, of which %d are scored\n%s", passed, c.passed, c.scored, out)
			}
		})
	}
}

var passedClientLine = regexp.MustCompile(`(?m)^✓ [a-z0-9/_-]+: [1-9]\d* passed, 0 failed`)
