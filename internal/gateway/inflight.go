package gateway

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// Calls in flight, each of which holds its message and a place at its target, are bounded: in all, and for each
// person, so that nobody crowds the others out.
const (
	defaultMaxCalls          = 4096
	defaultMaxCallsPerPerson = 256
)

// inflight counts calls in flight.
type inflight struct {
	max, maxPerPerson int

	mu       sync.Mutex // guards what follows
	total    int
	byPerson map[identity.PersonKey]int
}

// enter takes a place for a call of the person, or says why there is none: 429 when the person has too many, 503 when
// all people together have. The caller leaves when it was let in.
func (f *inflight) enter(who identity.PersonKey) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.byPerson[who]
	switch {
	case own >= f.maxPerPerson:
		return &web.Error{Status: http.StatusTooManyRequests, Code: "too_many_calls", RetryAfter: time.Second,
			Message: "too many of your calls are under way; wait for some of them to end"}
	case f.total >= f.max:
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "busy", RetryAfter: time.Second,
			Message: "too many calls are under way; try again shortly"}
	}
	if f.byPerson == nil {
		f.byPerson = make(map[identity.PersonKey]int)
	}
	f.total++
	f.byPerson[who] = own + 1
	return nil
}

// leave gives the place back.
func (f *inflight) leave(who identity.PersonKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if own := f.byPerson[who]; own > 1 {
		f.byPerson[who] = own - 1
	} else {
		delete(f.byPerson, who)
	}
}

func (f *inflight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// takePlace takes a place among the calls in flight, if there is one and the call can be recorded. Whoever runs the call, or
// drops it, must give the place back with leavePlace.
func (rq *request) takePlace() error {
	if err := rq.g.calls.enter(rq.who.Key); err != nil {
		return err
	}
	rq.placed = true
	if err := rq.g.o.Audit.Ready(rq.r.Context()); err != nil {
		rq.leavePlace()
		return unrecordable(err)
	}
	return nil
}

// leavePlace gives the place back, if there is one.
func (rq *request) leavePlace() {
	if rq.placed {
		rq.placed = false
		rq.g.calls.leave(rq.who.Key)
	}
}

// takePlaceAtTarget is takePlace for a call that goes to a target. In the stateless era it also sets the person's standing
// session, which owns the connection to the target.
func (rq *request) takePlaceAtTarget() error {
	if err := rq.takePlace(); err != nil || !rq.modern {
		return err
	}
	if err := rq.stand(); err != nil {
		rq.leavePlace()
		return err
	}
	return nil
}

// unrecordable is what is said when Audit.Ready fails. Nothing is, when that is because the client left while it waited.
func unrecordable(err error) error {
	if !errors.Is(err, audit.ErrUnavailable) {
		return err
	}
	return &web.Error{Status: http.StatusServiceUnavailable, Code: "audit_unavailable", Message: "calls cannot be recorded at the moment, so none is made", Cause: err}
}
