package session

import (
	"context"
	"errors"
	"slices"
	"sync"

	"gatehouse/internal/mcp"
)

// Upstream is one target's session that serves this session alone.
type Upstream interface {
	Forward(ctx context.Context, m *mcp.Message, name string, inflight func(*mcp.Message)) ([]byte, error)
	Call(ctx context.Context, method string, params []byte, inflight func(*mcp.Message)) ([]byte, error)
	Notify(ctx context.Context, method string, params []byte) error
	Close()
}

// upstream is a place in the table of upstream sessions; ready is closed once conn or err is set.
type upstream struct {
	ready chan struct{}
	conn  Upstream
	err   error
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
			u.conn, u.err = open(ctx)
			close(u.ready)
			if u.err != nil {
				s.Drop(key, nil)
			}
			return u.conn, u.err
		}
		select {
		case <-u.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		// That whoever opened it gave up says nothing about the target: open again.
		if !errors.Is(u.err, context.Canceled) && !errors.Is(u.err, ErrCancelled) {
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

// EachUpstream calls f side by side for the upstream sessions that are open now, and waits. What opens later is told
// the settings then.
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

// Drop forgets the upstream session that key names, if it is still conn, so that the next call opens another. The
// caller closes conn.
func (s *Session) Drop(key any, conn Upstream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.upstreams[key]
	if !ok {
		return
	}
	select {
	case <-u.ready:
		if u.conn == conn {
			delete(s.upstreams, key)
		}
	default:
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

// Setting is something the client asked for that must outlast an upstream session: a log level, a subscription.
type Setting struct {
	Key    any    // of the upstream session that it concerns; nil for every one
	Name   string // a later setting with the same key and name replaces this one
	Method string
	Params []byte
}

// Bounds of what one client can make us remember.
const (
	maxSettings = 256
	maxSetting  = 8 << 10 // bytes
)

// ErrTooManySettings means that the client asked for more than a session remembers.
var ErrTooManySettings = errors.New("session remembers too much already")

// Remember keeps a setting for upstream sessions to come.
func (s *Session) Remember(set Setting) error {
	if len(set.Params) > maxSetting {
		return ErrTooManySettings
	}
	set.Params = slices.Clone(set.Params)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, old := range s.settings {
		if old.Key == set.Key && old.Name == set.Name {
			s.settings[i] = set
			return nil
		}
	}
	if len(s.settings) >= maxSettings {
		return ErrTooManySettings
	}
	s.settings = append(s.settings, set)
	return nil
}

// Forget drops a setting.
func (s *Session) Forget(key any, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = slices.DeleteFunc(s.settings, func(set Setting) bool { return set.Key == key && set.Name == name })
}

// Settings returns what an upstream session that has just been opened must be told.
func (s *Session) Settings(key any) []Setting {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Setting
	for _, set := range s.settings {
		if set.Key == nil || set.Key == key {
			out = append(out, set)
		}
	}
	return out
}
