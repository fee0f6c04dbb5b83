package session

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/mcp"
)

func TestStreamOrderAndTakeOver(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	st := create(t, table, "ada").Standalone()
	st.Send([]byte("a"))
	first := st.Read()
	if got := take(first); got != "a" {
		t.Errorf("waiting events: %q", got)
	}
	st.Send([]byte("b"))
	<-first.Ready()
	if got := take(first); got != "b" {
		t.Errorf("new event: %q", got)
	}
	second := st.Read()
	<-first.Ready()
	if events, more := first.Take(); events != nil || more {
		t.Error("a replaced reader goes on")
	}
	st.Send([]byte("c"))
	if got := take(second); got != "c" {
		t.Errorf("events that nobody took: %q", got)
	}
}

func TestResume(t *testing.T) {
	t.Parallel()
	table, c := newTable(t, nil)
	s, other := create(t, table, "ada"), create(t, table, "ada")

	r := s.Standalone().Read()
	for i := range 5 {
		s.Standalone().Send([]byte(fmt.Sprint(i)))
	}
	events, _ := r.Take()
	back, ok := s.Resume(events[1].ID)
	if !ok || !back.Standalone || take(back.Reader) != "2\n3\n4" {
		t.Errorf("standalone stream: %+v", back)
	}
	if _, ok := other.Resume(events[1].ID); ok {
		t.Error("an event id of another session was taken")
	}

	call := s.OpenStream(mcp.ID(`"call 7"`))
	call.Send([]byte("progress"))
	start := call.tag + "0"
	call.Send([]byte("answer"))
	s.CloseStream(call, false, c.Now())
	back, ok = s.Resume(start)
	if !ok || back.Standalone {
		t.Fatalf("answer of a call: %+v", back)
	}
	if events, more := back.Reader.Take(); len(events) != 2 || more || string(events[1].Data) != "answer" {
		t.Errorf("got %d events, more %v", len(events), more)
	}

	c.Advance(heldFor + time.Second)
	table.Sweep()
	if back, ok = s.Resume(start); !ok || back.Reader != nil || string(back.Lost) != `"call 7"` {
		t.Errorf("forgotten answer: %+v", back)
	}
	for _, bad := range []string{
		"", "x", "1.2.3", "1.2.3.4", strings.Replace(start, ".1.", ".99.", 1), strings.Replace(start, ".1.", ".0.", 1),
		start + "x", s.tag(1, mcp.ID(`1,"x":2`)) + "0", s.tag(1, mcp.ID(`null`)) + "0",
	} {
		if back, ok := s.Resume(bad); ok {
			t.Errorf("%q was taken: %+v", bad, back)
		}
	}
}

func TestRingIsBounded(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	st := s.Standalone()
	r := st.Read()
	for i := range 3 * ringEvents {
		st.Send([]byte(fmt.Sprint(i)))
	}
	events, _ := r.Take()
	if len(events) != ringEvents || string(events[0].Data) != fmt.Sprint(2*ringEvents) {
		t.Errorf("%d events, first %s", len(events), events[0].Data)
	}
	for range 5 {
		st.Send(make([]byte, ringBytes))
	}
	if events, _ = r.Take(); len(events) != 1 {
		t.Errorf("%d events kept of too many bytes, want the last", len(events))
	}
	if back, ok := s.Resume(st.tag + "0"); !ok || len(take(back.Reader)) != ringBytes {
		t.Error("resuming before the ring begins should give what is left")
	}
}

// What says no more the second time waits once for a client that listens again, however often it was said.
func TestSendOnce(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	st := create(t, table, "ada").Standalone()
	for range 3 {
		st.SendOnce([]byte("tools changed"))
		st.Send([]byte("log"))
		st.SendOnce([]byte("prompts changed"))
	}
	r := st.Read()
	if got := take(r); got != "tools changed\nlog\nprompts changed\nlog\nlog" {
		t.Errorf("it waited as\n%s", got)
	}
	for range 2 { // taken, it is news again
		st.SendOnce([]byte("tools changed"))
		if got := take(r); got != "tools changed" {
			t.Errorf("a reader that had the last one got %q", got)
		}
	}
	for range 2 * ringEvents { // pushes out what was taken and more
		st.Send([]byte("log"))
	}
	st.SendOnce([]byte("tools changed"))
	if got := take(r); !strings.HasSuffix(got, "\ntools changed") {
		t.Errorf("after a full ring it got ...%q", got[len(got)-20:])
	}
}

// Most clients never listen: little waits for them. One that has listened may only be away, and gets all it can.
func TestLittleWaitsForWhoNeverListened(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	st := create(t, table, "ada").Standalone()
	for i := range 2 * unheardEvents {
		st.Send([]byte(fmt.Sprint(i)))
	}
	if len(st.ring) != unheardEvents {
		t.Errorf("%d events wait for nobody, want %d", len(st.ring), unheardEvents)
	}
	for range 2 * unheardEvents {
		st.Send(make([]byte, unheardBytes/4))
	}
	if st.bytes > unheardBytes {
		t.Errorf("%d bytes wait for nobody, want at most %d", st.bytes, unheardBytes)
	}
	for _, st := range []*Stream{st, create(t, table, "bob").Standalone()} { // there was nothing for bob to hear
		r := st.Read()
		take(r)
		r.Close()
		for range 2 * ringEvents {
			st.Send([]byte("x"))
		}
		if events, _ := st.Read().Take(); len(events) != ringEvents {
			t.Errorf("%d events waited for who listened before, want %d", len(events), ringEvents)
		}
	}
}

// One huge event must reach a client that reads, but a session without a reader must not keep it, nor keep it twice.
func TestHugeEventsAreNotKept(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	huge := make([]byte, 2*ringBytes)
	st := s.Standalone()
	st.Send(huge)
	if st.bytes != 0 {
		t.Errorf("%d bytes are kept for nobody", st.bytes)
	}
	for _, st := range []*Stream{st, s.OpenStream(mcp.ID("1"))} {
		r := st.Read()
		st.Send(huge)
		if events, more := r.Take(); len(events) != 1 || !more {
			t.Fatalf("a reader got %d events", len(events))
		}
		if st.bytes != 0 {
			t.Errorf("%d bytes are kept after they were read", st.bytes)
		}
		st.Send([]byte("next"))
		if events, _ := r.Take(); len(events) != 1 || string(events[0].Data) != "next" {
			t.Errorf("then it got %v", events)
		}
	}
}

func TestHeldAnswersAreBounded(t *testing.T) {
	t.Parallel()
	table, c := newTable(t, nil)
	s := create(t, table, "ada")
	for i := range 3 * heldAnswers {
		st := s.OpenStream(mcp.ID(fmt.Sprint(i)))
		st.Send([]byte("answer"))
		s.CloseStream(st, false, c.Now())
	}
	if n := len(s.streams) - 1; n != heldAnswers {
		t.Errorf("%d answers held, want %d", n, heldAnswers)
	}
	big := s.OpenStream(mcp.ID("100"))
	big.Send(make([]byte, heldBytes+1))
	s.CloseStream(big, false, c.Now())
	if back, ok := s.Resume(big.tag + "0"); !ok || back.Reader != nil {
		t.Error("a big answer was held")
	}
	done := s.OpenStream(mcp.ID("101"))
	s.CloseStream(done, true, c.Now())
	if len(s.streams)-1 != heldAnswers {
		t.Error("a delivered answer was held")
	}
}

func FuzzResume(f *testing.F) {
	table, _ := newTable(f, nil)
	s := create(f, table, "ada")
	st := s.OpenStream(mcp.ID("7"))
	st.Send([]byte("x"))
	f.Add(st.tag + "0")
	f.Add(s.tag(0, nil) + "18446744073709551615")
	f.Add("....")
	f.Add(s.tag(1, mcp.ID("8")) + "1")
	f.Fuzz(func(t *testing.T, id string) {
		back, ok := s.Resume(id)
		if ok && back.Reader == nil && !isID(back.Lost) {
			t.Errorf("%q names a lost answer that is no request id: %q", id, back.Lost)
		}
		if ok && back.Reader != nil {
			back.Reader.Take()
		}
	})
}
