//go:build unix

package doctest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestQuickstart does what the README tells a newcomer: start, paste, look at the door from outside.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	readme := oneDocument(t, "README.md")
	commands := readme.commands()
	if !slices.Contains(commands, "make run") || !slices.Contains(commands, "make test") {
		t.Fatal("the README no longer begins with make run and make test")
	}
	name, args := "make", []string{"run"}
	if _, err := exec.LookPath("make"); err != nil {
		name, args = "go", []string{"run", "./cmd/gatehouse"}
		if !strings.Contains(readme.text, "`CGO_ENABLED=0 go run ./cmd/gatehouse`") {
			t.Fatal("the README no longer says how to start without make")
		}
	}
	port, state := freePort(t), filepath.Join(t.TempDir(), "state")
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = root
	cmd.Env = append(cleanEnv(), "CGO_ENABLED=0", fmt.Sprintf("GATEHOUSE_LISTEN=127.0.0.1:%d", port), "GATEHOUSE_STATE_DIR="+state)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	quickstart := start(t, cmd, func(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGINT) }) // make, go run and Gatehouse
	quickstart.awaitReady(t, port)
	printed := quickstart.printed(t)
	onPort := func(s string) string { return strings.ReplaceAll(s, ":8080", fmt.Sprint(":", port)) }
	i := slices.IndexFunc(readme.blocks, func(b block) bool { return b.language == "json" })
	if pasted := onPort(readme.blocks[i].text); !strings.Contains(unspaced(printed), unspaced(pasted)) {
		t.Errorf("the quickstart does not print what the README shows:\n%s\nit prints:\n%s", pasted, printed)
	}
	if !strings.Contains(printed, "password") {
		t.Errorf("the quickstart prints no password:\n%s", printed)
	}
	i = slices.IndexFunc(commands, func(c string) bool { return strings.HasPrefix(c, "curl ") })
	status, challenge := knock(t, words(onPort(commands[i])))
	if status != "401" || !strings.Contains(challenge, "resource_metadata=") {
		t.Errorf("the door answers %s with the challenge %q, want 401 and where to go", status, challenge)
	}
}

func unspaced(s string) string { return strings.Join(strings.Fields(s), "") }

// knock runs a curl -i, or does the same where there is no curl.
func knock(t *testing.T, args []string) (status, challenge string) {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		return post(t, args)
	}
	cmd := exec.CommandContext(t.Context(), args[0], append([]string{"-sS"}, args[1:]...)...)
	cmd.Env = cleanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	first, rest, _ := strings.Cut(string(out), "\n")
	if fields := strings.Fields(first); len(fields) > 1 {
		status = fields[1]
	}
	for line := range strings.SplitSeq(rest, "\n") {
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "WWW-Authenticate") {
			challenge = value
		}
	}
	return status, challenge
}

func post(t *testing.T, args []string) (status, challenge string) {
	t.Helper()
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, args[slices.Index(args, "-i")+1], strings.NewReader(value("-d")))
	if err != nil {
		t.Fatal(err)
	}
	name, content, _ := strings.Cut(value("-H"), ": ")
	req.Header.Set(name, content)
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return fmt.Sprint(resp.StatusCode), resp.Header.Get("WWW-Authenticate")
}
