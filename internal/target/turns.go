package target

import (
	"context"
	"sync"

	"gatehouse/internal/identity"
)

// turns bounds the calls to a target at the same time. Those that wait get their turn by person: each person's first
// call, then each one's second, so that nobody's many calls hold up another's few.
type turns struct {
	mu      sync.Mutex // guards what follows
	free    int
	waiting map[identity.PersonKey][]chan struct{} // by person, in the order in which they came; closed when it is their turn
	order   []identity.PersonKey                   // persons who wait, in the order of their turns
}

// newTurns returns nil, which bounds nothing, for 0.
func newTurns(most int) *turns {
	if most == 0 {
		return nil
	}
	return &turns{free: most, waiting: map[identity.PersonKey][]chan struct{}{}}
}

// take waits for a turn; the caller gives it back.
func (t *turns) take(ctx context.Context, person identity.PersonKey) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	if len(t.waiting[person]) == 0 {
		t.order = append(t.order, person)
	}
	t.waiting[person] = append(t.waiting[person], turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-turn: // it came at the same moment
		t.next()
	default:
		t.forget(person, turn)
	}
	return ctx.Err()
}

// give gives a turn back.
func (t *turns) give() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next()
}

// next hands a turn on. It needs the lock.
func (t *turns) next() {
	if len(t.order) == 0 {
		t.free++
		return
	}
	person := t.order[0]
	t.order = t.order[1:]
	queue := t.waiting[person]
	close(queue[0])
	if len(queue) == 1 {
		delete(t.waiting, person)
		return
	}
	t.waiting[person] = queue[1:]
	t.order = append(t.order, person)
}

// forget takes one who gave up out of the queue. It needs the lock.
func (t *turns) forget(person identity.PersonKey, turn chan struct{}) {
	queue := t.waiting[person]
	for i, one := range queue {
		if one == turn {
			queue = append(queue[:i:i], queue[i+1:]...)
			break
		}
	}
	if len(queue) > 0 {
		t.waiting[person] = queue
		return
	}
	delete(t.waiting, person)
	for i, p := range t.order {
		if p == person {
			t.order = append(t.order[:i:i], t.order[i+1:]...)
			break
		}
	}
}
