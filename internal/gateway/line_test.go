package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// openLine opens a stream of HTTP+SSE and lets the caller post to it.
func (c *caller) openLine() *stream {
	c.s.t.Helper()
	st := c.open(http.MethodGet, "", "")
	e, err := st.read.Next()
	if err != nil || e.Type != "endpoint" || !strings.HasPrefix(string(e.Data), c.path+"?sessionId=") {
		c.s.t.Fatalf("first event %q %q, %v", e.Type, e.Data, err)
	}
	c.path = string(e.Data)
	return st
}

// say posts a message, which is answered over the stream.
func (c *caller) say(body string) {
	c.s.t.Helper()
	if status, text := c.post(body); status != http.StatusAccepted || text != "" {
		c.s.t.Fatalf("%s: %d %s", body, status, text)
	}
}

// heard returns the next message, but for news of lists, which come whenever a target was read for the first time.
func (st *stream) heard() string {
	st.t.Helper()
	for {
		e, err := st.read.Next()
		if err != nil || e.Type != "message" || e.ID != "" {
			st.t.Fatalf("event of type %q with id %q, %v", e.Type, e.ID, err)
		}
		if !strings.Contains(string(e.Data), "/list_changed") {
			return string(e.Data)
		}
	}
}

func (st *stream) expect(want ...string) {
	st.t.Helper()
	data := st.heard()
	for _, w := range want {
		if !strings.Contains(data, w) {
			st.t.Fatalf("heard %s, want %s", data, w)
		}
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	s, _ := one(t, nil)
	c := s.caller("ada-token")
	st := c.openLine()
	c.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{"roots":{}},"clientInfo":{"name":"old","version":"1"}}}`)
	st.expect(`"id":0`, `"protocolVersion":"2024-11-05"`, `"name":"gatehouse"`)
	c.say(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	c.say(`{"jsonrpc":"2.0","id":"l","method":"tools/list"}`)
	st.expect(`"id":"l"`, `"files___echo"`)
	c.say(callEcho)
	st.expect(`"id":1,"result"`, `{\"a\":1}`)
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"files___nop"}}`)
	st.expect(`"id":2,"error"`, "Unknown tool: files___nop")
	c.say(`{"jsonrpc":"2.0","id":3,"method":"made/up"}`)
	st.expect(`"id":3,"error"`, "-32601")
}

// What a target asks goes over the stream, and the client's answer comes by POST while the call is under way.
func TestLineAnswersQuestions(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("asks", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		answer := c.Ask("77", "roots/list", `{}`)
		c.Result(`{"content":[],"asked":` + answer + `}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token")
	st := c.openLine()
	c.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{"roots":{}}}}`)
	st.expect(`"id":0`)
	c.say(callTool("5", "asks"))
	st.expect("notifications/progress", `"progressToken":"p"`)
	st.expect(`"id":1,"method":"roots/list"`)
	c.say(`{"jsonrpc":"2.0","id":1,"result":{"roots":[{"uri":"file:///ada"}]}}`)
	st.expect(`"id":5,"result"`, "file:///ada")
	for _, r := range upstream.RequestsOf("initialize")[1:] {
		if !strings.Contains(string(r.Params), `"capabilities":{"roots":{}}`) {
			t.Errorf("the target was told %s", r.Params)
		}
	}
}

func TestChecklist51_LineAnswersOnlyItsPerson(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	ada := s.caller("ada-token")
	st := ada.openLine()
	bob, nobody, elsewhere := s.caller("bob-token"), s.caller("wrong-token"), s.caller("ada-token")
	bob.path, nobody.path = ada.path, ada.path
	elsewhere.path = strings.Replace(ada.path, "/mcp", "/other/mcp", 1)
	s.swap(Endpoint{Prefix: true, Targets: s.gateway.current.Load().endpoints["/mcp"].Targets},
		Endpoint{Path: "/other/mcp", Prefix: true, Targets: s.gateway.current.Load().endpoints["/mcp"].Targets})
	for name, try := range map[string]struct {
		c    *caller
		want int
	}{"another person": {bob, 404}, "no token": {nobody, 401}, "another endpoint": {elsewhere, 404}} {
		if status, _ := try.c.post(callEcho); status != try.want {
			t.Errorf("%s: %d, want %d", name, status, try.want)
		}
	}
	// The id is good for this transport alone, and one of the other is not good here.
	_, id, _ := strings.Cut(ada.path, "=")
	asHeader := s.caller("ada-token")
	asHeader.session = id
	if status, _ := asHeader.post(callEcho); status != 404 {
		t.Errorf("as Mcp-Session-Id: %d", status)
	}
	asParam := s.caller("ada-token").initialize(`{}`)
	asParam.path, asParam.session = "/mcp?sessionId="+asParam.session, ""
	if status, _ := asParam.post(callEcho); status != 404 {
		t.Errorf("Mcp-Session-Id as parameter: %d", status)
	}
	if n := len(upstream.RequestsOf("tools/call")); n != 0 {
		t.Errorf("%d calls reached the target", n)
	}
	st.close()
	eventually(t, "the session ends with its stream", func() bool { return s.table.Len() == 1 })
	if status, _ := ada.post(callEcho); status != 404 {
		t.Errorf("after the stream's end: %d", status)
	}
	if log := s.log.String(); strings.Contains(log, id) {
		t.Error("the id is in the log")
	}
}

// A missing scope, and whatever else has an HTTP status, is the answer to the POST.
func TestLineStepsUp(t *testing.T) {
	t.Parallel()
	p := newPlayer(t, "")
	c := p.s.caller("ada-token")
	st := c.openLine()
	resp := c.do(c.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"files___admin","arguments":{}}}`))
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(resp.Header.Get("Www-Authenticate"), "mcp:admin") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	c.token = "ada-admin-token"
	c.say(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"files___admin","arguments":{}}}`)
	st.expect(`"id":2,"result"`)
}

// The stream outlives the token that opened it as long as its person comes with a newer one.
func TestLineEndsWithItsTokens(t *testing.T) {
	t.Parallel()
	clock := testkit.NewClock(time.Unix(1_700_000_000, 0))
	s, _ := one(t, func(c *config) { c.options.Heartbeat, c.options.Now = 20*time.Millisecond, clock.Now })
	c := s.caller("ada-token")
	st := c.openLine()
	c.token = "ada-admin-token"
	c.say(callEcho)
	st.expect(`"id":1,"result"`)
	s.auth.revoke("ada-token")
	clock.Advance(2 * recheckEvents)
	c.say(callEcho)
	st.expect(`"id":1,"result"`)
	s.auth.revoke("ada-admin-token")
	st.ends()
	eventually(t, "the session ends", func() bool { return s.table.Len() == 0 })
}

// A client that goes away takes its calls with it.
func TestLineVanishes(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-c.R.Context().Done()
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token")
	st := c.openLine()
	c.say(callTool("5", "wait"))
	st.expect("notifications/progress")
	st.close()
	eventually(t, "the call is recorded", func() bool { return strings.Contains(s.log.String(), `"outcome":"session ended"`) })
	eventually(t, "the target hears of it", func() bool { return len(upstream.RequestsOf("notifications/cancelled")) == 1 })
	eventually(t, "the upstream session is deleted", func() bool { return len(upstream.RequestsOf("DELETE")) == 1 })
}

// No answer is lost when a client reads slowly: calls wait.
func TestLineLosesNothing(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("big", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Result(`{"content":[{"type":"text","text":"` + strings.Repeat("x", 100_000) + `"}]}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token")
	st := c.openLine()
	const calls = 120 // more than kernel buffers hold
	for i := range calls {
		c.say(callTool(fmt.Sprint(i), "big"))
	}
	var ids []string
	for range calls {
		data := st.heard()
		_, rest, _ := strings.Cut(data, `"id":`)
		id, result, _ := strings.Cut(rest, ",")
		if len(result) < 100_000 {
			t.Fatalf("call %s: %.200s", id, data)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != calls {
		t.Errorf("%d of %d calls answered", n, calls)
	}
}

// TestOfficialClientOverLine holds the official client of the older transport against the gateway.
func TestOfficialClientOverLine(t *testing.T) {
	t.Parallel()
	server, left := sdkTarget(t, "left")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{left}}}})
	h := &heard{news: make(chan struct{}, 1)}
	client := sdk.NewClient(&sdk.Implementation{Name: "old", Version: "1"}, clientOptions(h, true))
	client.AddRoots(&sdk.Root{URI: "file:///home/ada"})
	transport := &http.Transport{}
	session, err := client.Connect(t.Context(), &sdk.SSEClientTransport{
		Endpoint: s.server.URL + "/mcp", HTTPClient: &http.Client{Transport: bearer{"ada-token", transport}},
	}, &sdk.ClientSessionOptions{ProtocolVersion: "2024-11-05"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close()
		transport.CloseIdleConnections()
	})
	if got := session.InitializeResult().ProtocolVersion; got != "2024-11-05" {
		t.Errorf("agreed on %s", got)
	}
	var wg sync.WaitGroup
	for name, want := range map[string]string{
		"left___echo": `{"a":1}`, "left___steps": "done", "left___elicit": "accept Ada", "left___sample": "said", "left___roots": "file:///home/ada",
	} {
		wg.Go(func() {
			p := &sdk.CallToolParams{Name: name, Arguments: map[string]any{"a": 1}}
			p.SetProgressToken(name)
			res, err := session.CallTool(t.Context(), p)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if got := res.Content[0].(*sdk.TextContent).Text; got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		})
	}
	wg.Wait()
	h.await(t, "progress left___steps 3")
	if err := session.Subscribe(t.Context(), &sdk.SubscribeParams{URI: "left://one"}); err != nil {
		t.Errorf("subscribe: %v", err)
	}
	if err := server.ResourceUpdated(t.Context(), &sdk.ResourceUpdatedNotificationParams{URI: "left://one"}); err != nil {
		t.Fatal(err)
	}
	h.await(t, "updated left://one")
	server.AddTool(&sdk.Tool{Name: "fresh", InputSchema: map[string]any{"type": "object"}}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		return &sdk.CallToolResult{Content: []sdk.Content{}}, nil
	})
	h.await(t, "tools changed")
	if got, err := session.GetPrompt(t.Context(), &sdk.GetPromptParams{Name: "left___hi"}); err != nil || got.Description != "hi from left" {
		t.Errorf("prompt: %v %+v", err, got)
	}
	if got, err := session.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "left://one"}); err != nil || got.Contents[0].Text != "text of left://one" {
		t.Errorf("resource: %v %+v", err, got)
	}
}

// A client that asks and does not read is told to wait, before what it asked for fills the memory.
func TestLineThatIsNotRead(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("long", `{"type":"object","description":"`+strings.Repeat("x", 1<<19)+`"}`, func(*testkit.MCPCall) {})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token")
	c.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil { // else the kernel takes tens of megabytes for a client that reads nothing
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		return conn, err
	}
	st := c.openLine()
	const list = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	c.say(list)
	st.expect("files___long")
	taken := 0
	for status := http.StatusAccepted; status == http.StatusAccepted; taken++ {
		if taken > maxHeld+32 { // some fit in the kernel's buffers
			t.Fatalf("%d messages were taken of a client that reads nothing", taken)
		}
		if status, _ = c.post(list); status != http.StatusAccepted && status != http.StatusTooManyRequests {
			t.Fatalf("%d", status)
		}
	}
	for range taken - 1 {
		st.expect("files___long")
	}
	eventually(t, "messages are taken again", func() bool {
		status, _ := c.post(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
		return status == http.StatusAccepted
	})
	st.expect(`"id":2`)
	large := `{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"fill":"` + strings.Repeat("x", 1<<19) + `"}}`
	for taken = 0; taken <= maxHeldBytes>>19+32; taken++ {
		if status, body := c.post(large); status == http.StatusTooManyRequests {
			break
		} else if status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
	}
	if taken > maxHeldBytes>>19+32 {
		t.Errorf("%d messages of 512 KiB were taken of a client that reads nothing", taken)
	}
	unused, err := s.gateway.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp", Prefix: true, Policy: anySignedIn(t), Auth: tokensAt{s.auth, "/mcp"}}}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-unused:
	case <-time.After(time.Minute):
		t.Error("what a reload replaces waits for a client that reads nothing")
	}
}
