package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/cluster"
	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/seal"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// join makes the gateway one of several copies, which know the same keys.
func (s *setup) join(keys *seal.Keyring, log *slog.Logger) *cluster.Copies {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c, err := cluster.New(cluster.Options{
		Keys: keys, Origin: "https://gatehouse.example", Listen: address, Address: address, Log: log,
		Serve: func(w http.ResponseWriter, r *http.Request, who *identity.Principal, endpoint string) {
			if s.lost.Load() {
				panic(http.ErrAbortHandler)
			}
			s.gateway.HandedOn(w, r, who, endpoint)
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if err := c.Listen(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	s.internal = newRunner(s.t)
	s.internal.start(s.t, c.Run)
	return c
}

// kill makes a copy unreachable for others, as when its machine is gone.
func (s *setup) kill() {
	s.internal.cancel()
	s.internal.wg.Wait()
}

// two are copies of one Gatehouse in front of the same targets; a stands for the one that is asked first.
func two(t *testing.T, change func(*config), targets ...*target.Target) (a, b *setup) {
	t.Helper()
	c := config{keys: testkit.Keyring(t), endpoints: []Endpoint{{Targets: targets}}}
	if change != nil {
		change(&c)
	}
	return start(t, c), start(t, c)
}

// at is the same client at another copy, as a load balancer does it.
func (c *caller) at(s *setup) *caller {
	own := *c
	own.s = s
	return &own
}

// A session that lives on another copy is served all the same: its calls, notifications and questions, its streams with
// what was missed, and its end. The token stays on the copy that took the request.
func TestSessionOfAnotherCopy(t *testing.T) {
	t.Parallel()
	server, made := rawTarget(t, "raw")
	a, b := two(t, nil, made)
	home := a.caller("ada-token").initialize(`{"elicitation":{}}`)
	away := home.at(b)
	if status, body := away.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`); status != http.StatusOK || body != `{"jsonrpc":"2.0","id":1,"result":{}}` {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := away.post(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"x":1.0}}}`); status != http.StatusOK || !strings.Contains(body, `{\"x\":1.0}`) {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := away.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); status != http.StatusAccepted {
		t.Errorf("a notification: %d", status)
	}
	if b.table.Len() != 0 || a.table.Len() != 1 {
		t.Errorf("%d and %d sessions", a.table.Len(), b.table.Len())
	}
	// A stream that is opened at one copy and goes on at another.
	st := away.open(http.MethodGet, "", "")
	last, _ := st.next()
	server.Tool("new", `{"type":"object"}`, func(*testkit.MCPCall) {})
	server.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
	id, data := st.next()
	contains(t, "the stream at the other copy", data, "notifications/tools/list_changed")
	st.close()
	again := home.open(http.MethodGet, "", last)
	again.next() // priming
	if again, data := again.next(); again != id || !strings.Contains(data, "list_changed") {
		t.Errorf("resumed with %s %s, want %s", again, data, id)
	}
	again.close()
	// Another person, another endpoint.
	for name, c := range map[string]*caller{"another person": {s: b, client: away.client, path: "/mcp", token: "bob-token", session: away.session, revision: away.revision}} {
		if status, body := c.post(`{"jsonrpc":"2.0","id":3,"method":"ping"}`); status != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, log := range []string{a.log.String(), b.log.String()} {
		if strings.Contains(log, "ada-token") {
			t.Error("a token is in the log")
		}
	}
	resp := away.do(away.request(t.Context(), http.MethodDelete, ""))
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent || a.table.Len() != 0 {
		t.Errorf("deleted: %d, %d sessions", resp.StatusCode, a.table.Len())
	}
	for _, c := range []*caller{home, away} {
		if status, body := c.post(`{"jsonrpc":"2.0","id":4,"method":"ping"}`); status != http.StatusNotFound || body != "session not found\n" {
			t.Errorf("after the end: %d %s", status, body)
		}
	}
}

// A question of a target goes out over the stream that another copy relays, and its answer comes in by either.
func TestQuestionThroughAnotherCopy(t *testing.T) {
	t.Parallel()
	server := testkit.NewMCPServer(t)
	server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		c.Result(`{"content":[],"got":` + c.Ask(`"q"`, "elicitation/create", form) + `}`)
	})
	a, b := two(t, nil, listed(t, newTarget(t, "raw", server.URL, nil)))
	home := a.caller("ada-token").initialize(`{"elicitation":{}}`)
	st := home.at(b).open(http.MethodPost, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ask"}}`, "")
	st.next()
	_, question := st.next()
	if status, _ := home.at(b).post(`{"jsonrpc":"2.0","id":` + idOf(question) + `,"result":` + accept + `}`); status != http.StatusAccepted {
		t.Errorf("%d", status)
	}
	_, result := st.next()
	contains(t, "the result", result, `"id":7`, accept)
	st.ends()
}

// A stream that another copy relays ends when the token that opened it is no longer good.
func TestRelayedStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "raw")
	now := testkit.NewClock(time.Now())
	a, b := two(t, func(c *config) { c.options.Heartbeat, c.options.Now = 20*time.Millisecond, now.Now }, made)
	home := a.caller("ada-token").initialize(`{}`)
	st := home.at(b).open(http.MethodGet, "", "")
	st.next()
	b.auth.revoke("ada-token") // the owner is not asked about the token: it never had it
	now.Advance(2 * time.Second)
	st.ends()
	eventually(t, "nobody reads the stream", func() bool {
		s, err := a.table.Use(home.session, identity.PersonKey{Issuer: "https://idp.example", Subject: "ada"}, "/mcp")
		if err != nil {
			t.Fatal(err)
		}
		defer a.table.Release(s)
		return !s.Standalone().Watched()
	})
}

// A relayed stream ends when the copy in between stops, so that its client comes back.
func TestRelayedStreamEndsWithItsCopy(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "raw")
	a, b := two(t, nil, made)
	home := a.caller("ada-token").initialize(`{}`)
	st := home.at(b).open(http.MethodGet, "", "")
	st.next()
	a.kill() // begins to stop: streams are told to end
	st.ends()
}

// The policy is asked where the session lives, with what the other copy verified; a challenge comes back whole.
func TestAnotherCopyDecides(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "raw")
	a, b := two(t, func(c *config) {
		c.endpoints[0].Policy = anySignedIn(t, policy.Requirement{Target: "raw", Method: "tools/call", Name: "echo", Scopes: identity.Scopes{"mcp:admin"}})
	}, made)
	home := a.caller("ada-token").initialize(`{}`)
	away := home.at(b)
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`
	resp := away.do(away.request(t.Context(), http.MethodPost, call))
	resp.Body.Close()
	if got := resp.Header.Get("Www-Authenticate"); resp.StatusCode != http.StatusForbidden || got != `Bearer error="insufficient_scope", scope="mcp:tools mcp:admin"` {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	away.token = "ada-admin-token"
	if status, body := away.post(call); status != http.StatusOK || !strings.Contains(body, `"content"`) {
		t.Errorf("%d %s", status, body)
	}
	away.token = "nobody"
	if status, _ := away.post(call); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
}

// Over HTTP+SSE, messages may arrive at any copy; the answers go over the stream.
func TestLineOfAnotherCopy(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "raw")
	a, b := two(t, nil, made)
	c := a.caller("ada-token")
	st := c.open(http.MethodGet, "", "")
	_, address := st.next()
	away := c.at(b)
	away.path = address
	for i, message := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"old","version":"1"}}}`,
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{}}}`,
	} {
		if status, body := away.post(message); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, body)
		}
		_, answer := st.next()
		contains(t, "the answer", answer, fmt.Sprintf(`"id":%d,"result"`, i+1))
	}
}

// A parked call is answered through any copy, once; its progress comes back by the same way.
func TestParkedCallOfAnotherCopy(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, func(c *config) { c.keys = testkit.Keyring(t) })
	b := start(t, a.config)
	home := a.modern("ada-token", canForm)
	asked := inputRequired(t, home.call("ask", `"arguments":{"a":1.0}`))
	away := &modern{caller: home.at(b), can: canForm, nextID: 10}
	for name, body := range map[string]string{
		"another person":  (&modern{caller: b.caller("bob-token"), can: canForm}).call("ask", asked.again(`{"a":1.0}`, asked.only(accept))),
		"other arguments": away.call("ask", asked.again(`{"a":2}`, asked.only(accept))),
	} {
		contains(t, name, body, `"code":-32602`)
	}
	contains(t, "nothing but the state", away.call("ask", strings.Replace(asked.again(`{"a":1.0}`, nil), `"inputResponses":{},`, "", 1)), `"resultType":"input_required"`)
	asked = inputRequired(t, home.call("ask", `"arguments":{"a":1.0}`))
	resp := away.do(away.newRequest(t.Context(), mcp.MethodToolsCall, "ask", asked.again(`{"a":1.0}`, asked.only(accept)), ""))
	status, body := away.read(resp)
	contains(t, "the result", body, `"resultType":"complete"`, accept)
	if status != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", status, resp.Header.Get("Content-Type"))
	}
	contains(t, "a second answer", away.call("ask", asked.again(`{"a":1.0}`, asked.only(accept))), `"code":-32602`, "does not wait any more")
	if n := a.executed(); n != 2 || b.table.Parked() != 0 || a.table.Parked() != 1 {
		t.Errorf("%d executions, %d and %d calls wait", n, a.table.Parked(), b.table.Parked())
	}
}

// When the owner is gone, a session is unknown, at which clients begin anew, and a parked call is lost: it is not made again.
func TestOwnerIsGone(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, func(c *config) { c.keys = testkit.Keyring(t) })
	b := start(t, a.config)
	session := a.caller("ada-token").initialize(`{}`)
	home := a.modern("ada-token", canForm)
	asked := inputRequired(t, home.call("ask", ""))
	a.kill()
	away := &modern{caller: home.at(b), can: canForm}
	contains(t, "the call", away.call("ask", asked.again("", asked.only(accept))), `"code":-31003`, "It may have been executed")
	for method, body := range map[string]string{http.MethodPost: `{"jsonrpc":"2.0","id":1,"method":"ping"}`, http.MethodGet: "", http.MethodDelete: ""} {
		resp := session.at(b).do(session.at(b).request(t.Context(), method, body))
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound || string(text) != "session not found\n" {
			t.Errorf("%s: %d %s", method, resp.StatusCode, text)
		}
	}
	session.at(b).initialize(`{}`)
	if n := a.executed(); n != 1 {
		t.Errorf("%d executions", n)
	}
}

// An owner that is lost in the middle of a call may have executed it, and the client is told so.
func TestOwnerIsLostOnTheWay(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, func(c *config) { c.keys = testkit.Keyring(t) })
	b := start(t, a.config)
	session, home := a.caller("ada-token").initialize(`{}`).at(b), a.modern("ada-token", canForm)
	asked := inputRequired(t, home.call("ask", ""))
	a.lost.Store(true)
	status, body := session.post(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`)
	if status != http.StatusBadGateway || !strings.Contains(body, `"copy_lost"`) || !strings.Contains(body, "may have been executed") {
		t.Errorf("%d %s", status, body)
	}
	away := &modern{caller: home.at(b), can: canForm}
	contains(t, "a parked call", away.call("ask", asked.again("", asked.only(accept))), `"code":-31003`, "may have been executed")
}

// A client that leaves the copy in between is gone for the owner too: in the stateless era that cancels its call.
func TestLeavingCancelsThroughAnotherCopy(t *testing.T) {
	t.Parallel()
	a := newAsker(t, nil, func(c *config) { c.keys = testkit.Keyring(t) })
	b := start(t, a.config)
	began, ended := make(chan struct{}), make(chan struct{})
	a.server.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		c.Ask(`"q"`, "elicitation/create", form)
		close(began)
		<-c.R.Context().Done()
		close(ended)
	})
	home := a.modern("ada-token", canForm)
	asked := inputRequired(t, home.call("ask", ""))
	away := &modern{caller: home.at(b), can: canForm}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if resp, err := away.client.Do(away.newRequest(ctx, mcp.MethodToolsCall, "ask", asked.again("", asked.only(accept)), "")); err == nil {
		resp.Body.Close()
	}
	<-ended
}

// What was handed on once is not handed on again, and a copy without others knows no other's sessions.
func TestHandedOnOnce(t *testing.T) {
	t.Parallel()
	_, made := rawTarget(t, "raw")
	a, b := two(t, nil, made)
	third := start(t, config{keys: nil, endpoints: []Endpoint{{Targets: []*target.Target{made}}}})
	home := a.caller("ada-token").initialize(`{}`)
	r := home.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	w := httptest.NewRecorder()
	b.gateway.HandedOn(w, r, principal("ada", "mcp:tools"), "/mcp") // as if it came from another copy
	if w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if status, _ := home.at(third).post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`); status != http.StatusNotFound {
		t.Errorf("a copy that is alone: %d", status)
	}
	w = httptest.NewRecorder()
	b.gateway.HandedOn(w, r, principal("ada", "mcp:tools"), "/nowhere")
	if w.Code != http.StatusNotFound {
		t.Errorf("an endpoint that is not there: %d", w.Code)
	}
}
