package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// stopTimeout bounds the whole stop. The server's part of it leaves time for the others: the last audit records have to
// reach the disk.
const (
	stopTimeout  = 15 * time.Second
	requestGrace = 10 * time.Second
)

// lifecycle is the list of everything that runs or has to be closed, in the order in which it was started. Stopping
// walks it backwards; the same walk undoes a start that failed half way.
type lifecycle struct {
	log    *slog.Logger
	failed chan error // the first runner that ended by itself

	mu    sync.Mutex // guards steps
	steps []step
}

type step struct {
	name string
	stop func(context.Context) error
}

func newLifecycle(log *slog.Logger) *lifecycle {
	return &lifecycle{log: log, failed: make(chan error, 1)}
}

// closes remembers something to close.
func (l *lifecycle) closes(name string, stop func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps = append(l.steps, step{name, stop})
}

// runs starts run in a goroutine of its own, which ends when its turn to stop comes; ending before is a failure. Its
// values come from parent, its end does not: the order of stopping is the list's alone.
func (l *lifecycle) runs(parent context.Context, name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	done := make(chan error, 1)
	go func() {
		err := run(ctx)
		if ctx.Err() == nil {
			l.fail(name, err)
		}
		done <- err
	}()
	l.closes(name, func(stop context.Context) error {
		cancel()
		select {
		case err := <-done:
			if errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-stop.Done():
			return stop.Err()
		}
	})
}

func (l *lifecycle) fail(name string, err error) {
	if err == nil {
		err = errors.New("it ended without being asked to")
	}
	select {
	case l.failed <- fmt.Errorf("%s: %w", name, err):
	default:
	}
}

// stop walks the list backwards. It always comes to its end, within stopTimeout.
func (l *lifecycle) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	l.mu.Lock()
	steps := slices.Clone(l.steps)
	l.steps = nil
	l.mu.Unlock()
	var all []error
	for _, s := range slices.Backward(steps) {
		if err := s.stop(ctx); err != nil {
			l.log.Error("part did not stop cleanly", "part", s.name, "error", err)
			all = append(all, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	return errors.Join(all...)
}

// part is embedded in what runs from the configuration that brings it to the one that no longer has it.
type part struct{ stop func() error } // nil until it runs

func (p *part) asPart() *part { return p }

// partOf is what a configuration brings.
type partOf interface {
	comparable
	Run(ctx context.Context) error
	asPart() *part
}

// adopt starts what is new in next, and returns what next no longer has of current, which still runs.
func adopt[P partOf](ctx context.Context, log *slog.Logger, kind string, current, next map[string]P) (retired []P) {
	for name, old := range current {
		if next[name] != old {
			retired = append(retired, old)
		}
	}
	for name, p := range next {
		if p.asPart().stop == nil {
			one := newLifecycle(log)
			one.runs(ctx, kind+" "+name, p.Run)
			p.asPart().stop = one.stop
		}
	}
	return retired
}

// stopAll ends what was retired, one after the other.
func stopAll[P partOf](retired []P) error {
	var joined error
	for _, p := range retired {
		joined = errors.Join(joined, p.asPart().stop())
	}
	return joined
}
