package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
)

// sseLink is one session over HTTP+SSE (2024-11-05 basic/transports): messages go out by POST, to an address that the
// server names first, and everything comes back over one stream. The session is the stream.
type sseLink struct {
	d       *httpDialer
	c       *Conn
	address *url.URL // for messages; set before anything is sent
	ids     atomic.Int64
	pending pending

	stop context.CancelFunc
	gone chan struct{} // closed when the stream has ended
}

// errNoLine means that a server does not speak HTTP+SSE.
var errNoLine = errors.New("no stream of HTTP+SSE")

// dialLine opens a stream and initialises the session.
func (d *httpDialer) dialLine(ctx context.Context, c *Conn) (*sseLink, error) {
	l := &sseLink{d: d, c: c, gone: make(chan struct{})}
	streaming, stop := context.WithCancel(lasting())
	l.stop = stop
	hurry := context.AfterFunc(ctx, stop)
	late := time.AfterFunc(min(probeTime, d.t.opt.Timeout), stop)
	events, err := l.open(streaming)
	hurried, inTime := !hurry(), late.Stop()
	if hurried || !inTime || err != nil {
		stop()
		if events != nil {
			_ = events.Close()
		}
		switch {
		case hurried:
			err = ctx.Err()
		case !inTime:
			err = fmt.Errorf("%w: no endpoint event came in time", errNoLine)
		}
		return nil, err
	}
	go l.listen(streaming, events)
	err = c.handshake(ctx, []byte("0"), l.exchange, c.setServer, l.send)
	if err != nil {
		l.end(ctx)
		return nil, err
	}
	return l, nil
}

// eventStream is the body of an answer that is a stream of events.
type eventStream struct {
	*mcp.SSEReader
	resp *http.Response
}

// Close ends the stream.
func (s *eventStream) Close() error { return s.resp.Body.Close() }

// open sends the GET and waits for the event that names the address. The stream is to be closed also after an error.
func (l *sseLink) open(ctx context.Context) (*eventStream, error) {
	resp, err := l.d.do(ctx, http.MethodGet, l.d.url, nil) //nolint:bodyclose // the stream closes it
	if err != nil {
		return nil, err
	}
	s := &eventStream{mcp.NewSSEReader(resp.Body, l.d.t.opt.MaxMessage), resp}
	if resp.StatusCode != http.StatusOK || mediaType(resp) != "text/event-stream" {
		return s, fmt.Errorf("%w: GET was answered with HTTP status %d, %.100q", errNoLine, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	for {
		e, err := s.Next()
		if err != nil {
			return s, fmt.Errorf("%w: %w", errNoLine, err)
		}
		if e.Type == "endpoint" {
			l.address, err = sameOrigin(l.d.url, string(e.Data))
			return s, err
		}
	}
}

// sameOrigin resolves the address for messages. It must lie at the server's own origin, or whoever can put words into
// a stream could have the target's credential sent elsewhere (2024-11-05 basic/transports).
func sameOrigin(base *url.URL, address string) (*url.URL, error) {
	u, err := base.Parse(strings.TrimSpace(address))
	if err != nil || u.User != nil || u.Scheme != base.Scheme || !strings.EqualFold(u.Host, base.Host) {
		return nil, fmt.Errorf("%w: the address for messages, %.200q, is not at the target's own origin", errNoLine, address)
	}
	return u, nil
}

// listen reads the stream to its end.
func (l *sseLink) listen(ctx context.Context, s *eventStream) {
	defer func() {
		_ = s.Close()
		close(l.gone)
		if ctx.Err() == nil {
			l.c.lost(ctx, l)
		}
	}()
	for {
		e, err := s.Next()
		switch {
		case errors.Is(err, mcp.ErrEventTooLarge):
			l.d.t.opt.Log.Warn("target sent an event that is too long", "limit", l.d.t.opt.MaxMessage)
			l.pending.failOnly(l.d.t.tooLarge())
			return
		case err != nil:
			return
		case len(e.Data) == 0 || e.Type != "" && e.Type != "message":
			continue
		}
		// A message that waits for its call keeps its bytes, so they must be its own.
		messages, err := decodeSome(bytes.Clone(e.Data), mcp.Batches(l.c.Server().Revision))
		if err != nil {
			l.d.t.opt.Log.Warn("target sent rubbish on its stream", "error", err)
			l.pending.failNamed(e.Data, l.d.t.trouble(Rubbish, err))
			continue
		}
		for i := range messages {
			l.dispatch(ctx, &messages[i])
		}
	}
}

// dispatch brings a message to the call that it concerns, or to the connection.
func (l *sseLink) dispatch(ctx context.Context, m *mcp.Message) {
	call := l.pending.concerned(m)
	switch {
	case m.Kind == mcp.KindResponse && call == nil:
		l.d.t.opt.Log.Debug("target answered a request that nobody waits for")
	case m.Kind == mcp.KindResponse:
		offer(call.reply, *m)
	case call != nil && m.Method != mcp.NoteResourceUpdated && m.Method != mcp.NoteCancelled:
		offer(call.notes, *m)
	case m.Method != mcp.NoteProgress:
		l.c.came(ctx, nil, l, m, nil)
	}
}

func (l *sseLink) request(m *mcp.Message, name string) *request {
	return sessionRequest(l.ids.Add(1), m, name, nil)
}

// exchange sends a request and waits for its response on the stream. Some servers accept the POST only when they have
// answered, so that the two are waited for at the same time.
func (l *sseLink) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	select {
	case <-l.gone:
		return nil, errSessionGone
	default:
	}
	w := l.pending.await(string(r.id))
	defer l.pending.dismiss(string(r.id), w)
	posting, abandon := context.WithCancel(context.WithoutCancel(ctx))
	sent := make(chan error, 1)
	if !l.c.goDo(func() {
		defer abandon()
		sent <- l.send(posting, r.body)
	}) {
		abandon()
		return nil, errClosed
	}
	m, err := w.response(ctx, r, sent, l.gone)
	if err != nil {
		abandon()
	} else {
		time.AfterFunc(endGrace, abandon) // it has been answered; let the connection be used again
	}
	if errors.Is(err, errStreamEnded) {
		err = l.d.t.trouble(Down, err)
	}
	if err != nil {
		return nil, err
	}
	return l.d.t.outcome(&m, r)
}

func (l *sseLink) send(ctx context.Context, body []byte) error {
	resp, err := l.d.do(ctx, http.MethodPost, l.address, body)
	if err != nil {
		return err
	}
	defer drain(resp)
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusNotFound:
		return errSessionGone
	}
	return (&httpLink{d: l.d}).refused(resp, nil)
}

// end closes the stream, and with it the session.
func (l *sseLink) end(context.Context) {
	l.stop()
	<-l.gone
}
