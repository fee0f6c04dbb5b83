package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/seal"
	"gatehouse/internal/secret"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

func TestMain(m *testing.M) {
	sandbox.RunIfAsked()
	switch os.Getenv(commandEnv) {
	case "":
		goleak.VerifyTestMain(m)
	case "hanging":
		playHanging()
	default:
		playAsker()
	}
}

// playHanging is a server with one tool, which shows progress and then nothing.
func playHanging() {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		m, err := mcp.Decode(in.Bytes(), mcp.Limits{})
		if err != nil {
			continue
		}
		switch m.Method {
		case mcp.MethodInitialize:
			fmt.Println(string(mcp.AppendResult(nil, m.ID, []byte(`{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"hanging","version":"1"}}`))))
		case mcp.MethodToolsList:
			fmt.Println(string(mcp.AppendResult(nil, m.ID, []byte(`{"tools":[{"name":"hang","inputSchema":{}}]}`))))
		case mcp.MethodToolsCall:
			fmt.Println(string(mcp.AppendNotification(nil, mcp.NoteProgress, fmt.Appendf(nil, `{"progressToken":%s,"progress":1}`, m.ProgressToken))))
		case mcp.MethodDiscover:
			fmt.Println(string(mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeMethodNotFound, "Method not found"))))
		}
	}
}

// tokens is an Authenticator with a fixed list of bearer tokens.
type tokens struct {
	mu    sync.Mutex
	known map[string]*identity.Principal
}

func newTokens() *tokens {
	return &tokens{known: map[string]*identity.Principal{
		"ada-token":       principal("ada", "mcp:tools"),
		"ada-admin-token": principal("ada", "mcp:tools mcp:admin"),
		"bob-token":       principal("bob", "mcp:tools"),
		"eve-token":       principal("eve", "mcp:tools", "guests"),
	}}
}

func principal(name, scopes string, groups ...any) *identity.Principal {
	return &identity.Principal{
		Key: identity.PersonKey{Issuer: "https://idp.example", Subject: name}, Client: "test-client",
		Scopes: identity.ParseScopes(scopes), Claims: identity.Claims{"name": name, "groups": groups},
	}
}

func (a *tokens) revoke(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.known, token)
}

// tokensAt are the tokens as one endpoint takes them.
type tokensAt struct {
	*tokens
	path string
}

func (a *tokens) Recheck(r *http.Request) (*identity.Principal, error) { return a.Authenticate(r) }

func (a *tokens) Authenticate(r *http.Request) (*identity.Principal, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if p := a.known[token]; p != nil {
		return p, nil
	}
	return nil, errors.New("no good token")
}

func (a tokensAt) Refuse(w http.ResponseWriter, _ *http.Request, _ error) {
	w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://gatehouse.example/.well-known/oauth-protected-resource`+a.path+`"`)
	w.WriteHeader(http.StatusUnauthorized)
}

func (a *tokens) InsufficientScope(w http.ResponseWriter, _ *http.Request, p *identity.Principal, needed identity.Scopes) {
	w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+p.Scopes.Union(needed).String()+`"`)
	w.WriteHeader(http.StatusForbidden)
}

// setup is a gateway at work.
type setup struct {
	t       *testing.T
	auth    *tokens
	gateway *Gateway
	table   *session.Table
	server  *httptest.Server
	log     *syncBuffer
	run     *runner

	internal *runner     // of the address for other copies
	lost     atomic.Bool // it breaks off what others hand on
}

type config struct {
	keys      *seal.Keyring // shared with other copies; nil when there are none
	options   Options
	session   session.Options
	endpoints []Endpoint
}

// syncBuffer takes log records from many goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// runner runs long work until the test ends, and waits for it.
type runner struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func newRunner(t *testing.T) *runner {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner{ctx: ctx, cancel: cancel}
	t.Cleanup(func() {
		cancel()
		r.wg.Wait()
	})
	return r
}

func (r *runner) start(t *testing.T, run func(context.Context) error) {
	r.wg.Go(func() {
		if err := run(r.ctx); err != nil {
			t.Error(err)
		}
	})
}

func start(t *testing.T, c config) *setup {
	t.Helper()
	c.endpoints = slices.Clone(c.endpoints)
	s := &setup{t: t, auth: newTokens(), log: &syncBuffer{}, run: newRunner(t)}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if c.keys != nil {
		c.options.Copies = s.join(c.keys, log)
		c.session.Owner = c.options.Copies.Self()
	} else {
		c.keys = testkit.Keyring(t)
	}
	if c.session.Box == nil {
		c.session.Box = c.keys.Box(session.Purpose)
	}
	c.options.State, c.options.Tasks = c.keys.Box(StatePurpose), c.keys.MAC(TaskPurpose)
	if s.table, err = session.New(c.session); err != nil {
		t.Fatal(err)
	}
	c.options.Sessions, c.options.Log, c.options.Version = s.table, log, "1.0"
	if s.gateway, err = New(c.options); err != nil {
		t.Fatal(err)
	}
	s.swap(c.endpoints...)
	mux := http.NewServeMux()
	for _, path := range []string{"/mcp", "/other/mcp"} {
		mux.Handle(path, s.gateway.Handler(path))
	}
	s.server = httptest.NewServer(web.Chain(mux, web.WithRequestID, web.Record(log, time.Now, nil), web.LimitBody(1<<20, 10*time.Second)))
	s.run.start(t, s.table.Run)
	s.run.start(t, s.gateway.Run)
	s.run.start(t, s.gateway.Index)
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
	})
	return s
}

func (s *setup) swap(endpoints ...Endpoint) {
	s.t.Helper()
	for i := range endpoints {
		if endpoints[i].Policy == nil {
			endpoints[i].Policy = anySignedIn(s.t)
		}
		if endpoints[i].Path == "" {
			endpoints[i].Path = "/mcp"
		}
		endpoints[i].Auth = tokensAt{s.auth, endpoints[i].Path}
	}
	if _, err := s.gateway.Swap(Snapshot{Endpoints: endpoints}); err != nil {
		s.t.Fatal(err)
	}
}

func anySignedIn(t testing.TB, requires ...policy.Requirement) *policy.Policy {
	t.Helper()
	p, err := policy.New(policy.Options{Access: policy.Access{AnySignedIn: true}, Requires: requires})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// newTarget makes a target of a URL; running runs it until the test ends.
func newTarget(t *testing.T, name, url string, change func(*target.Options)) *target.Target {
	t.Helper()
	client := target.NewHTTPClient()
	o := target.Options{
		Name: name, HTTP: &target.HTTPOptions{URL: url, Headers: map[string]secret.Text{"Authorization": secret.New("Bearer target-credential")}},
		Client: client, CatalogWait: time.Second,
	}
	if change != nil {
		change(&o)
	}
	made, err := target.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return made
}

func running(t *testing.T, made *target.Target) *target.Target {
	newRunner(t).start(t, made.Run)
	return made
}

// rawTarget is a scripted server and the target in front of it, whose catalogue is known.
func rawTarget(t *testing.T, name string) (*testkit.MCPServer, *target.Target) {
	t.Helper()
	server := testkit.NewMCPServer(t)
	return server, listed(t, newTarget(t, name, server.URL, nil))
}

// listed runs a target and waits until its catalogue is there.
func listed(t *testing.T, made *target.Target) *target.Target {
	t.Helper()
	told := make(chan struct{}, 10)
	stop := made.OnChange(func(string) { told <- struct{}{} })
	running(t, made)
	<-told
	stop()
	return made
}

// caller speaks to the gateway in raw HTTP, as one client of one person.
type caller struct {
	s        *setup
	client   *http.Client
	path     string
	token    string
	session  string
	revision string
}

func (s *setup) caller(token string) *caller {
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &caller{s: s, client: &http.Client{Transport: transport}, path: "/mcp", token: token, revision: "2025-11-25"}
}

func (c *caller) request(ctx context.Context, method, body string) *http.Request {
	c.s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, c.s.server.URL+c.path, strings.NewReader(body))
	if err != nil {
		c.s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Accept", "application/json, text/event-stream")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.session != "" {
		r.Header.Set("Mcp-Session-Id", c.session)
		r.Header.Set("Mcp-Protocol-Version", c.revision)
	}
	return r
}

func (c *caller) do(r *http.Request) *http.Response {
	c.s.t.Helper()
	resp, err := c.client.Do(r)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return resp
}

// post sends a message and returns status and body.
func (c *caller) post(body string) (int, string) {
	c.s.t.Helper()
	resp := c.do(c.request(c.s.t.Context(), http.MethodPost, body))
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (c *caller) initialize(capabilities string) *caller {
	c.s.t.Helper()
	resp := c.do(c.request(c.s.t.Context(), http.MethodPost,
		`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"`+c.revision+`","capabilities":`+capabilities+`,"clientInfo":{"name":"raw","version":"1"}}}`))
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if c.session = resp.Header.Get("Mcp-Session-Id"); resp.StatusCode != http.StatusOK || c.session == "" {
		c.s.t.Fatalf("initialize: %d %s", resp.StatusCode, body)
	}
	return c
}

// stream is an open stream of events.
type stream struct {
	t      *testing.T
	resp   *http.Response
	cancel context.CancelFunc
	read   *eventReader
}

func (c *caller) open(method, body, last string) *stream {
	c.s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := c.request(ctx, method, body)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	resp := c.do(r)
	st := &stream{t: c.s.t, resp: resp, cancel: cancel, read: newEventReader(resp.Body)}
	c.s.t.Cleanup(st.close)
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		body, _ := io.ReadAll(resp.Body)
		c.s.t.Fatalf("%s: %d %s, want a stream: %s", method, resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	return st
}

func (st *stream) close() {
	st.cancel()
	_ = st.resp.Body.Close()
}

// next returns the next event, id and data; the data is empty for a priming event.
func (st *stream) next() (id, data string) {
	st.t.Helper()
	e, err := st.read.Next()
	if err != nil {
		st.t.Fatalf("stream ended: %v", err)
	}
	return e.ID, string(e.Data)
}

// ends waits for the server to end the stream.
func (st *stream) ends() {
	st.t.Helper()
	if e, err := st.read.Next(); err == nil {
		st.t.Errorf("one more event: %s", e.Data)
	}
}

type eventReader = mcp.SSEReader

func newEventReader(r io.Reader) *eventReader { return mcp.NewSSEReader(r, 1<<20) }

// eventually waits for something that happens on another goroutine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
