package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// extending makes a target of the stateless era with capabilities; it answers methods with what it was asked, as text.
func extending(t *testing.T, name, capabilities string, methods ...string) (*testkit.MCPServer, *target.Target) {
	t.Helper()
	s := echoing(t, name, capabilities, methods...)
	return s, listed(t, newTarget(t, name, s.URL, nil))
}

func echoing(t *testing.T, name, capabilities string, methods ...string) *testkit.MCPServer {
	t.Helper()
	s := testkit.NewStatelessMCPServer(t)
	s.Capabilities = capabilities
	for _, method := range methods {
		s.Handle(method, func(c *testkit.MCPCall) {
			c.Result(`{"resultType":"complete","by":"` + name + `","method":"` + method + `","header":` + quoted(c.Header.Get("Mcp-Name")) + `,"params":` + quoted(withoutMeta(c.Params)) + `}`)
		})
	}
	return s
}

// asked is how an echo of params stands in an answer.
func asked(params string) string { return `"params":` + quoted(params) }

func quoted(s string) string { return string(mcp.AppendString(nil, s)) }

func withoutMeta(params []byte) string {
	return string(mcp.AppendMembers(nil, params, mcp.Change{Drop: func(key []byte) bool { return string(key) == "_meta" }}))
}

const tasksMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}`

// ask posts a request of the stateless era and returns status and body.
func (c *caller) ask(method, name, params string) (int, string) {
	c.s.t.Helper()
	resp := c.do(c.modern(c.s.t.Context(), method, name, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func wants(t *testing.T, what string, status int, body string, want int, texts ...string) {
	t.Helper()
	if status != want {
		t.Errorf("%s: %d %s, want %d", what, status, body, want)
	}
	for _, text := range texts {
		if !strings.Contains(body, text) {
			t.Errorf("%s: %s, want %s", what, body, text)
		}
	}
}

// Tasks of two targets, whose ids are the same: each handle leads to its own.
func TestTasks(t *testing.T) {
	t.Parallel()
	const offers = `{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	_, plain := extending(t, "plain", `{"tools":{}}`)
	aServer, a := extending(t, "a", offers, "tasks/update")
	_, b := extending(t, "b", offers, "tasks/get", "tasks/update", "tasks/cancel")
	aServer.Handle("tools/call", func(c *testkit.MCPCall) {
		c.Result(`{"resultType":"task","taskId":"t-1","status":"working","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttlMs":null}`)
	})
	aServer.Handle("tasks/get", func(c *testkit.MCPCall) {
		id, _ := mcp.Lookup(c.Params, "taskId")
		c.Result(`{"resultType":"complete","taskId":` + string(id) + `,"status":"completed","header":` + quoted(c.Header.Get("Mcp-Name")) + `,"result":{"content":[]}}`)
	})
	aServer.Handle("tasks/cancel", func(c *testkit.MCPCall) { c.Error(mcp.CodeInvalidParams, "no such task") })
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{plain, a, b}, Policy: anySignedIn(t,
		policy.Requirement{Target: "b", Method: "tools/call", Name: "echo", Scopes: []string{"mcp:admin"}})}}})
	ada, bob := s.caller("ada-token"), s.caller("bob-token")

	status, body := ada.ask("server/discover", "", `{`+modernMeta+`}`)
	wants(t, "discover", status, body, 200, `"extensions":{"io.modelcontextprotocol/tasks":{}}`)
	if strings.Contains(body, `"tasks":{"`) {
		t.Errorf("the older tasks are offered: %s", body)
	}
	status, body = ada.ask("tools/call", "a___echo", `{"name":"a___echo",`+tasksMeta+`}`)
	wants(t, "call", status, body, 200, `"resultType":"task"`, `"ttlMs":null`)
	var made struct{ Result struct{ TaskID string } }
	if err := json.Unmarshal([]byte(body), &made); err != nil || made.Result.TaskID == "" || made.Result.TaskID == "t-1" {
		t.Fatalf("%v: %s", err, body)
	}
	handle := made.Result.TaskID
	get := `{"taskId":"` + handle + `",` + tasksMeta + `}`

	status, body = ada.ask("tasks/get", handle, get)
	wants(t, "get", status, body, 200, `"taskId":"`+handle+`"`, `"header":"t-1"`, `"result":{"content":[]}`)
	status, body = ada.ask("tasks/update", handle, `{"taskId":"`+handle+`","inputResponses":{"k":{"x":1.0}},`+tasksMeta+`}`)
	wants(t, "update", status, body, 200, `"by":"a"`, asked(`{"taskId":"t-1","inputResponses":{"k":{"x":1.0}}}`))
	status, body = ada.ask("tasks/cancel", handle, get)
	wants(t, "cancel, as the target answers", status, body, 200, `-32602`, "no such task")

	status, body = bob.ask("tasks/get", handle, get)
	wants(t, "another person's", status, body, 200, `-32602`, "Unknown task")
	for _, bad := range []string{"t-1", handle[:len(handle)-1], handle + "A", handle + "\\n"} {
		plain, _ := mcp.DecodeString([]byte(`"` + bad + `"`))
		status, body = ada.ask("tasks/get", mcp.EncodeHeader(plain), `{"taskId":"`+bad+`",`+tasksMeta+`}`)
		wants(t, "a handle that is none: "+bad, status, body, 200, `-32602`)
	}
	status, body = ada.ask("tasks/get", "other", get)
	wants(t, "Mcp-Name of another task", status, body, 400, `-32020`)
	status, body = ada.ask("tasks/get", "", get)
	wants(t, "no Mcp-Name", status, body, 400, `-32020`)
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		status, body = ada.ask(method, handle, `{"taskId":"`+handle+`",`+modernMeta+`}`)
		wants(t, method+" of a client that does not declare tasks", status, body, 400, `-32021`, `"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}`)
	}
	status, body = ada.ask("tools/call", "a___echo", `{"name":"a___echo",`+modernMeta+`}`)
	wants(t, "a task for a client that does not declare tasks", status, body, 400, `-32021`)
	for _, method := range []string{"tasks/list", "tasks/result"} {
		status, body = ada.ask(method, handle, get)
		wants(t, method, status, body, 404, `-32601`)
	}
	// Whoever may not use the tool any more may not use its tasks.
	forB := s.gateway.handle(principal("ada", "").Key, "/mcp", task{"b", "echo", "t-1"})
	if status, _ := ada.ask("tasks/get", forB, `{"taskId":"`+forB+`",`+tasksMeta+`}`); status != http.StatusForbidden {
		t.Errorf("a task of a tool that needs another scope: %d", status)
	}
	status, body = s.caller("ada-admin-token").ask("tasks/get", forB, `{"taskId":"`+forB+`",`+tasksMeta+`}`)
	wants(t, "with the scope", status, body, 200, `"by":"b"`, asked(`{"taskId":"t-1"}`))
	if log := s.log.String(); !strings.Contains(log, `"outcome":"task"`) {
		t.Error("the record does not say that a task began")
	}
}

// The experimental tasks of 2025-11-25, which sessions have.
func TestOldTasks(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	server.Capabilities = `{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}`
	const task = `{"taskId":"t-1","status":"working","createdAt":"2026-01-01T00:00:00Z","ttl":null}`
	server.Handle("tools/call", func(c *testkit.MCPCall) { c.Result(`{"task":` + task + `,"got":` + string(c.Params) + `}`) })
	server.Handle("tasks/get", func(c *testkit.MCPCall) { c.Result(task) })
	server.Handle("tasks/result", func(c *testkit.MCPCall) {
		c.Stream()
		c.Send(`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":` + task + `}`)
		c.Result(`{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t-1"}},"got":` + string(c.Params) + `}`)
	})
	server.Handle("tasks/list", func(c *testkit.MCPCall) { c.Result(`{"tasks":[` + task + `,{"taskId":"t-2"}]}`) })
	server.Handle("tasks/cancel", func(c *testkit.MCPCall) { c.Result(`{"taskId":"t-1","status":"cancelled"}`) })
	made := listed(t, newTarget(t, "files", server.URL, nil))
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{made}}}})
	c := s.caller("ada-token").initialize(`{}`)
	say := func(method, params string, texts ...string) string {
		t.Helper()
		resp := c.do(c.request(t.Context(), http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)))
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		wants(t, method, resp.StatusCode, string(body), 200, texts...)
		return string(body)
	}
	var begun struct {
		Result struct{ Task struct{ TaskID string } }
	}
	body := say("tools/call", `{"name":"files___echo","arguments":{},"task":{"ttl":1.0}}`, `"got":{"name":"echo","arguments":{},"task":{"ttl":1.0}}`)
	if err := json.Unmarshal([]byte(body), &begun); err != nil || begun.Result.Task.TaskID == "t-1" {
		t.Fatalf("%v: %s", err, body)
	}
	handle := `"` + begun.Result.Task.TaskID + `"`
	say("tasks/get", `{"taskId":`+handle+`}`, `"taskId":`+handle+`,"status":"working"`)
	say("tasks/result", `{"taskId":`+handle+`}`, `"method":"notifications/tasks/status","params":{"taskId":`+handle,
		`related-task":{"taskId":`+handle+`}`, `"got":{"taskId":"t-1"}`)
	listed := say("tasks/list", `{}`, `"tasks":[{"taskId":`+handle+`,"status":"working"`)
	if strings.Count(listed, "taskId") != 1 || strings.Contains(listed, "nextCursor") {
		t.Errorf("listed %s", listed)
	}
	say("tasks/cancel", `{"taskId":`+handle+`}`, `"taskId":`+handle+`,"status":"cancelled"`)
	say("tasks/get", `{"taskId":"t-1"}`, `-32602`, "Unknown task")
	say("tasks/update", `{"taskId":`+handle+`}`, `-32601`)

	st := c.open(http.MethodGet, "", "")
	st.next()
	eventually(t, "the session's stream", func() bool {
		server.Push(`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"somebody's","status":"working"}}`)
		return server.Push(`{"jsonrpc":"2.0","method":"notifications/tasks/status","params":`+task+`}`) >= 2
	})
	for {
		if _, data := st.next(); strings.Contains(data, "tasks/status") {
			if !strings.Contains(data, `"taskId":`+handle) {
				t.Errorf("told %s", data)
			}
			break
		}
	}

	older := s.caller("ada-token")
	older.revision = "2025-06-18"
	older.initialize(`{}`)
	if _, body := older.post(`{"jsonrpc":"2.0","id":1,"method":"tasks/list"}`); !strings.Contains(body, "-32601") {
		t.Errorf("a client of a revision without tasks: %s", body)
	}
}

// Methods that nobody here has heard of go to the target that they can belong to.
func TestUnknownExtension(t *testing.T) {
	t.Parallel()
	const offers = `{"tools":{},"prompts":{},"resources":{},"extensions":{"com.example/x":{"k":1.0}}}`
	methods := []string{"x/do", "tools/annotate", "x/other"}
	aServer, a := extending(t, "a", offers, methods...)
	_, b := extending(t, "b", offers, methods...)
	_, plain := extending(t, "plain", `{"tools":{},"extensions":{"io.modelcontextprotocol/ui":{}}}`, methods...)
	aServer.Handle("x/do", func(c *testkit.MCPCall) {
		c.Stream()
		c.Send(`{"jsonrpc":"2.0","method":"notifications/x/step","params":{"n":1.0}}`)
		c.Result(`{"by":"a","params":` + quoted(withoutMeta(c.Params)) + `}`)
	})
	guarded := anySignedIn(t, policy.Requirement{Target: "b", Method: "tools/call", Name: "echo", Scopes: []string{"mcp:admin"}},
		policy.Requirement{Method: "x/other", Scopes: []string{"mcp:admin"}})
	s := start(t, config{endpoints: []Endpoint{
		{Prefix: true, Targets: []*target.Target{plain, a, b}, Policy: guarded},
		{Path: "/other/mcp", Prefix: true, Targets: []*target.Target{plain, a}, Policy: guarded},
	}})
	both, one := s.caller("ada-token"), s.caller("ada-token")
	one.path = "/other/mcp"

	status, body := both.ask("server/discover", "", `{`+modernMeta+`}`)
	wants(t, "discover", status, body, 200, `"extensions":{"com.example/x":{"k":1.0},"io.modelcontextprotocol/ui":{}}`)
	status, body = one.ask("x/do", "", `{"deep":[1.0],`+modernMeta+`}`)
	wants(t, "the only one that has it", status, body, 200, `"by":"a"`, asked(`{"deep":[1.0]}`), `"resultType":"complete"`)
	status, body = one.ask("x/do", "", `{"name":"whatever",`+modernMeta+`}`)
	wants(t, "with a name that is nobody's", status, body, 200, `"by":"a"`, asked(`{"name":"whatever"}`))
	status, body = one.ask("x/do", "", `{"taskId":"own",`+modernMeta+`}`)
	wants(t, "with an id of its own", status, body, 200, asked(`{"taskId":"own"}`))
	status, body = both.ask("x/do", "", `{`+modernMeta+`}`)
	wants(t, "two have it, and nothing is named", status, body, 404, `-32601`)
	status, body = both.ask("tools/annotate", "a___echo", `{"name":"a___echo",`+modernMeta+`}`)
	wants(t, "by a tool", status, body, 200, `"by":"a"`, `"header":"echo"`, asked(`{"name":"echo"}`))
	status, body = both.ask("tools/annotate", "b___echo", `{"name":"a___echo",`+modernMeta+`}`)
	wants(t, "Mcp-Name of another tool", status, body, 400, `-32020`)
	if status, _ = both.ask("tools/annotate", "", `{"name":"b___echo",`+modernMeta+`}`); status != http.StatusForbidden {
		t.Errorf("by a tool that needs another scope: %d", status)
	}
	if status, _ = one.ask("x/other", "", `{`+modernMeta+`}`); status != http.StatusForbidden {
		t.Errorf("a method that needs another scope: %d", status)
	}
	for _, method := range []string{"initialize", "sampling/createMessage", "roots/list", "ping", "logging/setLevel", "tasks/get", "skills/list", strings.Repeat("x", maxMethod+1)} {
		status, body = one.ask(method, "", `{`+modernMeta+`}`)
		wants(t, method, status, body, 404, `-32601`)
	}

	// In a session too, with what the extension sends along.
	one.initialize(`{}`)
	resp := one.do(one.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":7,"method":"x/do","params":{"deep":[1.0]}}`))
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body)
	wants(t, "in a session", resp.StatusCode, string(all), 200, `"method":"notifications/x/step","params":{"n":1.0}`, `"id":7,"result":{"by":"a",`+asked(`{"deep":[1.0]}`))
	_, body = one.post(`{"jsonrpc":"2.0","id":8,"method":"y/z"}`)
	wants(t, "what the target does not have", 200, body, 200, `"id":8,"error":{"code":-32601`)
}

// An extension is no way round what guards a tool or hides a task: neither by the target's own name of a tool, nor by an
// id that is no text, which a careless target takes for one, nor by the target's own id of a task.
func TestExtensionsGoRoundNothing(t *testing.T) {
	t.Parallel()
	methods := []string{"x/do", "tasks/get", "tasks/update", "tasks/cancel"}
	server := echoing(t, "a", `{"tools":{},"resources":{},"extensions":{"com.example/x":{},"io.modelcontextprotocol/tasks":{}}}`, methods...)
	server.Handle("resources/list", func(c *testkit.MCPCall) {
		c.Result(`{"resultType":"complete","resources":[{"uri":"file:///listed","name":"listed"}]}`)
	})
	a := listed(t, newTarget(t, "a", server.URL, nil))
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{a}, Policy: anySignedIn(t,
		policy.Requirement{Target: "a", Method: "tools/call", Name: "echo", Scopes: []string{"mcp:admin"}})}}})
	ada, admin := s.caller("ada-token"), s.caller("ada-admin-token")
	for _, name := range []string{"a___echo", "echo"} {
		if status, body := ada.ask("x/do", "", `{"name":"`+name+`",`+modernMeta+`}`); status != http.StatusForbidden {
			t.Errorf("by the name %s of a tool that needs another scope: %d %s", name, status, body)
		}
		status, body := admin.ask("x/do", "", `{"name":"`+name+`",`+modernMeta+`}`)
		wants(t, "with the scope", status, body, 200, asked(`{"name":"echo"}`))
	}
	for _, beside := range []string{`"uri":"u"`, `"uri":"file:///listed"`} {
		uri, _ := mcp.LookupString([]byte(`{`+beside+`}`), "uri")
		if status, body := ada.ask("x/do", uri, `{`+beside+`,"name":"echo",`+modernMeta+`}`); status != http.StatusForbidden {
			t.Errorf("by the name of the tool beside %s: %d %s", beside, status, body)
		}
		if _, body := ada.ask("x/do", uri, `{`+beside+`,"taskId":7,`+tasksMeta+`}`); !strings.Contains(body, `"error"`) {
			t.Errorf("a task beside %s: %s", beside, body)
		}
	}
	for _, method := range methods {
		for _, id := range []string{`7`, `["7"]`, `null`, `{"a":1}`} {
			for header, named := range map[string]string{"": "", "n": `"name":"n",`, "u": `"uri":"u",`} {
				_, body := ada.ask(method, header, `{`+named+`"taskId":`+id+`,`+tasksMeta+`}`)
				if !strings.Contains(body, `"error"`) {
					t.Errorf("%s of the task %s beside %s: %s", method, id, named, body)
				}
			}
		}
	}
	status, body := ada.ask("x/do", "", `{"taskId":"7",`+tasksMeta+`}`)
	wants(t, "the target's own id", status, body, 200, `-32602`, "Unknown task")
	if n := len(server.RequestsOf("x/do")); n != 2 {
		t.Errorf("%d requests reached the target, want 2", n)
	}
	session := s.caller("ada-token").initialize(`{}`)
	if _, body := session.post(`{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"name":"n","taskId":7}}`); !strings.Contains(body, `"error"`) {
		t.Errorf("in a session: %s", body)
	}
}

// Skills of two targets are one list, and their files lead back.
func TestSkills(t *testing.T) {
	t.Parallel()
	const offers = `{"resources":{},"extensions":{"io.modelcontextprotocol/skills":{"directoryRead":true}}}`
	var made []*target.Target
	for _, name := range []string{"a", "b"} {
		server := echoing(t, name, offers, "resources/directory/read")
		server.Handle("skills/list", func(c *testkit.MCPCall) {
			if cursor, _ := mcp.LookupString(c.Params, "cursor"); cursor == "" {
				c.Result(`{"resultType":"complete","skills":[{"uri":"skill://pdf/SKILL.md","frontmatter":{"name":"pdf"},"resources":[{"uri":"skill://pdf/SKILL.md","size":1}]}],"nextCursor":"2","ttlMs":1000,"cacheScope":"public"}`)
			} else {
				c.Result(`{"resultType":"complete","skills":[{"uri":"skill://` + name + `/SKILL.md","frontmatter":{"name":"` + name + `"},"resources":"dynamic"}],"ttlMs":1000,"cacheScope":"public"}`)
			}
		})
		server.Handle("skills/get", func(c *testkit.MCPCall) {
			uri, _ := mcp.Lookup(c.Params, "uri")
			c.Result(`{"resultType":"complete","by":"` + name + `","skill":{"uri":` + string(uri) + `,"frontmatter":{},"resources":"dynamic"},"ttlMs":1000,"cacheScope":"public"}`)
		})
		server.Handle("resources/list", func(c *testkit.MCPCall) {
			c.Result(`{"resultType":"complete","resources":[{"uri":"skill://pdf/SKILL.md","name":"pdf"}],"ttlMs":1000,"cacheScope":"public"}`)
		})
		made = append(made, listed(t, newTarget(t, name, server.URL, nil)))
	}
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: made}}})
	c := s.caller("ada-token")
	status, body := c.ask("resources/list", "", `{`+modernMeta+`}`)
	wants(t, "resources", status, body, 200, "skill://gatehouse-target=b/pdf/SKILL.md")
	var uris []string
	for cursor := ""; ; {
		params := `{` + modernMeta + `}`
		if cursor != "" {
			params = `{"cursor":` + quoted(cursor) + `,` + modernMeta + `}`
		}
		status, body := c.ask("skills/list", "", params)
		wants(t, "page", status, body, 200, `"cacheScope":"private"`, `"ttlMs":1000`)
		var page struct {
			Result struct {
				Skills     []struct{ URI string }
				NextCursor string
			}
		}
		if err := json.Unmarshal([]byte(body), &page); err != nil {
			t.Fatal(err)
		}
		for _, skill := range page.Result.Skills {
			uris = append(uris, skill.URI)
		}
		if cursor = page.Result.NextCursor; cursor == "" {
			break
		}
	}
	want := "skill://pdf/SKILL.md skill://a/SKILL.md skill://gatehouse-target=b/pdf/SKILL.md skill://b/SKILL.md"
	if got := strings.Join(uris, " "); got != want {
		t.Errorf("listed %s, want %s", got, want)
	}
	for uri, by := range map[string]string{
		"skill://pdf/SKILL.md": "a", "skill://gatehouse-target=b/pdf/SKILL.md": "b", "skill://b/SKILL.md": "b", "skill://b/unlisted/SKILL.md": "b",
		"skill://gatehouse-target=a/nobody/SKILL.md": "a",
	} {
		status, body := c.ask("skills/get", "", `{"uri":"`+uri+`",`+modernMeta+`}`)
		wants(t, uri, status, body, 200, `"by":"`+by+`"`, `"skill":{"uri":"`+uri+`"`)
	}
	for uri, by := range map[string]string{"skill://b": "b", "skill://gatehouse-target=b/pdf": "b", "skill://a/files": "a"} {
		status, body := c.ask("resources/directory/read", "", `{"uri":"`+uri+`",`+modernMeta+`}`)
		wants(t, uri, status, body, 200, `"by":"`+by+`"`)
	}
	status, body = c.ask("skills/list", "", `{"cursor":"bm8Abm8",`+modernMeta+`}`)
	wants(t, "a cursor of nobody", status, body, 200, `-32602`)
}

// A list of several targets is one page when each has one; what is no list is left out.
func TestWalkedPages(t *testing.T) {
	t.Parallel()
	const offers = `{"tools":{},"resources":{},"extensions":{"io.modelcontextprotocol/skills":{}}}`
	skill := func(name string) string {
		return `{"uri":"skill://` + name + `/SKILL.md","frontmatter":{"name":"` + name + `"},"resources":"dynamic"}`
	}
	answers := map[string]string{
		"a": `{"resultType":"complete","skills":[` + skill("x") + `],"ttlMs":9000,"cacheScope":"public"}`,
		"b": `{"resultType":"input_required","inputRequests":{"q":{"method":"roots/list"}},"requestState":"s"}`,
		"c": `{"resultType":"complete","skills":[` + skill("y") + `,` + skill("z") + `],"ttlMs":5000,"cacheScope":"public","com.example/more":1.0}`,
		"d": `{"resultType":"complete","skills":7}`,
	}
	made := map[string]*target.Target{}
	for name, answer := range answers {
		server := echoing(t, name, offers)
		server.Handle("skills/list", func(c *testkit.MCPCall) { c.Result(answer) })
		made[name] = listed(t, newTarget(t, name, server.URL, nil))
	}
	s := start(t, config{endpoints: []Endpoint{
		{Prefix: true, Targets: []*target.Target{made["a"], made["b"], made["c"], made["d"]}},
		{Path: "/other/mcp", Prefix: true, Targets: []*target.Target{made["b"], made["c"]}},
	}})
	c := s.caller("ada-token")
	status, body := c.ask("skills/list", "", `{`+modernMeta+`}`)
	wants(t, "joined", status, body, 200, `"skills":[`+skill("x")+`,`+skill("y")+`,`+skill("z")+`]`, `"ttlMs":5000,"cacheScope":"private"`, `"resultType":"complete"`)
	if strings.Contains(body, "nextCursor") {
		t.Errorf("more pages: %s", body)
	}
	c.path = "/other/mcp"
	status, body = c.ask("skills/list", "", `{`+modernMeta+`}`)
	wants(t, "one target's own page", status, body, 200, `"skills":[`+skill("y")+`,`+skill("z")+`]`, `"com.example/more":1.0`)
}

func FuzzOpenHandle(f *testing.F) {
	keys := testkit.Keyring(f)
	g := &Gateway{o: Options{Tasks: keys.MAC(TaskPurpose)}}
	ada, bob := principal("ada", "").Key, principal("bob", "").Key
	f.Add(g.handle(ada, "/mcp", task{"t", "tool", "id"}), "id")
	f.Add("", "x\x00y")
	f.Fuzz(func(t *testing.T, handle, id string) {
		if got, ok := g.openHandle(bob, "/mcp", handle); ok {
			t.Fatalf("%q opens as %+v", handle, got)
		}
		want := task{"target", "tool", id}
		made := g.handle(ada, "/mcp", want)
		if got, ok := g.openHandle(ada, "/mcp", made); !ok || got != want {
			t.Fatalf("%q became %+v", id, got)
		}
		if _, ok := g.openHandle(ada, "/other/mcp", made); ok {
			t.Fatal("a handle is good at another endpoint")
		}
	})
}
