package target

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

// Many calls at a time, of two connections, answered out of order, some cancelled on the way: every answer and every
// progress notification belongs to its call.
func TestAnswersBelongToTheirCalls(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("jumble", `{}`, func(c *testkit.MCPCall) {
		var p struct{ Arguments json.RawMessage }
		_ = json.Unmarshal(c.Params, &p)
		time.Sleep(rand.N(3 * time.Millisecond))
		if len(p.Arguments)%2 == 0 {
			c.Stream()
			c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":1,"message":%q}}`, c.ProgressToken(), p.Arguments))
		}
		text, _ := json.Marshal(string(p.Arguments))
		c.Result(`{"content":[{"type":"text","text":` + string(text) + `}]}`)
	})
	for name, o := range map[string]Options{"command": command("raw"), "HTTP": rawOptions(s)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tg := started(t, o)
			conns := []*Conn{
				connected(t, tg, Caller{Principal: person("ada")}, newRecorder()),
				connected(t, tg, Caller{Principal: person("ada")}, newRecorder()),
			}
			var wg sync.WaitGroup
			for worker := range 64 {
				wg.Go(func() {
					for n := range 30 {
						jumbledCall(t, conns[worker%2], fmt.Sprintf("%d-%d", worker, n))
					}
				})
			}
			wg.Wait()
		})
	}
}

func jumbledCall(t *testing.T, c *Conn, mine string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if rand.N(3) == 0 {
		time.AfterFunc(rand.N(3*time.Millisecond), cancel)
	}
	arguments := fmt.Sprintf(`{"mine":%q}`, mine)
	params := toolParams("jumble", fmt.Sprintf(`,"arguments":%s,"_meta":{"progressToken":%q}`, arguments, mine))
	result, err := c.Call(ctx, mcp.MethodToolsCall, params, func(m *mcp.Message) {
		said, _ := mcp.LookupString(m.Params, "message")
		if said != arguments || string(m.ProgressToken) != `"`+mine+`"` {
			t.Errorf("call %s heard %s", mine, m.Params)
		}
	})
	switch {
	case err != nil && ctx.Err() == nil:
		t.Errorf("call %s: %v", mine, err)
	case err == nil && textOf(t, result) != arguments:
		t.Errorf("call %s got %s", mine, result)
	}
}
