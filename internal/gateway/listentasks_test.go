package gateway

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

const declaresTasks = `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`

// A stream tells about the tasks that its person has, under their handles, whatever targets send.
func TestTasksAreToldAbout(t *testing.T) {
	t.Parallel()
	server := testkit.NewStatelessMCPServer(t)
	server.Capabilities = `{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	server.Handle("tasks/get", func(c *testkit.MCPCall) {
		id, _ := mcp.Lookup(c.Params, "taskId")
		c.Result(`{"resultType":"complete","taskId":` + string(id) + `,"status":"completed","result":{"content":[],"x":1.0}}`)
	})
	made := listed(t, newTarget(t, "a", server.URL, nil))
	session := listed(t, newTarget(t, "old", testkit.NewMCPServer(t).URL, nil))
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{made, session}, Policy: anySignedIn(t,
		policy.Requirement{Target: "a", Method: "tools/call", Name: "guarded", Scopes: []string{"mcp:admin"}})}}})
	handle := func(name, tool, id string) string {
		return s.gateway.handle(principal(name, "").Key, "/mcp", task{"a", tool, id})
	}
	mine, other, guarded := handle("ada", "echo", "t-1"), handle("bob", "echo", "t-2"), handle("ada", "guarded", "t-3")
	ofSession := s.gateway.handle(principal("ada", "").Key, "/mcp", task{"old", "echo", "t-4"})

	ada := s.modern("ada-token", declaresTasks)
	st := ada.listen(fmt.Sprintf(`{"toolsListChanged":true,"taskIds":[%q,%q,%q,%q,"t-1"]}`, other, mine, guarded, ofSession))
	st.hears(acknowledged(1, `"toolsListChanged":true,"taskIds":["`+mine+`"]`))
	for _, r := range server.RequestsOf("subscriptions/listen") {
		if p := string(r.Params); strings.Contains(p, "t-2") || strings.Contains(p, "t-3") || strings.Contains(p, mine) {
			t.Errorf("the target was asked for %s", p)
		}
	}
	note := func(id, status string) string {
		return `{"jsonrpc":"2.0","method":"notifications/tasks","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7},"taskId":"` + id + `","status":"` + status + `","ttlMs":1.0}}`
	}
	server.Push(note("t-2", "working"))
	server.Push(note("t-1", "input_required"))
	st.hears(`{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"` + mine + `","status":"input_required","ttlMs":1.0,` + mark(1) + `}}`)

	// What a broken stream may have missed is asked for.
	server.DropStreams()
	st.hears(`{"jsonrpc":"2.0","method":"notifications/tasks","params":{"taskId":"` + mine + `","status":"completed","result":{"content":[],"x":1.0},` + mark(1) + `}}`)

	admin := s.modern("ada-admin-token", declaresTasks)
	admin.listen(fmt.Sprintf(`{"taskIds":[%q]}`, guarded)).hears(acknowledged(1, `"taskIds":["`+guarded+`"]`))

	status, body := s.modern("ada-token", `{}`).ask(mcp.MethodListen, "", fmt.Sprintf(`"notifications":{"taskIds":[%q]}`, mine))
	wants(t, "a client that does not declare tasks", status, body, 400, `-32021`, `"requiredCapabilities":`+declaresTasks)
	for _, bad := range []string{`{"taskIds":1}`, `{"taskIds":[1]}`, `{"taskIds":[` + strings.Repeat(`"x",`, maxSubscribed) + `"x"]}`} {
		status, body = ada.ask(mcp.MethodListen, "", `"notifications":`+bad)
		wants(t, "wishes that are none", status, body, 200, `-32602`)
	}
}

// What waits to be told about tasks is bounded; the latest about each counts.
func TestToldTasksAreBounded(t *testing.T) {
	t.Parallel()
	l := &listener{wake: make(chan struct{}, 1)}
	big := make([]byte, maxTaskBytes/2)
	l.sayTask("a", big)
	l.sayTask("a", big)
	l.sayTask("b", []byte("b"))
	l.sayTask("c", big)                        // too much
	l.sayTask("b", make([]byte, maxTaskBytes)) // and so b says nothing any more
	if got := len(l.takeTask("a")); got != len(big) {
		t.Errorf("%d bytes of a", got)
	}
	if l.takeTask("b") != nil || l.takeTask("c") != nil || l.taskSize != 0 || len(l.states) != 0 {
		t.Errorf("%d bytes left of %d", l.taskSize, len(l.states))
	}
}
