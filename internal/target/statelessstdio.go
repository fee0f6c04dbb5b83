package target

import (
	"context"
	"errors"
	"strconv"

	"gatehouse/internal/mcp"
)

// processCarrier is a connection to a process of the stateless era (2026-07-28 basic/transports/stdio).
type processCarrier struct {
	p *process
	l *commandLink // the connection's place; nil while the process is asked what it is
}

func (c *processCarrier) head(string, string) (int64, *header, *parcels) {
	return c.p.ids.Add(1), nil, nil
}

func (c *processCarrier) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	c.p.touch(c.l)
	return c.p.exchange(ctx, r)
}

// listen waits for the end of a stream, which is this request's response. When nobody listens any more, the process is
// told, because there is no connection that could end.
func (c *processCarrier) listen(ctx context.Context, r *request) (*mcp.Result, error) {
	w := c.p.pending.awaitAside(string(r.id))
	defer c.p.pending.dismiss(string(r.id), w)
	if err := c.p.send(ctx, r.body); err != nil {
		return nil, err
	}
	m, err := w.response(ctx, r, nil, c.p.gone)
	if ctx.Err() != nil {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endGrace)
		defer cancel()
		// A process that does not take it will be stopped, or goes on telling us in vain.
		_ = c.p.send(ending, mcp.AppendNotification(nil, mcp.NoteCancelled, append(append([]byte(`{"requestId":`), r.id...), '}')))
	}
	if err != nil {
		return nil, err
	}
	return c.p.t.outcome(&m, r)
}

func (c *processCarrier) send(ctx context.Context, body []byte) error { return c.p.send(ctx, body) }

func (c *processCarrier) end() { c.l.end(context.Background()) }

// errBothEras means that a process serves sessions too.
var errBothEras = errors.New("the server serves sessions too")

// launch starts the command and finds out which era it is of, unless that is known. A server of both eras is used in a
// session: clients of either era can be asked by it then, and one process serves all of a person's. It is started anew
// for that, because some take no initialize once they were asked anything.
func (d *commandDialer) launch(ctx context.Context, key slotKey, c *Conn) (*process, error) {
	person := key.person
	if person == sharedSlot {
		person, c = "", d.t.anyone()
	}
	for known := d.sessions.Load(); ; known = true { // some servers end at a question that comes before initialize
		at, err := d.t.opt.Command.Places.take(ctx, person)
		if err != nil {
			return nil, err
		}
		p, err := startProcess(ctx, d.t, key, at)
		if err != nil {
			return nil, err
		}
		if err = d.agree(ctx, c, p, known); err == nil {
			d.sessions.Store(!p.stateless)
			return p, nil
		}
		died := p.ended()
		p.stop()
		if errors.Is(err, errSessionGone) || errors.Is(err, errOtherEra) {
			err = p.reason()
		}
		if known || ctx.Err() != nil || !died && !errors.Is(err, errBothEras) {
			d.sessions.Store(false)
			return nil, err
		}
	}
}

// agree asks a process what it is, unless it is known to be one of sessions, and initialises a session.
func (d *commandDialer) agree(ctx context.Context, c *Conn, p *process, known bool) error {
	var server *Server
	err := errOtherEra
	if !known {
		server, err = d.discover(ctx, c, p)
	}
	switch {
	case err == nil && server.bothEras:
		return errBothEras
	case err == nil:
		p.server, p.stateless = *server, true
		return nil
	case !errors.Is(err, errOtherEra):
		return err
	}
	err = c.handshake(ctx, strconv.AppendInt(nil, p.ids.Add(1), 10), p.exchange, func(s Server) {
		p.server = s
		p.batches.Store(mcp.Batches(s.Revision))
	}, p.send)
	if said, ok := errors.AsType[*mcp.Error](err); ok && !known && (statelessOnly(said) || said.Code == mcp.CodeMethodNotFound) {
		// A process that was still starting may not have answered the first question in time.
		if server, later := d.discover(ctx, c, p); later == nil {
			p.server, p.stateless = *server, true
			return nil
		}
	}
	return err
}

// discover asks a process what it is. Whatever an older server does at that is errOtherEra.
func (d *commandDialer) discover(ctx context.Context, c *Conn, p *process) (*Server, error) {
	probing, cancel := context.WithTimeout(ctx, min(probeTime, d.t.opt.Command.StartTimeout/3))
	defer cancel()
	l := &statelessLink{via: &processCarrier{p: p}, c: c}
	reply, err := p.exchange(probing, l.discovery())
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, errOtherEra
	}
	return parseDiscovered(reply.Raw)
}
