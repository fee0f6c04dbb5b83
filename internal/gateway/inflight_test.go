package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// One person's calls do not crowd the others out, and all together stay bounded. What ends makes room.
func TestTooManyCallsInFlight(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	begun, release := make(chan struct{}, 8), make(chan struct{})
	upstream.Tool("wait", `{"type":"object"}`, func(c *testkit.MCPCall) {
		begun <- struct{}{}
		select {
		case <-release:
			c.Result(`{"content":[{"type":"text","text":"done"}]}`)
		case <-c.R.Context().Done():
		}
	})
	files := running(t, newTarget(t, "files", upstream.URL, nil))
	s := start(t, config{
		options:   Options{MaxCalls: 2, MaxCallsPerPerson: 1},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{files}}},
	})
	answers := make(chan string, 2)
	call := func(c *caller) {
		go func() {
			_, body := c.post(callTool("1", "wait"))
			answers <- body
		}()
		<-begun
	}
	ada, bob, eve := s.caller("ada-token").initialize(`{}`), s.caller("bob-token").initialize(`{}`), s.caller("eve-token").initialize(`{}`)
	call(ada)
	if status, body := ada.post(callTool("2", "wait")); status != http.StatusTooManyRequests {
		t.Errorf("second call of one person: %d %s, want 429", status, body)
	}
	call(bob)
	if status, body := eve.post(callTool("1", "wait")); status != http.StatusServiceUnavailable {
		t.Errorf("one call too many in all: %d %s, want 503", status, body)
	}
	close(release)
	for range 2 {
		if body := <-answers; !strings.Contains(body, "done") {
			t.Errorf("a call that was let in: %s", body)
		}
	}
	eventually(t, "room again", func() bool {
		status, _ := eve.post(callTool("3", "wait"))
		return status == http.StatusOK
	})
	calls := &s.gateway.calls
	calls.mu.Lock()
	defer calls.mu.Unlock()
	for who, own := range calls.byPerson {
		if own.calls != 0 || calls.total != 0 {
			t.Errorf("%v is still counted with %d of %d calls", who, own.calls, calls.total)
		}
	}
}

// People who have called once are not remembered for ever.
func TestPeopleWithoutCallsAreForgotten(t *testing.T) {
	t.Parallel()
	f := inflight{max: 2, maxPerPerson: 1}
	person := func(i int) identity.PersonKey { return identity.PersonKey{Issuer: "i", Subject: strconv.Itoa(i)} }
	busy, err := f.enter(person(-1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		own, err := f.enter(person(i))
		if err != nil {
			t.Fatal(err)
		}
		f.leave(own)
	}
	if n := len(f.byPerson); n > 4 {
		t.Errorf("%d persons are remembered", n)
	}
	if _, err := f.enter(person(-1)); err == nil {
		t.Error("a person with a call was forgotten")
	}
	f.leave(busy)
	if _, err := f.enter(person(-1)); err != nil || f.count() != 1 {
		t.Errorf("%v, %d calls", err, f.count())
	}
}
