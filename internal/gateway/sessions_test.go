package gateway

import (
	"net/http"
	"testing"
	"time"

	"gatehouse/internal/session"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// Sessions with targets begin with the first call that needs them, and end with the session of the client, however that
// ends.
func TestUpstreamSessionsFollowTheirClient(t *testing.T) {
	t.Parallel()
	used, a := rawTarget(t, "used")
	unused, b := rawTarget(t, "unused")
	clock := testkit.NewClock(time.Now())
	s := start(t, config{
		session:   session.Options{Now: clock.Now, Idle: time.Hour, Absolute: 24 * time.Hour},
		endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{a, b}}},
	})
	begun := func(server *testkit.MCPServer) int { return len(server.RequestsOf("initialize")) - 1 } // one is for the catalogue
	ended := func() int { return len(used.RequestsOf(http.MethodDelete)) }
	for i, end := range []struct {
		how string
		by  func(c *caller)
	}{
		{"DELETE", func(c *caller) {
			resp := c.do(c.request(t.Context(), http.MethodDelete, ""))
			resp.Body.Close()
			if resp.StatusCode != http.StatusNoContent {
				t.Errorf("DELETE: %d", resp.StatusCode)
			}
		}},
		{"nobody comes for an hour", func(*caller) { clock.Advance(time.Hour); s.table.Sweep() }},
		{"a day is over", func(c *caller) {
			for range 47 {
				clock.Advance(31 * time.Minute)
				s.table.Sweep()
				if status, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`); status != http.StatusOK && status != http.StatusNotFound {
					t.Errorf("ping: %d %s", status, body)
				}
			}
		}},
	} {
		c := s.caller("ada-token").initialize(`{}`)
		if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); begun(used) != i {
			t.Errorf("%s: a list opened a session: %s", end.how, body)
		}
		for range 2 {
			if status, body := c.post(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"used___echo","arguments":{}}}`); status != http.StatusOK || begun(used) != i+1 {
				t.Errorf("%s: %d sessions after a call: %d %s", end.how, begun(used), status, body)
			}
		}
		if ended() != i {
			t.Errorf("%s: %d sessions have ended", end.how, ended())
		}
		end.by(c)
		eventually(t, "the upstream session to end: "+end.how, func() bool { return ended() == i+1 })
		if status, body := c.post(`{"jsonrpc":"2.0","id":3,"method":"ping"}`); status != http.StatusNotFound {
			t.Errorf("%s: the session goes on: %d %s", end.how, status, body)
		}
	}
	if begun(unused) != 0 {
		t.Errorf("%d sessions with a target that nobody called", begun(unused))
	}
}
