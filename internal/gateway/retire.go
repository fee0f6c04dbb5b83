package gateway

import (
	"context"
	"sync"

	"gatehouse/internal/session"
	"gatehouse/internal/target"
)

// served is a snapshot that is or was in force. It counts the requests that use it, so that its targets are stopped only after
// the last of them.
type served struct {
	endpoints map[string]*endpoint // by path; never changed

	mu      sync.Mutex // guards what follows
	users   int
	retired bool
	idle    chan struct{} // closed when it is retired and without users
}

func newServed(endpoints map[string]*endpoint) *served {
	return &served{endpoints: endpoints, idle: make(chan struct{})}
}

// pin returns the snapshot in force, in use by one more request, which must release it at its end.
func (g *Gateway) pin() *served {
	for {
		if s := g.current.Load(); s.use() {
			return s
		}
	}
}

// use counts one more user. It reports false, and counts none, when the snapshot is no longer in force.
func (s *served) use() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.retired {
		s.users++
	}
	return !s.retired
}

func (s *served) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.checkIdle()
}

func (s *served) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
	s.checkIdle()
}

// checkIdle needs s.mu. A retired snapshot gets no new users, so idle is closed once.
func (s *served) checkIdle() {
	if s.retired && s.users == 0 {
		close(s.idle)
	}
}

// leftover is what a Swap replaced.
type leftover struct {
	*served
	unused chan struct{}
}

// Run closes the upstream sessions of targets that a Swap removed, when the requests that began before have ended,
// until ctx is done.
func (g *Gateway) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		}
		for _, left := range g.takeLeftovers() {
			select {
			case <-ctx.Done():
				return nil
			case <-left.idle:
			}
			g.closeRetired()
			close(left.unused)
		}
	}
}

func (g *Gateway) takeLeftovers() []leftover {
	g.swapping.Lock()
	defer g.swapping.Unlock()
	all := g.leftovers
	g.leftovers = nil
	return all
}

// closeRetired closes, in every session, the connections to targets that are in no endpoint any more. It works on 32 sessions
// at a time, because a target may take a moment to say good-bye.
func (g *Gateway) closeRetired() {
	kept := make(map[any]bool)
	for _, e := range g.current.Load().endpoints {
		for _, t := range e.Targets {
			kept[t] = true
		}
	}
	g.listeners.retain(func(t *target.Target) bool { return kept[t] })
	var wg sync.WaitGroup
	slots := make(chan struct{}, 32)
	g.o.Sessions.Each(func(s *session.Session) {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s.Retain(func(key any) bool { return kept[key] })
		})
	})
	wg.Wait()
}
