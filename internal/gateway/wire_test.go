package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"gatehouse/internal/seal"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

const callEcho = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"files___echo","arguments":{"a":1}}}`

// one is a gateway with one scripted target, files.
func one(t *testing.T, change func(*config)) (*setup, *testkit.MCPServer) {
	t.Helper()
	server, files := rawTarget(t, "files")
	c := config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{files}}}}
	if change != nil {
		change(&c)
	}
	return start(t, c), server
}

func callTool(id, name string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"files___%s","arguments":{},"_meta":{"progressToken":"p"}}}`, id, name)
}

func progress(c *testkit.MCPCall, n int) {
	c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, c.ProgressToken(), n))
}

func TestChecklist50_ClientTokenStaysHere(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	c := s.caller("ada-token").initialize(`{"roots":{"listChanged":true}}`)
	c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	r := c.request(t.Context(), http.MethodPost, callEcho)
	r.Header.Set("X-Forwarded-User", "root")
	r.Header.Set("Mcp-Name", "hint-from-outside")
	r.Header.Set("Cookie", "a=cookie-from-outside")
	resp := c.do(r)
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	c.post(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`)
	c.post(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"files___nop"}}`)
	s.caller("wrong-token").post(callEcho)
	if n := len(upstream.RequestsOf("tools/call")); n != 1 {
		t.Fatalf("%d calls reached the target, want 1", n)
	}
	for _, r := range upstream.Requests() {
		whole := fmt.Sprint(r.Header, r.Body)
		for _, secret := range []string{"ada-token", "root]", "from-outside"} { // 53: nor is anything else handed on
			if strings.Contains(whole, secret) {
				t.Errorf("%s %s: %q reached the target", r.HTTPMethod, r.Method, secret)
			}
		}
		if got := r.Header.Get("Authorization"); got != "Bearer target-credential" {
			t.Errorf("%s %s: credential %q", r.HTTPMethod, r.Method, got)
		}
		if strings.Contains(whole, c.session) {
			t.Errorf("%s %s: the client's session id reached the target", r.HTTPMethod, r.Method)
		}
	}
	if log := s.log.String(); strings.Contains(log, "-token") || strings.Contains(log, "target-credential") || strings.Contains(log, c.session) {
		t.Errorf("a secret is in the log:\n%s", log)
	}
}

func TestChecklist47_TokenInQueryOrBodyIsRefused(t *testing.T) {
	t.Parallel()
	s, _ := one(t, nil)
	c := s.caller("")
	c.path = "/mcp?access_token=ada-token"
	if status, _ := c.post(`{"access_token":"ada-token","jsonrpc":"2.0","id":0,"method":"ping"}`); status != http.StatusUnauthorized {
		t.Errorf("status %d, want 401", status)
	}
}

func TestChecklist51_SessionOfAWithTokenOfB(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, func(c *config) {
		c.endpoints = append(c.endpoints, Endpoint{Path: "/other/mcp", Prefix: true, Targets: c.endpoints[0].Targets})
	})
	ada := s.caller("ada-token").initialize(`{}`)
	bob := s.caller("bob-token")
	bob.session = ada.session
	if status, _ := bob.post(callEcho); status != http.StatusNotFound {
		t.Errorf("POST: %d, want 404", status)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		resp := bob.do(bob.request(t.Context(), method, ""))
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", method, resp.StatusCode)
		}
	}
	elsewhere := s.caller("ada-token")
	elsewhere.path, elsewhere.session = "/other/mcp", ada.session
	if status, _ := elsewhere.post(callEcho); status != http.StatusNotFound {
		t.Errorf("at another endpoint: %d, want 404", status)
	}
	if n := len(upstream.RequestsOf("tools/call")); n != 0 {
		t.Errorf("%d calls reached the target", n)
	}
	if status, _ := ada.post(callEcho); status != http.StatusOK {
		t.Errorf("the owner: %d", status)
	}
}

func TestChecklist52_ContentTypeMustBeJSON(t *testing.T) {
	t.Parallel()
	s, _ := one(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""} {
		r := c.request(t.Context(), http.MethodPost, callEcho)
		r.Header.Set("Content-Type", kind)
		resp := c.do(r)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %d, want 415", kind, resp.StatusCode)
		}
	}
}

func TestSessionsEndWithTheProcess(t *testing.T) {
	t.Parallel()
	box := testkit.Keyring(t).Box(session.Purpose)
	keep := func(b *seal.Box) func(*config) { return func(c *config) { c.session.Box = b } }
	before, _ := one(t, keep(box))
	after, _ := one(t, keep(box))
	old := before.caller("ada-token").initialize(`{}`)
	again := after.caller("ada-token")
	again.session = old.session
	if status, _ := again.post(callEcho); status != http.StatusNotFound {
		t.Errorf("after a restart: %d, want 404", status)
	}
	// mcp-remote begins anew with its old headers in place.
	again.initialize(`{}`)
	if status, body := again.post(callEcho); status != http.StatusOK || !strings.Contains(body, `"content"`) {
		t.Errorf("new session: %d %s", status, body)
	}
}

func TestDeleteEndsEverything(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	st := c.open(http.MethodGet, "", "")
	st.next()
	if status, _ := c.post(callEcho); status != http.StatusOK {
		t.Fatal(status)
	}
	resp := c.do(c.request(t.Context(), http.MethodDelete, ""))
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE: %d", resp.StatusCode)
	}
	st.ends()
	if status, _ := c.post(callEcho); status != http.StatusNotFound {
		t.Errorf("after DELETE: %d, want 404", status)
	}
	eventually(t, "the upstream session is deleted", func() bool { return len(upstream.RequestsOf("DELETE")) == 1 })
}

func TestUpstreamSessionsAreOpenedOnFirstUse(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	if n := len(upstream.RequestsOf("initialize")); n != 1 { // the catalogue's own
		t.Errorf("%d upstream sessions before the first call, want the catalogue's alone", n)
	}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if status, body := c.post(callTool(fmt.Sprint(i), "echo")); status != http.StatusOK || !strings.Contains(body, "content") {
				t.Errorf("%d %s", status, body)
			}
		})
	}
	wg.Wait()
	begun := upstream.RequestsOf("initialize")
	if len(begun) != 2 {
		t.Fatalf("%d upstream sessions after ten calls at once, want 2", len(begun))
	}
	// Tools that a server lists only to able clients are in the catalogue; what this client can do is told to its own session.
	for i, want := range []string{`"capabilities":{"elicitation":{"form":{},"url":{}},"extensions":{"io.modelcontextprotocol/skills":{}`, `"capabilities":{}`} {
		if !strings.Contains(string(begun[i].Params), want) {
			t.Errorf("upstream session %d began with %s", i, begun[i].Params)
		}
	}
}

func TestDuplicateRequestID(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	release := make(chan struct{})
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-release
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token").initialize(`{}`)
	first := c.open(http.MethodPost, callTool("7", "wait"), "")
	first.next() // priming
	first.next() // progress
	if _, body := c.post(callTool("7", "echo")); !strings.Contains(body, "-32600") {
		t.Errorf("same id again: %s", body)
	}
	close(release)
	if _, data := first.next(); !strings.Contains(data, `"id":7,"result"`) {
		t.Errorf("first call: %s", data)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	st := c.open(http.MethodGet, "", "")
	st.next()
	if status, _ := c.post(callEcho); status != http.StatusOK {
		t.Fatal(status)
	}
	_, notes := rawTarget(t, "notes")
	if _, err := s.gateway.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp"}, {Path: "/mcp"}}}); err == nil {
		t.Fatal("a path that is named twice was taken")
	}
	s.swap(Endpoint{Prefix: true, Targets: []*target.Target{notes}})
	for _, want := range []string{"tools", "prompts", "resources"} {
		if _, data := st.next(); !strings.Contains(data, want+"/list_changed") {
			t.Errorf("told %s, want %s", data, want)
		}
	}
	if _, body := c.post(callEcho); !strings.Contains(body, "Unknown tool") {
		t.Errorf("tool of a target that left: %s", body)
	}
	if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"notes___echo","arguments":{}}}`); !strings.Contains(body, "content") {
		t.Errorf("same session, new target: %s", body)
	}
	eventually(t, "the old upstream session is deleted", func() bool { return len(upstream.RequestsOf("DELETE")) == 1 })
	s.swap()
	if status, _ := c.post(callEcho); status != http.StatusNotFound {
		t.Errorf("endpoint that left: %d, want 404", status)
	}
}

func TestSettingsReachTargetsThatOpenLater(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.Handle("logging/setLevel", func(c *testkit.MCPCall) { c.Result(`{}`) })
	c := s.caller("ada-token").initialize(`{}`)
	c.post(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"error"}}`)
	if n := len(upstream.RequestsOf("logging/setLevel")); n != 0 {
		t.Fatalf("told %d times before any upstream session was open", n)
	}
	c.post(callEcho)
	c.post(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}`)
	told := upstream.RequestsOf("logging/setLevel")
	if len(told) != 2 || !strings.Contains(string(told[0].Params), "error") || !strings.Contains(string(told[1].Params), "debug") {
		t.Errorf("told %v", told)
	}
}
