package target

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"sync"

	"gatehouse/internal/mcp"
)

// statelessLink is a connection to a server of the stateless era: there is no session, each request says everything
// (2026-07-28 basic). What a session keeps for its client (a log level, subscriptions) is kept here.
type statelessLink struct {
	via  carrier
	c    *Conn
	work sync.WaitGroup // feeds

	mu      sync.Mutex // guards what follows
	level   []byte     // raw JSON, as set by a client of the session era
	copied  map[string][]mcp.HeaderParam
	watched []watched // resources and tasks
	feed    *feed     // which tells about them
	feeds   []*feed   // all that are open
	ended   bool
	changes chan struct{} // holds one token: whoever has it may change the subscriptions
}

// carrier brings requests of the stateless era to their server, over HTTP or to a process.
type carrier interface {
	// head returns what a new request has: a header, which is only read, and where its parcel comes from, each nil when it has none.
	head(method, name string) (id int64, h *header, from *parcels)
	exchange(ctx context.Context, r *request) (*mcp.Result, error)
	listen(ctx context.Context, r *request) (*mcp.Result, error) // the same for a stream; an *mcp.Error says that there will be none
	send(ctx context.Context, body []byte) error                 // a notification
	end()
}

// request builds a request for this server: who asks is said in _meta, and some values of the body once more in headers,
// computed from what is sent.
func (l *statelessLink) request(m *mcp.Message, name string) *request {
	if name == "" {
		name = m.Name
	}
	n, h, from := l.via.head(m.Method, copiedName(m, name))
	r := newRequest(n, from)
	r.header = h
	if h != nil && m.Method == mcp.MethodToolsCall {
		r.header = l.withArguments(h, m, name)
	}
	var room []byte
	if r.in != nil {
		room = r.in.buf
	}
	meta := l.appendMeta(room, m, r.id)
	if r.in != nil {
		r.in.buf = meta // the body comes behind it
	}
	r.write(m, mcp.Edit{Name: name, Meta: meta})
	return r
}

// copiedName is what stands in Mcp-Name, empty when that is absent.
func copiedName(m *mcp.Message, name string) string {
	switch m.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead:
		return name
	}
	if m.By != "" { // of an extension, such as a task's id
		return name
	}
	return ""
}

// appendMeta writes _meta: what the client has in it, under our own progress token, and what each request says about its
// client.
func (l *statelessLink) appendMeta(dst []byte, m *mcp.Message, token []byte) []byte {
	at := len(dst)
	dst = m.AppendMeta(dst, token, nil)
	dst = dst[:len(dst)-1] // the brace
	if len(dst) > at+1 {
		dst = append(dst, ',')
	}
	return append(l.appendPerRequest(dst, m), '}')
}

// appendPerRequest writes what each request says about its client: the client's own words when it is of the same era,
// else what it said when its session began.
func (l *statelessLink) appendPerRequest(b []byte, m *mcp.Message) []byte {
	capabilities, info, level := l.c.caller.Capabilities, l.c.caller.ClientInfo, []byte(nil)
	if m.Version != nil {
		capabilities, info, level = m.Capabilities, m.ClientInfo, m.LogLevel
	} else {
		l.mu.Lock()
		level = l.level
		l.mu.Unlock()
	}
	b = append(b, `"`+mcp.MetaVersion+`":"`...)
	b = append(b, mcp.Rev20260728...)
	b = append(b, `","`+mcp.MetaCapabilities+`":`...)
	b = append(b, mcp.RelayedClientCapabilities(capabilities)...)
	b = append(b, `,"`+mcp.MetaClientInfo+`":`...)
	if len(info) > 0 {
		b = append(b, info...)
	} else {
		b = append(b, l.c.t.clientInfo()...)
	}
	if len(level) > 0 {
		b = append(append(b, `,"`+mcp.MetaLogLevel+`":`...), level...)
	}
	return b
}

// withArguments returns the header with copies of those arguments that the tool's schema names.
func (l *statelessLink) withArguments(h *header, m *mcp.Message, name string) *header {
	l.mu.Lock()
	params, learned := l.copied[name]
	l.mu.Unlock()
	if !learned {
		params = l.c.t.catalog.copied(name)
	}
	if len(params) == 0 {
		return h
	}
	h = &header{Header: maps.Clone(h.Header)}
	arguments, _ := mcp.Lookup(m.Params, "arguments")
	for _, p := range params {
		if text, ok := p.Text(arguments); ok {
			h.Set(p.Header, text)
		}
	}
	return h
}

// statelessRevision is the value of a header, shared by all requests.
var statelessRevision = []string{string(mcp.Rev20260728)}

func (l *statelessLink) exchange(ctx context.Context, r *request) (*mcp.Result, error) {
	return l.via.exchange(ctx, r)
}

func (l *statelessLink) send(ctx context.Context, body []byte) error { return l.via.send(ctx, body) }

// end closes the feeds.
func (l *statelessLink) end(context.Context) {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.dropFeeds(nil)
	l.work.Wait()
	l.via.end()
}

// call sends a request of a client of either era. What only sessions have is answered here.
func (l *statelessLink) call(ctx context.Context, clock *clock, m *mcp.Message, name string, inflight func(*mcp.Message)) (*mcp.Result, error) {
	switch m.Method {
	case mcp.MethodPing:
		return mcp.ParseResult([]byte("{}")), nil
	case mcp.MethodSetLevel:
		level, _ := mcp.Lookup(m.Params, "level")
		l.mu.Lock()
		l.level = bytes.Clone(level)
		l.mu.Unlock()
		return mcp.ParseResult([]byte("{}")), nil
	case mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		uri := m.Name
		if name != "" {
			uri = name
		}
		return mcp.ParseResult([]byte("{}")), l.subscribe(ctx, watched{false, uri}, m.Method == mcp.MethodSubscribe)
	}
	if m.Version != nil { // the client is of this era too
		return l.ask(ctx, clock, m, name, inflight)
	}
	// A state comes from the server and goes back to it; a client of the session era has none to send.
	if m.RequestState != nil || m.InputResponses != nil {
		own, err := mcp.NewRequest(m.Method, mcp.AppendMembers(nil, m.Params, mcp.Change{Drop: isInput}))
		if err != nil {
			return nil, err
		}
		m = &own
	}
	result, err := l.ask(ctx, clock, m, name, inflight)
	if err != nil {
		return nil, err
	}
	return l.settle(ctx, clock, m, name, result, inflight)
}

// isInput tells the params that a repeated call has.
func isInput(key []byte) bool {
	return string(key) == "inputResponses" || string(key) == "requestState"
}

// ask sends one request. When the server misses copies of arguments, its list of tools has changed: it is read again.
func (l *statelessLink) ask(ctx context.Context, clock *clock, m *mcp.Message, name string, inflight func(*mcp.Message)) (*mcp.Result, error) {
	result, err := l.c.exchange(ctx, clock, l, m, name, inflight)
	said, refused := errors.AsType[*mcp.Error](err)
	if !refused || said.Code != mcp.CodeHeaderMismatch || m.Method != mcp.MethodToolsCall {
		return result, err
	}
	if name == "" {
		name = m.Name
	}
	tools, _, listErr := l.c.list(ctx, mcp.Tools)
	if listErr != nil {
		return nil, err
	}
	l.c.t.catalog.stale()
	for _, tool := range tools {
		if params, bad := mcp.HeaderParams(tool.Raw); tool.Name == name && bad == nil {
			l.mu.Lock()
			l.copied = map[string][]mcp.HeaderParam{name: params} // until the catalogue knows
			l.mu.Unlock()
			if result, err = l.c.exchange(ctx, clock, l, m, name, inflight); err == nil {
				return result, nil
			}
			break
		}
	}
	if said, refused = errors.AsType[*mcp.Error](err); refused && said.Code == mcp.CodeHeaderMismatch {
		// To the client this code would say that its own headers are wrong.
		return nil, &mcp.Error{Code: mcp.CodeInternal, Message: "the server does not agree with the headers of Gatehouse's request: " + said.Message}
	}
	return nil, err
}
