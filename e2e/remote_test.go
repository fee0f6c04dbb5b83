//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// remote is a real mcp-remote process; the test plays the assistant that started it.
type remote struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	log    *output
	mu     sync.Mutex // guards what follows
	nextID int
	waits  map[int]chan wireMessage
	notes  []wireMessage
	grew   chan struct{}
}

// wireMessage is one JSON-RPC message as the assistant sees it.
type wireMessage struct {
	ID     *int            `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *wireError      `json:"error,omitempty"`
}

type wireError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// startRemote runs mcp-remote with args; its tokens live below home, and survive it there.
func startRemote(t *testing.T, home string, args ...string) *remote {
	t.Helper()
	r := &remote{t: t, log: newOutput(), waits: map[int]chan wireMessage{}, grew: make(chan struct{})}
	r.cmd = exec.Command(kit.node, append([]string{filepath.Join(kit.modules, "mcp-remote", "dist", "proxy.js")}, args...)...)
	// An empty PATH: there is no browser to open, so the test reads the URL and drives the pages itself.
	r.cmd.Env = []string{"HOME=" + home, "MCP_REMOTE_CONFIG_DIR=" + filepath.Join(home, "mcp-auth"), "PATH=" + filepath.Join(home, "no-path")}
	r.cmd.Stderr = r.log
	var err error
	if r.stdin, err = r.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatalf("start mcp-remote: %v", err)
	}
	read := make(chan struct{})
	go func() { defer close(read); r.read(stdout) }()
	t.Cleanup(func() { r.stop(read) })
	return r
}

func (r *remote) stop(read <-chan struct{}) {
	r.stdin.Close()
	_ = r.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { defer close(done); <-read; _ = r.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = r.cmd.Process.Kill()
		<-done
	}
	if r.t.Failed() {
		r.t.Logf("log of mcp-remote:\n%s", r.log)
	}
}

// close ends the process before the test does.
func (r *remote) close() {
	r.stdin.Close()
	_ = r.cmd.Process.Signal(os.Interrupt)
}

func (r *remote) read(stdout io.Reader) {
	lines := bufio.NewReaderSize(stdout, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 1 {
			var m wireMessage
			if e := json.Unmarshal(line, &m); e != nil {
				r.t.Errorf("mcp-remote printed something that is not JSON-RPC: %q", line)
			}
			r.deliver(m)
		}
		if err != nil {
			return
		}
	}
}

func (r *remote) deliver(m wireMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Method == "" && m.ID != nil {
		if w := r.waits[*m.ID]; w != nil {
			w <- m
			delete(r.waits, *m.ID)
		}
		return
	}
	r.notes = append(r.notes, m)
	close(r.grew)
	r.grew = make(chan struct{})
}

func (r *remote) write(v any) {
	r.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.stdin.Write(append(b, '\n')); err != nil {
		r.t.Fatalf("write to mcp-remote: %v\n%s", err, r.log)
	}
}

// begin sends a request and returns where its answer will arrive.
func (r *remote) begin(method string, params any) <-chan wireMessage {
	r.t.Helper()
	r.mu.Lock()
	r.nextID++
	id, w := r.nextID, make(chan wireMessage, 1)
	r.waits[id] = w
	r.mu.Unlock()
	r.write(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
	return w
}

// call sends a request and returns its result.
func (r *remote) call(method string, params any) json.RawMessage {
	r.t.Helper()
	return r.await(method, r.begin(method, params))
}

func (r *remote) await(method string, w <-chan wireMessage) json.RawMessage {
	r.t.Helper()
	select {
	case m := <-w:
		if m.Error != nil {
			r.t.Fatalf("%s: error %d: %s\n%s", method, m.Error.Code, m.Error.Message, r.log)
		}
		return m.Result
	case <-time.After(60 * time.Second):
		r.t.Fatalf("%s: no answer within 60 s\n%s", method, r.log)
		return nil
	}
}

var initializeParams = map[string]any{
	"protocolVersion": "2025-11-25",
	"capabilities":    map[string]any{},
	"clientInfo":      map[string]any{"name": "e2e", "version": "1"},
}

// beginInitialize sends what an assistant sends first; the answer comes after the sign-in.
func (r *remote) beginInitialize() <-chan wireMessage {
	r.t.Helper()
	return r.begin("initialize", initializeParams)
}

// finishInitialize waits for the answer and completes the handshake.
func (r *remote) finishInitialize(w <-chan wireMessage) json.RawMessage {
	r.t.Helper()
	result := r.await("initialize", w)
	r.write(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"})
	return result
}

var visiting = regexp.MustCompile(`(?s)Please authorize this client by visiting:\s+(\S+)\s`)

// authorizeURL waits for the URL that mcp-remote asks the person to visit.
func (r *remote) authorizeURL() string {
	r.t.Helper()
	return r.log.wait(r.t, "mcp-remote to ask for a sign-in", 60*time.Second, func(s string) (string, bool) {
		if m := visiting.FindStringSubmatch(s); m != nil {
			return m[1], true
		}
		return "", false
	})
}

// nextAuthorizeURL waits until mcp-remote has asked for a sign-in n times, and returns the last URL.
func (r *remote) nextAuthorizeURL(n int) string {
	r.t.Helper()
	return r.log.wait(r.t, fmt.Sprintf("mcp-remote to ask for sign-in %d", n), 60*time.Second, func(s string) (string, bool) {
		if all := visiting.FindAllStringSubmatch(s, -1); len(all) >= n {
			return all[n-1][1], true
		}
		return "", false
	})
}

// askedForSignIn reports whether mcp-remote wanted a browser at any time.
func (r *remote) askedForSignIn() bool { return visiting.MatchString(r.log.String()) }

// tool calls a tool and returns the text of its first content block.
func (r *remote) tool(name string, arguments any) string {
	r.t.Helper()
	return toolText(r.t, name, r.call("tools/call", map[string]any{"name": name, "arguments": arguments}))
}

func toolText(t *testing.T, name string, raw json.RawMessage) string {
	t.Helper()
	var result struct {
		IsError bool `json:"isError"`
		Content []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		} `json:"content"`
	}
	if err := json.Unmarshal(raw, &result); err != nil || len(result.Content) == 0 {
		t.Fatalf("tools/call %s: unexpected result %s (%v)", name, raw, err)
	}
	if result.IsError {
		t.Fatalf("tools/call %s: tool error: %s", name, result.Content[0].Text)
	}
	return result.Content[0].Text
}

// notifications returns how many messages with this method have come from the server on their own.
func (r *remote) notifications(method string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, m := range r.notes {
		if m.Method == method {
			n++
		}
	}
	return n
}

// names lists the member "name" (or key) of each element of a list result.
func names(t *testing.T, raw json.RawMessage, list, key string) []string {
	t.Helper()
	var result map[string]json.RawMessage
	var items []map[string]any
	if err := json.Unmarshal(raw, &result); err != nil {
		t.Fatalf("decode list: %v in %s", err, raw)
	}
	if err := json.Unmarshal(result[list], &items); err != nil {
		t.Fatalf("decode %s: %v in %s", list, err, raw)
	}
	out := make([]string, len(items))
	for i, it := range items {
		out[i] = fmt.Sprint(it[key])
	}
	return out
}
