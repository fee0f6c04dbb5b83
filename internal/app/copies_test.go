package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/doctor"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// twoCopies starts two copies of one Gatehouse, with a PostgreSQL database between them.
func twoCopies(t *testing.T, upstream *testkit.MCPServer) (a, b *house) {
	t.Helper()
	pg, err := testkit.StartPostgres()
	if errors.Is(err, testkit.ErrNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pg.Stop() })
	dsn, err := pg.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	settings := func() string {
		return fmt.Sprintf("public_url: $PUBLIC\ndatabase: %q\ncopies: {listen: \"127.0.0.1:%d\"}\n", dsn, freePort(t)) + demoAnd(upstream)
	}
	first := settings()
	a = prepareHouse(t, strings.ReplaceAll(first, "$PUBLIC", "$URL"))
	a.addUser("alice", "eng")
	a.addUser("bob", "eng")
	a.start()
	b = prepareHouse(t, strings.ReplaceAll(settings(), "$PUBLIC", a.url))
	b.start()
	return a, b
}

// TestDoctorLooksForCopies: a copy that others cannot reach takes no session with it when a request goes astray.
func TestDoctorLooksForCopies(t *testing.T) {
	t.Parallel()
	a, b := twoCopies(t, testkit.NewMCPServer(t))
	look := func(address string) string {
		c := a.config()
		if address != "" {
			c.Copies.Address = secret.New(address)
		}
		found, err := Doctor(t.Context(), c, DoctorOptions{File: a.file})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == "copies" })
		if i < 0 {
			t.Fatal("it does not look")
		}
		return string(found[i].Status) + " " + string(found[i].Code)
	}
	if got := look(""); got != "ok " {
		t.Errorf("a copy in its place: %s", got)
	}
	for what, address := range map[string]string{"nobody": fmt.Sprint("127.0.0.1:", freePort(t)), "something else": b.address()} {
		if got := look(address); got != "fail copy_away" {
			t.Errorf("%s in its place: %s", what, got)
		}
	}
}

// at is the same client at another copy, as a load balancer does it.
func (c *client) at(h *house) *client {
	own := *c
	own.h = h
	own.endpoint = h.url + strings.TrimPrefix(c.endpoint, c.h.url)
	return &own
}

// Whichever copy of two a request comes to, it is answered by the one that has the session or the parked call; when that
// one is gone, clients are told in the protocol's own words, and nothing is done twice.
func TestTwoCopies(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	up.Tool("ask", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		id := fmt.Sprintf(`"q%d"`, len(up.RequestsOf("tools/call")))
		c.Result(`{"content":[],"structuredContent":{"got":` + c.Ask(id, "elicitation/create", `{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}`) + `}}`)
	})
	a, b := twoCopies(t, up)
	alice := connect(a, "/mcp")
	away := alice.at(b)
	if got := away.mustCall("demo___echo", `{"text":"through the other copy"}`); !strings.Contains(got, "through the other copy") {
		t.Errorf("called through the other copy: %s", got)
	}
	// A stream through the other copy hears what happens at the first.
	r := away.request(t.Context(), http.MethodGet, "")
	r.Header.Set("Accept", "text/event-stream")
	stream, err := (&http.Client{Transport: away.http.Transport}).Do(r)
	if err != nil || stream.StatusCode != http.StatusOK {
		t.Fatalf("open a stream: %v %v", stream, err)
	}
	defer stream.Body.Close()
	// Somebody else's session stays somebody else's, on both copies.
	bob := newClient(a, "/mcp")
	bob.register()
	bob.signIn("bob")
	bob.session = alice.session
	if got := bob.at(b).rpc("ping", `{}`); got.status != http.StatusNotFound {
		t.Errorf("bob with the session of alice: %s", got)
	}

	parked, state := askStateless(t, alice, "")
	if !strings.Contains(parked, `"input_required"`) {
		t.Fatalf("asked: %s", parked)
	}
	if got, _ := askStateless(t, bob.at(b), state); !strings.Contains(got, `"code":-32602`) {
		t.Errorf("bob answers for alice: %s", got)
	}
	if got, _ := askStateless(t, away, state); !strings.Contains(got, `"resultType":"complete"`) || !strings.Contains(got, "accept") {
		t.Errorf("answered through the other copy: %s", got)
	}
	if got, _ := askStateless(t, away, state); !strings.Contains(got, `"code":-32602`) {
		t.Errorf("answered twice: %s", got)
	}
	_, lost := askStateless(t, alice, "")
	executed := len(up.RequestsOf("tools/call"))
	a.stop()
	if rest, err := io.ReadAll(stream.Body); err != nil {
		t.Errorf("the stream broke off: %v after %s", err, rest)
	}
	if got := away.rpc("ping", `{}`); got.status != http.StatusNotFound {
		t.Errorf("the session of a copy that is gone: %s", got)
	}
	if got, _ := askStateless(t, away, lost); !strings.Contains(got, `"code":-31003`) {
		t.Errorf("the call of a copy that is gone: %s", got)
	}
	away.session = ""
	away.initialize()
	away.mustCall("demo___echo", `{"text":"anew"}`)
	if n := len(up.RequestsOf("tools/call")); n != executed {
		t.Errorf("%d executions, want %d", n, executed)
	}
	// Started anew at its address, the first copy is another one.
	a.start()
	if got := alice.at(b).rpc("ping", `{}`); got.status != http.StatusNotFound {
		t.Errorf("the session of a copy that was started anew: %s", got)
	}
	for _, h := range []*house{a, b} {
		if strings.Contains(h.log.String(), alice.access) {
			t.Error("a token is in a log")
		}
	}
	for _, r := range up.Requests() {
		if strings.Contains(r.Header.Get("Authorization"), alice.access) {
			t.Error("a token went to a target")
		}
	}
}

// askStateless calls the tool that asks as a client of the stateless era does, with an answer when there is a state, and
// returns the answer and its requestState.
func askStateless(t *testing.T, c *client, state string) (body, again string) {
	t.Helper()
	more := ""
	if state != "" {
		more = `,"requestState":` + state + `,"inputResponses":{"q1":{"action":"accept"}}`
	}
	r := c.request(t.Context(), http.MethodPost, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"up___ask"`+more+
		`,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}}`)
	r.Header.Del("Mcp-Session-Id")
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", "tools/call")
	r.Header.Set("Mcp-Name", "up___ask")
	resp, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, rest, ok := bytes.Cut(raw, []byte(`"requestState":`)); ok {
		end := bytes.IndexByte(rest[1:], '"')
		again = string(rest[:end+2])
	}
	return string(raw), again
}
