package target

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/internal/mcp"
)

// fromUpstream bounds what is read from a target: its size is bounded by the reader, and a text that was cut in the
// middle of an emoji still arrives.
func fromUpstream() mcp.Limits { return mcp.Limits{LoneSurrogates: true} }

// maxBatch bounds the messages in one array of a server.
const maxBatch = 1000

// decodeSome reads what a server sent at once: one message, or an array of several where its revision has that.
func decodeSome(raw []byte, batches bool) ([]mcp.Message, error) {
	if batches && mcp.IsBatch(raw) {
		return mcp.DecodeBatch(raw, fromUpstream(), maxBatch)
	}
	m, err := mcp.Decode(raw, fromUpstream())
	if err != nil {
		return nil, err
	}
	return []mcp.Message{m}, nil
}

// handshake runs initialize and notifications/initialized (2025-11-25 basic/lifecycle) through the two functions of a
// link that is being made. agreed is called between the two.
func (c *Conn) handshake(ctx context.Context, id []byte, exchange func(context.Context, *request) (*mcp.Result, error), agreed func(Server), send func(context.Context, []byte) error) error {
	r := &request{id: id, body: mcp.AppendRequest(nil, id, mcp.MethodInitialize, c.initializeParams()), came: hearerFunc(func(*mcp.Message) {})}
	reply, err := exchange(ctx, r)
	if _, said := errors.AsType[*mcp.Error](err); said {
		return fmt.Errorf("initialize: %w", err)
	}
	if err != nil {
		return err
	}
	server, err := parseServer(reply.Raw)
	if err != nil {
		return c.t.trouble(Rubbish, err)
	}
	agreed(server)
	return send(ctx, mcp.AppendNotification(nil, mcp.NoteInitialized, nil))
}

func (c *Conn) initializeParams() []byte {
	p := mcp.AppendString([]byte(`{"protocolVersion":`), string(mcp.Latest))
	p = append(p, `,"capabilities":`...)
	p = append(p, mcp.RelayedClientCapabilities(c.caller.Capabilities)...)
	p = append(p, `,"clientInfo":`...)
	if len(c.caller.ClientInfo) > 0 {
		p = append(p, c.caller.ClientInfo...)
	} else {
		p = append(p, c.t.clientInfo()...)
	}
	return append(p, '}')
}

// clientInfo is what Gatehouse says about itself when it speaks for nobody in particular.
func (t *Target) clientInfo() []byte {
	p := []byte(`{"name":"gatehouse","title":"Gatehouse","version":`)
	return append(mcp.AppendString(p, t.opt.Version), '}')
}

// parseServer reads the result of initialize. Servers may answer with an older revision that they speak; all of the
// session era are understood.
func parseServer(result []byte) (Server, error) {
	revision, _ := mcp.LookupString(result, "protocolVersion")
	s := Server{Revision: mcp.Revision(revision)}
	switch s.Revision {
	case mcp.Rev20241105, mcp.Rev20250326, mcp.Rev20250618, mcp.Rev20251125:
	default:
		return Server{}, fmt.Errorf("initialize: the server speaks revision %q, which is not one of the session era", revision)
	}
	var ok bool
	if s.Capabilities, ok = mcp.Lookup(result, "capabilities"); !ok {
		return Server{}, fmt.Errorf("initialize: the server named no capabilities")
	}
	s.Info, _ = mcp.Lookup(result, "serverInfo")
	s.Instructions, _ = mcp.LookupString(result, "instructions")
	return s, nil
}

// setServer remembers what the upstream said.
func (c *Conn) setServer(s Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.server = s
}
