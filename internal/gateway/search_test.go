package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/embedding"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// described adds tools with descriptions to a server, each of which answers with its own name.
func described(s *testkit.MCPServer, tools map[string]string) {
	for name := range tools {
		s.Tool(name, `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Result(fmt.Sprintf(`{"content":[{"type":"text","text":"%s was called with %s"}]}`, name, strings.ReplaceAll(argumentsOf(c), `"`, `'`)))
		})
	}
	s.Handle("tools/list", func(c *testkit.MCPCall) {
		var items []string
		for name, text := range tools {
			hint := ""
			if strings.HasPrefix(text, "Reads") {
				hint = `,"annotations":{"readOnlyHint":true}`
			}
			items = append(items, fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{"type":"object","properties":{"x":{"type":"integer"}}}%s,"x-unknown":1.0}`, name, text, hint))
		}
		slices.Sort(items)
		c.Result(`{"tools":[` + strings.Join(items, ",") + `]}`)
	})
}

func argumentsOf(c *testkit.MCPCall) string {
	var p struct{ Arguments json.RawMessage }
	_ = json.Unmarshal(c.Params, &p)
	return string(p.Arguments)
}

// shop is a gateway with two targets, whose tools can be searched.
func shop(t *testing.T, change func(*Endpoint)) (*setup, *testkit.MCPServer) {
	t.Helper()
	github, mail := testkit.NewMCPServer(t), testkit.NewMCPServer(t)
	described(github, map[string]string{
		"create_issue": "Opens a new issue in a repository.", "list_branches": "Reads the branches of a repository.", "merge_pull_request": "Merges a pull request.",
	})
	described(mail, map[string]string{"send": "Sends an email.", "find": "Reads the mails that fit a question."})
	e := Endpoint{Prefix: true, Search: &Search{Limit: 3}, Targets: []*target.Target{
		listed(t, newTarget(t, "github", github.URL, nil)), listed(t, newTarget(t, "mail", mail.URL, nil)),
	}}
	if change != nil {
		change(&e)
	}
	return start(t, config{endpoints: []Endpoint{e}}), github
}

func searchFor(query string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_tools","arguments":{"query":"` + query + `"}}}`
}

// toolResult is the answer to a search.
type toolResult struct {
	Result struct {
		Content           []struct{ Text string }
		StructuredContent struct{ Tools []map[string]any }
		IsError           bool
		ResultType        string
	}
}

func namesIn(t *testing.T, body string) string {
	t.Helper()
	var r toolResult
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Result.IsError {
		t.Fatalf("%v: %s", err, body)
	}
	var names []string
	for _, tool := range r.Result.StructuredContent.Tools {
		names = append(names, fmt.Sprint(tool["name"]))
	}
	var inText struct{ Tools []map[string]any }
	if err := json.Unmarshal([]byte(r.Result.Content[0].Text), &inText); err != nil || len(inText.Tools) != len(names) {
		t.Errorf("the text is not what the structured content is: %s", r.Result.Content[0].Text)
	}
	return strings.Join(names, " ")
}

func TestSearchTools(t *testing.T) {
	t.Parallel()
	s, _ := shop(t, func(e *Endpoint) { e.Search.AgentCore = true })
	c := s.caller("ada-token").initialize(`{}`)
	_, body := c.post(searchFor("report a bug in the repository"))
	if got := namesIn(t, body); got != "github___create_issue github___list_branches" {
		t.Errorf("found %s", got)
	}
	for _, whole := range []string{`"description":"Opens a new issue in a repository."`, `"inputSchema":{"type":"object","properties":{"x":{"type":"integer"}}}`, `"x-unknown":1.0`, `"gatehouse/name":"create_issue"`} {
		if !strings.Contains(body, whole) {
			t.Errorf("no %s in %s", whole, body)
		}
	}
	if _, body := c.post(strings.Replace(searchFor("merge a pull request"), "search_tools", agentCoreTool, 1)); namesIn(t, body) != "github___merge_pull_request" {
		t.Errorf("by AgentCore's name: %s", body)
	}
	if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.HasPrefix(body, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"search_tools",`) ||
		strings.Count(body, `"name":"`) < 7 || strings.Contains(body, callAny) {
		t.Errorf("list: %s", body)
	}
	for arguments, want := range map[string]string{
		`{"query":"email","limit":1}`:                   "mail___send",
		`{"query":"reads","server":"mail"}`:             "mail___find",
		`{"query":"repository","server":null}`:          "github___list_branches github___create_issue",
		`{"query":"zzz"}`:                               "",
		`{}`:                                            `\"query\" is missing`,
		`{"query":"  "}`:                                `\"query\" is missing`,
		`{"query":5}`:                                   `\"query\" is missing`,
		`{"query":"x","limit":0}`:                       "from 1 to 50",
		`{"query":"x","limit":51}`:                      "from 1 to 50",
		`{"query":"x","limit":"3"}`:                     "from 1 to 50",
		`{"query":"x","server":"other"}`:                "no server of that name",
		`{"query":"` + strings.Repeat("x", 2001) + `"}`: "longer than 2000",
	} {
		_, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search_tools","arguments":` + arguments + `}}`)
		if strings.Contains(body, `"isError":true`) {
			if want == "" || !strings.Contains(body, want) {
				t.Errorf("%s: %s", arguments, body)
			}
		} else if got := namesIn(t, body); got != want {
			t.Errorf("%s finds %s, want %s", arguments, got, want)
		}
	}
}

// Clients of every era reach the search.
func TestSearchInEveryEra(t *testing.T) {
	t.Parallel()
	s, _ := shop(t, nil)
	const want = "mail___send"
	c := s.caller("ada-token")
	params := `{"name":"search_tools","arguments":{"query":"write an email"},` + modernMeta + `}`
	body := c.askModern("tools/call", "search_tools", params)
	if !strings.HasPrefix(namesIn(t, body), want) || !strings.Contains(body, `"resultType":"complete"`) || !strings.Contains(body, `"io.modelcontextprotocol/serverInfo":`) {
		t.Errorf("2026-07-28: %s", body)
	}
	for _, revision := range []string{"2025-11-25", "2025-06-18", "2025-03-26"} {
		c := s.caller("ada-token")
		c.revision = revision
		c.initialize(`{}`)
		if _, body := c.post(searchFor("write an email")); !strings.HasPrefix(namesIn(t, body), want) || strings.Contains(body, "resultType") {
			t.Errorf("%s: %s", revision, body)
		}
		if revision == "2025-03-26" {
			_, body := c.post(`[` + searchFor("write an email") + `,{"jsonrpc":"2.0","id":2,"method":"ping"}]`)
			if !strings.Contains(body, want) || !strings.Contains(body, `{"jsonrpc":"2.0","id":2,"result":{}}`) {
				t.Errorf("batch: %s", body)
			}
		}
	}
	old := s.caller("ada-token")
	line := old.openLine()
	old.say(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}`)
	line.expect(`"id":0`)
	old.say(searchFor("write an email"))
	line.expect(`"structuredContent":{"tools":[{"name":"mail___send"`)
}

// The list is short, and everything else is there to be called: by name, or through the two callers.
func TestSearchOnly(t *testing.T) {
	t.Parallel()
	s, upstream := shop(t, func(e *Endpoint) { e.Search.Only, e.Search.Pinned = true, []string{"mail___send"} })
	c := s.caller("ada-token").initialize(`{}`)
	_, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	var list struct {
		Result struct{ Tools []struct{ Name string } }
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(list.Result.Tools); got != "[{search_tools} {call_read_only_tool} {call_tool} {mail___send}]" {
		t.Errorf("listed: %s", got)
	}
	call := func(name, arguments string) string {
		_, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + name + `","arguments":` + arguments + `,"_meta":{"x":1}}}`)
		return body
	}
	for _, tc := range []struct{ name, arguments, want string }{
		{"github___create_issue", `{"x":1.0}`, "create_issue was called with {'x':1.0}"},
		{callAny, `{"name":"github___create_issue","arguments":{"x":2.0}}`, "create_issue was called with {'x':2.0}"},
		{callAny, `{"name":"github___list_branches"}`, "list_branches was called with {}"},
		{callReadOnly, `{"name":"github___list_branches","arguments":{}}`, "list_branches was called with {}"},
		{callReadOnly, `{"name":"github___create_issue","arguments":{}}`, "does not say that it only reads"},
		{callAny, `{"name":"search_tools","arguments":{"query":"branches"}}`, `"structuredContent":{"tools":[{"name":"github___list_branches"`},
		{callAny, `{"name":"github___nothing"}`, "Unknown tool: github___nothing"},
		{callAny, `{"name":"call_tool","arguments":{"name":"github___create_issue"}}`, "must be the name of a tool"},
		{callAny, `{"name":7}`, "must be the name of a tool"},
		{callAny, `{}`, "must be the name of a tool"},
		{callAny, `{"name":"github___create_issue","arguments":[1]}`, "must be an object"},
	} {
		if got := call(tc.name, tc.arguments); !strings.Contains(got, tc.want) {
			t.Errorf("%s %s: %s, want %s", tc.name, tc.arguments, got, tc.want)
		}
	}
	calls := upstream.RequestsOf("tools/call")
	if last := string(calls[1].Params); !strings.Contains(last, `"name":"create_issue"`) || !strings.Contains(last, `"x":1`) || strings.Contains(last, "call_tool") {
		t.Errorf("upstream sees %s", last)
	}
	if len(calls) != 4 {
		t.Errorf("%d calls upstream, want 4", len(calls))
	}
	modern := s.caller("ada-token")
	if got := modern.askModern("tools/call", callAny, `{"name":"call_tool","arguments":{"name":"github___create_issue","arguments":{"x":3}},`+modernMeta+`}`); !strings.Contains(got, "create_issue was called with {'x':3}") {
		t.Errorf("2026-07-28: %s", got)
	}
	if got := modern.askModern("server/discover", "", `{`+modernMeta+`}`); !strings.Contains(got, "find them with search_tools") {
		t.Errorf("instructions: %s", got)
	}
}

// A tool that needs one more scope is asked for by its own name, also through call_tool.
func TestCallToolSteppingUp(t *testing.T) {
	t.Parallel()
	s, upstream := shop(t, func(e *Endpoint) {
		e.Search.Only = true
		e.Policy = anySignedIn(t, policy.Requirement{Target: "github", Method: "tools/call", Name: "create_issue", Scopes: []string{"mcp:admin"}},
			policy.Requirement{Method: "tools/call", Name: searchTool, Scopes: []string{"mcp:tools"}})
	})
	c := s.caller("ada-token").initialize(`{}`)
	through := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"call_tool","arguments":{"name":"github___create_issue"}}}`
	if status, _ := c.post(through); status != http.StatusForbidden || len(upstream.RequestsOf("tools/call")) != 0 {
		t.Errorf("without the scope: %d", status)
	}
	if _, body := c.post(searchFor("open an issue")); !strings.HasPrefix(namesIn(t, body), "github___create_issue") { // found, so that the client can step up
		t.Errorf("found: %s", body)
	}
	if _, body := s.caller("ada-admin-token").initialize(`{}`).post(through); !strings.Contains(body, "create_issue was called") {
		t.Errorf("with the scope: %s", body)
	}
}

// When lists change, so does what can be found, soon and without a search having to wait.
func TestSearchFollowsTheLists(t *testing.T) {
	t.Parallel()
	s, upstream := shop(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	find := func() string {
		_, body := c.post(searchFor("translate a text"))
		return namesIn(t, body)
	}
	if got := find(); got != "" {
		t.Fatalf("found %s", got)
	}
	described(upstream, map[string]string{"babel": "Translates a text.", "list_branches": "Reads the branches of a repository."})
	upstream.AwaitStream(t)
	upstream.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	eventually(t, "the new tool is found", func() bool { return find() == "github___babel" })
	if _, body := c.post(searchFor("open an issue")); strings.Contains(body, "create_issue") {
		t.Errorf("a tool that is gone is found: %s", body)
	}
}

// Without a prefix a target may have a tool of our name: ours keeps it, the other is shown under another.
func TestSearchKeepsItsName(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	described(upstream, map[string]string{searchTool: "Searches in a toolbox."})
	s := start(t, config{endpoints: []Endpoint{{Search: &Search{Limit: 5}, Targets: []*target.Target{listed(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token").initialize(`{}`)
	_, body := c.post(searchFor("toolbox"))
	name := namesIn(t, body)
	if name == searchTool || !strings.HasPrefix(name, searchTool) {
		t.Fatalf("found %s", body)
	}
	if _, body := c.post(strings.Replace(searchFor("x"), searchTool, name, 1)); !strings.Contains(body, "search_tools was called with") {
		t.Errorf("the target's own: %s", body)
	}
}

// Without the setting there is no such tool.
func TestNoSearch(t *testing.T) {
	t.Parallel()
	s, _ := shop(t, func(e *Endpoint) { e.Search = nil })
	c := s.caller("ada-token").initialize(`{}`)
	for _, name := range []string{searchTool, agentCoreTool, callAny} {
		if _, body := c.post(strings.Replace(searchFor("email"), searchTool, name, 1)); !strings.Contains(body, "Unknown tool: "+name) {
			t.Errorf("%s: %s", name, body)
		}
	}
	with, _ := shop(t, nil)
	if _, body := with.caller("ada-token").initialize(`{}`).post(strings.Replace(searchFor("email"), searchTool, agentCoreTool, 1)); !strings.Contains(body, "Unknown tool: ") {
		t.Errorf("AgentCore's name without being set: %s", body)
	}
}

// Vectors come from a real small server that speaks the API: texts about mail point one way, others another. When it
// fails, the search goes by words.
func TestSearchByVectors(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	var asked atomic.Int32
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		var q struct{ Input []string }
		_ = json.NewDecoder(r.Body).Decode(&q)
		data := []map[string]any{}
		for i, text := range q.Input {
			v := []float32{0, 1}
			if strings.Contains(text, "mail") || strings.Contains(text, "Brief") {
				v = []float32{1, 0.1}
			}
			data = append(data, map[string]any{"index": i, "embedding": v})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}))
	defer api.Close()
	var log syncBuffer
	now := time.Now()
	vectors, err := embedding.New(embedding.Options{
		URL: api.URL, Model: "m", Client: api.Client(), QueryTimeout: 20 * time.Second, Log: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := shop(t, func(e *Endpoint) { e.Search.Vectors, e.Search.Limit = vectors, 2 })
	c := s.caller("ada-token").initialize(`{}`)
	find := func(query string) string {
		_, body := c.post(searchFor(query))
		return namesIn(t, body)
	}
	// No word of the question is in any tool.
	eventually(t, "found by meaning", func() bool { return find("Brief schreiben") == "mail___find mail___send" })
	if got := find("open an issue"); !strings.HasPrefix(got, "github___create_issue") {
		t.Errorf("by words and meaning: %s", got)
	}
	before := asked.Load()
	find("Brief schreiben")
	if asked.Load() != before {
		t.Error("the same question is asked again")
	}
	broken.Store(true)
	if got := find("a new question about mail"); !strings.HasPrefix(got, "mail___find") {
		t.Errorf("by words alone: %q", got)
	}
	if got := find("Brief von gestern"); got != "" {
		t.Errorf("nothing has these words: %s", got)
	}
	if !strings.Contains(log.String(), "searched by words alone") || strings.Contains(log.String(), "a new question") {
		t.Errorf("log: %s", &log)
	}
}

// While the index is not there yet, the search says so.
func TestSearchBeforeTheIndex(t *testing.T) {
	t.Parallel()
	var f = newFinder()
	if x := f.wait(t.Context(), time.Millisecond); x != nil {
		t.Error("an index out of nothing")
	}
	f.put(&found{})
	f.put(&found{vectors: true})
	if x := f.wait(t.Context(), time.Hour); x == nil || !x.vectors {
		t.Error("the newest index is not there")
	}
}

// What was searched for is nobody's business but the searcher's.
func TestQueriesStayOutOfTheLog(t *testing.T) {
	t.Parallel()
	s, _ := shop(t, nil)
	c := s.caller("ada-token").initialize(`{}`)
	c.post(searchFor("salaries of the board"))
	if bytes.Contains([]byte(s.log.String()), []byte("salaries")) {
		t.Error("the log holds the question")
	}
	if !strings.Contains(s.log.String(), "ok: ") {
		t.Errorf("no outcome in the log: %s", s.log)
	}
}
