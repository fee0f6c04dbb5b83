package target

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Places are the processes that targets may have, all together and for each person. A target that wants one more when
// there is no room has an idle one stopped, whichever target's, the one that was idle longest first.
type Places struct {
	most, mostPerPerson int

	mu       sync.Mutex // guards what follows
	taken    int
	byPerson map[string]int
	leaving  map[string]int // of those, processes that are being stopped, by person
	freed    chan struct{}  // closed and replaced when a place is given back
	dialers  map[*commandDialer]bool
}

// The bounds when nothing else is said.
const (
	DefaultProcesses          = 256
	DefaultProcessesPerPerson = 32
)

// NewPlaces makes room for so many processes, and so many of one person; 0 stands for the defaults.
func NewPlaces(most, mostPerPerson int) *Places {
	if most == 0 {
		most = DefaultProcesses
	}
	if mostPerPerson == 0 {
		mostPerPerson = DefaultProcessesPerPerson
	}
	return &Places{
		most: most, mostPerPerson: mostPerPerson,
		byPerson: map[string]int{}, leaving: map[string]int{}, freed: make(chan struct{}), dialers: map[*commandDialer]bool{},
	}
}

// Resize changes the bounds. Processes that run already may be more; they are not stopped for it.
func (p *Places) Resize(most, mostPerPerson int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most, p.mostPerPerson = most, mostPerPerson
}

// place is one process's.
type place struct {
	of     *Places
	person string // empty: a target's own, or a shared one

	leaves, given bool // guarded by of.mu: it is being stopped; the place was given back
}

// take returns a place. It waits for one when a process is being stopped to make room.
func (p *Places) take(ctx context.Context, person string) (*place, error) {
	for {
		at, freed, err := p.try(person)
		if at != nil || err != nil {
			return at, err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// try returns a place, or what to wait for.
func (p *Places) try(person string) (*place, <-chan struct{}, error) {
	p.mu.Lock()
	freed := p.freed
	own := person != "" && p.byPerson[person] >= p.mostPerPerson
	if !own && p.taken < p.most {
		defer p.mu.Unlock()
		p.taken++
		p.byPerson[person]++
		return &place{of: p, person: person}, nil, nil
	}
	of := ""
	if own {
		of = person
	}
	coming := p.comingFree(of)
	dialers := make([]*commandDialer, 0, len(p.dialers))
	for d := range p.dialers {
		dialers = append(dialers, d)
	}
	p.mu.Unlock()
	switch {
	case coming || retireIdle(dialers, of):
		return nil, freed, nil
	case own:
		return nil, nil, fmt.Errorf("%w: the person has as many in use as limits.processes_per_person allows", errNoPlace)
	}
	return nil, nil, fmt.Errorf("%w: as many are in use as limits.processes allows", errNoPlace)
}

// errNoPlace means that there may be no more processes.
var errNoPlace = errors.New("no room for another process")

// comingFree reports whether a process, of that person or of anybody, is being stopped. It needs the lock.
func (p *Places) comingFree(person string) bool {
	if person != "" {
		return p.leaving[person] > 0
	}
	return len(p.leaving) > 0
}

// retireIdle stops the process that has been idle longest.
func retireIdle(dialers []*commandDialer, person string) bool {
	var first *commandDialer
	var since time.Time
	for _, d := range dialers {
		if at, ok := d.idleSince(person); ok && (first == nil || at.Before(since)) {
			first, since = d, at
		}
	}
	return first != nil && first.retireIdle(person)
}

// leave says that the process is being stopped, so that whoever needs a place may wait for this one.
func (at *place) leave() {
	at.of.mu.Lock()
	defer at.of.mu.Unlock()
	if !at.leaves && !at.given {
		at.leaves = true
		at.of.leaving[at.person]++
	}
}

// free gives the place back, once.
func (at *place) free() {
	p := at.of
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.given {
		return
	}
	at.given = true
	p.taken--
	if p.byPerson[at.person]--; p.byPerson[at.person] == 0 {
		delete(p.byPerson, at.person)
	}
	if at.leaves {
		if p.leaving[at.person]--; p.leaving[at.person] == 0 {
			delete(p.leaving, at.person)
		}
	}
	close(p.freed)
	p.freed = make(chan struct{})
}

// join has a dialer's idle processes make way for others, until it leaves.
func (p *Places) join(d *commandDialer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dialers[d] = true
}

func (p *Places) part(d *commandDialer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.dialers, d)
}
