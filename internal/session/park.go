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

// Parked is a call under way that waits for its client, of the stateless era, to come back with answers.
type Parked interface {
	// Expire ends the call because of cause, and returns when it has ended.
	Expire(cause error)
}

// ParkID names one waiting of a call. A call that waits again gets another.
type ParkID [16]byte

// parking holds the calls that wait on this copy. Their number is bounded, in all and for each person.
type parking struct {
	max, maxOf int
	ending     sync.WaitGroup // one for each call that is here or ends from here

	mu       sync.Mutex // guards what follows
	calls    map[ParkID]*place
	byPerson map[identity.PersonKey]int
	stopped  bool
}

type place struct {
	person identity.PersonKey
	call   Parked
	timer  *time.Timer
}

func newParking(limit, limitOf int) parking {
	return parking{max: limit, maxOf: limitOf, calls: make(map[ParkID]*place), byPerson: make(map[identity.PersonKey]int)}
}

// Park keeps a call until Unpark, or ends it after a while with ErrNotAnswered. Once Park has returned an id, the call
// belongs to the table.
func (t *Table) Park(person identity.PersonKey, call Parked, wait time.Duration) (ParkID, error) {
	p := &t.parked
	var id ParkID
	rand.Read(id[:]) // never fails: crypto/rand aborts the process instead
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stopped:
		return id, ErrEnded
	case len(p.calls) >= p.max || p.byPerson[person] >= p.maxOf:
		return id, ErrTooManyParked
	}
	p.ending.Add(1)
	p.calls[id] = &place{person, call, time.AfterFunc(wait, func() {
		if at, ok := p.take(id, person); ok {
			at.call.Expire(ErrNotAnswered)
			p.ending.Done()
		}
	})}
	p.byPerson[person]++
	return id, nil
}

// Unpark takes a call back that waits for this person. It can be had once.
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

// remove needs p.mu.
func (p *parking) remove(id ParkID, at *place) {
	delete(p.calls, id)
	if p.byPerson[at.person]--; p.byPerson[at.person] == 0 {
		delete(p.byPerson, at.person)
	}
}

// end ends every call that waits, side by side, and lets no more come.
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
