package gateway

import (
	"sync"
	"time"
)

// waits are calls whose answers have not come. Each is told when it has lasted a while; whoever wants to be told once more
// gets a timer of its own. Few last that long, so until then one timer looks after all of them, where each would otherwise
// start one and stop it again.
type waits struct {
	while time.Duration

	mu          sync.Mutex // guards what follows, and the fields of wait
	first, last *wait      // the one that began first, and the one that began last
	armed       bool       // the timer runs
}

// wait is one of them. It stands in what is told.
type wait struct {
	long          longWait
	began         time.Time
	before, after *wait
	timer         *time.Timer // nil before again
}

// longWait is told on a goroutine of its own.
type longWait interface{ tick() }

// add begins to wait.
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

// again has it told after that time, and not before.
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

// unlink takes it off the list, if it stands there. It needs ws.mu.
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

// arm starts the timer for the one that began first. A timer that runs already rings no later than that is due. It needs
// ws.mu.
func (ws *waits) arm() {
	if !ws.armed && ws.first != nil {
		ws.armed = true
		time.AfterFunc(ws.while-time.Since(ws.first.began), ws.ring)
	}
}

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
