package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

const (
	canForm = `{"elicitation":{}}`
	accept  = `{"action":"accept","content":{"name":"Ada"}}`
	form    = `{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}`
)

// asker is a target of the session era with tools that ask, and the gateway in front of it.
type asker struct {
	*setup
	config config
	server *testkit.MCPServer
	client *http.Client // towards it
	heard  chan string  // what the target was answered, whole messages
}

func newAsker(t *testing.T, script func(*asker), change func(*config)) *asker {
	t.Helper()
	server := testkit.NewMCPServer(t)
	a := &asker{server: server, heard: make(chan string, 100)}
	server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		if c.ProgressToken() != "" {
			c.Send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + c.ProgressToken() + `,"progress":1}}`)
		}
		id := `"q"`
		if a.executed() > 1 { // ids are unique
			id = fmt.Sprintf(`"q%d"`, a.executed())
		}
		answer := c.Ask(id, "elicitation/create", form)
		if answer == "" { // the call was cancelled
			a.heard <- "nothing"
			return
		}
		a.heard <- answer
		if c.ProgressToken() != "" {
			c.Send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + c.ProgressToken() + `,"progress":2}}`)
		}
		c.Result(`{"content":[],"structuredContent":{"answer":` + answer + `}}`)
	})
	if script != nil {
		script(a)
	}
	a.client = target.NewHTTPClient()
	made := listed(t, newTarget(t, "raw", server.URL, func(o *target.Options) { o.Client = a.client }))
	t.Cleanup(a.client.CloseIdleConnections)
	c := config{endpoints: []Endpoint{{Targets: []*target.Target{made}}, {Path: "/other/mcp", Targets: []*target.Target{made}}}}
	if change != nil {
		change(&c)
	}
	a.config, a.setup = c, start(t, c)
	return a
}

func (a *asker) executed() int { return len(a.server.RequestsOf("tools/call")) }

// A question of the target becomes the answer to the client's request; the client's answer goes into the very same call.
func TestQuestionWithinACall(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, nil)
	c := a.modern("ada-token", canForm)
	resp := c.do(c.newRequest(t.Context(), mcp.MethodToolsCall, "ask", `"arguments":{"a":1.0}`, `"progressToken":"first"`))
	_, body := c.read(resp)
	asked := inputRequired(t, body)
	if len(asked.keys) != 1 || asked.questions[asked.keys[0]] != "elicitation/create "+form {
		t.Fatalf("asked %v", asked.questions)
	}
	if a.table.Parked() != 1 {
		t.Errorf("%d calls wait", a.table.Parked())
	}
	r := c.newRequest(t.Context(), mcp.MethodToolsCall, "ask", asked.again(`{"a":1.0}`, asked.only(accept)), `"progressToken":"second"`)
	resp = c.do(r)
	defer resp.Body.Close()
	events := newEventReader(resp.Body)
	progress, err := events.Next()
	if err != nil || string(progress.Data) != `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"second","progress":2}}` {
		t.Fatalf("%s %v", progress.Data, err)
	}
	last, err := events.Next()
	if err != nil {
		t.Fatal(err)
	}
	contains(t, "the result", string(last.Data), `"id":2`, `"resultType":"complete"`, `"result":`+accept)
	if got := <-a.heard; got != `{"jsonrpc":"2.0","id":"q","result":`+accept+`}` {
		t.Errorf("the target heard %s", got)
	}
	if n := a.executed(); n != 1 || a.table.Parked() != 0 {
		t.Errorf("%d executions, %d calls wait", n, a.table.Parked())
	}
}

// A client that shows no progress token with its second request hears no progress, and logs nothing that it did not ask for.
func TestAnswersOfEveryKind(t *testing.T) {
	t.Parallel()
	a := newAsker(t, func(a *asker) {
		a.server.Tool("several", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			var wg sync.WaitGroup
			var mu sync.Mutex
			answers := map[string]string{}
			for id, q := range map[string][2]string{`"e"`: {"elicitation/create", form}, `"s"`: {"sampling/createMessage", `{"messages":[],"maxTokens":1}`}, `"r"`: {"roots/list", `{}`}} {
				mu.Lock() // the writer of the stream takes one at a time
				ask := c.Asking(id, q[0], q[1])
				mu.Unlock()
				wg.Go(func() {
					answer := ask()
					mu.Lock()
					defer mu.Unlock()
					answers[id] = answer
				})
			}
			wg.Wait()
			second := c.Ask(`"again"`, "elicitation/create", form)
			c.Result(fmt.Sprintf(`{"content":[],"got":[%s,%s,%s,%s]}`, answers[`"e"`], answers[`"s"`], answers[`"r"`], second))
		})
	}, nil)
	c := a.modern("ada-token", `{"elicitation":{},"sampling":{},"roots":{}}`)
	first := inputRequired(t, c.call("several", ""))
	if len(first.keys) != 3 {
		t.Fatalf("asked side by side: %v", first.questions)
	}
	answers := map[string]string{}
	for key, q := range first.questions {
		switch method, _, _ := strings.Cut(q, " "); method {
		case "elicitation/create":
			answers[key] = `{"action":"decline"}`
		case "sampling/createMessage":
			answers[key] = `{"role":"assistant","content":{"type":"text","text":"hm"},"model":"m"}`
		case "roots/list":
			answers[key] = `{"roots":"none"}` // not a list
		}
	}
	second := inputRequired(t, c.call("several", first.again("", answers)))
	if len(second.keys) != 1 || !strings.HasPrefix(second.questions[second.keys[0]], "roots/list") {
		t.Fatalf("what was not answered is asked again: %v", second.questions)
	}
	if second.state == first.state {
		t.Error("the state is the same")
	}
	third := inputRequired(t, c.call("several", second.again("", map[string]string{second.keys[0]: `{"roots":[]}`, "nobody-asked": `{"roots":[1]}`})))
	if len(third.keys) != 1 || third.keys[0] == first.keys[0] {
		t.Fatalf("the next question: %v", third.questions)
	}
	body := c.call("several", third.again("", third.only(accept)))
	contains(t, "the result", body, `"got":[{"jsonrpc":"2.0","id":"e","result":{"action":"decline"}},{"jsonrpc":"2.0","id":"s","result":{"role":"assistant"`,
		`{"jsonrpc":"2.0","id":"r","result":{"roots":[]}}`, `{"jsonrpc":"2.0","id":"again","result":`+accept)
	if n := a.executed(); n != 1 {
		t.Errorf("%d executions", n)
	}
}

// Nobody but the person who made the call can answer, for that call only, once, and in time.
func TestWhoMayAnswer(t *testing.T) {
	t.Parallel()
	now := testkit.NewClock(time.Now())
	a := newAsker(t, nil, func(c *config) { c.options.Now = now.Now })
	ada := a.modern("ada-token", canForm)
	asked := inputRequired(t, ada.call("ask", `"arguments":{"a":1}`))
	answer := asked.only(accept)
	other := *ada.caller
	other.path = "/other/mcp"
	elsewhere := &modern{caller: &other, can: canForm}
	altered := asked
	altered.state = alter(asked.state)
	for name, body := range map[string]string{
		"another person":     a.modern("bob-token", canForm).call("ask", asked.again(`{"a":1}`, answer)),
		"altered":            ada.call("ask", altered.again(`{"a":1}`, answer)),
		"other arguments":    ada.call("ask", asked.again(`{"a":2}`, answer)),
		"no arguments":       ada.call("ask", asked.again("", answer)),
		"another tool":       ada.call("echo", asked.again(`{"a":1}`, answer)),
		"another endpoint":   elsewhere.call("ask", asked.again(`{"a":1}`, answer)),
		"not a string":       ada.call("ask", `"arguments":{"a":1},"inputResponses":{},"requestState":1`),
		"answers are a list": ada.call("ask", strings.Replace(asked.again(`{"a":1}`, nil), `"inputResponses":{}`, `"inputResponses":[]`, 1)),
		"answers are null":   ada.call("ask", strings.Replace(asked.again(`{"a":1}`, nil), `"inputResponses":{}`, `"inputResponses":null`, 1)),
	} {
		contains(t, name, body, `"code":-32602`)
	}
	if a.table.Parked() != 1 || a.executed() != 1 {
		t.Fatalf("%d calls wait, %d were made", a.table.Parked(), a.executed())
	}
	// The same person with another token, as after a refresh, may answer; many at once do it once.
	results := make(chan string, 8)
	var wg sync.WaitGroup
	for range cap(results) {
		wg.Go(func() { results <- a.modern("ada-admin-token", canForm).call("ask", asked.again(`{"a":1}`, answer)) })
	}
	wg.Wait()
	close(results)
	good := 0
	for body := range results {
		switch {
		case strings.Contains(body, `"resultType":"complete"`):
			good++
		default:
			contains(t, "a second answer", body, `"code":-32602`, "does not wait any more")
		}
	}
	if good != 1 || a.executed() != 1 || len(a.heard) != 1 {
		t.Errorf("%d results, %d executions, the target heard %d answers", good, a.executed(), len(a.heard))
	}
	late := inputRequired(t, ada.call("ask", ""))
	now.Advance(11 * time.Minute)
	contains(t, "too late", ada.call("ask", late.again("", late.only(accept))), `"code":-32602`, "Invalid requestState")
}

// alter changes one character of a sealed value.
func alter(state string) string {
	b := []byte(state)
	if b[5]++; b[5] > 'a' {
		b[5] = 'A'
	}
	return string(b)
}

// A client that never answers costs the target no more than an error, and leaves nothing behind.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, func(c *config) { c.options.AnswerWait = 50 * time.Millisecond })
	c := a.modern("ada-token", canForm)
	asked := inputRequired(t, c.call("ask", ""))
	contains(t, "the target's answer", <-a.heard, `"id":"q","error":{"code":-32603,"message":"the client did not answer in time"}`)
	eventually(t, "nothing waits", func() bool { return a.table.Parked() == 0 })
	contains(t, "an answer that comes too late", c.call("ask", asked.again("", asked.only(accept))), `"code":-32602`)
	if n := a.executed(); n != 1 {
		t.Errorf("%d executions", n)
	}
}

// A target that does not end its call when it got no answer is told that the call is cancelled.
func TestNobodyAnswersAndTheTargetGoesOn(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, func(c *config) { c.options.AnswerWait = 20 * time.Millisecond })
	cancelled := make(chan string, 10)
	a.server.OnNotification(func(method, params string) {
		if method == "notifications/cancelled" {
			cancelled <- params
		}
	})
	a.server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		a.heard <- c.Ask(`"q"`, "elicitation/create", form)
		<-c.R.Context().Done()
	})
	inputRequired(t, a.modern("ada-token", canForm).call("ask", ""))
	contains(t, "the target's answer", <-a.heard, `"error"`)
	contains(t, "the cancellation", <-cancelled, `"requestId":`)
}

// A client that leaves before it was asked has cancelled.
func TestClientLeavesBeforeTheQuestion(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, nil)
	began := make(chan struct{})
	a.server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		close(began)
		<-c.R.Context().Done()
		a.heard <- "cancelled"
	})
	ctx, cancel := context.WithCancel(t.Context())
	c := a.modern("ada-token", canForm)
	go func() {
		<-began
		cancel()
	}()
	if resp, err := c.client.Do(c.newRequest(ctx, mcp.MethodToolsCall, "ask", "", "")); err == nil {
		resp.Body.Close()
	}
	if got := <-a.heard; got != "cancelled" || a.table.Parked() != 0 {
		t.Errorf("%s, %d calls wait", got, a.table.Parked())
	}
}

// Calls that wait are bounded for each person and in all. One that finds no room fails at once, at its target too.
func TestParkedCallsAreBounded(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*session.Options){
		"of one person": func(o *session.Options) { o.MaxParkedOf = 2 },
		"in all":        func(o *session.Options) { o.MaxParked = 2 },
		"in memory":     func(o *session.Options) { o.MaxParkedMem = 16 * 500 }, // of one person too
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAsker(t, nil, func(c *config) { change(&c.session) })
			ada := a.modern("ada-token", canForm)
			first := inputRequired(t, ada.call("ask", ""))
			inputRequired(t, ada.call("ask", ""))
			contains(t, "one too many", ada.call("ask", ""), `"code":-31001`, "too many calls wait for answers")
			contains(t, "the target's answer", <-a.heard, `"error"`)
			_, bob := a.modern("bob-token", canForm).ask(mcp.MethodToolsCall, "ask", "")
			if strings.Contains(bob, "input_required") == (name == "in all") {
				t.Errorf("another person: %s", bob)
			}
			contains(t, "room again", ada.call("ask", first.again("", first.only(accept))), `"resultType":"complete"`)
		})
	}
}

// A target that asks and does not wait for the answer cannot have Gatehouse hold much for a client that may never come.
func TestResultsThatNobodyTakes(t *testing.T) {
	t.Parallel()
	parked := make(chan struct{})
	a := newAsker(t, func(a *asker) {
		for name, size := range map[string]int{"small": 1 << 10, "large": maxHeldResult} {
			a.server.Tool(name, `{"type":"object"}`, func(c *testkit.MCPCall) {
				c.Stream()
				c.Asking(`"`+name+`"`, "elicitation/create", form)
				<-parked
				c.Result(`{"content":[],"x":"` + strings.Repeat("x", size) + `"}`)
			})
		}
		a.server.Tool("long_question", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			c.Result(`{"content":[],"got":` + c.Ask(`"l"`, "elicitation/create", `{"message":"`+strings.Repeat("?", maxQuestions)+`"}`) + `}`)
		})
	}, nil)
	c := a.modern("ada-token", canForm)
	asked := map[string]required{"small": inputRequired(t, c.call("small", "")), "large": inputRequired(t, c.call("large", ""))}
	close(parked)
	s, err := a.table.Standing(principal("ada", "").Key, "/mcp", mcp.ClientCapabilities{Form: true})
	if err != nil {
		t.Fatal(err)
	}
	own := s.Opened(a.config.endpoints[0].Targets[0]).(*connection).own
	a.table.Release(s)
	eventually(t, "the target has answered", func() bool {
		own.mu.Lock()
		defer own.mu.Unlock()
		return len(own.running) == 0
	})
	for name, want := range map[string]string{"small": `"resultType":"complete"`, "large": `"code":-31003`} {
		contains(t, name, c.call(name, asked[name].again("", nil)), want)
	}
	contains(t, "a question that is too long", c.call("long_question", ""), `"resultType":"complete"`, `"error":{"code":-32603`)
}

// Only kinds of questions are asked that the client declares with the very request. A call that fails without its answer
// says what was missing.
func TestQuestionsTheClientCannotAnswer(t *testing.T) {
	t.Parallel()
	a := newAsker(t, func(a *asker) {
		a.server.Tool("sample", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			answer := c.Ask(`"s"`, "sampling/createMessage", `{"messages":[],"maxTokens":1}`)
			if strings.Contains(answer, `"error"`) {
				c.Result(`{"content":[],"isError":true}`)
				return
			}
			c.Result(`{"content":[]}`)
		})
		a.server.Tool("optional", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			c.Result(`{"content":[],"got":` + c.Ask(`"o"`, "elicitation/create", `{"mode":"url","message":"m","url":"https://x.example","elicitationId":"1"}`) + `}`)
		})
		a.server.Tool("fails", `{"type":"object"}`, func(c *testkit.MCPCall) {
			c.Stream()
			c.Ask(`"r"`, "roots/list", `{}`)
			c.Error(-32000, "no roots, no result")
		})
	}, nil)
	for _, can := range []string{`{}`, canForm, `{"sampling":true,"roots":[]}`} {
		c := a.modern("ada-token", can)
		for tool, needed := range map[string]string{"sample": `{"sampling":{}}`, "fails": `{"roots":{}}`} {
			status, body := c.ask(mcp.MethodToolsCall, tool, "")
			if status != http.StatusBadRequest && !strings.Contains(body, "data:") {
				t.Errorf("%s: status %d", tool, status)
			}
			contains(t, tool, body, `"code":-32021`, `"data":{"requiredCapabilities":`+needed+`}`)
		}
		contains(t, "a tool that goes on without", c.call("optional", ""), `"resultType":"complete"`, `"code":-32601`)
	}
	// What was declared first does not count for what is asked later.
	first := inputRequired(t, a.modern("ada-token", canForm).call("ask", ""))
	again := a.modern("ada-token", `{}`)
	status, body := again.ask(mcp.MethodToolsCall, "ask", first.again("", nil))
	contains(t, "asked again", body, `"error":{"code":-32601,"message":"the client does not support elicitation/create"`)
	if status != http.StatusOK {
		t.Errorf("status %d: %s", status, body)
	}
	contains(t, "the target's answer", <-a.heard, `"error"`)
}

// What a target is told about its client is what that client says, and every kind of client has its own upstream session.
func TestTargetsKnowWhatTheirClientCan(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, nil)
	before := len(a.server.RequestsOf("initialize")) // the catalogue's
	for range 2 {
		for _, who := range []string{"ada-token", "bob-token"} {
			a.modern(who, `{}`).call("echo", "")
			a.modern(who, `{"elicitation":{"form":{"x":1}},"roots":{"listChanged":true},"experimental":{}}`).call("echo", "")
			a.modern(who, `{"elicitation":{"form":{}},"roots":{},"extensions":{}}`).call("echo", "")
		}
	}
	seen := map[string]int{}
	for _, r := range a.server.RequestsOf("initialize")[before:] {
		_, rest, _ := strings.Cut(string(r.Params), `"capabilities":`)
		can, _, _ := strings.Cut(rest, `,"clientInfo"`)
		seen[can]++
	}
	if len(seen) != 2 || seen[`{}`] != 2 || seen[`{"elicitation":{},"roots":{}}`] != 2 {
		t.Errorf("initialized with %v", seen)
	}
	if a.table.Len() != 4 {
		t.Errorf("%d sessions", a.table.Len())
	}
}

// A question that a target sends on its own stream belongs to the call that is under way.
func TestQuestionBesideACall(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, nil)
	got := make(chan string)
	a.server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		answer := a.server.Expect(`"beside"`)
		for a.server.PushTo(c.Session, `{"jsonrpc":"2.0","id":"beside","method":"elicitation/create","params":`+form+`}`) == 0 {
			<-time.After(time.Millisecond) // its stream is being opened
		}
		got <- <-answer
		c.Result(`{"content":[]}`)
	})
	c := a.modern("ada-token", canForm)
	asked := inputRequired(t, c.call("ask", ""))
	go func() { contains(t, "the target's answer", <-got, accept) }()
	contains(t, "the result", c.call("ask", asked.again("", asked.only(accept))), `"resultType":"complete"`)
	if n := a.executed(); n != 1 {
		t.Errorf("%d executions", n)
	}
}

// When Gatehouse stops, targets learn that their questions get no answer, and nothing stays.
func TestStopEndsParkedCalls(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, nil)
	inputRequired(t, a.modern("ada-token", canForm).call("ask", ""))
	a.run.cancel()
	contains(t, "the target's answer", <-a.heard, `"error":{"code":-32603`)
	eventually(t, "nothing waits", func() bool { return a.table.Parked() == 0 && a.table.Len() == 0 })
}

// The error by which a target of 2025-11-25 sends a person to a URL becomes a question, and the call is made anew then.
func TestURLInPlaceOfAResult(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, nil)
	visited := false
	a.server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		if !visited {
			c.W.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(c.W, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32042,"message":"go there","data":{"elicitations":[{"mode":"url","url":"https://x.example/connect","elicitationId":"e1","_meta":{"progressToken":1,"k":2.0},"message":"Sign in","x":1.0},{"mode":"form"}]}}}`, c.ID)
			return
		}
		c.Result(`{"content":[],"got":` + string(c.Params) + `}`)
	})
	canURL := a.modern("ada-token", `{"elicitation":{"url":{}}}`)
	asked := inputRequired(t, canURL.call("ask", `"arguments":{}`))
	if len(asked.keys) != 1 || asked.questions[asked.keys[0]] != `elicitation/create {"mode":"url","url":"https://x.example/connect","message":"Sign in","x":1.0,"_meta":{"k":2.0}}` {
		t.Fatalf("asked %v", asked.questions)
	}
	if a.table.Parked() != 0 {
		t.Error("a call waits")
	}
	for _, action := range []string{"decline", "cancel"} {
		body := canURL.call("ask", asked.again(`{}`, asked.only(`{"action":"`+action+`"}`)))
		contains(t, action, body, `"isError":true`, "did not go to the address")
	}
	if n := a.executed(); n != 1 {
		t.Errorf("%d executions", n)
	}
	again := inputRequired(t, canURL.call("ask", asked.again(`{}`, asked.only(`{"action":"accept"}`))))
	visited = true
	body := canURL.call("ask", again.again(`{}`, again.only(`{"action":"accept"}`)))
	contains(t, "the result", body, `"name":"ask","arguments":{}}`, `"resultType":"complete"`)
	if strings.Contains(body, `"requestState"`) || strings.Contains(body, `"inputResponses"`) {
		t.Errorf("the target got what is ours: %s", body)
	}
	visited = false
	for _, can := range []string{`{}`, canForm} {
		status, body := a.modern("ada-token", can).ask(mcp.MethodToolsCall, "ask", "")
		if status != http.StatusBadRequest {
			t.Errorf("status %d", status)
		}
		contains(t, "a client without URLs", body, `"code":-32021`, `"requiredCapabilities":{"elicitation":{"url":{}}}`)
	}
}

// Clients that vanish at any moment leave nothing behind: no call, no place, no goroutine, no request at a target.
func TestVanishingClientsLeaveNothing(t *testing.T) {
	var atTarget atomic.Int64
	a := newAsker(t, func(a *asker) {
		for i, tool := range []string{"quiet", "asks", "chatty"} {
			a.server.Tool(tool, `{"type":"object"}`, func(c *testkit.MCPCall) {
				atTarget.Add(1)
				defer atTarget.Add(-1)
				c.Stream()
				if i > 0 {
					c.Send(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + c.ProgressToken() + `,"progress":1}}`)
				}
				if i == 1 {
					c.Ask(fmt.Sprintf(`"v%s"`, c.ID), "elicitation/create", form)
				}
				<-c.R.Context().Done()
			})
		}
	}, func(c *config) {
		c.keys, c.options.AnswerWait = testkit.Keyring(t), 100*time.Millisecond
		c.session.MaxParkedOf = 1000
	})
	b := start(t, a.config)
	for _, c := range []*modern{a.modern("ada-token", `{}`), b.modern("ada-token", canForm)} { // what stays: a session each
		c.call("echo", "")
		c.client.CloseIdleConnections()
	}
	a.client.CloseIdleConnections()
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for i := range 90 {
		wg.Go(func() {
			s := a
			if i%2 == 1 {
				s = &asker{setup: b}
			}
			c := s.modern("ada-token", []string{`{}`, canForm}[i%2])
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*time.Millisecond)
			defer cancel()
			r := c.newRequest(ctx, mcp.MethodToolsCall, []string{"quiet", "asks", "chatty"}[i%3], "", `"progressToken":1`)
			if resp, err := c.client.Do(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			c.client.CloseIdleConnections()
		})
	}
	wg.Wait()
	eventually(t, "nothing waits or runs", func() bool {
		calls := 0
		for _, s := range []*setup{a.setup, b} {
			s.gateway.calls.mu.Lock()
			calls += s.gateway.calls.total
			s.gateway.calls.mu.Unlock()
		}
		return calls == 0 && a.table.Parked()+b.table.Parked() == 0 && atTarget.Load() == 0
	})
	eventually(t, "the goroutines are gone", func() bool {
		a.client.CloseIdleConnections() // kept for the next call
		return runtime.NumGoroutine() <= before
	})
}
