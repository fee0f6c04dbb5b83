package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// A merged list may be kept no longer than any of its parts.
func TestListsMayBeKeptAsTheirTargetsSay(t *testing.T) {
	t.Parallel()
	brief, lasting := testkit.NewStatelessMCPServer(t), testkit.NewMCPServer(t)
	brief.Capabilities = `{"tools":{}}`
	brief.Handle("tools/list", func(c *testkit.MCPCall) {
		c.Result(`{"resultType":"complete","tools":[{"name":"a","inputSchema":{}}],"ttlMs":5000,"cacheScope":"public"}`)
	})
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{
		running(t, newTarget(t, "brief", brief.URL, nil)), running(t, newTarget(t, "lasting", lasting.URL, nil)),
	}}}})
	c := s.caller("ada-token")
	eventually(t, "both are listed", func() bool {
		got := c.askModern("tools/list", "", `{`+modernMeta+`}`)
		return strings.Contains(got, "lasting___echo") && strings.Contains(got, "brief___a") && strings.Contains(got, `"ttlMs":5000,"cacheScope":"private"`)
	})
}

// While a target's list is not known, a tool has no other name than the one under which it will be shown, so that a rule for
// that name holds.
func TestUnknownListIsNoWayRoundRules(t *testing.T) {
	t.Parallel()
	upstream := testkit.NewMCPServer(t)
	for _, name := range []string{"with/slash", "plain"} {
		upstream.Tool(name, `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	}
	shown := strings.TrimPrefix(mcp.PublicName("files___", "files", "with/slash"), "files___")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{newTarget(t, "files", upstream.URL, nil)},
		Policy: anySignedIn(t, policy.Requirement{Target: "files", Method: "tools/call", Name: shown, Scopes: []string{"mcp:admin"}})}}})
	c := s.caller("ada-token").initialize(`{}`)
	if _, body := c.post(callTool("1", "with/slash")); !strings.Contains(body, "Unknown tool") {
		t.Errorf("by the name that is not shown: %s", body)
	}
	if status, _ := c.post(callTool("2", shown)); status != http.StatusForbidden {
		t.Errorf("by the name that is shown: %d", status)
	}
	if _, body := c.post(callTool("3", "plain")); !strings.Contains(body, `"content":[]`) {
		t.Errorf("another tool: %s", body)
	}
	if n := len(upstream.RequestsOf("tools/call")); n != 1 {
		t.Errorf("%d calls reached the target, want 1", n)
	}
}

// groupOnly lets in who is in a group.
func groupOnly(t *testing.T, group string) *policy.Policy {
	t.Helper()
	rule, err := identity.NewRule(identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{group}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.New(policy.Options{Access: policy.Access{Rule: rule}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Lists are written once for all who see them. Nobody gets them by that who may not, also after a reload, and an endpoint
// shows its own targets only.
func TestWrittenListsAreForThoseWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	_, left := rawTarget(t, "left")
	_, right := rawTarget(t, "right")
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{left}, Prefix: true}, {Path: "/other/mcp", Targets: []*target.Target{right}, Prefix: true}}})
	s.auth.known["sam-token"] = principal("sam", "mcp:tools", "staff")
	eve, sam := s.caller("eve-token").initialize(`{}`), s.caller("sam-token").initialize(`{}`)
	other := s.caller("eve-token")
	other.path = "/other/mcp"
	other.initialize(`{}`)
	// see says who gets the lists, and that others get nothing of them.
	see := func(c *caller, may bool, own, foreign string) {
		t.Helper()
		for _, era := range []string{"session", "stateless"} {
			status, body := 0, ""
			if era == "session" {
				status, body = c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
			} else {
				plain := *c
				plain.session = ""
				status, body = plain.ask("tools/list", "", `{`+modernMeta+`}`)
			}
			if got := status == http.StatusOK && strings.Contains(body, own); got != may || strings.Contains(body, foreign) || !may && strings.Contains(body, `"tools"`) {
				t.Errorf("%s at %s, %s: %d %s; may see %s: %t", c.token, c.path, era, status, body, own, may)
			}
		}
	}
	for range 2 {
		see(eve, true, "left___echo", "right___")
		see(sam, true, "left___echo", "right___")
		see(other, true, "right___echo", "left___")
	}
	for _, admitted := range []string{"guests", "staff", "guests"} {
		s.swap(Endpoint{Targets: []*target.Target{left}, Prefix: true, Policy: groupOnly(t, admitted)},
			Endpoint{Path: "/other/mcp", Targets: []*target.Target{right}, Prefix: true, Policy: groupOnly(t, "staff")})
		for range 2 {
			see(eve, admitted == "guests", "left___echo", "right___")
			see(sam, admitted == "staff", "left___echo", "right___")
			see(other, false, "right___echo", "left___")
		}
	}
}

// What the policy does not show is not shown, whoever let the request through.
func TestListOfSomebodyWhoSeesNothing(t *testing.T) {
	t.Parallel()
	_, files := rawTarget(t, "files")
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{files}, Policy: groupOnly(t, "guests")}}})
	for token, sees := range map[string]bool{"eve-token": true, "ada-token": false} {
		for _, modern := range []bool{false, true} {
			w := httptest.NewRecorder()
			rq := &request{g: s.gateway, ep: s.gateway.current.Load().endpoints["/mcp"], w: w, r: httptest.NewRequest(http.MethodPost, "/mcp", nil),
				who: s.auth.known[token], accept: accepted{json: true}, m: mcp.Message{ID: mcp.ID("1")}, modern: modern}
			if err := rq.list(mcp.Tools); !errors.Is(err, errAnswered) {
				t.Fatal(err)
			}
			if body := w.Body.String(); strings.Contains(body, `"echo"`) != sees || !sees && !strings.Contains(body, `"tools":[]`) {
				t.Errorf("%s sees %s", token, body)
			}
		}
	}
}

// A list that has changed is written anew, for both eras, and in every form in which it is answered.
func TestChangedListIsWrittenAnew(t *testing.T) {
	t.Parallel()
	s, upstream := one(t, func(c *config) { c.options.PageSize = 2 })
	upstream.Tool("shaped", `{"type":"object"},"outputSchema":{"type":"array"}`, nil)
	upstream.AwaitStream(t)
	c := s.caller("ada-token").initialize(`{}`)
	batched := s.caller("ada-token")
	batched.revision = "2025-03-26"
	batched.initialize(`{}`)
	events := c.open(http.MethodGet, "", "")
	change := func(tool string) {
		upstream.Tool(tool, `{"type":"object"}`, nil)
		upstream.Push(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		for data := ""; !strings.Contains(data, "list_changed"); {
			_, data = events.next()
		}
	}
	// all reads every page and returns what stands in them.
	all := func(read func(cursor string) string) (tools, next string) {
		t.Helper()
		for cursor := "null"; ; {
			result, _ := mcp.Lookup([]byte(read(cursor)), "result")
			page, found := mcp.Lookup(result, "tools")
			if !found {
				t.Fatalf("no list: %s", result)
			}
			tools += string(page)
			if cursor, _ = mcp.LookupString(result, "nextCursor"); cursor == "" {
				return tools, next
			}
			next = cursor
			cursor = quoted(cursor)
		}
	}
	const ask = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":%s}}`
	ways := map[string]func(cursor string) string{
		"json": func(cursor string) string {
			_, body := c.post(fmt.Sprintf(ask, cursor))
			return body
		},
		"batch": func(cursor string) string {
			_, body := batched.post("[" + fmt.Sprintf(ask, cursor) + "]")
			return strings.Trim(body, "[]")
		},
		"events": func(cursor string) string {
			r := c.request(t.Context(), http.MethodPost, fmt.Sprintf(ask, cursor))
			r.Header.Set("Accept", "text/event-stream")
			resp := c.do(r)
			defer resp.Body.Close()
			e, err := newEventReader(resp.Body).Next()
			if err != nil {
				t.Fatal(err)
			}
			return string(e.Data)
		},
	}
	stale := ""
	for _, fresh := range []string{"first", "second"} {
		change(fresh)
		want, next := all(ways["json"])
		if !strings.Contains(want, `"`+fresh+`"`) || strings.Contains(want, "outputSchema") {
			t.Errorf("after a change: %s", want)
		}
		for way, read := range ways {
			if got, _ := all(read); got != want {
				t.Errorf("%s: %s, want %s", way, got, want)
			}
		}
		modern, _ := all(func(cursor string) string {
			return c.askModern("tools/list", "", `{"cursor":`+cursor+`,`+modernMeta+`}`)
		})
		if !strings.Contains(modern, `"`+fresh+`"`) || strings.Replace(modern, `,"outputSchema":{"type":"array"}`, "", 1) != want || modern == want {
			t.Errorf("stateless: %s, in sessions %s", modern, want)
		}
		if stale != "" {
			if _, body := c.post(fmt.Sprintf(ask, quoted(stale))); !strings.Contains(body, "the list has changed") {
				t.Errorf("a cursor of what was there before: %s", body)
			}
		}
		stale = next
	}
}
