package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// address is where a house listens.
func (h *house) address() string {
	return strings.Replace(strings.TrimPrefix(h.url, "http://"), "localhost", "127.0.0.1", 1)
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, demoOnly)
	l, err := net.Listen("tcp", h.address())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.tryStart(); err == nil || !strings.Contains(err.Error(), "another program has port") {
		t.Errorf("a taken port: %v", err)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a start that failed left a state directory behind")
	}
	l.Close()
	h.start()
}

// A start that fails half way gives back what it took.
func TestBrokenDatabase(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, demoOnly)
	h.addUser("alice")
	path := filepath.Join(h.dir, "state", "gatehouse.db")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"other": "these are notes, not a database", "empty": "", "cut": string(good[:len(good)/2])} {
		h.write("state/gatehouse.db", content)
		if err := h.tryStart(); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "gatehouse restore") {
			t.Errorf("%s file: %v; want the path and the way out", name, err)
		}
		if now, _ := os.ReadFile(path); string(now) != content {
			t.Errorf("%s file: it was changed", name)
		}
	}
	h.write("state/gatehouse.db", string(good))
	h.start() // on the same port
}

// Targets that cannot be reached take no other with them, and say what is wrong.
func TestTargetsThatCannotStart(t *testing.T) {
	t.Parallel()
	h := openHouse(t, fmt.Sprintf(`
targets:
  demo: {demo: true}
  gone: {command: [%q]}
  refused: {url: "http://127.0.0.1:%d/mcp"}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [gone, refused, demo]}
`, filepath.Join(t.TempDir(), "no-such-program"), freePort(t)))
	c := connect(h, "/mcp")
	for _, name := range c.tools() {
		if !strings.HasPrefix(name, "demo___") {
			t.Errorf("tool %s of a target that is down", name)
		}
	}
	c.mustCall("demo___echo", `{"text":"works"}`)
	for _, tool := range []string{"gone___x", "refused___x"} {
		a := c.call(tool, `{}`)
		if a.status != http.StatusOK || !strings.Contains(a.body, "administrator") {
			t.Errorf("%s: %s; want an error that says whom to ask", tool, a)
		}
		if strings.Contains(a.body, "no-such-program") || strings.Contains(a.body, "127.0.0.1") {
			t.Errorf("%s: the error tells how the target is reached: %s", tool, a)
		}
	}
	if status, doc := c.getJSON(h.url + "/healthz"); status != http.StatusOK || doc["status"] != "degraded" {
		t.Errorf("health: %d %v, want degraded", status, doc)
	}
	if text := h.log.String(); !strings.Contains(text, "no-such-program") {
		t.Error("the log does not name the program that is missing")
	}
}

// Each thing that a client may send wrong gets its own answer, and the next client is served.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	h := openHouse(t, "allowed_origins: [\"https://inspector.example\"]\n"+demoOnly)
	c := connect(h, "/mcp")
	deep := func(n int) string {
		return c.message("tools/call", `{"name":"demo___echo","arguments":{"text":"x","deep":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}}`)
	}
	big := strings.Repeat("x", 5<<20)
	for _, test := range []struct {
		name   string
		body   string
		change func(*http.Request)
		want   int
	}{
		{"a body that is too large", c.message("ping", `{"x":"`+big+`"}`), nil, http.StatusRequestEntityTooLarge},
		{"a body that is too large, of unknown length", c.message("ping", `{"x":"`+big+`"}`), func(r *http.Request) { r.ContentLength = -1 }, http.StatusRequestEntityTooLarge},
		{"headers that are too large", c.message("ping", `{}`), func(r *http.Request) { r.Header.Set("X-Big", big[:64<<10]) }, http.StatusRequestHeaderFieldsTooLarge},
		{"another host", c.message("ping", `{}`), func(r *http.Request) { r.Host = "evil.example" }, http.StatusMisdirectedRequest},
		{"a foreign origin", c.message("ping", `{}`), func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden},
		{"no origin that can be named", c.message("ping", `{}`), func(r *http.Request) { r.Header.Set("Origin", "null") }, http.StatusForbidden},
		{"an allowed origin", c.message("ping", `{}`), func(r *http.Request) { r.Header.Set("Origin", "https://inspector.example") }, http.StatusOK},
		{"JSON that is too deep", deep(64), nil, http.StatusBadRequest},
		{"JSON that is deep", deep(50), nil, http.StatusOK},
		{"keys twice", `{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}`, nil, http.StatusBadRequest},
		{"no JSON", "hello", nil, http.StatusBadRequest},
		{"another method", "x", func(r *http.Request) { r.Method = http.MethodPut }, http.StatusMethodNotAllowed},
	} {
		r := c.request(t.Context(), http.MethodPost, test.body)
		if test.change != nil {
			test.change(r)
		}
		a, err := c.tryPost(r)
		if err != nil || a.status != test.want {
			t.Errorf("%s: %d %.200s, error %v; want %d", test.name, a.status, a.body, err, test.want)
		}
	}
	c.mustBeIn()
}

// A browser's assistant of an allowed origin may ask, and may read the headers that it needs.
func TestCORS(t *testing.T) {
	t.Parallel()
	h := openHouse(t, "allowed_origins: [\"https://inspector.example\"]\n"+demoOnly)
	c := newClient(h, "/mcp")
	ask := func(method, origin string) answer {
		r := c.request(t.Context(), method, "")
		r.Header.Set("Origin", origin)
		if method == http.MethodOptions {
			r.Header.Set("Access-Control-Request-Method", "POST")
			r.Header.Set("Access-Control-Request-Headers", "authorization, content-type, mcp-session-id")
		}
		a, err := c.tryPost(r)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	preflight := ask(http.MethodOptions, "https://inspector.example")
	if preflight.status/100 != 2 || preflight.header.Get("Access-Control-Allow-Origin") != "https://inspector.example" ||
		!strings.Contains(preflight.header.Get("Access-Control-Allow-Headers"), "authorization") {
		t.Errorf("preflight: %d %v", preflight.status, preflight.header)
	}
	refused := ask(http.MethodPost, "https://inspector.example")
	exposed := refused.header.Get("Access-Control-Expose-Headers")
	if refused.status != http.StatusUnauthorized || !strings.Contains(exposed, "WWW-Authenticate") || !strings.Contains(exposed, "Mcp-Session-Id") {
		t.Errorf("the 401 exposes %q: %s", exposed, refused)
	}
	if a := ask(http.MethodOptions, "https://evil.example"); a.header.Get("Access-Control-Allow-Origin") != "" || a.status != http.StatusForbidden {
		t.Errorf("preflight of a foreign origin: %d %v", a.status, a.header)
	}
}

// Somebody who never finishes the headers loses the connection; nobody else notices.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	conn, err := net.Dial("tcp", h.address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /mcp HTTP/1.1\r\nHost: "); err != nil {
		t.Fatal(err)
	}
	connect(h, "/mcp").mustBeIn()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is still open after %s", patience)
	}
}

const shortStale = "max_stale: 8s\n"

// While the database is away, verified tokens work for max_stale, then they are refused with 503, and nobody signs in.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	h := openHouse(t, shortStale+demoOnly)
	databaseAway(t, h, func() { _ = h.app.state.Store.Close() })
}

func TestDatabaseAwayPostgres(t *testing.T) {
	t.Parallel()
	pg, err := testkit.StartPostgres()
	if errors.Is(err, testkit.ErrNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() }) // a second time, when the test came so far
	dsn, err := pg.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := openHouse(t, shortStale+fmt.Sprintf("database: %q\n", dsn)+demoOnly)
	databaseAway(t, h, func() { _ = pg.Stop() })
}

func databaseAway(t *testing.T, h *house, takeAway func()) {
	c := connect(h, "/mcp")
	newcomer := newClient(h, "/mcp")
	newcomer.register()
	signInPage := newcomer.browser.Open(newcomer.authorizeURL("a-verifier-of-some-length-a-verifier-of-some-length", "mcp:tools"))
	takeAway()
	c.mustCall("demo___echo", `{"text":"still works"}`)
	if status, doc := c.getJSON(h.url + "/healthz"); status != http.StatusOK || doc["status"] != "degraded" {
		t.Errorf("health with the database away: %d %v", status, doc)
	}
	if p := newcomer.browser.Password(signInPage, "alice", alicePassword); p.Status != http.StatusServiceUnavailable {
		t.Errorf("sign-in with the database away: %s\n%s", p, p.Text)
	}
	if status, doc := c.refreshTokens(); status != http.StatusServiceUnavailable {
		t.Errorf("refresh with the database away: %d %v", status, doc)
	}
	h.log.await(t, 0, "revocations cannot be read")
	eventually(t, 8*time.Second+elsewhere, "tokens are refused", func() bool { return c.rpc("ping", `{}`).status != http.StatusOK })
	if a := c.rpc("ping", `{}`); a.status != http.StatusServiceUnavailable || a.challenge()["error"] != "" {
		t.Errorf("after max_stale: %s; want 503, which makes no client sign in again", a)
	}
	if status, _ := c.getJSON(h.url + "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("ready after max_stale: %d", status)
	}
}

// Who waits for a call that outlasts the stop is told that it may have been executed.
func TestStopAnswersLongCalls(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	begun := make(chan struct{})
	up.Tool("long", `{"type":"object"}`, func(c *testkit.MCPCall) {
		close(begun)
		<-c.R.Context().Done()
	})
	h := openHouse(t, demoAnd(up))
	c := connect(h, "/mcp")
	call := c.request(t.Context(), http.MethodPost, c.message("tools/call", `{"name":"up___long"}`))
	told := make(chan string, 1)
	go func() {
		a, err := c.tryPost(call)
		told <- fmt.Sprint(a, err)
	}()
	<-begun
	h.stop()
	if got := <-told; !strings.Contains(got, "may have been executed") {
		t.Errorf("a call that outlasts the stop: %s", got)
	}
}

// Open streams do not hold up the stop: they end, and so does the program.
func TestStopWithOpenStreams(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	h := openHouse(t, demoAnd(up))
	const streams = 20
	ended := make(chan error, streams)
	for _, c := range callersOf(connect(h, "/mcp"), streams/2) {
		c.http = &http.Client{Transport: c.http.Transport} // without a timeout
		r := c.request(context.WithoutCancel(t.Context()), http.MethodGet, "")
		r.Header.Set("Accept", "text/event-stream")
		resp, err := c.http.Do(r)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("open a stream: %v %v", resp, err)
		}
		go func() {
			defer resp.Body.Close()
			_, err := io.Copy(io.Discard, bufio.NewReader(resp.Body))
			ended <- err
		}()
	}
	if took := h.stop(); took >= requestGrace { // it did not wait until they are cut
		t.Errorf("the stop took %s with open streams", took)
	}
	for range streams {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("a stream was cut instead of ended: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("a stream is still open after the stop")
		}
	}
	if _, err := net.DialTimeout("tcp", h.address(), time.Second); err == nil {
		t.Error("something still listens after the stop")
	}
}
