package gateway

import (
	"errors"
	"maps"
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

	mu       sync.Mutex // guards what follows, and each tally
	total    int
	byPerson map[identity.PersonKey]*tally // also of people who have no call now, while there are not too many of them
}

// tally is how many calls of one person are in flight.
type tally struct{ calls int }

// enter takes a place for a call of the person, or says why there is none: 429 when the person has too many, 503 when
// all people together have. Whoever was let in gives the person's tally to leave.
func (f *inflight) enter(who identity.PersonKey) (*tally, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	own := f.byPerson[who]
	if own == nil {
		own = f.add(who)
	}
	switch {
	case own.calls >= f.maxPerPerson:
		return nil, &web.Error{Status: http.StatusTooManyRequests, Code: "too_many_calls", RetryAfter: time.Second,
			Message: "too many of your calls are under way; wait for some of them to end"}
	case f.total >= f.max:
		return nil, &web.Error{Status: http.StatusServiceUnavailable, Code: "busy", RetryAfter: time.Second,
			Message: "too many calls are under way; try again shortly"}
	}
	f.total++
	own.calls++
	return own, nil
}

// add begins the tally of a person. When there are many, those without a call are forgotten. It needs f.mu.
func (f *inflight) add(who identity.PersonKey) *tally {
	if len(f.byPerson) >= 2*f.max {
		maps.DeleteFunc(f.byPerson, func(_ identity.PersonKey, t *tally) bool { return t.calls == 0 })
	}
	if f.byPerson == nil {
		f.byPerson = make(map[identity.PersonKey]*tally)
	}
	own := &tally{}
	f.byPerson[who] = own
	return own
}

// leave gives the place back.
func (f *inflight) leave(own *tally) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	own.calls--
}

func (f *inflight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// takePlace takes a place among the calls in flight, if there is one and the call can be recorded. Whoever runs the call, or
// drops it, must give the place back with leavePlace.
func (rq *request) takePlace() error {
	place, err := rq.g.calls.enter(rq.who.Key)
	if err != nil {
		return err
	}
	rq.place = place
	if err := rq.g.o.Audit.Ready(rq.r.Context()); err != nil {
		rq.leavePlace()
		return unrecordable(err)
	}
	return nil
}

// leavePlace gives the place back, if there is one.
func (rq *request) leavePlace() {
	if rq.place != nil {
		rq.g.calls.leave(rq.place)
		rq.place = nil
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
