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
targets: %[2]s
endpoints:
  /mcp: {issuers: [], access: anonymous_for_tests, targets: %[3]s, prefix: false}
`

// The official suite at one URL of Gatehouse, in both eras, in front of a target of both eras and of each one alone. What
// no gateway can pass is listed with its reason in conformance/*.yml; an entry that passes is a fault too.
func TestConformanceFront(t *testing.T) {
	s, fixtures := conformanceSuite(t), buildFixtures(t, "everything")
	for _, target := range []string{"both", "sessions", "stateless"} {
		t.Run("target_"+target, func(t *testing.T) {
			url := newFront(t, startFixtures(t, fixtures, "-eras", target))
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

// extensionScenarios are those that the suite has of extensions, and how many of their checks pass at least.
var extensionScenarios = map[string]int{
	"tasks-lifecycle": 9, "tasks-capability-negotiation": 5, "tasks-wire-fields": 4, "tasks-request-state-removal": 3, "tasks-mrtr-input": 4,
	"tasks-request-headers": 5, "tasks-dispatch-and-envelope": 9, "tasks-required-task-error": 3, "tasks-mrtr-composition": 2,
	"sep-2640-skills-enumeration": 32, "sep-2640-skills-directory": 7, "sep-2640-skills-manifest": 6,
}

// The suite's scenarios of tasks and skills, through an endpoint that has another target beside the one that knows these
// extensions.
func TestConformanceExtensions(t *testing.T) {
	s := conformanceSuite(t)
	url := newFront(t, startFixtures(t, buildFixtures(t, "everything")), startFixtures(t, buildFixtures(t, "extensions")))
	for scenario, least := range extensionScenarios {
		t.Run(scenario, func(t *testing.T) {
			results := filepath.Join(t.TempDir(), "results")
			runSuite(t, s, []string{"server", "--url", url, "-o", results, "--scenario", scenario}, true)
			passed := 0
			for _, checks := range readChecks(t, results) {
				for _, c := range checks {
					if c.Status == "SUCCESS" {
						passed++
					}
				}
			}
			if passed < least {
				t.Errorf("%d checks passed, want %d at least", passed, least)
			}
		})
	}
}

// buildFixtures builds a target with fixtures of the suite.
func buildFixtures(t *testing.T, name string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), name)
	build := exec.Command("go", "build", "-o", binary, "./conformance/"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the target of the suite: %v\n%s", err, out)
	}
	return binary
}

// startFixtures runs such a target and returns its URL.
func startFixtures(t *testing.T, binary string, args ...string) string {
	t.Helper()
	log := newOutput()
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return log.wait(t, "the fixtures to listen", time.Minute, func(text string) (string, bool) {
		url, _, whole := strings.Cut(text, "\n")
		return url, whole
	})
}

// newFront starts Gatehouse in front of targets and returns the URL of its endpoint.
func newFront(t *testing.T, urls ...string) string {
	t.Helper()
	var targets, names []string
	for i, url := range urls {
		names = append(names, fmt.Sprintf("fixtures%d", i+1))
		targets = append(targets, fmt.Sprintf("%s: {url: %q}", names[i], url))
	}
	dir, port, key := t.TempDir(), freePort(t), make([]byte, 32)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	config := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, config, fmt.Sprintf(frontConfig, port, "{"+strings.Join(targets, ", ")+"}", "["+strings.Join(names, ", ")+"]"))
	h := startHouse(t, dir, fmt.Sprintf("http://localhost:%d", port), "serve", "-c", config)
	return h.url + "/mcp"
}
