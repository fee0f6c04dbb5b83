package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

func TestCancellation(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-c.R.Context().Done()
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token").initialize(`{}`)
	call := c.open(http.MethodPost, callTool(`"call-1"`, "wait"), "")
	call.next()
	call.next()
	c.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call-2"}}`) // another one
	c.post(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call-1"}}`)
	if _, data := call.next(); !strings.Contains(data, `"id":"call-1","error":{"code":-31002`) {
		t.Errorf("answer %s", data)
	}
	call.ends()
	eventually(t, "the target is told", func() bool { return len(upstream.RequestsOf("notifications/cancelled")) == 1 })
	sent, told := upstream.RequestsOf("tools/call")[0], upstream.RequestsOf("notifications/cancelled")[0]
	if !strings.Contains(string(told.Params), `"requestId":`+string(sent.ID)) {
		t.Errorf("told %s about call %s", told.Params, sent.ID)
	}
}

func TestVanishedClient(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"json", "stream"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			upstream := testkit.NewMCPServer(t)
			called := make(chan struct{})
			upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
				c.Stream()
				if form == "stream" {
					progress(c, 1)
				}
				close(called)
				<-c.R.Context().Done()
			})
			s := start(t, config{
				options:   Options{Orphan: 10 * time.Millisecond},
				endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
			})
			c := s.caller("ada-token").initialize(`{}`)
			r := c.request(t.Context(), http.MethodPost, callTool("1", "wait"))
			vanishing, vanish := context.WithCancel(t.Context())
			defer vanish()
			var wg sync.WaitGroup
			wg.Go(func() {
				resp, err := c.client.Do(r.WithContext(vanishing))
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
			<-called
			vanish()
			wg.Wait()
			eventually(t, "the target is told", func() bool { return len(upstream.RequestsOf("notifications/cancelled")) == 1 })
			eventually(t, "the log says so", func() bool { return strings.Contains(s.log.String(), `"outcome":"client vanished"`) })
		})
	}
}

// A client that loses its connection in the middle of a call comes back for the rest; the call is made once.
func TestCallIsResumed(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	release := make(chan struct{})
	const orphan = 2 * time.Second // the client has to come back sooner, on a slow machine too
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-release
		progress(c, 2)
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{
		options:   Options{Orphan: orphan},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
	})
	c := s.caller("ada-token").initialize(`{}`)
	call := c.open(http.MethodPost, callTool("1", "wait"), "")
	primed, _ := call.next()
	if primed == "" {
		t.Fatal("no priming event")
	}
	call.next()
	call.close()

	back := c.open(http.MethodGet, "", primed)
	back.next() // priming
	if _, data := back.next(); !strings.Contains(data, `"progress":1`) {
		t.Errorf("replayed %s", data)
	}
	<-time.After(orphan + orphan/2) // longer than a vanished client is waited for
	close(release)
	seen, data := back.next()
	if !strings.Contains(data, `"progress":2`) {
		t.Errorf("then %s", data)
	}
	if _, data := back.next(); !strings.Contains(data, `"id":1,"result"`) {
		t.Errorf("answer %s", data)
	}
	back.ends()

	again := c.open(http.MethodGet, "", seen)
	again.next()
	if _, data := again.next(); !strings.Contains(data, `"id":1,"result"`) {
		t.Errorf("answer for the second time: %s", data)
	}
	again.ends()
	if n := len(upstream.RequestsOf("tools/call")); n != 1 {
		t.Errorf("the call was made %d times", n)
	}
}

// An answer that is no longer held ends in a plain error, never in a second execution.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("steps", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	c := s.caller("ada-token").initialize(`{}`)
	call := c.open(http.MethodPost, callTool(`"x-9"`, "steps"), "")
	primed, _ := call.next()
	call.next()
	call.next()
	call.ends()
	back := c.open(http.MethodGet, "", primed)
	if _, data := back.next(); !strings.Contains(data, `"id":"x-9","error":{"code":-31003`) || !strings.Contains(data, "may have been executed") {
		t.Errorf("got %s", data)
	}
	back.ends()
}

func TestStandaloneStreamIsResumed(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.AwaitStream(t) // the catalogue's
	c := s.caller("ada-token").initialize(`{}`)
	if status, _ := c.post(callEcho); status != http.StatusOK {
		t.Fatal(status)
	}
	upstream.AwaitStream(t) // the session's
	say := func(n int) {
		upstream.Push(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":%d}}`, n))
	}
	say(1) // before anybody listens
	st := c.open(http.MethodGet, "", "")
	st.next()
	id, data := st.next()
	if !strings.Contains(data, `"data":1`) {
		t.Errorf("kept for the first listener: %s", data)
	}
	say(2)
	if _, data = st.next(); !strings.Contains(data, `"data":2`) {
		t.Errorf("sent live: %s", data)
	}
	st.close()
	say(3)
	back := c.open(http.MethodGet, "", id)
	back.next()
	for _, want := range []string{`"data":2`, `"data":3`} {
		if _, data := back.next(); !strings.Contains(data, want) {
			t.Errorf("resumed with %s, want %s", data, want)
		}
	}
	// A second listener takes over; the first is let go.
	taker := c.open(http.MethodGet, "", "an id of another session")
	taker.next()
	back.ends()
	say(4)
	if _, data := taker.next(); !strings.Contains(data, `"data":4`) {
		t.Errorf("after taking over: %s", data)
	}
}

func TestQuietCallsAreKeptAlive(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	release := make(chan struct{})
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		<-release
		c.Result(`{"content":[]}`)
	})
	s := start(t, config{
		options:   Options{Heartbeat: 5 * time.Millisecond},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}},
	})
	c := s.caller("ada-token").initialize(`{}`)
	resp := c.do(c.request(t.Context(), http.MethodPost, callTool("1", "wait"))) // returns before the tool does
	defer resp.Body.Close()
	some := make([]byte, 200)
	for got := ""; !strings.Contains(got, ": still working"); {
		n, err := resp.Body.Read(some)
		if err != nil {
			t.Fatal(err)
		}
		got += string(some[:n])
	}
	close(release)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(rest), `"id":1,"result"`) {
		t.Errorf("%v %s", err, rest)
	}
}

func TestRevokedPersonHearsNothingMore(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	s, upstream := one(t, func(c *config) {
		c.options.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
	})
	upstream.AwaitStream(t)
	c := s.caller("ada-token").initialize(`{}`)
	c.post(callEcho)
	upstream.AwaitStream(t)
	st := c.open(http.MethodGet, "", "")
	st.next()
	s.auth.revoke("ada-token")
	mu.Lock()
	now = now.Add(2 * time.Second)
	mu.Unlock()
	upstream.Push(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"secret"}}`)
	st.ends()
}

func TestQuestionsOutsideCalls(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.AwaitStream(t)
	c := s.caller("ada-token").initialize(`{"roots":{}}`)
	c.post(callEcho)
	upstream.AwaitStream(t)
	st := c.open(http.MethodGet, "", "")
	st.next()
	upstream.Push(`{"jsonrpc":"2.0","id":"up-1","method":"roots/list","params":{"_meta":{"progressToken":"up-t"}}}`)
	_, data := st.next()
	if data != `{"jsonrpc":"2.0","id":1,"method":"roots/list","params":{"_meta":{"progressToken":1}}}` {
		t.Fatalf("asked %s", data)
	}
	// Somebody else's answer is not taken: she has another session.
	bob := s.caller("bob-token").initialize(`{"roots":{}}`)
	bob.post(`{"jsonrpc":"2.0","id":1,"result":{"roots":["forged"]}}`)
	c.post(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":0.5}}`)
	if status, _ := c.post(`{"jsonrpc":"2.0","id":1,"result":{"roots":[]}}`); status != http.StatusAccepted {
		t.Errorf("answer: %d", status)
	}
	find := func(part string) func() bool {
		return func() bool {
			for _, r := range upstream.Requests() {
				if strings.Contains(r.Body, part) {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "the answer arrives under the target's id", find(`"id":"up-1","result":{"roots":[]}`))
	eventually(t, "progress arrives under the target's token", find(`"progressToken":"up-t","progress":0.5`))
	if find("forged")() {
		t.Error("somebody else answered")
	}
	// What the client did not declare is refused on its behalf.
	upstream.Push(`{"jsonrpc":"2.0","id":"up-2","method":"sampling/createMessage","params":{}}`)
	eventually(t, "sampling is refused", find(`"id":"up-2","error":{"code":-32601`))
}

func TestListChangedReachesEveryClient(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, nil)
	upstream.AwaitStream(t)
	ada, bob := s.caller("ada-token").initialize(`{}`), s.caller("bob-token").initialize(`{}`)
	streams := []*stream{ada.open(http.MethodGet, "", ""), bob.open(http.MethodGet, "", "")}
	for _, st := range streams {
		st.next()
	}
	upstream.Tool("fresh", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	upstream.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	for _, st := range streams {
		if _, data := st.next(); data != `{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}` {
			t.Errorf("told %s", data)
		}
	}
	// Whoever was told finds the tool.
	if _, body := ada.post(callTool("1", "fresh")); !strings.Contains(body, `"content":[]`) {
		t.Errorf("new tool: %s", body)
	}
}

// An answer that overtakes the end of its request is cut off by careless proxies; ours are always whole.
func TestNoStreamIsTruncated(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("steps", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		progress(c, 2)
		c.Result(`{"content":[{"type":"text","text":"` + strings.Repeat("x", 5000) + `"}]}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{running(t, newTarget(t, "files", upstream.URL, nil))}}}})
	var wg sync.WaitGroup
	for range 4 {
		c := s.caller("ada-token").initialize(`{}`)
		wg.Go(func() {
			for i := range 75 {
				if _, body := c.post(callTool(fmt.Sprint(i), "steps")); strings.Count(body, "notifications/progress") != 2 || !strings.HasSuffix(body, "xxx\"}]}}\n\n") {
					t.Errorf("call %d: %d bytes: %.300s", i, len(body), body)
				}
			}
		})
	}
	wg.Wait()
}
