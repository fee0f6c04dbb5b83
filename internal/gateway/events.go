package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
)

// askLimit bounds how long a target may wait for a person.
const askLimit = 10 * time.Minute

// events is what one target sends on its own to one session (target.Events).
type events struct {
	g      *Gateway
	s      *session.Session
	target string
	up     atomic.Pointer[target.Conn] // nil until it is open: targets may ask before that

	logs atomic.Bool // the target was told to log everything

	mu      sync.Mutex  // guards running
	running []*dialogue // calls of the stateless era under way, the latest last
}

// connection is one session's connection to a target, with what the target sends on its own.
type connection struct {
	*target.Conn
	own *events
}

func (e *events) enter(d *dialogue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = append(e.running, d)
}

func (e *events) leave(d *dialogue) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = slices.DeleteFunc(e.running, func(o *dialogue) bool { return o == d })
}

// dialogue returns the call that a question belongs to: the one that it came along with, or, for targets that send their
// questions beside their answers, the latest one. It is nil when there is none.
func (e *events) dialogue(ctx context.Context) *dialogue {
	if d, ok := ctx.Value(answerKey{}).(*dialogue); ok {
		return d
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.running) == 0 {
		return nil
	}
	return e.running[len(e.running)-1]
}

// Notify passes on what belongs to no call. Changed lists are told by Gatehouse itself, once its view has changed.
func (e *events) Notify(m *mcp.Message) {
	if m.Method == mcp.NoteTaskStatus && !isOwnTask(e.s, e.target, m.Name) {
		return // the target may tell everybody
	}
	if m.Method == mcp.NoteTask && e.s.Standing() {
		e.g.listeners.tellTask(e.s, e.target, m, e.view().renaming(e.target))
		return
	}
	m = renamed(e.renaming(), m)
	if e.s.Standing() {
		if m.Method == mcp.NoteResourceUpdated {
			e.g.listeners.updated(e.s, m.Name)
		}
		return
	}
	switch {
	case m.Method == mcp.NoteMessage, m.Method == mcp.NoteResourceUpdated, m.Method == mcp.NoteElicitationComplete,
		ofExtension(m.Method) && e.view().extended(e.target):
		e.s.Standalone().Send(mcp.AppendNotification(nil, m.Method, m.Params))
	}
}

// Request asks the client: on the answer to the call that the question came along with, else on the standalone stream.
func (e *events) Request(ctx context.Context, m *mcp.Message) ([]byte, *mcp.Error) {
	m = renamed(e.renaming(), m)
	switch d := e.dialogue(ctx); {
	case !e.s.Can(m):
		return nil, mcp.Errorf(mcp.CodeMethodNotFound, "the client does not support %s", m.Method)
	case d != nil:
		return d.ask(ctx, m)
	case e.s.Standing():
		return nil, mcp.Errorf(mcp.CodeInternal, "the client can be asked only while a call of it is under way")
	}
	send := e.s.Standalone().Send
	if a, ok := ctx.Value(answerKey{}).(answerer); ok {
		send = func(raw []byte) {
			if !a.send(raw) {
				e.s.Standalone().Send(raw)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	result, said, err := e.s.Ask(ctx, session.Question{Message: m, Send: send, Progress: func(p *mcp.Message) {
		if up := e.up.Load(); up != nil {
			_ = up.Notify(ctx, p.Method, p.Params) // progress that does not arrive is no loss
		}
	}})
	if err != nil {
		return nil, mcp.Errorf(mcp.CodeInternal, "the client did not answer: %v", err)
	}
	return result, said
}

// Refused notes what a call could not ask its client.
func (e *events) Refused(ctx context.Context, m *mcp.Message) {
	if d := e.dialogue(ctx); d != nil {
		d.refuse(m)
	}
}

// view is the latest one of the session's endpoint; nil when there is none any more.
func (e *events) view() *view {
	if ep := e.g.current.Load().endpoints[e.s.Endpoint]; ep != nil {
		return ep.latest()
	}
	return nil
}

// renaming says how the session's client sees what the target names on its own.
func (e *events) renaming() mcp.Renaming {
	v := e.view()
	r := v.renaming(e.target)
	if v.hasTasks(e.target) {
		r.Task = func(id string) string { return e.g.knownTask(e.s, e.target, id) }
	}
	return r
}

// tellChanged tells the sessions of an endpoint that a list has changed.
func (g *Gateway) tellChanged(path, kind string) {
	g.listeners.changed(path, mcp.ListKind(kind))
	raw := mcp.AppendNotification(nil, listChanged(kind), nil)
	g.o.Sessions.Each(func(s *session.Session) {
		if s.Endpoint == path && !s.Standing() {
			s.Standalone().SendOnce(raw)
		}
	})
}

// listChanged is the notification for a list that has changed.
func listChanged(kind string) string {
	switch mcp.ListKind(kind) {
	case mcp.Prompts:
		return mcp.NotePromptsChanged
	case mcp.Resources:
		return mcp.NoteResourcesChanged
	}
	return mcp.NoteToolsChanged
}

func (g *Gateway) tellAllChanged(path string) {
	for _, kind := range []mcp.ListKind{mcp.Tools, mcp.Prompts, mcp.Resources} {
		g.tellChanged(path, string(kind))
	}
}
