package session

import (
	"bytes"
	"context"
	"sync"

	"gatehouse/internal/mcp"
)

// Upstream is one target's session that serves this session alone.
type Upstream interface {
	Forward(ctx context.Context, m *mcp.Message, name string, inflight func(*mcp.Message)) (mcp.Result, error)
	Call(ctx context.Context, method string, params []byte, inflight func(*mcp.Message)) ([]byte, error)
	Notify(ctx context.Context, method string, params []byte) error
	Close()
}

// upstream is a place in the table of upstream sessions; ready is closed once the others are set.
type upstream struct {
	ready chan struct{}
	conn  Upstream
	err   error
	quit  bool // whoever opened it gave up, which says nothing about the target
}

func (u *upstream) opened() bool {
	select {
	case <-u.ready:
		return true
	default:
		return false
	}
}

// Upstream returns the upstream session that key names, opening it on first use; callers that meet share one opening.
// A key stands for one target of one configuration. A failed opening is not remembered.
func (s *Session) Upstream(ctx context.Context, key any, open func(context.Context) (Upstream, error)) (Upstream, error) {
	for {
		u, mine, err := s.reserve(key)
		if err != nil {
			return nil, err
		}
		if mine {
			if u.conn, u.err = open(ctx); u.err != nil {
				u.quit = ctx.Err() != nil
				s.forget(key, u)
			}
			close(u.ready)
			return u.conn, u.err
		}
		if !u.opened() {
			select {
			case <-u.ready:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		if !u.quit {
			return u.conn, u.err
		}
	}
}

func (s *Session) reserve(key any) (u *upstream, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, ErrEnded
	}
	if u, ok := s.upstreams[key]; ok {
		return u, false, nil
	}
	u = &upstream{ready: make(chan struct{})}
	s.upstreams[key] = u
	return u, true, nil
}

// Opened returns the upstream session that key names, nil when it is not open now.
func (s *Session) Opened(key any) Upstream {
	s.mu.Lock()
	u := s.upstreams[key]
	s.mu.Unlock()
	if u == nil {
		return nil
	}
	select {
	case <-u.ready:
		return u.conn
	default:
		return nil
	}
}

// EachUpstream calls f side by side for the upstream sessions that are open now, and waits.
func (s *Session) EachUpstream(f func(Upstream)) {
	var wg sync.WaitGroup
	s.mu.Lock()
	for _, u := range s.upstreams {
		select {
		case <-u.ready:
			if u.conn != nil {
				wg.Go(func() { f(u.conn) })
			}
		default:
		}
	}
	s.mu.Unlock()
	wg.Wait()
}

// forget takes away a place whose opening failed.
func (s *Session) forget(key any, u *upstream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.upstreams[key] == u {
		delete(s.upstreams, key)
	}
}

// Retain closes the upstream sessions whose keys are not kept: their targets left the configuration.
func (s *Session) Retain(keep func(key any) bool) {
	gone := make(map[any]*upstream)
	s.mu.Lock()
	for key, u := range s.upstreams {
		if !keep(key) {
			gone[key] = u
			delete(s.upstreams, key)
		}
	}
	s.mu.Unlock()
	closeAll(gone)
}

// closeAll closes upstream sessions side by side, after those that are still being opened.
func closeAll(all map[any]*upstream) {
	var wg sync.WaitGroup
	for _, u := range all {
		wg.Go(func() {
			<-u.ready
			if u.conn != nil {
				u.conn.Close()
			}
		})
	}
	wg.Wait()
}

// SetLevel keeps the params of the client's latest logging/setLevel for upstream sessions that open later.
func (s *Session) SetLevel(params []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.level = bytes.Clone(params)
}

// Level returns what SetLevel kept, nil when the client never set a level.
func (s *Session) Level() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.level
}
