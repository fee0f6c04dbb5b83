package target

import (
	"bytes"
	"strconv"

	"gatehouse/internal/mcp"
)

// request is one request to the upstream on its way.
type request struct {
	id     []byte  // ours, not the client's
	body   []byte  // the JSON-RPC message
	in     *parcel // the lent buffer that body is part of; nil if it is in none
	header *header // HTTP headers of its own, for servers of the stateless era
	came   hearer  // gets what arrives before the response; exchange calls it through tell
	heard  bool    // some of an answer has come; only the goroutine of exchange uses it
	astray bool    // a response to another request has come; likewise

	// Room for what the fields above point to, and for what comes back, so that a request is one allocation.
	room      [20]byte   // for id
	call      call       // for came, if a client calls
	out, back parcel     // for in, and for the lent buffer that the response is part of
	sent      sent       // the body as an io.ReadCloser
	result    mcp.Result // see outcome
}

// tell passes on a message that came before the response, on the goroutine of exchange.
func (r *request) tell(m *mcp.Message) {
	r.heard = true
	r.came.hear(m)
}

// sessionRequest builds a request with id n to a server of the session era, in a buffer lent by from unless that is nil. It
// leaves out what a client of the stateless era says about itself in _meta, because a server of both eras might take the
// request for one of the stateless era.
func sessionRequest(n int64, m *mcp.Message, name string, from *parcels) *request {
	r := newRequest(n, from)
	e := mcp.Edit{Name: name, ProgressToken: r.id}
	if m.Version != nil {
		e.Meta = m.AppendMeta(nil, r.id, nil)
	}
	r.write(m, e)
	return r
}

// write appends the body to what stands in the lent buffer already.
func (r *request) write(m *mcp.Message, e mcp.Edit) {
	if r.in == nil {
		r.body = m.AppendRequest(make([]byte, 0, len(m.Params)+len(e.Name)+len(e.Meta)+96), r.id, e)
		return
	}
	at := len(r.in.buf)
	r.in.buf = m.AppendRequest(r.in.buf, r.id, e)
	r.body = r.in.buf[at:]
}

// toSend returns the body in the form that an HTTP request takes.
func (r *request) toSend() *sent {
	r.sent.whole, r.sent.in = r.body, r.in
	return &r.sent
}

// done gives the body's buffer back, if it was lent. The HTTP client may still hold it: see parcel.
func (r *request) done() {
	if r.in != nil {
		r.in.Release()
		r.in, r.body = nil, nil
	}
}

func newRequest(n int64, from *parcels) *request {
	r := &request{}
	r.id = strconv.AppendInt(r.room[:0], n, 10)
	if from != nil {
		r.in = from.lend(&r.out)
	}
	return r
}

// hearer gets the messages that come before the response to a request.
type hearer interface{ hear(m *mcp.Message) }

type hearerFunc func(m *mcp.Message)

func (f hearerFunc) hear(m *mcp.Message) { f(m) }

// call hears what comes before the response to a request that was made for a client.
type call struct {
	made     *request
	clock    *clock
	over     link
	asked    *mcp.Message // the client's own request
	inflight func(m *mcp.Message)
}

// hear passes progress on under the client's own token. Everything else is the connection's business.
func (c *call) hear(m *mcp.Message) {
	if m.Method != mcp.NoteProgress {
		c.clock.c.came(c.clock, c.clock, c.over, m, c.inflight)
		return
	}
	if c.asked.ProgressToken == nil || !bytes.Equal(m.ProgressToken, c.made.id) {
		return
	}
	c.clock.restart()
	if c.inflight != nil {
		own := m.Edited(mcp.Edit{ProgressToken: c.asked.ProgressToken})
		c.inflight(&own)
	}
}

// outcome returns what the response to r says: a result, or an error.
func (t *Target) outcome(m *mcp.Message, r *request) (*mcp.Result, error) {
	if m.Error == nil {
		m.Outcome(&r.result)
		return &r.result, nil
	}
	said, err := mcp.ParseError(m.Error)
	if err != nil {
		return nil, t.trouble(Rubbish, err)
	}
	return nil, said
}
