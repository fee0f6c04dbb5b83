package gateway

import (
	"bytes"
	"context"
	"slices"

	"gatehouse/internal/audit"
	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// maxTaskBytes bounds what waits on one stream about tasks. A client that hears nothing asks.
const maxTaskBytes = 1 << 20

// watchedTask is a task that a stream tells about, under its handle.
type watchedTask struct {
	route
	handle string
}

// tasksIn reads which tasks the client wants to hear of (SEP-2663, task status notifications).
func (rq *request) tasksIn(wanted []byte) ([]string, *mcp.Error) {
	raw, ok := mcp.Lookup(wanted, "taskIds")
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	if !mcp.Declares(rq.m.Capabilities, mcp.ExtensionTasks) {
		return nil, missingTasks()
	}
	all, ok := mcp.Strings(raw)
	if !ok || len(all) > maxSubscribed {
		return nil, mcp.Errorf(mcp.CodeInvalidParams, "params.notifications.taskIds must be an array of at most %d task ids", maxSubscribed)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// watchTasks asks the targets to tell about tasks, and returns those for which they do. Handles that are not good are left
// out, as are tasks whose tool the person may not use.
func (rq *request) watchTasks(subs *subscriptions, l *listener, handles []string) []watchedTask {
	var watching []watchedTask
	for _, handle := range handles {
		to, ok := rq.mayHearOfTask(handle)
		if !ok {
			continue
		}
		event := audit.Event{Kind: audit.KindCall, Method: mcp.MethodTasksGet, Target: to.to.Name(), Name: to.about(), Decision: audit.Allow, Outcome: "ok"}
		w := watchedTask{to, handle}
		err := subs.change(rq.r.Context(), w.key(), 1, func(ctx context.Context) error {
			up, err := rq.upstream(ctx, to.to)
			if err != nil {
				return err
			}
			return watchTask(ctx, up, to.name, true)
		})
		if err == nil {
			watching = append(watching, w)
			l.honourTask(w)
		} else {
			event.Outcome = "trouble"
			rq.g.o.Log.Debug("target does not tell about a task", "target", to.to.Name(), "error", err)
		}
		_ = rq.record(event) // noted in the request's log record
	}
	return watching
}

func (w *watchedTask) key() subscription { return subscription{w.to.Name(), "\x00task " + w.name} }

// mayHearOfTask finds the target of a task, when the person may look at it.
func (rq *request) mayHearOfTask(handle string) (route, bool) {
	v := rq.ep.latest()
	if v == nil {
		return route{}, false
	}
	own := rq.m
	defer func() { rq.m = own }()
	rq.m = mcp.Message{Kind: mcp.KindRequest, Method: mcp.MethodTasksGet, By: "taskId", Name: handle}
	to, found := rq.resolveTask(v)
	return to, found && v.hasTasks(to.to.Name()) && rq.judge(to).Allow
}

func (rq *request) unwatchTasks(subs *subscriptions, watching []watchedTask) {
	if len(watching) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(rq.r.Context()), leaving)
	defer cancel()
	for _, w := range watching {
		// A target that does not listen any more has forgotten us as well.
		_ = subs.change(ctx, w.key(), -1, func(ctx context.Context) error {
			if up := rq.s.Opened(w.to); up != nil {
				return watchTask(ctx, up, w.name, false)
			}
			return nil
		})
	}
}

// watchTask begins or ends that a target tells about a task.
func watchTask(ctx context.Context, up session.Upstream, id string, on bool) error {
	c, ok := up.(*connection)
	if !ok {
		return mcp.Errorf(mcp.CodeMethodNotFound, "nobody tells about tasks")
	}
	return c.WatchTask(ctx, id, on)
}

func (l *listener) honourTask(w watchedTask) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tasks = append(l.tasks, w)
}

// tellTask tells the listeners of a standing session how a task is. Of what waits about one task the latest counts.
func (ls *listeners) tellTask(s *session.Session, target string, m *mcp.Message, r mcp.Renaming) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	subs := ls.open[s]
	if subs == nil {
		return
	}
	for l := range subs.listeners {
		if handle := l.taskOf(target, m.Name); handle != "" {
			r.Task = func(id string) string {
				if id == m.Name {
					return handle
				}
				return ""
			}
			l.sayTask(handle, bytes.Clone(r.Apply(m.Params)))
		}
	}
}

// taskOf returns the handle under which the stream tells about a task, empty when it does not.
func (l *listener) taskOf(target, id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.tasks {
		if w.to.Name() == target && w.name == id {
			return w.handle
		}
	}
	return ""
}

func (l *listener) sayTask(handle string, params []byte) {
	l.mu.Lock()
	if l.taskSize += len(params) - len(l.states[handle]); l.taskSize > maxTaskBytes {
		l.taskSize -= len(params) // what it said before is old
		delete(l.states, handle)
		l.mu.Unlock()
		return
	}
	if l.states == nil {
		l.states = map[string][]byte{}
	}
	l.states[handle] = params
	l.mu.Unlock()
	l.say(taskPrefix + handle)
}

// takeTask returns what there is to say about a task.
func (l *listener) takeTask(handle string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	params := l.states[handle]
	delete(l.states, handle)
	l.taskSize -= len(params)
	return params
}

// taskNote is the notification about a task on this stream; nil when there is none to send any more.
func (rq *request) taskNote(l *listener, handle string, mark []byte) []byte {
	params := l.takeTask(handle)
	if params == nil {
		return nil
	}
	if _, may := rq.mayHearOfTask(handle); !may {
		return nil
	}
	return mcp.AppendMembers(nil, params, mcp.Change{More: mark, Drop: func(key []byte) bool { return string(key) == "_meta" }})
}
