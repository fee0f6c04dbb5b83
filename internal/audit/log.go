package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Mode says what happens when an event cannot be kept.
type Mode string

// The modes.
const (
	Strict     Mode = "strict"      // Record fails, and the caller refuses what it was about to do
	BestEffort Mode = "best_effort" // the event is dropped and counted
)

// ErrUnavailable means that events cannot be kept now: the disk is full or faulty, or slower than events come. The
// caller answers 503.
var ErrUnavailable = errors.New("audit log is unavailable")

// Options describe a log. Only Dir, Now and Log are required.
type Options struct {
	Dir       string
	Mode      Mode          // "" means Strict
	MaxBytes  int64         // size at which a segment is full; 0 means 64 MiB
	MaxBuffer int           // bytes of events that may wait for the disk; 0 means 4 MiB
	Gather    time.Duration // how long events are gathered for one fsync; 0 means 20 ms
	Now       func() time.Time
	Log       *slog.Logger
	Told      func(Event) // gets each event that was taken; may be nil
}

// keptBuffer is the size above which a buffer is left to the garbage collector.
const keptBuffer = 1 << 20

const (
	retryAfterFault = 500 * time.Millisecond
	patience        = 5 * time.Second // of those who are about to do something, with a disk that is slow
)

// Log keeps events. A nil *Log keeps none, and every Record succeeds. It is safe for concurrent use.
type Log struct {
	options Options
	segment *segment // used by Run alone
	wake    chan struct{}
	dropped atomic.Uint64
	refused atomic.Uint64

	mu      sync.Mutex // guards all below
	encoder encoder
	pending []byte        // whole lines that wait for the disk
	spare   []byte        // takes the next lines while these are being written
	fault   error         // why the last write did not succeed; nil when it did
	flushed chan struct{} // closed after the next write; nil while nobody waits for it
}

// Open prepares the directory: a record that a crash left unfinished is cut off and set aside.
func Open(o Options) (*Log, error) {
	o.Mode = cmp.Or(o.Mode, Strict)
	o.MaxBytes = cmp.Or(o.MaxBytes, 64<<20)
	o.MaxBuffer = cmp.Or(o.MaxBuffer, 4<<20)
	o.Gather = cmp.Or(o.Gather, 20*time.Millisecond)
	s, err := openSegments(o.Dir, o.MaxBytes, o.Log)
	if err != nil {
		return nil, fmt.Errorf("open audit log in %s: %w; check that the directory belongs to the user that runs gatehouse", o.Dir, err)
	}
	return &Log{options: o, segment: s, wake: make(chan struct{}, 1)}, nil
}

// Record takes an event, which Run brings to the disk within some 20 milliseconds. Under Strict it returns
// ErrUnavailable when the event cannot be kept.
func (l *Log) Record(_ context.Context, e Event) error {
	if l == nil {
		return nil
	}
	if e.Time.IsZero() {
		e.Time = l.options.Now()
	}
	err := l.queue(&e)
	switch {
	case err == nil && l.options.Told != nil:
		l.options.Told(e)
	case err != nil && l.options.Mode == BestEffort:
		l.dropped.Add(1)
		return nil
	case err != nil:
		l.refused.Add(1)
	}
	return err
}

func (l *Log) queue(e *Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil && l.options.Mode == Strict {
		return fmt.Errorf("%w: %w", ErrUnavailable, l.fault)
	}
	before := len(l.pending)
	l.pending = l.encoder.appendLine(l.pending, e)
	if len(l.pending) > l.options.MaxBuffer {
		l.pending = l.pending[:before]
		return fmt.Errorf("%w: %d bytes wait for the disk", ErrUnavailable, before)
	}
	l.wakeLocked()
	return nil
}

// Dropped returns how many events BestEffort gave up.
func (l *Log) Dropped() uint64 {
	if l == nil {
		return 0
	}
	return l.dropped.Load()
}

// Refused returns how many events Strict could not take.
func (l *Log) Refused() uint64 {
	if l == nil {
		return 0
	}
	return l.refused.Load()
}

// Waiting returns how many bytes of events wait for the disk.
func (l *Log) Waiting() int {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending)
}

// Fault returns why events cannot reach the disk at the moment, or nil.
func (l *Log) Fault() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault
}

// Ready waits until there is room for the event of what the caller is about to do and cannot undo: a disk that is slow
// for a moment slows calls down, and refuses none. It returns ErrUnavailable at once when the last write failed, and
// when nothing reached the disk for a few seconds: a disk that hangs gives no fault. Under BestEffort it never waits.
func (l *Log) Ready(ctx context.Context) error {
	if l == nil || l.options.Mode == BestEffort {
		return nil
	}
	for {
		flushed, err := l.room()
		if flushed == nil {
			return err
		}
		select {
		case <-flushed:
		case <-time.After(patience):
			return fmt.Errorf("%w: for %v nothing reached the disk", ErrUnavailable, patience)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// room returns nothing when there is room for another event, an error when the disk is faulty, and else what is closed
// after the next write. Half of the buffer is for the events of what has been begun by now.
func (l *Log) room() (flushed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.fault != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, l.fault)
	case len(l.pending) <= l.options.MaxBuffer/2:
		return nil, nil
	case l.flushed == nil:
		l.flushed = make(chan struct{})
	}
	return l.flushed, nil
}

// Run writes events until ctx is done, then writes what is left and closes the files. It must run once.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		<-ctx.Done()
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return l.finish()
		case <-l.wake:
		}
		pause := l.options.Gather
		if l.Fault() != nil {
			pause = retryAfterFault
		}
		wait(ctx, pause)
		l.flush()
	}
}

// finish makes the last attempt.
func (l *Log) finish() error {
	l.flush()
	err := errors.Join(l.Fault(), l.segment.close())
	if err != nil {
		return fmt.Errorf("close audit log in %s: %w", l.options.Dir, err)
	}
	return nil
}

// flush brings all pending lines to the disk with one fsync. After a fault they stay pending, and Run tries again.
func (l *Log) flush() {
	l.mu.Lock()
	batch := l.pending
	l.mu.Unlock()
	if len(batch) == 0 {
		return
	}
	err := l.segment.write(batch, l.options.Now())

	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		rest := l.spare[:0]
		rest = append(rest, l.pending[len(batch):]...)
		l.spare, l.pending = nil, rest
		if cap(batch) <= keptBuffer {
			l.spare = batch[:0]
		}
	} else {
		l.wakeLocked()
	}
	l.report(err)
	l.fault = err
	if l.flushed != nil {
		close(l.flushed)
		l.flushed = nil
	}
}

// report logs when the disk fails and when it works again, not each attempt. The caller holds mu.
func (l *Log) report(err error) {
	switch {
	case err != nil && l.fault == nil:
		l.options.Log.Error("audit events cannot be written; free space or repair the disk", "dir", l.options.Dir, "mode", string(l.options.Mode), "error", err)
	case err == nil && l.fault != nil:
		l.options.Log.Info("audit events are written again", "dir", l.options.Dir, "dropped", l.dropped.Load())
	}
}

// wakeLocked makes Run come round again. The caller holds mu.
func (l *Log) wakeLocked() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
