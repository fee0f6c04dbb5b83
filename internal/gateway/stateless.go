package gateway

import (
	"bytes"
	"context"
	"net/http"
	"sync"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// forwardModern is forward for a call of the stateless era. In this era, a client cancels a call by closing its connection, so
// the call ends with the HTTP request. A call whose target asked its client something comes in again, with the answers and the
// requestState that openState reads: then it goes on where it waited.
func (rq *request) forwardModern(to route) string {
	level, said := rq.logLevel()
	if said == nil {
		said = rq.checkParams(to)
	}
	if said == nil {
		said = rq.checkInputs()
	}
	var back state
	if said == nil {
		back, said = rq.openState(to)
	}
	if said != nil {
		_ = rq.failure(said)
		return "refused"
	}
	if w := back.waiting(); back.kind == stateWaiting && w.owner != rq.g.self() {
		return rq.elsewhere(w.owner)
	}
	a := rq.newReply(level)
	defer a.close()
	switch back.kind {
	case stateWaiting:
		return rq.goOn(a, back.waiting())
	case stateTarget:
		rq.m = rq.m.Edited(mcp.Edit{RequestState: mcp.AppendString(nil, back.held)})
	case stateVisit:
		if !rq.returned() {
			return rq.declined(a, to)
		}
	}
	return rq.converse(a, to)
}

// declined is the end of a call whose person did not go where the target sent them.
func (rq *request) declined(a *reply, to route) string {
	text := "The call was not executed, because the person did not go to the address that the server \"" + to.to.Name() + "\" named."
	if rq.m.Method == mcp.MethodToolsCall {
		a.result(rq.toolError(text))
	} else {
		a.error(mcp.Errorf(codeTrouble, "%s", text))
	}
	return "declined"
}

func (rq *request) modernTrouble(ctx context.Context, a *reply, to route, err error, sent bool) string {
	if ctx.Err() != nil {
		return "cancelled" // the client hears nothing any more
	}
	return trouble(ctx, rq, a, to.to.Name(), err, sent)
}

// dress adds to a target's result the members that the stateless era asks of every result, and appends the new result to
// pieces, one behind the other; it returns the outcome for the record, too. If said is not nil, the client gets that error
// instead.
func (rq *request) dress(pieces [][]byte, to route, r *mcp.Result) (dressed [][]byte, outcome string, said *mcp.Error) {
	if !r.Valid {
		return nil, "", mcp.Errorf(codeTrouble, "The server %q gave a result that is not valid MCP.", to.to.Name())
	}
	more := rq.g.ownMeta
	if r.Meta() != nil {
		more = r.AppendResultMeta([]byte(`"_meta":`), rq.g.serverInfo)
	}
	if r.Type == "" {
		more = append(more, `,"resultType":"`+mcp.ResultComplete+`"`...)
	}
	outcome = "ok"
	dropped := mcp.PartMeta
	switch {
	case r.Type == mcp.ResultInputRequired:
		outcome = "input required"
		if more, said = rq.appendInputRequired(more, to, r); said != nil {
			return nil, "", said
		}
		dropped |= mcp.PartRequestState | mcp.PartCaching
	case r.Type == mcp.ResultTask && !mcp.Declares(rq.m.Capabilities, mcp.ExtensionTasks):
		return nil, "", missingTasks()
	case r.Type == mcp.ResultTask:
		outcome = "task"
	case r.Type != "" && r.Type != mcp.ResultComplete && !mcp.DeclaresAny(rq.m.Capabilities):
		return nil, "", mcp.Errorf(codeTrouble, "The server %q gave a result of a kind that this client does not know.", to.to.Name())
	case cacheable(rq.m.Method):
		more = appendCacheHints(append(more, ','), mcp.Milliseconds(r.TTL()))
		dropped |= mcp.PartCaching
	}
	return r.AppendWithout(pieces, dropped, more), outcome, nil
}

// cacheable tells the methods whose results say how long they may be kept, of those that targets answer.
func cacheable(method string) bool {
	switch method {
	case mcp.MethodResourcesRead, mcp.MethodSkillsList, mcp.MethodSkillsGet, mcp.MethodDirectoryRead:
		return true
	}
	return false
}

// noLevel is the level of requests that want no log messages.
const noLevel = -1

// logLevel returns how severe a log message must be for this request.
func (rq *request) logLevel() (int, *mcp.Error) {
	if rq.m.LogLevel == nil {
		return noLevel, nil
	}
	said, _ := mcp.DecodeString(rq.m.LogLevel)
	if level := severity(said); level != noLevel {
		return level, nil
	}
	return noLevel, mcp.Errorf(mcp.CodeInvalidParams, "Invalid log level")
}

// wantLogs tells a target of the session era to log everything. There, the level holds for a whole session, which several
// requests with different levels share; each of them then leaves out what it did not ask for (reply.notify). Targets that are
// opened later are told when they are opened.
func (rq *request) wantLogs(ctx context.Context, up session.Upstream) {
	all := []byte(`{"level":"debug"}`)
	rq.s.SetLevel(all)
	c, ok := up.(*connection)
	if !ok || c.own.logs.Swap(true) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, _ = up.Call(ctx, mcp.MethodSetLevel, all, nil) // not every target logs
}

// reply is the HTTP answer to one call of the stateless era: JSON if nothing comes before the result, else a stream of events
// that ends with it. It is what answer is for the session era, but nobody can come back for a stream that broke.
type reply struct {
	rq    *request
	level int      // how severe a log message must be for the client to get it
	wait  wait     // has tick called after a while
	room  dialogue // for the call, if its client cannot be asked: a call that is parked outlasts this answer

	mu     sync.Mutex // guards what follows, and the response writer
	events bool       // the answer is a stream, which has begun
	done   bool
}

func (rq *request) newReply(level int) *reply {
	a := &reply{rq: rq, level: level}
	rq.g.quiet.add(&a.wait, a)
	return a
}

// notify passes on what the target sends along with the call.
func (a *reply) notify(m *mcp.Message) {
	switch m.Method {
	case mcp.NoteProgress:
		switch own := a.rq.m.ProgressToken; {
		case own == nil: // this request did not ask for it
			return
		case !bytes.Equal(own, m.ProgressToken): // the call began with another request
			mapped := m.Edited(mcp.Edit{ProgressToken: own})
			m = &mapped
		}
	case mcp.NoteMessage:
		said, _ := mcp.LookupString(m.Params, "level")
		if a.level == noLevel || severity(said) < a.level {
			return
		}
	default:
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.done && a.rq.accept.events {
		a.event(mcp.AppendNotification(nil, m.Method, m.Params))
	}
}

// event writes one event. It needs a.mu. A client that is gone ends the call by its context.
func (a *reply) event(raw []byte) {
	a.begin()
	_ = writeFlush(a.rq.w, mcp.AppendEvent(nil, "", raw))
}

func (a *reply) begin() {
	if !a.events {
		a.events = true
		beginEvents(a.rq.w)
	}
}

// tick keeps a quiet connection alive.
func (a *reply) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done {
		return
	}
	if a.rq.accept.events {
		a.begin()
		_ = writeFlush(a.rq.w, mcp.AppendComment(nil, "still working"))
	}
	a.rq.g.quiet.again(&a.wait, a.rq.g.o.Heartbeat)
}

func (a *reply) result(result []byte) { a.pieces(result) }

// pieces answers with a result that is in pieces.
func (a *reply) pieces(result ...[]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	if !a.events && a.rq.accept.json {
		_ = a.rq.writeResult(result...)
		return
	}
	a.event(mcp.AppendResult(nil, a.rq.m.ID, result...))
}

func (a *reply) error(e *mcp.Error) {
	a.rq.noted.Add("rpc_error", e.Code)
	e = modernError(e)
	status, write := modernStatus(e.Code), func(dst []byte) []byte { return mcp.AppendError(dst, a.rq.m.ID, e) }
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	if !a.events && (a.rq.accept.json || status != http.StatusOK) {
		_ = a.rq.writeJSON(status, write)
		return
	}
	a.event(write(nil))
}

// close ends the answer: nothing touches the response writer afterwards.
func (a *reply) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	a.rq.g.quiet.remove(&a.wait)
}

// modernError replaces error codes that the stateless era no longer has.
func modernError(e *mcp.Error) *mcp.Error {
	switch e.Code {
	case mcp.CodeResourceNotFound:
		return &mcp.Error{Code: mcp.CodeInvalidParams, Message: e.Message, Data: e.Data}
	case mcp.CodeURLElicitation: // which does not say where to go, else it is a question
		return &mcp.Error{Code: codeTrouble, Message: e.Message, Data: e.Data}
	}
	return e
}
