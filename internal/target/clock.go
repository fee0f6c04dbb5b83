package target

import (
	"context"
	"errors"
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
	c     *Conn
	quiet time.Duration
	cap   time.Time

	// The mutex of the connection guards what follows.
	due           time.Time // when it ends, if nothing happens
	held          int       // requests of the server that wait for a person
	before, after *clock    // other calls of the connection
}

// restart is called when the upstream shows progress.
func (c *clock) restart() { c.hear(0) }

// hold stops counting silence while the upstream itself waits for an answer.
func (c *clock) hold() { c.hear(1) }

func (c *clock) release() { c.hear(-1) }

// hear begins the count of silence anew, with so many more requests that wait for a person.
func (c *clock) hear(waiting int) {
	if c == nil {
		return
	}
	c.c.mu.Lock()
	defer c.c.mu.Unlock()
	c.held += waiting
	c.set(time.Now())
}

// set needs the lock.
func (c *clock) set(now time.Time) {
	c.due = c.cap
	if silent := now.Add(c.quiet); c.held == 0 && silent.Before(c.cap) {
		c.due = silent
	}
	c.c.wake(now, c.due)
}

// alarm is the one timer of a connection's clocks. It is set only when it would go off too late, and stays as it is when a
// call ends: calls end long before they are due, so that most need no timer at all.
type alarm struct {
	timer *time.Timer
	at    time.Time // when it goes off; zero when it does not
}

// wake sets the alarm, unless the connection is closed: its calls have ended. It needs the lock.
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

// silence takes the alarm back. It needs the lock.
func (c *Conn) silence() {
	if c.alarm.timer != nil {
		c.alarm.timer.Stop()
	}
	c.alarm = alarm{}
}

// ring ends the calls that are due.
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

// begin starts the clock of a call. It is the call's context, too.
func (c *Conn) begin(ctx context.Context) (context.Context, *clock) {
	return c.beginFor(ctx, c.t.opt.Timeout, c.t.opt.MaxTimeout)
}

// beginFor is begin for work that has another time.
func (c *Conn) beginFor(ctx context.Context, quiet, limit time.Duration) (context.Context, *clock) {
	now := time.Now()
	clock := &clock{c: c, quiet: quiet, cap: now.Add(limit)}
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
