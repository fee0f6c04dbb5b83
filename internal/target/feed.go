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
	tasks   bool        // it is about tasks too
	granted []watched   // what the server will tell about; to be read after first
	failed  error
}

// watched is a resource or a task (SEP-2663) that a server tells about.
type watched struct {
	task bool
	name string
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
	f := l.openFeed(append(wanted, '}'), false)
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
func (l *statelessLink) openFeed(wanted []byte, tasks bool) *feed {
	ctx, cancel := context.WithCancel(lasting())
	f := &feed{l: l, wanted: wanted, tasks: tasks, stop: cancel, first: make(chan struct{})}
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

// subscribe changes the set of resources and tasks that the server tells about: it opens a feed for the new set, and ends
// the one for the old set when that has worked. A subscription that the server does not take leaves the others as they are.
func (l *statelessLink) subscribe(ctx context.Context, what watched, on bool) error {
	select {
	case l.changes <- struct{}{}:
		defer func() { <-l.changes }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	had, in := l.watched, l.feed
	l.mu.Unlock()
	if slices.Contains(had, what) == on {
		return nil
	}
	all := slices.DeleteFunc(slices.Clone(had), func(w watched) bool { return w == what })
	if on {
		all = append(all, what)
	}
	var next *feed
	if len(all) > 0 {
		var err error
		if next, err = l.feedFor(ctx, all); err != nil && on {
			l.dropFeeds(in)
			return err
		}
		if err != nil { // the old one tells too much, which is better than nothing
			l.dropFeeds(in)
			next = in
		}
	}
	l.mu.Lock()
	l.watched, l.feed = all, next
	l.mu.Unlock()
	l.dropFeeds(next)
	return nil
}

// feedFor opens a feed for resources and tasks and waits until the server has taken all of them.
func (l *statelessLink) feedFor(ctx context.Context, all []watched) (*feed, error) {
	wanted, tasks := []byte{'{'}, false
	for _, kind := range []struct {
		member string
		task   bool
	}{{`"resourceSubscriptions":[`, false}, {`"taskIds":[`, true}} {
		some := false
		for _, w := range all {
			switch {
			case w.task != kind.task:
				continue
			case some:
				wanted = append(wanted, ',')
			case len(wanted) > 1:
				wanted = append(append(wanted, ','), kind.member...)
			default:
				wanted = append(wanted, kind.member...)
			}
			wanted, some, tasks = mcp.AppendString(wanted, w.name), true, tasks || w.task
		}
		if some {
			wanted = append(wanted, ']')
		}
	}
	f := l.openFeed(append(wanted, '}'), tasks)
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
	case slices.ContainsFunc(all, func(w watched) bool { return !slices.Contains(f.granted, w) }):
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "the server does not tell about this")
	}
	return f, nil
}

// WatchTask begins or ends that a server of the stateless era tells about a task of it.
func (c *Conn) WatchTask(ctx context.Context, id string, on bool) error {
	ctx, clock := c.begin(ctx)
	defer c.finish(clock)
	l, err := c.open(ctx)
	if err != nil {
		return c.t.explain(ctx, err)
	}
	s, ok := l.(*statelessLink)
	if !ok {
		return mcp.Errorf(mcp.CodeMethodNotFound, "the server tells about its tasks without being asked, or not at all")
	}
	return s.subscribe(ctx, watched{true, id}, on)
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
	for _, w := range f.granted {
		if w.task {
			f.l.c.goDo(func() { f.missedTask(ctx, w.name) }) // not here: this is where answers come in
			continue
		}
		params := append(mcp.AppendString([]byte(`{"uri":`), w.name), '}')
		f.tell(ctx, mcp.NoteResourceUpdated, params)
	}
}

// missedTask asks how a task is, and tells that.
func (f *feed) missedTask(ctx context.Context, id string) {
	m, err := mcp.NewRequest(mcp.MethodTasksGet, append(mcp.AppendString([]byte(`{"taskId":`), id), '}'))
	if err != nil {
		return
	}
	m.PerRequest = tasksClient
	result, err := f.l.c.Forward(ctx, &m, "", nil)
	if err != nil {
		return // whoever wants to know asks
	}
	f.tell(ctx, mcp.NoteTask, mcp.AppendMembers(nil, result.Raw, mcp.Change{Drop: func(key []byte) bool { return string(key) == "resultType" }}))
}

// tasksClient is what a request about tasks says of its client.
var tasksClient = mcp.PerRequest{Version: []byte(`"` + mcp.Rev20260728 + `"`), Capabilities: []byte(`{"extensions":{"` + mcp.ExtensionTasks + `":{}}}`)}

func (f *feed) tell(ctx context.Context, method string, params []byte) {
	if m, err := mcp.NewRequest(method, params); err == nil {
		m.Kind = mcp.KindNotification
		f.l.c.came(ctx, nil, f.l, &m, nil)
	}
}

// opened notes how the first attempt went.
func (f *feed) opened(granted []watched, err error) {
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
	if f.tasks {
		m.PerRequest = tasksClient
	}
	r := f.l.request(&m, "")
	r.came = hearerFunc(func(n *mcp.Message) {
		if n.Method != mcp.NoteAcknowledged {
			f.l.c.came(ctx, nil, f.l, n, nil)
			return
		}
		list, _ := mcp.Lookup(n.Params, "notifications")
		var granted []watched
		for member, task := range map[string]bool{"resourceSubscriptions": false, "taskIds": true} {
			raw, _ := mcp.Lookup(list, member)
			names, _ := mcp.Strings(bytes.Clone(raw))
			for _, name := range names {
				granted = append(granted, watched{task, name})
			}
		}
		f.opened(granted, nil)
		if f.again || f.late.Load() {
			f.missed(ctx)
		}
	})
	_, err = f.l.via.listen(ctx, r)
	return err
}
