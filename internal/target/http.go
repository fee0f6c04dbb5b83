package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/web"
)

// httpDialer opens sessions with a server over streamable HTTP (2025-11-25 basic/transports).
type httpDialer struct {
	t         *Target
	transport http.RoundTripper
	url       *url.URL
	fixed     http.Header // the static credential and what every request has
	era       era
	ids       atomic.Int64 // of requests; see nextID
	parcels   parcels      // for requests and small answers
	answers   parcels      // for large answers
	named     namedHeaders
}

func newHTTPDialer(t *Target) (*httpDialer, error) {
	u, err := url.Parse(t.opt.HTTP.URL)
	if err != nil {
		return nil, fmt.Errorf("target %s: url: %w", t.opt.Name, err)
	}
	// Not through http.Client: calls have their own clock, streams have none, and a redirect would carry the credential to
	// somewhere that the administrator did not name.
	transport := t.opt.Client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	fixed := http.Header{"User-Agent": {"gatehouse/" + t.opt.Version}}
	for name, value := range t.opt.HTTP.Headers {
		fixed.Set(name, value.Reveal())
	}
	d := &httpDialer{t: t, transport: transport, url: u, fixed: fixed}
	d.ids.Store(rand.Int64N(maxFirstID))
	return d, nil
}

// maxFirstID leaves room for many ids below 1<<31, since there are servers that take no larger ones.
const maxFirstID = 1 << 30

func (d *httpDialer) close() {}

// nextID returns the id of a request, which no other to this target has: all sessions share its connections, and when one of
// those is an answer behind, that answer must not pass for the one to another person's request. Other targets on the same host
// share them, too, as does this target after a reload, and so each begins to count somewhere else.
func (d *httpDialer) nextID() int64 { return d.ids.Add(1) }

func (d *httpDialer) dialSession(ctx context.Context, c *Conn) (*httpLink, error) {
	l := &httpLink{d: d, c: c}
	err := c.handshake(ctx, strconv.AppendInt(nil, d.nextID(), 10), l.exchange, func(s Server) {
		l.revision = s.Revision
		c.setServer(s)
	}, l.send)
	if err != nil {
		l.sayGoodbye(context.WithoutCancel(ctx))
		return nil, err
	}
	listening, stop := context.WithCancel(lasting())
	l.stop, l.stopped, l.opened = stop, make(chan struct{}), make(chan struct{})
	go func() {
		defer close(l.stopped)
		l.listen(listening)
	}()
	l.awaitStream(ctx)
	return l, nil
}

// streamWait bounds the wait for the first answer on the listening stream; some servers send none before they have
// something to say.
const streamWait = 500 * time.Millisecond

// awaitStream waits until the listening stream stands, where the server may ask something: many servers ask on it, also
// within a call, and what they send while it is not there is lost.
func (l *httpLink) awaitStream(ctx context.Context) {
	if l.c.can == (mcp.ClientCapabilities{}) || l.d.era.silent.Load() {
		return
	}
	late := time.NewTimer(streamWait)
	defer late.Stop()
	select {
	case <-l.opened:
	case <-late.C:
		l.d.era.silent.Store(true)
	case <-ctx.Done():
	}
}

// httpLink is one session over streamable HTTP.
type httpLink struct {
	d        *httpDialer
	c        *Conn
	posts    atomic.Pointer[header] // of every POST, once the revision has been agreed
	revision mcp.Revision           // empty until agreed
	session  string                 // Mcp-Session-Id, empty for servers without; set by the answer to initialize
	stop     context.CancelFunc     // ends the listening stream
	stopped  chan struct{}          // closed when it has ended
	opened   chan struct{}          // closed when its first request was answered, or failed
	progress sync.Map               // of calls under way, by their ids: a hearer, for progress that comes on that stream
}

// tellProgress has progress that comes on the listening stream told to r, too, until the function that it returns is called.
// A message is told at a time, and none after that.
func (l *httpLink) tellProgress(r *request) (end func()) {
	var (
		mu    sync.Mutex // held while r is told something; guards ended
		ended bool
		came  = r.came
	)
	r.came = hearerFunc(func(m *mcp.Message) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			came.hear(m)
		}
	})
	id := string(r.id)
	l.progress.Store(id, r.came)
	return func() {
		l.progress.Delete(id)
		mu.Lock()
		defer mu.Unlock()
		ended = true
	}
}

func (l *httpLink) request(m *mcp.Message, name string) *request {
	return sessionRequest(l.d.nextID(), m, name, &l.d.parcels)
}

// end closes the listening stream and deletes the session.
func (l *httpLink) end(ctx context.Context) {
	l.stop()
	<-l.stopped
	l.sayGoodbye(ctx)
}

func (l *httpLink) sayGoodbye(ctx context.Context) {
	if l.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, endGrace)
	defer cancel()
	resp, err := l.do(ctx, http.MethodDelete, nil, "")
	if err != nil {
		l.d.t.opt.Log.Debug("target session not deleted", "error", err)
		return
	}
	drain(resp)
}

// do sends one HTTP request, built afresh. For GET, lastEvent says where to resume.
func (l *httpLink) do(ctx context.Context, method string, body []byte, lastEvent string) (*http.Response, error) {
	return l.ask(ctx, method, &sent{whole: body}, lastEvent)
}

// ask is do for a body that may be in a parcel. The headers of POST are put together once, when the revision is known.
func (l *httpLink) ask(ctx context.Context, method string, body *sent, lastEvent string) (*http.Response, error) {
	if h := l.posts.Load(); h != nil && method == http.MethodPost {
		return l.d.send(ctx, method, l.d.url, h, body)
	}
	h := l.d.header(method, 3)
	if l.session != "" {
		h["Mcp-Session-Id"] = []string{l.session}
	}
	if l.revision >= mcp.Rev20250618 {
		h["Mcp-Protocol-Version"] = []string{string(l.revision)}
	}
	if lastEvent != "" {
		h["Last-Event-Id"] = []string{lastEvent}
	}
	whole := &header{Header: h}
	if method == http.MethodPost && l.revision != "" { // nothing in it changes any more
		whole = l.d.lastingHeader(h)
		l.posts.Store(whole)
	}
	return l.d.send(ctx, method, l.d.url, whole, body)
}

// do sends a request that belongs to no session in its headers.
func (d *httpDialer) do(ctx context.Context, method string, to *url.URL, body []byte) (*http.Response, error) {
	return d.send(ctx, method, to, &header{Header: d.header(method, 0)}, &sent{whole: body})
}

// header makes the headers that every request with an HTTP method has, with room for more of them.
func (d *httpDialer) header(method string, more int) http.Header {
	h := make(http.Header, len(d.fixed)+2+more)
	maps.Copy(h, d.fixed)
	switch method {
	case http.MethodGet:
		h["Accept"] = acceptEvents
	case http.MethodPost:
		h["Content-Type"], h["Accept"] = jsonType, acceptBoth
	}
	return h
}

// header is the headers of one request, or of many.
type header struct {
	http.Header
	head web.RequestHead // of the POSTs that have them, written out, if they are for many
}

// lastingHeader returns headers for many POSTs to the target's own URL. They must not be changed any more.
func (d *httpDialer) lastingHeader(h http.Header) *header {
	head, _ := web.NewRequestHead(http.MethodPost, d.url, h) // without it, the client looks at h, and reports what is wrong with it
	return &header{h, head}
}

// send sends an HTTP request. The header is only read, and the body is for POST only.
func (d *httpDialer) send(ctx context.Context, method string, to *url.URL, h *header, body *sent) (*http.Response, error) {
	r := &body.request
	*r = *(&http.Request{Method: method, URL: to, Host: to.Host, Header: h.Header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}).WithContext(ctx)
	if method == http.MethodPost {
		body.give(&h.head)
	}
	resp, err := d.transport.RoundTrip(r)
	if err == nil {
		return resp, nil
	}
	if no, ok := errors.AsType[credentialError](err); ok && no.CredentialRefused() && ctx.Err() == nil {
		err = d.t.trouble(CredentialRefused, err)
	}
	return nil, err
}

// credentialError is an error of the HTTP client that says that there is no credential for the target.
type credentialError interface {
	error
	CredentialRefused() bool
}

// Values of headers, shared by all requests.
var (
	jsonType     = []string{"application/json"}
	acceptBoth   = []string{"application/json, text/event-stream"}
	acceptEvents = []string{"text/event-stream"}
)

// drain reads a little of what is left, so that the connection can be used again, and closes the body.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	_ = resp.Body.Close()
}

func (l *httpLink) send(ctx context.Context, body []byte) error {
	resp, err := l.do(ctx, http.MethodPost, body, "")
	if err != nil {
		return err
	}
	defer drain(resp)
	if resp.StatusCode/100 != 2 {
		return l.refused(resp, nil)
	}
	return nil
}

func (l *httpLink) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	resp, err := l.ask(ctx, http.MethodPost, r.toSend(), "")
	r.done()
	if err != nil {
		return nil, err
	}
	r.heard = true
	if resp.StatusCode != http.StatusOK {
		defer drain(resp)
		return nil, l.refused(resp, r.id)
	}
	if l.revision == "" {
		if err := l.adopt(resp.Header.Get("Mcp-Session-Id")); err != nil {
			drain(resp)
			return nil, err
		}
	}
	switch mediaType(resp) {
	case "application/json":
		return l.readJSON(resp, r)
	case "text/event-stream":
		return l.readStream(ctx, resp, r)
	}
	defer drain(resp)
	return nil, l.d.t.trouble(Rubbish, fmt.Errorf("content type %.100q", resp.Header.Get("Content-Type")))
}

// adopt takes over the session id of the answer to initialize: visible ASCII only (2025-11-25 basic/transports).
func (l *httpLink) adopt(session string) error {
	for _, c := range []byte(session) {
		if c < 0x21 || c > 0x7e {
			return l.d.t.trouble(Rubbish, errors.New("the session id holds other than visible ASCII characters"))
		}
	}
	l.session = session
	return nil
}

func mediaType(resp *http.Response) string {
	v := resp.Header["Content-Type"]
	if len(v) == 0 {
		return ""
	}
	if v[0] == "application/json" || v[0] == "text/event-stream" {
		return v[0]
	}
	t, _, _ := mime.ParseMediaType(v[0])
	return t
}

// refused explains an HTTP status that is not success. Id is that of the request, nil for notifications.
func (l *httpLink) refused(resp *http.Response, id []byte) error {
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return l.d.t.trouble(CredentialRefused, fmt.Errorf("HTTP status %d", resp.StatusCode))
	case resp.StatusCode == http.StatusNotFound && l.session != "":
		return errSessionGone
	case resp.StatusCode/100 == 3:
		return l.d.t.trouble(Down, fmt.Errorf("HTTP status %d; redirects are not followed, name the final URL", resp.StatusCode))
	}
	body, m, said := readRefusal(resp)
	var err error = l.d.t.trouble(Down, fmt.Errorf("HTTP status %d: %.200q", resp.StatusCode, body))
	if said != nil && (m.ID == nil || bytes.Equal(m.ID, id)) {
		err = said
	}
	if l.revision == "" {
		return &refusal{resp.StatusCode, err}
	}
	if said, ok := errors.AsType[*mcp.Error](err); ok && resp.StatusCode == http.StatusBadRequest && statelessOnly(said) {
		l.d.era.forget() // it has become a server of the stateless era, and has not executed anything
		return fmt.Errorf("%w: %w", errSessionGone, said)
	}
	return err
}

// maxRefusal bounds what is read of the answer of a status that is not success.
const maxRefusal = 64 << 10

// readRefusal reads the answer of a status that is not success. Said is the JSON-RPC error in it, nil when there is none,
// and m its message.
func readRefusal(resp *http.Response) (body []byte, m mcp.Message, said *mcp.Error) {
	body, _ = io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if m, err := mcp.Decode(body, fromUpstream()); err == nil && m.Error != nil {
		if said, err := mcp.ParseError(m.Error); err == nil {
			return body, m, said
		}
	}
	return body, m, nil
}

// statelessOnly reports whether only a server of the stateless era says this, to a request of the session era.
func statelessOnly(said *mcp.Error) bool {
	return said.Code == mcp.CodeUnsupportedRevision || said.Code == mcp.CodeHeaderMismatch
}

// refusal is the answer to an initialize that is not a success.
type refusal struct {
	status int
	cause  error
}

func (r *refusal) Error() string { return r.cause.Error() }

func (r *refusal) Unwrap() error { return r.cause }

func (l *httpLink) readJSON(resp *http.Response, r *request) (*mcp.Result, error) {
	defer resp.Body.Close()
	limit := l.d.t.opt.MaxMessage
	if resp.ContentLength > int64(limit) {
		return nil, l.d.t.trouble(TooLarge, fmt.Errorf("an answer of %d bytes", resp.ContentLength))
	}
	raw, in, err := l.d.readBody(resp, limit, &r.back)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(raw) > limit {
		return nil, l.d.t.trouble(TooLarge, fmt.Errorf("an answer of more than %d bytes", limit))
	}
	var m mcp.Message
	if err := l.sort(&m, raw, r); err != nil {
		return nil, err
	}
	if m.Kind == 0 {
		amiss(resp, r)
		return nil, l.d.t.trouble(Rubbish, fmt.Errorf("the answer is not the response to request %s", r.id))
	}
	result, err := l.d.t.outcome(&m, r)
	if err == nil && in != nil && len(m.Raw) == len(raw) { // nothing else was in it that somebody may keep
		result.Lent = in
	}
	return result, err
}

// amiss gives up the connection when the answer that came over it was one to another request.
func amiss(resp *http.Response, r *request) {
	if body, ok := resp.Body.(interface{ Amiss() }); ok && r.astray {
		body.Amiss()
	}
}

// Sizes of answers.
const (
	lentAnswer  = 512      // from here on an answer is read into a parcel
	largeAnswer = 16 << 10 // from here on into a large one: to make such buffers anew costs more than all else that is done with one
)

// readBody reads a whole body, but not more than one byte beyond limit. In is the parcel that raw is part of, which is room,
// or nil if raw is in none.
func (d *httpDialer) readBody(resp *http.Response, limit int, room *parcel) (raw []byte, in *parcel, err error) {
	n := int(resp.ContentLength)
	switch {
	case n <= 0:
		raw, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
		return raw, nil, err
	case n < lentAnswer || n > keptParcel:
		raw = make([]byte, n)
	default:
		from := &d.parcels
		if n >= largeAnswer {
			from = &d.answers
		}
		in = from.lend(room)
		in.buf = slices.Grow(in.buf, n)
		raw = in.buf[:n]
	}
	_, err = io.ReadFull(resp.Body, raw)
	return raw, in, err
}

// sort decodes what came as one JSON body: the response, or a batch with the response among notifications and requests. It
// passes on all that is not the response. The reply is empty when the response was not there.
func (l *httpLink) sort(reply *mcp.Message, raw []byte, r *request) error {
	if !mcp.Batches(l.revision) || !mcp.IsBatch(raw) {
		if err := reply.Decode(raw, fromUpstream()); err != nil {
			return l.d.t.trouble(Rubbish, err)
		}
		if !l.sortOne(reply, r) {
			*reply = mcp.Message{}
		}
		return nil
	}
	all, err := mcp.DecodeBatch(raw, fromUpstream(), maxBatch)
	if err != nil {
		return l.d.t.trouble(Rubbish, err)
	}
	for i := range all {
		if l.sortOne(&all[i], r) {
			*reply = all[i]
		}
	}
	return nil
}

// sortOne reports whether m is the response to r, and passes it on if it is something else.
func (l *httpLink) sortOne(m *mcp.Message, r *request) bool {
	switch {
	case answers(m, r.id):
		return true
	case m.Kind == mcp.KindResponse:
		r.astray = true
		l.d.t.opt.Log.Warn("target answered a request that was not asked here")
	default:
		came := *m
		r.tell(&came)
	}
	return false
}

// answers reports whether m is the response to a request. An error without id says that the server could not read the
// request's id.
func answers(m *mcp.Message, id []byte) bool {
	return m.Kind == mcp.KindResponse && (bytes.Equal(m.ID, id) || m.ID == nil && m.Error != nil)
}
