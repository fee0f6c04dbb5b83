package gateway

import (
	"bytes"
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"gatehouse/internal/callctx"
	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// dialogue is a call under way for a client of the stateless era. When its target asks the client something within the
// call, as targets of the session era do, the question goes into the answer to the client's HTTP request, and the call
// is parked, until the client makes it again with its answers. Then the same call goes on.
//
// It belongs to the HTTP request of the moment, or to the session table while it is parked.
type dialogue struct {
	ctx  callctx.Context  // of the call
	s    *session.Session // the person's standing session
	to   route
	stop context.CancelCauseFunc // cancels the call; nil if the client cannot be asked
	told chan struct{}           // holds one when there is a new question; nil if the client cannot be asked
	done chan struct{}           // closed when result and err are set; nil if the client cannot be asked

	result *mcp.Result // nil if err is not
	err    error

	mu      sync.Mutex             // guards what follows
	out     *reply                 // the HTTP answer of the moment; nil while the call is parked
	open    []*question            // questions without an answer
	asked   int                    // questions so far
	refused mcp.ClientCapabilities // what the target wanted to ask and the client had not declared
	over    bool                   // nobody can be asked any more
}

// question is what the target asks and waits for.
type question struct {
	asking
	answered chan response // holds one
}

// response is what a question got.
type response struct {
	result []byte
	err    *mcp.Error
}

const (
	maxOpenQuestions = 16                    // of one call at a time
	maxQuestions     = 1 << 20               // bytes of them
	maxHeldResult    = 256 << 10             // bytes of a result that comes while nobody is there to take it
	gather           = 20 * time.Millisecond // how long questions wait for others that are asked side by side
	lastWords        = 2 * time.Second       // how long a target has to end a call whose question got no answer
)

// converse makes a call, within which the target may ask the client something. It returns the outcome for the record. If the
// client can be asked, the call runs on a goroutine of its own, because it may outlast this HTTP request.
func (rq *request) converse(a *reply, to route) string {
	ctx := rq.r.Context()
	up, err := rq.upstream(ctx, to.to)
	if err != nil {
		return rq.modernTrouble(ctx, a, to, err, false)
	}
	if a.level != noLevel {
		rq.wantLogs(ctx, up)
	}
	if !rq.s.Capabilities().Askable() { // it never has to wait for answers
		d := &a.room
		d.s, d.to, d.out = rq.s, to, a
		d.forward(ctx, up, &rq.m, rq.notes(to, d.notify, nil))
		return rq.conclude(a, d)
	}
	d := &dialogue{s: rq.s, to: to, out: a, told: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, d.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	rq.g.o.Sessions.Hold(d.s)
	m, sessions, notes := rq.m, rq.g.o.Sessions, rq.notes(to, d.notify, nil)
	go func() { // await ends it, or Expire when the call is parked; whoever ends it waits for done
		defer close(d.done)
		defer sessions.Release(d.s)
		defer d.stop(nil)
		defer func() {
			if p := recover(); p != nil {
				rq.g.o.Log.ErrorContext(ctx, "panic", "panic", p, "stack", string(debug.Stack()))
				d.err = mcp.Errorf(mcp.CodeInternal, "internal error")
			}
		}()
		d.forward(ctx, up, &m, notes)
	}()
	return rq.await(a, d)
}

// forward makes the call, and sets result and err.
func (d *dialogue) forward(ctx context.Context, up session.Upstream, m *mcp.Message, notes func(*mcp.Message)) {
	if c, ok := up.(*connection); ok {
		c.own.enter(d)
		defer c.own.leave(d)
	}
	d.ctx.Begin(ctx)
	defer d.ctx.Cancel(nil)
	d.ctx.Keep(answerKey{}, d)
	d.result, d.err = up.Forward(&d.ctx, m, d.to.name, notes)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.out == nil && d.err == nil && len(d.result.Raw) > maxHeldResult { // its target did not wait for the answer to its own question
		d.result, d.err = nil, mcp.Errorf(codeLost, "The answer came before it was asked for again, and was too large to be held. The call was executed.")
	}
}

// await waits until the target has answered or asks something, and answers the client.
func (rq *request) await(a *reply, d *dialogue) string {
	ctx := rq.r.Context()
	for {
		select {
		case <-d.done:
			return rq.conclude(a, d)
		case <-ctx.Done(): // here, that is a cancellation
			d.cancel(errVanished)
			return "cancelled"
		case <-d.told:
		}
		wait := time.NewTimer(gather)
		select {
		case <-wait.C:
		case <-d.done:
		case <-ctx.Done():
		}
		wait.Stop()
		if questions := d.questions(mcp.ParseClientCapabilities(rq.m.Capabilities)); len(questions) > 0 && ctx.Err() == nil {
			return rq.park(a, d, questions)
		}
	}
}

// park asks the client, and lets the call wait for it to come back.
func (rq *request) park(a *reply, d *dialogue, questions []asking) string {
	d.attach(nil)
	held := len(rq.m.Params)
	for _, q := range questions {
		held += len(q.params)
	}
	rq.body = nil // the call goes on with what stands in it
	id, err := rq.g.o.Sessions.Park(rq.who.Key, d, held, rq.g.o.AnswerWait)
	if err != nil {
		d.Expire(err)
		a.error(mcp.Errorf(codeTrouble, "The server %q has a question, but %v. %s", d.to.to.Name(), err, "Answer some of them first."))
		return "too many parked"
	}
	a.result(rq.inputRequired(d.to, questions, waiting{id: id, owner: rq.g.self()}.state()))
	if rq.r.Context().Err() != nil { // the client did not hear it
		if call, ok := rq.g.o.Sessions.Unpark(rq.who.Key, id); ok {
			call.Expire(errVanished)
		}
		return "cancelled"
	}
	return "input required"
}

// goOn takes a parked call up again, with the client's answers.
func (rq *request) goOn(a *reply, w waiting) string {
	call, ok := rq.g.o.Sessions.Unpark(rq.who.Key, w.id)
	d, is := call.(*dialogue)
	if !ok || !is {
		a.error(mcp.Errorf(mcp.CodeInvalidParams,
			"The call does not wait any more: it was answered before, took too long, or ended with its server's connection. It may have been executed: check before you begin anew."))
		return "refused"
	}
	d.attach(a)
	d.answer(rq.m.InputResponses)
	return rq.await(a, d)
}

// conclude answers the client with what the target said.
func (rq *request) conclude(a *reply, d *dialogue) string {
	if d.err != nil {
		if said, ok := errors.AsType[*mcp.Error](d.err); ok {
			if all := visits(said); all != nil {
				return rq.sendAway(a, d.to, all)
			}
		}
		if needed := d.missed(); needed != (mcp.ClientCapabilities{}) && rq.r.Context().Err() == nil {
			a.error(missingCapability(needed))
			return "error"
		}
		return rq.modernTrouble(rq.r.Context(), a, d.to, d.err, true)
	}
	if needed := d.missed(); needed != (mcp.ClientCapabilities{}) && mcp.IsToolError(d.result.Raw) {
		a.error(missingCapability(needed))
		return "error"
	}
	dressed, outcome, said := rq.dress(make([][]byte, 0, 9), d.to, rq.renaming(d.to).ApplyTo(d.result))
	if said != nil {
		a.error(said)
		return "error"
	}
	a.pieces(dressed...)
	rq.wrote(d.result)
	return outcome
}

// attach says where notifications go from now on.
func (d *dialogue) attach(a *reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = a
}

func (d *dialogue) notify(n *mcp.Message) {
	d.mu.Lock()
	out := d.out
	d.mu.Unlock()
	if out != nil {
		out.notify(n)
	}
}

// ask puts a question to the client and waits for its answer.
func (d *dialogue) ask(ctx context.Context, m *mcp.Message) ([]byte, *mcp.Error) {
	q := &question{asking: asking{method: m.Method, params: bytes.Clone(m.Params)}, answered: make(chan response, 1)}
	if said := d.begin(q); said != nil {
		return nil, said
	}
	select {
	case got := <-q.answered:
		return got.result, got.err
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		d.open = slices.DeleteFunc(d.open, func(o *question) bool { return o == q })
		return nil, mcp.Errorf(mcp.CodeInternal, "the question was given up")
	}
}

func (d *dialogue) begin(q *question) *mcp.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.over:
		return mcp.Errorf(mcp.CodeInternal, "the client cannot be asked any more")
	case len(d.open) >= maxOpenQuestions:
		return mcp.Errorf(mcp.CodeInternal, "too many questions at the same time")
	}
	size := len(q.params)
	for _, o := range d.open {
		size += len(o.params)
	}
	if size > maxQuestions {
		return mcp.Errorf(mcp.CodeInternal, "the questions have more than %d bytes", maxQuestions)
	}
	d.asked++
	q.key = "q" + strconv.Itoa(d.asked)
	d.open = append(d.open, q)
	d.wake()
	return nil
}

func (d *dialogue) wake() {
	select {
	case d.told <- struct{}{}:
	default:
	}
}

// refuse notes that the target wanted to ask what the client had not declared.
func (d *dialogue) refuse(m *mcp.Message) {
	needed, _ := mcp.NeededToAsk(m.Method, m.Params)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = d.refused.Merge(needed)
}

func (d *dialogue) missed() mcp.ClientCapabilities {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refused
}

// questions returns what is to be asked of a client that declares this much with its present request; other questions
// are refused.
func (d *dialogue) questions(can mcp.ClientCapabilities) []asking {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []asking
	d.open = slices.DeleteFunc(d.open, func(q *question) bool {
		needed, _ := mcp.NeededToAsk(q.method, q.params)
		if can.Have(needed) {
			all = append(all, q.asking)
			return false
		}
		d.refused = d.refused.Merge(needed)
		q.answered <- response{err: mcp.Errorf(mcp.CodeMethodNotFound, "the client does not support %s", q.method)}
		return true
	})
	return all
}

// answer hands the client's answers to the target. Questions without one that fits stay open, to be asked again; what
// nobody asked for is ignored.
func (d *dialogue) answer(responses []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = slices.DeleteFunc(d.open, func(q *question) bool {
		result, ok := mcp.Lookup(responses, q.key)
		if !ok || !fits(q.method, result) {
			return false
		}
		q.answered <- response{result: bytes.Clone(result)}
		return true
	})
	if len(d.open) > 0 {
		d.wake()
	}
}

// fits reports whether a result can be the answer to a question of a method.
func fits(method string, result []byte) bool {
	switch method {
	case mcp.MethodElicit:
		action, _ := mcp.LookupString(result, "action")
		return slices.Contains([]string{"accept", "decline", "cancel"}, action)
	case mcp.MethodSampling:
		_, role := mcp.LookupString(result, "role")
		_, content := mcp.Lookup(result, "content")
		return role && content
	}
	roots, _ := mcp.Lookup(result, "roots")
	return len(roots) > 0 && roots[0] == '['
}

// cancel ends the call at the target and waits for that.
func (d *dialogue) cancel(cause error) {
	d.mu.Lock()
	d.over = true
	d.mu.Unlock()
	d.stop(cause)
	<-d.done
}

// Expire implements session.Parked: the target learns that it gets no answer, and has a moment to end the call by itself.
func (d *dialogue) Expire(cause error) {
	d.mu.Lock()
	d.over = true
	for _, q := range d.open {
		q.answered <- response{err: mcp.Errorf(mcp.CodeInternal, "%v", cause)}
	}
	d.open = nil
	d.mu.Unlock()
	wait := time.NewTimer(lastWords)
	defer wait.Stop()
	select {
	case <-d.done:
	case <-wait.C:
	}
	d.cancel(cause)
}
