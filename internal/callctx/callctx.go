// Package callctx has a context.Context that can be cancelled with a cause, carries one value, and tells its watchers when it
// ends. It is what context.WithCancelCause, context.WithValue and context.AfterFunc do together, as one struct that can be a
// field of another one, and so costs no allocation of its own. A call through the gateway needs three such contexts, one
// derived from the other: that of its HTTP request (httpd), that of the call (gateway) and that of its clock (target). With
// package context they would be twelve allocations.
//
// It works together with package context in both directions: contexts derived from one of these end with it, and
// context.Cause finds its cause.
package callctx

import (
	"context"
	"sync"
	"time"
)

// Watcher is told when a context has ended. Ended must return soon, and must not call Watch or Unwatch of that context.
type Watcher interface{ Ended() }

// Watchable is a context that can be watched without a goroutine.
type Watchable interface {
	context.Context
	// Watch calls w.Ended once when the context ends, at once if it has ended already.
	Watch(w Watcher)
	// Unwatch stops that. It reports false when w.Ended has been called, or is about to be.
	Unwatch(w Watcher) bool
}

// Context is a context that ends with its parent, or with Cancel. Begin must be called before any other method, and Cancel
// when the context is no longer needed, or the parent keeps it in memory.
type Context struct {
	parent     context.Context
	key, value any         // see Keep
	watched    Watchable   // the parent, if it is a Watchable; else nil
	stop       func() bool // ends watching a parent of another kind; nil when that never ends

	mu       sync.Mutex // guards what follows
	done     chan struct{}
	err      error
	watchers []Watcher
	room     [2]Watcher // for watchers
}

// Begin makes c a context that ends with parent and has the values of parent. If parent has ended already, c has, too.
func (c *Context) Begin(parent context.Context) {
	c.parent = parent
	c.watchers = c.room[:0]
	if w, ok := parent.(Watchable); ok {
		c.watched = w
		w.Watch(c)
		return
	}
	switch {
	case parent.Done() == nil:
	case parent.Err() != nil: // nothing may begin that is over already
		c.Ended()
	default:
		c.stop = context.AfterFunc(parent, c.Ended)
	}
}

// Keep makes c carry a value, as context.WithValue would. There is room for one: Keep reports false when c carries a value of
// another key. It must be called before c is shared with other goroutines.
func (c *Context) Keep(key, value any) bool {
	if c.key != nil && c.key != key {
		return false
	}
	c.key, c.value = key, value
	return true
}

// Kept returns the value that c carries itself, if any. It costs less than Value.
func (c *Context) Kept() any { return c.value }

// Cancel ends the context; the first cause counts, nil stands for context.Canceled.
func (c *Context) Cancel(cause error) {
	err := context.Canceled
	if cause != nil {
		err = &ended{err, cause}
	}
	c.end(err)
	if c.watched != nil {
		c.watched.Unwatch(c)
	}
	if c.stop != nil {
		c.stop()
	}
}

// Ended implements Watcher: the parent has ended.
func (c *Context) Ended() {
	err := c.parent.Err()
	if cause := context.Cause(c.parent); cause != err { //nolint:errorlint // the same, not one of its kind
		err = &ended{err, cause}
	}
	c.end(err)
}

func (c *Context) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	watchers := c.watchers
	c.watchers = nil
	c.mu.Unlock()
	for _, w := range watchers {
		w.Ended()
	}
}

// Watch implements Watchable.
func (c *Context) Watch(w Watcher) {
	c.mu.Lock()
	if c.err == nil {
		c.watchers = append(c.watchers, w)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	w.Ended()
}

// Unwatch implements Watchable.
func (c *Context) Unwatch(w Watcher) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.watchers) - 1
	for i := last; i >= 0; i-- { // nearly always it is the last one
		if c.watchers[i] == w {
			c.watchers[i], c.watchers[last] = c.watchers[last], nil
			c.watchers = c.watchers[:last]
			return true
		}
	}
	return false
}

// AfterFunc is what package context looks for: a context derived from this one needs no goroutine to end with it.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	w := &call{f}
	c.Watch(w)
	return func() bool { return c.Unwatch(w) }
}

type call struct{ f func() }

// Ended implements Watcher.
func (c *call) Ended() { go c.f() }

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err implements context.Context. The error wraps both what package context would return (context.Canceled, or the error of
// the parent) and the cause.
func (c *Context) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value implements context.Context.
func (c *Context) Value(key any) any {
	if key == c.key && c.key != nil {
		return c.value
	}
	return c.parent.Value(key)
}

// ended is the error of a context that ended for a cause.
type ended struct{ err, cause error }

// Error implements error.
func (e *ended) Error() string { return e.err.Error() }

// Unwrap returns both.
func (e *ended) Unwrap() []error { return []error{e.err, e.cause} }
