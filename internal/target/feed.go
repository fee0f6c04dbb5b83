package target

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"gatehouse/internal/mcp"
)

// feed is one subscriptions/listen stream to a server of the stateless era, opened again when it breaks (2026-07-28
// basic/patterns/subscriptions).
type feed struct {
	l      *statelessLink
	wanted []byte // params.notifications
	stop   context.CancelFunc
	first  chan struct{} // closed when the first attempt was acknowledged or has failed

	granted []string // the resources that the server will tell about; to be read after first
	failed  error
}

// begin opens the target's own feed, which says that lists have changed.
func (l *statelessLink) begin(ctx context.Context) {
	l.changes = make(chan struct{}, 1)
	if l.c.caller.Principal != nil {
		return
	}
	can := mcp.ParseCapabilities(l.c.Server().Capabilities)
	wanted := []byte{'{'}
	for _, list := range []struct {
		on     bool
		member string
	}{
		{can.ToolsListChanged, "toolsListChanged"},
		{can.PromptsListChanged, "promptsListChanged"},
		{can.ResourcesListChanged, "resourcesListChanged"},
	} {
		if !list.on {
			continue
		}
		if len(wanted) > 1 {
			wanted = append(wanted, ',')
		}
		wanted = append(wanted, `"`+list.member+`":true`...)
	}
	if len(wanted) > 1 {
		l.replaceFeed(ctx, append(wanted, '}'))
	}
}

// replaceFeed opens a feed and ends the one before, once the new one works; nil wanted only ends.
func (l *statelessLink) replaceFeed(ctx context.Context, wanted []byte) *feed {
	var next *feed
	l.mu.Lock()
	if wanted != nil && !l.ended {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		next = &feed{l: l, wanted: wanted, stop: cancel, first: make(chan struct{})}
		l.work.Go(func() { next.run(ctx) })
	}
	old := l.feed
	l.feed = next
	l.mu.Unlock()
	if old == nil {
		return next
	}
	if next != nil {
		select {
		case <-next.first:
		case <-ctx.Done():
		}
	}
	old.stop()
	return next
}

// subscribe changes the set of resources that the server tells about.
func (l *statelessLink) subscribe(ctx context.Context, uri string, on bool) error {
	select {
	case l.changes <- struct{}{}:
		defer func() { <-l.changes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	uris := slices.DeleteFunc(slices.Clone(l.uris), func(u string) bool { return u == uri })
	l.mu.Unlock()
	if on {
		uris = append(uris, uri)
	}
	var wanted []byte
	if len(uris) > 0 {
		wanted = []byte(`{"resourceSubscriptions":[`)
		for i, u := range uris {
			if i > 0 {
				wanted = append(wanted, ',')
			}
			wanted = mcp.AppendString(wanted, u)
		}
		wanted = append(wanted, "]}"...)
	}
	next := l.replaceFeed(ctx, wanted)
	if on && next != nil {
		select {
		case <-next.first:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !slices.Contains(next.granted, uri) {
			uris = uris[:len(uris)-1]
			if next.failed != nil {
				return next.failed
			}
			return mcp.Errorf(mcp.CodeInvalidParams, "the server does not tell about this resource")
		}
	}
	l.mu.Lock()
	l.uris = uris
	l.mu.Unlock()
	return nil
}

// run keeps the stream open until ctx ends or the server refuses it.
func (f *feed) run(ctx context.Context) {
	defer f.stop()
	backoff := defaultListen
	for again := false; ; again = true {
		began := time.Now()
		if again && f.l.c.caller.Principal == nil {
			f.l.c.t.catalog.stale() // what changed in between was not heard
		}
		err := f.listen(ctx)
		f.opened(nil, err)
		if refused, ok := errors.AsType[*mcp.Error](err); ok && refused != nil || ctx.Err() != nil {
			return
		}
		if time.Since(began) > steadyEnough {
			backoff = defaultListen
		}
		if sleep(ctx, backoff) != nil {
			return
		}
		backoff = min(backoff*2, longestWait)
	}
}

// opened notes how the first attempt went.
func (f *feed) opened(granted []string, err error) {
	select {
	case <-f.first:
	default:
		f.granted, f.failed = granted, err
		close(f.first)
	}
}

// listen reads one stream to its end. An *mcp.Error says that the server does not want it.
func (f *feed) listen(ctx context.Context) error {
	params := append(append([]byte(`{"notifications":`), f.wanted...), '}')
	m, err := mcp.NewRequest(mcp.MethodListen, params)
	if err != nil {
		return err
	}
	r := f.l.request(&m, "")
	r.came = func(n *mcp.Message) {
		if n.Method != mcp.NoteAcknowledged {
			f.l.c.came(ctx, nil, f.l, n, nil)
			return
		}
		list, _ := mcp.Lookup(n.Params, "notifications")
		uris, _ := mcp.Lookup(list, "resourceSubscriptions")
		granted, _ := mcp.Strings(bytes.Clone(uris))
		f.opened(granted, nil)
	}
	resp, err := f.l.post(ctx, r)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		defer drain(resp)
		err := f.l.reader.refused(resp, r.id)
		if resp.StatusCode/100 == 4 {
			return mcp.Errorf(mcp.CodeInternal, "%v", err)
		}
		return err
	}
	reply, err := f.l.read(ctx, resp, r)
	if err == nil && reply.Error != nil {
		said, err := mcp.ParseError(reply.Error)
		if err != nil {
			return err
		}
		return said
	}
	return err
}
