package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/web"
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
	uris  []string
	wake  chan struct{} // holds one

	mu   sync.Mutex // guards told
	told []string   // what there is to say: a list, or a resource's URI; each once
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

// wants reports whether an update of a resource concerns the stream: the resource itself, or a part of it.
func (l *listener) wants(uri string) bool {
	return slices.ContainsFunc(l.uris, func(u string) bool {
		return uri == u || strings.HasPrefix(uri, u) && (strings.HasSuffix(u, "/") || uri[len(u)] == '/')
	})
}

// listeners are the open streams, and what they have subscribed to at targets.
type listeners struct {
	mu   sync.Mutex // guards what follows
	open map[*listener]bool
	subs map[*session.Session]*subscriptions
}

// subscriptions are those of one standing session, shared by its listeners.
type subscriptions struct {
	users int           // listeners; guarded by listeners.mu
	turn  chan struct{} // holds one token: subscribing and unsubscribing must not overtake each other
	count map[subscription]int
}

type subscription struct{ target, uri string }

func (ls *listeners) add(l *listener) (*subscriptions, bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	subs := ls.subs[l.s]
	if subs == nil {
		subs = &subscriptions{turn: make(chan struct{}, 1), count: map[subscription]int{}}
		ls.subs[l.s] = subs
	}
	if subs.users >= maxListeners {
		return nil, false
	}
	subs.users++
	ls.open[l] = true
	return subs, true
}

func (ls *listeners) remove(l *listener) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	delete(ls.open, l)
	if subs := ls.subs[l.s]; subs != nil {
		if subs.users--; subs.users == 0 {
			delete(ls.subs, l.s)
		}
	}
}

// changed tells the listeners of an endpoint that a list has changed.
func (ls *listeners) changed(path string, kind mcp.ListKind) {
	ls.each(func(l *listener) bool { return l.path == path && l.lists[kind] }, string(kind))
}

// updated tells the listeners of a standing session that a resource has changed.
func (ls *listeners) updated(s *session.Session, uri string) {
	ls.each(func(l *listener) bool { return l.s == s && l.wants(uri) }, resourcePrefix+uri)
}

// resourcePrefix tells resources from lists in listener.told.
const resourcePrefix = " "

func (ls *listeners) each(concerned func(*listener) bool, what string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for l := range ls.open {
		if concerned(l) {
			l.say(what)
		}
	}
}

// listen answers subscriptions/listen with a stream that lasts until the client leaves (2026-07-28
// basic/patterns/subscriptions).
func (rq *request) listen(offers mcp.Capabilities) error {
	if !rq.accept.events {
		return &web.Error{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "Accept must allow text/event-stream"}
	}
	wanted, ok := mcp.Lookup(rq.m.Params, "notifications")
	if !ok || len(wanted) == 0 || wanted[0] != '{' {
		return rq.failure(mcp.Errorf(mcp.CodeInvalidParams, "params.notifications must be an object"))
	}
	if err := rq.stand(); err != nil {
		return err
	}
	defer rq.release()
	l := &listener{path: rq.ep.Path, s: rq.s, lists: map[mcp.ListKind]bool{}, wake: make(chan struct{}, 1)}
	for member, list := range map[string]struct {
		kind    mcp.ListKind
		offered bool
	}{
		"toolsListChanged":     {mcp.Tools, offers.ToolsListChanged},
		"promptsListChanged":   {mcp.Prompts, offers.PromptsListChanged},
		"resourcesListChanged": {mcp.Resources, offers.ResourcesListChanged},
	} {
		v, _ := mcp.Lookup(wanted, member)
		l.lists[list.kind] = list.offered && string(v) == "true"
	}
	asked, to, said := rq.resources(wanted, offers)
	if said != nil {
		return rq.failure(said)
	}
	l.uris = asked
	subs, ok := rq.g.listeners.add(l)
	if !ok {
		return &web.Error{Status: http.StatusTooManyRequests, Code: "too_many_streams", RetryAfter: time.Minute,
			Message: "you have too many streams open here; close some clients"}
	}
	defer rq.g.listeners.remove(l)
	agreed := rq.subscribe(subs, l, to)
	defer rq.unsubscribe(subs, agreed)
	rq.unpin() // a target that goes takes its subscriptions with it
	return rq.hear(l, agreed)
}

// resources reads which resources the client wants to hear of, and finds those that it may.
func (rq *request) resources(wanted []byte, offers mcp.Capabilities) (uris []string, to []route, said *mcp.Error) {
	raw, ok := mcp.Lookup(wanted, "resourceSubscriptions")
	if !ok || string(raw) == "null" {
		return nil, nil, nil
	}
	all, ok := mcp.Strings(raw)
	if !ok || len(all) > maxSubscribed {
		return nil, nil, mcp.Errorf(mcp.CodeInvalidParams, "params.notifications.resourceSubscriptions must be an array of at most %d URIs", maxSubscribed)
	}
	if !offers.Subscribe {
		return nil, nil, nil
	}
	own := rq.m
	defer func() { rq.m = own }()
	for _, uri := range all {
		rq.m = mcp.Message{Kind: mcp.KindRequest, Method: mcp.MethodSubscribe, Name: uri}
		if r, found := rq.resolve(); found && !slices.Contains(uris, uri) && rq.judge(r).Allow {
			uris, to = append(uris, uri), append(to, r)
		}
	}
	return uris, to, nil
}

// honoured is a resource that a target agreed to tell about, under the client's own name for it.
type honoured struct {
	route
	uri string
}

// subscribe asks the targets to tell about resources, and returns what they agreed to.
func (rq *request) subscribe(subs *subscriptions, l *listener, to []route) []honoured {
	var agreed []honoured
	for i, r := range to {
		err := subs.change(rq.r.Context(), subscription{r.to.Name(), r.name}, 1, func(ctx context.Context) error {
			return rq.tell(ctx, r, mcp.MethodSubscribe)
		})
		if err != nil {
			rq.g.o.Log.Debug("target did not subscribe", "target", r.to.Name(), "error", err)
			continue
		}
		agreed = append(agreed, honoured{r, l.uris[i]})
	}
	return agreed
}

// leaving bounds the end of subscriptions.
const leaving = 5 * time.Second

func (rq *request) unsubscribe(subs *subscriptions, agreed []honoured) {
	if len(agreed) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(rq.r.Context()), leaving)
	defer cancel()
	for _, r := range agreed {
		// A target that does not listen any more has forgotten us as well.
		_ = subs.change(ctx, subscription{r.to.Name(), r.name}, -1, func(ctx context.Context) error {
			return rq.tell(ctx, r.route, mcp.MethodUnsubscribe)
		})
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

// tell sends resources/subscribe or unsubscribe over the standing session's connection.
func (rq *request) tell(ctx context.Context, r route, method string) error {
	up, err := rq.upstream(ctx, r.to)
	if err != nil {
		return err
	}
	_, err = up.Call(ctx, method, append(mcp.AppendString([]byte(`{"uri":`), r.name), '}'), nil)
	return err
}

// errStreamEnd ends a listen stream from our side.
var errStreamEnd = errors.New("the stream ends")

// hear acknowledges and then writes what there is to tell.
func (rq *request) hear(l *listener, agreed []honoured) error {
	checked := rq.g.o.Now()
	beginEvents(rq.w)
	mark := append([]byte(`"_meta":{"`+mcp.MetaSubscription+`":`), rq.m.ID...)
	mark = append(mark, '}')
	if writeFlush(rq.w, mcp.AppendEvent(nil, "", l.acknowledgement(mark, agreed))) != nil {
		return errAnswered
	}
	beat := time.NewTicker(rq.g.o.Heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-l.wake:
			err = rq.tellAll(l, mark, &checked)
		case <-beat.C:
			if err = errStreamEnd; rq.stillAllowed(&checked, 0) {
				err = writeFlush(rq.w, mcp.AppendComment(nil, "alive"))
			}
		case <-rq.r.Context().Done():
			return errAnswered
		case <-rq.s.Done():
			err = errStreamEnd
		case <-web.Stopping(rq.r.Context()):
			err = errStreamEnd
		}
		switch {
		case errors.Is(err, errStreamEnd):
			end := append(append([]byte(`{"resultType":"complete",`), mark...), '}')
			_ = writeFlush(rq.w, mcp.AppendEvent(nil, "", mcp.AppendResult(nil, rq.m.ID, end))) // it may be gone already
			return errAnswered
		case err != nil:
			return errAnswered
		}
	}
}

func (rq *request) tellAll(l *listener, mark []byte, checked *time.Time) error {
	if !rq.stillAllowed(checked, recheckEvents) {
		return errStreamEnd
	}
	for _, what := range l.take() {
		method, params := listChanged(what), append([]byte{'{'}, mark...)
		if uri, isResource := strings.CutPrefix(what, resourcePrefix); isResource {
			method = mcp.NoteResourceUpdated
			params = mcp.AppendString(append(params, `,"uri":`...), uri)
		}
		params = append(params, '}')
		if err := writeFlush(rq.w, mcp.AppendEvent(nil, "", mcp.AppendNotification(nil, method, params))); err != nil {
			return err
		}
	}
	return nil
}

// acknowledgement is the first message: what of the wishes is honoured.
func (l *listener) acknowledgement(mark []byte, agreed []honoured) []byte {
	p := append([]byte{'{'}, mark...)
	p = append(p, `,"notifications":{`...)
	comma := ""
	for _, list := range []struct {
		kind   mcp.ListKind
		member string
	}{{mcp.Tools, "toolsListChanged"}, {mcp.Prompts, "promptsListChanged"}, {mcp.Resources, "resourcesListChanged"}} {
		if l.lists[list.kind] {
			p = append(p, comma+`"`+list.member+`":true`...)
			comma = ","
		}
	}
	for i, r := range agreed {
		if i == 0 {
			p = append(p, comma+`"resourceSubscriptions":[`...)
		} else {
			p = append(p, ',')
		}
		p = mcp.AppendString(p, r.uri)
	}
	if len(agreed) > 0 {
		p = append(p, ']')
	}
	return mcp.AppendNotification(nil, mcp.NoteAcknowledged, append(p, "}}"...))
}
