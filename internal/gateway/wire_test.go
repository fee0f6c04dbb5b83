package gateway

import (
	"context"
	"fmt"
	"io"
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
	box := newKeyring(t).Box(session.Purpose)
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
	if n := len(upstream.RequestsOf("initialize")); n != 2 {
		t.Errorf("%d upstream sessions after ten calls at once, want 2", n)
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

func TestCancellation(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-c.R.Context().Done()
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token").initialize(`{}`)
	call := c.open(http.MethodPost, callTool(`"call-1"`, "wait"), "")
	call.next()
	call.next()
	c.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call-2"}}`) // another one
	c.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call-1"}}`)
	if _, data := call.next(); !strings.Contains(data, `"id":"call-1","error":{"code":-31002`) {
		t.Errorf("answer %s", data)
	}
	call.ends()
	eventually(t, "the target is told", func() bool { return len(upstream.RequestsOf("notifications/cancelled")) == 1 })
	sent, told := upstream.RequestsOf("tools/call")[0], upstream.RequestsOf("notifications/cancelled")[0]
	if !strings.Contains(string(told.Params), `"requestId":`+string(sent.ID)) {
		t.Errorf("told %s about call %s", told.Params, sent.ID)
	}
}

func TestVanishedClient(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"json", "stream"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			upstream := testkit.NewMCPServer(t)
			called := make(chan struct{})
			upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
				c.Stream()
				if form == "stream" {
					progress(c, 1)
				}
				close(called)
				<-c.R.Context().Done()
			})
			s := start(t, config{
				options:   Options{Orphan: 10 * time.Millisecond},
				endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
			})
			c := s.caller("ada-token").initialize(`{}`)
			r := c.request(t.Context(), http.MethodPost, callTool("1", "wait"))
			vanishing, vanish := context.WithCancel(t.Context())
			defer vanish()
			var wg sync.WaitGroup
			wg.Go(func() {
				resp, err := c.client.Do(r.WithContext(vanishing))
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
			<-called
			vanish()
			wg.Wait()
			eventually(t, "the target is told", func() bool { return len(upstream.RequestsOf("notifications/cancelled")) == 1 })
			eventually(t, "the log says so", func() bool { return strings.Contains(s.log.String(), `"outcome":"client vanished"`) })
		})
	}
}

// A client that loses its connection in the middle of a call comes back for the rest; the call is made once.
func TestCallIsResumed(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	release := make(chan struct{})
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-release
		progress(c, 2)
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{
		options:   Options{Orphan: 50 * time.Millisecond},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
	})
	c := s.caller("ada-token").initialize(`{}`)
	call := c.open(http.MethodPost, callTool("1", "wait"), "")
	primed, _ := call.next()
	if primed == "" {
		t.Fatal("no priming event")
	}
	call.next()
	call.close()

	back := c.open(http.MethodGet, "", primed)
	back.next() // priming
	if _, data := back.next(); !strings.Contains(data, `"progress":1`) {
		t.Errorf("replayed %s", data)
	}
	<-time.After(120 * time.Millisecond) // longer than a vanished client is waited for
	close(release)
	seen, data := back.next()
	if !strings.Contains(data, `"progress":2`) {
		t.Errorf("then %s", data)
	}
	if _, data := back.next(); !strings.Contains(data, `"id":1,"result"`) {
		t.Errorf("answer %s", data)
	}
	back.ends()

	again := c.open(http.MethodGet, "", seen)
	again.next()
	if _, data := again.next(); !strings.Contains(data, `"id":1,"result"`) {
		t.Errorf("answer for the second time: %s", data)
	}
	again.ends()
	if n := len(upstream.RequestsOf("tools/call")); n != 1 {
		t.Errorf("the call was made %d times", n)
	}
}

// An answer that is no longer held ends in a plain error, never in a second execution.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("steps", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token").initialize(`{}`)
	call := c.open(http.MethodPost, callTool(`"x-9"`, "steps"), "")
	primed, _ := call.next()
	call.next()
	call.next()
	call.ends()
	back := c.open(http.MethodGet, "", primed)
	if _, data := back.next(); !strings.Contains(data, `"id":"x-9","error":{"code":-31003`) || !strings.Contains(data, "may have been executed") {
		t.Errorf("got %s", data)
	}
	back.ends()
}

func TestStandaloneStreamIsResumed(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.AwaitStream(t) // the catalogue's
	c := s.caller("ada-token").initialize(`{}`)
	if status, _ := c.post(callEcho); status != http.StatusOK {
		t.Fatal(status)
	}
	upstream.AwaitStream(t) // the session's
	say := func(n int) {
		upstream.Push(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":%d}}`, n))
	}
	say(1) // before anybody listens
	st := c.open(http.MethodGet, "", "")
	st.next()
	id, data := st.next()
	if !strings.Contains(data, `"data":1`) {
		t.Errorf("kept for the first listener: %s", data)
	}
	say(2)
	if _, data = st.next(); !strings.Contains(data, `"data":2`) {
		t.Errorf("sent live: %s", data)
	}
	st.close()
	say(3)
	back := c.open(http.MethodGet, "", id)
	back.next()
	for _, want := range []string{`"data":2`, `"data":3`} {
		if _, data := back.next(); !strings.Contains(data, want) {
			t.Errorf("resumed with %s, want %s", data, want)
		}
	}
	// A second listener takes over; the first is let go.
	taker := c.open(http.MethodGet, "", "an id of another session")
	taker.next()
	back.ends()
	say(4)
	if _, data := taker.next(); !strings.Contains(data, `"data":4`) {
		t.Errorf("after taking over: %s", data)
	}
}

func TestQuietCallsAreKeptAlive(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	release := make(chan struct{})
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		<-release
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{
		options:   Options{Heartbeat: 5 * time.Millisecond},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
	})
	c := s.caller("ada-token").initialize(`{}`)
	resp := c.do(c.request(t.Context(), http.MethodPost, callTool("1", "wait"))) // returns before the tool does
	defer resp.Body.Close()
	some := make([]byte, 200)
	for got := ""; !strings.Contains(got, ": still working"); {
		n, err := resp.Body.Read(some)
		if err != nil {
			t.Fatal(err)
		}
		got += string(some[:n])
	}
	close(release)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(rest), `"id":1,"result"`) {
		t.Errorf("%v %s", err, rest)
	}
}

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
	stuck := running(t, newTarget(t, "stuck", hanging.URL, func(o *target.Options) { o.Timeout = 300 * time.Millisecond }))
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
	slow := running(t, newTarget(t, "files", upstream.URL, func(o *target.Options) { o.Timeout = 100 * time.Millisecond }))
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

func TestRevokedPersonHearsNothingMore(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	s, upstream := one(t, func(c *config) {
		c.options.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	upstream.AwaitStream(t)
	c := s.caller("ada-token").initialize(`{}`)
	c.post(callEcho)
	upstream.AwaitStream(t)
	st := c.open(http.MethodGet, "", "")
	st.next()
	s.auth.revoke("ada-token")
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	upstream.Push(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"secret"}}`)
	st.ends()
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
	if err := s.gateway.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp"}, {Path: "/mcp"}}}); err == nil {
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

func TestListChangedReachesEveryClient(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.AwaitStream(t)
	ada, bob := s.caller("ada-token").initialize(`{}`), s.caller("bob-token").initialize(`{}`)
	streams := []*stream{ada.open(http.MethodGet, "", ""), bob.open(http.MethodGet, "", "")}
	for _, st := range streams {
		st.next()
	}
	upstream.Tool("fresh", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	upstream.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	for _, st := range streams {
		if _, data := st.next(); data != `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` {
			t.Errorf("told %s", data)
		}
	}
	// Whoever was told finds the tool.
	if _, body := ada.post(callTool("1", "fresh")); !strings.Contains(body, `"content":[]`) {
		t.Errorf("new tool: %s", body)
	}
}

func TestQuestionsOutsideCalls(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.AwaitStream(t)
	c := s.caller("ada-token").initialize(`{"roots":{}}`)
	c.post(callEcho)
	upstream.AwaitStream(t)
	st := c.open(http.MethodGet, "", "")
	st.next()
	upstream.Push(`{"jsonrpc":"2.0","id":"up-1","method":"roots/list","params":{"_meta":{"progressToken":"up-t"}}}`)
	_, data := st.next()
	if data != `{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"_meta":{"progressToken":1}}}` {
		t.Fatalf("asked %s", data)
	}
	// Somebody else's answer is not taken: she has another session.
	bob := s.caller("bob-token").initialize(`{"roots":{}}`)
	bob.post(`{"jsonrpc":"2.0","id":1,"result":{"roots":["forged"]}}`)
	c.post(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}`)
	if status, _ := c.post(`{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}`); status != http.StatusAccepted {
		t.Errorf("answer: %d", status)
	}
	find := func(part string) func() bool {
		return func() bool {
			for _, r := range upstream.Requests() {
				if strings.Contains(r.Body, part) {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "the answer arrives under the target's id", find(`"id":"up-1","result":{"roots":[]}`))
	eventually(t, "progress arrives under the target's token", find(`"progressToken":"up-t","progress":0.5`))
	if find("forged")() {
		t.Error("somebody else answered")
	}
	// What the client did not declare is refused on its behalf.
	upstream.Push(`{"jsonrpc":"2.0","id":"up-2","method":"sampling/createMessage","params":{}}`)
	eventually(t, "sampling is refused", find(`"id":"up-2","error":{"code":-32601`))
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
	if err := s.gateway.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp"}}}); err != nil {
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
		`"name":"files___nop","decision":"deny","reason":"unknown name"`,
		`"name":"admin","decision":"deny","reason":"missing scopes"`,
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("no record with %s in\n%s", want, lines)
		}
	}
	if strings.Contains(lines, `"a":1`) {
		t.Error("arguments are in the record")
	}
}
