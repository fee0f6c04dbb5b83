package gateway

import (
	"fmt"
	"net/http"
	"slices"

	"gatehouse/internal/mcp"
	"gatehouse/internal/web"
)

// The headers of the stateless era that copy values of the body (2026-07-28 basic/transports, request metadata).
const (
	headerMethod = "Mcp-Method"
	headerName   = "Mcp-Name"
)

// isModern reports whether a POST belongs to the stateless era: if one of revisions, the values of MCP-Protocol-Version, or the
// version in _meta is of it. An unknown version in _meta counts, too, because in the session era there is no version there. An
// initialize without Mcp-Method begins a session, whatever the header says.
func (rq *request) isModern(revisions []string) bool {
	if said, ok := mcp.DecodeString(rq.m.Version); ok && !mcp.SessionEra(mcp.Revision(said)) {
		return true
	}
	if rq.m.Method == mcp.MethodInitialize && rq.r.Header[headerMethod] == nil {
		return false
	}
	return anyStateless(revisions)
}

// anyStateless reports whether one of the values of MCP-Protocol-Version is a revision of the stateless era.
func anyStateless(revisions []string) bool {
	return slices.ContainsFunc(revisions, func(v string) bool { return mcp.Stateless(mcp.Revision(v)) })
}

// inSession removes from a session's message what only the stateless era has in _meta. Otherwise a target that serves both
// eras might take it for a message of the stateless era.
func (rq *request) inSession() {
	if p := rq.m.PerRequest; p.Version != nil || p.Capabilities != nil || p.ClientInfo != nil || p.LogLevel != nil {
		rq.m = rq.m.Edited(mcp.Edit{Meta: rq.m.AppendMeta(nil, rq.m.ProgressToken, nil)})
	}
}

// postModern answers one message of the stateless era. No session id is read, minted or echoed.
func (rq *request) postModern() error {
	rq.modern = true
	rq.noted.Text("era", "stateless")
	if e := rq.checkCopies(); e != nil {
		return rq.failure(e)
	}
	switch rq.m.Kind {
	case mcp.KindRequest:
		return rq.dispatchModern()
	case mcp.KindNotification: // none has a meaning: to cancel, a client closes the connection
		if err := rq.admit(rq.m.Method); err != nil {
			return err
		}
		rq.w.WriteHeader(http.StatusAccepted)
		return errAnswered
	}
	return rq.faultWith(http.StatusBadRequest, mcp.Errorf(mcp.CodeInvalidRequest, "clients do not send responses in this revision"))
}

// checkCopies checks that the headers say the same as the body, and that the request says what every request must. A proxy
// that decides by the headers must not be led to another decision than a target that reads the body.
func (rq *request) checkCopies() *mcp.Error {
	header, ok := rq.single(headerRevision)
	said, inBody := mcp.DecodeString(rq.m.Version)
	switch {
	case !ok:
		return mismatch("MCP-Protocol-Version must be there once")
	case inBody && said != header:
		return mismatch("MCP-Protocol-Version and _meta name different revisions")
	case mcp.Revision(header) != mcp.Rev20260728:
		return unsupported(header)
	}
	method, ok := rq.single(headerMethod)
	switch {
	case rq.m.Kind == mcp.KindNotification && len(rq.r.Header.Values(headerMethod)) == 0:
		return nil
	case !ok || method != rq.m.Method:
		return mismatch("Mcp-Method must be there once and name the method of the body")
	case rq.m.Kind != mcp.KindRequest:
		return nil
	case !rq.knownModern() && len(rq.owners(rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait))) == 0:
		return rq.notFound()
	case !inBody || len(rq.m.Capabilities) == 0 || rq.m.Capabilities[0] != '{':
		return mcp.Errorf(mcp.CodeInvalidParams, "params._meta must hold %q and %q", mcp.MetaVersion, mcp.MetaCapabilities)
	}
	return rq.checkName()
}

// checkName compares Mcp-Name, which some methods must have. Extensions that we do not know may have it.
func (rq *request) checkName() *mcp.Error {
	switch rq.m.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodTasksGet, mcp.MethodTasksUpdate, mcp.MethodTasksCancel:
	default:
		if rq.m.By == "" || rq.r.Header[headerName] == nil {
			return nil
		}
	}
	raw, ok := rq.single(headerName)
	if ok {
		raw, ok = mcp.DecodeHeader(raw)
	}
	if !ok || raw != rq.m.Name {
		return mismatch("Mcp-Name must be there once and name what the body names")
	}
	return nil
}

// checkParams compares the headers that copy arguments of a tool.
func (rq *request) checkParams(to route) *mcp.Error {
	if rq.m.Method != mcp.MethodToolsCall || rq.called != "" { // who calls through another tool copies nothing
		return nil
	}
	v := rq.ep.latest()
	if v == nil {
		return nil
	}
	params := v.copied[entryKey{mcp.Tools, to.to.Name(), to.name}]
	if len(params) == 0 {
		return nil
	}
	arguments, _ := mcp.Lookup(rq.m.Params, "arguments")
	for _, p := range params {
		if !p.Agrees(rq.r.Header.Values(p.Header), arguments) {
			return mismatch(p.Header + " must say what the argument says, and be absent without it")
		}
	}
	return nil
}

// single returns the value of a header that stands exactly once; the name is written as in http.Header.
func (rq *request) single(name string) (string, bool) {
	values := rq.r.Header[name]
	if len(values) != 1 {
		return "", false
	}
	return values[0], true
}

func mismatch(text string) *mcp.Error { return mcp.Errorf(mcp.CodeHeaderMismatch, "%s", text) }

// unsupported names the revisions that are served.
func unsupported(asked string) *mcp.Error {
	e := mcp.Errorf(mcp.CodeUnsupportedRevision, "This revision of the protocol is not served here")
	e.Data = appendRevisions([]byte(`{"supported":`))
	e.Data = append(e.Data, `,"requested":`...)
	e.Data = append(mcp.AppendString(e.Data, short(asked)), '}')
	return e
}

func appendRevisions(dst []byte) []byte {
	dst = append(dst, '[')
	for i, r := range mcp.EveryRevision() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = mcp.AppendString(dst, string(r))
	}
	return append(dst, ']')
}

// notFound is the error for an unknown method. After initialize, which this era does not have, it lists the revisions.
func (rq *request) notFound() *mcp.Error {
	e := mcp.Errorf(mcp.CodeMethodNotFound, "Method not found")
	if rq.m.Method == mcp.MethodInitialize {
		e.Data = append(appendRevisions([]byte(`{"supported":`)), '}')
	}
	return e
}

// modernMethods are the methods of the stateless era.
var modernMethods = [...]string{
	mcp.MethodToolsCall, mcp.MethodToolsList, mcp.MethodPromptsGet, mcp.MethodPromptsList, mcp.MethodResourcesRead,
	mcp.MethodResourcesList, mcp.MethodTemplatesList, mcp.MethodComplete, mcp.MethodDiscover, mcp.MethodListen,
}

func (rq *request) knownModern() bool { return slices.Contains(modernMethods[:], rq.m.Method) }

// dispatchModern answers a request of the stateless era.
func (rq *request) dispatchModern() error {
	switch rq.m.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodComplete:
		todo, err := rq.call()
		if err != nil {
			return err
		}
		defer rq.release()
		return todo()
	}
	v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
	if !rq.knownModern() {
		return rq.extensionModern(v)
	}
	if err := rq.admit(rq.m.Method); err != nil {
		return err
	}
	offers := v.offers
	offered, kind := true, mcp.ListKind("")
	switch rq.m.Method {
	case mcp.MethodDiscover:
		return rq.respond(func(dst []byte) []byte { return rq.g.appendDiscovered(dst, rq.m.ID, v) })
	case mcp.MethodListen:
		return rq.listen(offers)
	case mcp.MethodToolsList:
		offered, kind = offers.Tools, mcp.Tools
	case mcp.MethodPromptsList:
		offered, kind = offers.Prompts, mcp.Prompts
	case mcp.MethodResourcesList:
		offered, kind = offers.Resources, mcp.Resources
	case mcp.MethodTemplatesList:
		offered, kind = offers.Resources, mcp.Templates
	}
	if !offered {
		return rq.failure(rq.notFound())
	}
	return rq.list(kind)
}

// extensionModern answers a request of a method that some target may have.
func (rq *request) extensionModern(v *view) error {
	if said := rq.declared(); said != nil {
		return rq.failure(said)
	}
	todo, err := rq.extension(v, rq.owners(v))
	if err != nil {
		return err
	}
	defer rq.release()
	return todo()
}

// stand sets rq.s to the person's standing session (session.Table.Standing); the caller must release it.
func (rq *request) stand() error {
	s, err := rq.g.o.Sessions.Standing(rq.who.Key, rq.ep.Path, mcp.ParseClientCapabilities(rq.m.Capabilities))
	if err != nil {
		return noRoom(err)
	}
	rq.s = s
	return nil
}

// modernStatus is the HTTP status under which the stateless era sends an error.
func modernStatus(code int) int {
	switch code {
	case mcp.CodeMethodNotFound:
		return http.StatusNotFound
	case mcp.CodeHeaderMismatch, mcp.CodeMissingCapability, mcp.CodeUnsupportedRevision, mcp.CodeInvalidRequest:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// modernFault is modernStatus for what Gatehouse itself finds wrong with a request before it does anything.
func (rq *request) modernFault(e *mcp.Error) int {
	if e.Code == mcp.CodeInvalidParams && (rq.m.Version == nil || rq.m.Capabilities == nil || rq.m.Capabilities[0] != '{') {
		return http.StatusBadRequest
	}
	return modernStatus(e.Code)
}

// refuseModernOld answers GET and DELETE of clients of the stateless era, which has neither.
func (rq *request) refuseModernOld() error {
	rq.w.Header().Set("Allow", http.MethodPost)
	return &web.Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed",
		Message: fmt.Sprintf("revision %s of MCP has POST only", mcp.Rev20260728)}
}
