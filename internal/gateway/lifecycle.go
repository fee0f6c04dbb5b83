package gateway

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/web"
)

// maxClientFacts bounds what each session keeps of its client's words about itself.
const maxClientFacts = 16 << 10

// initialize begins a session (2025-11-25 basic/lifecycle). A session id or a revision in the headers is ignored: the
// client begins anew, and names its revision in the body.
func (rq *request) initialize() error {
	if err := rq.admit(mcp.MethodInitialize); err != nil {
		return err
	}
	client, said := rq.introduction()
	if said != nil {
		return rq.fault(said)
	}
	s, err := rq.g.o.Sessions.Create(session.Facts{Person: rq.who.Key, Endpoint: rq.ep.Path, Client: client})
	if err != nil {
		return noRoom(err)
	}
	rq.s = s
	defer rq.release()
	v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
	rq.w.Header().Set(headerSession, s.ID)
	return rq.result(rq.g.appendInitialized(nil, client.Revision, v))
}

// introduction reads what the client says about itself in initialize.
func (rq *request) introduction() (session.Client, *mcp.Error) {
	asked, ok := mcp.LookupString(rq.m.Params, "protocolVersion")
	if !ok {
		return session.Client{}, mcp.Errorf(mcp.CodeInvalidParams, "initialize: protocolVersion is missing")
	}
	c := session.Client{Revision: mcp.Negotiate(mcp.Revision(asked))}
	c.Capabilities, _ = mcp.Lookup(rq.m.Params, "capabilities")
	c.ClientInfo, _ = mcp.Lookup(rq.m.Params, "clientInfo")
	if len(c.Capabilities)+len(c.ClientInfo) > maxClientFacts {
		return session.Client{}, mcp.Errorf(mcp.CodeInvalidParams, "initialize: capabilities and clientInfo are larger than %d bytes", maxClientFacts)
	}
	rq.noted.Text("revision", string(c.Revision))
	return c, nil
}

func noRoom(err error) error {
	refused := &web.Error{Status: http.StatusServiceUnavailable, Code: "too_many_sessions", RetryAfter: time.Minute,
		Message: "there is no room for another session at the moment; try again later", Cause: err}
	if errors.Is(err, session.ErrTooMany) {
		refused.Status = http.StatusTooManyRequests
		refused.Message = "you have too many sessions in use; close some clients"
	}
	return refused
}

// maxInstructions bounds what targets can add to the beginning of every conversation.
const maxInstructions = 32 << 10

func (g *Gateway) appendInitialized(dst []byte, revision mcp.Revision, v *view) []byte {
	dst = append(dst, `{"protocolVersion":`...)
	dst = mcp.AppendString(dst, string(revision))
	dst = append(dst, `,"capabilities":`...)
	dst = v.offers.AppendJSON(dst, revision)
	dst = append(dst, `,"serverInfo":`...)
	dst = append(dst, g.serverInfo...)
	if text := v.instructions(); text != "" {
		dst = append(dst, `,"instructions":`...)
		dst = mcp.AppendString(dst, text)
	}
	return append(dst, '}')
}

// instructions joins what the targets say about themselves, under their names when there are several.
func (v *view) instructions() string {
	names := v.table.Targets()
	var b strings.Builder
	if v.search != nil && v.search.Only {
		b.WriteString("Most tools of this server are not in its list of tools: find them with " + searchTool + ".")
	}
	for _, name := range names {
		c := v.known[name]
		if c == nil || c.Instructions == "" || b.Len()+len(c.Instructions) > maxInstructions {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n\n")
		}
		if len(names) > 1 {
			b.WriteString("# " + name + "\n\n")
		}
		b.WriteString(c.Instructions)
	}
	return b.String()
}

// delete ends the session at the client's wish.
func (rq *request) delete() error {
	if err := rq.checkRevision(rq.r.Header[headerRevision]); err != nil {
		return err
	}
	if err := rq.find(); err != nil {
		return err
	}
	rq.g.o.Sessions.Delete(rq.s)
	rq.release()
	rq.w.WriteHeader(http.StatusNoContent)
	return errAnswered
}
