package session

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"gatehouse/internal/identity"
)

// Errors of parking.
var (
	ErrTooManyParked = errors.New("too many calls wait for answers")
	ErrNotAnswered   = errors.New("the client did not answer in time")
)

// Parked is a call of the stateless era that is under way at its target, and waits for its client to come back with answers to
// what the target asked.
type Parked interface {
	// Expire ends the call because of cause, and returns when it has ended.
	Expire(cause error)
}

// ParkID names a parked call. A call that is parked again gets another one.
type ParkID [16]byte

// parking holds the calls that wait on this copy. Their number and what they hold in memory are bounded, in all and for
// each person.
type parking struct {
	max, maxOf load
	ending     sync.WaitGroup // one for each call that is here or ends from here

	mu       sync.Mutex // guards what follows
	calls    map[ParkID]*place
	total    load
	byPerson map[identity.PersonKey]load
	stopped  bool
}

// load is a number of calls and the bytes that they hold.
type load struct{ calls, bytes int }

func (l load) with(bytes int) load    { return load{l.calls + 1, l.bytes + bytes} }
func (l load) without(bytes int) load { return load{l.calls - 1, l.bytes - bytes} }
func (l load) above(limit load) bool  { return l.calls > limit.calls || l.bytes > limit.bytes }

type place struct {
	person identity.PersonKey
	call   Parked
	bytes  int
	timer  *time.Timer
}

func newParking(limit, limitOf load) parking {
	return parking{max: limit, maxOf: limitOf, calls: make(map[ParkID]*place), byPerson: make(map[identity.PersonKey]load)}
}

// Park keeps a call until Unpark. If that does not come within wait, the call is ended with ErrNotAnswered. Bytes is how much
// memory the call holds, for the limits. Once Park has returned an id, the table is responsible for ending the call.
func (t *Table) Park(person identity.PersonKey, call Parked, bytes int, wait time.Duration) (ParkID, error) {
	p := &t.parked
	var id ParkID
	rand.Read(id[:]) // never fails: crypto/rand aborts the process instead
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped:
		return id, ErrEnded
	case p.total.with(bytes).above(p.max) || p.byPerson[person].with(bytes).above(p.maxOf):
		return id, ErrTooManyParked
	}
	p.ending.Add(1)
	p.calls[id] = &place{person, call, bytes, time.AfterFunc(wait, func() {
		if at, ok := p.take(id, person); ok {
			at.call.Expire(ErrNotAnswered)
			p.ending.Done()
		}
	})}
	p.total, p.byPerson[person] = p.total.with(bytes), p.byPerson[person].with(bytes)
	return id, nil
}

// Unpark gives a parked call back, once, and only to the person whose call it is.
func (t *Table) Unpark(person identity.PersonKey, id ParkID) (Parked, bool) {
	at, ok := t.parked.take(id, person)
	if !ok {
		return nil, false
	}
	at.timer.Stop()
	t.parked.ending.Done()
	return at.call, true
}

func (p *parking) take(id ParkID, person identity.PersonKey) (*place, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.calls[id]
	if at == nil || at.person != person {
		return nil, false
	}
	p.remove(id, at)
	return at, true
}

// remove takes a call out of the counts. It needs p.mu.
func (p *parking) remove(id ParkID, at *place) {
	delete(p.calls, id)
	p.total = p.total.without(at.bytes)
	if p.byPerson[at.person] = p.byPerson[at.person].without(at.bytes); p.byPerson[at.person].calls == 0 {
		delete(p.byPerson, at.person)
	}
}

// end ends every parked call, all at the same time, waits for them, and lets no more be parked.
func (p *parking) end() {
	p.mu.Lock()
	p.stopped = true
	for id, at := range p.calls {
		p.remove(id, at)
		at.timer.Stop()
		go func() {
			defer p.ending.Done()
			at.call.Expire(ErrEnded)
		}()
	}
	p.mu.Unlock()
	p.ending.Wait()
}

// Parked returns how many calls wait for answers.
func (t *Table) Parked() int {
	t.parked.mu.Lock()
	defer t.parked.mu.Unlock()
	return len(t.parked.calls)
}
