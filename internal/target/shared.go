package target

import (
	"context"

	"gatehouse/internal/mcp"
)

// A process that several persons share must not tell one of another. It is told of no client's name and capabilities, so
// that it has nobody to ask; what it sends on its own reaches a person only when that person's call or subscription is
// named in it.

// anyone is the connection that a shared process is initialised with.
func (t *Target) anyone() *Conn { return &Conn{t: t, caller: Caller{Revision: mcp.Latest}} }

// dispatchShared brings what is no response to whom it certainly concerns, and to nobody else.
func (p *process) dispatchShared(ctx context.Context, links []*commandLink, call *waiting, m *mcp.Message) {
	switch {
	case m.Kind == mcp.KindRequest:
		if len(links) > 0 { // any of them refuses it, but for ping
			links[len(links)-1].c.answerFor(ctx, links[len(links)-1], m)
		}
	case m.Method == mcp.NoteProgress:
		if call != nil {
			offer(call.notes, *m)
		}
	case m.Method == mcp.NoteResourceUpdated:
		for _, l := range links {
			if l.c.subscribed(m.Name) {
				l.c.came(ctx, nil, l, m, nil)
			}
		}
	case m.Method == mcp.NoteToolsChanged || m.Method == mcp.NotePromptsChanged || m.Method == mcp.NoteResourcesChanged:
		p.t.catalog.stale()
	default:
		p.t.opt.Log.Debug("shared target process sent a message that belongs to nobody", "method", m.Method)
	}
}

// answerFor answers a request of a shared server: the gateway itself is its client, and can nothing.
func (c *Conn) answerFor(ctx context.Context, l link, m *mcp.Message) {
	if m.Method == mcp.MethodPing {
		c.reply(ctx, l, mcp.AppendResult(nil, m.ID, nil))
		return
	}
	c.reply(ctx, l, mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeMethodNotFound, "the client does not support %s", m.Method)))
}

// subscribed reports whether this connection's client has subscribed to a resource.
func (c *Conn) subscribed(uri string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, on := c.lasting[uri]
	return on && uri != ""
}
