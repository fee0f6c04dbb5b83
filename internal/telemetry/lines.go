package telemetry

import (
	"io"
	"sync"
	"time"
)

// Bounds of what waits to be written. The bytes leave room for one more line below what a pipe takes in one piece.
const (
	gatherFor   = 20 * time.Millisecond
	gatherBytes = 3 << 10
)

// Lines takes log lines, and writes those that come fast upon each other with one system call. The first after a pause is
// written at once, and so is whatever is worse than information, with all that waits. The others wait for at most gatherFor;
// a process that dies takes them along.
type Lines struct {
	w io.Writer

	mu      sync.Mutex // guards what follows
	waiting []byte
	written time.Time   // when something was written last
	timer   *time.Timer // nil until a line had to wait
	due     bool        // the timer runs
	direct  bool        // nothing waits
}

// NewLines writes to w. Close it when nothing is logged any more, before the process ends.
func NewLines(w io.Writer) *Lines { return &Lines{w: w} }

// Close writes what waits; later lines are written at once.
func (l *Lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.direct = true
	if l.timer != nil {
		l.timer.Stop()
	}
	return l.flush()
}

// Write implements io.Writer: it writes p behind what waits, and nothing waits any more.
func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, p...)
	return len(p), l.flush()
}

// settle writes what waits, unless it may wait longer; mu is held.
func (l *Lines) settle(now time.Time, urgent bool) error {
	if urgent || l.direct || len(l.waiting) >= gatherBytes || !l.due && now.Sub(l.written) >= gatherFor {
		l.written = now
		return l.flush()
	}
	if l.due {
		return nil
	}
	l.due = true
	if l.timer == nil {
		l.timer = time.AfterFunc(gatherFor, l.expire)
	} else {
		l.timer.Reset(gatherFor)
	}
	return nil
}

// expire is called by the timer.
func (l *Lines) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.due, l.written = false, time.Now()
	_ = l.flush() // nobody is left to tell
}

// flush writes what waits; mu is held. What cannot be written is lost, or it would pile up.
func (l *Lines) flush() error {
	if len(l.waiting) == 0 {
		return nil
	}
	_, err := l.w.Write(l.waiting)
	if l.waiting = l.waiting[:0]; cap(l.waiting) > 16*gatherBytes {
		l.waiting = nil
	}
	return err
}
