// Package session owns the state of MCP sessions of the session era (2024-11-05 to 2025-11-25): ids that only their
// person can use, the bounded table of live sessions on this copy, the outgoing streams with their replay rings, calls
// in flight, requests that wait for the client's answer, and upstream sessions opened on first use. What goes over a
// stream, and to whom a request belongs, is the gateway's business; HTTP is not known here.
//
// For the stateless era (2026-07-28) it has standing sessions, which keep a person's upstream sessions between requests
// (standing.go), and calls that are parked until their client comes back with answers (park.go).
//
// Sessions end in one place, Table.end. See docs/adr/0003-session-ownership.md.
package session

import (
	"bytes"
	"container/list"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
)

// Facts say what a new session is to be: whose, at which endpoint, over which transport, and what its client said in
// initialize.
type Facts struct {
	Person   identity.PersonKey
	Endpoint string
	Tied     bool // it is one stream of HTTP+SSE (2024-11-05), and ends with it
	Client
}

// Client is what a client said in initialize.
type Client struct {
	Revision     mcp.Revision
	ClientInfo   []byte // raw JSON
	Capabilities []byte // raw JSON, as the client sent them
}

func (c Client) clone() *client {
	c.ClientInfo, c.Capabilities = bytes.Clone(c.ClientInfo), bytes.Clone(c.Capabilities)
	return &client{c, mcp.ParseClientCapabilities(c.Capabilities)}
}

// client is a Client with its capabilities parsed.
type client struct {
	Client
	can mcp.ClientCapabilities
}

// Errors of the calls of one session.
var (
	ErrDuplicateID  = errors.New("a request with this id is in flight in this session")
	ErrTooManyCalls = errors.New("too many requests are in flight in this session")
	ErrCancelled    = errors.New("the client cancelled the request")
)

// maxCalls bounds the calls in flight of one session.
const maxCalls = 256

// Session is the live part of one session. It is safe for concurrent use. The fields that every call uses stand together at
// the beginning: by the next call a session has left the processor's caches, and so fewer cache lines have to be loaded.
type Session struct {
	Person   identity.PersonKey
	Endpoint string
	Tied     bool // see Facts
	standing bool // see Table.Standing
	client   atomic.Pointer[client]

	// Guarded by the table's mutex.
	using int       // how many requests use it now
	used  time.Time // when a use last began or ended
	moved time.Time // when it was last moved to the front of both lists

	// mu guards what follows.
	mu        sync.Mutex
	closed    bool
	calls     []call // in flight
	upstreams []*upstream
	asks      map[string]*ask    // requests that wait for the client's answer, by our id
	lastAsk   uint64             // the last such id
	level     []byte             // params of logging/setLevel
	streams   map[uint64]*Stream // by number; 0 is the standalone stream
	lastNo    uint64             // the last such number
	names     map[string]string  // what Remember was told

	// Where it stands in the table, whose mutex guards it.
	place    *list.Element // in Table.recent
	own      *list.List    // in Table.byPerson
	ownPlace *list.Element

	ID      string // as handed to the client
	Created time.Time
	key     key           // by which a tombstone knows it
	done    chan struct{} // closed when the session ends
}

// call is a call in flight. A session has few at a time, mostly one, so they stand in a list and not in a map.
type call struct {
	id mcp.ID // the client's
	Canceler
}

// Canceler can be cancelled, with a cause.
type Canceler interface{ Cancel(cause error) }

func newSession(id string, k key, f Facts, now time.Time) *Session {
	s := &Session{
		Person: f.Person, Endpoint: f.Endpoint, Tied: f.Tied, ID: id, Created: now, key: k, done: make(chan struct{}),
		asks: make(map[string]*ask), streams: make(map[uint64]*Stream, 1),
	}
	s.streams[0] = &Stream{tag: s.tag(0, nil)}
	s.client.Store(f.Client.clone())
	return s
}

// Client returns what the client said. The caller does not change it.
func (s *Session) Client() Client { return s.client.Load().Client }

// Introduce notes what the client says when the session has begun already, and closes the upstream sessions that were
// opened for a client of which nothing was known.
func (s *Session) Introduce(c Client) {
	s.client.Store(c.clone())
	s.Retain(func(any) bool { return false })
}

// Capabilities returns what the client said that it can be asked.
func (s *Session) Capabilities() mcp.ClientCapabilities { return s.client.Load().can }

// Can reports whether the client said that it can answer a request.
func (s *Session) Can(m *mcp.Message) bool { return s.client.Load().can.Allows(m.Method, m.Params) }

// Done is closed when the session ends.
func (s *Session) Done() <-chan struct{} { return s.done }

// Bounds of what Remember keeps: targets make up what things are called.
const (
	maxNames = 1000
	maxName  = 4 << 10 // bytes of both
)

// Remember keeps the name by which the client knows something, for Remembered. There is a bound: when there are too many, any
// one of them is forgotten, and very long names are not kept at all.
func (s *Session) Remember(what, name string) {
	if len(what)+len(name) > maxName {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = make(map[string]string)
	}
	if _, known := s.names[what]; !known && len(s.names) == maxNames {
		for other := range s.names {
			delete(s.names, other)
			break
		}
	}
	s.names[what] = name
}

// Remembered returns what Remember was told, empty when nothing.
func (s *Session) Remembered(what string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[what]
}

// callOf returns where a call stands in s.calls, -1 when it is not in flight. It needs s.mu.
func (s *Session) callOf(id mcp.ID) int {
	return slices.IndexFunc(s.calls, func(c call) bool { return bytes.Equal(c.id, id) })
}

// Begin registers a call of the client, so that Cancel and the end of the session reach it. The id is kept until Finish.
func (s *Session) Begin(id mcp.ID, c Canceler) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrEnded
	}
	if s.callOf(id) >= 0 {
		return ErrDuplicateID
	}
	if len(s.calls) >= maxCalls {
		return ErrTooManyCalls
	}
	s.calls = append(s.calls, call{id, c})
	return nil
}

// Finish forgets a call that Begin registered.
func (s *Session) Finish(id mcp.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.callOf(id); i >= 0 {
		last := len(s.calls) - 1
		s.calls[i], s.calls[last] = s.calls[last], call{} // they stand in no order
		s.calls = s.calls[:last]
	}
}

// Cancel cancels a call in flight with ErrCancelled; an id that is not in flight is ignored, as the protocol says.
func (s *Session) Cancel(id mcp.ID) {
	var c Canceler
	s.mu.Lock()
	if i := s.callOf(id); i >= 0 {
		c = s.calls[i].Canceler
	}
	s.mu.Unlock()
	if c != nil {
		c.Cancel(ErrCancelled)
	}
}

// close ends everything that the session holds and waits for its upstream sessions to close.
func (s *Session) close() {
	s.mu.Lock()
	s.closed = true
	close(s.done)
	for _, c := range s.calls {
		c.Cancel(ErrEnded)
	}
	upstreams := s.upstreams
	s.upstreams = nil
	s.mu.Unlock()
	closeAll(upstreams)
}
