package callctx

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

type key struct{}

var errEnough = errors.New("enough")

// begun returns a context that stands in parent.
func begun(parent context.Context) *Context {
	c := &Context{}
	c.Begin(parent)
	return c
}

// told counts how often it was told.
type told struct{ times atomic.Int64 }

func (w *told) Ended() { w.times.Add(1) }

func TestCauses(t *testing.T) {
	t.Parallel()
	std, cancelStd := context.WithCancelCause(t.Context())
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancelLate()
	own := begun(t.Context())
	for name, tc := range map[string]struct {
		parent   context.Context
		end      func(c *Context)
		err, why error
	}{
		"cancelled":             {t.Context(), func(c *Context) { c.Cancel(errEnough) }, context.Canceled, errEnough},
		"without a cause":       {t.Context(), func(c *Context) { c.Cancel(nil) }, context.Canceled, context.Canceled},
		"the first cause":       {t.Context(), func(c *Context) { c.Cancel(errEnough); c.Cancel(errors.New("another")) }, context.Canceled, errEnough},
		"with a parent":         {std, func(*Context) { cancelStd(errEnough) }, context.Canceled, errEnough},
		"with one of its kind":  {own, func(*Context) { own.Cancel(errEnough) }, context.Canceled, errEnough},
		"with a parent too old": {late, func(*Context) {}, context.DeadlineExceeded, context.DeadlineExceeded},
	} {
		c := begun(tc.parent)
		derived, cancel := context.WithCancel(c)
		grandchild := begun(context.WithValue(c, key{}, 1))
		tc.end(c)
		for _, ctx := range []context.Context{c, derived, grandchild} {
			<-ctx.Done()
			if err := ctx.Err(); !errors.Is(err, tc.err) || !errors.Is(context.Cause(ctx), tc.why) {
				t.Errorf("%s: %T: %v because of %v", name, ctx, err, context.Cause(ctx))
			}
		}
		for _, parent := range []context.Context{c, derived, context.WithValue(c, key{}, 1)} {
			if ctx := begun(parent); !errors.Is(ctx.Err(), tc.err) || !errors.Is(context.Cause(ctx), tc.why) {
				t.Errorf("%s: begun after the end of %T: %v because of %v", name, parent, ctx.Err(), context.Cause(ctx))
			}
		}
		cancel()
		grandchild.Cancel(nil)
	}
}

func TestNothingEndsWhatGoesOn(t *testing.T) {
	t.Parallel()
	parent := begun(t.Context())
	child, other, derived := begun(parent), begun(parent), begun(context.WithoutCancel(parent))
	child.Cancel(errEnough)
	if parent.Err() != nil || other.Err() != nil || context.Cause(other) != nil {
		t.Errorf("a child's end ended %v, %v", parent.Err(), other.Err())
	}
	parent.Cancel(errEnough)
	if derived.Err() != nil || derived.Done() == nil || context.Cause(derived) != nil {
		t.Errorf("a detached context ended: %v", derived.Err())
	}
	select {
	case <-derived.Done():
		t.Error("it says so")
	default:
	}
	if got := len(parent.watchers); got != 0 {
		t.Errorf("%d watchers are left", got)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	c := begun(context.WithValue(t.Context(), key{}, "outer"))
	if c.Value(key{}) != "outer" {
		t.Errorf("%v", c.Value(key{}))
	}
	if !c.Keep(key{}, "own") || !c.Keep(key{}, "own again") || c.Keep(2, "another") {
		t.Error("it does not keep one value")
	}
	detached := begun(context.WithoutCancel(c))
	if c.Value(key{}) != "own again" || detached.Value(key{}) != "own again" || c.Value(2) != nil || c.Value(nil) != nil {
		t.Errorf("%v, %v, %v", c.Value(key{}), detached.Value(key{}), c.Value(2))
	}
}

func TestWatchers(t *testing.T) {
	t.Parallel()
	c := begun(t.Context())
	var some [5]told
	for i := range some {
		c.Watch(&some[i])
	}
	if !c.Unwatch(&some[0]) || c.Unwatch(&some[0]) || !c.Unwatch(&some[3]) {
		t.Error("watchers that were not told are not taken off once")
	}
	c.Cancel(errEnough)
	c.Cancel(errEnough)
	if c.Unwatch(&some[1]) {
		t.Error("a watcher that was told is taken off")
	}
	c.Watch(&some[0])
	for i, want := range []int64{1, 1, 1, 0, 1} {
		if got := some[i].times.Load(); got != want {
			t.Errorf("watcher %d was told %d times, want %d", i, got, want)
		}
	}
}

func TestAfterFunc(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := begun(t.Context())
		var ran atomic.Int64
		stop := context.AfterFunc(c, func() { ran.Add(1) })
		context.AfterFunc(c, func() { ran.Add(10) })
		if !stop() {
			t.Error("not stopped in time")
		}
		c.Cancel(nil)
		synctest.Wait()
		if stop() || ran.Load() != 10 {
			t.Errorf("ran: %d", ran.Load())
		}
	})
}

// What ends and is watched at the same time is told once, and taken off or told, never both.
func TestEndsAtAnyTime(t *testing.T) {
	t.Parallel()
	for range 500 {
		parent := begun(t.Context())
		child := begun(parent)
		var w told
		var off atomic.Bool
		var all sync.WaitGroup
		all.Go(func() { parent.Cancel(errEnough) })
		all.Go(func() { child.Cancel(nil) })
		all.Go(func() {
			child.Watch(&w)
			off.Store(child.Unwatch(&w))
		})
		all.Go(func() { <-child.Done() })
		all.Wait()
		if told := w.times.Load(); told > 1 || (told == 1) == off.Load() {
			t.Fatalf("told %d times, and taken off: %t", told, off.Load())
		}
	}
}
