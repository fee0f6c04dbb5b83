package gateway

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/callctx"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
)

// route is where a call goes, and what the policy is asked about it.
type route struct {
	to    *target.Target
	name  string // the target's own name of the tool, prompt or resource
	alias string // see router.Owner

	subject string   // the name that the policy is asked about; empty: it is name
	methods []string // the methods that the policy is asked about; nil: askedFor says which
	also    []use    // what else the policy is asked about
}

// use is another thing of the target that a call amounts to using.
type use struct{ method, name, alias string }

// about returns the name that the policy is asked about, which also goes on the record.
func (r route) about() string { return cmp.Or(r.subject, r.name) }

// call is plan for a request that names a tool, a prompt or a resource: it finds the target that owns the thing.
func (rq *request) call() (job, error) {
	if rq.ep.Search != nil {
		if answer := rq.viaCaller(); answer != nil {
			return answer, nil
		}
		if rq.callsOwn() {
			return rq.search()
		}
	}
	to, found := rq.resolve()
	return rq.callAt(to, found)
}

// callAt plans a call at a target: it asks the policy, and takes a place among the calls in flight. When found is false no
// target owns the name. A call that the policy denies gets the very answer that an unknown name gets, unless all that it lacks
// are scopes: then the answer names them.
func (rq *request) callAt(to route, found bool) (job, error) {
	began := rq.g.o.Now()
	event := audit.Event{Kind: audit.KindCall, Method: rq.m.Method, Name: rq.m.Name, Decision: audit.Deny, Reason: "unknown_name"}
	if found {
		event.Target, event.Name = to.to.Name(), to.about()
		d := rq.judge(to)
		event.Reason = d.Reason
		if d.MissingScopes != nil {
			_ = rq.record(event)
			return nil, rq.stepUp(d)
		}
		found = d.Allow
	}
	rq.noted.Text("target", event.Target)
	rq.noted.Text("name", short(event.Name))
	if found && !rq.onlyReads(to) {
		_ = rq.record(audit.Event{Kind: event.Kind, Method: event.Method, Target: event.Target, Name: event.Name, Decision: audit.Deny, Reason: "not_read_only"})
		return func() error { return rq.result(rq.toolError(notReadOnly)) }, nil
	}
	if !found {
		_ = rq.record(event)
		return rq.says(unknown(&rq.m)), nil
	}
	if err := rq.takePlaceAtTarget(); err != nil {
		return nil, err
	}
	reason := event.Reason
	return func() error {
		defer rq.leavePlace()
		event := audit.Event{ // of its own: the one above would have to live on the heap
			Kind: audit.KindCall, Method: rq.m.Method, Target: to.to.Name(), Name: to.about(), Decision: audit.Allow, Reason: reason,
		}
		event.Outcome = rq.forward(to)
		event.Time = rq.g.o.Now()
		event.Duration = event.Time.Sub(began)
		rq.noted.Text("outcome", event.Outcome)
		if event.Outcome != handedOn {
			_ = rq.record(event) // noted in the request's log record; the call has been made
		}
		return errAnswered
	}, nil
}

// judge asks the policy about all that the call amounts to. It returns the first denial, or else the last permission.
func (rq *request) judge(to route) policy.Decision {
	var d policy.Decision
	methods := to.methods
	if methods == nil {
		methods = askedFor(&rq.m)
	}
	for _, method := range methods {
		if d = rq.decide(method, to.to.Name(), to.about(), to.alias); !d.Allow {
			return d
		}
	}
	for _, u := range to.also {
		if d = rq.decide(u.method, to.to.Name(), u.name, u.alias); !d.Allow {
			return d
		}
	}
	return d
}

// askedFor lists the methods that the policy is asked about for a message. Completion and subscription also need the right to
// use the thing itself: whoever may not use it may not explore it either.
func askedFor(m *mcp.Message) []string {
	switch m.Method {
	case mcp.MethodComplete:
		if m.Ref == mcp.RefPrompt {
			return []string{mcp.MethodPromptsGet, m.Method}
		}
		return []string{mcp.MethodResourcesRead, m.Method}
	case mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		return []string{mcp.MethodResourcesRead, m.Method}
	}
	return []string{m.Method}
}

// resolve finds the target that owns the name. It looks into the view that is at hand, and asks the targets for a fresh one
// only when the name is not there.
func (rq *request) resolve() (route, bool) {
	if v := rq.ep.latest(); v != nil {
		if to, ok := rq.resolveIn(v); ok {
			return to, true
		}
	}
	return rq.resolveIn(rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait))
}

func (rq *request) resolveIn(v *view) (route, bool) {
	by := rq.m.Method
	if by == mcp.MethodComplete {
		by = rq.m.Ref
	}
	owner, ok := v.table.Resolve(by, rq.m.Name)
	if !ok {
		return route{}, false
	}
	return route{to: rq.ep.targets[owner.Target], name: owner.Name, alias: owner.Alias}, true
}

// unknown is the error for a thing that does not exist, and for one that the policy hides.
func unknown(m *mcp.Message) *mcp.Error {
	switch {
	case m.Method == mcp.MethodToolsCall:
		return mcp.Errorf(mcp.CodeInvalidParams, "Unknown tool: %s", m.Name)
	case m.Method == mcp.MethodPromptsGet || m.Ref == mcp.RefPrompt:
		return mcp.Errorf(mcp.CodeInvalidParams, "Unknown prompt: %s", m.Name)
	case m.By == "taskId":
		return mcp.Errorf(mcp.CodeInvalidParams, "Unknown task: %s", m.Name)
	case m.By == "name":
		return mcp.Errorf(mcp.CodeInvalidParams, "Unknown name: %s", m.Name)
	case m.Name == "" && m.Ref == "" && !mcp.OwnMethod(m.Method):
		return mcp.Errorf(mcp.CodeMethodNotFound, "Method not found")
	}
	return mcp.Errorf(mcp.CodeInvalidParams, "Resource not found: %s", m.Name)
}

// short cuts a name that a client may have made up, for the log.
func short(name string) string {
	if len(name) > 128 {
		return name[:128] + "…"
	}
	return name
}

// forward sends the call to its target and answers with what comes back. It returns the outcome for the record.
//
// In the session era, a client that disconnects has not cancelled its call, and may come back for the answer. So the call's
// context does not end with the HTTP request, but when the client cancels, when the session ends, when the target takes too
// long, or when the client has been gone for too long.
func (rq *request) forward(to route) string {
	if rq.modern {
		return rq.forwardModern(to)
	}
	call := &struct { // one allocation for both
		ctx    callctx.Context
		answer answer
	}{}
	ctx := &call.ctx
	ctx.Begin(context.WithoutCancel(rq.r.Context()))
	defer ctx.Cancel(nil)
	if err := rq.s.Begin(rq.m.ID, ctx); err != nil {
		_ = rq.failure(mcp.Errorf(mcp.CodeInvalidRequest, "%v", err))
		return "refused"
	}
	defer rq.s.Finish(rq.m.ID)
	a := rq.begin(ctx, &call.answer)
	defer a.close()
	ctx.Keep(answerKey{}, a)

	up, err := rq.upstream(ctx, to.to)
	if err != nil {
		return trouble(ctx, rq, a, to.to.Name(), err, false)
	}
	result, err := up.Forward(ctx, &rq.m, to.name, rq.notes(to, a.notify, a))
	if err != nil {
		return trouble(ctx, rq, a, to.to.Name(), err, true)
	}
	a.result(rq.public(to, result.Raw))
	rq.wrote(result)
	return "ok"
}

// upstream returns this session's own connection to a target, opening it on first use.
func (rq *request) upstream(ctx context.Context, t *target.Target) (session.Upstream, error) {
	s := rq.s
	if up := s.Opened(t); up != nil { // nearly always, and this spares making the function below
		return up, nil
	}
	return s.Upstream(ctx, t, func(ctx context.Context) (session.Upstream, error) {
		e := &events{g: rq.g, s: s, target: t.Name()}
		client := s.Client()
		ctx = context.WithValue(ctx, answerKey{}, nil) // the connection outlasts the call
		conn, err := t.Connect(ctx, target.Caller{
			Principal: rq.who, ClientInfo: client.ClientInfo, Capabilities: client.Capabilities, Revision: client.Revision,
		}, e)
		if err != nil {
			return nil, err
		}
		e.up.Store(conn)
		if level := s.Level(); level != nil {
			e.logs.Store(true)
			_, _ = conn.Call(ctx, mcp.MethodSetLevel, level, nil) // not every target logs
		}
		return &connection{conn, e}, nil
	})
}

// severity orders the log levels of the protocol (server/utilities/logging); noLevel is none of them.
func severity(level string) int {
	return slices.Index([]string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}, level)
}

// setLevel passes a log level to the upstream sessions that are open, and remembers it for the others.
func (rq *request) setLevel() error {
	level, _ := mcp.LookupString(rq.m.Params, "level")
	if severity(level) == noLevel {
		return rq.failure(mcp.Errorf(mcp.CodeInvalidParams, "Invalid log level"))
	}
	rq.s.SetLevel([]byte(`{"level":"` + level + `"}`)) // needs no escaping: it is one of few words
	rq.setLevels(rq.r.Context(), rq.m.Params)
	return rq.result(nil)
}

func (rq *request) setLevels(ctx context.Context, params []byte) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	rq.s.EachUpstream(func(u session.Upstream) {
		_, _ = u.Call(ctx, mcp.MethodSetLevel, params, nil) // not every target logs
	})
}

// toUpstreams passes a notification to every upstream session that is open.
func (rq *request) toUpstreams(ctx context.Context, method string, params []byte) {
	rq.s.EachUpstream(func(u session.Upstream) {
		if err := u.Notify(ctx, method, params); err != nil && !errors.Is(err, context.Canceled) {
			rq.g.o.Log.Debug("target did not take a notification", "method", method, "error", err)
		}
	})
}
