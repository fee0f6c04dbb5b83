//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/oauth2"

	"gatehouse/internal/testkit"
)

// matrixConfig has a real server of each kind behind one endpoint.
const matrixConfig = `
public_url: %[1]s
state_dir: state
listen: 127.0.0.1:%[2]d
master_key: {file: master.key}
limits: {session_idle: 10m}
clients:
  - client_id: matrix
    redirect_uris: ["http://127.0.0.1/callback"]
    grant_types: [authorization_code]
    token_endpoint_auth_method: none
targets:
%[3]s
endpoints:
  /mcp:
    issuers: [gatehouse]
    access: any_signed_in
    targets: [%[4]s]
`

// step is one thing that a client does at the gateway, and what must be in its answer.
type step struct {
	Op        string            `json:"op"`
	Name      string            `json:"name,omitempty"`
	URI       string            `json:"uri,omitempty"`
	Arguments map[string]any    `json:"arguments,omitempty"`
	Ref       map[string]string `json:"ref,omitempty"`
	Argument  map[string]string `json:"argument,omitempty"`

	want []string
}

// server is a real server behind the gateway.
type server struct {
	name   string
	config string // of its target
	steps  []step
}

func call(name string, args map[string]any, want ...string) step {
	return step{Op: "call", Name: name, Arguments: args, want: want}
}

func prompt(name string, args map[string]any, want ...string) step {
	return step{Op: "prompt", Name: name, Arguments: args, want: want}
}

func complete(promptName, argument, value string, want ...string) step {
	return step{Op: "complete", Ref: map[string]string{"type": "ref/prompt", "name": promptName}, Argument: map[string]string{"name": argument, "value": value}, want: want}
}

// everythingSteps are those of the npm server-everything, under a target's name.
func everythingSteps(t string) []step {
	return []step{
		call(t+"___echo", map[string]any{"message": "hello"}, "Echo: hello"),
		call(t+"___trigger-long-running-operation", map[string]any{"duration": 1, "steps": 3}, "Long running operation completed"),
		prompt(t+"___simple-prompt", nil, "messages"),
		complete(t+"___completable-prompt", "department", "Eng", "Engineering"),
	}
}

// fixtureSteps are those of the official suite's fixtures on the Go SDK.
func fixtureSteps(t string) []step {
	return []step{
		call(t+"___test_simple_text", map[string]any{}, "This is a simple text response"),
		call(t+"___test_tool_with_progress", map[string]any{}, ""),
		prompt(t+"___test_simple_prompt", nil, "messages"),
		complete(t+"___test_prompt_with_arguments", "arg1", "test", "values"),
	}
}

func pythonSteps(t string) []step {
	return []step{
		call(t+"___add", map[string]any{"a": 20, "b": 22}, "42"),
		call(t+"___steps", map[string]any{"n": 3}, "3 steps"),
		call(t+"___fail", map[string]any{}, "Error executing tool fail", `"isError":true`),
		prompt(t+"___greet", map[string]any{"name": "Ada"}, "Say hello to Ada."),
		complete(t+"___greet", "name", "A", "Ada"),
	}
}

// matrixServers starts every server that speaks over HTTP.
func matrixServers(t *testing.T, dir string) []server {
	t.Helper()
	fixtures, venvs := buildFixtures(t, "everything"), install(t, "python")
	over := func(url string) string { return fmt.Sprintf("{url: %q}", url) }
	npm := func(kind, path string) string {
		port := freePort(t)
		cmd := exec.Command(kit.node, npmServer("server-everything"), kind)
		cmd.Env = append(os.Environ(), fmt.Sprintf("PORT=%d", port))
		listening(t, cmd, port)
		return over(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	}
	golang := func(eras string) string {
		port := freePort(t)
		listening(t, exec.Command(fixtures, "-eras", eras, "-listen", fmt.Sprintf("127.0.0.1:%d", port)), port)
		return over(fmt.Sprintf("http://127.0.0.1:%d/mcp", port))
	}
	interpreter := func(version int) string {
		return filepath.Join(venvs, fmt.Sprintf("python-%d", version), "bin", "python")
	}
	python := func(version int, kind, path string) string {
		port := freePort(t)
		listening(t, exec.Command(interpreter(version), filepath.Join("python", "server.py"), kind, fmt.Sprint(port)), port)
		return over(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	}
	pythonFile, err := filepath.Abs(filepath.Join("python", "server.py"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "shared", "note.txt"), "in a file")
	return []server{
		{name: "npmstdio", config: commandTarget(kit.everything()...), steps: everythingSteps("npmstdio")},
		{name: "npmhttp", config: npm("streamableHttp", "/mcp"), steps: everythingSteps("npmhttp")},
		{name: "npmsse", config: npm("sse", "/sse"), steps: everythingSteps("npmsse")},
		{name: "files", config: commandTarget(kit.node, npmServer("server-filesystem"), filepath.Join(dir, "shared")), steps: []step{
			call("files___read_text_file", map[string]any{"path": filepath.Join(dir, "shared", "note.txt")}, "in a file"),
		}},
		{name: "memory", config: commandTarget(kit.node, npmServer("server-memory")), steps: []step{call("memory___read_graph", map[string]any{}, "entities")}},
		{name: "gosessions", config: golang("sessions"), steps: fixtureSteps("gosessions")},
		{name: "gostateless", config: golang("stateless"), steps: fixtureSteps("gostateless")},
		{name: "goboth", config: golang("both"), steps: fixtureSteps("goboth")},
		{name: "gosse", config: golang("sse"), steps: fixtureSteps("gosse")},
		{name: "py1http", config: python(1, "http", "/mcp"), steps: pythonSteps("py1http")},
		{name: "py1sse", config: python(1, "sse", "/sse"), steps: pythonSteps("py1sse")},
		{name: "py1stdio", config: commandTarget(interpreter(1), pythonFile, "stdio"), steps: pythonSteps("py1stdio")},
		{name: "py2http", config: python(2, "http", "/mcp"), steps: pythonSteps("py2http")},
		{name: "py2sse", config: python(2, "sse", "/sse"), steps: pythonSteps("py2sse")},
		{name: "py2stdio", config: commandTarget(interpreter(2), pythonFile, "stdio"), steps: pythonSteps("py2stdio")},
	}
}

// listening starts a server and waits until something answers at its port.
func listening(t *testing.T, cmd *exec.Cmd, port int) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", port)
	launch(t, cmd).await(address, time.Minute, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// TestMatrix holds every kind of client against every kind of server, through one URL: each lists tools, calls some, gets
// a prompt, reads a resource and completes an argument, at each server.
func TestMatrix(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "shared"), 0o755); err != nil {
		t.Fatal(err)
	}
	servers := matrixServers(t, dir)
	h, token := inFrontOf(t, dir, servers)
	var list []string
	var plan []step
	for _, s := range servers {
		list = append(list, s.name)
		plan = append(plan, s.steps...)
	}
	plan = append(plan, step{Op: "tools", want: prefixed(list)}, step{Op: "prompts", want: []string{"npmhttp___simple-prompt", "py2sse___greet"}})
	plan = append(plan, resourceSteps(t, h, token)...)
	for _, c := range matrixClients(t, h.url+"/mcp", token) {
		t.Run(c.name, func(t *testing.T) { compare(c.play(t, plan), plan, t) })
	}
	t.Run("inspector", func(t *testing.T) { inspect(t, h.url+"/mcp", token) })
	t.Run("mcp-remote", func(t *testing.T) {
		for _, strategy := range []string{"http-only", "sse-only"} {
			t.Run(strategy, func(t *testing.T) { playRemote(t, h.url+"/mcp", token, strategy, plan) })
		}
	})
}

// inFrontOf starts Gatehouse in front of servers, waits until it knows them all, and returns a token of alice.
func inFrontOf(t *testing.T, dir string, servers []server) (*house, string) {
	t.Helper()
	var targets, list []string
	for _, s := range servers {
		targets = append(targets, "  "+s.name+": "+s.config)
		list = append(list, s.name)
	}
	port, key := freePort(t), make([]byte, 32)
	url := fmt.Sprintf("http://localhost:%d", port)
	rand.Read(key)
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(key))
	config := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, config, fmt.Sprintf(matrixConfig, url, port, strings.Join(targets, "\n"), strings.Join(list, ", ")))
	(&house{t: t, dir: dir}).run(password+"\n", "user", "add", username, "-c", config, "--password-stdin", "--name", "Alice Doe")
	h := startHouse(t, dir, url, "serve", "-c", config)
	token := bearerToken(t, h.url, "matrix")
	awaitTools(t, h, token, list)
	return h, token
}

// compare holds what a client got against what the plan wants.
func compare(results []json.RawMessage, plan []step, t *testing.T) {
	t.Helper()
	if len(results) < len(plan) {
		t.Fatalf("%d answers to %d steps", len(results), len(plan))
	}
	for i, s := range plan {
		var compact bytes.Buffer
		if err := json.Compact(&compact, results[i]); err != nil {
			t.Fatalf("%s %s%s: %v", s.Op, s.Name, s.URI, err)
		}
		got := compact.String()
		if strings.HasPrefix(got, `{"error"`) {
			t.Errorf("%s %s%s: %.300s", s.Op, s.Name, s.URI, got)
			continue
		}
		for _, w := range s.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s %s%s: no %q in %.400s", s.Op, s.Name, s.URI, w, got)
			}
		}
	}
}

// bearerToken signs alice in at a static client with her browser and returns the access token.
func bearerToken(t *testing.T, url, client string) string {
	t.Helper()
	redirect, answers := callbackServer(t)
	config := oauth2.Config{
		ClientID: client, RedirectURL: redirect,
		Endpoint: oauth2.Endpoint{AuthURL: url + "/authorize", TokenURL: url + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier, resource := oauth2.GenerateVerifier(), oauth2.SetAuthURLParam("resource", url+"/mcp")
	testkit.NewBrowser(t).SignIn(config.AuthCodeURL("state", resource, oauth2.S256ChallengeOption(verifier)), username, password)
	select {
	case a := <-answers:
		token, err := config.Exchange(t.Context(), a.Code, resource, oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatalf("redeem the code: %v", err)
		}
		return token.AccessToken
	case <-time.After(time.Minute):
		t.Fatal("the browser never came back to the client")
		return ""
	}
}

func prefixed(targets []string) []string {
	var out []string
	for _, t := range targets {
		out = append(out, `"name":"`+t+`___`)
	}
	return out
}

// awaitTools waits until every target has been read, some of which take long to start.
func awaitTools(t *testing.T, h *house, token string, targets []string) {
	t.Helper()
	c := newCaller(t, h.url+"/mcp")
	if status := c.initialize(token); status != http.StatusOK {
		t.Fatalf("initialize: %d", status)
	}
	for deadline := time.Now().Add(90 * time.Second); ; {
		_, body := c.post(token, "tools/list", map[string]any{})
		missing := ""
		for _, name := range targets {
			if !strings.Contains(body, `"name":"`+name+"___") {
				missing += " " + name
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no tools of%s\n%s", missing, h.log)
		}
		<-time.After(200 * time.Millisecond) // another process is starting: there is no event to wait for
	}
}

// resourceSteps reads resources as they are listed: several servers have the same URIs, so that some are marked.
func resourceSteps(t *testing.T, h *house, token string) []step {
	t.Helper()
	c := newCaller(t, h.url+"/mcp")
	c.initialize(token)
	_, body := c.post(token, "resources/list", map[string]any{})
	var listed struct {
		Result struct {
			Resources []struct{ URI string }
		}
	}
	if err := json.Unmarshal([]byte(body), &listed); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	steps := []step{{Op: "resources", want: []string{`"py://note"`, `#gatehouse-target=py2stdio`}}, {Op: "templates", want: []string{`"py://note/{n}"`, `py://note/{n}#gatehouse-target=py2http`}}}
	read := map[string]bool{}
	for _, r := range listed.Result.Resources {
		_, target, marked := strings.Cut(r.URI, "#gatehouse-target=")
		if !marked {
			target = r.URI
		}
		if !read[target] && (marked || r.URI == "py://note") {
			read[target] = true
			steps = append(steps, step{Op: "read", URI: r.URI, want: []string{`"uri":"` + r.URI + `"`}})
		}
	}
	if len(steps) < 8 {
		t.Errorf("only %d resources to read in %s", len(steps), body)
	}
	return append(steps, step{Op: "read", URI: "py://note/7#gatehouse-target=py2http", want: []string{"note 7"}})
}

// player is a client that plays a plan and returns what it got for each step.
type player struct {
	name string
	play func(t *testing.T, plan []step) []json.RawMessage
}

func matrixClients(t *testing.T, url, token string) []player {
	t.Helper()
	venvs := install(t, "python")
	script := func(argv ...string) func(*testing.T, []step) []json.RawMessage {
		return func(t *testing.T, plan []step) []json.RawMessage {
			return playScript(t, token, plan, append(argv, url)...)
		}
	}
	node := func(args ...string) func(*testing.T, []step) []json.RawMessage {
		return script(append([]string{kit.node, filepath.Join("node", "client.mjs")}, args...)...)
	}
	python := func(version int, args ...string) func(*testing.T, []step) []json.RawMessage {
		return script(append([]string{filepath.Join(venvs, fmt.Sprintf("python-%d", version), "bin", "python"), filepath.Join("python", "client.py")}, args...)...)
	}
	golang := func(transport mcp.Transport, revision string) func(*testing.T, []step) []json.RawMessage {
		return func(t *testing.T, plan []step) []json.RawMessage { return playGo(t, transport, revision, plan) }
	}
	client := &http.Client{Transport: bearer(token)}
	return []player{
		{"ts1_http", node("1", "http", "legacy")},
		{"ts1_sse", node("1", "sse", "legacy")},
		{"ts2_http_sessions", node("2", "http", "legacy")},
		{"ts2_http_stateless", node("2", "http", "modern")},
		{"ts2_sse", node("2", "sse", "legacy")},
		{"py1_http", python(1, "http", "legacy")},
		{"py1_sse", python(1, "sse", "legacy")},
		{"py2_http_sessions", python(2, "http", "legacy")},
		{"py2_http_stateless", python(2, "http", "modern")},
		{"py2_sse", python(2, "sse", "legacy")},
		{"go_stateless", golang(&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: client}, "2026-07-28")},
		{"go_2025-11-25", golang(&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: client}, "2025-11-25")},
		{"go_2025-03-26", golang(&mcp.StreamableClientTransport{Endpoint: url, HTTPClient: client}, "2025-03-26")},
		{"go_sse", golang(&mcp.SSEClientTransport{Endpoint: url, HTTPClient: client}, "2024-11-05")},
	}
}

// bearer adds a token to every request.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(r)
}

func playScript(t *testing.T, token string, plan []step, argv ...string) []json.RawMessage {
	t.Helper()
	input, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "MCP_TOKEN="+token)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s\n%s", err, errs.String(), out.String())
	}
	var results []json.RawMessage
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatalf("%v: %.500s\n%s", err, out.String(), errs.String())
	}
	return results
}

func playGo(t *testing.T, transport mcp.Transport, revision string, plan []step) []json.RawMessage {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "go", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: revision})
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if got := session.InitializeResult().ProtocolVersion; got != revision {
		t.Errorf("agreed on %s, want %s", got, revision)
	}
	var results []json.RawMessage
	for _, s := range plan {
		result, err := stepGo(t.Context(), session, s)
		if err != nil {
			result = map[string]any{"error": err.Error()}
		}
		raw, err := json.Marshal(result)
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, raw)
	}
	return results
}

func stepGo(ctx context.Context, session *mcp.ClientSession, s step) (any, error) {
	switch s.Op {
	case "tools":
		return all(session.Tools(ctx, nil))
	case "prompts":
		return all(session.Prompts(ctx, nil))
	case "resources":
		return all(session.Resources(ctx, nil))
	case "templates":
		return all(session.ResourceTemplates(ctx, nil))
	case "call":
		return session.CallTool(ctx, &mcp.CallToolParams{Name: s.Name, Arguments: s.Arguments})
	case "read":
		return session.ReadResource(ctx, &mcp.ReadResourceParams{URI: s.URI})
	case "prompt":
		args := map[string]string{}
		for k, v := range s.Arguments {
			args[k] = fmt.Sprint(v)
		}
		return session.GetPrompt(ctx, &mcp.GetPromptParams{Name: s.Name, Arguments: args})
	case "complete":
		return session.Complete(ctx, &mcp.CompleteParams{
			Ref:      &mcp.CompleteReference{Type: s.Ref["type"], Name: s.Ref["name"]},
			Argument: mcp.CompleteParamsArgument{Name: s.Argument["name"], Value: s.Argument["value"]},
		})
	}
	return struct{}{}, session.Ping(ctx, nil)
}

func all[T any](items func(func(T, error) bool)) ([]T, error) {
	var out []T
	for item, err := range items {
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, nil
}

// playRemote plays the plan through mcp-remote, which speaks stdio to its client.
func playRemote(t *testing.T, url, token, strategy string, plan []step) {
	r := startRemote(t, t.TempDir(), url, "--transport", strategy, "--header", "Authorization: Bearer "+token)
	r.finishInitialize(r.beginInitialize())
	methods := map[string]string{
		"tools": "tools/list", "prompts": "prompts/list", "resources": "resources/list", "templates": "resources/templates/list",
		"call": "tools/call", "read": "resources/read", "prompt": "prompts/get", "complete": "completion/complete", "ping": "ping",
	}
	var results []json.RawMessage
	for _, s := range plan {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		params := map[string]any{}
		if err := json.Unmarshal(raw, &params); err != nil {
			t.Fatal(err)
		}
		delete(params, "op")
		results = append(results, r.call(methods[s.Op], params))
	}
	compare(results, plan, t)
}
