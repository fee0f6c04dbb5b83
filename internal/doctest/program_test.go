package doctest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestProgram holds the documents against the program itself.
func TestProgram(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "gatehouse")
	build := exec.Command("go", "build", "-o", bin, "./cmd/gatehouse")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Run("settings", func(t *testing.T) { t.Parallel(); testSettings(t, bin) })
	t.Run("commands", func(t *testing.T) { t.Parallel(); testCommands(t, bin) })
	t.Run("own servers", func(t *testing.T) { t.Parallel(); testOwnServers(t, bin) })
}

// warned is how a block says that the check has a warning about it.
var warned = regexp.MustCompile(`(?m)^# gatehouse check warns: (.+)$`)

// testSettings runs gatehouse check on every YAML block. A block that is a part of a file is laid over the whole file
// before it in the same document; an access rule alone is that of an endpoint.
func testSettings(t *testing.T, bin string) {
	checked := 0
	for _, d := range documents(t) {
		whole := ""
		for _, b := range d.blocks {
			if b.language != "yaml" || len(sections(b.text)) == 0 {
				continue
			}
			if has(b.text, "targets") && has(b.text, "endpoints") {
				whole = b.text
			}
			if whole == "" {
				t.Errorf("%s shows a part of a configuration before any whole one:\n%s", d.path, b.text)
				continue
			}
			part := b.text
			if has(part, "access") {
				part = "endpoints:\n  /mcp:\n    issuers: [gatehouse]\n    targets: [demo]\n" + strings.ReplaceAll("\n"+part, "\n", "\n    ")
			}
			text := overlay(whole, part)
			out, err := inDir(t, newSite(t, text), bin, "check", "gatehouse.yaml").CombinedOutput()
			expected := warned.FindAllStringSubmatch(part, -1)
			if want := regexp.MustCompile(fmt.Sprintf(`, %d warnings?\n`, len(expected))); err != nil || !want.Match(out) {
				t.Errorf("%s: gatehouse check: %v\n%s\n%s", d.path, err, out, text)
			}
			for _, m := range expected {
				if !strings.Contains(string(out), m[1]) {
					t.Errorf("%s: gatehouse check does not warn %q:\n%s", d.path, m[1], out)
				}
			}
			checked++
		}
	}
	if checked < 4 {
		t.Errorf("checked only %d blocks", checked)
	}
}

var subcommand = regexp.MustCompile(`^[a-z][a-z-]*$`)

// testCommands asks for the help of every gatehouse command in the documents: it must exist, with these flags.
func testCommands(t *testing.T, bin string) {
	seen := map[string]bool{}
	for _, d := range documents(t) {
		for _, code := range d.code() {
			args, ours := strings.CutPrefix(strings.ReplaceAll(code, "\n", " "), "gatehouse ")
			if !ours || seen[args] {
				continue
			}
			seen[args] = true
			for _, args := range alternatives(words(args)) {
				out, err := inDir(t, t.TempDir(), bin, append(slices.Clone(args), "--help")...).CombinedOutput()
				if err != nil {
					t.Errorf("%s: gatehouse %s: %v\n%s", d.path, strings.Join(args, " "), err, out)
					continue
				}
				_, usage, _ := strings.Cut(string(out), "Usage:\n")
				usage, rest, _ := strings.Cut(usage, "\n")
				depth := 0
				for _, w := range strings.Fields(usage)[1:] {
					if !subcommand.MatchString(w) {
						break
					}
					depth++
				}
				takesMore := strings.Contains(usage, "[command]") || strings.HasPrefix(strings.TrimSpace(rest), "gatehouse [command]")
				if takesMore && len(args) > depth && !strings.HasPrefix(args[depth], "-") {
					t.Errorf("%s: gatehouse %s: there is no such command", d.path, strings.Join(args, " "))
				}
			}
		}
	}
	if len(seen) < 15 {
		t.Errorf("found only %d commands", len(seen))
	}
}

// alternatives spells out words such as add|list.
func alternatives(args []string) [][]string {
	for i, w := range args {
		if strings.Contains(w, "|") {
			var out [][]string
			for one := range strings.SplitSeq(w, "|") {
				out = append(out, slices.Concat(args[:i], []string{one}, args[i+1:]))
			}
			return out
		}
	}
	return [][]string{args}
}

// testOwnServers does what the README says about a file of one's own, on a free port and with demo targets in place of
// servers that are elsewhere.
func testOwnServers(t *testing.T, bin string) {
	readme := oneDocument(t, "README.md")
	i := slices.IndexFunc(readme.blocks, func(b block) bool { return b.language == "yaml" })
	port := freePort(t)
	text := strings.ReplaceAll(readme.blocks[i].text, ":8080", fmt.Sprint(":", port))
	text = overlay(text, fmt.Sprintf("listen: 127.0.0.1:%d\ntargets:\n  everything: {demo: true}\n  github: {demo: true}\n", port))
	dir := newSite(t, text)

	ran := map[string]bool{}
	for _, command := range readme.commands() {
		args := words(strings.ReplaceAll(command, ":8080", fmt.Sprint(":", port)))
		if args[0] != "gatehouse" {
			continue
		}
		ran[args[1]] = true
		cmd := inDir(t, dir, bin, args[1:]...)
		if args[1] == "serve" {
			start(t, cmd, func(p *os.Process) error { return p.Signal(os.Interrupt) }).awaitReady(t, port)
			resp, err := http.Post(fmt.Sprintf("http://localhost:%d/mcp", port), "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("POST /mcp answers %s, want 401", resp.Status)
			}
			continue
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	for _, want := range []string{"check", "user", "serve", "client-config"} {
		if !ran[want] {
			t.Errorf("the README no longer shows gatehouse %s", want)
		}
	}
}

var (
	topLevel = regexp.MustCompile(`(?m)^([a-z_]+):`)
	byFile   = regexp.MustCompile(`\{file: ([\w./]+)`)
	byEnv    = regexp.MustCompile(`\{env: (\w+)`)
)

// sections cuts YAML into its top-level keys, each with what stands below it.
func sections(text string) []string {
	var out []string
	at := topLevel.FindAllStringIndex(text, -1)
	for i, from := range at {
		to := len(text)
		if i+1 < len(at) {
			to = at[i+1][0]
		}
		out = append(out, text[from[0]:to])
	}
	return out
}

func keyOf(section string) string {
	key, _, _ := strings.Cut(section, ":")
	return key
}

func has(text, key string) bool {
	return slices.ContainsFunc(sections(text), func(s string) bool { return keyOf(s) == key })
}

// overlay replaces the sections of a whole file by those of a part.
func overlay(whole, part string) string {
	out := sections(part)
	for _, s := range sections(whole) {
		if !has(part, keyOf(s)) {
			out = append(out, s)
		}
	}
	return strings.Join(out, "\n")
}

// newSite makes a directory with a configuration and the secret files that it names.
func newSite(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"gatehouse.yaml": config}
	for _, m := range byFile.FindAllStringSubmatch(config, -1) {
		files[m[1]] = newKey()
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newKey() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.StdEncoding.EncodeToString(raw[:])
}

// inDir makes a command that runs in dir, with the variables that the configuration there names, and none of
// Gatehouse's from outside.
func inDir(t *testing.T, dir, bin string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Dir, cmd.Env = dir, append(cleanEnv(), "HOME="+dir)
	config, _ := os.ReadFile(filepath.Join(dir, "gatehouse.yaml")) // not every command has one
	for _, m := range byEnv.FindAllStringSubmatch(string(config), -1) {
		value, file := newKey(), filepath.Join(dir, "."+m[1])
		if kept, err := os.ReadFile(file); err == nil {
			value = string(kept)
		} else if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, m[1]+"="+value)
	}
	return cmd
}

// cleanEnv is the environment without what another make, or a Gatehouse outside, has put there.
func cleanEnv() []string {
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GATEHOUSE_") || strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") ||
			strings.HasPrefix(v, "XDG_STATE_HOME") || strings.HasPrefix(v, "STATE_DIRECTORY")
	}), "NO_PROXY=localhost", "no_proxy=localhost")
}

// running is a program that runs until the test ends.
type running struct {
	output string // file that takes what it prints
	ended  chan struct{}
}

// start runs a command, and has stop called when the test ends.
func start(t *testing.T, cmd *exec.Cmd, stop func(*os.Process) error) *running {
	t.Helper()
	r := &running{output: filepath.Join(t.TempDir(), "output"), ended: make(chan struct{})}
	f, err := os.Create(r.output)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Cancel = func() error { return stop(cmd.Process) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.ended)
		_ = cmd.Wait() // the context of the test ends it
		f.Close()
	}()
	t.Cleanup(func() { <-r.ended })
	return r
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// awaitReady waits for another process, of which there is no event to wait for.
func (r *running) awaitReady(t *testing.T, port int) {
	t.Helper()
	late := time.After(2 * time.Minute)
	for {
		resp, err := http.Get(fmt.Sprintf("http://localhost:%d/readyz", port))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
			continue
		case <-r.ended:
		case <-late:
		}
		t.Fatalf("it does not get ready:\n%s", r.printed(t))
	}
}

func (r *running) printed(t *testing.T) string {
	t.Helper()
	out, err := os.ReadFile(r.output)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
