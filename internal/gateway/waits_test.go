package gateway

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waited notes when it was told.
type waited struct {
	wait
	began time.Time
	after atomic.Int64
	times atomic.Int64
}

func (w *waited) tick() {
	w.times.Add(1)
	w.after.Store(int64(time.Since(w.began)))
}

func TestWhatLastsIsToldOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ws := &waits{while: time.Second}
		var all [100]waited
		for i := range all {
			all[i].began = time.Now()
			ws.add(&all[i].wait, &all[i])
			time.Sleep(30 * time.Millisecond)
			if i%3 == 0 {
				ws.remove(&all[i].wait)
				ws.remove(&all[i].wait)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i := range all {
			w := &all[i]
			switch after := time.Duration(w.after.Load()); {
			case i%3 == 0 && w.times.Load() != 0:
				t.Errorf("%d was told when it had ended", i)
			case i%3 != 0 && (w.times.Load() != 1 || after != time.Second):
				t.Errorf("%d was told %d times, after %s", i, w.times.Load(), after)
			}
			ws.remove(&w.wait)
		}
		if ws.first != nil || ws.last != nil || ws.armed {
			t.Errorf("something is left: %+v", ws)
		}
		again := &waited{began: time.Now()}
		ws.add(&again.wait, again)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if again.times.Load() != 1 {
			t.Error("after a rest nobody is told")
		}
	})
}

// Whatever comes and goes at the same time is told at most once, and never after it was taken off for long.
func TestWaitsSideBySide(t *testing.T) {
	t.Parallel()
	ws := &waits{while: time.Microsecond}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				w := &waited{}
				ws.add(&w.wait, w)
				ws.remove(&w.wait)
				if w.times.Load() > 1 {
					t.Error("told twice")
				}
			}
		})
	}
	wg.Wait()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.first != nil || ws.last != nil {
		t.Error("something is left")
	}
}
