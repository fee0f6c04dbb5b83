package gateway

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/secret"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// A client of a session has what its revision promises in front of a target without sessions: it is pinged, sets a level
// for its log, subscribes to resources, and sees no tool whose results it could not read.
func TestSessionFeaturesInFrontOfStateless(t *testing.T) {
	t.Parallel()
	s, server := stateless(t, func(server *testkit.MCPServer) {
		server.Tool("logs", `{"type":"object"}`, func(c *testkit.MCPCall) {
			level := string(givenTo(c).Meta["io.modelcontextprotocol/logLevel"])
			c.Stream()
			c.Send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"warning","data":` + level + `}}`)
			c.Result(`{"resultType":"complete","content":[]}`)
		})
		server.Handle("tools/list", func(c *testkit.MCPCall) {
			c.Result(`{"resultType":"complete","ttlMs":0,"cacheScope":"public","tools":[{"name":"logs","inputSchema":{"type":"object"}},` +
				`{"name":"numbers","inputSchema":{"type":"object"},"outputSchema":{"type":"array"},"x":1.0},{"name":"object","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}]}`)
		})
		server.Handle("resources/list", func(c *testkit.MCPCall) {
			c.Result(`{"resultType":"complete","ttlMs":0,"cacheScope":"public","resources":[{"uri":"file:///a","name":"a"}]}`)
		})
	}, nil)
	c := s.caller("ada-token").initialize(`{}`)
	own := c.open(http.MethodGet, "", "")
	own.next() // priming
	for _, tt := range []struct{ message, want string }{
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `"result":{}`},
		{`{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"warning"}}`, `"result":{}`},
		{`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"logs"}}`, `"level":"warning","data":"warning"`},
		{`{"jsonrpc":"2.0","id":4,"method":"tools/list"}`, `{"name":"numbers","inputSchema":{"type":"object"},"x":1.0},{"name":"object","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}`},
		{`{"jsonrpc":"2.0","id":5,"method":"resources/subscribe","params":{"uri":"file:///a"}}`, `"result":{}`},
	} {
		status, body := c.post(tt.message)
		if status != http.StatusOK {
			t.Errorf("%s: %d", tt.message, status)
		}
		contains(t, tt.message, body, tt.want)
	}
	server.Push(updated("file:///a"))
	if _, got := own.next(); got != updated("file:///a") {
		t.Errorf("heard %s", got)
	}
	if _, body := c.post(`{"jsonrpc":"2.0","id":6,"method":"resources/unsubscribe","params":{"uri":"file:///a"}}`); !strings.Contains(body, `"result":{}`) {
		t.Error(body)
	}
	_, list := s.modern("ada-token", "{}").ask(mcp.MethodToolsList, "", "")
	contains(t, "the list of the stateless era", list, `"outputSchema":{"type":"array"}`)
	for _, r := range server.Requests() {
		if r.Method == "ping" || r.Method == "logging/setLevel" || r.Method == "resources/subscribe" || r.Method == "initialize" && r.Header.Get("Mcp-Protocol-Version") != "" {
			t.Errorf("the target got %s", r.Method)
		}
	}
}

// A client of the stateless era gets the codes of its revision from a target of an older one, and what the target loses in
// between is opened anew.
func TestStatelessInFrontOfSession(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	server.Handle("resources/list", func(c *testkit.MCPCall) { c.Result(`{"resources":[{"uri":"file:///gone","name":"gone"}]}`) })
	server.Handle("resources/read", func(c *testkit.MCPCall) { c.Error(mcp.CodeResourceNotFound, "Resource not found") })
	server.Tool("away", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Error(mcp.CodeURLElicitation, "go somewhere") })
	server.Tool("older", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Error(-32005, "of its own") })
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{listed(t, newTarget(t, "raw", server.URL, nil))}}}})
	c := s.modern("ada-token", "{}")
	status, body := c.ask(mcp.MethodResourcesRead, "file:///gone", "")
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	contains(t, "a resource that is not there", body, `"code":-32602`)
	contains(t, "an elicitation that says nothing", c.call("away", ""), `"code":-31001`)
	contains(t, "a code of the target's own", c.call("older", ""), `"code":-32005`)
	contains(t, "a call", c.call("echo", `"arguments":{}`), `"resultType":"complete"`)
	server.DropSessions()
	contains(t, "a call after the session was lost", c.call("echo", `"arguments":{}`), `"resultType":"complete"`)
	status, body = c.ask("no/such/method", "", "")
	if status != http.StatusNotFound {
		t.Errorf("status %d", status)
	}
	contains(t, "a method that is not there", body, `"code":-32601`)
}

// commandEnv makes the test binary play a server over stdio.
const commandEnv = "GATEHOUSE_TEST_COMMAND"

// playAsker is a server of the session era over stdio whose only tool asks before it answers. Its questions come beside
// the answers: nothing says to which call they belong.
func playAsker() {
	in := bufio.NewScanner(os.Stdin)
	var waiting json.RawMessage
	for in.Scan() {
		var m struct {
			ID     json.RawMessage
			Method string
			Result json.RawMessage
		}
		if json.Unmarshal(in.Bytes(), &m) != nil {
			continue
		}
		switch m.Method {
		case "initialize":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"asker","version":"1"}}}`+"\n", m.ID)
		case "tools/list":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"tools":[{"name":"ask","inputSchema":{"type":"object"}}]}}`+"\n", m.ID)
		case "tools/call":
			waiting = m.ID
			fmt.Printf(`{"jsonrpc":"2.0","id":"q%s","method":"elicitation/create","params":%s}`+"\n", m.ID, form)
		case "":
			fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":{"got":%s}}}`+"\n", waiting, m.Result)
		default:
			if m.ID != nil {
				fmt.Printf(`{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`+"\n", m.ID)
			}
		}
	}
}

// A question over stdio belongs to the call under way, of the person whose process it is.
func TestQuestionOverStdio(t *testing.T) {
	t.Parallel()
	made := listed(t, newTarget(t, "raw", "http://unused.example", func(o *target.Options) {
		o.HTTP = nil
		o.Command = &target.CommandOptions{Args: []string{os.Args[0]}, Env: map[string]secret.Text{commandEnv: secret.New("asker")}, Sandbox: "off"}
	}))
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{made}}}})
	ada, bob := s.modern("ada-token", canForm), s.modern("bob-token", canForm)
	asked := inputRequired(t, ada.call("ask", ""))
	of := inputRequired(t, bob.call("ask", ""))
	if asked.questions[asked.keys[0]] != "elicitation/create "+form {
		t.Errorf("asked %v", asked.questions)
	}
	contains(t, "bob answers for ada", bob.call("ask", asked.again("", asked.only(accept))), `"code":-32602`)
	contains(t, "ada's answer", ada.call("ask", asked.again("", asked.only(accept))), `"structuredContent":{"got":`+accept)
	contains(t, "bob's answer", bob.call("ask", of.again("", of.only(`{"action":"decline"}`))), `"structuredContent":{"got":{"action":"decline"}}`)
}
