package session

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"gatehouse/internal/mcp"
)

type fakeUpstream struct {
	opened, closed atomic.Int32
	hold           chan struct{}
}

func (f *fakeUpstream) open(ctx context.Context) (Upstream, error) {
	f.opened.Add(1)
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return f, nil
}

func (f *fakeUpstream) Forward(context.Context, *mcp.Message, string, func(*mcp.Message)) (*mcp.Result, error) {
	return &mcp.Result{}, nil
}
func (f *fakeUpstream) Call(context.Context, string, []byte, func(*mcp.Message)) ([]byte, error) {
	return nil, nil
}
func (f *fakeUpstream) Notify(context.Context, string, []byte) error { return nil }
func (f *fakeUpstream) Close()                                       { f.closed.Add(1) }

func countOpen(s *Session) int {
	var n atomic.Int32
	s.EachUpstream(func(Upstream) { n.Add(1) })
	return int(n.Load())
}

// question asks over the standalone stream.
func question(t testing.TB, s *Session, method, params string) Question {
	t.Helper()
	m, err := mcp.NewRequest(method, []byte(params))
	if err != nil {
		t.Fatal(err)
	}
	return Question{Message: &m, Send: s.Standalone().Send}
}

func TestUpstreamIsOpenedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(t, nil)
		s := create(t, table, "ada")
		up := &fakeUpstream{hold: make(chan struct{})}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if conn, err := s.Upstream(t.Context(), "files", up.open); err != nil || conn != up {
					t.Errorf("got %v, %v", conn, err)
				}
			})
		}
		synctest.Wait()
		close(up.hold)
		wg.Wait()
		if n := up.opened.Load(); n != 1 {
			t.Errorf("opened %d times", n)
		}
		if n := countOpen(s); n != 1 {
			t.Errorf("%d upstream sessions open", n)
		}
		s.Retain(func(key any) bool { return key == "files" })
		if up.closed.Load() != 0 {
			t.Error("a kept upstream session was closed")
		}
		s.Retain(func(any) bool { return false })
		if up.closed.Load() != 1 || countOpen(s) != 0 {
			t.Error("an upstream session that is not kept stays open")
		}
	})
}

// The first caller gives up, for whatever cause, while the others wait: one of them must open again instead of
// inheriting the other's end.
func TestUpstreamOpenerGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(t, nil)
		s := create(t, table, "ada")
		up := &fakeUpstream{hold: make(chan struct{})}
		gone := errors.New("the client is gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Upstream(ctx, "files", up.open); !errors.Is(err, gone) {
				t.Errorf("who gave up got %v", err)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := s.Upstream(t.Context(), "files", up.open); err != nil {
				t.Errorf("who waited got %v", err)
			}
		})
		synctest.Wait()
		cancel(gone)
		synctest.Wait()
		close(up.hold)
		wg.Wait()
	})
}

func TestFailedOpeningIsNotRemembered(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	down := errors.New("down")
	if _, err := s.Upstream(t.Context(), "files", func(context.Context) (Upstream, error) { return nil, down }); err != down {
		t.Errorf("got %v", err)
	}
	if _, err := s.Upstream(t.Context(), "files", (&fakeUpstream{}).open); err != nil {
		t.Errorf("second attempt: %v", err)
	}
}

func TestEndReachesEverything(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(t, nil)
		s := create(t, table, "ada")
		up, slow := &fakeUpstream{}, &fakeUpstream{hold: make(chan struct{})}
		if _, err := s.Upstream(t.Context(), "files", up.open); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		if err := s.Begin(mcp.ID("1"), canceler(cancel)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Upstream(ctx, "slow", slow.open); !errors.Is(err, ErrEnded) {
				t.Errorf("opening: %v, want ErrEnded", err)
			}
		})
		wg.Go(func() {
			if _, _, err := s.Ask(t.Context(), question(t, s, mcp.MethodRootsList, "{}")); err != ErrEnded {
				t.Errorf("question: %v, want ErrEnded", err)
			}
		})
		synctest.Wait()
		table.Delete(s)
		table.closing.Wait()
		wg.Wait()
		if context.Cause(ctx) != ErrEnded {
			t.Errorf("call in flight ended with %v", context.Cause(ctx))
		}
		if up.closed.Load() != 1 {
			t.Error("upstream session was not closed")
		}
		if err := s.Begin(mcp.ID("2"), canceler(cancel)); err != ErrEnded {
			t.Errorf("Begin after the end: %v", err)
		}
		if _, err := s.Upstream(t.Context(), "files", up.open); err != ErrEnded {
			t.Errorf("Upstream after the end: %v", err)
		}
		if _, _, err := s.Ask(t.Context(), question(t, s, mcp.MethodRootsList, "{}")); err != ErrEnded {
			t.Errorf("Ask after the end: %v", err)
		}
	})
}

func TestCancel(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := s.Begin(mcp.ID("1"), canceler(cancel)); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(mcp.ID("1"), canceler(cancel)); err != ErrDuplicateID {
		t.Errorf("same id again: %v", err)
	}
	s.Cancel(mcp.ID(`"1"`)) // a string is another id
	if ctx.Err() != nil {
		t.Fatal("cancelled by another id")
	}
	s.Cancel(mcp.ID("1"))
	if context.Cause(ctx) != ErrCancelled {
		t.Errorf("cause %v", context.Cause(ctx))
	}
	s.Finish(mcp.ID("1"))
	s.Cancel(mcp.ID("1"))
	if err := s.Begin(mcp.ID("1"), canceler(cancel)); err != nil {
		t.Errorf("id free again: %v", err)
	}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	respond := func(s *Session, body string) bool {
		m, err := mcp.Decode([]byte(body), mcp.Limits{})
		if err != nil {
			t.Error(err)
		}
		return s.Answer(&m)
	}
	synctest.Test(t, func(t *testing.T) {
		table, _ := newTable(t, nil)
		s := create(t, table, "ada")
		if !s.Can(&mcp.Message{Method: mcp.MethodSampling}) || s.Can(&mcp.Message{Method: mcp.MethodElicit}) {
			t.Error("capabilities misread")
		}
		r := s.Standalone().Read()
		type outcome struct {
			result string
			rpc    *mcp.Error
			err    error
		}
		done := make(chan outcome, 1)
		ask := func(ctx context.Context) {
			result, rpc, err := s.Ask(ctx, question(t, s, mcp.MethodSampling, `{"n":1,"_meta":{"progressToken":"up"}}`))
			done <- outcome{string(result), rpc, err}
		}

		go ask(t.Context())
		synctest.Wait()
		if got := take(r); got != `{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"n":1,"_meta":{"progressToken":1}}}` {
			t.Errorf("sent %s", got)
		}
		if respond(s, `{"jsonrpc":"2.0","id":2,"result":{}}`) || respond(s, `{"jsonrpc":"2.0","id":"1","result":{}}`) {
			t.Error("an answer to no question was taken")
		}
		if !respond(s, `{"jsonrpc":"2.0","id":1,"result":{"ok":true}}`) || respond(s, `{"jsonrpc":"2.0","id":1,"result":{}}`) {
			t.Error("an answer counts once")
		}
		if got := <-done; got.result != `{"ok":true}` || got.err != nil {
			t.Errorf("got %+v", got)
		}

		go ask(t.Context())
		synctest.Wait()
		respond(s, `{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"User rejected"}}`)
		if got := <-done; got.rpc == nil || got.rpc.Code != -1 || got.rpc.Message != "User rejected" {
			t.Errorf("got %+v", got)
		}

		take(r)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go ask(ctx)
		if got := <-done; !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("got %+v", got)
		}
		if got := take(r); !strings.HasSuffix(got, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}`) {
			t.Errorf("sent %s", got)
		}
		if respond(s, `{"jsonrpc":"2.0","id":3,"result":{}}`) {
			t.Error("a late answer was taken")
		}

		asking, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range maxAsks {
			wg.Go(func() { _, _, _ = s.Ask(asking, question(t, s, mcp.MethodSampling, "{}")) })
		}
		synctest.Wait()
		if _, _, err := s.Ask(t.Context(), question(t, s, mcp.MethodSampling, "{}")); err != ErrTooManyAsks {
			t.Errorf("one question too many: %v", err)
		}
		stop()
		wg.Wait()
	})
}

func take(r *Reader) string {
	events, _ := r.Take()
	var out []string
	for _, e := range events {
		out = append(out, string(e.Data))
	}
	return strings.Join(out, "\n")
}

func TestLevelOutlastsTheRequest(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	if s.Level() != nil {
		t.Error("a level that nobody set")
	}
	body := []byte(`{"level":"error"}`)
	s.SetLevel(body)
	clear(body)
	if got := string(s.Level()); got != `{"level":"error"}` {
		t.Errorf("level %s", got)
	}
}

// Progress of the client goes back under the target's own token, and only to targets that asked for it.
func TestProgressOfTheClient(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ params, want string }{
		{`{"_meta":{"progressToken":"up"}}`, `{"progressToken":"up","progress":1}`},
		{`{}`, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			table, _ := newTable(t, nil)
			s := create(t, table, "ada")
			got := ""
			q := question(t, s, mcp.MethodSampling, tc.params)
			q.Progress = func(m *mcp.Message) { got = string(m.Params) }
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { _, _, _ = s.Ask(ctx, q) })
			synctest.Wait()
			for _, token := range []string{"1", "2"} {
				m, err := mcp.Decode([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`+token+`,"progress":1}}`), mcp.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				s.Progress(&m)
			}
			if got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			cancel()
			wg.Wait()
		})
	}
}

// Targets make up what their tasks are called: what a session remembers of them is bounded in number and in bytes.
func TestRememberIsBounded(t *testing.T) {
	t.Parallel()
	s := newSession("id", key{}, Facts{}, time.Now())
	long := strings.Repeat("x", maxName)
	s.Remember("short", long)
	s.Remember(long, "short")
	if s.Remembered("short") != "" || s.Remembered(long) != "" {
		t.Error("long names are remembered")
	}
	for i := range 2 * maxNames {
		s.Remember(strconv.Itoa(i), "name")
	}
	if len(s.names) != maxNames || s.Remembered(strconv.Itoa(2*maxNames-1)) != "name" {
		t.Errorf("%d names, the last one is %q", len(s.names), s.Remembered(strconv.Itoa(2*maxNames-1)))
	}
}

// A session lasts for hours after its calls, whatever these held on to.
func TestNothingIsKeptOfCallsThatEnded(t *testing.T) {
	t.Parallel()
	table, _ := newTable(t, nil)
	s := create(t, table, "ada")
	var all []weak.Pointer[heavy]
	for n := range 3 { // several at a time
		h := &heavy{}
		all = append(all, weak.Make(h))
		if err := s.Begin(mcp.ID(strconv.Itoa(n)), h); err != nil {
			t.Fatal(err)
		}
	}
	for n := range all {
		s.Finish(mcp.ID(strconv.Itoa(n)))
	}
	runtime.GC()
	for n, h := range all {
		if h.Value() != nil {
			t.Errorf("call %d is still held", n)
		}
	}
	runtime.KeepAlive(s)
}

type heavy [1 << 10]byte

func (*heavy) Cancel(error) {}

type canceler context.CancelCauseFunc

// Cancel implements Canceler.
func (c canceler) Cancel(cause error) { c(cause) }
