package gateway

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/web"
)

// maxID bounds request ids, which every event of an answer carries.
const maxID = 256

// job is the second half of serving a message. The first half, a plan, checks everything that must be refused with an HTTP
// status of its own; the job does the work and answers, with status 200 or over a stream. It returns errAnswered. Whoever
// drops a job without running it must call leavePlace.
type job func() error

// do runs a job on a goroutine other than the handler's, where web.Recover does not catch a panic.
func (rq *request) do(todo job) {
	defer func() {
		if p := recover(); p != nil {
			rq.g.o.Log.ErrorContext(rq.r.Context(), "panic", "panic", p, "stack", string(debug.Stack()))
			_ = rq.failure(mcp.Errorf(mcp.CodeInternal, "internal error"))
		}
	}()
	_ = todo() // it has answered
}

// post serves a POST: one JSON-RPC message, or an array of them. It reads and decodes the body, and finds out to which era and
// transport the message belongs.
func (rq *request) post() error {
	if !web.IsJSON(rq.r.Header) {
		return &web.Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "Content-Type must be application/json"}
	}
	id, onLine := rq.lineID()
	if !onLine && !rq.accept.json && !rq.accept.events {
		return &web.Error{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "Accept must allow application/json and text/event-stream"}
	}
	var err error
	if rq.body, err = rq.g.bodies.read(rq.r.Body); err != nil {
		return err
	}
	defer rq.putBody()
	revisions := rq.r.Header[headerRevision]
	if !onLine && mcp.IsBatch(*rq.body) && !anyStateless(revisions) {
		return rq.postBatch()
	}
	if err = rq.m.Decode(*rq.body, mcp.Limits{}); err != nil {
		return rq.undecoded(err)
	}
	if len(rq.m.ID) > maxID {
		rq.m.ID = nil
		return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest, "id is longer than %d bytes", maxID))
	}
	rq.noted.Text("mcp_method", known(rq.m.Method))
	switch {
	case rq.isModern(revisions):
		return rq.postModern()
	case onLine:
		return rq.postLine(id)
	case rq.m.Kind == mcp.KindRequest && rq.m.Method == mcp.MethodInitialize:
		return rq.initialize()
	}
	if err := rq.checkRevision(revisions); err != nil {
		return err
	}
	if err := rq.find(); err != nil {
		return err
	}
	defer rq.release()
	todo, err := rq.plan()
	if err != nil {
		return err
	}
	if rq.m.Kind != mcp.KindRequest {
		rq.w.Header().Set("Content-Length", "0")
		rq.w.WriteHeader(http.StatusAccepted)
	}
	return todo()
}

// putBody gives the body back, unless it was handed on.
func (rq *request) putBody() {
	if rq.body != nil {
		rq.g.bodies.put(rq.body)
		rq.body = nil
	}
}

// undecoded answers a body that could not be decoded.
func (rq *request) undecoded(err error) error {
	said, ok := errors.AsType[*mcp.Error](err)
	if !ok {
		return err
	}
	return rq.fault(said)
}

// plan is the first half of serving a message of a session, see job. It returns the second half, or the error to answer with.
func (rq *request) plan() (job, error) {
	rq.inSession()
	switch rq.m.Kind {
	case mcp.KindRequest:
		return rq.dispatch()
	case mcp.KindNotification:
		return rq.notified()
	}
	return rq.responded()
}

// dispatch is plan for requests. It knows which methods go to targets and which Gatehouse answers itself.
func (rq *request) dispatch() (job, error) {
	switch rq.m.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodComplete, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		return rq.call()
	}
	if !mcp.OwnMethod(rq.m.Method) || rq.m.Method == mcp.MethodTasksList || rq.m.Method == mcp.MethodTasksResult {
		v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
		if owners := rq.owners(v); len(owners) > 0 {
			return rq.extension(v, owners)
		}
	}
	if err := rq.admit(rq.m.Method); err != nil {
		return nil, err
	}
	return func() error {
		switch rq.m.Method {
		case mcp.MethodPing:
			return rq.result(nil)
		case mcp.MethodToolsList:
			return rq.list(mcp.Tools)
		case mcp.MethodPromptsList:
			return rq.list(mcp.Prompts)
		case mcp.MethodResourcesList:
			return rq.list(mcp.Resources)
		case mcp.MethodTemplatesList:
			return rq.list(mcp.Templates)
		case mcp.MethodSetLevel:
			return rq.setLevel()
		}
		return rq.failure(mcp.Errorf(mcp.CodeMethodNotFound, "Method not found"))
	}, nil
}

// known returns a method's name for the log. A name that a client made up becomes "other".
func known(method string) string {
	switch method {
	case mcp.MethodInitialize, mcp.MethodPing, mcp.MethodToolsList, mcp.MethodToolsCall, mcp.MethodPromptsList, mcp.MethodPromptsGet,
		mcp.MethodResourcesList, mcp.MethodTemplatesList, mcp.MethodResourcesRead, mcp.MethodSubscribe, mcp.MethodUnsubscribe,
		mcp.MethodComplete, mcp.MethodSetLevel, mcp.MethodDiscover, mcp.MethodListen, mcp.MethodTasksGet, mcp.MethodTasksUpdate,
		mcp.MethodTasksCancel, mcp.MethodTasksList, mcp.MethodTasksResult, mcp.MethodSkillsList, mcp.MethodSkillsGet, mcp.MethodDirectoryRead,
		mcp.NoteInitialized, mcp.NoteCancelled, mcp.NoteProgress, mcp.NoteRootsChanged:
		return method
	case "":
		return "response"
	}
	return "other"
}

// result answers with a result that Gatehouse made itself; nil is the empty one.
func (rq *request) result(result []byte) error {
	return rq.respond(func(dst []byte) []byte { return mcp.AppendResult(dst, rq.m.ID, result) })
}

// failure answers with a JSON-RPC error. In the session era the HTTP request itself went well, so its status is 200.
func (rq *request) failure(e *mcp.Error) error {
	if rq.modern {
		return rq.faultWith(rq.modernFault(e), e)
	}
	rq.noted.Add("rpc_error", e.Code)
	return rq.respond(func(dst []byte) []byte { return mcp.AppendError(dst, rq.m.ID, e) })
}

// respond answers a request whose response is there at once, as JSON or as an event, whichever the client takes.
func (rq *request) respond(write func(dst []byte) []byte) error {
	switch {
	case rq.to != nil:
		rq.to.put(rq, write)
		return errAnswered
	case rq.accept.json:
		return rq.writeJSON(http.StatusOK, write)
	}
	return rq.writeEvent(write(nil))
}

// fanOut bounds how long a notification of the client may take on its way to all targets.
const fanOut = 10 * time.Second

// notified is plan for notifications. Unknown ones are ignored, as JSON-RPC asks.
func (rq *request) notified() (job, error) {
	if err := rq.admit(rq.m.Method); err != nil {
		return nil, err
	}
	return func() error {
		switch rq.m.Method {
		case mcp.NoteCancelled:
			rq.s.Cancel(mcp.ID(rq.m.RequestID))
		case mcp.NoteProgress:
			rq.s.Progress(&rq.m)
		case mcp.NoteRootsChanged:
			if rq.to == nil {
				_ = http.NewResponseController(rq.w).Flush() // the client does not wait for the targets
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(rq.r.Context()), fanOut)
			defer cancel()
			rq.toUpstreams(ctx, rq.m.Method, rq.m.Params)
		}
		return errAnswered
	}, nil
}

// responded is plan for responses, by which the client answers a request of a target. One that comes too late is ignored.
func (rq *request) responded() (job, error) {
	if err := rq.admit(""); err != nil {
		return nil, err
	}
	return func() error {
		if !rq.s.Answer(&rq.m) {
			rq.noted.Add("unasked", true)
		}
		return errAnswered
	}, nil
}
