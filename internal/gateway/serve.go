package gateway

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/internal/audit"
	"gatehouse/internal/cluster"
	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/session"
	"gatehouse/internal/web"
)

// The headers of the transport (2025-11-25 basic/transports).
const (
	headerSession  = "Mcp-Session-Id"
	headerRevision = "Mcp-Protocol-Version"
	headerLast     = "Last-Event-Id"
)

// request is one HTTP request on its way through the steps. Each step fills in what it finds out. For a batch, each of its
// messages has a request of its own.
type request struct {
	g      *Gateway
	ep     *endpoint
	w      http.ResponseWriter
	r      *http.Request
	noted  web.Notes // on r
	who    *identity.Principal
	place  *tally  // its place among the calls in flight, from takePlace to leavePlace; else nil
	pinned *served // the snapshot, which stays in use until unpin

	accept accepted
	modern bool // the message is one of the stateless era
	handed bool // another copy of Gatehouse handed it on, after it verified the token

	m      mcp.Message      // the message of a POST; its slices are parts of body
	called string           // the tool of Gatehouse's own through which the call came (call_tool); empty for most
	body   *[]byte          // lent by Gateway.bodies
	s      *session.Session // nil before find, and for initialize
	to     carrier          // where answers go, for messages of batches and lines; nil: to w
	whole  [1][]byte        // room for writeWhole
}

// carrier takes the answers to messages that do not have an HTTP answer of their own: those of a batch, and those of HTTP+SSE.
type carrier interface {
	put(rq *request, write func(dst []byte) []byte)             // takes a response that is there at once
	begin(rq *request, call session.Canceler) (answer answerer) // opens the answer to a call
}

// errAnswered means that the request has been answered, so that no other step may follow. Steps return it in place of nil, and
// Handler takes it off.
var errAnswered = errors.New("answered")

// Handler serves the endpoint that has this path at the time of each request.
func (g *Gateway) Handler(path string) http.Handler {
	return web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if err := g.serve(w, r, path); !errors.Is(err, errAnswered) {
			return err
		}
		return nil
	})
}

// serve is where a request enters. Nothing of it but its endpoint is looked at before the token has been checked.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, path string) error {
	rq := &request{g: g, w: w, r: r, noted: web.NotesOf(r.Context())}
	defer rq.unpin()
	if err := rq.enter(path); err != nil {
		return err
	}
	who, err := rq.ep.Auth.Authenticate(r)
	if err != nil {
		rq.ep.Auth.Refuse(w, r, err)
		return errAnswered
	}
	return rq.serveAs(who)
}

// enter finds the endpoint in the snapshot in force, and keeps that snapshot in use.
func (rq *request) enter(path string) error {
	rq.pinned = rq.g.pin()
	rq.ep = rq.pinned.endpoints[path]
	if rq.r.Method == http.MethodGet {
		rq.unpin() // it is a stream: it asks no target, and would keep the snapshot in use for as long as it lasts
	}
	if rq.ep == nil {
		return &web.Error{Status: http.StatusNotFound, Code: "not_found", Message: "there is no endpoint here"}
	}
	rq.noted.Text("endpoint", path)
	return nil
}

// serveAs answers the request of a principal whose token was checked, here or on the copy that handed the request on.
func (rq *request) serveAs(who *identity.Principal) error {
	r := rq.r
	rq.noted.Text("subject", who.Key.Subject)
	rq.noted.Text("client", who.Client.Short())
	rq.who, rq.accept = who, parseAccept(r.Header)
	switch {
	case r.Method == http.MethodPost:
		return rq.post()
	case anyStateless(r.Header[headerRevision]):
		return rq.refuseModernOld()
	}
	switch r.Method {
	case http.MethodGet:
		return rq.get()
	case http.MethodDelete:
		return rq.delete()
	}
	rq.w.Header().Set("Allow", "GET, POST, DELETE")
	return &web.Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "an MCP endpoint takes GET, POST and DELETE"}
}

// unpin ends the request's use of its snapshot.
func (rq *request) unpin() {
	if rq.pinned != nil {
		rq.pinned.release()
		rq.pinned = nil
	}
}

// decide is the only place that asks the policy about a call.
func (rq *request) decide(method, target, name, alias string) policy.Decision {
	return rq.ep.Policy.Decide(&policy.Question{
		Principal: rq.who, Endpoint: rq.ep.Path, Target: target, Method: method, Name: name, Alias: alias,
	})
}

// sees asks the policy whether the principal is shown what the endpoint has.
func (rq *request) sees() bool { return rq.ep.Policy.Sees(rq.who) }

// admit asks the policy whether the principal may use a method that Gatehouse answers itself. It returns nil if so; else it
// records the refusal, and returns errAnswered after it has answered with a challenge, or the error to answer with.
func (rq *request) admit(method string) error {
	d := rq.decide(method, "", "", "")
	if d.Allow {
		return nil
	}
	_ = rq.record(audit.Event{Kind: audit.KindRefused, Method: method, Decision: audit.Deny, Reason: d.Reason}) // a failure is noted in the log record
	if d.MissingScopes != nil {
		return rq.stepUp(d)
	}
	return &web.Error{Status: http.StatusForbidden, Code: "access_denied", Message: "the access rule of this endpoint does not let you in; ask its administrator"}
}

// stepUp answers with the challenge that names the missing scopes.
func (rq *request) stepUp(d policy.Decision) error {
	rq.ep.Auth.InsufficientScope(rq.w, rq.r, rq.who, d.MissingScopes)
	return errAnswered
}

// record completes an event with what is known about the request, and writes it to the audit log. An error means that the
// event could not be kept; it is noted in the request's log record, too.
func (rq *request) record(e audit.Event) error {
	e.RequestID, e.Address = web.RequestID(rq.r.Context()), web.ClientIP(rq.r)
	e.Person, e.Client, e.Grant, e.Scopes = rq.who.Key, identity.ClientID(rq.who.Client.Short()), rq.who.Grant, rq.who.Scopes
	e.Endpoint = rq.ep.Path
	if e.Decision == audit.Deny {
		rq.noted.Text("reason", e.Reason) // replaced, when the client gets another one
	}
	err := rq.g.o.Audit.Record(rq.r.Context(), e)
	switch {
	case err != nil:
		rq.noted.Text("audit_error", err.Error())
	case e.Kind == audit.KindCall:
		rq.noted.Recorded()
	}
	return err
}

// find sets rq.s to the session that the request names; the caller must release it. Whatever is wrong with a session, the
// answer is the same: 404, at which a client begins a new one.
func (rq *request) find() error {
	ids := rq.r.Header[headerSession]
	switch {
	case len(ids) > 1:
		return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest, "Mcp-Session-Id stands there more than once"))
	case len(ids) == 0 || ids[0] == "":
		return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest, "the header Mcp-Session-Id is missing; begin with initialize"))
	}
	return rq.use(ids[0], false)
}

// use sets rq.s to the session with this id. Tied tells which transport it must belong to: HTTP+SSE, whose sessions are tied
// to a stream, or streamable HTTP. A session that lives on another copy makes it hand the request on to that copy.
func (rq *request) use(id string, tied bool) error {
	s, err := rq.g.o.Sessions.Use(id, rq.who.Key, rq.ep.Path)
	if err == nil && s.Tied != tied {
		rq.g.o.Sessions.Release(s)
		err = errors.New("session is one of another transport")
	}
	if elsewhere, ok := errors.AsType[*session.ElsewhereError](err); ok {
		if err = rq.handOn(elsewhere.Owner); !errors.Is(err, cluster.ErrGone) {
			return err
		}
	}
	if err != nil {
		rq.noted.Text("session", err.Error())
		// Plain text, because some clients take a JSON-RPC error for the answer of a session that is alive.
		http.Error(rq.w, "session not found", http.StatusNotFound)
		return errAnswered
	}
	rq.s = s
	return nil
}

// release ends the request's use of its session, if it has one.
func (rq *request) release() {
	if rq.s != nil {
		rq.g.o.Sessions.Release(rq.s)
		rq.s = nil
	}
}

// checkRevision refuses a header that names a revision which is not served. Without the header, the session's own
// revision counts.
func (rq *request) checkRevision(said []string) error {
	switch {
	case len(said) > 1:
		return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest, "MCP-Protocol-Version stands there more than once"))
	case len(said) == 0 || said[0] == "" || mcp.SessionEra(mcp.Revision(said[0])):
		return nil
	}
	names := make([]string, 0, 4)
	for _, r := range mcp.SessionRevisions() {
		names = append(names, string(r))
	}
	return rq.fault(mcp.Errorf(mcp.CodeInvalidRequest,
		"MCP-Protocol-Version names a revision that is not served here; served are %s", strings.Join(names, ", ")))
}

// fault answers a malformed request with a JSON-RPC error and HTTP status 400.
func (rq *request) fault(e *mcp.Error) error { return rq.faultWith(http.StatusBadRequest, e) }

// faultWith is fault with another HTTP status.
func (rq *request) faultWith(status int, e *mcp.Error) error {
	rq.noted.Add("rpc_error", e.Code)
	return rq.writeJSON(status, func(dst []byte) []byte { return mcp.AppendError(dst, rq.m.ID, e) })
}

// writeJSON answers with a JSON-RPC message and returns errAnswered.
func (rq *request) writeJSON(status int, write func(dst []byte) []byte) error {
	buf := rq.g.bodies.get()
	defer rq.giveBack(buf)
	*buf = write(*buf)
	return rq.writeWhole(status, *buf)
}

// giveBack returns the buffer of an answer to the pool after it was written. Over HTTP/2 the buffer is left to the garbage
// collector instead: when the client resets its stream, Write returns while the server may still read from the buffer, and by
// then it could hold another person's answer.
func (rq *request) giveBack(buf *[]byte) {
	if rq.r.ProtoMajor == 1 {
		rq.g.bodies.put(buf)
	}
}

// wrote gives back the buffer of a target's result after the result was written. Over HTTP/1.1 its bytes have been copied by
// then: by the kernel, into a TLS record, or into events of a stream. Over HTTP/2 that is not sure: see giveBack.
func (rq *request) wrote(r *mcp.Result) {
	if r.Lent != nil && rq.r.ProtoMajor == 1 {
		r.Lent.Release()
		*r = mcp.Result{}
	}
}

// Values of headers, shared by all answers.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// wholeResult is the size up to which a result is copied into one buffer with the rest of its response. Larger ones are
// written from where they stand.
const wholeResult = 8 << 10

// writeResult answers with a result. The pieces, one behind the other, are its JSON.
func (rq *request) writeResult(result ...[]byte) error {
	buf := rq.g.bodies.get()
	defer rq.giveBack(buf)
	*buf = mcp.AppendResultHead(*buf, rq.m.ID)
	total := 0
	for _, piece := range result {
		total += len(piece)
	}
	if total > wholeResult {
		parts := append(append(append(make([][]byte, 0, len(result)+2), *buf), result...), []byte{'}'})
		return rq.writeParts(http.StatusOK, parts...)
	}
	for _, piece := range result {
		*buf = append(*buf, piece...)
	}
	*buf = append(*buf, '}')
	return rq.writeWhole(http.StatusOK, *buf)
}

// writeWhole answers with one body.
func (rq *request) writeWhole(status int, body []byte) error {
	rq.whole[0] = body
	return rq.writeParts(status, rq.whole[:]...)
}

func (rq *request) writeParts(status int, parts ...[]byte) error {
	h := rq.w.Header()
	h["Content-Type"], h["Cache-Control"] = jsonType, noStore
	rq.w.WriteHeader(status)
	_, _ = web.WriteParts(rq.w, parts...) // a client that is gone gets nothing
	return errAnswered
}
