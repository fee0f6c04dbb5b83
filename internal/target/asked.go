package target

import (
	"bytes"
	"context"

	"gatehouse/internal/mcp"
)

// came handles a message that the upstream sent on its own: along with a call (then clock is that call's, and
// notifications go to inflight), or outside any.
func (c *Conn) came(ctx context.Context, clock *clock, l link, m *mcp.Message, inflight func(m *mcp.Message)) {
	switch m.Kind {
	case mcp.KindRequest:
		c.answer(ctx, clock, l, m)
	case mcp.KindNotification:
		switch m.Method {
		case mcp.NoteToolsChanged, mcp.NotePromptsChanged, mcp.NoteResourcesChanged:
			c.t.catalog.stale()
		case mcp.NoteCancelled:
			c.withdraw(m.RequestID)
		default:
			if inflight != nil {
				inflight(m)
			} else if c.events != nil {
				c.events.Notify(m)
			}
		}
	}
}

// maxAsked is how many requests of one upstream are answered at the same time.
const maxAsked = 64

// answer answers a request of the server: ping by itself, the rest by the client that declared it.
func (c *Conn) answer(ctx context.Context, clock *clock, l link, m *mcp.Message) {
	id := bytes.Clone(m.ID)
	switch {
	case m.Method == mcp.MethodPing:
		c.reply(ctx, l, mcp.AppendResult(nil, id, nil))
		return
	case c.events == nil || !c.can.Allows(m.Method, m.Params):
		if c.events != nil {
			c.events.Refused(ctx, m)
		}
		c.reply(ctx, l, mcp.AppendError(nil, id, mcp.Errorf(mcp.CodeMethodNotFound, "the client does not support %s", m.Method)))
		return
	}
	own, err := mcp.Decode(bytes.Clone(m.Raw), fromUpstream())
	if err != nil {
		return
	}
	asking, cancel := context.WithCancel(ctx)
	if !c.remember(string(id), cancel) {
		cancel()
		c.reply(ctx, l, mcp.AppendError(nil, id, mcp.Errorf(mcp.CodeInternal, "too many requests at the same time")))
		return
	}
	clock.hold()
	started := c.goDo(func() {
		defer c.forget(string(id))
		defer clock.release()
		result, said := c.events.Request(asking, &own)
		if asking.Err() != nil {
			return
		}
		if said != nil {
			_ = l.send(asking, mcp.AppendError(nil, id, said)) // the upstream misses its answer and says so in its own
			return
		}
		_ = l.send(asking, mcp.AppendResult(nil, id, result))
	})
	if !started {
		clock.release()
		c.forget(string(id))
	}
}

// reply sends a response off the reader's goroutine.
func (c *Conn) reply(ctx context.Context, l link, body []byte) {
	c.goDo(func() {
		ctx, cancel := context.WithTimeout(ctx, endGrace)
		defer cancel()
		_ = l.send(ctx, body) // a peer that does not take its answer will notice by itself
	})
}

func (c *Conn) remember(id string, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, twice := c.asked[id]; twice || c.closed || len(c.asked) >= maxAsked {
		return false
	}
	c.asked[id] = cancel
	return true
}

func (c *Conn) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.asked[id]; cancel != nil {
		cancel()
		delete(c.asked, id)
	}
}

// withdraw stops answering a request that the server cancelled.
func (c *Conn) withdraw(id []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cancel := c.asked[string(id)]; cancel != nil {
		cancel()
	}
}
