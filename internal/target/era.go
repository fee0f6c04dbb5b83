package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
)

// era is what a dialer remembers about the era and the transport of its server (2026-07-28 basic/versioning). It is
// forgotten when the server answers like one of another.
type era struct {
	sessions  atomic.Bool            // the server is of the session era
	lines     atomic.Bool            // it speaks HTTP+SSE, as servers of 2024-11-05 do
	stateless atomic.Pointer[Server] // what a server of the stateless era said about itself
	keepsNone atomic.Bool            // it serves the session era too, but without sessions
	silent    atomic.Bool            // it answers a listening stream only when it has something to say
}

func (e *era) forget() {
	e.sessions.Store(false)
	e.lines.Store(false)
	e.stateless.Store(nil)
	e.keepsNone.Store(false)
	e.silent.Store(false)
}

func (e *era) known() bool {
	return e.sessions.Load() || e.lines.Load() || e.stateless.Load() != nil
}

// probeTime bounds the first question to a server that may not know it.
const probeTime = 10 * time.Second

// errOtherEra means that a server did not understand the question of the stateless era.
var errOtherEra = errors.New("the server is not one of the stateless era")

// dial opens a connection in the era of the server, which is found out once and remembered. The target's own connection
// looks anew: it is made when Gatehouse starts, and again whenever the server was away.
func (d *httpDialer) dial(ctx context.Context, c *Conn) (link, error) {
	if c.caller.Principal == nil || !d.era.known() {
		return d.probe(ctx, c)
	}
	l, err := d.dialKnown(ctx, c)
	if trouble, ok := errors.AsType[*Trouble](err); err == nil || ctx.Err() != nil || ok && trouble.Kind != Down {
		return l, err
	}
	d.era.forget() // perhaps it was replaced by a server of another kind
	return d.probe(ctx, c)
}

func (d *httpDialer) dialKnown(ctx context.Context, c *Conn) (link, error) {
	switch {
	case d.era.lines.Load():
		return asLink(d.dialLine(ctx, c))
	case d.era.sessions.Load():
		return asLink(d.dialSession(ctx, c))
	}
	l, err := d.dialStateless(ctx, c)
	if err != nil {
		return nil, err
	}
	return d.prefer(ctx, c, l), nil
}

// asLink makes a typed nil an untyped one.
func asLink[L link](l L, err error) (link, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// probe finds out what the server is. The stateless era is tried first: servers of the session era refuse its question,
// and have no state of it. A server that does not take initialize by POST either may be one of HTTP+SSE.
func (d *httpDialer) probe(ctx context.Context, c *Conn) (link, error) {
	l, err := d.dialStateless(ctx, c)
	if err == nil {
		d.era.sessions.Store(false)
		d.era.lines.Store(false)
		return d.prefer(ctx, c, l), nil
	}
	if !errors.Is(err, errOtherEra) {
		return nil, err
	}
	d.era.forget()
	s, err := d.dialSession(ctx, c)
	if err == nil {
		d.era.sessions.Store(true)
		return s, nil
	}
	if r, ok := errors.AsType[*refusal](err); !ok || !r.mayBeOlder() {
		return nil, err
	}
	o, older := d.dialLine(ctx, c)
	if older == nil {
		d.era.lines.Store(true)
		return o, nil
	}
	if errors.Is(older, errNoLine) {
		return nil, d.t.trouble(Down, fmt.Errorf("%w; nor is it a server of 2024-11-05: %w", err, older))
	}
	return nil, older
}

// mayBeOlder reports whether a server that speaks HTTP+SSE alone may have answered like this (2025-11-25
// basic/transports, backwards compatibility).
func (r *refusal) mayBeOlder() bool {
	switch r.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// prefer returns a session in place of a stateless link when the client has one too and the server keeps both: then the
// server can ask the client directly.
func (d *httpDialer) prefer(ctx context.Context, c *Conn, l *statelessLink) link {
	own := c.Server()
	if c.caller.Principal == nil || !mcp.SessionEra(c.caller.Revision) || !own.bothEras || d.era.keepsNone.Load() {
		return l
	}
	s, err := d.dialSession(ctx, c)
	if err == nil && s.session != "" {
		return s
	}
	if err == nil {
		s.end(ctx)
	}
	d.era.keepsNone.Store(ctx.Err() == nil)
	c.setServer(own)
	return l
}

// dialStateless returns errOtherEra for a server that is not of the stateless era.
func (d *httpDialer) dialStateless(ctx context.Context, c *Conn) (*statelessLink, error) {
	h := &httpCarrier{d: d, reader: httpLink{d: d, c: c}}
	l := &statelessLink{via: h, c: c}
	server := d.era.stateless.Load()
	if server == nil || c.caller.Principal == nil { // the target's own connection looks anew
		var err error
		if server, err = h.discover(ctx, l); err != nil {
			return nil, err
		}
		d.era.stateless.Store(server)
	}
	c.setServer(*server)
	l.begin(ctx)
	return l, nil
}

// discovery is the question what a server is.
func (l *statelessLink) discovery() *request {
	r := l.request(&mcp.Message{Kind: mcp.KindRequest, Method: mcp.MethodDiscover}, "")
	r.came = hearerFunc(func(*mcp.Message) {})
	return r
}

// discover asks what the server is. Whatever an older server answers to that is errOtherEra.
func (h *httpCarrier) discover(ctx context.Context, l *statelessLink) (*Server, error) {
	probing, cancel := context.WithTimeout(ctx, min(probeTime, h.d.t.opt.Timeout/2))
	defer cancel()
	r := l.discovery()
	resp, err := h.post(probing, r)
	if err == nil && knowsRevision(resp) {
		r = l.discovery()
		resp, err = h.post(probing, r) //nolint:bodyclose // the first was read whole, the second is closed below
	}
	switch {
	case err != nil && probing.Err() != nil && ctx.Err() == nil:
		return nil, errOtherEra
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden || resp.StatusCode/100 == 3:
		defer drain(resp)
		return nil, h.reader.refused(resp, r.id)
	case resp.StatusCode != http.StatusOK:
		drain(resp)
		return nil, errOtherEra
	}
	reply, err := h.read(probing, resp, r)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, errOtherEra
	}
	return parseDiscovered(reply.Raw)
}

// knowsRevision reports whether a server refuses our revision and says in the same answer that it knows it: it has not
// read the one that we sent, and is asked once more (2026-07-28 basic/versioning). Any other answer can still be read.
func knowsRevision(resp *http.Response) bool {
	if resp.StatusCode != http.StatusBadRequest {
		return false
	}
	body, m, said := readRefusal(resp)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if said == nil || said.Code != mcp.CodeUnsupportedRevision {
		return false
	}
	data, _ := mcp.Lookup(m.Error, "data")
	list, _ := mcp.Lookup(data, "supported")
	versions, _ := mcp.Strings(list)
	return slices.Contains(versions, string(mcp.Rev20260728))
}

// parseDiscovered reads the result of server/discover.
func parseDiscovered(result []byte) (*Server, error) {
	list, _ := mcp.Lookup(result, "supportedVersions")
	versions, ok := mcp.Strings(list)
	if !ok || !slices.Contains(versions, string(mcp.Rev20260728)) {
		return nil, fmt.Errorf("%w: it serves %q", errOtherEra, versions)
	}
	s := &Server{Revision: mcp.Rev20260728, bothEras: slices.ContainsFunc(versions, func(v string) bool { return mcp.SessionEra(mcp.Revision(v)) })}
	if s.Capabilities, ok = mcp.Lookup(result, "capabilities"); !ok {
		return nil, fmt.Errorf("%w: it named no capabilities", errOtherEra)
	}
	meta, _ := mcp.Lookup(result, "_meta")
	s.Info, _ = mcp.Lookup(meta, mcp.MetaServerInfo)
	s.Instructions, _ = mcp.LookupString(result, "instructions")
	return s, nil
}
