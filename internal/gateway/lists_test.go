package gateway

import (
	"strings"
	"testing"

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
