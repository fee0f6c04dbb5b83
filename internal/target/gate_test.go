package target

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

// mortal is a server that can be killed and comes back at the same address.
type mortal struct {
	t    *testing.T
	s    *testkit.MCPServer
	addr string

	silent atomic.Bool // it takes requests and says nothing

	mu      sync.Mutex // guards what follows
	current *http.Server
	done    chan struct{}
}

func newMortal(t *testing.T) *mortal {
	t.Helper()
	m := &mortal{t: t, s: testkit.NewMCPServer(t), addr: "127.0.0.1:0"}
	m.live()
	t.Cleanup(m.die)
	return m
}

func (m *mortal) live() {
	m.t.Helper()
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addr = l.Addr().String()
	server, done := &http.Server{Handler: m}, make(chan struct{})
	m.current, m.done = server, done
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
}

// ServeHTTP implements http.Handler.
func (m *mortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if m.silent.Load() {
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not noticed
		<-r.Context().Done()
		return
	}
	m.s.ServeHTTP(w, r)
}

// die ends the server as a kill does: every connection breaks.
func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != nil {
		_ = m.current.Close()
		<-m.done
		m.current = nil
	}
}

func (m *mortal) options() Options {
	return Options{HTTP: &HTTPOptions{URL: "http://" + m.addr + "/mcp"}}
}

func (m *mortal) target() *Target {
	m.t.Helper()
	tg := started(m.t, m.options())
	if _, err := tg.Catalog(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	return tg
}

// A target that is known to be down refuses at once, is found again by itself, and lists what it had all the while.
func TestTargetThatDiesAndComesBack(t *testing.T) {
	t.Parallel()
	m := newMortal(t)
	tg := m.target()
	conn := connected(t, tg, Caller{Principal: person("ada")}, nil)
	mustEcho := func() {
		t.Helper()
		if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	mustEcho()
	m.die()
	_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil)
	wants(t, err, Down)
	for tg.Health().State != Offline {
		if sleep(t.Context(), 5*time.Millisecond) != nil {
			t.Fatal("nobody notices")
		}
	}
	before := time.Now()
	for range 3 {
		_, err = conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil)
		wants(t, err, Down)
		trouble, _ := errors.AsType[*Trouble](err)
		if trouble == nil || !trouble.Unsent || !strings.Contains(trouble.Message, `The server "up" is not available, since 2`) {
			t.Errorf("%+v", trouble)
		}
	}
	if d := time.Since(before); d > tg.opt.Timeout/2 {
		t.Errorf("three refusals took %s", d)
	}
	if _, err := tg.Connect(t.Context(), Caller{Principal: person("bob")}, nil); err == nil || !strings.Contains(err.Error(), ", since ") {
		t.Errorf("another person's connection: %v", err)
	}
	if c, err := tg.Catalog(t.Context()); err != nil || len(c.Tools) != 1 {
		t.Errorf("the list of a target that is down: %v %v", c, err)
	}
	m.live()
	back := time.Now()
	for {
		if _, err = conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil); err == nil {
			break
		}
		if time.Since(back) > 20*time.Second {
			t.Fatal(err)
		}
	}
	if h := tg.Health(); h.State != OK || h.LastError != "" {
		t.Errorf("%+v", h)
	}
}

// A call that is on its way when its target is killed ends at once, and says that it may have been executed.
func TestTargetKilledMidCall(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{false, true} {
		m := newMortal(t)
		under := make(chan struct{}, 1)
		m.s.Tool("hang", `{}`, func(c *testkit.MCPCall) {
			if streams {
				c.Stream()
				c.SendRaw(": on its way\n\n")
			}
			under <- struct{}{}
			<-c.R.Context().Done()
		})
		tg := m.target()
		conn := connected(t, tg, Caller{Principal: person("ada")}, nil)
		ended := make(chan error, 1)
		go func() {
			_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("hang", ""), nil)
			ended <- err
		}()
		receive(t, under, "the call")
		before := time.Now()
		m.die()
		err := receive(t, ended, "its end")
		wants(t, err, Down)
		if d := time.Since(before); d > tg.opt.Timeout/2 {
			t.Errorf("it took %s", d)
		}
		if trouble, _ := errors.AsType[*Trouble](err); trouble == nil || trouble.Unsent {
			t.Errorf("%+v", trouble)
		}
		m.live()
		for back := time.Now(); ; {
			if _, err = conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil); err == nil {
				break
			}
			if time.Since(back) > 20*time.Second {
				t.Fatal(err)
			}
		}
	}
}

// A target that says nothing at all is refused as well, once that is known.
func TestSilentTargetIsRefused(t *testing.T) {
	t.Parallel()
	m := newMortal(t)
	m.silent.Store(true)
	o := m.options()
	o.Timeout = 3 * time.Second
	tg := started(t, o)
	_, err := tg.Catalog(t.Context())
	wants(t, err, Timeout)
	_, err = tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
	wants(t, err, Timeout)
	if err == nil || !strings.Contains(err.Error(), ", since ") {
		t.Errorf("not refused at the gate: %v", err)
	}
	before := time.Now()
	m.silent.Store(false)
	for {
		conn, err := tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
		if err == nil {
			conn.Close()
			return
		}
		if time.Since(before) > 20*time.Second {
			t.Fatal(err)
		}
	}
}

// Rubbish is an answer: it shuts no gate, because each call may fare otherwise.
func TestRubbishShutsNoGate(t *testing.T) {
	t.Parallel()
	m := newMortal(t)
	m.s.Handle("tools/list", func(c *testkit.MCPCall) { c.Result(`{"tools":"many"}`) })
	tg := started(t, m.options())
	if _, err := tg.Catalog(t.Context()); err == nil {
		t.Fatal("the list is rubbish")
	}
	if h := tg.Health(); h.State != Offline {
		t.Errorf("%+v", h)
	}
	conn := connected(t, tg, Caller{Principal: person("ada")}, nil)
	if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil); err != nil {
		t.Error(err)
	}
}

// Only what changes nothing is asked a second time, and only when not a byte of an answer had come.
func TestWhatIsRepeated(t *testing.T) {
	t.Parallel()
	m := newMortal(t)
	hints := `"tools":[{"name":"reads","inputSchema":{},"annotations":{"readOnlyHint":true}},{"name":"sets","inputSchema":{},"annotations":{"readOnlyHint":false,"idempotentHint":true}},{"name":"adds","inputSchema":{},"annotations":{"destructiveHint":false,"idempotentHint":"true"}}]`
	m.s.Handle("tools/list", func(c *testkit.MCPCall) { c.Result(`{` + hints + `}`) })
	var broken atomic.Int32
	breaks := func(c *testkit.MCPCall, afterSome bool) {
		if broken.Add(1) > 1 {
			c.Result(`{}`)
			return
		}
		if afterSome {
			c.Stream()
			c.SendRaw(": still here\n\n")
		}
		conn, _, err := http.NewResponseController(c.W).Hijack()
		if err == nil {
			_ = conn.Close()
		}
	}
	m.s.Handle("tools/call", func(c *testkit.MCPCall) { breaks(c, strings.Contains(string(c.Params), `"some"`)) })
	m.s.Handle("resources/read", func(c *testkit.MCPCall) { breaks(c, false) })
	tg := m.target()
	conn := connected(t, tg, Caller{Principal: person("ada")}, nil)
	for _, tc := range []struct {
		method, params string
		times          int32
	}{
		{mcp.MethodResourcesRead, `{"uri":"x://1"}`, 2},
		{mcp.MethodToolsCall, `{"name":"reads"}`, 2},
		{mcp.MethodToolsCall, `{"name":"sets"}`, 2},
		{mcp.MethodToolsCall, `{"name":"adds"}`, 1},
		{mcp.MethodToolsCall, `{"name":"unlisted"}`, 1},
		{mcp.MethodToolsCall, `{"name":"reads","arguments":"some"}`, 1},
		{mcp.MethodToolsCall, `{"name":"reads","requestState":"s"}`, 1},
	} {
		broken.Store(0)
		_, err := conn.Call(t.Context(), tc.method, []byte(tc.params), nil)
		if n := broken.Load(); n != tc.times {
			t.Errorf("%s %s: sent %d times, want %d (%v)", tc.method, tc.params, n, tc.times, err)
		}
		if (err == nil) != (tc.times == 2) {
			t.Errorf("%s %s: %v", tc.method, tc.params, err)
		}
		if trouble, ok := errors.AsType[*Trouble](err); ok && trouble.Unsent {
			t.Errorf("%s %s: it says that nothing was sent", tc.method, tc.params)
		}
	}
}

// With one turn at a time, those who wait are served person by person.
func TestTurnsGoRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		if err := turns.take(t.Context(), person("ada").Key); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var served []string
		impatient, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		for _, who := range []string{"ada1", "ada2", "ada3", "bob1", "eve1", "bob2", "cyd1"} {
			ctx := t.Context()
			if who == "eve1" || who == "ada2" {
				ctx = impatient
			}
			work.Go(func() {
				if err := turns.take(ctx, person(who[:3]).Key); err != nil {
					return
				}
				mu.Lock()
				served = append(served, who)
				mu.Unlock()
				turns.give()
			})
			synctest.Wait() // they come one after the other
		}
		cancel()
		synctest.Wait()
		turns.give()
		work.Wait()
		if got := strings.Join(served, " "); got != "ada1 bob1 cyd1 ada3 bob2" {
			t.Error(got)
		}
		if turns.free != 1 || len(turns.order) != 0 || len(turns.waiting) != 0 {
			t.Errorf("left: %d %v %v", turns.free, turns.order, turns.waiting)
		}
	})
}

func TestCallsToATargetAreBounded(t *testing.T) {
	t.Parallel()
	m := newMortal(t)
	var at, most atomic.Int32
	m.s.Tool("slow", `{}`, func(c *testkit.MCPCall) {
		n := at.Add(1)
		defer at.Add(-1)
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		c.Result(`{"content":[]}`)
	})
	o := m.options()
	o.MaxCalls = 3
	tg := started(t, o)
	var work sync.WaitGroup
	for _, who := range []string{"ada", "bob", "cyd"} {
		conn := connected(t, tg, Caller{Principal: person(who)}, nil)
		for range 20 {
			work.Go(func() {
				if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("slow", ""), nil); err != nil {
					t.Error(err)
				}
			})
		}
	}
	work.Wait()
	if n := most.Load(); n != 3 {
		t.Errorf("%d calls at the same time, want 3", n)
	}
}
