package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

// load keeps n clients calling until the returned function is called, which reports what went wrong.
func load(t *testing.T, all []*client, call func(*client) error) (stop func() (calls int64)) {
	t.Helper()
	var wg sync.WaitGroup
	var calls atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	for _, c := range all {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := call(c); err != nil {
					t.Errorf("under load: %v", err)
					return
				}
				calls.Add(1)
			}
		})
	}
	return func() int64 {
		cancel()
		wg.Wait()
		return calls.Load()
	}
}

// echoUp calls the upstream's tool and wants its own words back.
func echoUp(c *client) error {
	c.minted++
	text := fmt.Sprintf(`{"n":%d}`, c.minted)
	a, err := c.tryPost(c.request(context.WithoutCancel(c.t.Context()), http.MethodPost, c.message("tools/call", `{"name":"up___echo","arguments":`+text+`}`)))
	switch {
	case err != nil:
		return err
	case a.status != http.StatusOK || a.Result == nil || a.Result["isError"] == true || a.text() != text:
		return fmt.Errorf("call %s: %s", text, a)
	}
	return nil
}

// callersOf opens n more MCP sessions with the tokens of c, and returns two callers for each.
func callersOf(c *client, n int) (all []*client) {
	for range n {
		one := *c
		one.initialize()
		two := one
		two.minted += 1_000_000 // ids of one session must differ
		all = append(all, &one, &two)
	}
	return all
}

// A failed reload changes nothing; a reload drops no request (design, invariants).
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	h := openHouse(t, demoAnd(up))
	c := connect(h, "/mcp")
	c.http.Transport.(*http.Transport).MaxIdleConnsPerHost = 200
	stop := load(t, callersOf(c, 100), echoUp)
	for i := range 20 {
		second := fmt.Sprintf("  /second%d/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}\n", i)
		settings := demoAnd(up) + second
		bad := i%2 == 1
		if bad { // alternately a fault in the words and one in the sense
			settings += []string{"nonsense: true\n", "  /third: {issuers: [nobody], access: any_signed_in, targets: [demo]}\n"}[i/2%2]
		}
		if taken := h.reload(settings); taken == bad {
			t.Errorf("reload %d: taken %t, faulty %t", i, taken, bad)
		}
		status, _ := c.getJSON(h.url + fmt.Sprintf("/.well-known/oauth-protected-resource/second%d/mcp", i))
		if bad == (status == http.StatusOK) {
			t.Errorf("reload %d: its new endpoint answers %d, faulty %t", i, status, bad)
		}
	}
	if calls := stop(); calls < 400 {
		t.Errorf("only %d calls were made during the reloads", calls)
	}
	if sessions := len(up.RequestsOf("initialize")); sessions > 105 {
		t.Errorf("%d upstream sessions for 100 clients: reloads closed some", sessions)
	}
}

// The file is noticed without a signal, too, and settings that need a restart are refused by name.
func TestReloadOnFileChange(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	from := h.log.size()
	h.configure(demoOnly + "  /more/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}\n")
	h.log.await(t, from, `configuration reloaded`)
	if status, _ := newClient(h, "/").getJSON(h.url + "/.well-known/oauth-protected-resource/more/mcp"); status != http.StatusOK {
		t.Errorf("the new endpoint's metadata: %d", status)
	}
	from = h.log.size()
	h.configure(demoOnly + "public_url: http://localhost:1\n")
	if line := h.log.await(t, from, `configuration not reloaded`); !strings.Contains(line, "public_url has changed; restart") {
		t.Errorf("the refusal does not say what needs a restart: %s", line)
	}
}

// held scripts a tool that answers when the test says so.
func held(up *testkit.MCPServer) (arrived <-chan struct{}, release func()) {
	came, answer := make(chan struct{}, 10), make(chan struct{})
	up.Tool("held", `{"type":"object"}`, func(c *testkit.MCPCall) {
		came <- struct{}{}
		<-answer
		c.Result(`{"content":[{"type":"text","text":"done"}]}`)
	})
	return came, sync.OnceFunc(func() { close(answer) })
}

// A call that began before a reload ends as it would have without, also when the reload takes away or changes its
// target. Only then the target's session is closed.
func TestReloadLetsCallsFinish(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(up *testkit.MCPServer) string{
		"target removed": func(*testkit.MCPServer) string { return demoOnly },
		"target changed": func(up *testkit.MCPServer) string {
			return strings.Replace(demoAnd(up), "up: {", "up: {timeout: 50s, ", 1)
		},
		"endpoint removed": func(*testkit.MCPServer) string { return strings.Replace(demoOnly, "/mcp", "/other/mcp", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up := testkit.NewMCPServer(t)
			arrived, release := held(up)
			t.Cleanup(release)
			h := openHouse(t, demoAnd(up))
			c := connect(h, "/mcp")
			c.mustCall("up___echo", `{}`)
			answered := make(chan answer, 1)
			request := c.request(t.Context(), http.MethodPost, c.message("tools/call", `{"name":"up___held","arguments":{}}`))
			go func() {
				a, err := c.tryPost(request)
				if err != nil {
					t.Errorf("the call in flight: %v", err)
				}
				answered <- a
			}()
			<-arrived
			// A second reload must not forget what the first one left behind.
			for _, settings := range []string{next(up), next(up) + "max_stale: 4m\n"} {
				if !h.reload(settings) {
					t.Fatal("the new configuration was not taken")
				}
			}
			if a := c.call("up___echo", `{}`); name == "target removed" && a.Error == nil {
				t.Errorf("a target that is gone still answers new calls: %s", a)
			}
			release()
			if a := <-answered; a.text() != "done" {
				t.Errorf("the call that was in flight ended with %s", a)
			}
			eventually(t, patience, "the sessions of the old target are closed", func() bool {
				return len(up.RequestsOf(http.MethodDelete)) >= 2 // the client's own, and that of the catalogue
			})
		})
	}
}

// A call that never ends does not keep Gatehouse from stopping, nor does what a reload left behind.
func TestStopDoesNotWaitForRetiredTargets(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	arrived, release := held(up)
	t.Cleanup(release)
	h := openHouse(t, demoAnd(up))
	c := connect(h, "/mcp")
	request := c.request(t.Context(), http.MethodPost, c.message("tools/call", `{"name":"up___held","arguments":{}}`))
	done := make(chan struct{})
	go func() { defer close(done); _, _ = c.tryPost(request) }()
	<-arrived
	h.reload(demoOnly)
	h.stop()
	<-done
}

// Checklist 61: a new signing key signs at once, tokens of the old one stay good, nobody notices.
func TestChecklist61_KeyRotationUnderLoad(t *testing.T) {
	t.Parallel()
	up := testkit.NewMCPServer(t)
	h := openHouse(t, demoAnd(up))
	c := connect(h, "/mcp")
	stop := load(t, callersOf(c, 10), echoUp)
	// The program's own keys, but for the hour that they are published before they sign.
	rotating, err := jose.NewSigningKeys(jose.SigningOptions{
		Store: keyStore{h.app.state.Store}, Box: h.app.state.Keys.Box("signing key"), Now: time.Now, Log: slog.New(slog.DiscardHandler), Lead: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		old, oldToken := keyID(t, c.access), c.access
		if err := errors.Join(rotating.Load(t.Context()), rotating.Rotate(t.Context()), h.app.keys.Load(t.Context())); err != nil {
			t.Fatal(err)
		}
		if status, doc := c.refreshTokens(); status != http.StatusOK {
			t.Fatalf("refresh: %d %v", status, doc)
		}
		published := keyIDs(t, c)
		if now := keyID(t, c.access); now == old || !slices.Contains(published, now) {
			t.Errorf("after a rotation key %s signs, before %s; published are %v", now, old, published)
		}
		if !slices.Contains(published, old) {
			t.Errorf("key %s, which signed tokens that are still good, is no longer published", old)
		}
		c.mustBeIn()
		fresh := c.access
		c.access = oldToken
		c.mustBeIn()
		c.access = fresh
	}
	// The command makes a key that is published, and does not sign yet.
	before := keyID(t, c.access)
	h.admin(func(ctx context.Context, a *Admin) error { return a.RotateKeys(ctx) })
	if err := h.app.keys.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.refreshTokens(); keyID(t, c.access) != before {
		t.Error("a key signs that nobody had time to learn of")
	}
	if published := keyIDs(t, c); len(published) != 5 {
		t.Errorf("published are %v, want five keys", published)
	}
	stop()
}

func keyIDs(t *testing.T, c *client) (ids []string) {
	t.Helper()
	_, as := c.getJSON(c.h.url + "/.well-known/oauth-authorization-server")
	_, set := c.getJSON(as["jwks_uri"].(string))
	for _, k := range set["keys"].([]any) {
		ids = append(ids, k.(map[string]any)["kid"].(string))
	}
	return ids
}

func keyID(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	var h struct{ Kid string }
	if err != nil || json.Unmarshal(raw, &h) != nil {
		t.Fatalf("not a JWT header: %s", head)
	}
	return h.Kid
}
