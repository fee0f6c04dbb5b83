package session

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"gatehouse/internal/mcp"
)

// Upstream is a connection to one target that serves one session alone. The gateway makes it of a target.Conn, which says what
// the methods do.
type Upstream interface {
	Forward(ctx context.Context, m *mcp.Message, name string, inflight func(*mcp.Message)) (*mcp.Result, error)
	Call(ctx context.Context, method string, params []byte, inflight func(*mcp.Message)) ([]byte, error)
	Notify(ctx context.Context, method string, params []byte) error
	Close()
}

// upstream is the place of one upstream session in Session.upstreams.
type upstream struct {
	key   any
	ready chan struct{} // closed once conn, err and quit are set
	conn  Upstream
	err   error
	quit  bool // the caller that opened it gave up, so others that wait for it try for themselves
	open  bool // conn is set; the session's mutex guards it
}

// Upstream returns the upstream session that key names, and opens it on first use. Callers that come while it is being opened
// wait for that one opening. A failure is not remembered. A key stands for one target of one configuration.
func (s *Session) Upstream(ctx context.Context, key any, open func(context.Context) (Upstream, error)) (Upstream, error) {
	for {
		u, mine, err := s.reserve(key)
		switch {
		case err != nil:
			return nil, err
		case mine:
			u.conn, u.err = open(ctx)
			u.quit = u.err != nil && ctx.Err() != nil
			s.settle(u)
			return u.conn, u.err
		}
		select {
		case <-u.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if !u.quit {
			return u.conn, u.err
		}
	}
}

// reserve returns the place of a key. If there is none it makes one; then mine is true, and the caller must open it and call
// settle.
func (s *Session) reserve(key any) (u *upstream, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, ErrEnded
	}
	if u := s.placeOf(key); u != nil {
		return u, false, nil
	}
	u = &upstream{key: key, ready: make(chan struct{})}
	s.upstreams = append(s.upstreams, u)
	return u, true, nil
}

// placeOf returns the place of a key, nil when there is none. It needs s.mu.
func (s *Session) placeOf(key any) *upstream {
	for _, u := range s.upstreams {
		if u.key == key {
			return u
		}
	}
	return nil
}

// settle ends an opening. A place whose opening failed is taken away.
func (s *Session) settle(u *upstream) {
	s.mu.Lock()
	u.open = u.err == nil
	if !u.open {
		s.upstreams = slices.DeleteFunc(s.upstreams, func(other *upstream) bool { return other == u })
	}
	s.mu.Unlock()
	close(u.ready)
}

// Opened returns the upstream session that key names, nil when it is not open now.
func (s *Session) Opened(key any) Upstream {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.placeOf(key); u != nil && u.open {
		return u.conn
	}
	return nil
}

// EachUpstream calls f side by side for the upstream sessions that are open now, and waits.
func (s *Session) EachUpstream(f func(Upstream)) {
	var wg sync.WaitGroup
	s.mu.Lock()
	for _, u := range s.upstreams {
		if u.open {
			wg.Go(func() { f(u.conn) })
		}
	}
	s.mu.Unlock()
	wg.Wait()
}

// Retain closes the upstream sessions whose keys are not to be kept, and waits for them.
func (s *Session) Retain(keep func(key any) bool) {
	var gone []*upstream
	s.mu.Lock()
	s.upstreams = slices.DeleteFunc(s.upstreams, func(u *upstream) bool {
		if keep(u.key) {
			return false
		}
		gone = append(gone, u)
		return true
	})
	s.mu.Unlock()
	closeAll(gone)
}

// closeAll closes upstream sessions side by side, after those that are still being opened.
func closeAll(all []*upstream) {
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
