package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/internal/cluster"
	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/web"
)

// HandedOn answers a request that another copy took, for a person whom that copy verified. It goes through the same steps
// as any other but for the token, which that copy keeps and watches.
func (g *Gateway) HandedOn(w http.ResponseWriter, r *http.Request, who *identity.Principal, path string) {
	web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		rq := &request{g: g, w: w, r: r, noted: web.NotesOf(r.Context()), handed: true}
		defer rq.unpin()
		err := rq.enter(path)
		if err == nil {
			err = rq.serveAs(who)
		}
		if errors.Is(err, errAnswered) {
			return nil
		}
		return err
	}).ServeHTTP(w, r)
}

// self names this copy in sealed values; it has no name when it is alone.
func (g *Gateway) self() string {
	if g.o.Copies == nil {
		return ""
	}
	return g.o.Copies.Self()
}

// handOn has the copy answer that owns what the request is about. It returns an error that is cluster.ErrGone when that
// copy is not there any more; then nothing was answered yet. A request is handed on once.
func (rq *request) handOn(owner string) error {
	if rq.g.o.Copies == nil || rq.handed || owner == "" {
		return cluster.ErrGone
	}
	name, _, _ := strings.Cut(owner, "@")
	rq.noted.Text("handed_on_to", name)
	rq.unpin() // no target of ours is asked
	q := &cluster.Request{
		Owner: owner, Principal: rq.who, Endpoint: rq.ep.Path, Method: rq.r.Method, Header: rq.r.Header,
		ID: web.RequestID(rq.r.Context()), Client: web.ClientIP(rq.r),
	}
	if rq.body != nil {
		q.Body = *rq.body
	}
	if id, onLine := rq.lineID(); onLine {
		q.Query = url.Values{lineParam: {id}}.Encode()
	}
	ctx, cancel := context.WithCancel(rq.r.Context())
	defer cancel()
	if rq.r.Method == http.MethodGet { // a stream ends when we stop
		defer whenDone(web.Stopping(ctx), cancel)()
	}
	resp, err := rq.g.o.Copies.HandOn(ctx, q)
	switch {
	case err == nil:
		defer func() { _ = resp.Body.Close() }()
		rq.relay(resp)
		return errAnswered
	case ctx.Err() != nil:
		return errAnswered // the client has left
	case errors.Is(err, cluster.ErrGone):
		rq.g.o.Log.WarnContext(rq.r.Context(), "the copy that owns a session or call is gone", "copy", name, "error", err)
		return err
	}
	return &web.Error{Status: http.StatusBadGateway, Code: "copy_lost", Cause: err,
		Message: "the copy of Gatehouse that owns this was lost on the way; the request may have been executed: check before you repeat it"}
}

// whenDone calls f when a channel is closed, until stop is called.
func whenDone(c <-chan struct{}, f func()) (stop func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-c:
			f()
		case <-over:
		}
	}()
	return func() { close(over) }
}

// relay writes the answer of another copy as it comes. A stream of a session does not outlive the token that opened it.
func (rq *request) relay(resp *http.Response) {
	h := rq.w.Header()
	for _, name := range []string{"Allow", "Cache-Control", "Content-Length", "Content-Type", "Retry-After", "Www-Authenticate", "X-Accel-Buffering"} {
		if v := resp.Header[name]; v != nil {
			h[name] = v
		}
	}
	rq.w.WriteHeader(resp.StatusCode)
	control := http.NewResponseController(rq.w)
	if control.Flush() != nil {
		return
	}
	checked := rq.g.o.Now()
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			if rq.r.Method == http.MethodGet && !rq.stillAllowed(&checked, recheckEvents) {
				return
			}
			if _, err := rq.w.Write(buf[:n]); err != nil || control.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// handedOn is the outcome of a call that another copy records.
const handedOn = "handed on"

// elsewhere has the copy answer that holds a parked call. Without it, the call is lost.
func (rq *request) elsewhere(owner string) string {
	err := rq.handOn(owner)
	switch e, ok := errors.AsType[*web.Error](err); {
	case errors.Is(err, cluster.ErrGone):
		_ = rq.failure(mcp.Errorf(codeLost, "The call was lost with the copy of Gatehouse that held it. It may have been executed: check before you begin anew."))
		return "lost"
	case ok:
		rq.noted.Text("error", e.Error())
		_ = rq.failure(mcp.Errorf(codeLost, "The call was lost on the way to the copy of Gatehouse that held it. It may have been executed: check before you begin anew."))
		return "lost"
	}
	return handedOn
}
