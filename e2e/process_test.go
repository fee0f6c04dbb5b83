//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The sole place that knows where the built binary and the Node packages are.
type tools struct {
	gatehouse string // path of the binary under test
	node      string // path of the node executable
	modules   string // the node_modules directory
	artifacts string // where screenshots are kept
}

var kit tools // set once by TestMain, before any test runs

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return 0, fmt.Errorf("node is not installed; these tests need Node 20 or newer: %w", err)
	}
	modules := filepath.Join(root, "e2e", "node", "node_modules")
	if _, err := os.Stat(filepath.Join(modules, "mcp-remote")); err != nil {
		return 0, fmt.Errorf("the Node packages are missing; run `npm ci` in e2e/node, or `make e2e`, which does: %w", err)
	}
	dir, err := os.MkdirTemp("", "gatehouse-e2e")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	kit = tools{
		gatehouse: filepath.Join(dir, "gatehouse"), node: node, modules: modules,
		artifacts: envOr("GATEHOUSE_ARTIFACTS", filepath.Join(root, "artifacts")),
	}
	if err := os.MkdirAll(kit.artifacts, 0o755); err != nil {
		return 0, err
	}
	build := exec.Command("go", "build", "-o", kit.gatehouse, "./cmd/gatehouse")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build gatehouse: %w\n%s", err, out)
	}
	return m.Run(), nil
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}

// everything returns the command line that starts the real server-everything over stdio.
func (k tools) everything() []string {
	return []string{k.node, filepath.Join(k.modules, "@modelcontextprotocol", "server-everything", "dist", "index.js"), "stdio"}
}

// output collects what a process prints and lets tests wait for a piece of it.
type output struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	grew chan struct{} // closed and replaced on each write
}

func newOutput() *output { return &output{grew: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(p)
	close(o.grew)
	o.grew = make(chan struct{})
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// wait returns what match finds in the output, as soon as it finds something.
func (o *output) wait(t *testing.T, what string, within time.Duration, match func(string) (string, bool)) string {
	t.Helper()
	deadline := time.After(within)
	for {
		o.mu.Lock()
		text, grew := o.buf.String(), o.grew
		o.mu.Unlock()
		if found, ok := match(text); ok {
			return found
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("waited %s for %s; the output so far:\n%s", within, what, text)
		}
	}
}

// freePort returns a port on which nothing listens at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// house is one running gatehouse process and the place where its state survives it.
type house struct {
	t    *testing.T
	dir  string
	args []string
	url  string // the public URL
	log  *output
	cmd  *exec.Cmd
	done chan error
}

// startHouse runs gatehouse with args and waits until it is ready.
func startHouse(t *testing.T, dir, url string, args ...string) *house {
	t.Helper()
	h := &house{t: t, dir: dir, url: url, args: args}
	h.start()
	t.Cleanup(h.stop)
	return h
}

func (h *house) start() {
	h.t.Helper()
	h.log, h.done = newOutput(), make(chan error, 1)
	h.cmd = exec.Command(kit.gatehouse, h.args...)
	h.cmd.Dir = h.dir
	h.cmd.Env = h.environment()
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	if err := h.cmd.Start(); err != nil {
		h.t.Fatalf("start gatehouse: %v", err)
	}
	cmd, done := h.cmd, h.done
	go func() { done <- cmd.Wait() }()
	h.awaitReady()
}

func (h *house) awaitReady() {
	h.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		select {
		case err := <-h.done:
			h.t.Fatalf("gatehouse ended at start: %v\n%s", err, h.log)
		case <-time.After(50 * time.Millisecond): // polling another process: there is no event to wait for
		}
		resp, err := http.Get(h.url + "/readyz")
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("gatehouse is not ready after a minute: %v\n%s", err, h.log)
		}
	}
}

// stop ends the process the way an operator would, and insists that it obeys.
func (h *house) stop() {
	if h.cmd == nil {
		return
	}
	cmd := h.cmd
	h.cmd = nil
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-h.done:
		if err != nil {
			h.t.Errorf("gatehouse did not stop cleanly: %v\n%s", err, h.log)
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		h.t.Errorf("gatehouse did not stop within 20 s of SIGTERM\n%s", h.log)
	}
	if h.t.Failed() {
		h.t.Logf("log of gatehouse:\n%s", h.log)
	}
}

func (h *house) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + h.dir, "GATEHOUSE_MASTER_KEY=" + os.Getenv("GATEHOUSE_MASTER_KEY")}
}

// logged waits until the log has a text: the record of a request is written after its answer.
func (h *house) logged(t *testing.T, text string) {
	t.Helper()
	h.log.wait(t, text+" in the log", 30*time.Second, func(log string) (string, bool) { return text, strings.Contains(log, text) })
}

// run executes a gatehouse sub-command in the house's directory and returns what it printed.
func (h *house) run(stdin string, args ...string) string {
	h.t.Helper()
	out, err := h.try(stdin, args...)
	if err != nil {
		h.t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// try does the same for one that may fail.
func (h *house) try(stdin string, args ...string) (string, error) {
	cmd := exec.Command(kit.gatehouse, args...)
	cmd.Dir, cmd.Stdin = h.dir, strings.NewReader(stdin)
	cmd.Env = h.environment()
	out, err := cmd.CombinedOutput()
	return string(out), err
}
