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
				ctx, c := startClock(t.Context(), 10*time.Second, time.Minute)
				defer c.stop()
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

func TestAStoppedClockIsNotATimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, c := startClock(t.Context(), time.Second, time.Minute)
		c.stop()
		time.Sleep(2 * time.Second)
		c.restart()
		if errors.Is(context.Cause(ctx), errTimeout) {
			t.Error("it is")
		}
	})
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
