package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

// TestHostileAnswers scripts what a broken or lying server may do to a call.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	status := func(code int) func(*testkit.MCPCall) {
		return func(c *testkit.MCPCall) {
			c.W.Header().Set("WWW-Authenticate", `Bearer resource_metadata="https://evil.example"`)
			http.Error(c.W, "a secret of the upstream", code)
		}
	}
	raw := func(contentType, body string) func(*testkit.MCPCall) {
		return func(c *testkit.MCPCall) {
			c.W.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(c.W, body)
		}
	}
	for name, tc := range map[string]struct {
		script func(*testkit.MCPCall)
		kind   TroubleKind
	}{
		"401":               {status(401), CredentialRefused},
		"403":               {status(403), CredentialRefused},
		"500":               {status(500), Down},
		"202 for a request": {status(202), Down},
		"not JSON":          {raw("application/json", `<html>`), Rubbish},
		"a page":            {raw("text/html", `<html>`), Rubbish},
		"keys twice":        {func(c *testkit.MCPCall) { c.Result(`{"isError":true,"isError":false}`) }, Rubbish},
		"another id":        {raw("application/json", `{"jsonrpc":"2.0","id":4711,"result":{}}`), Rubbish},
		"a notification":    {raw("application/json", `{"jsonrpc":"2.0","method":"notifications/message"}`), Rubbish},
		"a batch":           {raw("application/json", `[{"jsonrpc":"2.0","id":1,"result":{}}]`), Rubbish},
		"an error that is none": {func(c *testkit.MCPCall) {
			raw("application/json", fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":"no"}`, c.ID))(c)
		}, Rubbish},
		"empty":                   {raw("application/json", ``), Rubbish},
		"too large":               {func(c *testkit.MCPCall) { c.Result(`{"x":"` + strings.Repeat("x", 200_000) + `"}`) }, TooLarge},
		"too large an event":      {func(c *testkit.MCPCall) { c.Stream(); c.Result(`{"x":"` + strings.Repeat("x", 200_000) + `"}`) }, TooLarge},
		"an event of rubbish":     {func(c *testkit.MCPCall) { c.Stream(); c.Send(`{{`) }, Rubbish},
		"a stream without answer": {func(c *testkit.MCPCall) { c.Stream(); c.Send(`{"jsonrpc":"2.0","id":4711,"result":{}}`) }, Down},
		"a stream that breaks":    {func(c *testkit.MCPCall) { c.Stream(); c.SendRaw("data: {\"jsonr"); abort(t, c) }, Down},
		"a body that breaks": {func(c *testkit.MCPCall) {
			c.W.Header().Set("Content-Type", "application/json")
			c.W.Header().Set("Content-Length", "1000")
			c.SendRaw(`{"jsonrpc":`)
			abort(t, c)
		}, Down},
		"a closed connection": {func(c *testkit.MCPCall) { abort(t, c) }, Down},
		"silence":             {func(c *testkit.MCPCall) { <-c.R.Context().Done() }, Timeout},
		"a silent stream":     {func(c *testkit.MCPCall) { c.Stream(); <-c.R.Context().Done() }, Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewMCPServer(t)
			s.Tool("hostile", `{}`, tc.script)
			o := rawOptions(s)
			o.MaxMessage = 100_000
			o.Timeout = time.Minute
			if tc.kind == Timeout {
				o.Timeout = 2 * time.Second // enough for what is not silent
			}
			conn := connected(t, started(t, o), Caller{}, nil)
			result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("hostile", ""), nil)
			if err == nil {
				t.Fatalf("got %s", result)
			}
			wants(t, err, tc.kind)
			if trouble, ok := errors.AsType[*Trouble](err); ok && strings.Contains(trouble.Message, "secret") {
				t.Errorf("message %s", trouble.Message)
			}
			if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// abort resets the connection under a handler.
func abort(t *testing.T, c *testkit.MCPCall) {
	conn, _, err := http.NewResponseController(c.W).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func TestErrorsOfTheTargetAreItsOwn(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("refuses", `{}`, func(c *testkit.MCPCall) { c.Error(-32050, "not today") })
	s.Tool("refuses_with_400", `{}`, func(c *testkit.MCPCall) { c.W.WriteHeader(http.StatusBadRequest); c.Error(-32602, "bad") })
	conn := connected(t, started(t, rawOptions(s)), Caller{}, nil)
	for tool, code := range map[string]int{"refuses": -32050, "refuses_with_400": -32602} {
		_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams(tool, ""), nil)
		if said, ok := errors.AsType[*mcp.Error](err); !ok || said.Code != code {
			t.Errorf("%s: %v", tool, err)
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed with authorization %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	s := testkit.NewMCPServer(t)
	s.Tool("moved", `{}`, func(c *testkit.MCPCall) {
		http.Redirect(c.W, c.R, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	o := rawOptions(s)
	o.HTTP.Headers = map[string]secret.Text{"Authorization": secret.New("Bearer x")}
	conn := connected(t, started(t, o), Caller{}, nil)
	_, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("moved", ""), nil)
	wants(t, err, Down)
}

// A connection can be an answer behind when a proxy in front of the target has lost count. What was said to one person is
// nobody else's then, and nothing more is asked over that connection.
func TestAnswersToEarlierRequests(t *testing.T) {
	t.Parallel()
	for name, stateless := range map[string]bool{"session": false, "stateless": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testkit.NewMCPServer(t)
			s.Stateless = stateless
			var behind atomic.Bool
			var spoilt sync.Map // addresses of connections
			late := func(result string) func(*testkit.MCPCall) {
				var before atomic.Pointer[testkit.MCPCall]
				return func(c *testkit.MCPCall) {
					if last := before.Swap(&testkit.MCPCall{MCPRequest: c.MCPRequest}); last != nil && behind.Load() {
						c.ID = last.ID
						spoilt.Store(c.R.RemoteAddr, true)
					} else if _, ok := spoilt.Load(c.R.RemoteAddr); ok {
						t.Error("a connection that was an answer behind has carried another request")
					}
					c.W.Header().Set("Mcp-Session-Id", s.MintSession())
					c.Result(result)
				}
			}
			s.Tool("late", `{}`, late(`{"resultType":"complete","content":[]}`))
			s.Handle(mcp.MethodInitialize, late(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}}}`))
			o := rawOptions(s)
			o.Client = web.NewTargetClient(web.ClientOptions{})
			t.Cleanup(o.Client.CloseIdleConnections)
			tg := started(t, o)
			var people [3]*Conn // the first one's finds out what the server is
			for i := range people {
				people[i] = connected(t, tg, Caller{Principal: person(fmt.Sprint(i))}, newRecorder())
			}
			if _, err := people[1].Call(t.Context(), mcp.MethodToolsCall, toolParams("late", ""), nil); err != nil {
				t.Fatal(err)
			}
			behind.Store(true)
			_, err := people[2].Call(t.Context(), mcp.MethodToolsCall, toolParams("late", ""), nil)
			wants(t, err, Rubbish)
			conn, err := tg.Connect(t.Context(), Caller{Principal: person("late")}, newRecorder())
			if err == nil {
				conn.Close()
			}
			if err == nil && !stateless {
				t.Error("a session begins with the answer that began another person's")
			}
			behind.Store(false)
			if _, err := people[2].Call(t.Context(), mcp.MethodToolsCall, toolParams("late", ""), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// Targets on one host, and a target before and after a reload, share connections, too.
func TestNoRequestHasTheIDOfAnother(t *testing.T) {
	t.Parallel()
	s := testkit.NewMCPServer(t)
	s.Tool("echo", `{}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	for range 2 {
		conn := connected(t, started(t, rawOptions(s)), Caller{Principal: person("ada")}, newRecorder())
		if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("echo", ""), nil); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, r := range s.Requests() {
		if id := string(r.ID); id != "" {
			if seen[id] {
				t.Errorf("two requests have the id %s", id)
			}
			seen[id] = true
		}
	}
	if len(seen) == 0 {
		t.Error("no requests")
	}
}
