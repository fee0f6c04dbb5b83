package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func quietLifecycle() *lifecycle { return newLifecycle(slog.New(slog.DiscardHandler)) }

func TestLifecycleStopsInReverse(t *testing.T) {
	t.Parallel()
	l := quietLifecycle()
	var order []string
	l.closes("first", func(context.Context) error { order = append(order, "first"); return nil })
	l.runs(t.Context(), "second", func(ctx context.Context) error {
		<-ctx.Done()
		order = append(order, "second")
		return ctx.Err()
	})
	l.closes("third", func(context.Context) error { order = append(order, "third"); return errors.New("stuck") })
	err := l.stop()
	if want := []string{"third", "second", "first"}; !slices.Equal(order, want) {
		t.Errorf("stopped %v, want %v", order, want)
	}
	if err == nil || !strings.Contains(err.Error(), "stop third: stuck") || strings.Contains(err.Error(), "second") {
		t.Errorf("error %v, want that of third alone", err)
	}
	if err := l.stop(); err != nil || len(order) != 3 {
		t.Errorf("a second stop did something: %v, %v", order, err)
	}
}

// The order of stopping is the list's: that the parent has ended stops nobody.
func TestLifecycleOutlivesItsParent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := quietLifecycle()
		parent, cancel := context.WithCancel(t.Context())
		stopped := false
		l.runs(parent, "part", func(ctx context.Context) error {
			<-ctx.Done()
			stopped = true
			return nil
		})
		cancel()
		synctest.Wait()
		if stopped {
			t.Error("the part stopped before its turn")
		}
		if err := l.stop(); err != nil || !stopped {
			t.Errorf("stopped %t, error %v", stopped, err)
		}
	})
}

func TestLifecycleReportsTheFirstPartThatFails(t *testing.T) {
	t.Parallel()
	for name, result := range map[string]error{"with an error": errors.New("disk gone"), "without one": nil} {
		synctest.Test(t, func(t *testing.T) {
			l := quietLifecycle()
			l.runs(t.Context(), "part", func(context.Context) error { return result })
			synctest.Wait()
			select {
			case err := <-l.failed:
				if !strings.HasPrefix(err.Error(), "part: ") || result != nil && !errors.Is(err, result) {
					t.Errorf("%s: reported %v", name, err)
				}
			default:
				t.Errorf("%s: a part that ended by itself is not reported", name)
			}
			_ = l.stop()
			if len(l.failed) > 0 {
				t.Error("the stop itself counts as a failure")
			}
		})
	}
}

// A part that does not stop delays the others, but not for ever.
func TestLifecycleStopEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := quietLifecycle()
		last := false
		l.closes("last", func(context.Context) error { last = true; return nil })
		release := make(chan struct{})
		l.runs(t.Context(), "stuck", func(context.Context) error { <-release; return nil })
		began := time.Now()
		err := l.stop()
		if err == nil || !strings.Contains(err.Error(), "stuck") || !last || time.Since(began) > stopTimeout {
			t.Errorf("after %s: error %v, the last one stopped %t", time.Since(began), err, last)
		}
		close(release)
		synctest.Wait()
	})
}

// A part that fails stops the program, in order and with its reason.
func TestFailingPartStopsTheApp(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, demoOnly)
	h.start()
	h.app.life.runs(t.Context(), "made to fail", func(context.Context) error { return errors.New("no more") })
	select {
	case err := <-h.ended:
		if err == nil || !strings.Contains(err.Error(), "made to fail: no more") {
			t.Errorf("the program ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the program goes on without one of its parts")
	}
	h.app = nil
	h.start() // everything was given back
}
