package gateway

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/sandbox"
	"gatehouse/internal/secret"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// count is what this process holds.
type count struct{ goroutines, descriptors, sessions, processes int }

func (s *setup) count() count {
	s.t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		s.t.Fatal(err)
	}
	keepers := 0
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		children, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		keepers += len(strings.Fields(string(children)))
	}
	return count{runtime.NumGoroutine(), len(fds), s.table.Len(), keepers}
}

// Clients that vanish in the middle of a stream leave nothing behind: no goroutine, no descriptor, no session, no
// process. It runs alone, because it counts what the whole process holds.
func TestVanishedClientsLeaveNothing(t *testing.T) {
	upstream := testkit.NewMCPServer(t)
	upstream.Tool("hang", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		progress(c, 1)
		<-c.R.Context().Done()
	})
	var pool *http.Client
	web := listed(t, newTarget(t, "web", upstream.URL, func(o *target.Options) { pool = o.Client }))
	stdio, err := target.New(target.Options{Name: "stdio", Command: &target.CommandOptions{
		Args: []string{os.Args[0]}, Env: map[string]secret.Text{commandEnv: secret.New("hanging")}, IdleTimeout: 500 * time.Millisecond, Sandbox: sandbox.Optional,
	}})
	if err != nil {
		t.Fatal(err)
	}
	// Sessions become old only while nobody calls: under load, a client may take any time between two requests.
	clock := testkit.NewClock(time.Now())
	s := start(t, config{
		options:   Options{Orphan: 50 * time.Millisecond, Heartbeat: 20 * time.Millisecond, Now: clock.Now},
		session:   session.Options{Now: clock.Now, Idle: time.Hour, Absolute: math.MaxInt64, MaxPerPerson: 1000},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{web, listed(t, stdio)}}},
	})
	vanish := func(name, token, tool string, modern bool) {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		c := s.caller(token)
		c.client = &http.Client{Transport: transport}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{},"_meta":{"progressToken":"p"}}}`, tool)
		var r *http.Request
		if modern {
			body = strings.Replace(body, `"_meta":{`, strings.TrimSuffix(modernMeta, "}")+",", 1)
			r = c.modern(ctx, "tools/call", tool, body)
		} else {
			c.initialize(`{}`)
			r = c.request(ctx, http.MethodPost, body)
		}
		resp, err := c.client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
			said, _ := io.ReadAll(resp.Body)
			t.Errorf("%s: %s %s: %s", name, tool, resp.Status, said)
			return
		}
		events := newEventReader(resp.Body)
		for { // until the call is certainly under way
			e, err := events.Next()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			if strings.Contains(string(e.Data), "notifications/progress") {
				break
			}
		}
		cancel() // and away
		_ = resp.Body.Close()
	}
	round := func(clients int) {
		var work sync.WaitGroup
		for n := range clients {
			work.Go(func() {
				vanish(fmt.Sprintf("client %d", n), []string{"ada-token", "bob-token", "eve-token"}[n%3], []string{"web___hang", "stdio___hang"}[n/3%2], n/6%2 == 0)
			})
		}
		work.Wait()
	}
	round(12) // what is kept for good is there now
	sweep := func() count {
		clock.Advance(time.Hour)
		s.table.Sweep()
		pool.CloseIdleConnections() // they are kept for the next call, and not by the clients
		return s.count()
	}
	var before count
	quiet := 0
	settle := func() bool {
		now := sweep()
		if quiet++; now != before || now.sessions > 0 {
			quiet = 0
		}
		before = now
		time.Sleep(100 * time.Millisecond)
		return quiet == 10
	}
	eventually(t, "all is quiet", settle)
	first := before
	round(120)
	busiest := s.count()
	eventually(t, "nothing is left behind", func() bool {
		now := sweep()
		before = now
		return now.goroutines <= first.goroutines && now.descriptors <= first.descriptors && now.sessions == 0 && now.processes <= first.processes
	})
	if busiest.goroutines <= first.goroutines || busiest.sessions == 0 { // the processes may have ended already
		t.Errorf("the clients did nothing: %+v after %+v", busiest, first)
	}
	t.Logf("before %+v, at most %+v, after %+v", first, busiest, before)
}
