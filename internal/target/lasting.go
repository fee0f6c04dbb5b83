package target

import (
	"context"
	"maps"
	"slices"

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

// lost replaces a session of which the listening stream learnt that it has ended, when somebody relies on it.
func (c *Conn) lost(ctx context.Context, l link) {
	c.goDo(func() {
		c.discard(l)
		if c.caller.Principal == nil {
			c.t.catalog.stale() // the refresh opens another
			return
		}
		c.mu.Lock()
		needed := len(c.lasting) > 0
		c.mu.Unlock()
		if needed {
			ctx, clock := c.begin(context.WithoutCancel(ctx))
			defer c.finish(clock)
			if _, err := c.open(ctx); err != nil {
				c.t.opt.Log.Warn("target session not opened again", "error", err)
			}
		}
	})
}
