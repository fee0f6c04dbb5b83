package target

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/testkit"
)

// oldServer is a hand-written server of HTTP+SSE. What it does with a message is scripted; a nil answer says nothing.
type oldServer struct {
	forgetful atomic.Bool // answers 404 for sessions that it does not know
	*httptest.Server
	endpoint string                                    // what the first event says; %s is the session's number
	answer   func(stream io.Writer, m mcp.Message) int // returns the status of the POST
	posted   chan *http.Request

	mu      sync.Mutex // guards streams
	streams map[string]*oldStream
	opened  int
}

type oldStream struct {
	mu    sync.Mutex // guards what follows
	w     http.ResponseWriter
	ended bool
}

func (s *oldStream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return 0, io.ErrClosedPipe
	}
	n, err := s.w.Write(b)
	_ = http.NewResponseController(s.w).Flush()
	return n, err
}

func (s *oldStream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

func newOldServer(t *testing.T) *oldServer {
	t.Helper()
	s := &oldServer{endpoint: "/messages?session=%s", streams: map[string]*oldStream{}, posted: make(chan *http.Request, 100)}
	s.answer = func(stream io.Writer, m mcp.Message) int {
		event(stream, mcp.AppendResult(nil, m.ID, []byte(`{"said":"`+m.Method+`"}`)))
		return http.StatusAccepted
	}
	s.Server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

func event(w io.Writer, raw []byte) { _, _ = fmt.Fprintf(w, "event: message\r\ndata: %s\r\n\r\n", raw) }

func (s *oldServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	known := s.streams[r.URL.Query().Get("session")]
	s.mu.Unlock()
	if s.forgetful.Load() && r.URL.Path == "/messages" && known == nil {
		http.Error(w, "session not found", http.StatusNotFound)
		return
	}
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/sse":
		s.mu.Lock()
		s.opened++
		id := fmt.Sprint(s.opened)
		st := &oldStream{w: w}
		s.streams[id] = st
		s.mu.Unlock()
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = fmt.Fprintf(st, ": welcome\n\nevent: endpoint\ndata: "+s.endpoint+"\n\n", url.QueryEscape(id))
		<-r.Context().Done()
		s.mu.Lock()
		delete(s.streams, id)
		s.mu.Unlock()
		st.end()
	case r.Method == http.MethodPost && r.URL.Path == "/messages":
		s.posted <- r
		body, _ := io.ReadAll(r.Body)
		m, err := mcp.Decode(body, mcp.Limits{})
		switch {
		case err != nil || known == nil:
			http.Error(w, "what?", http.StatusBadRequest)
		case m.Method == mcp.MethodInitialize:
			event(known, mcp.AppendResult(nil, m.ID, []byte(`{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"old","version":"1"}}`)))
			w.WriteHeader(http.StatusAccepted)
		case m.Method == mcp.MethodToolsList:
			event(known, mcp.AppendResult(nil, m.ID, []byte(`{"tools":[{"name":"x","inputSchema":{}}]}`)))
			w.WriteHeader(http.StatusAccepted)
		case m.Kind == mcp.KindNotification:
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(s.answer(known, m))
		}
	default:
		http.Error(w, "Cannot "+r.Method+" "+r.URL.Path, http.StatusNotFound)
	}
}

// drop ends all streams and forgets their sessions, as a restart does.
func (s *oldServer) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.streams)
	s.CloseClientConnections()
}

func (s *oldServer) options() Options {
	return Options{HTTP: &HTTPOptions{URL: s.URL + "/sse", Headers: headers("Authorization", "Bearer fixed")}}
}

func TestOldServer(t *testing.T) {
	t.Parallel()
	s := newOldServer(t)
	conn := connected(t, started(t, s.options()), Caller{Principal: person("ada")}, newRecorder())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil)
			if err != nil || string(result) != `{"said":"tools/call"}` {
				t.Errorf("%s, %v", result, err)
			}
		})
	}
	wg.Wait()
	if conn.Server().Revision != mcp.Rev20241105 {
		t.Errorf("%+v", conn.Server())
	}
	for len(s.posted) > 0 {
		if r := <-s.posted; r.Header.Get("Authorization") != "Bearer fixed" || r.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("sent %v", r.Header)
		}
	}
}

// Some servers answer before they accept the POST, or with the POST still open.
func TestOldServerThatAnswersFirst(t *testing.T) {
	t.Parallel()
	s := newOldServer(t)
	release := make(chan struct{})
	defer close(release)
	answered := s.answer
	s.answer = func(stream io.Writer, m mcp.Message) int {
		answered(stream, m)
		<-release
		return http.StatusOK
	}
	conn := connected(t, started(t, s.options()), Caller{Principal: person("ada")}, newRecorder())
	if result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil); err != nil || string(result) != `{"said":"tools/call"}` {
		t.Errorf("%s, %v", result, err)
	}
}

// The address for messages gets the target's credential, so it has to be the target's own.
func TestOldServerNamesAnotherOrigin(t *testing.T) {
	t.Parallel()
	stolen := make(chan string, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen <- r.Header.Get("Authorization") }))
	defer thief.Close()
	for _, address := range []string{
		thief.URL + "/messages", strings.TrimPrefix(thief.URL, "http:") + "/messages", "https://127.0.0.1/x", "http://user@127.0.0.1/", "file:///etc/passwd", "http://[::1", "",
	} {
		s := newOldServer(t)
		s.endpoint = address + "%.0s"
		tg := started(t, s.options())
		_, err := tg.Connect(t.Context(), Caller{Principal: person("ada")}, nil)
		if address == "" { // the stream's own address, where POST is not taken
			if err == nil {
				t.Error("an empty address was taken")
			}
			continue
		}
		if trouble, ok := errors.AsType[*Trouble](err); !ok || trouble.Kind != Down || !strings.Contains(err.Error(), "not at the target's own origin") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if len(stolen) > 0 {
		t.Errorf("the credential %q went elsewhere", <-stolen)
	}
}

// A response that cannot be taken ends its call; the stream brings others too, and goes on.
func TestOldServerAnswersRubbish(t *testing.T) {
	t.Parallel()
	s := newOldServer(t)
	answered := s.answer
	s.answer = func(stream io.Writer, m mcp.Message) int {
		if m.Method != mcp.MethodToolsCall {
			return answered(stream, m)
		}
		event(stream, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"isError":true,"isError":false}}`, m.ID))
		return http.StatusAccepted
	}
	conn := connected(t, started(t, s.options()), Caller{Principal: person("ada")}, newRecorder())
	_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil)
	wants(t, err, Rubbish)
	if _, err := conn.Call(t.Context(), mcp.MethodPromptsList, []byte(`{}`), nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestOldServerBreaksOff(t *testing.T) {
	t.Parallel()
	s := newOldServer(t)
	answered := s.answer
	var breaks atomic.Bool
	dropped := make(chan struct{})
	s.answer = func(stream io.Writer, m mcp.Message) int {
		if breaks.Swap(false) {
			go func() { // it waits for this handler
				s.drop()
				close(dropped)
			}()
			return http.StatusAccepted
		}
		return answered(stream, m)
	}
	o := s.options()
	o.Client = NewHTTPClient()
	o.Client.Transport.(*http.Transport).DisableKeepAlives = true // a slow machine does not notice at once which ones were dropped
	tg := started(t, o)
	if _, err := tg.Catalog(t.Context()); err != nil { // else the break shuts the gate when it comes in the middle of the first probe
		t.Fatal(err)
	}
	conn := connected(t, tg, Caller{Principal: person("ada")}, newRecorder())
	breaks.Store(true)
	_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil)
	if trouble, ok := errors.AsType[*Trouble](err); !ok || trouble.Kind != Down {
		t.Errorf("a call whose stream broke: %v", err)
	}
	<-dropped
	eventually(t, "a call that works", func() bool {
		result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil)
		return err == nil && string(result) == `{"said":"tools/call"}`
	})
	// A session that the server has forgotten is replaced without the caller's notice: nothing was executed.
	s.forgetful.Store(true)
	s.mu.Lock()
	clear(s.streams)
	s.mu.Unlock()
	if result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("x", ""), nil); err != nil || string(result) != `{"said":"tools/call"}` {
		t.Errorf("after the server forgot the session: %s, %v", result, err)
	}
}

// swap is a server whose kind changes, as one does that was upgraded behind its address.
type swap struct{ now atomic.Pointer[http.Handler] }

func (s *swap) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*s.now.Load()).ServeHTTP(w, r) }

func (s *swap) to(h http.Handler) { s.now.Store(&h) }

// A target that comes back as a server of another kind is found out anew, in the middle of a connection's life.
func TestServerOfAnotherKind(t *testing.T) {
	t.Parallel()
	old, session, modern := newOldServer(t), testkit.NewMCPServer(t), statelessServer(t)
	kinds := map[string]http.Handler{"http+sse": old, "session": session, "stateless": modern}
	for from := range kinds {
		for to := range kinds {
			if from == to {
				continue
			}
			t.Run(from+" to "+to, func(t *testing.T) {
				t.Parallel()
				var front swap
				front.to(kinds[from])
				s := httptest.NewServer(&front)
				t.Cleanup(func() {
					s.CloseClientConnections()
					s.Close()
				})
				tg := started(t, Options{HTTP: &HTTPOptions{URL: s.URL + "/sse"}})
				conn := connected(t, tg, Caller{Principal: person("ada"), Revision: mcp.Latest}, newRecorder())
				if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", `,"arguments":{}`), nil); err != nil {
					t.Fatalf("before: %v", err)
				}
				front.to(kinds[to])
				s.CloseClientConnections()
				// Calls may fail that find connection and stream broken, and for a moment after.
				eventually(t, "a call at the server that it has become", func() bool {
					_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", `,"arguments":{}`), nil)
					return err == nil
				})
			})
		}
	}
}

// statelessServer is a hand-written server of the stateless era with one tool.
func statelessServer(t *testing.T) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		m, err := mcp.Decode(body, mcp.Limits{})
		answer := func(status int, raw []byte) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write(raw)
		}
		switch {
		case r.Method != http.MethodPost:
			w.WriteHeader(http.StatusMethodNotAllowed)
		case err != nil:
			w.WriteHeader(http.StatusBadRequest)
		case m.Version == nil:
			answer(http.StatusBadRequest, mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeUnsupportedRevision, "too old")))
		case m.Method == mcp.MethodDiscover:
			answer(http.StatusOK, mcp.AppendResult(nil, m.ID, []byte(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"}`)))
		case m.Method == mcp.MethodToolsList:
			answer(http.StatusOK, mcp.AppendResult(nil, m.ID, []byte(`{"resultType":"complete","tools":[{"name":"echo","inputSchema":{}}],"ttlMs":0,"cacheScope":"public"}`)))
		case m.Method == mcp.MethodToolsCall:
			answer(http.StatusOK, mcp.AppendResult(nil, m.ID, []byte(`{"resultType":"complete","content":[]}`)))
		default:
			answer(http.StatusNotFound, mcp.AppendError(nil, m.ID, mcp.Errorf(mcp.CodeMethodNotFound, "Method not found")))
		}
	})
}

func FuzzSameOrigin(f *testing.F) {
	for _, address := range []string{"/messages?x=1", "messages", "//evil/x", "http://target.example:80/x", "http://target.example@evil/", "\\\\evil\\x", " /x", "?session=1"} {
		f.Add(address)
	}
	base, _ := url.Parse("http://target.example:80/sse")
	f.Fuzz(func(t *testing.T, address string) {
		if u, err := sameOrigin(base, address); err == nil && (u.Scheme != "http" || !strings.EqualFold(u.Host, base.Host) || u.User != nil) {
			t.Fatalf("%q leads to %s", address, u)
		}
	})
}
