//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// frontConfig is one endpoint for the suite, which sends no token and calls the fixtures by their own names.
const frontConfig = `
public_url: http://localhost:%[1]d
listen: 127.0.0.1:%[1]d
state_dir: state
master_key: {file: master.key}
log: {level: warn}
targets:
  everything: {url: %[2]q}
endpoints:
  /mcp: {issuers: [], access: anonymous_for_tests, targets: [everything], prefix: false}
`

// The official suite at one URL of Gatehouse, in both eras, in front of a target of both eras and of each one alone. What
// no gateway can pass is listed with its reason in conformance/*.yml; an entry that passes is a fault too.
func TestConformanceFront(t *testing.T) {
	s, fixtures := conformanceSuite(t), buildEverything(t)
	for _, target := range []string{"both", "sessions", "stateless"} {
		t.Run("target_"+target, func(t *testing.T) {
			url := newFront(t, fixtures, target)
			for _, c := range []struct {
				name   string
				args   []string
				passed int // scenarios, when nothing is expected to fail
			}{
				{"2026-07-28", []string{"--requirements", "2026-07-28"}, 37},
				{"2025-11-25", []string{"--requirements", "2025-11-25"}, 30},
				{"headers", []string{"--scenario", "http-header-validation", "--spec-version", "2026-07-28"}, 0},
				{"custom_headers", []string{"--scenario", "http-custom-header-server-validation", "--spec-version", "2026-07-28"}, 0},
			} {
				t.Run(c.name, func(t *testing.T) {
					args := append([]string{"server", "--url", url, "-o", filepath.Join(t.TempDir(), "results")}, c.args...)
					baseline := filepath.Join("conformance", target+"-"+c.name+".yml")
					clean := !exists(baseline)
					if !clean {
						args, c.passed = append(args, "--expected-failures", baseline), 0
					}
					out := runSuite(t, s, args, clean)
					if passed := len(passedLine.FindAllString(out, -1)); passed < c.passed {
						t.Errorf("%d scenarios passed, want %d at least\n%s", passed, c.passed, out)
					}
				})
			}
		})
	}
}

var passedLine = regexp.MustCompile(`(?m)^✓ [a-z0-9-]+: [1-9]\d* passed, 0 failed`)

// runSuite returns the summary that the suite printed. It must end well, and must have checked something. Clean says that
// warnings are faults, as they are for the suite when it is given a list of expected failures; extensions do not count.
func runSuite(t *testing.T, s suite, args []string, clean bool) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	_, summary, _ := strings.Cut(out.String(), "SUMMARY ===")
	results := readChecks(t, args[indexOf(args, "-o")+1])
	checked := 0
	for scenario, checks := range results {
		for _, c := range checks {
			switch c.Status {
			case "SUCCESS":
				checked++
			case "FAILURE", "WARNING":
				if clean && !strings.HasPrefix(scenario, "server-tasks-") {
					t.Fail()
				}
				t.Logf("%s: %s: %s: %s", scenario, c.Status, c.ID, c.ErrorMessage)
			}
		}
	}
	if err != nil || checked == 0 {
		t.Errorf("%s: %v, %d checks passed\n%s", strings.Join(args, " "), err, checked, summary)
	}
	return summary
}

func indexOf(list []string, s string) int {
	for i, v := range list {
		if v == s {
			return i
		}
	}
	return -1
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// buildEverything builds the target with the suite's fixtures.
func buildEverything(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "everything")
	build := exec.Command("go", "build", "-o", binary, "./conformance/everything")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the target of the suite: %v\n%s", err, out)
	}
	return binary
}

// newFront starts Gatehouse in front of the fixtures and returns the URL of its endpoint.
func newFront(t *testing.T, fixtures, eras string) string {
	t.Helper()
	log := newOutput()
	cmd := exec.Command(fixtures, "-eras", eras)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	target := log.wait(t, "the fixtures to listen", 10*time.Second, func(text string) (string, bool) {
		url, _, whole := strings.Cut(text, "\n")
		return url, whole
	})
	dir, port, key := t.TempDir(), freePort(t), make([]byte, 32)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	config := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, config, fmt.Sprintf(frontConfig, port, target))
	h := startHouse(t, dir, fmt.Sprintf("http://localhost:%d", port), "serve", "-c", config)
	return h.url + "/mcp"
}
