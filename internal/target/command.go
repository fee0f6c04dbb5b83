package target

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
)

// commandDialer keeps the processes of a target that is a command: one for each person and set of client
// capabilities, shared by that person's sessions, and one for the target's own catalogue, which belongs to nobody.
type commandDialer struct {
	t        *Target
	sessions atomic.Bool // its server is known to be of the session era

	mu     sync.Mutex // guards what follows and the fields of slots
	slots  map[slotKey]*slot
	closed bool
	work   sync.WaitGroup // starts and stops on their way; Add only under mu, before closed
}

// slotKey says who shares a process.
type slotKey struct {
	person       string // empty: the target's own; sharedSlot: everybody's
	capabilities [sha256.Size]byte
}

// slot is the place of one process, also while there is none.
type slot struct {
	key      slotKey
	process  *process
	starting *start
	links    int
	idle     *time.Timer // runs while there are no links
	since    time.Time   // when the last link went

	failures  int       // in a row
	notBefore time.Time // when the next start may be tried
}

// start is one attempt that several connections may wait for.
type start struct {
	give    context.CancelCauseFunc // gives it up
	done    chan struct{}
	process *process
	err     error
}

func newCommandDialer(t *Target) *commandDialer {
	d := &commandDialer{t: t, slots: map[slotKey]*slot{}}
	t.opt.Command.Places.join(d)
	return d
}

// sharedSlot is no person's key: those begin with an issuer.
const sharedSlot = "*"

func (d *commandDialer) key(c *Conn) slotKey {
	if c.caller.Principal != nil && d.t.opt.Command.Shared {
		return slotKey{person: sharedSlot}
	}
	k := slotKey{capabilities: sha256.Sum256(mcp.RelayedClientCapabilities(c.caller.Capabilities))}
	if c.caller.Principal != nil {
		k.person = c.caller.Principal.Key.String()
	}
	return k
}

func (d *commandDialer) dial(ctx context.Context, c *Conn) (link, error) {
	s, st, err := d.claim(ctx, c)
	if err != nil {
		return nil, err
	}
	select {
	case <-st.done:
	case <-ctx.Done():
		d.release(s)
		return nil, ctx.Err()
	}
	if st.err != nil {
		d.release(s)
		return nil, st.err
	}
	l := &commandLink{d: d, c: c, slot: s, process: st.process}
	c.setServer(st.process.server)
	st.process.attach(l)
	if !st.process.stateless {
		return l, nil
	}
	sl := &statelessLink{via: &processCarrier{st.process, l}, c: c}
	sl.begin(ctx)
	return sl, nil
}

// claim takes a place at the process that a connection belongs to, and starts the process when there is none.
func (d *commandDialer) claim(ctx context.Context, c *Conn) (*slot, *start, error) {
	key := d.key(c)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, d.t.trouble(Down, errClosed)
	}
	s := d.slots[key]
	if s == nil {
		d.forgetEmpty()
		if err := d.makeRoom(key.person); err != nil {
			return nil, nil, d.t.trouble(Down, err)
		}
		s = &slot{key: key}
		d.slots[key] = s
	}
	if s.process != nil && s.process.ended() {
		s.process = nil
	}
	if s.process == nil && s.starting == nil {
		if wait := time.Until(s.notBefore); wait > 0 {
			return nil, nil, d.t.trouble(Down, fmt.Errorf("the command failed %d times in a row; the next start is tried in %s", s.failures, wait.Round(time.Millisecond)))
		}
		starting, give := context.WithCancelCause(context.WithoutCancel(ctx))
		st := &start{give: give, done: make(chan struct{})}
		s.starting = st
		d.work.Go(func() { d.start(starting, s, st, c) })
	}
	s.links++
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	if s.starting != nil {
		return s, s.starting, nil
	}
	ready := &start{done: make(chan struct{}), process: s.process}
	close(ready.done)
	return s, ready, nil
}

func (d *commandDialer) start(ctx context.Context, s *slot, st *start, c *Conn) {
	defer st.give(nil)
	ctx, cancel := context.WithTimeoutCause(ctx, d.t.opt.Command.StartTimeout, errTimeout)
	defer cancel()
	p, err := d.launch(ctx, s.key, c)
	if err != nil {
		err = d.t.explain(ctx, err)
	}
	d.mu.Lock()
	s.starting = nil
	switch {
	case errors.Is(err, errNoPlace): // not the command's fault
	case err != nil:
		s.failed()
	default:
		s.process = p
		d.work.Go(func() { d.watch(s, p) })
		if s.links == 0 && s.idle == nil {
			d.retire(s) // all who waited have gone
		}
	}
	d.mu.Unlock()
	st.process, st.err = p, err
	close(st.done)
}

// steadyProcess is how long a process has to live for its end to count as the first failure.
const steadyProcess = time.Minute

// watch notes the end of a process that nobody asked to stop.
func (d *commandDialer) watch(s *slot, p *process) {
	<-p.gone
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.process != p {
		return
	}
	s.process = nil
	if time.Since(p.started) > steadyProcess {
		s.failures = 0
	}
	s.failed()
	d.t.opt.Log.Warn("target process ended", "error", p.reason())
	d.t.catalog.stale()
}

// failed counts a failure: the first may be tried again at once, the next ones later and later.
func (s *slot) failed() {
	s.failures++
	s.notBefore = time.Now()
	if s.failures > 1 {
		s.notBefore = s.notBefore.Add(min(time.Second<<min(s.failures-2, 10), longestWait))
	}
}

// release gives a place back. The last one to go starts the idle timer; the target's own process stops at once.
func (d *commandDialer) release(s *slot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.links--
	if s.links > 0 || d.closed {
		return
	}
	if s.key.person == "" {
		d.retire(s)
		return
	}
	s.since = time.Now()
	s.idle = time.AfterFunc(d.t.opt.Command.IdleTimeout, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		s.idle = nil
		if s.links == 0 && !d.closed {
			d.retire(s)
		}
	})
}

// retire stops the process of a slot that nobody uses. The slot stays when it has to remember failures. It is called
// with the lock held.
func (d *commandDialer) retire(s *slot) {
	p := s.process
	s.process = nil
	if s.failures == 0 && s.starting == nil && d.slots[s.key] == s {
		delete(d.slots, s.key)
	}
	if p != nil {
		p.at.leave()
		d.work.Go(p.stop)
	}
}

// running counts the processes.
func (d *commandDialer) running() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.slots {
		if s.process != nil && !s.process.ended() {
			n++
		}
	}
	return n
}

// idleSince returns since when the process that has been idle longest is, of that person or of anybody.
func (d *commandDialer) idleSince(person string) (since time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.longestIdle(person); s != nil {
		return s.since, true
	}
	return time.Time{}, false
}

// retireIdle stops the process that has been idle longest, of that person or of anybody, so that another has room.
func (d *commandDialer) retireIdle(person string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.longestIdle(person)
	if s == nil || d.closed {
		return false
	}
	d.retire(s)
	return true
}

// longestIdle is called with the lock held.
func (d *commandDialer) longestIdle(person string) *slot {
	var first *slot
	for _, s := range d.slots {
		if s.links == 0 && s.process != nil && (person == "" || s.key.person == person) && (first == nil || s.since.Before(first.since)) {
			first = s
		}
	}
	return first
}

// forgetEmpty drops slots that have nothing left to remember. It is called with the lock held.
func (d *commandDialer) forgetEmpty() {
	for key, s := range d.slots {
		if s.process == nil && s.starting == nil && s.links == 0 && time.Since(s.notBefore) > steadyProcess {
			delete(d.slots, key)
		}
	}
}

// Bounds of slots, against a person whose clients claim ever new capabilities, and against too many persons. Slots that
// remember failures count, so that a command that fails is not started ever more often; Places bound the processes.
const (
	maxSlotsPerPerson = 8
	maxSlots          = 4096
)

// makeRoom gives up an idle slot, a person's own when that person has many, or refuses. It is called with the lock held.
func (d *commandDialer) makeRoom(person string) error {
	theirs := 0
	for key := range d.slots {
		if key.person == person {
			theirs++
		}
	}
	own := theirs >= maxSlotsPerPerson
	if !own && len(d.slots) < maxSlots {
		return nil
	}
	of := ""
	if own {
		of = person
	}
	if s := d.longestIdle(of); s != nil && s.failures == 0 {
		d.retire(s)
		return nil
	}
	if own {
		return fmt.Errorf("the person has %d processes in use already, one for each kind of client", theirs)
	}
	return fmt.Errorf("%d processes are in use already", len(d.slots))
}

// close stops all processes and waits for them.
func (d *commandDialer) close() {
	d.t.opt.Command.Places.part(d)
	d.mu.Lock()
	d.closed = true
	var pending []*start
	for _, s := range d.slots {
		if s.idle != nil {
			s.idle.Stop()
		}
		if s.starting != nil {
			s.starting.give(errClosed)
			pending = append(pending, s.starting)
		}
		d.retire(s)
	}
	d.mu.Unlock()
	for _, st := range pending {
		<-st.done
		if st.process != nil {
			st.process.stop()
		}
	}
	d.work.Wait()
	if d.t.opt.Command.ownScratch {
		if err := d.t.opt.Command.Scratch.Remove(); err != nil {
			d.t.opt.Log.Warn("directory of commands not removed", "error", err)
		}
	}
}

// commandLink is one connection's place at a process.
type commandLink struct {
	d       *commandDialer
	c       *Conn
	slot    *slot
	process *process
}

func (l *commandLink) request(m *mcp.Message, name string) *request {
	r := sessionRequest(l.process.ids.Add(1), m, name, nil)
	if l.process.shared && m.Method == mcp.MethodUnsubscribe {
		r.body = nil // others may still want to hear of it; this connection does not any more
	}
	return r
}

func (l *commandLink) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	l.process.touch(l)
	if r.body == nil {
		return mcp.ParseResult([]byte("{}")), nil
	}
	return l.process.exchange(ctx, r)
}

func (l *commandLink) send(ctx context.Context, body []byte) error { return l.process.send(ctx, body) }

func (l *commandLink) end(context.Context) {
	l.process.detach(l)
	l.d.release(l.slot)
}
