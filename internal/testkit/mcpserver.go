// Package testkit holds what tests of several packages need: fakes that are small real servers in memory, a clock, keys. Only
// tests import it.
package testkit

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// MCPServer is a small real MCP server over streamable HTTP, written on raw JSON so that tests see and send exactly what
// they mean. It is one of the session era, unless Stateless says otherwise. It records every request with its headers, and
// any method can be scripted.
type MCPServer struct {
	URL          string
	Stateless    bool   // of the stateless era, see mcpstateless.go; set before the first request
	Capabilities string // raw JSON for initialize
	Instructions string

	server *httptest.Server

	mu       sync.Mutex // guards what follows
	requests []MCPRequest
	handlers map[string]func(*MCPCall)
	tools    map[string]func(*MCPCall)
	schemas  map[string]string
	sessions map[string]bool
	streams  map[chan string]string // by session
	answers  map[string]chan string
	minted   int
	noted    func(method, params string)
	streamed chan struct{} // gets a value for each GET stream that was opened
}

// MCPRequest is one recorded HTTP request. The RPC fields are empty for GET and DELETE.
type MCPRequest struct {
	HTTPMethod string
	Header     http.Header
	Body       string
	Session    string
	Method     string
	ID, Params json.RawMessage
}

// NewMCPServer starts a server with one tool, echo, which answers with its own arguments as text. It stops with the
// test.
func NewMCPServer(t testing.TB) *MCPServer {
	t.Helper()
	s := newMCPServer()
	s.start(t)
	return s
}

func newMCPServer() *MCPServer {
	s := &MCPServer{
		Capabilities: `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{},"logging":{}}`,
		handlers:     map[string]func(*MCPCall){},
		tools:        map[string]func(*MCPCall){},
		schemas:      map[string]string{},
		sessions:     map[string]bool{},
		streams:      map[chan string]string{},
		answers:      map[string]chan string{},
		streamed:     make(chan struct{}, 100),
	}
	s.Tool("echo", `{"type":"object"}`, func(c *MCPCall) {
		var p struct{ Arguments json.RawMessage }
		_ = json.Unmarshal(c.Params, &p)
		text, _ := json.Marshal(string(p.Arguments))
		c.Result(`{"content":[{"type":"text","text":` + string(text) + `}]}`)
	})
	for method, list := range map[string]string{"prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates"} {
		s.Handle(method, func(c *MCPCall) { c.Result(`{"` + list + `":[]}`) })
	}
	s.Handle("tools/list", func(c *MCPCall) { c.Result(s.toolList()) })
	s.Handle("ping", func(c *MCPCall) { c.Result(`{}`) })
	return s
}

func (s *MCPServer) start(t testing.TB) {
	s.server = httptest.NewServer(s)
	s.URL = s.server.URL + "/mcp"
	t.Cleanup(s.Close)
}

// Close ends all streams and connections.
func (s *MCPServer) Close() {
	s.mu.Lock()
	s.endStreams()
	s.mu.Unlock()
	s.server.CloseClientConnections()
	s.server.Close()
}

// Handle scripts a method; the handler may write anything, also nonsense.
func (s *MCPServer) Handle(method string, h func(*MCPCall)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handlers[method] = h
}

// Tool adds a tool with its raw input schema.
func (s *MCPServer) Tool(name, schema string, h func(*MCPCall)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tools[name], s.schemas[name] = h, schema
}

// RemoveTool takes a tool away, without telling anybody.
func (s *MCPServer) RemoveTool(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tools, name)
	delete(s.schemas, name)
}

func (s *MCPServer) toolList() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var items []string
	for _, name := range slices.Sorted(maps.Keys(s.tools)) {
		items = append(items, fmt.Sprintf(`{"name":%q,"description":"The tool %s.","inputSchema":%s,"x-unknown":{"kept":1.0}}`, name, name, s.schemas[name]))
	}
	return `{"tools":[` + strings.Join(items, ",") + `]}`
}

// Requests returns all requests so far, in order.
func (s *MCPServer) Requests() []MCPRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// RequestsOf returns the requests of one JSON-RPC method, or of one HTTP method such as DELETE.
func (s *MCPServer) RequestsOf(method string) []MCPRequest {
	return slices.DeleteFunc(s.Requests(), func(r MCPRequest) bool { return r.Method != method && r.HTTPMethod != method })
}

// DropSessions forgets all sessions and ends their streams, as a server does that was restarted: they are answered 404
// from now on.
func (s *MCPServer) DropSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
	s.endStreams()
}

// endStreams is called with the lock held.
func (s *MCPServer) endStreams() {
	for ch := range s.streams {
		close(ch)
		delete(s.streams, ch)
	}
}

// Push sends a raw message to every open stream and returns how many there are.
func (s *MCPServer) Push(raw string) int {
	return s.push(raw, func(string) bool { return true })
}

// PushTo sends a raw message to the open streams of a session.
func (s *MCPServer) PushTo(session, raw string) int {
	return s.push(raw, func(of string) bool { return of == session })
}

func (s *MCPServer) push(raw string, to func(session string) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch, session := range s.streams {
		if to(session) {
			ch <- raw
			n++
		}
	}
	return n
}

// AwaitStream waits until one more GET stream has been opened.
func (s *MCPServer) AwaitStream(t testing.TB) {
	t.Helper()
	select {
	case <-s.streamed:
	case <-t.Context().Done():
		t.Fatal("no GET stream was opened")
	}
}

// ServeHTTP implements http.Handler, for tests that put the server behind something else.
func (s *MCPServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	rec := MCPRequest{HTTPMethod: r.Method, Header: r.Header.Clone(), Body: string(body), Session: r.Header.Get("Mcp-Session-Id")}
	var rpc struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if r.Method == http.MethodPost {
		if err := json.Unmarshal(body, &rpc); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		rec.Method, rec.ID, rec.Params = rpc.Method, rpc.ID, rpc.Params
	}
	known := s.record(rec)
	c := &MCPCall{MCPRequest: rec, W: w, R: r, s: s}
	switch {
	case s.Stateless:
		s.serveStateless(c)
	case rpc.Method == "initialize":
		s.initialize(c)
	case !known:
		http.Error(w, `{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}`, http.StatusNotFound)
	case r.Method == http.MethodGet:
		s.stream(w, r)
	case r.Method == http.MethodDelete:
		s.mu.Lock()
		delete(s.sessions, rec.Session)
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	case rpc.ID == nil || rpc.Method == "":
		s.deliver(c, body)
		w.WriteHeader(http.StatusAccepted)
	default:
		s.call(c)
	}
}

func (s *MCPServer) record(rec MCPRequest) (sessionKnown bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, rec)
	return s.sessions[rec.Session]
}

func (s *MCPServer) initialize(c *MCPCall) {
	if h := s.handler("initialize", ""); h != nil {
		h(c)
		return
	}
	var p struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	_ = json.Unmarshal(c.Params, &p)
	c.W.Header().Set("Mcp-Session-Id", s.MintSession())
	instructions, _ := json.Marshal(s.Instructions)
	c.Result(fmt.Sprintf(`{"protocolVersion":%q,"capabilities":%s,"serverInfo":{"name":"raw","version":"1"},"instructions":%s}`,
		p.ProtocolVersion, s.Capabilities, instructions))
}

// MintSession makes a session id that the server will know, for scripted initialize handlers.
func (s *MCPServer) MintSession() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.minted++
	id := fmt.Sprintf("upstream-session-%d", s.minted)
	s.sessions[id] = true
	return id
}

func (s *MCPServer) handler(method, tool string) func(*MCPCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.handlers[method]; h != nil {
		return h
	}
	if method == "tools/call" {
		return s.tools[tool]
	}
	return nil
}

func (s *MCPServer) call(c *MCPCall) {
	var p struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(c.Params, &p)
	h := s.handler(c.Method, p.Name)
	switch {
	case h != nil:
		h(c)
	case c.Method == "tools/call":
		c.Error(-32602, "Unknown tool: "+p.Name)
	default:
		c.Error(-32601, "Method not found")
	}
}

// OnNotification sets what is called with each notification of the client.
func (s *MCPServer) OnNotification(f func(method, params string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = f
}

// deliver takes a notification, or a response to what a script asked.
func (s *MCPServer) deliver(c *MCPCall, body []byte) {
	s.mu.Lock()
	noted, ch := s.noted, s.answers[string(c.ID)]
	if c.Method == "" {
		delete(s.answers, string(c.ID))
	}
	s.mu.Unlock()
	switch { // without the lock, which whoever is told may need
	case c.Method != "" && noted != nil:
		noted(c.Method, string(c.Params))
	case c.Method == "" && ch != nil:
		ch <- string(body)
	}
}

func (s *MCPServer) stream(w http.ResponseWriter, r *http.Request) {
	if h := s.handler("GET", ""); h != nil {
		h(&MCPCall{MCPRequest: MCPRequest{HTTPMethod: r.Method, Header: r.Header}, W: w, R: r, s: s})
		return
	}
	ch := s.addStream(r.Header.Get("Mcp-Session-Id"))
	defer s.removeStream(ch)
	c := &MCPCall{W: w, R: r, s: s}
	c.Stream()
	s.follow(c, ch)
}

func (s *MCPServer) addStream(session string) chan string {
	ch := make(chan string, 1000)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[ch] = session
	return ch
}

func (s *MCPServer) removeStream(ch chan string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, ch)
}

// follow writes what Push sends to a stream, until it ends.
func (s *MCPServer) follow(c *MCPCall, ch chan string) {
	select {
	case s.streamed <- struct{}{}:
	default:
	}
	for {
		select {
		case raw, open := <-ch:
			if !open {
				return
			}
			c.Send(raw)
		case <-c.R.Context().Done():
			return
		}
	}
}

// MCPCall is one request that a script answers.
type MCPCall struct {
	MCPRequest
	W http.ResponseWriter
	R *http.Request

	s         *MCPServer
	streaming bool
}

// Result answers with a raw result, on the stream when there is one.
func (c *MCPCall) Result(raw string) {
	c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, c.ID, raw))
}

// Error answers with a JSON-RPC error.
func (c *MCPCall) Error(code int, message string) {
	text, _ := json.Marshal(message)
	c.write(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s}}`, c.ID, code, text))
}

func (c *MCPCall) write(raw string) {
	if c.streaming {
		c.Send(raw)
		return
	}
	c.W.Header().Set("Content-Type", "application/json")
	c.W.Header().Set("Content-Length", strconv.Itoa(len(raw)))
	_, _ = io.WriteString(c.W, raw)
}

// Stream begins an answer of server-sent events.
func (c *MCPCall) Stream() {
	c.streaming = true
	c.W.Header().Set("Content-Type", "text/event-stream")
	c.W.WriteHeader(http.StatusOK)
	c.flush()
}

// Send writes one raw message as an event.
func (c *MCPCall) Send(raw string) { c.SendRaw("data: " + raw + "\n\n") }

// SendRaw writes bytes to the answer at once.
func (c *MCPCall) SendRaw(raw string) {
	_, _ = io.WriteString(c.W, raw)
	c.flush()
}

func (c *MCPCall) flush() { _ = http.NewResponseController(c.W).Flush() }

// ProgressToken returns the raw token of the request, empty when there is none.
func (c *MCPCall) ProgressToken() string {
	var p struct {
		Meta struct {
			ProgressToken json.RawMessage `json:"progressToken"`
		} `json:"_meta"`
	}
	_ = json.Unmarshal(c.Params, &p)
	return string(p.Meta.ProgressToken)
}

// Ask sends a request of the server on the stream and waits for the client's whole response, which is empty when the
// client gave up the call.
func (c *MCPCall) Ask(id, method, params string) string { return c.Asking(id, method, params)() }

// Asking is Ask in two parts, for scripts that ask several things side by side: it sends, and returns the wait.
func (c *MCPCall) Asking(id, method, params string) func() string {
	ch := c.s.Expect(id)
	c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":%q,"params":%s}`, id, method, params))
	return func() string {
		select {
		case answer := <-ch:
			return answer
		case <-c.R.Context().Done():
			return ""
		}
	}
}

// Expect returns where the client's response to a request of the server comes.
func (s *MCPServer) Expect(id string) <-chan string {
	ch := make(chan string, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[id] = ch
	return ch
}
