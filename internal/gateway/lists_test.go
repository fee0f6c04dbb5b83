package gateway

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// A merged list may be kept no longer than any of its parts.
func TestListsMayBeKeptAsTheirTargetsSay(t *testing.T) {
	t.Parallel()
	brief, lasting := testkit.NewStatelessMCPServer(t), testkit.NewMCPServer(t)
	brief.Capabilities = `{"tools":{}}`
	brief.Handle("tools/list", func(c *testkit.MCPCall) {
		c.Result(`{"resultType":"complete","tools":[{"name":"a","inputSchema":{}}],"ttlMs":5000,"cacheScope":"public"}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{
		running(t, newTarget(t, "brief", brief.URL, nil)), running(t, newTarget(t, "lasting", lasting.URL, nil)),
	}}}})
	c := s.caller("ada-token")
	eventually(t, "both are listed", func() bool {
		got := c.askModern("tools/list", "", `{`+modernMeta+`}`)
		return strings.Contains(got, "lasting___echo") && strings.Contains(got, "brief___a") && strings.Contains(got, `"ttlMs":5000,"cacheScope":"private"`)
	})
}

// While a target's list is not known, a tool has no other name than the one under which it will be shown, so that a rule for
// that name holds.
func TestUnknownListIsNoWayRoundRules(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	for _, name := range []string{"with/slash", "plain"} {
		upstream.Tool(name, `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	}
	shown := strings.TrimPrefix(mcp.PublicName("files___", "files", "with/slash"), "files___")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{newTarget(t, "files", upstream.URL, nil)},
		Policy: anySignedIn(t, policy.Requirement{Target: "files", Method: "tools/call", Name: shown, Scopes: []string{"mcp:admin"}})}}})
	c := s.caller("ada-token").initialize(`{}`)
	if _, body := c.post(callTool("1", "with/slash")); !strings.Contains(body, "Unknown tool") {
		t.Errorf("by the name that is not shown: %s", body)
	}
	if status, _ := c.post(callTool("2", shown)); status != http.StatusForbidden {
		t.Errorf("by the name that is shown: %d", status)
	}
	if _, body := c.post(callTool("3", "plain")); !strings.Contains(body, `"content":[]`) {
		t.Errorf("another tool: %s", body)
	}
	if n := len(upstream.RequestsOf("tools/call")); n != 1 {
		t.Errorf("%d calls reached the target, want 1", n)
	}
}
