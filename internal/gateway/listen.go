package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/web"
)

// listen answers subscriptions/listen with a stream that lasts until the client leaves (2026-07-28
// basic/patterns/subscriptions).
func (rq *request) listen(offers mcp.Capabilities) error {
	if !rq.accept.events {
		return &web.Error{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "Accept must allow text/event-stream"}
	}
	wanted, ok := mcp.Lookup(rq.m.Params, "notifications")
	if !ok || wanted[0] != '{' {
		return rq.failure(mcp.Errorf(mcp.CodeInvalidParams, "params.notifications must be an object"))
	}
	uris, said := resourcesIn(wanted)
	if said != nil {
		return rq.failure(said)
	}
	tasks, said := rq.tasksIn(wanted)
	if said != nil {
		return rq.failure(said)
	}
	if len(uris)+len(tasks) > 0 {
		if err := rq.g.o.Audit.Ready(rq.r.Context()); err != nil {
			return unrecordable(err)
		}
	}
	if err := rq.stand(); err != nil {
		return err
	}
	defer rq.release()
	l := &listener{path: rq.ep.Path, s: rq.s, lists: listsIn(wanted, offers), wake: make(chan struct{}, 1), over: make(chan struct{})}
	subs, ok := rq.g.listeners.add(l)
	if !ok {
		return &web.Error{Status: http.StatusTooManyRequests, Code: "too_many_streams", RetryAfter: time.Minute,
			Message: "you have too many streams open here; close some clients"}
	}
	defer rq.g.listeners.remove(l)
	if offers.Subscribe {
		subscribed := rq.subscribe(subs, l, uris)
		defer rq.unsubscribe(subs, subscribed)
	}
	watching := rq.watchTasks(subs, l, tasks)
	defer rq.unwatchTasks(subs, watching)
	rq.unpin() // a target that goes ends the stream
	return rq.hear(l)
}

// watchable are the lists that a client can hear of, in the order in which they are acknowledged.
var watchable = [...]struct {
	kind    mcp.ListKind
	member  string
	offered func(mcp.Capabilities) bool
}{
	{mcp.Tools, "toolsListChanged", func(c mcp.Capabilities) bool { return c.ToolsListChanged }},
	{mcp.Prompts, "promptsListChanged", func(c mcp.Capabilities) bool { return c.PromptsListChanged }},
	{mcp.Resources, "resourcesListChanged", func(c mcp.Capabilities) bool { return c.ResourcesListChanged }},
}

// listsIn reads which lists the client wants to hear of, of those that are offered.
func listsIn(wanted []byte, offers mcp.Capabilities) map[mcp.ListKind]bool {
	lists := map[mcp.ListKind]bool{}
	for _, w := range watchable {
		v, _ := mcp.Lookup(wanted, w.member)
		lists[w.kind] = w.offered(offers) && string(v) == "true"
	}
	return lists
}

// resourcesIn reads which resources the client wants to hear of.
func resourcesIn(wanted []byte) ([]string, *mcp.Error) {
	raw, ok := mcp.Lookup(wanted, "resourceSubscriptions")
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	all, ok := mcp.Strings(raw)
	if !ok || len(all) > maxSubscribed {
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "params.notifications.resourceSubscriptions must be an array of at most %d URIs", maxSubscribed)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// subscribe asks the targets to tell about resources, those that the person may read, and returns what it asked for by
// the targets' own names. What a target agreed to, the listener honours.
func (rq *request) subscribe(subs *subscriptions, l *listener, uris []string) (subscribed []route) {
	v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
	for _, uri := range uris {
		r, ok := rq.mayWatch(v, uri)
		if !ok {
			continue
		}
		event := audit.Event{Kind: audit.KindCall, Method: mcp.MethodSubscribe, Target: r.to.Name(), Name: r.name, Decision: audit.Allow, Outcome: "ok"}
		err := subs.change(rq.r.Context(), subscription{r.to.Name(), r.name}, 1, func(ctx context.Context) error {
			up, err := rq.upstream(ctx, r.to)
			if err != nil {
				return err
			}
			return watch(ctx, up, mcp.MethodSubscribe, r.name)
		})
		if err == nil {
			subscribed = append(subscribed, r)
			l.honour(route{to: r.to, name: uri})
		} else {
			event.Outcome = "trouble"
			rq.g.o.Log.Debug("target did not subscribe", "target", r.to.Name(), "error", err)
		}
		_ = rq.record(event) // noted in the request's log record
	}
	return subscribed
}

// mayWatch finds the target of a resource, when the person may read it.
func (rq *request) mayWatch(v *view, uri string) (route, bool) {
	own := rq.m
	defer func() { rq.m = own }()
	rq.m = mcp.Message{Kind: mcp.KindRequest, Method: mcp.MethodSubscribe, Name: uri}
	r, found := rq.resolveIn(v)
	return r, found && rq.judge(r).Allow
}

// leaving bounds the end of subscriptions.
const leaving = 5 * time.Second

func (rq *request) unsubscribe(subs *subscriptions, subscribed []route) {
	if len(subscribed) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(rq.r.Context()), leaving)
	defer cancel()
	for _, r := range subscribed {
		// A target that does not listen any more has forgotten us as well.
		_ = subs.change(ctx, subscription{r.to.Name(), r.name}, -1, func(ctx context.Context) error {
			if up := rq.s.Opened(r.to); up != nil {
				return watch(ctx, up, mcp.MethodUnsubscribe, r.name)
			}
			return nil
		})
	}
}

// watch sends resources/subscribe or unsubscribe over the standing session's connection.
func watch(ctx context.Context, up session.Upstream, method, uri string) error {
	_, err := up.Call(ctx, method, append(mcp.AppendString([]byte(`{"uri":`), uri), '}'), nil)
	return err
}

// errStreamEnd ends a listen stream from our side.
var errStreamEnd = errors.New("the stream ends")

// hear acknowledges and then writes what there is to tell.
func (rq *request) hear(l *listener) error {
	rq.g.streams.Add(1)
	defer rq.g.streams.Add(-1)
	checked := rq.g.o.Now()
	beginEvents(rq.w)
	mark := append([]byte(`"_meta":{"`+mcp.MetaSubscription+`":`), rq.m.ID...)
	mark = append(mark, '}')
	if writeFlush(rq.w, mcp.AppendEvent(nil, "", l.acknowledgement(mark))) != nil {
		return errAnswered
	}
	beat := time.NewTicker(rq.g.o.Heartbeat)
	defer beat.Stop()
	for {
		err := errStreamEnd
		select {
		case <-l.wake:
			err = rq.tellAll(l, mark, &checked)
		case <-beat.C:
			if rq.stillAllowed(&checked, 0) {
				err = writeFlush(rq.w, mcp.AppendComment(nil, "alive"))
			}
		case <-rq.r.Context().Done():
			return errAnswered
		case <-l.over:
		case <-rq.s.Done():
		case <-web.Stopping(rq.r.Context()):
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
			if !l.names(uri) && !rq.mayHearOf(uri) {
				continue
			}
			method = mcp.NoteResourceUpdated
			params = mcp.AppendString(append(params, `,"uri":`...), uri)
		}
		params = append(params, '}')
		if handle, isTask := strings.CutPrefix(what, taskPrefix); isTask {
			if method, params = mcp.NoteTask, rq.taskNote(l, handle, mark); params == nil {
				continue
			}
		}
		if err := writeFlush(rq.w, mcp.AppendEvent(nil, "", mcp.AppendNotification(nil, method, params))); err != nil {
			return err
		}
	}
	return nil
}

// mayHearOf reports whether the person may read a part of a resource that was subscribed to.
func (rq *request) mayHearOf(uri string) bool {
	v := rq.ep.latest()
	if v == nil {
		return false
	}
	_, may := rq.mayWatch(v, uri)
	return may
}

// acknowledgement is the first message: what of the wishes is honoured.
func (l *listener) acknowledgement(mark []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := append([]byte{'{'}, mark...)
	p = append(p, `,"notifications":{`...)
	comma := ""
	for _, w := range watchable {
		if l.lists[w.kind] {
			p = append(p, comma+`"`+w.member+`":true`...)
			comma = ","
		}
	}
	for i, r := range l.honoured {
		if i == 0 {
			p = append(p, comma+`"resourceSubscriptions":[`...)
		} else {
			p = append(p, ',')
		}
		p = mcp.AppendString(p, r.name)
	}
	if len(l.honoured) > 0 {
		p, comma = append(p, ']'), ","
	}
	for i, w := range l.tasks {
		if i == 0 {
			p = append(p, comma+`"taskIds":[`...)
		} else {
			p = append(p, ',')
		}
		p = mcp.AppendString(p, w.handle)
	}
	if len(l.tasks) > 0 {
		p = append(p, ']')
	}
	return mcp.AppendNotification(nil, mcp.NoteAcknowledged, append(p, "}}"...))
}
