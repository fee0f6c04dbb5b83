package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

func batchSetup(t *testing.T, tools func(*testkit.MCPServer)) (*setup, *testkit.MCPServer, *caller) {
	t.Helper()
	upstream := testkit.NewMCPServer(t)
	tools(upstream)
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token")
	c.revision = "2025-03-26"
	return s, upstream, c.initialize(`{"roots":{}}`)
}

// The calls of a batch run side by side, and what comes along with any of them turns the answer into a stream, which
// has every response in it.
func TestBatchAsStream(t *testing.T) {
	t.Parallel()
	other := make(chan struct{})
	_, _, c := batchSetup(t, func(s *testkit.MCPServer) {
		s.Tool("first", `{"type":"object"}`, func(c *testkit.MCPCall) {
			<-other // would never end if the calls came one after the other
			c.Result(`{"content":[],"n":1}`)
		})
		s.Tool("second", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			progress(c, 1)
			answer := c.Ask("77", "roots/list", `{}`)
			close(other)
			c.Result(`{"content":[],"n":2,"asked":` + answer + `}`)
		})
	})
	st := c.open(http.MethodPost, "["+callTool("1", "first")+","+callTool("2", "second")+`,{"jsonrpc":"2.0","id":3,"method":"ping"}]`, "")
	var seen []string
	for len(seen) < 5 {
		_, data := st.next()
		if strings.Contains(data, "roots/list") {
			if status, _ := c.post(`[{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}]`); status != http.StatusAccepted {
				t.Errorf("answer: %d", status)
			}
		}
		seen = append(seen, data)
	}
	all := strings.Join(seen, "\n")
	for _, want := range []string{`"id":1,"result":{"content":[],"n":1}`, `"id":2,"result":{"content":[],"n":2,"asked":{`, `"id":3,"result":{}`, "notifications/progress", "roots/list"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
	st.ends()
}

func TestBatchAsJSON(t *testing.T) {
	t.Parallel()
	_, upstream, c := batchSetup(t, func(*testkit.MCPServer) {})
	var all []string
	for i := range maxBatch {
		all = append(all, callTool(fmt.Sprint(i), "echo"))
	}
	status, body := c.post("[" + strings.Join(all, ",") + "]")
	if status != http.StatusOK || !strings.HasPrefix(body, "[") || strings.Count(body, `"result"`) != maxBatch {
		t.Errorf("%d %.300s", status, body)
	}
	if status, body := c.post("[" + strings.Join(append(all, callTool("x", "echo")), ",") + "]"); status != http.StatusBadRequest || !strings.Contains(body, "at most 64") {
		t.Errorf("one too many: %d %s", status, body)
	}
	if n := len(upstream.RequestsOf("tools/call")); n != maxBatch {
		t.Errorf("%d calls reached the target", n)
	}
}

// A batch that is refused as a whole leaves nothing behind.
func TestRefusedBatchIsNotExecuted(t *testing.T) {
	t.Parallel()
	p := newPlayer(t, "")
	c := p.s.caller("ada-token")
	c.revision = "2025-03-26"
	c.initialize(`{}`)
	for range 3 {
		if status, _ := c.post("[" + callTool("1", "steps") + "," + callTool("2", "admin") + "]"); status != http.StatusForbidden {
			t.Fatalf("status %d", status)
		}
	}
	if n := p.s.gateway.calls.total; n != 0 {
		t.Errorf("%d calls are still counted", n)
	}
}
