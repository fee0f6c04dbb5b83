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

// Whoever asks to be told again is told then and not before, as often as it asks, and no more once it has ended.
func TestWhatLastsIsToldAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ws := &waits{while: time.Second}
		told := func(w *waited, want int64) {
			t.Helper()
			synctest.Wait()
			if got := w.times.Load(); got != want {
				t.Errorf("after %s it was told %d times, want %d", time.Since(w.began), got, want)
			}
		}
		patient, hasty := &waited{began: time.Now()}, &waited{began: time.Now()}
		ws.add(&patient.wait, patient)
		ws.add(&hasty.wait, hasty)
		ws.again(&patient.wait, time.Minute) // before the first time
		time.Sleep(time.Second)
		told(patient, 0)
		told(hasty, 1)
		ws.again(&hasty.wait, time.Millisecond)
		time.Sleep(time.Millisecond)
		told(hasty, 2)
		ws.again(&hasty.wait, time.Millisecond)
		ws.remove(&hasty.wait)
		time.Sleep(time.Minute)
		told(patient, 1)
		told(hasty, 2)
		ws.remove(&patient.wait)
	})
}

// Whatever comes and goes at the same time is told at most once.
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
