package target

import (
	"context"
	"maps"
	"slices"
	"time"

	"gatehouse/internal/mcp"
)

// note remembers what a server keeps with the session, so that a new session can be brought to the same state.
func (c *Conn) note(m *mcp.Message, name string) {
	switch m.Method {
	case mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.MethodSetLevel:
	default:
		return
	}
	own := m.Edited(mcp.Edit{Name: name})
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Method == mcp.MethodUnsubscribe:
		delete(c.lasting, own.Name)
	case len(c.lasting) < maxLasting && len(own.Params) <= maxLastingParams:
		c.lasting[own.Name] = own // the log level has no name
	}
}

// How many subscriptions survive the loss of a session, and how large each may be.
const (
	maxLasting       = 1000
	maxLastingParams = 8 << 10
)

// restore tells a new session what the lost one knew. What the server refuses now is gone.
func (c *Conn) restore(ctx context.Context, l link) {
	c.mu.Lock()
	lasting := slices.Collect(maps.Values(c.lasting))
	c.mu.Unlock()
	for _, m := range lasting {
		if _, err := c.over(ctx, nil, l, &m, "", nil); err != nil {
			c.t.opt.Log.Warn("target session not restored", "method", m.Method, "error", err)
		}
	}
}

// lost replaces a session of which the listening stream learnt that it has ended, when somebody relies on it, and tries
// again until it works: whoever only listens makes no call that would.
func (c *Conn) lost(ctx context.Context, l link) {
	c.goDo(func() {
		c.discard(l)
		if c.caller.Principal == nil {
			c.t.catalog.stale() // the refresh opens another
			return
		}
		trying, until := c.beginFor(context.WithoutCancel(ctx), forever, forever)
		defer c.finish(until)
		for pause := (pauses{}); c.reliedOn(); {
			began := time.Now()
			err := c.reopen(trying)
			if err == nil {
				return
			}
			c.t.opt.Log.Warn("target session not opened again yet", "error", err)
			if sleep(trying, pause.after(began)) != nil {
				return
			}
		}
	})
}

// forever is longer than anything here lasts.
const forever = 100 * 365 * 24 * time.Hour

// reliedOn reports whether a session knows something that has to be told again.
func (c *Conn) reliedOn() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lasting) > 0 && !c.closed
}

func (c *Conn) reopen(ctx context.Context) error {
	ctx, clock := c.begin(ctx)
	defer c.finish(clock)
	_, err := c.open(ctx)
	return err
}
