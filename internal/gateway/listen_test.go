package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// watched is a server with resources, and the target in front of it.
func watched(t *testing.T, server *testkit.MCPServer, name string) *target.Target {
	t.Helper()
	server.Handle("resources/list", func(c *testkit.MCPCall) {
		c.Result(`{"resultType":"complete","resources":[{"uri":"file:///a/","name":"a"},{"uri":"file:///b","name":"b"},{"uri":"file:///no","name":"no"}]}`)
	})
	server.Handle("resources/subscribe", func(c *testkit.MCPCall) {
		if strings.Contains(string(c.Params), "file:///no") {
			c.Error(-32602, "not this one")
			return
		}
		c.Result(`{}`)
	})
	server.Handle("resources/unsubscribe", func(c *testkit.MCPCall) { c.Result(`{}`) })
	return listed(t, newTarget(t, name, server.URL, nil))
}

func updated(uri string) string {
	return `{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"` + uri + `"}}`
}

// listen opens a stream of notifications.
func (c *modern) listen(wanted string) *stream {
	c.s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	resp := c.do(c.newRequest(ctx, mcp.MethodListen, "", `"notifications":`+wanted, ""))
	st := &stream{t: c.s.t, resp: resp, cancel: cancel, read: newEventReader(resp.Body)}
	c.s.t.Cleanup(st.close)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		_, body := c.read(resp)
		c.s.t.Fatalf("no stream: %d %s", resp.StatusCode, body)
	}
	return st
}

func (st *stream) hears(want string) {
	st.t.Helper()
	if _, got := st.next(); got != want {
		st.t.Fatalf("heard %s\nwant  %s", got, want)
	}
}

func mark(id int) string {
	return fmt.Sprintf(`"_meta":{"io.modelcontextprotocol/subscriptionId":%d}`, id)
}

func acknowledged(id int, what string) string {
	return `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{` + mark(id) + `,"notifications":{` + what + `}}}`
}

func told(id int, method, rest string) string {
	return `{"jsonrpc":"2.0","method":"notifications/` + method + `","params":{` + mark(id) + rest + `}}`
}

// The same stream in front of targets of both eras: first what is honoured, then only that, under the id of the request,
// to the person who asked for it; in the end the target is told that nobody listens any more.
func TestListen(t *testing.T) {
	t.Parallel()
	for era, make := range map[string]func(testing.TB) *testkit.MCPServer{"sessions": testkit.NewMCPServer, "stateless": testkit.NewStatelessMCPServer} {
		t.Run(era, func(t *testing.T) {
			t.Parallel()
			server := make(t)
			if era == "stateless" {
				refuseListening(server, "file:///no")
			}
			s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{watched(t, server, "files")}}}})
			ada, bob := s.modern("ada-token", "{}"), s.modern("bob-token", "{}")
			a := ada.listen(`{"toolsListChanged":true,"promptsListChanged":false,"unknown":true,"resourceSubscriptions":["file:///no","file:///b","file:///a/","file:///b"]}`)
			a.hears(acknowledged(1, `"toolsListChanged":true,"resourceSubscriptions":["file:///a/","file:///b"]`))
			b := bob.listen(`{"promptsListChanged":true,"resourceSubscriptions":["file:///b"]}`)
			b.hears(acknowledged(1, `"promptsListChanged":true,"resourceSubscriptions":["file:///b"]`))

			first := sessionsOf(server)
			push := func(of, uri string) {
				t.Helper()
				eventually(t, "a stream of "+of, func() bool { return server.PushTo(of, updated(uri)) > 0 })
			}
			if era == "sessions" { // each person has an upstream session of their own
				push(first[0], "file:///a/part")
				push(first[0], "file:///bb") // not a part of b
				push(first[0], "file:///b/part")
				push(first[1], "file:///b")
			} else {
				server.Push(updated("file:///a/part"))
				server.Push(updated("file:///bb"))
				server.Push(updated("file:///b/part"))
				server.Push(updated("file:///b"))
			}
			a.hears(told(1, "resources/updated", `,"uri":"file:///a/part"`))
			a.hears(told(1, "resources/updated", `,"uri":"file:///b/part"`))
			if era == "stateless" {
				a.hears(told(1, "resources/updated", `,"uri":"file:///b"`))
				b.hears(told(1, "resources/updated", `,"uri":"file:///b/part"`))
			}
			b.hears(told(1, "resources/updated", `,"uri":"file:///b"`))

			server.Tool("new", `{"type":"object"}`, func(*testkit.MCPCall) {})
			server.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
			a.hears(told(1, "tools/list_changed", ""))
			server.Handle("prompts/list", func(c *testkit.MCPCall) { c.Result(`{"resultType":"complete","prompts":[{"name":"p"}]}`) })
			server.Push(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
			b.hears(told(1, "prompts/list_changed", ""))

			a.close()
			eventually(t, "the subscriptions end", func() bool {
				if era == "sessions" {
					return len(server.RequestsOf("resources/unsubscribe")) == 2
				}
				return server.PushTo("", updated("file:///a/")) <= 2 // the catalogue's and bob's
			})
			s.auth.revoke("bob-token")
			server.Handle("prompts/list", func(c *testkit.MCPCall) { c.Result(`{"resultType":"complete","prompts":[]}`) })
			server.Push(`{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}`)
			b.hears(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete",` + mark(1) + `}}`)
			b.ends()
			eventually(t, "nobody listens", func() bool {
				s.gateway.listeners.mu.Lock()
				defer s.gateway.listeners.mu.Unlock()
				return len(s.gateway.listeners.open) == 0
			})
		})
	}
}

// refuseListening has a server of the stateless era leave out one resource of what it acknowledges.
func refuseListening(server *testkit.MCPServer, uri string) {
	server.Handle("subscriptions/listen", func(c *testkit.MCPCall) {
		c.Params = json.RawMessage(strings.ReplaceAll(string(c.Params), `"`+uri+`"`, `"x"`))
		c.Listen()
	})
}

// sessionsOf returns the upstream sessions that subscribed, in the order in which they came.
func sessionsOf(server *testkit.MCPServer) []string {
	var all []string
	for _, r := range server.RequestsOf("resources/subscribe") {
		if !slices.Contains(all, r.Session) {
			all = append(all, r.Session)
		}
	}
	return all
}

// A person hears of what they may read, also when only a part of it is theirs to read.
func TestListenAsksThePolicy(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	files := watched(t, server, "files")
	need := identity.Scopes{"mcp:admin"}
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{files}, Policy: anySignedIn(t,
		policy.Requirement{Method: "resources/read", Name: "file:///b", Scopes: need},
		policy.Requirement{Method: "resources/read", Name: "file:///a/secret", Scopes: need})}}})
	const wanted = `{"resourceSubscriptions":["file:///a/","file:///b"]}`
	ada, admin := s.modern("ada-token", "{}").listen(wanted), s.modern("ada-admin-token", "{}").listen(wanted)
	ada.hears(acknowledged(1, `"resourceSubscriptions":["file:///a/"]`))
	admin.hears(acknowledged(1, `"resourceSubscriptions":["file:///a/","file:///b"]`))
	of := sessionsOf(server)[0]
	for _, uri := range []string{"file:///b", "file:///a/secret", "file:///a/open"} {
		eventually(t, "a stream of "+of, func() bool { return server.PushTo(of, updated(uri)) > 0 })
	}
	admin.hears(told(1, "resources/updated", `,"uri":"file:///b"`))
	admin.hears(told(1, "resources/updated", `,"uri":"file:///a/secret"`))
	admin.hears(told(1, "resources/updated", `,"uri":"file:///a/open"`))
	ada.hears(told(1, "resources/updated", `,"uri":"file:///a/open"`))
	if n := len(server.RequestsOf("resources/subscribe")); n != 2 {
		t.Errorf("%d subscriptions for one person, want one for each resource", n)
	}
}

// What is wrong with a request to listen, and how many streams a person may have.
func TestListenRefusals(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{watched(t, server, "files")}}}})
	c := s.modern("ada-token", "{}")
	many := `"file:///a/"` + strings.Repeat(`,"file:///b"`, maxSubscribed)
	for _, members := range []string{"", `"notifications":[]`, `"notifications":null`, `"notifications":{"resourceSubscriptions":"file:///a/"}`,
		`"notifications":{"resourceSubscriptions":[1]}`, `"notifications":{"resourceSubscriptions":[` + many + `]}`} {
		if status, body := c.ask(mcp.MethodListen, "", members); status != http.StatusOK || !strings.Contains(body, `"code":-32602`) {
			t.Errorf("%.60s: %d %s", members, status, body)
		}
	}
	r := c.newRequest(t.Context(), mcp.MethodListen, "", `"notifications":{}`, "")
	r.Header.Set("Accept", "application/json")
	if status, _ := c.read(c.do(r)); status != http.StatusNotAcceptable {
		t.Errorf("without events: %d", status)
	}
	for i := range maxListeners {
		can := []string{`{}`, `{"roots":{}}`}[i%2] // other clients of the same person count too
		st := s.modern("ada-token", can).listen(`{"toolsListChanged":true}`)
		st.hears(acknowledged(1, `"toolsListChanged":true`))
	}
	if status, body := c.ask(mcp.MethodListen, "", `"notifications":{}`); status != http.StatusTooManyRequests {
		t.Errorf("one too many: %d %s", status, body)
	}
	s.modern("bob-token", "{}").listen(`{}`).hears(acknowledged(1, ""))
}

// A stream that listens to a target which a reload takes away ends, so that the client listens anew; others stay.
func TestListenEndsWithItsTarget(t *testing.T) {
	t.Parallel()
	one, two := testkit.NewMCPServer(t), testkit.NewMCPServer(t)
	first, second := watched(t, one, "one"), listed(t, newTarget(t, "two", two.URL, nil))
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{first, second}}}})
	c := s.modern("ada-token", "{}")
	lists := c.listen(`{"toolsListChanged":true}`)
	lists.hears(acknowledged(1, `"toolsListChanged":true`))
	files := c.listen(`{"resourceSubscriptions":["file:///b"]}`)
	files.hears(acknowledged(2, `"resourceSubscriptions":["file:///b"]`))
	s.swap(Endpoint{Targets: []*target.Target{second}})
	files.hears(`{"jsonrpc":"2.0","id":2,"result":{"resultType":"complete",` + mark(2) + `}}`)
	files.ends()
	lists.hears(told(1, "tools/list_changed", ""))
	before := len(one.RequestsOf("initialize"))
	eventually(t, "the target is left", func() bool { return len(one.RequestsOf(http.MethodDelete)) > 0 })
	if n := len(one.RequestsOf("initialize")); n != before {
		t.Error("the target was connected to again, to say good-bye")
	}
}

// When Gatehouse stops, streams end with a result, so that clients know it for no accident.
func TestListenEndsWithTheServer(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{watched(t, server, "files")}}}})
	st := s.modern("ada-token", "{}").listen(`{"toolsListChanged":true}`)
	st.hears(acknowledged(1, `"toolsListChanged":true`))
	s.run.cancel() // ends the sessions
	st.hears(`{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete",` + mark(1) + `}}`)
	st.ends()
}
