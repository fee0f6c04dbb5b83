package target

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync/atomic"
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

	late    atomic.Bool // nobody waits for the first attempt any more
	again   bool        // it has been opened before
	granted []string    // the resources that the server will tell about; to be read after first
	failed  error
}

// feedWait is how long the lists wait for the feed, so that no change falls between them.
const feedWait = time.Second

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
	if len(wanted) == 1 {
		return
	}
	f := l.openFeed(ctx, append(wanted, '}'))
	if f == nil {
		return
	}
	wait := time.NewTimer(feedWait)
	defer wait.Stop()
	select {
	case <-f.first:
	case <-ctx.Done():
	case <-wait.C:
		f.late.Store(true)
	}
}

// openFeed opens a feed beside the one that is in place; nil when the link has ended.
func (l *statelessLink) openFeed(ctx context.Context, wanted []byte) *feed {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &feed{l: l, wanted: wanted, stop: cancel, first: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		cancel()
		return nil
	}
	l.feeds = append(l.feeds, f)
	l.work.Go(func() { f.run(ctx) })
	return f
}

// dropFeeds ends all feeds but one, which may be nil.
func (l *statelessLink) dropFeeds(but *feed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feeds = slices.DeleteFunc(l.feeds, func(f *feed) bool {
		if f != but {
			f.stop()
		}
		return f != but
	})
}

// subscribe changes the set of resources that the server tells about: it opens a feed for the new set, and ends the one
// for the old set when that has worked. A subscription that the server does not take leaves the others as they are.
func (l *statelessLink) subscribe(ctx context.Context, uri string, on bool) error {
	select {
	case l.changes <- struct{}{}:
		defer func() { <-l.changes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	had, in := l.uris, l.feed
	l.mu.Unlock()
	if slices.Contains(had, uri) == on {
		return nil
	}
	uris := slices.DeleteFunc(slices.Clone(had), func(u string) bool { return u == uri })
	if on {
		uris = append(uris, uri)
	}
	var next *feed
	if len(uris) > 0 {
		var err error
		if next, err = l.feedFor(ctx, uris); err != nil && on {
			l.dropFeeds(in)
			return err
		}
		if err != nil { // the old one tells too much, which is better than nothing
			l.dropFeeds(in)
			next = in
		}
	}
	l.mu.Lock()
	l.uris, l.feed = uris, next
	l.mu.Unlock()
	l.dropFeeds(next)
	return nil
}

// feedFor opens a feed for resources and waits until the server has taken all of them.
func (l *statelessLink) feedFor(ctx context.Context, uris []string) (*feed, error) {
	wanted := []byte(`{"resourceSubscriptions":[`)
	for i, u := range uris {
		if i > 0 {
			wanted = append(wanted, ',')
		}
		wanted = mcp.AppendString(wanted, u)
	}
	f := l.openFeed(ctx, append(wanted, "]}"...))
	if f == nil {
		return nil, errClosed
	}
	select {
	case <-f.first:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case f.failed != nil:
		return nil, f.failed
	case slices.ContainsFunc(uris, func(u string) bool { return !slices.Contains(f.granted, u) }):
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "the server does not tell about this resource")
	}
	return f, nil
}

// run keeps the stream open until ctx ends or the server refuses it.
func (f *feed) run(ctx context.Context) {
	defer f.stop()
	pause := pauses{}
	for ; ; f.again = true {
		began := time.Now()
		err := f.listen(ctx)
		f.opened(nil, err)
		if refused, ok := errors.AsType[*mcp.Error](err); ok && refused != nil || ctx.Err() != nil {
			return
		}
		if sleep(ctx, pause.after(began)) != nil {
			return
		}
	}
}

// missed makes up for what was not heard while the stream was broken: everything may have changed.
func (f *feed) missed(ctx context.Context) {
	if f.l.c.caller.Principal == nil {
		f.l.c.t.catalog.stale()
		return
	}
	for _, uri := range f.granted {
		params := append(mcp.AppendString([]byte(`{"uri":`), uri), '}')
		if m, err := mcp.NewRequest(mcp.NoteResourceUpdated, params); err == nil {
			m.Kind = mcp.KindNotification
			f.l.c.came(ctx, nil, f.l, &m, nil)
		}
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
		if f.again || f.late.Load() {
			f.missed(ctx)
		}
	}
	reply, err := f.l.via.listen(ctx, r)
	if err == nil && reply.Error != nil {
		said, err := mcp.ParseError(reply.Error)
		if err != nil {
			return err
		}
		return said
	}
	return err
}
