package gateway

import (
	"sync"
	"time"
)

// waits calls tick of each call that lasts longer than while. Nearly all calls end before that, so they share one timer: all
// wait equally long, so a list in the order of their beginning is enough to know which is next. A call that wants to be told
// again (again) gets a timer of its own.
type waits struct {
	while time.Duration

	mu          sync.Mutex // guards what follows, and the fields of wait
	first, last *wait      // the one that began first, and the one that began last
	armed       bool       // the timer runs
}

// wait is the place of one call in waits. It is a field of that which is told.
type wait struct {
	long          longWait
	began         time.Time
	before, after *wait       // its neighbours in the list of waits
	timer         *time.Timer // its own; nil before again
}

// longWait is told that it has lasted long. Each tick runs on a goroutine of its own, and may still come just after remove.
type longWait interface{ tick() }

// add begins to wait, until remove.
func (ws *waits) add(w *wait, long longWait) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.long, w.began = long, time.Now()
	if w.before = ws.last; w.before != nil {
		w.before.after = w
	} else {
		ws.first = w
	}
	ws.last = w
	ws.arm()
}

// again calls tick after that time, and not before.
func (ws *waits) again(w *wait, after time.Duration) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.unlink(w)
	if w.timer == nil {
		w.timer = time.AfterFunc(after, w.long.tick)
		return
	}
	w.timer.Reset(after)
}

// remove ends the wait.
func (ws *waits) remove(w *wait) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.unlink(w)
	if w.timer != nil {
		w.timer.Stop()
	}
}

// unlink takes w off the list, if it stands there. It needs ws.mu.
func (ws *waits) unlink(w *wait) {
	if w.before == nil && ws.first != w {
		return
	}
	if w.before != nil {
		w.before.after = w.after
	} else {
		ws.first = w.after
	}
	if w.after != nil {
		w.after.before = w.before
	} else {
		ws.last = w.before
	}
	w.before, w.after = nil, nil
}

// arm starts the shared timer for the call that began first. A timer that runs already was started for an earlier call, so it
// rings early enough. It needs ws.mu.
func (ws *waits) arm() {
	if !ws.armed && ws.first != nil {
		ws.armed = true
		time.AfterFunc(ws.while-time.Since(ws.first.began), ws.ring)
	}
}

// ring is called by the shared timer. It tells all calls that have lasted long enough.
func (ws *waits) ring() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.armed = false
	for w := ws.first; w != nil && time.Since(w.began) >= ws.while; w = ws.first {
		go w.long.tick()
		ws.unlink(w)
	}
	ws.arm()
}
