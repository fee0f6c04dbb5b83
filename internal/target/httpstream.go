package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"gatehouse/internal/mcp"
)

// Bounds of reconnecting.
const (
	resumeTries   = 5
	firstWait     = 500 * time.Millisecond
	shortestWait  = 100 * time.Millisecond
	longestWait   = time.Minute
	steadyEnough  = 10 * time.Second
	defaultListen = time.Second
)

// pauses are those between the attempts at a stream: each twice as long as the one before, until a stream has held.
type pauses struct{ next time.Duration }

// after returns the pause after a stream that was asked for at a time, and has ended.
func (p *pauses) after(began time.Time) time.Duration {
	if p.next == 0 || time.Since(began) > steadyEnough {
		p.next = defaultListen
	}
	wait := p.next
	p.next = min(wait*2, longestWait)
	return wait
}

// readStream reads events until the response comes. A stream that ends before it is resumed when the server gave its
// events ids (2025-11-25 basic/transports, resumability).
func (l *httpLink) readStream(ctx context.Context, resp *http.Response, r *request) (*mcp.Result, error) {
	cur := cursor{wait: firstWait}
	for tries := 0; ; tries++ {
		before := cur.id
		result, err := l.readUntil(ctx, resp, r, &cur)
		if !errors.Is(err, errStreamEnded) {
			return result, err
		}
		if cur.id != before {
			tries = 0
		}
		if cur.id == "" || tries == resumeTries {
			return nil, l.d.t.trouble(Down, err)
		}
		if resp, err = l.resume(ctx, cur); err != nil { //nolint:bodyclose // readUntil closes what it reads
			return nil, err
		}
	}
}

// cursor is where a stream stands.
type cursor struct {
	id   string
	wait time.Duration
}

func (c *cursor) note(e mcp.Event) {
	if e.ID != "" {
		c.id = e.ID
	}
	if e.Retry > 0 {
		c.wait = min(max(e.Retry, shortestWait), longestWait)
	}
}

// errStreamEnded means that a stream broke off before the response.
var errStreamEnded = errors.New("the stream ended without an answer")

func (l *httpLink) readUntil(ctx context.Context, resp *http.Response, r *request, cur *cursor) (*mcp.Result, error) {
	defer func() { _ = resp.Body.Close() }()
	events := mcp.NewSSEReader(resp.Body, l.d.t.opt.MaxMessage)
	for {
		e, err := events.Next()
		if errors.Is(err, mcp.ErrEventTooLarge) {
			return nil, l.d.t.trouble(TooLarge, err)
		}
		if err != nil {
			amiss(resp, r)
			return nil, fmt.Errorf("%w: %w", errStreamEnded, err)
		}
		cur.note(e)
		if len(e.Data) == 0 {
			continue
		}
		var m mcp.Message
		switch err := l.sort(&m, e.Data, r); {
		case err != nil:
			return nil, err
		case m.Kind != 0:
			// The reader ends here, so the message may keep its buffer.
			l.finish(resp)
			return l.d.t.outcome(&m, r)
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
	}
}

// finish gives the end of a stream a moment to arrive, so that its connection can be used again.
func (l *httpLink) finish(resp *http.Response) {
	late := time.AfterFunc(20*time.Millisecond, func() { _ = resp.Body.Close() })
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	late.Stop()
}

// resume opens a GET stream behind the last event.
func (l *httpLink) resume(ctx context.Context, cur cursor) (*http.Response, error) {
	if err := sleep(ctx, cur.wait); err != nil {
		return nil, err
	}
	resp, err := l.do(ctx, http.MethodGet, nil, cur.id)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK && mediaType(resp) == "text/event-stream" {
		return resp, nil
	}
	defer drain(resp)
	// Not errSessionGone: the request may have been executed.
	return nil, l.d.t.trouble(Down, fmt.Errorf("the stream ended without an answer and could not be resumed: HTTP status %d", resp.StatusCode))
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// listen keeps a GET stream open for what the server sends outside any call, until ctx ends or the server has no such
// stream (405) or no such session.
func (l *httpLink) listen(ctx context.Context) {
	cur := cursor{}
	pause := pauses{}
	for first := true; ; first = false {
		began := time.Now()
		resp, err := l.do(ctx, http.MethodGet, nil, cur.id)
		if first {
			close(l.opened)
		}
		if err == nil {
			if resp.StatusCode/100 == 4 {
				drain(resp)
				if resp.StatusCode == http.StatusNotFound && l.session != "" {
					l.c.lost(ctx, l)
				}
				return
			}
			if resp.StatusCode == http.StatusOK && mediaType(resp) == "text/event-stream" {
				l.listenTo(ctx, resp, &cur)
			} else {
				drain(resp)
			}
		}
		wait := pause.after(began)
		if cur.wait > 0 {
			wait = max(cur.wait, wait/2)
		}
		if sleep(ctx, wait) != nil {
			return
		}
	}
}

func (l *httpLink) listenTo(ctx context.Context, resp *http.Response, cur *cursor) {
	defer func() { _ = resp.Body.Close() }()
	events := mcp.NewSSEReader(resp.Body, l.d.t.opt.MaxMessage)
	for {
		e, err := events.Next()
		if err != nil {
			return
		}
		cur.note(e)
		if len(e.Data) == 0 {
			continue
		}
		messages, err := decodeSome(e.Data, mcp.Batches(l.revision))
		if err != nil {
			l.d.t.opt.Log.Warn("target sent rubbish on its stream", "error", err)
			continue
		}
		for i := range messages {
			switch m := &messages[i]; {
			case m.Kind == mcp.KindResponse:
			case m.Method == mcp.NoteProgress: // mcp-go sends some of it here
				if f, ok := l.progress.Load(string(m.ProgressToken)); ok {
					f.(hearer).hear(m)
				}
			default:
				l.c.came(ctx, nil, l, m, nil)
			}
		}
	}
}
