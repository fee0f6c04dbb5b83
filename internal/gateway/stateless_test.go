package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// stateless puts a gateway in front of a scripted target of the stateless era.
func stateless(t *testing.T, script func(*testkit.MCPServer), change func(*config)) (*setup, *testkit.MCPServer) {
	t.Helper()
	server := testkit.NewStatelessMCPServer(t)
	script(server)
	made := listed(t, newTarget(t, "raw", server.URL, nil))
	c := config{endpoints: []Endpoint{{Targets: []*target.Target{made}}}}
	if change != nil {
		change(&c)
	}
	return start(t, c), server
}

// given is what a scripted call got.
type given struct {
	Arguments      json.RawMessage
	InputResponses json.RawMessage
	RequestState   *string
	Meta           map[string]json.RawMessage `json:"_meta"`
}

func givenTo(c *testkit.MCPCall) given {
	var g given
	_ = json.Unmarshal(c.Params, &g)
	return g
}

// statefulTool asks for a name and keeps its state at the client.
func statefulTool(s *testkit.MCPServer) {
	s.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		g := givenTo(c)
		if g.InputResponses == nil {
			c.Result(fmt.Sprintf(`{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":%s}},"requestState":%q,"ttlMs":5}`,
				form, "secret of "+string(g.Arguments)))
			return
		}
		state := "none"
		if g.RequestState != nil {
			state = *g.RequestState
		}
		c.Result(fmt.Sprintf(`{"resultType":"complete","content":[],"structuredContent":{"state":%q,"answers":%s}}`, state, g.InputResponses))
	})
}

// A target's own state goes to the client sealed and comes back to the target as it was: for the same person and call only.
func TestStateOfATarget(t *testing.T) {
	t.Parallel()
	now := testkit.NewClock(time.Now())
	s, server := stateless(t, statefulTool, func(c *config) { c.options.Now = now.Now })
	ada := s.modern("ada-token", canForm)
	body := ada.call("ask", `"arguments":{"n":1}`)
	if strings.Contains(body, "secret") {
		t.Fatalf("the state is readable: %s", body)
	}
	asked := inputRequired(t, body)
	if asked.questions["who"] != "elicitation/create "+form {
		t.Errorf("asked %v", asked.questions)
	}
	other := inputRequired(t, ada.call("ask", `"arguments":{"n":2}`))
	made := len(server.RequestsOf("tools/call"))
	altered := asked
	altered.state = alter(asked.state)
	for name, body := range map[string]string{
		"another person":     s.modern("bob-token", canForm).call("ask", asked.again(`{"n":1}`, asked.only(accept))),
		"other arguments":    ada.call("ask", asked.again(`{"n":2}`, asked.only(accept))),
		"another call's":     ada.call("ask", other.again(`{"n":1}`, asked.only(accept))),
		"another tool":       ada.call("echo", asked.again(`{"n":1}`, asked.only(accept))),
		"altered":            ada.call("ask", altered.again(`{"n":1}`, asked.only(accept))),
		"not sealed":         ada.call("ask", `"arguments":{"n":1},"inputResponses":{},"requestState":"secret of {\"n\":1}"`),
		"empty":              ada.call("ask", `"arguments":{"n":1},"inputResponses":{},"requestState":""`),
		"null":               ada.call("ask", `"arguments":{"n":1},"inputResponses":{},"requestState":null`),
		"answers of no kind": ada.call("ask", `"arguments":{"n":1},"inputResponses":"x"`),
	} {
		contains(t, name, body, `"code":-32602`)
	}
	if n := len(server.RequestsOf("tools/call")); n != made {
		t.Errorf("%d calls reached the target that should not", n-made)
	}
	contains(t, "the result", ada.call("ask", asked.again(`{"n":1}`, asked.only(accept))), `"state":"secret of {\"n\":1}","answers":{"who":`+accept)
	now.Advance(11 * time.Minute)
	contains(t, "too late", ada.call("ask", asked.again(`{"n":1}`, asked.only(accept))), `"code":-32602`)
}

// Results that ask for what the client has not declared, or in no way that there is, do not reach the client.
func TestAskingInTheWrongWay(t *testing.T) {
	t.Parallel()
	results := map[string]string{
		"url":     `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","url":"https://x.example","message":"m"}}}}`,
		"tools":   `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{}},"b":{"method":"sampling/createMessage","params":{"tools":[]}}},"requestState":"x"}`,
		"unknown": `{"resultType":"input_required","inputRequests":{"a":{"method":"tools/call","params":{}}}}`,
		"mode":    `{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"fax"}}}}`,
		"nothing": `{"resultType":"input_required"}`,
		"number":  `{"resultType":"input_required","requestState":1}`,
		"retry":   `{"resultType":"input_required","requestState":"later"}`,
	}
	s, _ := stateless(t, func(server *testkit.MCPServer) {
		for name, result := range results {
			server.Tool(name, `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(result) })
		}
		server.Handle("prompts/list", func(c *testkit.MCPCall) { c.Result(`{"prompts":[{"name":"p"}]}`) })
		server.Handle("completion/complete", func(c *testkit.MCPCall) { c.Result(results["retry"]) })
	}, nil)
	c := s.modern("ada-token", `{"elicitation":{"form":{}},"sampling":{}}`)
	for name, want := range map[string]string{
		"url":     `"code":-32021,"message":"The call needs a capability that the client did not declare: {\"elicitation\":{\"url\":{}}}","data":{"requiredCapabilities":{"elicitation":{"url":{}}}}`,
		"tools":   `"data":{"requiredCapabilities":{"elicitation":{},"sampling":{"tools":{}}}}`,
		"unknown": `"code":-31001`, "mode": `"code":-31001`, "nothing": `"code":-31001`, "number": `"code":-31001`,
		"retry": `"resultType":"input_required"`,
	} {
		contains(t, name, c.call(name, ""), want)
	}
	if status, _ := c.ask(mcp.MethodToolsCall, "url", ""); status != http.StatusBadRequest {
		t.Errorf("status %d", status)
	}
	_, body := c.ask(mcp.MethodComplete, "", `"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}`)
	contains(t, "a completion that asks", body, `"code":-31001`)
}

// A client of a session in front of a target without sessions is asked directly, while the target's call is made again.
func TestSessionInFrontOfStateless(t *testing.T) {
	t.Parallel()
	s, server := stateless(t, func(server *testkit.MCPServer) {
		statefulTool(server)
		server.Tool("visit", `{"type":"object"}`, func(c *testkit.MCPCall) {
			if givenTo(c).InputResponses == nil {
				c.Result(`{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","message":"m","url":"https://x.example"}}}}`)
				return
			}
			c.Result(`{"resultType":"complete","content":[],"structuredContent":[1]}`)
		})
	}, nil)
	c := s.caller("ada-token").initialize(`{"elicitation":{"form":{},"url":{}}}`)
	own := c.open(http.MethodGet, "", "")
	own.next() // priming
	st := c.open(http.MethodPost, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask","arguments":{"n":1.0},"_meta":{"x":1}}}`, "")
	st.next()
	_, question := st.next()
	contains(t, "the question", question, `"method":"elicitation/create","params":`+form)
	if status, _ := c.post(`{"jsonrpc":"2.0","id":` + idOf(question) + `,"result":` + accept + `}`); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	_, result := st.next()
	contains(t, "the result", result, `"id":7`, `"state":"secret of {\"n\":1.0}","answers":{"who":`+accept)

	st = c.open(http.MethodPost, `{"jsonrpc":"2.0","id":8,"method":"tools/call","params":{"name":"visit"}}`, "")
	st.next()
	_, question = st.next()
	contains(t, "the question by URL", question, `"url":"https://x.example"`, `"elicitationId":"`)
	c.post(`{"jsonrpc":"2.0","id":` + idOf(question) + `,"result":{"action":"accept"}}`)
	_, result = st.next()
	if !strings.HasSuffix(result, `"result":{"resultType":"complete","content":[]}}`) {
		t.Errorf("structured content that a session does not know: %s", result)
	}
	_, id, _ := strings.Cut(question, `"elicitationId":"`)
	id, _, _ = strings.Cut(id, `"`)
	if _, note := own.next(); note != `{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"`+id+`"}}` {
		t.Errorf("told %s", note)
	}
	// A client that cannot be asked.
	plain := s.caller("bob-token").initialize(`{}`)
	_, body := plain.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask"}}`)
	contains(t, "a client without elicitation", body, `"isError":true`, "which this client does not support")
	for _, r := range server.RequestsOf("tools/call") {
		if !strings.Contains(string(r.Params), `"io.modelcontextprotocol/clientCapabilities":{`) {
			t.Errorf("a request without capabilities: %s", r.Params)
		}
	}
}

func idOf(message string) string {
	var m struct{ ID json.RawMessage }
	_ = json.Unmarshal([]byte(message), &m)
	return string(m.ID)
}

// A client of a session cannot pass for one of the stateless era: what it says about itself and about states stays here.
func TestSessionCannotPassForStateless(t *testing.T) {
	t.Parallel()
	s, server := stateless(t, statefulTool, nil)
	sessions, made := rawTarget(t, "other")
	_ = sessions
	s.swap(Endpoint{Targets: append(s.gateway.current.Load().endpoints["/mcp"].Targets, made), Prefix: true})
	c := s.caller("ada-token").initialize(`{}`)
	_, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"raw___ask","requestState":"stolen","inputResponses":{"who":` + accept + `},` +
		`"_meta":{"x":1,"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}},"io.modelcontextprotocol/logLevel":"debug"}}}`)
	contains(t, "the answer", body, `"isError":true`)
	if strings.Contains(body, "requestState") || strings.Contains(body, "secret") {
		t.Errorf("the target's state went to the client: %s", body)
	}
	calls := server.RequestsOf("tools/call")
	got := string(calls[len(calls)-1].Params)
	for _, part := range []string{"stolen", "inputResponses", `"io.modelcontextprotocol/protocolVersion":"2025-11-25"`, `"elicitation"`, "logLevel"} {
		if strings.Contains(got, part) {
			t.Errorf("the target got %s: %s", part, got)
		}
	}
	c.post(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"other___echo","_meta":{"x":1,"progressToken":"p","io.modelcontextprotocol/protocolVersion":"2025-11-25"}}}`)
	calls = sessions.RequestsOf("tools/call")
	if got := string(calls[len(calls)-1].Params); strings.Contains(got, "protocolVersion") || !strings.Contains(got, `"x":1`) {
		t.Errorf("a target with sessions got %s", got)
	}
}

// Headers that stand twice, and what they might smuggle from one era into the other.
func TestHeadersThatStandTwice(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "raw")
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{made}}}})
	old, c := s.caller("ada-token").initialize(`{}`), s.modern("ada-token", "{}")
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for name, tt := range map[string]struct {
		request *http.Request
		header  string
		value   string
		want    string
	}{
		"a second revision, of the other era": {old.request(t.Context(), http.MethodPost, ping), "Mcp-Protocol-Version", "2026-07-28", `"code":-32020`},
		"a second revision of the same era":   {old.request(t.Context(), http.MethodPost, ping), "Mcp-Protocol-Version", "2025-06-18", `"code":-32600`},
		"a second session":                    {old.request(t.Context(), http.MethodPost, ping), "Mcp-Session-Id", "x", `"code":-32600`},
		"a stateless revision, then another":  {c.newRequest(t.Context(), mcp.MethodDiscover, "", "", ""), "Mcp-Protocol-Version", "2025-11-25", `"code":-32020`},
		"a second method":                     {c.newRequest(t.Context(), mcp.MethodDiscover, "", "", ""), "Mcp-Method", "server/discover", `"code":-32020`},
		"a second name":                       {c.newRequest(t.Context(), mcp.MethodToolsCall, "echo", "", ""), "Mcp-Name", "echo", `"code":-32020`},
	} {
		tt.request.Header.Add(tt.header, tt.value)
		status, body := c.read(c.do(tt.request))
		if status != http.StatusBadRequest || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		r := old.request(t.Context(), method, "")
		r.Header.Add("Mcp-Protocol-Version", "2026-07-28")
		if status, body := c.read(c.do(r)); status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
	// An initialize that has the headers of the stateless era is none of a session.
	r := c.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`)
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", "initialize")
	if status, body := c.read(c.do(r)); status != http.StatusNotFound || !strings.Contains(body, `"code":-32601`) {
		t.Errorf("initialize: %d %s", status, body)
	}
}

const annotated = `{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"plain":{"type":"string"}}}`

// Arguments that a tool wants in headers are checked here, and sent to the target anew; nothing else of a client's headers is.
func TestCopiedArguments(t *testing.T) {
	t.Parallel()
	s, server := stateless(t, func(server *testkit.MCPServer) {
		server.Tool("query", annotated, func(c *testkit.MCPCall) { c.Result(`{"resultType":"complete","content":[]}`) })
		server.Tool("astray", `{"type":"object","properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}`, func(*testkit.MCPCall) {})
	}, nil)
	c := s.modern("ada-token", "{}")
	_, list := c.ask(mcp.MethodToolsList, "", "")
	if !strings.Contains(list, `"query"`) || strings.Contains(list, `"astray"`) {
		t.Errorf("listed %s", list)
	}
	for _, tt := range []struct {
		arguments, header string
		good              bool
	}{
		{`{"region":"us"}`, "us", true},
		{`{"region":"us"}`, "=?base64?dXM=?=", true},
		{`{"region":"us"}`, "eu", false},
		{`{"region":"us"}`, "", false},
		{`{"region":"us"}`, "=?base64?dXM?=", false},
		{`{"plain":"us"}`, "us", false},
		{`{"region":null}`, "", true},
	} {
		r := c.newRequest(t.Context(), mcp.MethodToolsCall, "query", `"arguments":`+tt.arguments, "")
		if tt.header != "" {
			r.Header.Set("Mcp-Param-Region", tt.header)
		}
		r.Header.Set("Mcp-Param-Other", "of the client's own")
		status, body := c.read(c.do(r))
		if good := status == http.StatusOK; good != tt.good || !good && (status != http.StatusBadRequest || !strings.Contains(body, `"code":-32020`)) {
			t.Errorf("%s with %q: %d %s", tt.arguments, tt.header, status, body)
		}
	}
	calls := server.RequestsOf("tools/call")
	if len(calls) != 3 || calls[0].Header.Get("Mcp-Param-Region") != "us" || calls[1].Header.Get("Mcp-Param-Region") != "us" || calls[2].Header["Mcp-Param-Region"] != nil {
		t.Errorf("%d calls at the target", len(calls))
	}
	for _, r := range calls {
		if r.Header["Mcp-Param-Other"] != nil || r.Header.Get("Mcp-Name") != "query" {
			t.Errorf("the target got %v", r.Header)
		}
	}
	// A client of a session copies nothing; the target gets its copies all the same.
	s.caller("ada-token").initialize(`{}`).post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"query","arguments":{"region":"å"}}}`)
	calls = server.RequestsOf("tools/call")
	if got := calls[len(calls)-1].Header.Get("Mcp-Param-Region"); got != mcp.EncodeHeader("å") {
		t.Errorf("copied %q", got)
	}
}

// A client that closes its connection has cancelled: the target's request ends, and the call is recorded so.
func TestLeavingCancels(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	s, _ := stateless(t, func(server *testkit.MCPServer) {
		server.Tool("long", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			close(began)
			<-c.R.Context().Done()
			close(ended)
		})
	}, nil)
	c := s.modern("ada-token", canForm)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if resp, err := c.client.Do(c.newRequest(ctx, mcp.MethodToolsCall, "long", "", "")); err == nil {
		resp.Body.Close()
	}
	<-ended
	eventually(t, "the record", func() bool { return strings.Contains(s.log.String(), `"outcome":"cancelled"`) })
}
