package target

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/callctx"
)

// lasting is the context of work that outlasts the call for which it began. It has none of that call's values, because they
// would keep the call's HTTP request, and with it the client's token, in memory.
func lasting() context.Context { return context.Background() }

// errTimeout is the cause when a call's clock runs out.
var errTimeout = errors.New("no answer in time")

// clock is a call's context. It ends when the server has shown no progress for a while, and in any case at the limit (2025-11-25
// basic/lifecycle, timeouts). The methods restart, hold and release do nothing on a nil clock.
type clock struct {
	callctx.Context
	c     *Conn
	began time.Time
	quiet time.Duration // how long the server may show no progress
	limit time.Duration // how long the call may take

	// The connection's mutex guards what follows.
	due           time.Time // when the call times out, if nothing happens before
	held          int       // requests of the server that wait for the client's answer; meanwhile silence does not count
	before, after *clock    // neighbours in Conn.calls
}

// restart is called when the upstream shows progress.
func (c *clock) restart() { c.hear(0) }

// hold is called when the upstream has asked something: silence does not count until release.
func (c *clock) hold() { c.hear(1) }

// release is called when the upstream has got its answer.
func (c *clock) release() { c.hear(-1) }

// hear begins the count of silence anew, and adds to the number of requests that wait for an answer.
func (c *clock) hear(waiting int) {
	if c == nil {
		return
	}
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.held += waiting
	c.set(time.Now())
}

// set works out when the call times out, and sets the alarm for it. It needs c.c.mu.
func (c *clock) set(now time.Time) {
	left := c.limit - now.Sub(c.began)
	if c.held == 0 {
		left = min(left, c.quiet)
	}
	c.due = now.Add(left)
	c.c.wake(now, c.due)
}

// alarm is the one timer of all clocks of a connection. It is set only when it would otherwise go off too late, and is left
// alone when a call ends. Most calls end long before they are due, while the alarm of an earlier call is still set, so they
// touch no timer at all.
type alarm struct {
	timer *time.Timer
	at    time.Time // when it goes off; zero when it does not
}

// wake sets the alarm for due, unless it goes off earlier already, or the connection is closed and all its calls have ended. It
// needs c.mu.
func (c *Conn) wake(now, due time.Time) {
	switch a := &c.alarm; {
	case c.closed || !a.at.IsZero() && !due.Before(a.at):
		return
	case a.timer == nil:
		a.timer = time.AfterFunc(due.Sub(now), c.ring)
	default:
		a.timer.Reset(due.Sub(now))
	}
	c.alarm.at = due
}

// silence stops the alarm. It needs c.mu.
func (c *Conn) silence() {
	if c.alarm.timer != nil {
		c.alarm.timer.Stop()
	}
	c.alarm = alarm{}
}

// ring is called by the alarm: it ends the calls that are due, and sets the alarm for the next one.
func (c *Conn) ring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence()
	now := time.Now()
	for clock := c.calls; clock != nil; clock = clock.after {
		switch {
		case clock.Err() != nil: // over, and about to leave
		case clock.due.After(now):
			c.wake(now, clock.due)
		default:
			clock.Cancel(errTimeout)
		}
	}
}

// begin starts the clock of a call. The context that it returns is that clock. The caller must call finish.
func (c *Conn) begin(ctx context.Context) (context.Context, *clock) {
	return c.beginFor(ctx, c.t.opt.Timeout, c.t.opt.MaxTimeout)
}

// beginFor is begin with other limits of time.
func (c *Conn) beginFor(ctx context.Context, quiet, limit time.Duration) (context.Context, *clock) {
	now := time.Now()
	clock := &clock{c: c, began: now, quiet: quiet, limit: limit}
	clock.Begin(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if clock.after = c.calls; clock.after != nil {
		clock.after.before = clock
	}
	c.calls = clock
	if c.closed {
		clock.Cancel(errClosed)
	}
	clock.set(now)
	return clock, clock
}

// finish ends a call.
func (c *Conn) finish(clock *clock) {
	clock.Cancel(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if clock.after != nil {
		clock.after.before = clock.before
	}
	if clock.before != nil {
		clock.before.after = clock.after
	} else {
		c.calls = clock.after
	}
}
