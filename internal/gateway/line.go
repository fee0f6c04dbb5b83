package gateway

import (
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/session"
	"gatehouse/internal/web"
)

// The transport of 2024-11-05, HTTP+SSE: the client opens a stream with GET, is told where to send its messages, and
// gets every answer over the stream. The session is the stream, so it ends with it.

// lineParam is the query parameter of the address for messages. Its value is the sealed id of the session, which is of
// no use to anybody but its person.
const lineParam = "sessionId"

// lineID returns the session that a POST belongs to by its address.
func (rq *request) lineID() (string, bool) {
	if rq.r.URL.RawQuery == "" || rq.r.Header.Get(headerSession) != "" {
		return "", false
	}
	ids := rq.r.URL.Query()[lineParam]
	if len(ids) != 1 {
		return "", false
	}
	return ids[0], true
}

// line is one open stream of HTTP+SSE.
type line struct {
	out   chan []byte   // what belongs to calls, taken by the stream as fast as the client reads
	turns chan struct{} // holds maxWritten tokens: who has one may write an answer of ours
	done  chan struct{} // closed when the stream has ended

	mu     sync.Mutex // guards what follows
	closed bool
	latest *http.Request  // the last message's, which is as good a proof of the person as the stream's own
	calls  sync.WaitGroup // Add only under mu, before closed
	held   int            // messages whose work is not done, and their bytes
	bytes  int
}

// Bounds of what one stream holds for a client that sends and does not read.
const (
	maxHeld      = 512      // messages
	maxHeldBytes = 32 << 20 // of them; a single one may have more
	maxWritten   = 4        // answers of ours that wait to be read
)

// lines are the open streams by their sessions.
type lines struct {
	mu   sync.Mutex // guards what follows
	open map[*session.Session]*line
}

func (ls *lines) add(s *session.Session) *line {
	l := &line{out: make(chan []byte), turns: make(chan struct{}, maxWritten), done: make(chan struct{})}
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.open[s] = l
	return l
}

func (ls *lines) of(s *session.Session) *line {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.open[s]
}

// remove ends a line and waits for its calls, which end with their session.
func (ls *lines) remove(s *session.Session) {
	ls.mu.Lock()
	l := ls.open[s]
	delete(ls.open, s)
	ls.mu.Unlock()
	l.mu.Lock()
	l.closed = true
	close(l.done)
	l.mu.Unlock()
	l.calls.Wait()
}

// openLine begins a session and its stream.
func (rq *request) openLine() error {
	revision := mcp.Rev20241105
	if v := mcp.Revision(rq.r.Header.Get(headerRevision)); v != "" { // of a client that comes back
		revision = v
	}
	s, err := rq.g.o.Sessions.Create(session.Facts{
		Person: rq.who.Key, Endpoint: rq.ep.Path, Tied: true, Client: session.Client{Revision: revision},
	})
	if err != nil {
		return noRoom(err)
	}
	rq.s = s
	rq.noted.Text("transport", "http+sse")
	l := rq.g.lines.add(s)
	defer func() {
		rq.g.o.Sessions.Delete(s)
		rq.release()
		rq.g.lines.remove(s)
	}()
	beginEvents(rq.w)
	address := rq.ep.Path + "?" + url.Values{lineParam: {s.ID}}.Encode()
	if writeFlush(rq.w, mcp.AppendTypedEvent(nil, "endpoint", []byte(address))) != nil {
		return errAnswered
	}
	return rq.speak(l)
}

// speak writes what there is to say to the client, until the client leaves, the session ends, the server stops, or the
// person may no longer listen.
func (rq *request) speak(l *line) error {
	from := rq.s.Standalone().Read()
	defer from.Close()
	rq.g.streams.Add(1)
	defer rq.g.streams.Add(-1)
	checked := rq.g.o.Now()
	beat := time.NewTicker(rq.g.o.Heartbeat)
	defer beat.Stop()
	for {
		events, more := from.Take()
		var raw []byte
		for _, e := range events {
			raw = mcp.AppendTypedEvent(raw, "message", e.Data)
		}
		within := recheckEvents
		if len(raw) == 0 && !more {
			return errAnswered
		}
		if len(raw) == 0 {
			select {
			case told := <-l.out:
				raw = mcp.AppendTypedEvent(nil, "message", told)
			case <-from.Ready():
				continue
			case <-beat.C:
				raw, within = mcp.AppendComment(nil, "alive"), 0
			case <-rq.r.Context().Done():
				return errAnswered
			case <-rq.s.Done():
				return errAnswered
			case <-web.Stopping(rq.r.Context()):
				return errAnswered
			}
		}
		if !rq.stillOnLine(l, &checked, within) || writeFlush(rq.w, raw) != nil {
			return errAnswered
		}
	}
}

// stillOnLine is stillAllowed for a stream whose client proves anew with each message who it is: its token may have
// been replaced in between.
func (rq *request) stillOnLine(l *line, checked *time.Time, within time.Duration) bool {
	if rq.stillAllowed(checked, within) {
		return true
	}
	latest := l.proof()
	if latest == nil {
		return false
	}
	rq.r = latest.WithContext(rq.r.Context())
	return rq.stillAllowed(checked, 0)
}

// postLine takes a message whose answer goes over its stream.
func (rq *request) postLine(id string) error {
	if err := rq.use(id, true); err != nil {
		return err
	}
	defer rq.release()
	l := rq.g.lines.of(rq.s)
	if l == nil {
		return rq.lineEnded()
	}
	if !rq.handed { // a request that was handed on proves nothing here: its token is elsewhere
		l.prove(rq.r)
	}
	own := *rq
	own.to = l
	todo, err := own.planOnLine()
	if err != nil {
		return err
	}
	if err := l.start(&own, todo); err != nil {
		own.leavePlace()
		if errors.Is(err, errAnswered) {
			return rq.lineEnded()
		}
		return err
	}
	rq.body, rq.s, rq.pinned = nil, nil, nil // the work has them now, and may outlast this request
	rq.w.WriteHeader(http.StatusAccepted)
	return errAnswered
}

func (rq *request) lineEnded() error {
	http.Error(rq.w, "session not found", http.StatusNotFound)
	return errAnswered
}

func (rq *request) planOnLine() (job, error) {
	if rq.m.Kind != mcp.KindRequest || rq.m.Method != mcp.MethodInitialize {
		return rq.plan()
	}
	if err := rq.admit(mcp.MethodInitialize); err != nil {
		return nil, err
	}
	client, said := rq.introduction()
	return func() error {
		if said != nil {
			return rq.failure(said)
		}
		rq.s.Introduce(client)
		v := rq.ep.fresh(rq.r.Context(), rq.g.o.CatalogWait)
		return rq.result(rq.g.appendInitialized(nil, client.Revision, v))
	}, nil
}

// start runs a job, which has its request for itself from now on. The error is errAnswered when the line has ended.
func (l *line) start(rq *request, todo job) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := len(*rq.body)
	switch {
	case l.closed:
		return errAnswered
	case l.held >= maxHeld || l.held > 0 && l.bytes+size > maxHeldBytes:
		return &web.Error{Status: http.StatusTooManyRequests, Code: "too_many_messages", RetryAfter: time.Second,
			Message: "too many messages of this stream wait for their answers to be read; read the stream"}
	}
	l.held, l.bytes = l.held+1, l.bytes+size
	ctx, written := web.Aside(rq.r.Context(), rq.g.o.Log)
	rq.r, rq.noted = rq.r.WithContext(ctx), web.NotesOf(ctx)
	l.calls.Go(func() {
		defer l.finished(size)
		defer rq.unpin()
		defer rq.putBody()
		defer rq.release()
		defer written()
		rq.do(todo)
	})
	return nil
}

func (l *line) finished(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.bytes = l.held-1, l.bytes-size
}

// prove notes the newest request of the client.
func (l *line) prove(r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latest = r
}

func (l *line) proof() *http.Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
}

// put implements carrier. It waits for the client to read what came before, and writes the answer only then: a list can
// be long, and many may be asked for. No target is asked any more, so a reload need not wait for the client.
func (l *line) put(rq *request, write func(dst []byte) []byte) {
	rq.unpin()
	select {
	case l.turns <- struct{}{}:
		defer func() { <-l.turns }()
		l.say(write(nil))
	case <-l.done:
	}
}

func (l *line) say(raw []byte) bool {
	select {
	case l.out <- raw:
		return true
	case <-l.done:
		return false
	}
}

// begin implements carrier. Nothing else than the end of the session ends a call before its time.
func (l *line) begin(rq *request, _ session.Canceler) answerer { return &spoken{l, rq} }

// spoken is the answer to a call over a line.
type spoken struct {
	l  *line
	rq *request
}

func (a *spoken) notify(m *mcp.Message) {
	if raw := alongside(m); raw != nil {
		a.l.say(raw)
	}
}

func (a *spoken) send(raw []byte) bool { return a.l.say(raw) }

func (a *spoken) result(result []byte) {
	a.rq.unpin() // as in put
	a.l.say(mcp.AppendResult(nil, a.rq.m.ID, result))
}

func (a *spoken) error(e *mcp.Error) {
	a.rq.noted.Add("rpc_error", e.Code)
	a.rq.unpin()
	a.l.say(mcp.AppendError(nil, a.rq.m.ID, e))
}

func (a *spoken) close() {}
