package target

import (
	"strings"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

// What a lost session must be told again is kept, but not at any size.
func TestHugeSubscriptionsAreNotKept(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Handle(mcp.MethodSubscribe, func(c *testkit.MCPCall) { c.Result(`{}`) })
	c := connected(t, started(t, rawOptions(s)), Caller{Principal: person("ada")}, nil)
	for _, uri := range []string{"x://1", "x://" + strings.Repeat("x", maxLastingParams)} {
		params := append(mcp.AppendString([]byte(`{"uri":`), uri), '}')
		if _, err := c.Call(t.Context(), mcp.MethodSubscribe, params, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.lasting); n != 1 {
		t.Errorf("%d subscriptions are kept, want the small one", n)
	}
}
