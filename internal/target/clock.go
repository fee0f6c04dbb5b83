package target

import (
	"context"
	"errors"
	"sync"
	"time"

	"gatehouse/internal/callctx"
)

// lasting is the context of what outlasts the call for which it began. It has none of that call's values: they hold its
// HTTP request, and with it the client's token, in memory.
func lasting() context.Context { return context.Background() }

// errTimeout is the cause when a call's clock runs out.
var errTimeout = errors.New("no answer in time")

// clock is a call's context, which ends when nothing has been heard for a while, and in any case at the cap (2025-11-25
// basic/lifecycle, timeouts). A nil clock can be told of progress and of waiting, and does nothing.
type clock struct {
	callctx.Context
	quiet time.Duration
	cap   time.Time
	timer *time.Timer

	before, after *clock // other calls of the connection, whose mutex guards them

	mu   sync.Mutex // guards held
	held int        // requests of the server that wait for a person
}

// startClock returns a clock as the context that it is, too.
func startClock(ctx context.Context, quiet, limit time.Duration) (context.Context, *clock) {
	c := &clock{quiet: quiet, cap: time.Now().Add(limit)}
	c.Begin(ctx)
	c.timer = time.AfterFunc(quiet, c.ranOut)
	return c, c
}

func (c *clock) ranOut() { c.Cancel(errTimeout) }

// restart is called when the upstream shows progress.
func (c *clock) restart() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set()
}

// hold stops counting silence while the upstream itself waits for an answer.
func (c *clock) hold() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
	c.set()
}

func (c *clock) release() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held--
	c.set()
}

func (c *clock) set() {
	left := time.Until(c.cap)
	if c.held == 0 {
		left = min(left, c.quiet)
	}
	if c.timer.Stop() { // else it has run out or the call is over
		c.timer.Reset(left)
	}
}

func (c *clock) stop() {
	c.timer.Stop()
	c.Cancel(nil)
}
