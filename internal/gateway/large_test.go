package gateway

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// large is the params of a call whose answer is large and says whose it is, so many times.
func large(who string, n, times int) string {
	return `"arguments":{"text":"` + strings.Repeat(fmt.Sprintf("%s-%d ", who, n), times) + `"}`
}

// The buffers of large answers are used again and again. Each answer is still the one to its own call, in both eras, as
// JSON and as events.
func TestLargeAnswersAreNotMixed(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "up")
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{made}, Prefix: true}}})
	check := func(who, text string, n, times int) {
		if want := strings.Repeat(fmt.Sprintf("%s-%d ", who, n), times); !strings.Contains(text, want) || strings.Count(text, "-") != times {
			t.Errorf("the answer to %s is not the one to its call %d: %.200s", who, n, text)
		}
	}
	var work sync.WaitGroup
	for _, who := range []string{"ada", "bob"} {
		for i := range 4 {
			work.Go(func() {
				c := s.caller(who + "-token").initialize(`{}`)
				m := s.modern(who+"-token", `{}`)
				for n := range 16 {
					times := []int{6000, 200}[n/2%2]
					n += 20 * i
					r := c.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":"id","method":"tools/call","params":{"name":"up___echo",`+large(who, n, times)+`}}`)
					if n%2 == 1 {
						r.Header.Set("Accept", "text/event-stream")
					}
					resp := c.do(r)
					body, err := io.ReadAll(resp.Body)
					_ = resp.Body.Close()
					if err != nil {
						t.Error(err)
					}
					check(who, string(body), n, times)
					_, text := m.ask(mcp.MethodToolsCall, "up___echo", large(who, n, times))
					check(who, text, n, times)
				}
			})
		}
	}
	work.Wait()
}

// An answer that was not delivered waits for its client as it was, however many others come meanwhile.
func TestLargeAnswersWaitAsTheyWere(t *testing.T) {
	t.Parallel()
	upstream, made := rawTarget(t, "up")
	goOn := make(chan struct{})
	upstream.Tool("slow", `{"type":"object"}`, func(c *testkit.MCPCall) {
		<-goOn
		c.Result(`{"content":[],"text":"` + strings.Repeat("ada-1 ", 6000) + `"}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{listed(t, made)}, Prefix: true}}, options: Options{Heartbeat: 10 * time.Millisecond}})
	ada, bob := s.caller("ada-token").initialize(`{}`), s.caller("bob-token").initialize(`{}`)
	st := ada.open(http.MethodPost, `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"up___slow"}}`, "")
	primed, _ := st.next()
	st.close() // before the answer
	close(goOn)
	eventually(t, "the call ends", func() bool { return strings.Contains(s.log.String(), `"name":"slow","outcome":"ok"`) })
	for n := range 10 {
		if status, _ := bob.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up___echo",` + large("bob", n, 6000) + `}}`); status != http.StatusOK {
			t.Fatal(status)
		}
	}
	st = ada.open(http.MethodGet, "", primed)
	_, data := st.next()
	if data == "" { // primed again
		_, data = st.next()
	}
	if !strings.Contains(data, strings.Repeat("ada-1 ", 6000)) || strings.Contains(data, "bob") {
		t.Errorf("resumed: %.200s", data)
	}
}
