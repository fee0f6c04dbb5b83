package session

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
)

// Errors of Create and Use. A client learns only that its session is not there.
var (
	ErrUnknown = errors.New("session is unknown here, or belongs to somebody else")
	ErrEnded   = errors.New("session has ended")
	ErrFull    = errors.New("session table is full of sessions in use")
	ErrTooMany = errors.New("person has too many sessions in use")
)

// ElsewhereError means that a genuine session of this person lives on another copy.
type ElsewhereError struct{ Owner string }

func (e *ElsewhereError) Error() string { return "session lives on copy " + e.Owner }

// Options set up a Table. Zero numbers mean the defaults.
type Options struct {
	Box          *seal.Box // of Purpose
	Owner        string    // name of this copy
	Max          int       // live sessions; 10,000
	MaxPerPerson int       // live sessions of one person; 128
	Idle         time.Duration
	Absolute     time.Duration
	MaxParked    int // calls that wait for answers; 1,024
	MaxParkedOf  int // of one person; 32
	MaxParkedMem int // bytes that they hold; 256 MiB, of which one person may take a sixteenth
	Now          func() time.Time
	Log          *slog.Logger
}

const (
	defaultMax          = 10_000
	defaultMaxPerPerson = 128
	defaultIdle         = time.Hour
	defaultAbsolute     = 24 * time.Hour
	defaultMaxParked    = 1024
	defaultMaxParkedOf  = 32
	defaultMaxParkedMem = 256 << 20
	sweepEvery          = 30 * time.Second
	maxOwner            = 320 // a name and an address
)

func (o *Options) validate() error {
	switch {
	case o.Box == nil:
		return errors.New("session table: no seal box given")
	case len(o.Owner) > maxOwner:
		return fmt.Errorf("session table: the name of this copy has %d bytes; keep it under %d", len(o.Owner), maxOwner)
	case o.Max < 0 || o.MaxPerPerson < 0 || o.Idle < 0 || o.Absolute < 0 || o.MaxParked < 0 || o.MaxParkedOf < 0 || o.MaxParkedMem < 0:
		return errors.New("session table: limits must not be negative")
	}
	o.Max = cmp.Or(o.Max, defaultMax)
	o.MaxPerPerson = cmp.Or(o.MaxPerPerson, defaultMaxPerPerson)
	o.MaxParked = cmp.Or(o.MaxParked, defaultMaxParked)
	o.MaxParkedOf = cmp.Or(o.MaxParkedOf, defaultMaxParkedOf)
	o.MaxParkedMem = cmp.Or(o.MaxParkedMem, defaultMaxParkedMem)
	o.Idle = cmp.Or(o.Idle, defaultIdle)
	o.Absolute = cmp.Or(o.Absolute, defaultAbsolute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Table holds the live part of this copy's sessions.
type Table struct {
	o       Options
	closing sync.WaitGroup // upstream sessions being closed
	parked  parking

	// mu guards what follows and the fields of Session that say so.
	mu       sync.Mutex
	live     map[string]*Session               // by sealed id
	byPerson map[identity.PersonKey]*list.List // like recent, but the sessions of one person
	recent   *list.List                        // of *Session, the most recently used first; exact to orderEvery
	ended    map[key]time.Time                 // tombstones of sessions that have ended, and until when they stay
	stopped  bool
}

// New makes an empty table.
func New(o Options) (*Table, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Table{
		parked: newParking(load{o.MaxParked, o.MaxParkedMem}, load{o.MaxParkedOf, o.MaxParkedMem / 16}),
		o:      o, live: make(map[string]*Session), byPerson: make(map[identity.PersonKey]*list.List),
		recent: list.New(), ended: make(map[key]time.Time),
	}, nil
}

// Create begins a session, which is in use until Release. When there is no room, it ends the session that has not been used
// for longest; sessions that are in use now are never ended for that.
func (t *Table) Create(f Facts) (*Session, error) {
	now := t.o.Now()
	tk := newTicket(f, t.o.Owner, now)
	id := t.o.Box.SealString(tk.encode(), boundTo(f.Person, f.Endpoint))
	s := newSession(id, tk.key, f, now)

	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.admit(s, now); err != nil {
		return nil, err
	}
	return s, nil
}

// admit puts a session into the table, in use, and makes room for it if need be. It needs t.mu.
func (t *Table) admit(s *Session, now time.Time) error {
	if t.stopped {
		return ErrFull
	}
	// A person at the limit loses one of their own sessions. The list by person finds it without a walk through the sessions of
	// everybody, whose calls wait for the lock meanwhile.
	if own := t.byPerson[s.Person]; own != nil && own.Len() >= t.o.MaxPerPerson && !t.evict(own) {
		return ErrTooMany
	}
	if len(t.live) >= t.o.Max && !t.evict(t.recent) {
		return ErrFull
	}
	s.used, s.moved, s.using = now, now, 1
	s.place = t.recent.PushFront(s)
	if s.own = t.byPerson[s.Person]; s.own == nil {
		s.own = list.New()
		t.byPerson[s.Person] = s.own
	}
	s.ownPlace = s.own.PushFront(s)
	t.live[s.ID] = s
	return nil
}

// orderEvery is how exactly the lists know which session was used before which. A session is not moved to their fronts more
// often than that, because each move writes to its four neighbours.
const orderEvery = time.Second

// hold puts a session in use. It needs t.mu.
func (t *Table) hold(s *Session, now time.Time) {
	s.used = now
	s.using++
	if now.Sub(s.moved) >= orderEvery {
		s.moved = now
		t.recent.MoveToFront(s.place)
		s.own.MoveToFront(s.ownPlace)
	}
}

// Use finds the session that id names and holds it in use until Release. Only the person and the endpoint that it
// was made for can have it; for anybody else it is unknown.
func (t *Table) Use(id string, person identity.PersonKey, endpoint string) (*Session, error) {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.live[id]
	switch {
	case !ok:
		return nil, t.whyNot(id, person, endpoint)
	case s.Person != person || s.Endpoint != endpoint:
		return nil, ErrUnknown
	case t.expired(s, now):
		t.end(s, "expired")
		return nil, ErrEnded
	}
	t.hold(s, now)
	return s, nil
}

// Hold begins one more use of a session that is in use.
func (t *Table) Hold(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hold(s, t.o.Now())
}

// Release ends one use that Create, Use, Standing or Hold began.
func (t *Table) Release(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.using--
	s.used = t.o.Now()
}

// Delete ends a session at the client's wish.
func (t *Table) Delete(s *Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end(s, "deleted")
}

// Each calls f for every live session, outside the table's lock.
func (t *Table) Each(f func(*Session)) {
	t.mu.Lock()
	all := make([]*Session, 0, len(t.live))
	for _, s := range t.live {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}

// Len returns the number of live sessions.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live)
}

// Run ends what has expired until ctx is done, then ends every parked call and every session and waits for their upstream
// sessions to close.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.Sweep()
		case <-ctx.Done():
			t.parked.end()
			t.EndAll()
			t.closing.Wait()
			return nil
		}
	}
}

// Sweep ends sessions that have expired, and forgets tombstones whose session ids would have expired by now.
func (t *Table) Sweep() {
	now := t.o.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.live {
		if t.expired(s, now) {
			t.end(s, "expired")
		} else {
			s.dropOldStreams(now)
		}
	}
	for k, until := range t.ended {
		if now.After(until) {
			delete(t.ended, k)
		}
	}
}

// EndAll ends all sessions, for the program stops, and what waits in them. No other begins.
func (t *Table) EndAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	for _, s := range t.live {
		t.end(s, "stopping")
	}
}

// expired reports whether a session has been idle for too long, or is too old. One in use is not idle. A standing session has
// no limit of age, because no client holds its id. It needs t.mu.
func (t *Table) expired(s *Session, now time.Time) bool {
	return !s.standing && now.Sub(s.Created) >= t.o.Absolute || s.using == 0 && now.Sub(s.used) >= t.o.Idle
}

// evict ends the least recently used session of a list that is not in use now, and reports whether there was one. It needs
// t.mu.
func (t *Table) evict(recent *list.List) bool {
	for e := recent.Back(); e != nil; e = e.Prev() {
		if s := e.Value.(*Session); s.using == 0 {
			t.end(s, "evicted")
			return true
		}
	}
	return false
}

// end takes a session out of the table, and closes it on a goroutine that Run waits for. It needs t.mu.
func (t *Table) end(s *Session, why string) {
	if t.live[s.ID] != s {
		return
	}
	delete(t.live, s.ID)
	t.recent.Remove(s.place)
	if s.own.Remove(s.ownPlace); s.own.Len() == 0 {
		delete(t.byPerson, s.Person)
	}
	t.bury(s)
	t.o.Log.Debug("session ended", "reason", why, "endpoint", s.Endpoint, "age_s", int(t.o.Now().Sub(s.Created).Seconds()))
	t.closing.Go(s.close)
}

// bury leaves a tombstone, so that the log can tell an ended session from an unknown one. Their number is bounded; a client
// sees no difference.
func (t *Table) bury(s *Session) {
	if !s.standing && len(t.ended) < 4*t.o.Max {
		t.ended[s.key] = s.Created.Add(t.o.Absolute)
	}
}

// whyNot returns the error for an id that is not in the table: the session lives on another copy, has ended, or the id is not
// one that this person was given for this endpoint. It needs t.mu.
func (t *Table) whyNot(id string, person identity.PersonKey, endpoint string) error {
	plain, err := t.o.Box.OpenString(id, boundTo(person, endpoint))
	if err != nil {
		return ErrUnknown
	}
	tk, ok := decodeTicket(plain)
	if !ok {
		return ErrUnknown
	}
	if tk.owner != t.o.Owner {
		return &ElsewhereError{Owner: tk.owner}
	}
	if _, buried := t.ended[tk.key]; buried {
		return ErrEnded
	}
	return ErrUnknown
}
