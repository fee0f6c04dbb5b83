package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
)

// errVanished ends a call whose client went away and did not come back.
var errVanished = errors.New("the client vanished")

// retryAfter is how long a client waits before it comes back for the rest of a stream.
const retryAfter = time.Second

// answerKey is the key of a call's answerer, or of its dialogue in the stateless era, in the call's context.
type answerKey struct{}

// answerer takes what comes back for one call of the session era, until close.
type answerer interface {
	outlet
	outbox
	notify(m *mcp.Message) // what the target sends along with the call
	close()
}

// outbox takes a message from the target for the client. It reports false when it cannot send it; then the message has to go
// over the session's standalone stream.
type outbox interface{ send(raw []byte) bool }

// begin opens the answer to a call. It is made in room, unless the request's answers go through a carrier.
func (rq *request) begin(call session.Canceler, room *answer) answerer {
	if rq.to != nil {
		return rq.to.begin(rq, call)
	}
	room.open(rq, call, 1)
	return room
}

// answer is the HTTP answer to one POST: to one call, or to all requests of a batch. If the results come soon and nothing
// comes before them, it is JSON. If the target sends something along, or the results take long, it turns into a stream of
// events (stretch). The stream belongs to the session, so that a client whose connection broke can come back and read on.
type answer struct {
	rq    *request
	call  session.Canceler // cancelled when the client has gone and does not come back
	batch bool
	wait  wait // has tick called after a while

	// mu guards what follows, and the response writer.
	mu      sync.Mutex
	missing int             // how many responses have not come yet
	held    [][]byte        // responses of a batch that wait for the others
	stream  *session.Stream // nil while the answer may still become JSON
	reader  *session.Reader // of stream, for this connection
	gone    bool            // the client does not hear us on this connection
	until   time.Time       // if gone: the client has until then to come back
	done    bool            // all responses have come, or close was called
	unhook  func() bool     // stops watching the client's connection; nil until tick begins that
}

// open begins an answer of so many responses; close ends it.
func (a *answer) open(rq *request, call session.Canceler, responses int) {
	a.rq, a.call, a.missing = rq, call, responses
	rq.g.watched.add(&a.wait, a)
}

// ring has tick called after that time, on a goroutine of its own. Once close has returned, tick does nothing.
func (a *answer) ring(after time.Duration) { a.rq.g.watched.again(&a.wait, after) }

// watchAfter is how long a call may take before the answer watches for the end of the client's connection: watching costs more
// than most calls do.
const watchAfter = time.Second

// alongside returns the notification that a client gets for one that a target sends along with a call, nil for none.
func alongside(m *mcp.Message) []byte {
	switch m.Method {
	case mcp.NoteProgress, mcp.NoteMessage, mcp.NoteResourceUpdated, mcp.NoteElicitationComplete:
		return mcp.AppendNotification(nil, m.Method, m.Params)
	}
	return nil
}

func (a *answer) notify(m *mcp.Message) {
	if raw := alongside(m); raw != nil {
		a.send(raw)
	}
}

// send puts a message on the stream. It reports false when the client takes no events, or the answer is complete.
func (a *answer) send(raw []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done || !a.rq.accept.events {
		return false
	}
	a.stretch()
	a.stream.Send(raw)
	a.pump()
	return true
}

// stretch turns the answer into a stream. It needs a.mu.
func (a *answer) stretch() {
	if a.stream != nil {
		return
	}
	a.stream = a.rq.s.OpenStream(a.rq.m.ID)
	a.reader = a.stream.Read()
	for _, raw := range a.held {
		a.stream.Send(raw)
	}
	a.held = nil
	if a.gone {
		a.reader.Close()
		return
	}
	beginEvents(a.rq.w)
	if primed(a.rq.s.Client().Revision) {
		a.write(mcp.AppendPriming(nil, a.reader.Position(), retryAfter))
	}
}

// pump writes the events that are new. It needs a.mu.
func (a *answer) pump() {
	events, _ := a.reader.Take()
	for _, e := range events {
		a.write(mcp.AppendEvent(nil, e.ID, e.Data))
	}
}

// write sends bytes at once. The first failure is the last attempt. It needs a.mu.
func (a *answer) write(b []byte) {
	if a.gone {
		return
	}
	if err := writeFlush(a.rq.w, b); err != nil {
		a.vanish() // also when its connection stays open
	}
}

// vanish notes that the client has gone, and gives it time to come back. It needs a.mu.
func (a *answer) vanish() {
	if a.gone {
		return
	}
	a.gone, a.until = true, time.Now().Add(a.rq.g.o.Orphan)
	if a.reader != nil {
		a.reader.Close()
	}
	a.ring(a.rq.g.o.Orphan)
}

// tick is called when the call has lasted a while, and from then on again and again. The first time it begins to watch the
// client's connection. Later it sends a comment on a quiet stream, so that no proxy closes it, or cancels the call of a client
// that has gone and did not come back.
func (a *answer) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.done:
		return
	case a.unhook == nil:
		a.unhook = context.AfterFunc(a.rq.r.Context(), a.lost)
		a.ring(max(a.rq.g.o.Heartbeat-watchAfter, 0))
		return
	case a.gone && time.Now().Before(a.until): // this tick was on its way when the client went
		a.ring(time.Until(a.until))
		return
	case a.gone && (a.stream == nil || !a.stream.Watched()):
		a.call.Cancel(errVanished)
		return
	case a.gone:
		a.ring(a.rq.g.o.Orphan)
		return
	case a.rq.accept.events:
		a.stretch()
		a.write(mcp.AppendComment(nil, "still working"))
	}
	if !a.gone {
		a.ring(a.rq.g.o.Heartbeat)
	}
}

// lost is called when the context of the client's HTTP request ends.
func (a *answer) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.done {
		a.vanish()
	}
}

func (a *answer) result(result []byte) {
	a.finish(func(dst []byte) []byte { return mcp.AppendResult(dst, a.rq.m.ID, result) }, func() error { return a.rq.writeResult(result) })
}

func (a *answer) error(e *mcp.Error) {
	a.rq.noted.Add("rpc_error", e.Code)
	write := func(dst []byte) []byte { return mcp.AppendError(dst, a.rq.m.ID, e) }
	a.finish(write, func() error { return a.rq.writeJSON(http.StatusOK, write) })
}

// finish takes one response. If it is the whole answer, alone writes it, as JSON. If not, write appends it to a stream or to
// the array of a batch.
func (a *answer) finish(write func(dst []byte) []byte, alone func() error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missing--
	a.done = a.missing == 0
	switch {
	case a.stream != nil || !a.rq.accept.json:
		a.stretch()
		a.stream.Send(write(nil))
		a.pump()
	case a.batch:
		a.held = append(a.held, write(nil))
		if a.done && !a.gone {
			_ = a.rq.writeJSON(http.StatusOK, func(dst []byte) []byte { return mcp.AppendBatch(dst, a.held) })
		}
	case !a.gone:
		_ = alone()
	}
}

// close ends the answer: nothing touches the response writer afterwards.
func (a *answer) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	a.rq.g.watched.remove(&a.wait)
	if a.unhook != nil {
		a.unhook()
	}
	if a.stream != nil {
		delivered := !a.gone && a.reader.Current()
		a.rq.s.CloseStream(a.stream, delivered, a.rq.g.o.Now())
	}
}

// writeEvent answers with one event, for clients that take no JSON.
func (rq *request) writeEvent(raw []byte) error {
	beginEvents(rq.w)
	_ = writeFlush(rq.w, mcp.AppendEvent(nil, "", raw)) // a client that is gone gets nothing
	return errAnswered
}

// primed reports whether streams of a revision begin with an event without data; older clients take it for a fault.
func primed(r mcp.Revision) bool { return r >= mcp.Rev20251125 }

// beginEvents writes the header of a stream; no proxy on the way may hold it back.
func beginEvents(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
}

func writeFlush(w http.ResponseWriter, b []byte) error {
	if _, err := w.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
