package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

func statelessTarget(t *testing.T, server *testkit.MCPServer) *Target {
	t.Helper()
	tg := started(t, Options{Name: "raw", HTTP: &HTTPOptions{URL: server.URL}})
	if _, err := tg.Catalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tg
}

func subscribe(t *testing.T, c *Conn, method, uri string) error {
	t.Helper()
	result, err := c.Call(t.Context(), method, []byte(`{"uri":"`+uri+`"}`), nil)
	if err == nil && string(result) != "{}" {
		t.Errorf("%s %s: %s", method, uri, result)
	}
	return err
}

// wantedBy returns what each listen request for resources asked for.
func wantedBy(server *testkit.MCPServer) (all []string) {
	for _, r := range server.RequestsOf("subscriptions/listen") {
		var p struct {
			Notifications struct{ ResourceSubscriptions []string }
		}
		_ = json.Unmarshal(r.Params, &p)
		if s := p.Notifications.ResourceSubscriptions; s != nil {
			all = append(all, strings.Join(s, " "))
		}
	}
	return all
}

// A subscription that the server does not take leaves the others as they are.
func TestSubscribeWithoutSessions(t *testing.T) {
	t.Parallel()
	server := testkit.NewStatelessMCPServer(t)
	var refuses atomic.Bool
	server.Handle("subscriptions/listen", func(c *testkit.MCPCall) {
		switch {
		case strings.Contains(string(c.Params), "not:granted"):
			c.Params = json.RawMessage(strings.ReplaceAll(string(c.Params), `"not:granted"`, `"x"`))
		case refuses.Load():
			c.W.WriteHeader(400)
			return
		}
		c.Listen()
	})
	events := newRecorder()
	c := connected(t, statelessTarget(t, server), Caller{Principal: person("ada")}, events)
	told := map[string]bool{}
	update := func(uri string) {
		t.Helper()
		server.Push(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `"}}`)
		want := `notifications/resources/updated {"uri":"` + uri + `"}`
		got := receive(t, events.notes, "the update of "+uri)
		for told[got] && got != want { // a stream that is about to be replaced may tell it, too
			got = receive(t, events.notes, "the update of "+uri)
		}
		if got != want {
			t.Fatalf("told %s", got)
		}
		told[got] = true
	}
	for _, uri := range []string{"a:1", "b:1", "a:1"} {
		if err := subscribe(t, c, mcp.MethodSubscribe, uri); err != nil {
			t.Fatal(err)
		}
	}
	update("a:1")
	var said *mcp.Error
	if err := subscribe(t, c, mcp.MethodSubscribe, "not:granted"); !errors.As(err, &said) || said.Code != mcp.CodeInvalidParams {
		t.Errorf("a resource that the server does not tell about: %v", err)
	}
	refuses.Store(true)
	if err := subscribe(t, c, mcp.MethodSubscribe, "c:1"); err == nil {
		t.Error("a server that refuses to listen")
	}
	refuses.Store(false)
	update("a:1")
	update("b:1")
	for _, uri := range []string{"b:1", "b:1", "a:1"} {
		if err := subscribe(t, c, mcp.MethodUnsubscribe, uri); err != nil {
			t.Fatal(err)
		}
	}
	want := "[a:1 a:1 b:1 a:1 b:1 not:granted a:1 b:1 c:1 a:1]"
	if got := fmt.Sprint(wantedBy(server)); got != want {
		t.Errorf("listened to %s, want %s", got, want)
	}
	for len(events.notes) > 0 {
		if got := <-events.notes; !told[got] {
			t.Errorf("told %s", got)
		}
	}
}

// What was missed while a stream was broken may have changed.
func TestBrokenSubscriptionIsMadeUpFor(t *testing.T) {
	t.Parallel()
	server := testkit.NewStatelessMCPServer(t)
	events := newRecorder()
	tg := statelessTarget(t, server)
	c := connected(t, tg, Caller{Principal: person("ada")}, events)
	if err := subscribe(t, c, mcp.MethodSubscribe, "a:1"); err != nil {
		t.Fatal(err)
	}
	server.Tool("new", `{"type":"object"}`, func(*testkit.MCPCall) {})
	changed := make(chan string, 10)
	tg.OnChange(func(kind string) { changed <- kind })
	server.DropStreams()
	if got := receive(t, events.notes, "the update"); got != `notifications/resources/updated {"uri":"a:1"}` {
		t.Errorf("told %s", got)
	}
	if kind := receive(t, changed, "the change of a list"); kind != "tools" {
		t.Errorf("%s changed", kind)
	}
	server.Push(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:2"}}`)
	if got := receive(t, events.notes, "the next update"); !strings.Contains(got, "a:2") {
		t.Errorf("told %s", got)
	}
}

// A server of the stateless era has nothing to ask on a stream: nobody is bothered with what could not be answered.
func TestRequestsOnStatelessStreams(t *testing.T) {
	t.Parallel()
	server := testkit.NewStatelessMCPServer(t)
	server.Tool("asks", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		c.Send(`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}`)
		c.Send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
		c.Result(`{"resultType":"complete","content":[]}`)
	})
	events := newRecorder()
	c := connected(t, statelessTarget(t, server), Caller{Principal: person("ada"), Capabilities: []byte(`{"elicitation":{}}`)}, events)
	result, err := c.Call(t.Context(), mcp.MethodToolsCall, toolParams("asks", ""), nil)
	if err != nil || string(result) != `{"resultType":"complete","content":[]}` {
		t.Errorf("%s %v", result, err)
	}
	if len(events.asked) > 0 {
		t.Errorf("asked %s", <-events.asked)
	}
}

// A result of a kind that only an extension has goes to clients that have declared one.
func TestResultsOfExtensions(t *testing.T) {
	t.Parallel()
	server := testkit.NewStatelessMCPServer(t)
	const task = `{"resultType":"task","taskId":"1"}`
	server.Tool("later", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(task) })
	made := statelessTarget(t, server)
	for capabilities, good := range map[string]bool{`{}`: false, `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`: true} {
		c := connected(t, made, Caller{Principal: person("ada"), Capabilities: []byte(capabilities)}, nil)
		result, err := c.Call(t.Context(), mcp.MethodToolsCall, toolParams("later", ""), nil)
		trouble, _ := errors.AsType[*Trouble](err)
		if good && (err != nil || string(result) != task) || !good && (trouble == nil || trouble.Kind != Rubbish) {
			t.Errorf("%s: %s %v", capabilities, result, err)
		}
	}
}

// When a tool wants other copies of its arguments than the catalogue says, the list is read again and the call sent once more.
func TestCopiesAreLearnt(t *testing.T) {
	t.Parallel()
	server := testkit.NewStatelessMCPServer(t)
	const old, now = `{"type":"object"}`, `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}}`
	call := func(c *testkit.MCPCall) {
		if c.Header.Get("Mcp-Param-Region") != "us" {
			c.W.Header().Set("Content-Type", "application/json")
			c.W.WriteHeader(400)
			c.Error(mcp.CodeHeaderMismatch, "Mcp-Param-Region is missing")
			return
		}
		c.Result(`{"resultType":"complete","content":[]}`)
	}
	server.Tool("query", old, call)
	c := connected(t, statelessTarget(t, server), Caller{Principal: person("ada")}, nil)
	server.Tool("query", now, call)
	params := toolParams("query", `,"arguments":{"region":"us"}`)
	if _, err := c.Call(t.Context(), mcp.MethodToolsCall, params, nil); err != nil {
		t.Error(err)
	}
	if n := len(server.RequestsOf("tools/call")); n != 2 {
		t.Errorf("%d calls, want the refused one and the good one", n)
	}
	server.Tool("query", old, call) // and now it cannot be pleased
	c.link.(*statelessLink).copied = nil
	var said *mcp.Error
	if _, err := c.Call(t.Context(), mcp.MethodToolsCall, toolParams("query", `,"arguments":{"region":"eu"}`), nil); !errors.As(err, &said) || said.Code != mcp.CodeInternal {
		t.Errorf("the client is told %v", err)
	}
}
