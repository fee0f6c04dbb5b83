package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/web"
)

// maxID bounds request ids, which every event of an answer carries.
const maxID = 256

// post takes one JSON-RPC message.
func (rq *request) post() error {
	if !web.IsJSON(rq.r.Header) {
		return &web.Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "Content-Type must be application/json"}
	}
	if !rq.accept.json && !rq.accept.events {
		return &web.Error{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "Accept must allow application/json and text/event-stream"}
	}
	body, err := rq.g.bodies.read(rq.r.Body)
	if err != nil {
		return err
	}
	defer rq.g.bodies.put(body)
	if rq.m, err = mcp.Decode(*body, mcp.Limits{}); err != nil {
		said, ok := errors.AsType[*mcp.Error](err)
		if !ok {
			return err
		}
		return rq.fault(said)
	}
	if len(rq.m.ID) > maxID {
		rq.m.ID = nil
		return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest, "id is longer than %d bytes", maxID))
	}
	web.Note(rq.r.Context(), "mcp_method", known(rq.m.Method))
	if rq.isModern() {
		return rq.postModern()
	}
	if rq.m.Kind == mcp.KindRequest && rq.m.Method == mcp.MethodInitialize {
		return rq.initialize()
	}
	if err := rq.checkRevision(); err != nil {
		return err
	}
	if err := rq.find(); err != nil {
		return err
	}
	defer rq.release()
	switch rq.m.Kind {
	case mcp.KindRequest:
		return rq.dispatch()
	case mcp.KindNotification:
		return rq.notified()
	}
	return rq.answered()
}

// dispatch answers a request within a session.
func (rq *request) dispatch() error {
	switch rq.m.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodComplete, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		return rq.call()
	}
	if err := rq.admit(rq.m.Method); err != nil {
		return err
	}
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
}

// known keeps what a client made up out of the log.
func known(method string) string {
	switch method {
	case mcp.MethodInitialize, mcp.MethodPing, mcp.MethodToolsList, mcp.MethodToolsCall, mcp.MethodPromptsList, mcp.MethodPromptsGet,
		mcp.MethodResourcesList, mcp.MethodTemplatesList, mcp.MethodResourcesRead, mcp.MethodSubscribe, mcp.MethodUnsubscribe,
		mcp.MethodComplete, mcp.MethodSetLevel, mcp.MethodDiscover, mcp.MethodListen, mcp.NoteInitialized, mcp.NoteCancelled, mcp.NoteProgress, mcp.NoteRootsChanged:
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
	web.Note(rq.r.Context(), "rpc_error", e.Code)
	return rq.respond(func(dst []byte) []byte { return mcp.AppendError(dst, rq.m.ID, e) })
}

// respond answers at once, in the form that the client takes.
func (rq *request) respond(write func(dst []byte) []byte) error {
	if rq.accept.json {
		return rq.writeJSON(http.StatusOK, write)
	}
	return rq.writeEvent(write(nil))
}

// fanOut bounds how long a notification of the client may take on its way to all targets.
const fanOut = 10 * time.Second

// notified handles a notification of the client. What is unknown is ignored, as JSON-RPC asks.
func (rq *request) notified() error {
	if err := rq.admit(rq.m.Method); err != nil {
		return err
	}
	rq.w.WriteHeader(http.StatusAccepted)
	switch rq.m.Method {
	case mcp.NoteCancelled:
		rq.s.Cancel(mcp.ID(rq.m.RequestID))
	case mcp.NoteProgress:
		rq.s.Progress(&rq.m)
	case mcp.NoteRootsChanged:
		_ = http.NewResponseController(rq.w).Flush() // the client does not wait for the targets
		ctx, cancel := context.WithTimeout(context.WithoutCancel(rq.r.Context()), fanOut)
		defer cancel()
		rq.toUpstreams(ctx, rq.m.Method, rq.m.Params)
	}
	return errAnswered
}

// answered takes the client's response to a request of a target. One that comes too late is nobody's fault.
func (rq *request) answered() error {
	if err := rq.admit(""); err != nil {
		return err
	}
	if !rq.s.Answer(&rq.m) {
		web.Note(rq.r.Context(), "unasked", true)
	}
	rq.w.WriteHeader(http.StatusAccepted)
	return errAnswered
}
