package target

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"gatehouse/internal/mcp"
)

// pending are the requests whose responses come over one stream that they share: the output of a process, or the
// stream of HTTP+SSE.
type pending struct {
	mu     sync.Mutex // guards what follows
	byID   map[string]*waiting
	latest []*waiting // the same in the order in which they were asked
}

// waiting is a request without a response yet.
type waiting struct {
	notes  chan mcp.Message // what came along; when it is full, more is dropped, for one slow reader must not stop the others
	reply  chan mcp.Message // holds one
	spoilt chan error       // holds why there will be no response
}

const waitingNotes = 256

func (p *pending) await(id string) *waiting {
	w := p.awaitAside(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = append(p.latest, w)
	return w
}

// awaitAside is await for a request that lasts, with which nothing comes along that does not name it.
func (p *pending) awaitAside(id string) *waiting {
	w := &waiting{notes: make(chan mcp.Message, waitingNotes), reply: make(chan mcp.Message, 1), spoilt: make(chan error, 1)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byID == nil {
		p.byID = map[string]*waiting{}
	}
	p.byID[id] = w
	return w
}

// subscribed is the id of the subscription that a notification belongs to; nil when it belongs to none.
func subscribed(m *mcp.Message) []byte {
	id, _ := mcp.Lookup(m.Meta, mcp.MetaSubscription)
	return id
}

func (p *pending) dismiss(id string, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.byID, id)
	p.latest = slices.DeleteFunc(p.latest, func(o *waiting) bool { return o == w })
}

// concerned returns the request that a message belongs to, nil when there is none: a response and progress name theirs,
// anything else is taken to come along with the latest.
func (p *pending) concerned(m *mcp.Message) *waiting {
	subscription := subscribed(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case subscription != nil:
		return p.byID[string(subscription)]
	case m.Kind == mcp.KindResponse && m.ID == nil && len(p.latest) == 1: // the server could not read the id
		return p.latest[0]
	case m.Kind == mcp.KindResponse:
		return p.byID[string(m.ID)]
	case m.Method == mcp.NoteProgress:
		return p.byID[string(m.ProgressToken)]
	case len(p.latest) > 0:
		return p.latest[len(p.latest)-1]
	}
	return nil
}

// failOnly ends the one call that waits for a response that was too long. When several wait, nobody knows whose it
// was, and their clocks decide.
func (p *pending) failOnly(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.latest) == 1 {
		offer(p.latest[0].spoilt, err)
	}
}

// failNamed ends the call whose response this is, though it cannot be taken: a name that stands twice or a byte that is not
// UTF-8 hides no id.
func (p *pending) failNamed(raw []byte, err error) {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method json.RawMessage `json:"method"`
	}
	if json.Unmarshal(raw, &m) != nil || m.Method != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.byID[string(m.ID)]; w != nil {
		offer(w.spoilt, err)
	}
}

func offer[T any](ch chan T, m T) {
	select {
	case ch <- m:
	default:
	}
}

// response waits until the response is there. Sent gets an error when the request could not be sent, and nil else;
// gone is closed when the stream has ended, and then nothing more comes.
func (w *waiting) response(ctx context.Context, r *request, sent <-chan error, gone <-chan struct{}) (mcp.Message, error) {
	for {
		select {
		case m := <-w.notes:
			r.tell(&m)
		case m := <-w.reply:
			return w.take(r, m), nil
		case err := <-w.spoilt:
			return mcp.Message{}, err
		case err := <-sent:
			if err != nil {
				return mcp.Message{}, err
			}
			r.heard, sent = true, nil
		case <-gone:
			select {
			case m := <-w.reply:
				return w.take(r, m), nil
			case err := <-w.spoilt:
				return mcp.Message{}, err
			default:
				return mcp.Message{}, errStreamEnded
			}
		case <-ctx.Done():
			return mcp.Message{}, ctx.Err()
		}
	}
}

// take hands over what came before the response.
func (w *waiting) take(r *request, m mcp.Message) mcp.Message {
	for {
		select {
		case note := <-w.notes:
			r.tell(&note)
			continue
		default:
			return m
		}
	}
}
