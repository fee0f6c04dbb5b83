package gateway

import (
	"net/http"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/web"
)

// get opens the standalone stream of a session, or goes on with a stream that broke (Last-Event-ID).
func (rq *request) get() error {
	if !rq.accept.events {
		return &web.Error{Status: http.StatusNotAcceptable, Code: "not_acceptable", Message: "Accept must allow text/event-stream"}
	}
	if err := rq.admit(""); err != nil {
		return err
	}
	if err := rq.checkRevision(rq.r.Header[headerRevision]); err != nil {
		return err
	}
	if rq.r.Header.Get(headerSession) == "" {
		return rq.openLine()
	}
	if err := rq.find(); err != nil {
		return err
	}
	defer rq.release()
	last := rq.r.Header.Get(headerLast)
	back, ok := rq.s.Resume(last)
	rq.noted.Add("resumed", ok)
	switch {
	case !ok: // no id, or one of an earlier session: begin with what is there
		return rq.follow(rq.s.Standalone().Read())
	case back.Reader == nil:
		return rq.writeEvent(mcp.AppendError(nil, back.Lost, mcp.Errorf(codeLost,
			"The answer is no longer held. The call may have been executed: check before you repeat it.")))
	}
	return rq.follow(back.Reader)
}

// follow writes the events of a stream as they come, until it ends, the client leaves, the session ends, the server
// stops, or the person may no longer listen.
func (rq *request) follow(from *session.Reader) error {
	defer from.Close()
	rq.g.streams.Add(1)
	defer rq.g.streams.Add(-1)
	checked := rq.g.o.Now()
	beginEvents(rq.w)
	var first []byte
	if primed(rq.s.Client().Revision) {
		first = mcp.AppendPriming(nil, from.Position(), retryAfter)
	}
	if writeFlush(rq.w, first) != nil {
		return errAnswered
	}
	beat := time.NewTicker(rq.g.o.Heartbeat)
	defer beat.Stop()
	for {
		events, more := from.Take()
		if len(events) > 0 && !rq.stillAllowed(&checked, recheckEvents) {
			return errAnswered
		}
		for _, e := range events {
			if writeFlush(rq.w, mcp.AppendEvent(nil, e.ID, e.Data)) != nil {
				return errAnswered
			}
		}
		if !more {
			return errAnswered
		}
		select {
		case <-from.Ready():
		case <-beat.C:
			if !rq.stillAllowed(&checked, 0) || writeFlush(rq.w, mcp.AppendComment(nil, "alive")) != nil {
				return errAnswered
			}
		case <-rq.r.Context().Done():
			return errAnswered
		case <-rq.s.Done():
			return errAnswered
		case <-web.Stopping(rq.r.Context()):
			return errAnswered
		}
	}
}

// recheckEvents is how old a check may be when an event is written: nobody hears more than this after being cut off.
const recheckEvents = time.Second

// stillAllowed checks the token and the access rule again, unless that was done within the last while. A stream must
// not outlive the token that opened it.
func (rq *request) stillAllowed(checked *time.Time, within time.Duration) bool {
	now := rq.g.o.Now()
	if now.Sub(*checked) < within {
		return true
	}
	*checked = now
	ep := rq.g.current.Load().endpoints[rq.ep.Path]
	if ep == nil {
		return false
	}
	if !rq.handed { // else the other copy does, and ends the stream
		who, err := ep.Auth.Recheck(rq.r)
		if err != nil || who.Key != rq.who.Key {
			return false
		}
		rq.who = who
	}
	rq.ep = ep
	return rq.decide("", "", "", "").Allow
}
