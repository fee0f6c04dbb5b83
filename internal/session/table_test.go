package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTable(t testing.TB, change func(*Options)) (*Table, *testkit.Clock) {
	t.Helper()
	c := testkit.NewClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	o := Options{Box: testkit.Keyring(t).Box(Purpose), Owner: "copy-1", Now: c.Now}
	if change != nil {
		change(&o)
	}
	table, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return table, c
}

func person(name string) identity.PersonKey {
	return identity.PersonKey{Issuer: "https://idp.example", Subject: name}
}

func create(t testing.TB, table *Table, who string) *Session {
	t.Helper()
	s, err := table.Create(Facts{Person: person(who), Endpoint: "/mcp", Client: Client{Revision: mcp.Rev20251125, Capabilities: []byte(`{"sampling":{}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChecklist51_SessionAnswersOnlyItsPerson(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	for name, use := range map[string]func() (*Session, error){
		"another person": func() (*Session, error) { return table.Use(s.ID, person("bob"), "/mcp") },
		"another issuer": func() (*Session, error) {
			return table.Use(s.ID, identity.PersonKey{Issuer: "https://evil.example", Subject: "ada"}, "/mcp")
		},
		"another endpoint": func() (*Session, error) { return table.Use(s.ID, person("ada"), "/finance/mcp") },
		"altered":          func() (*Session, error) { return table.Use(s.ID[:len(s.ID)-2]+"AA", person("ada"), "/mcp") },
		"empty":            func() (*Session, error) { return table.Use("", person("ada"), "/mcp") },
		"not base64":       func() (*Session, error) { return table.Use("not a session", person("ada"), "/mcp") },
	} {
		if _, err := use(); err != ErrUnknown {
			t.Errorf("%s: %v, want ErrUnknown", name, err)
		}
	}
	got, err := table.Use(s.ID, person("ada"), "/mcp")
	if err != nil || got != s {
		t.Errorf("own session: %v", err)
	}
}

func TestSessionIDsDiffer(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	a, b := create(t, table, "ada"), create(t, table, "ada")
	if a.ID == b.ID || a.key == b.key {
		t.Error("two sessions share an id")
	}
	if len(key{}) != 16 {
		t.Error("the random part of an id must have 128 bits")
	}
}

func TestAfterRestartSessionsAreUnknown(t *testing.T) {
	t.Parallel()
	keys := testkit.Keyring(t)
	before, _ := newTable(t, func(o *Options) { o.Box = keys.Box(Purpose) })
	after, _ := newTable(t, func(o *Options) { o.Box = keys.Box(Purpose) })
	s := create(t, before, "ada")
	if _, err := after.Use(s.ID, person("ada"), "/mcp"); err != ErrUnknown {
		t.Errorf("got %v, want ErrUnknown", err)
	}
}

func TestSessionOfAnotherCopy(t *testing.T) {
	t.Parallel()
	keys := testkit.Keyring(t)
	one, _ := newTable(t, func(o *Options) { o.Box = keys.Box(Purpose) })
	two, _ := newTable(t, func(o *Options) { o.Box, o.Owner = keys.Box(Purpose), "copy-2" })
	s := create(t, one, "ada")
	_, err := two.Use(s.ID, person("ada"), "/mcp")
	var elsewhere *ElsewhereError
	if !errors.As(err, &elsewhere) || elsewhere.Owner != "copy-1" {
		t.Errorf("got %v, want the owner's name", err)
	}
	if _, err := two.Use(s.ID, person("bob"), "/mcp"); err != ErrUnknown {
		t.Errorf("somebody else learns where the session lives: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		live func(table *Table, c *testkit.Clock, s *Session)
		want error
	}{
		{"used within the hour", func(table *Table, c *testkit.Clock, s *Session) { table.Release(s); c.Advance(59 * time.Minute) }, nil},
		{"idle for an hour", func(table *Table, c *testkit.Clock, s *Session) { table.Release(s); c.Advance(time.Hour) }, ErrEnded},
		{"idle but in use", func(_ *Table, c *testkit.Clock, _ *Session) { c.Advance(5 * time.Hour) }, nil},
		{"in use for a day", func(_ *Table, c *testkit.Clock, _ *Session) { c.Advance(24 * time.Hour) }, ErrEnded},
		{"deleted", func(table *Table, _ *testkit.Clock, s *Session) { table.Delete(s) }, ErrEnded},
		{"deleted twice", func(table *Table, _ *testkit.Clock, s *Session) { table.Delete(s); table.Delete(s) }, ErrEnded},
		{"deleted, tombstone gone", func(table *Table, c *testkit.Clock, s *Session) {
			table.Delete(s)
			c.Advance(25 * time.Hour)
			table.Sweep()
		}, ErrUnknown},
		{"swept while idle", func(table *Table, c *testkit.Clock, s *Session) {
			table.Release(s)
			c.Advance(2 * time.Hour)
			table.Sweep()
		}, ErrEnded},
		{"swept while fresh", func(table *Table, c *testkit.Clock, s *Session) { table.Release(s); table.Sweep() }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			table, c := newTable(t, nil)
			s := create(t, table, "ada")
			tc.live(table, c, s)
			if _, err := table.Use(s.ID, s.Person, s.Endpoint); err != tc.want {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			table.closing.Wait()
			select {
			case <-s.Done():
				if tc.want == nil {
					t.Error("session was closed")
				}
			default:
				if tc.want != nil {
					t.Error("session was not closed")
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, func(o *Options) { o.Max, o.MaxPerPerson = 4, 2 })
	first, second := create(t, table, "ada"), create(t, table, "ada")
	if _, err := table.Create(Facts{Person: person("ada"), Endpoint: "/mcp"}); err != ErrTooMany {
		t.Errorf("third session in use: %v, want ErrTooMany", err)
	}
	table.Release(second)
	table.Release(first)
	if _, err := table.Use(second.ID, second.Person, "/mcp"); err != nil { // now the most recently used
		t.Fatal(err)
	}
	table.Release(second)
	third := create(t, table, "ada")
	if _, err := table.Use(first.ID, first.Person, "/mcp"); err != ErrEnded {
		t.Errorf("least recently used session: %v, want ErrEnded", err)
	}
	create(t, table, "bob")
	create(t, table, "cem")
	if got := create(t, table, "dan"); got == nil || table.Len() != 4 {
		t.Errorf("%d sessions live, want 4", table.Len())
	}
	if _, err := table.Use(second.ID, second.Person, "/mcp"); err != ErrEnded {
		t.Errorf("the only idle session should have made way: %v", err)
	}
	if _, err := table.Create(Facts{Person: person("eve"), Endpoint: "/mcp"}); err != ErrFull {
		t.Errorf("table full of sessions in use: %v, want ErrFull", err)
	}
	if _, err := table.Use(third.ID, third.Person, "/mcp"); err != nil {
		t.Errorf("a session in use was evicted: %v", err)
	}
}

// Whoever has as many sessions as one person may have gives up the one that they used longest ago, and nobody else's.
func TestOwnSessionMakesWay(t *testing.T) {
	t.Parallel()
	table, clock := newTable(t, func(o *Options) { o.Max, o.MaxPerPerson = 8, 2 })
	other := create(t, table, "bob")
	table.Release(other)
	first, second := create(t, table, "ada"), create(t, table, "ada")
	table.Release(first)
	table.Release(second)
	clock.Advance(orderEvery)
	if _, err := table.Use(first.ID, first.Person, "/mcp"); err != nil {
		t.Fatal(err)
	}
	table.Release(first)
	create(t, table, "ada")
	if _, err := table.Use(second.ID, second.Person, "/mcp"); err != ErrEnded {
		t.Errorf("the one used longest ago: %v, want ErrEnded", err)
	}
	for _, s := range []*Session{first, other} {
		if _, err := table.Use(s.ID, s.Person, "/mcp"); err != nil {
			t.Errorf("a session of %s: %v", s.Person.Subject, err)
		}
	}
}

func TestRunEndsEverySession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(t, func(o *Options) { o.Now = time.Now })
		s := create(t, table, "ada")
		up := &fakeUpstream{}
		if _, err := s.Upstream(t.Context(), "files", up.open); err != nil {
			t.Fatal(err)
		}
		idle := create(t, table, "bob")
		table.Release(idle)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- table.Run(ctx) }()
		time.Sleep(time.Hour + time.Minute)
		if table.Len() != 1 {
			t.Errorf("%d sessions live, want 1: the idle one is swept", table.Len())
		}
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if table.Len() != 0 || up.closed.Load() != 1 {
			t.Errorf("%d sessions live, upstream closed %d times", table.Len(), up.closed.Load())
		}
		if _, err := table.Create(Facts{Person: person("ada")}); err == nil {
			t.Error("a stopped table made a session")
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, func(o *Options) { o.Max, o.MaxPerPerson, o.Now = 16, 4, time.Now })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			who := person(fmt.Sprint("p", i%4))
			for range 200 {
				s, err := table.Create(Facts{Person: who, Endpoint: "/mcp"})
				if err != nil {
					continue
				}
				if again, err := table.Use(s.ID, who, "/mcp"); err == nil {
					table.Release(again)
				}
				table.Release(s)
				table.Sweep()
			}
		})
	}
	wg.Wait()
	table.EndAll()
	table.closing.Wait()
	if table.Len() != 0 || table.recent.Len() != 0 || len(table.byPerson) != 0 {
		t.Error("the table's books do not agree")
	}
}

func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	box := testkit.Keyring(t).Box(Purpose)
	for name, o := range map[string]Options{
		"no box":     {},
		"long owner": {Box: box, Owner: string(make([]byte, 321))},
		"negative":   {Box: box, Max: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzTicket(f *testing.F) {
	f.Add(newTicket(Facts{Client: Client{Revision: mcp.Rev20251125}}, "copy-1", time.Unix(1, 0)).encode())
	f.Add([]byte{})
	f.Add(make([]byte, ticketFixed))
	f.Add(append([]byte{ticketVersion}, make([]byte, ticketFixed)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		tk, ok := decodeTicket(b)
		if ok && string(tk.encode()) != string(b) {
			t.Errorf("ticket does not survive a round trip: %x", b)
		}
	})
}
