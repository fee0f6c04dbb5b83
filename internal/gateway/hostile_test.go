package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// stalled is a connection that takes no bytes and yet stays open. Its writes fail once the call is at the target.
type stalled struct {
	*httptest.ResponseRecorder
	called <-chan struct{}
}

func (s stalled) Write([]byte) (int, error) {
	<-s.called
	return 0, errors.New("write timeout")
}

// A client that does not read is as good as gone, though its connection never ends.
func TestStalledClientHasVanished(t *testing.T) {
	t.Parallel()
	upstream, called := testkit.NewMCPServer(t), make(chan struct{})
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		close(called)
		c.Stream()
		progress(c, 1)
		<-c.R.Context().Done()
	})
	s := start(t, config{
		options:   Options{Orphan: 10 * time.Millisecond, Heartbeat: 10 * time.Millisecond},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
	})
	c := s.caller("ada-token").initialize(`{}`)
	began := time.Now()
	s.gateway.Handler("/mcp").ServeHTTP(stalled{httptest.NewRecorder(), called}, c.request(t.Context(), http.MethodPost, callTool("1", "wait")))
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the call went on for %s", took)
	}
	eventually(t, "the target is told", func() bool { return len(upstream.RequestsOf("notifications/cancelled")) == 1 })
}

// The ids of questions are easy to guess, so an answer counts only from the session that was asked.
func TestAnswersOfOtherSessionsCountForNothing(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.Tool("echo", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		said := c.Ask(`"q"`, "elicitation/create", `{"message":"your secret?","requestedSchema":{"type":"object","properties":{}}}`)
		if strings.Contains(said, "forged") {
			c.Error(1, "forged answer arrived")
			return
		}
		c.Result(`{"content":[{"type":"text","text":"the right one"}]}`)
	})
	ada := s.caller("ada-token").initialize(`{"elicitation":{}}`)
	others := []*caller{s.caller("bob-token").initialize(`{"elicitation":{}}`), s.caller("ada-token").initialize(`{"elicitation":{}}`)}
	call := ada.open(http.MethodPost, callTool("1", "echo"), "")
	call.next() // priming
	_, question := call.next()
	if !strings.Contains(question, `"id":1,`) {
		t.Fatalf("question: %s", question)
	}
	for _, other := range others {
		for _, id := range []string{"1", `"q"`, "0", "2"} {
			if status, body := other.post(`{"jsonrpc":"2.0","id":` + id + `,"result":{"action":"accept","content":{"forged":1}}}`); status != http.StatusAccepted {
				t.Errorf("answer %s: %d %s", id, status, body)
			}
		}
	}
	ada.post(`{"jsonrpc":"2.0","id":1,"result":{"action":"decline"}}`)
	if _, answer := call.next(); !strings.Contains(answer, "the right one") {
		t.Errorf("answer: %s", answer)
	}
}

// White space between tokens is the only place for line ends in JSON; they must not become events of their own.
func TestLineEndsOfTheTargetFrameNothing(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.Tool("echo", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Result("{\r\n\r\n\"content\":\r\r[{\"type\":\"text\",\n\n\"text\":\"\\r\\n\\r\\nevent: x\\r\\nid: 7\\r\\ndata: evil\"}]\r}")
	})
	c := s.caller("ada-token").initialize(`{}`)
	r := c.request(t.Context(), http.MethodPost, callTool("1", "echo"))
	r.Header.Set("Accept", "text/event-stream")
	resp := c.do(r)
	defer resp.Body.Close()
	events := newEventReader(resp.Body)
	for n := 0; ; n++ {
		e, err := events.Next()
		if err != nil {
			if n != 2 {
				t.Errorf("%d events, want the priming one and the answer", n)
			}
			return
		}
		if text := string(e.Data); n == 1 && (e.Type != "" || !strings.Contains(text, `\r\ndata: evil`) || e.ID == "7") {
			t.Errorf("event: %q %q %s", e.Type, e.ID, text)
		}
	}
}
