package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

func TestDeadTargetLeavesTheOthers(t *testing.T) {
	t.Parallel()
	_, files := rawTarget(t, "files")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	dead := running(t, newTarget(t, "dead", "http://"+nobody+"/mcp", nil))
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{dead, files}}}})
	c := s.caller("ada-token").initialize(`{}`)
	if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.Contains(body, "files___echo") {
		t.Errorf("list: %s", body)
	}
	if _, body := c.post(callEcho); !strings.Contains(body, `"text":"{\"a\":1}"`) {
		t.Errorf("living target: %s", body)
	}
	_, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"dead___x","arguments":{}}}`)
	if !strings.Contains(body, `"isError":true`) || !strings.Contains(body, `\"dead\"`) || !strings.Contains(body, "was not executed") || strings.Contains(body, nobody) {
		t.Errorf("dead target: %s", body)
	}
	_, body = c.post(`{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"dead___x"}}`)
	if !strings.Contains(body, `"error":{"code":-31001`) {
		t.Errorf("prompt of the dead target: %s", body)
	}
	if !strings.Contains(s.log.String(), nobody) {
		t.Error("the log does not say what is wrong")
	}
}

func TestHangingTarget(t *testing.T) {
	t.Parallel()
	_, files := rawTarget(t, "files")
	hanging := testkit.NewMCPServer(t)
	hanging.Handle("initialize", func(c *testkit.MCPCall) { <-c.R.Context().Done() })
	stuck := running(t, newTarget(t, "stuck", hanging.URL, func(o *target.Options) { o.Timeout = time.Second }))
	s := start(t, config{
		options:   Options{CatalogWait: 20 * time.Millisecond},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{stuck, files}}},
	})
	c := s.caller("ada-token").initialize(`{}`)
	if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.Contains(body, "files___echo") {
		t.Errorf("list: %s", body)
	}
	_, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"stuck___x","arguments":{}}}`)
	if !strings.Contains(body, `"isError":true`) || !strings.Contains(body, "did not answer in time") {
		t.Errorf("hanging target: %s", body)
	}
}

func TestTimeoutSaysThatTheCallMayHaveHappened(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) { <-c.R.Context().Done() })
	slow := running(t, newTarget(t, "files", upstream.URL, func(o *target.Options) { o.Timeout = 3 * time.Second }))
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{slow}}}})
	c := s.caller("ada-token").initialize(`{}`)
	_, body := c.post(callTool("1", "wait"))
	if !strings.Contains(body, `"isError":true`) || !strings.Contains(body, "may have been executed") {
		t.Errorf("got %s", body)
	}
	if n := len(upstream.RequestsOf("tools/call")); n != 1 {
		t.Errorf("the call was made %d times", n)
	}
}

func TestTooManySessions(t *testing.T) {
	t.Parallel()
	s, _ := one(t, func(c *config) { c.session.MaxPerPerson, c.session.Max = 1, 2 })
	for _, token := range []string{"ada-token", "bob-token"} {
		c := s.caller(token).initialize(`{}`)
		c.open(http.MethodGet, "", "").next()
	}
	begin := `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`
	if status, _ := s.caller("ada-token").post(begin); status != http.StatusTooManyRequests {
		t.Errorf("second session of one person: %d, want 429", status)
	}
	if status, _ := s.caller("eve-token").post(begin); status != http.StatusServiceUnavailable {
		t.Errorf("table full: %d, want 503", status)
	}
}

func TestBigBody(t *testing.T) {
	t.Parallel()
	s, _ := one(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	big := strings.Repeat("x", 200<<10)
	if status, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"files___echo","arguments":{"a":"` + big + `"}}}`); status != http.StatusOK || !strings.Contains(body, big) {
		t.Errorf("200 KiB: %d", status)
	}
	if status, _ := c.post(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"` + strings.Repeat("x", 2<<20) + `"}}`); status != http.StatusRequestEntityTooLarge {
		t.Errorf("2 MiB: %d, want 413", status)
	}
}

func TestLongWordsOfClients(t *testing.T) {
	t.Parallel()
	s, _ := one(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	long := strings.Repeat("x", 20<<10)
	for name, body := range map[string]string{
		"id":         `{"jsonrpc":"2.0","id":"` + long + `","method":"ping"}`,
		"clientInfo": `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"` + long + `"}}}`,
	} {
		if status, answer := c.post(body); status != http.StatusBadRequest || strings.Contains(answer, long) {
			t.Errorf("%s of 20 KiB: %d", name, status)
		}
	}
}

func TestNoPolicyNoAccess(t *testing.T) {
	t.Parallel()
	s, _ := one(t, nil)
	if _, err := s.gateway.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp", Policy: anySignedIn(t)}}}); err == nil {
		t.Error("an endpoint that asks nobody for a token was taken")
	}
	if _, err := s.gateway.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp", Auth: tokensAt{s.auth, "/mcp"}}}}); err != nil {
		t.Fatal(err)
	}
	status, _ := s.caller("ada-token").post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`)
	if status != http.StatusForbidden {
		t.Errorf("status %d, want 403", status)
	}
}

func TestCallsAreRecorded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	records, err := audit.Open(audit.Options{Dir: dir, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := records.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("admin", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	s := start(t, config{options: Options{Audit: records}, endpoints: []Endpoint{{
		Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))},
		Policy: anySignedIn(t, policy.Requirement{Target: "files", Name: "admin", Scopes: identity.Scopes{"mcp:admin"}}),
	}}})
	c := s.caller("ada-token").initialize(`{}`)
	c.post(callEcho)
	c.post(callTool("2", "nop"))
	c.post(callTool("3", "admin"))
	cancel()
	writing.Wait()
	var lines string
	segments, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range segments {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += string(b)
	}
	for _, want := range []string{
		`"subject":"ada","client":"test-client","scopes":"mcp:tools","endpoint":"/mcp","target":"files","method":"tools/call","name":"echo","decision":"allow","reason":"allowed","outcome":"ok"`,
		`"name":"files___nop","decision":"deny","reason":"unknown_name"`,
		`"name":"admin","decision":"deny","reason":"missing_scopes"`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("no record with %s in\n%s", want, lines)
		}
	}
	if strings.Contains(lines, `"a":1`) {
		t.Error("arguments are in the record")
	}
}
