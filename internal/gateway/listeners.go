package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
)

// Bounds of what one person listens to.
const (
	maxListeners  = 64  // streams of one person at one endpoint
	maxSubscribed = 256 // resources of one stream
	maxTold       = 256 // messages that wait on one stream
)

// listener is one open subscriptions/listen stream.
type listener struct {
	path  string
	s     *session.Session
	lists map[mcp.ListKind]bool
	wake  chan struct{} // holds one
	over  chan struct{} // closed when what it listens to has gone

	mu       sync.Mutex // guards what follows
	honoured []route    // resources that targets tell about; the names are the endpoint's
	tasks    []watchedTask
	told     []string          // what there is to say: a list, a resource's URI, or a task's handle; each once
	states   map[string][]byte // of tasks, to be told
	taskSize int               // of all of them
	ended    bool              // over is closed
}

// say notes something to tell. What waits already is not noted twice.
func (l *listener) say(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.told) < maxTold && !slices.Contains(l.told, what) {
		l.told = append(l.told, what)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *listener) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = nil
	return told
}

// honour adds a resource that its target tells about.
func (l *listener) honour(r route) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.honoured = append(l.honoured, r)
}

// wants reports whether an update of a resource concerns the stream: the resource itself, or a part of it.
func (l *listener) wants(uri string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.honoured, func(r route) bool {
		rest, part := strings.CutPrefix(uri, r.name)
		return part && (rest == "" || strings.HasSuffix(r.name, "/") || rest[0] == '/')
	})
}

// names reports whether the client asked for this very resource.
func (l *listener) names(uri string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.honoured, func(r route) bool { return r.name == uri })
}

// end ends the stream when one of its resources or tasks belongs to a target that is not kept.
func (l *listener) end(kept func(*target.Target) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := slices.ContainsFunc(l.honoured, func(r route) bool { return !kept(r.to) }) ||
		slices.ContainsFunc(l.tasks, func(w watchedTask) bool { return !kept(w.to) })
	if gone && !l.ended {
		l.ended = true
		close(l.over)
	}
}

// listeners are the open streams, by the standing session whose connections they use.
type listeners struct {
	mu   sync.Mutex // guards what follows
	open map[*session.Session]*subscriptions
}

// subscriptions are those of one standing session, shared by its listeners.
type subscriptions struct {
	listeners map[*listener]bool // guarded by listeners.mu
	turn      chan struct{}      // holds one token: subscribing and unsubscribing must not overtake each other
	count     map[subscription]int
}

type subscription struct{ target, uri string }

// add lets a stream hear what there is to tell. It reports false when the person has too many.
func (ls *listeners) add(l *listener) (*subscriptions, bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	theirs := 0
	for s, subs := range ls.open {
		if s.Person == l.s.Person && s.Endpoint == l.s.Endpoint {
			theirs += len(subs.listeners)
		}
	}
	if theirs >= maxListeners {
		return nil, false
	}
	subs := ls.open[l.s]
	if subs == nil {
		subs = &subscriptions{listeners: map[*listener]bool{}, turn: make(chan struct{}, 1), count: map[subscription]int{}}
		ls.open[l.s] = subs
	}
	subs.listeners[l] = true
	return subs, true
}

func (ls *listeners) remove(l *listener) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	subs := ls.open[l.s]
	if delete(subs.listeners, l); len(subs.listeners) == 0 {
		delete(ls.open, l.s)
	}
}

// changed tells the listeners of an endpoint that a list has changed.
func (ls *listeners) changed(path string, kind mcp.ListKind) {
	ls.each(func(l *listener) {
		if l.path == path && l.lists[kind] {
			l.say(string(kind))
		}
	})
}

// These tell resources and tasks from lists in listener.told.
const (
	resourcePrefix = " "
	taskPrefix     = "\x00"
)

// updated tells the listeners of a standing session that a resource has changed.
func (ls *listeners) updated(s *session.Session, uri string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if subs := ls.open[s]; subs != nil {
		for l := range subs.listeners {
			if l.wants(uri) {
				l.say(resourcePrefix + uri)
			}
		}
	}
}

// retain ends the streams that listen to targets which are not kept.
func (ls *listeners) retain(kept func(*target.Target) bool) {
	ls.each(func(l *listener) { l.end(kept) })
}

func (ls *listeners) each(f func(*listener)) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, subs := range ls.open {
		for l := range subs.listeners {
			f(l)
		}
	}
}

// change counts who wants a subscription, and tells the target of the first and after the last.
func (s *subscriptions) change(ctx context.Context, what subscription, by int, tell func(context.Context) error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	was := s.count[what]
	if was == 0 || was+by == 0 {
		if err := tell(ctx); err != nil && by > 0 {
			return err
		}
	}
	if s.count[what] += by; s.count[what] == 0 {
		delete(s.count, what)
	}
	return nil
}
