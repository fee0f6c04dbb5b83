package target

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestClock(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		do   func(c *clock)
		want time.Duration // when the call ends
	}{
		"silence": {func(*clock) {}, 10 * time.Second},
		"progress": {func(c *clock) {
			for range 3 {
				time.Sleep(9 * time.Second)
				c.restart()
			}
		}, 37 * time.Second},
		"progress for ever": {func(c *clock) {
			for range 8 {
				time.Sleep(9 * time.Second)
				c.restart()
			}
		}, time.Minute},
		"a question that takes long": {func(c *clock) {
			c.hold()
			time.Sleep(30 * time.Second)
			c.release()
		}, 40 * time.Second},
		"two questions": {func(c *clock) {
			c.hold()
			c.hold()
			c.release()
			time.Sleep(30 * time.Second)
			c.restart()
			time.Sleep(15 * time.Second)
			c.release()
		}, 55 * time.Second},
		"a question without end": {func(c *clock) { c.hold() }, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				conn := &Conn{}
				ctx, c := conn.beginFor(t.Context(), 10*time.Second, time.Minute)
				defer conn.finish(c)
				var doing sync.WaitGroup
				defer doing.Wait()
				doing.Go(func() { tc.do(c) })
				<-ctx.Done()
				if got := time.Since(begin); got != tc.want || !errors.Is(context.Cause(ctx), errTimeout) {
					t.Errorf("ended after %s with %v", got, context.Cause(ctx))
				}
			})
		})
	}
}

func TestAFinishedCallIsNotATimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := &Conn{}
		ctx, c := conn.beginFor(t.Context(), time.Second, time.Minute)
		conn.finish(c)
		time.Sleep(2 * time.Second)
		c.restart()
		if errors.Is(context.Cause(ctx), errTimeout) {
			t.Error("it is")
		}
	})
}

// Calls of one connection end each at their own time, whatever the others do.
func TestClocksOfOneConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		conn := &Conn{}
		type call struct{ quiet, finished, want time.Duration }
		calls := []call{
			{quiet: 100 * time.Second, want: 100 * time.Second},
			{quiet: 10 * time.Second, want: 10 * time.Second}, // is due before one that began earlier
			{quiet: 20 * time.Second, finished: 5 * time.Second},
			{quiet: 30 * time.Second, want: 30 * time.Second},
			{quiet: 30 * time.Second, finished: 30*time.Second - 1},
		}
		var all sync.WaitGroup
		for i, call := range calls {
			all.Go(func() {
				ctx, c := conn.beginFor(t.Context(), call.quiet, time.Hour)
				defer conn.finish(c)
				if call.finished > 0 {
					time.Sleep(call.finished)
					if ctx.Err() != nil {
						t.Errorf("call %d ended before its time: %v", i, context.Cause(ctx))
					}
					return
				}
				<-ctx.Done()
				if got := time.Since(begin); got != call.want || !errors.Is(context.Cause(ctx), errTimeout) {
					t.Errorf("call %d ended after %s with %v", i, got, context.Cause(ctx))
				}
			})
		}
		all.Wait()
		// One that begins when the alarm has gone off.
		began := time.Now()
		ctx, c := conn.beginFor(t.Context(), time.Second, time.Hour)
		defer conn.finish(c)
		<-ctx.Done()
		if got := time.Since(began); got != time.Second {
			t.Errorf("the last call ended after %s", got)
		}
	})
}

// A connection that is closed leaves no alarm behind.
func TestNoAlarmIsLeft(t *testing.T) {
	t.Parallel()
	conn := &Conn{}
	_, c := conn.beginFor(t.Context(), time.Hour, time.Hour)
	conn.finish(c)
	if conn.alarm.timer == nil {
		t.Fatal("the alarm does not outlast its call: each one sets a timer")
	}
	conn.Close()
	if conn.alarm.timer != nil {
		t.Error("there is one")
	}
	ctx, c := conn.beginFor(t.Context(), time.Hour, time.Hour)
	defer conn.finish(c)
	if conn.alarm.timer != nil || !errors.Is(context.Cause(ctx), errClosed) {
		t.Errorf("a call that comes too late: alarm %v, cause %v", conn.alarm.timer, context.Cause(ctx))
	}
}

// A call that may take an hour is not cut after fifteen minutes because it reports progress.
func TestLongTimeoutBoundsProgressToo(t *testing.T) {
	t.Parallel()
	long, short := Options{Timeout: time.Hour}, Options{}
	long.setDefaults()
	short.setDefaults()
	if long.MaxTimeout != time.Hour || short.MaxTimeout != 15*time.Minute {
		t.Errorf("longest call: %s and %s, want 1h and 15m", long.MaxTimeout, short.MaxTimeout)
	}
}
