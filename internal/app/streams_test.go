package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/internal/testkit"
)

// Three thousand streamed answers, of clients of both eras and of targets of both kinds, arrive whole.
func TestStreamsArriveWhole(t *testing.T) {
	t.Parallel()
	const total, workers = 3000, 12
	text := func(n int, part string) string { return strings.Repeat(fmt.Sprintf("%d %s; ", n, part), 400) }
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("stream", `{"type":"object"}`, func(c *testkit.MCPCall) {
		var p struct{ Arguments struct{ N int } }
		if err := json.Unmarshal(c.Params, &p); err != nil {
			c.Error(-32602, err.Error())
			return
		}
		c.Stream()
		for i := range 3 {
			c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":%q}}`, c.ProgressToken(), i, text(p.Arguments.N, "step")))
		}
		c.Result(fmt.Sprintf(`{"content":[{"type":"text","text":%q}]}`, text(p.Arguments.N, "end")))
	})
	h := openHouse(t, fmt.Sprintf(`
targets:
  web: {url: %q}
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [web, demo]}
`, upstream.URL))
	c := connect(h, "/mcp")
	var whole, faults atomic.Int64
	whatsWrong := func(format string, args ...any) {
		if faults.Add(1) <= 5 {
			t.Errorf(format, args...)
		}
	}
	stream := func(n int, modern bool) {
		meta := `"_meta":{"progressToken":"p"}`
		if modern {
			meta = `"_meta":{"progressToken":"p","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
		}
		r := c.request(t.Context(), http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":"n%d","method":"tools/call","params":{"name":"web___stream","arguments":{"n":%d},%s}}`, n, n, meta))
		if modern {
			r.Header.Del("Mcp-Session-Id")
			r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
			r.Header.Set("Mcp-Method", "tools/call")
			r.Header.Set("Mcp-Name", "web___stream")
		}
		a, err := c.tryPost(r)
		switch steps := strings.Count(a.body, `"progressToken":"p"`); {
		case err != nil:
			whatsWrong("call %d: %v", n, err)
		case a.text() != text(n, "end"):
			whatsWrong("call %d ends with %.200s", n, a.body[max(0, len(a.body)-200):])
		case steps != 3 || strings.Count(a.body, text(n, "step")) != 3:
			whatsWrong("call %d: %d steps", n, steps)
		default:
			whole.Add(1)
		}
	}
	numbers := make(chan int)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for n := range numbers {
				stream(n, n%2 == 0)
			}
		})
	}
	for n := range total {
		numbers <- n
	}
	close(numbers)
	work.Wait()
	if whole.Load() != total {
		t.Errorf("%d of %d streams are whole", whole.Load(), total)
	}
}
