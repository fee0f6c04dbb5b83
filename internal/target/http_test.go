package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

func rawOptions(s *testkit.MCPServer) Options { return Options{HTTP: &HTTPOptions{URL: s.URL}} }

// wants checks that an error is trouble of one kind, that its message names the target, and that it gives nothing
// away.
func wants(t *testing.T, err error, kind TroubleKind) {
	t.Helper()
	trouble, ok := errors.AsType[*Trouble](err)
	switch {
	case !ok:
		t.Errorf("got %v, want trouble of kind %s", err, kind)
	case trouble.Kind != kind:
		t.Errorf("got %s (%v), want %s", trouble.Kind, err, kind)
	case !strings.Contains(trouble.Message, `"up"`) || strings.Contains(trouble.Message, "127.0.0.1"):
		t.Errorf("message %s", trouble.Message)
	}
}

func TestWhatIsSentUpstream(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	o := rawOptions(s)
	o.HTTP.Headers = map[string]secret.Text{"Authorization": secret.New("Bearer upstream-secret"), "x-tenant": secret.New("acme")}
	conn := connected(t, started(t, o), Caller{
		Principal:    person("ada"),
		ClientInfo:   []byte(`{"name":"kiro","version":"3"}`),
		Capabilities: []byte(`{"roots":{"listChanged":true},"experimental":{"x":1}}`),
	}, newRecorder())
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", `,"arguments":{"a": 1.0},"_meta":{"progressToken":"client-token","k":1}`), nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Requests() {
		if r.Header.Get("Authorization") != "Bearer upstream-secret" || r.Header.Get("X-Tenant") != "acme" {
			t.Errorf("%s %s without the credential", r.HTTPMethod, r.Method)
		}
		if r.Method == mcp.MethodInitialize != (r.Header.Get("Mcp-Protocol-Version") == "") {
			t.Errorf("%s %s with version header %q", r.HTTPMethod, r.Method, r.Header.Get("Mcp-Protocol-Version"))
		}
		if r.HTTPMethod == http.MethodPost && r.Header.Get("Accept") != "application/json, text/event-stream" {
			t.Errorf("%s with accept %q", r.Method, r.Header.Get("Accept"))
		}
	}
	var init testkit.MCPRequest
	for _, r := range s.RequestsOf(mcp.MethodInitialize) {
		if strings.Contains(r.Body, "kiro") {
			init = r
		}
	}
	if init.Body != `{"jsonrpc":"2.0","id":`+string(init.ID)+`,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"experimental":{"x":1},"roots":{"listChanged":true}},"clientInfo":{"name":"kiro","version":"3"}}}` {
		t.Errorf("initialize %s", init.Body)
	}
	call := s.RequestsOf(mcp.MethodToolsCall)[0]
	want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"echo","arguments":{"a": 1.0},"_meta":{"progressToken":%s,"k":1}}}`, call.ID, call.ID)
	if call.Body != want {
		t.Errorf("call %s", call.Body)
	}
}

func TestForwardRenames(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	m, err := mcp.Decode([]byte(`{"jsonrpc":"2.0","id":"client","method":"tools/call","params":{"name":"up___echo","arguments":{"name":"up___echo"}}}`), mcp.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	result, err := conn.Forward(t.Context(), &m, "echo", nil)
	if err != nil || textOf(t, result.Raw) != `{"name":"up___echo"}` {
		t.Errorf("%s %v", result.Raw, err)
	}
}

func TestCloseDeletesTheSession(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	tg := started(t, rawOptions(s))
	conn, err := tg.Connect(t.Context(), Caller{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if d := s.RequestsOf(http.MethodDelete); len(d) != 1 || d[0].Session == "" {
		t.Errorf("%d deletes", len(d))
	}
	_, err = conn.Call(t.Context(), mcp.MethodPing, nil, nil)
	wants(t, err, Down)
	conn.Close()
}

func TestCloseEndsCallsOnTheirWay(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	begun := make(chan struct{})
	s.Tool("wait", `{}`, func(c *testkit.MCPCall) {
		close(begun)
		<-c.R.Context().Done()
	})
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("wait", ""), nil)
		failed <- err
	}()
	receive(t, begun, "the call to begin")
	conn.Close()
	wants(t, receive(t, failed, "the call to fail"), Down)
}

func TestALostSessionIsOpenedAgain(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	var executed atomic.Int64
	s.Tool("count", `{}`, func(c *testkit.MCPCall) {
		executed.Add(1)
		c.Result(`{"content":[{"type":"text","text":"ok"}]}`)
	})
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	s.DropSessions()
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("count", ""), nil); err != nil || executed.Load() != 1 {
		t.Errorf("%v, executed %d times", err, executed.Load())
	}
	// A server that never keeps a session is not asked for ever.
	s.Handle(mcp.MethodToolsCall, func(c *testkit.MCPCall) { http.Error(c.W, "gone", http.StatusNotFound) })
	_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("count", ""), nil)
	wants(t, err, Down)
}

func TestANewSessionKnowsWhatTheLostOneKnew(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	subscribed := make(chan string, 10)
	for _, method := range []string{mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.MethodSetLevel} {
		s.Handle(method, func(c *testkit.MCPCall) {
			subscribed <- c.Method + " " + string(c.Params) + " " + c.Session
			c.Result(`{}`)
		})
	}
	conn := connected(t, started(t, rawOptions(s)), Caller{Principal: person("ada")}, newRecorder())
	s.AwaitStream(t)
	session := ""
	for _, call := range [][2]string{
		{mcp.MethodSubscribe, `{"uri":"a:b"}`}, {mcp.MethodSubscribe, `{"uri":"c:d"}`},
		{mcp.MethodUnsubscribe, `{"uri":"c:d"}`}, {mcp.MethodSetLevel, `{"level":"error"}`},
	} {
		if _, err := conn.Call(t.Context(), call[0], []byte(call[1]), nil); err != nil {
			t.Fatal(err)
		}
		_, session, _ = strings.Cut(receive(t, subscribed, "the call"), "} ")
	}
	s.DropSessions() // nobody calls: the listening stream notices
	again := map[string]bool{}
	for range 2 {
		call, at, _ := strings.Cut(receive(t, subscribed, "the new session"), "} ")
		again[call] = true
		if at == session {
			t.Error("the old session was used")
		}
	}
	if !again[`resources/subscribe {"uri":"a:b"`] || !again[`logging/setLevel {"level":"error"`] {
		t.Errorf("told again: %v", again)
	}
}

func TestHalfAnEmojiArrives(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	const cut = `{"content":[{"type":"text","text":"cut \ud83d"}]}`
	s.Tool("cut", `{}`, func(c *testkit.MCPCall) { c.Result(cut) })
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	if result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("cut", ""), nil); err != nil || string(result) != cut {
		t.Errorf("%s %v", result, err)
	}
}

func TestAStreamIsResumed(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	ids := make(chan string, 1)
	s.Tool("polled", `{}`, func(c *testkit.MCPCall) {
		ids <- string(c.ID)
		c.Stream()
		c.SendRaw("id: ev-1\nretry: 100\ndata: \n\n")
	})
	s.Handle("GET", func(c *testkit.MCPCall) {
		if c.Header.Get("Last-Event-Id") != "ev-1" {
			c.W.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		c.ID = []byte(<-ids)
		c.Stream()
		c.Result(`{"content":[]}`)
	})
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("polled", ""), nil); err != nil {
		t.Error(err)
	}
}

func TestProgressOfOthersIsNotPassedOn(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("long", `{}`, func(c *testkit.MCPCall) {
		c.Stream()
		for i := range 6 {
			c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"x": 1.0}}`, c.ProgressToken(), i))
			c.Send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"somebody else's","progress":1}}`)
		}
		c.Send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)
		c.Result(`{"content":[]}`)
	})
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	var seen []string
	note := func(m *mcp.Message) { seen = append(seen, string(m.Params)) }
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("long", `,"_meta":{"progressToken":"p"}`), note); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 7 || seen[0] != `{"progressToken":"p","progress":0,"x": 1.0}` || seen[6] != `{"level":"info","data":1}` {
		t.Errorf("%d notifications: %v", len(seen), seen)
	}
}

func TestTheCapEndsACallThatShowsProgress(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("endless", `{}`, func(c *testkit.MCPCall) {
		c.Stream()
		for sleep(c.R.Context(), 20*time.Millisecond) == nil {
			c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1}}`, c.ProgressToken()))
		}
	})
	o := rawOptions(s)
	o.Timeout, o.MaxTimeout = time.Minute, 300*time.Millisecond
	conn := connected(t, started(t, o), Caller{}, nil)
	_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("endless", `,"_meta":{"progressToken":1}`), nil)
	wants(t, err, Timeout)
}

type ctxKey struct{}

// TestServerRequestsBelongToTheirCall checks that the context of a question is the call's, and that the answer returns
// under the server's own id.
func TestServerRequestsBelongToTheirCall(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("ask", `{}`, func(c *testkit.MCPCall) {
		c.Stream()
		answer := c.Ask(`"q-1"`, "elicitation/create", `{"message":"?"}`)
		c.Ask(`"q-2"`, "ping", `{}`)
		refused := c.Ask(`"q-3"`, "sampling/createMessage", `{}`)
		c.Result(fmt.Sprintf(`{"content":[{"type":"text","text":%s}]}`, mcp.AppendString(nil, answer+refused)))
	})
	events := newRecorder()
	events.answer = func(ctx context.Context, _ *mcp.Message) ([]byte, *mcp.Error) {
		return fmt.Appendf(nil, `{"action":"accept","content":{"call":%q}}`, ctx.Value(ctxKey{})), nil
	}
	conn := connected(t, started(t, rawOptions(s)), Caller{Capabilities: []byte(`{"elicitation":{}}`)}, events)
	result, err := conn.Call(context.WithValue(t.Context(), ctxKey{}, "this one"), mcp.MethodToolsCall, toolParams("ask", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"jsonrpc":"2.0","id":"q-1","result":{"action":"accept","content":{"call":"this one"}}}`
	if got := textOf(t, result); !strings.HasPrefix(got, want) || !strings.Contains(got, `"id":"q-3","error":{"code":-32601`) {
		t.Errorf("got %s", got)
	}
}

func TestAServerMayWithdrawItsQuestion(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	asked := make(chan struct{})
	withdrawn := make(chan struct{})
	s.Tool("ask", `{}`, func(c *testkit.MCPCall) {
		c.Stream()
		c.Send(`{"jsonrpc":"2.0","id":5,"method":"roots/list"}`)
		<-asked
		c.Send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`)
		<-withdrawn
		c.Result(`{"content":[]}`)
	})
	events := newRecorder()
	events.answer = func(ctx context.Context, _ *mcp.Message) ([]byte, *mcp.Error) {
		close(asked)
		<-ctx.Done()
		close(withdrawn)
		return nil, mcp.Errorf(1, "withdrawn")
	}
	conn := connected(t, started(t, rawOptions(s)), Caller{Capabilities: []byte(`{"roots":{}}`)}, events)
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("ask", ""), nil); err != nil {
		t.Error(err)
	}
}

func TestCancellationIsToldAndAborts(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	begun, aborted, told := make(chan string, 1), make(chan struct{}), make(chan string, 8) // the catalogue's connection may be cancelled, too
	s.Tool("wait", `{}`, func(c *testkit.MCPCall) {
		begun <- string(c.ID)
		<-c.R.Context().Done()
		close(aborted)
	})
	s.OnNotification(func(method, params string) {
		if method == mcp.NoteCancelled {
			told <- params
		}
	})
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Call(ctx, mcp.MethodToolsCall, toolParams("wait", ""), nil)
		failed <- err
	}()
	id := receive(t, begun, "the call to begin")
	cancel()
	wants(t, receive(t, failed, "the call to fail"), Canceled)
	receive(t, aborted, "the request to be aborted")
	if params := receive(t, told, "the notification"); !strings.Contains(params, `"requestId":`+id) {
		t.Errorf("told %s", params)
	}
}

func TestUnsolicitedMessages(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	events := newRecorder()
	events.answer = func(context.Context, *mcp.Message) ([]byte, *mcp.Error) { return []byte(`{"roots":[]}`), nil }
	tg := started(t, rawOptions(s))
	if _, err := tg.Catalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.AwaitStream(t) // the catalogue's
	connected(t, tg, Caller{Capabilities: []byte(`{"roots":{}}`)}, events)
	s.AwaitStream(t)
	s.Push(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}`)
	s.Push(`rubbish`)
	s.Push(`{"jsonrpc":"2.0","id":9,"method":"roots/list"}`)
	if note := receive(t, events.notes, "log message"); note != `notifications/message {"level":"info","data":"x"}` {
		t.Error(note)
	}
	if asked := receive(t, events.asked, "roots"); asked != "roots/list " {
		t.Error(asked)
	}
}

// Servers made with mcp-go send what they tell about a call on whichever of its stream and the listening stream is free.
func TestProgressOnTheListeningStream(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	told := make(chan string, 10)
	s.Tool("slow", `{}`, func(c *testkit.MCPCall) {
		meta, _ := mcp.Lookup(c.Params, "_meta")
		token, _ := mcp.Lookup(meta, "progressToken")
		for _, of := range []string{"4711", string(token)} {
			s.PushTo(c.Session, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+of+`,"progress":1}}`)
		}
		c.Stream()
		c.Send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + string(token) + `,"progress":2}}`)
		if got := receive(t, told, "progress") + receive(t, told, "progress"); !strings.Contains(got, `"progress":1`) || !strings.Contains(got, `"progress":2`) {
			t.Errorf("told %s", got)
		}
		c.Result(`{"content":[]}`)
	})
	tg := started(t, rawOptions(s))
	if _, err := tg.Catalog(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.AwaitStream(t) // the catalogue's
	conn := connected(t, tg, Caller{Principal: person("ada")}, newRecorder())
	s.AwaitStream(t)
	for range 10 {
		over := false // the race detector tells of what comes too late
		_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("slow", `,"_meta":{"progressToken":"mine"}`), func(m *mcp.Message) {
			if over || string(m.ProgressToken) != `"mine"` {
				t.Errorf("%s, over: %t", m.Params, over)
			}
			told <- string(m.Params)
		})
		over = true
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(told) > 0 {
		t.Errorf("told %s besides", <-told)
	}
}

func TestSessionIDsAreChecked(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Handle(mcp.MethodInitialize, func(c *testkit.MCPCall) {
		c.W.Header().Set("Mcp-Session-Id", "a b")
		c.Result(`{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{}}`)
	})
	_, err := started(t, rawOptions(s)).Connect(t.Context(), Caller{}, nil)
	wants(t, err, Rubbish)
}

func TestRevisions(t *testing.T) {
	t.Parallel()
	for answered, sent := range map[mcp.Revision]string{
		mcp.Rev20241105: "",
		mcp.Rev20250326: "",
		mcp.Rev20250618: "2025-06-18",
		mcp.Rev20251125: "2025-11-25",
		mcp.Rev20260728: "refused",
		"1.0":           "refused",
	} {
		s := testkit.NewMCPServer(t)
		s.Handle(mcp.MethodInitialize, func(c *testkit.MCPCall) {
			c.W.Header().Set("Mcp-Session-Id", s.MintSession())
			c.Result(`{"protocolVersion":"` + string(answered) + `","capabilities":{},"serverInfo":{}}`)
		})
		conn, err := started(t, rawOptions(s)).Connect(t.Context(), Caller{}, nil)
		if sent == "refused" {
			wants(t, err, Rubbish)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", answered, err)
			continue
		}
		if _, err := conn.Call(t.Context(), mcp.MethodPing, nil, nil); err != nil {
			t.Errorf("%s: %v", answered, err)
		}
		conn.Close()
		if got := s.RequestsOf(mcp.MethodPing)[0].Header.Get("Mcp-Protocol-Version"); got != sent {
			t.Errorf("%s: version header %q", answered, got)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("stream", `{}`, func(c *testkit.MCPCall) { c.Stream(); c.Result(`{"content":[]}`) })
	var dialled atomic.Int64
	client := NewHTTPClient()
	transport := client.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialled.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	tg, err := New(Options{Name: "up", HTTP: &HTTPOptions{URL: s.URL}, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tg.close)
	conn := connected(t, tg, Caller{}, nil)
	s.AwaitStream(t)
	before := dialled.Load()
	for i := range 200 {
		if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams([]string{"echo", "stream"}[i%2], ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := dialled.Load() - before; n > 10 {
		t.Errorf("%d new connections for 200 calls", n)
	}
}

// A session that is relied on is opened again also when that does not work at once, and nobody makes a call.
func TestALostSessionIsOpenedAgainInTheEnd(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	subscribed := make(chan string, 10)
	s.Handle(mcp.MethodSubscribe, func(c *testkit.MCPCall) {
		subscribed <- c.Session
		c.Result(`{}`)
	})
	var starting atomic.Bool
	var refused atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if starting.Load() && r.Method == http.MethodPost {
			refused.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	conn := connected(t, started(t, Options{HTTP: &HTTPOptions{URL: front.URL}}), Caller{Principal: person("ada")}, newRecorder())
	s.AwaitStream(t)
	if _, err := conn.Call(t.Context(), mcp.MethodSubscribe, []byte(`{"uri":"a:b"}`), nil); err != nil {
		t.Fatal(err)
	}
	first := receive(t, subscribed, "the call")
	starting.Store(true)
	s.DropSessions()
	eventually(t, "the session is not to be had yet", func() bool { return refused.Load() > 1 })
	starting.Store(false)
	if again := receive(t, subscribed, "the new session"); again == first {
		t.Error("the old session was used")
	}
}
