package target

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/internal/mcp"
)

// dialer opens links of one kind: over HTTP, to a command, to the demo.
type dialer interface {
	dial(ctx context.Context, c *Conn) (link, error)
	close() // stops what outlives links, such as processes, and waits
}

// link is one upstream session that has been initialised. A Conn has one link at a time; several links may share a process.
type link interface {
	request(m *mcp.Message, name string) *request                  // builds a request; its id, also used as progress token, is unique in the session
	exchange(ctx context.Context, r *request) (*mcp.Result, error) // sends a request and returns its result; an error in the response is an *mcp.Error
	send(ctx context.Context, body []byte) error                   // sends a notification or a response
	end(ctx context.Context)                                       // ends what belongs to this connection, and waits
}

// errSessionGone means that the upstream session has ended and the request was certainly not executed.
var errSessionGone = errors.New("the upstream session has ended")

// Conn is the connection of one client session to one target: over HTTP, an upstream session of its own; for a command, a
// share in the person's process. When the upstream session is lost, the next call opens a new one. A Conn is safe for
// concurrent use.
type Conn struct {
	t      *Target
	caller Caller
	can    mcp.ClientCapabilities // the caller's, parsed
	events Events

	dialing chan struct{} // has room for one token: whoever has put one in may open a link

	mu      sync.Mutex // guards what follows
	link    link       // nil until opened, and after it was lost
	closed  bool
	calls   *clock // a list of the clocks of all calls under way, the latest first
	alarm   alarm  // the timer of those clocks
	server  Server
	lasting map[string]mcp.Message        // what a new upstream session has to be told again: subscriptions, the log level
	asked   map[string]context.CancelFunc // requests of the server that are being answered, by id
	working sync.WaitGroup                // goroutines of this connection; Add only under mu, before closed
}

// Server is what an upstream said about itself in its answer to initialize.
type Server struct {
	Revision     mcp.Revision
	Capabilities []byte // raw JSON
	Info         []byte // raw JSON
	Instructions string

	bothEras bool // it says that it serves sessions and the stateless era
}

// Connect opens a connection for one client session and initialises it. The error is an *mcp.Error or a *Trouble.
func (t *Target) Connect(ctx context.Context, caller Caller, events Events) (*Conn, error) {
	c := &Conn{
		t:       t,
		caller:  caller,
		can:     mcp.ParseClientCapabilities(caller.Capabilities),
		events:  events,
		dialing: make(chan struct{}, 1),
		lasting: map[string]mcp.Message{},
		asked:   map[string]context.CancelFunc{},
	}
	ctx, clock := c.beginFor(ctx, t.opt.connectTimeout(), t.opt.connectTimeout())
	defer c.finish(clock)
	if _, err := c.open(ctx); err != nil {
		c.mu.Lock()
		c.silence() // nobody will close it
		c.mu.Unlock()
		return nil, t.told(t.explain(ctx, err))
	}
	return c, nil
}

func (o *Options) connectTimeout() time.Duration {
	if o.Command != nil {
		return max(o.Command.StartTimeout, o.Timeout)
	}
	return o.Timeout
}

// Server returns what the upstream said when the connection was last initialised.
func (c *Conn) Server() Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

// open returns the link. If there is none, it opens one, unless the target is known to be down.
func (c *Conn) open(ctx context.Context) (link, error) {
	l, err := c.current()
	if err != nil {
		return nil, err
	}
	if l == nil || c.t.opt.Command == nil { // a process that runs can be used, even when others cannot be started
		if err := c.pass(ctx); err != nil {
			return nil, err
		}
	}
	if l != nil {
		return l, nil
	}
	select {
	case c.dialing <- struct{}{}:
		defer func() { <-c.dialing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l, err := c.current(); l != nil || err != nil {
		return l, err
	}
	if c.t.isClosed() {
		return nil, c.t.trouble(Down, errClosed)
	}
	if l, err = c.t.dial.dial(ctx, c); err != nil {
		return nil, err
	}
	c.t.opt.Opened()
	c.restore(ctx, l)
	c.mu.Lock()
	if !c.closed {
		c.link = l
		c.mu.Unlock()
		return l, nil
	}
	c.mu.Unlock()
	endLink(l)
	return nil, c.t.trouble(Down, errClosed)
}

// pass waits at the target's gate, if that is shut. The target's own connection passes always: it is the one that finds out
// whether the target is up again.
func (c *Conn) pass(ctx context.Context) error {
	if c.caller.Principal == nil {
		return nil
	}
	return c.t.catalog.pass(ctx)
}

func (c *Conn) current() (link, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, c.t.trouble(Down, errClosed)
	}
	return c.link, nil
}

// discard forgets a link whose session has ended, so that the next call opens another.
func (c *Conn) discard(l link) {
	c.mu.Lock()
	mine := c.link == l
	if mine {
		c.link = nil
	}
	c.mu.Unlock()
	if mine {
		endLink(l)
	}
}

// endGrace bounds the good-bye to an upstream.
const endGrace = 2 * time.Second

func endLink(l link) {
	ctx, cancel := context.WithTimeout(context.Background(), endGrace)
	defer cancel()
	l.end(ctx)
}

// Close ends the upstream session and waits for everything that the connection started. Calls on their way fail.
func (c *Conn) Close() {
	c.mu.Lock()
	l := c.link
	c.link, c.closed = nil, true
	for clock := c.calls; clock != nil; clock = clock.after {
		clock.Cancel(errClosed)
	}
	c.silence()
	for _, cancel := range c.asked {
		cancel()
	}
	c.mu.Unlock()
	if l != nil {
		endLink(l)
	}
	c.working.Wait()
}

// Call sends a request and returns its result. The params are the client's, or nil. The request gets an id and a progress
// token of its own. Notifications that belong to this call go to inflight (unless that is nil), in order, one at a time, with
// the progress token that the client chose, and before Call returns. A message is valid only during inflight.
//
// The error is an *mcp.Error if the target answered with one, or a *Trouble if there was no proper answer. When ctx ends, the
// upstream is told with notifications/cancelled.
func (c *Conn) Call(ctx context.Context, method string, params []byte, inflight func(m *mcp.Message)) ([]byte, error) {
	m, err := mcp.NewRequest(method, params)
	if err != nil {
		return nil, err
	}
	result, err := c.Forward(ctx, &m, "", inflight)
	if err != nil {
		return nil, err
	}
	return result.Raw, nil
}

// Forward is Call for a message that has been decoded already; it is not decoded a second time. A name that is not empty takes
// the place of the one in the message, because a target knows its tools without Gatehouse's prefix. It opens a link if there
// is none, and sends the request a second time if the upstream session was lost before it could be executed, or if the
// connection failed and the request may be repeated (again).
func (c *Conn) Forward(ctx context.Context, m *mcp.Message, name string, inflight func(m *mcp.Message)) (*mcp.Result, error) {
	ctx, clock := c.begin(ctx)
	defer c.finish(clock)
	if c.caller.Principal != nil {
		if err := c.t.turns.take(ctx, c.caller.Principal.Key); err != nil {
			return nil, notSent(c.t.explain(ctx, fmt.Errorf("wait for a turn: %w", err)))
		}
		defer c.t.turns.give()
	}
	for attempt := 0; ; attempt++ {
		l, err := c.open(ctx)
		if err != nil {
			err = notSent(c.t.explain(ctx, err))
			if attempt == 0 && c.t.opt.HTTP != nil && c.again(ctx, m, name, err) {
				continue
			}
			return nil, c.t.told(err)
		}
		result, err := c.over(ctx, clock, l, m, name, inflight)
		if errors.Is(err, errSessionGone) {
			c.discard(l)
			if attempt == 0 {
				continue
			}
		}
		if err != nil {
			err = c.t.explain(ctx, err)
			trouble, ok := errors.AsType[*Trouble](err)
			if ok && attempt == 0 && c.again(ctx, m, name, err) {
				continue
			}
			if ok && (trouble.Kind == Down || trouble.Kind == Timeout) {
				c.t.catalog.stale() // so that its health is known soon
			}
			return nil, c.t.told(err)
		}
		c.note(m, name)
		return result, nil
	}
}

// notSent marks trouble that came before anything was sent, so that the client learns that its call was not executed.
func notSent(err error) error {
	if t, ok := errors.AsType[*Trouble](err); ok {
		own := *t // a copy: several calls may share one
		own.Unsent = true
		return &own
	}
	return err
}

// heardError is an error that came after some of an answer.
type heardError struct{ error }

func (e *heardError) Unwrap() error { return e.error }

// over sends a request over a link of either era.
func (c *Conn) over(ctx context.Context, clock *clock, l link, m *mcp.Message, name string, inflight func(m *mcp.Message)) (*mcp.Result, error) {
	if s, ok := l.(*statelessLink); ok {
		return s.call(ctx, clock, m, name, inflight)
	}
	return c.exchange(ctx, clock, l, m, name, inflight)
}

// exchange sends a request over a link of the session era, and waits for its response.
func (c *Conn) exchange(ctx context.Context, clock *clock, l link, m *mcp.Message, name string, inflight func(m *mcp.Message)) (*mcp.Result, error) {
	r := l.request(m, name)
	r.call = call{made: r, clock: clock, over: l, asked: m, inflight: inflight}
	r.came = &r.call
	if h, ok := l.(*httpLink); ok && m.ProgressToken != nil {
		defer h.tellProgress(r)()
	}
	result, err := l.exchange(ctx, r)
	if err != nil && r.heard && !errors.Is(err, errSessionGone) {
		err = &heardError{err}
	}
	if ctx.Err() != nil && !errors.Is(err, errSessionGone) {
		c.tellCancelled(ctx, l, r.id)
	}
	return result, err
}

// tellCancelled sends notifications/cancelled without making the caller wait.
func (c *Conn) tellCancelled(ctx context.Context, l link, id []byte) {
	reason := "the caller gave up"
	if errors.Is(context.Cause(ctx), errTimeout) {
		reason = errTimeout.Error()
	}
	params := append([]byte(`{"requestId":`), id...)
	params = append(params, `,"reason":`...)
	params = mcp.AppendString(params, reason)
	params = append(params, '}')
	tell := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endGrace)
		defer cancel()
		// The call is over either way.
		_ = l.send(ctx, mcp.AppendNotification(nil, mcp.NoteCancelled, params))
	}
	if !c.goDo(tell) {
		tell()
	}
}

// goDo runs f on a goroutine that Close waits for, unless the connection is closed.
func (c *Conn) goDo(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.working.Go(f)
	return true
}

// Notify sends a notification of the client.
func (c *Conn) Notify(ctx context.Context, method string, params []byte) error {
	ctx, clock := c.begin(ctx)
	defer c.finish(clock)
	l, err := c.open(ctx)
	if err != nil {
		return c.t.explain(ctx, err)
	}
	if err := l.send(ctx, mcp.AppendNotification(nil, method, params)); err != nil {
		if errors.Is(err, errSessionGone) {
			c.discard(l)
		}
		return c.t.explain(ctx, err)
	}
	return nil
}

// explain turns an error of a link into an *mcp.Error or a *Trouble.
func (t *Target) explain(ctx context.Context, err error) (explained error) {
	trouble, inferred := errors.AsType[*Trouble](err)
	if _, heard := errors.AsType[*heardError](err); heard {
		defer func() {
			if t, ok := errors.AsType[*Trouble](explained); ok {
				own := *t
				own.heard, own.Unsent = true, false
				explained = &own
			}
		}()
	}
	if said, ok := errors.AsType[*mcp.Error](err); ok && !inferred { // a *Trouble may have an *mcp.Error of our decoder as its cause
		return said
	}
	if ctx.Err() != nil {
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errTimeout) || errors.Is(cause, context.DeadlineExceeded):
			return t.trouble(Timeout, err)
		case errors.Is(cause, errClosed):
			return t.trouble(Down, errClosed)
		}
		return t.trouble(Canceled, err)
	}
	if inferred {
		return trouble
	}
	if errors.Is(err, mcp.ErrEventTooLarge) {
		return t.trouble(TooLarge, err)
	}
	return t.trouble(Down, err)
}
