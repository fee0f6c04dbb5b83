package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// sharing is a server whose URIs another one has as well. It answers with what it was asked.
func sharing(t *testing.T, name string) (*testkit.MCPServer, *target.Target) {
	t.Helper()
	s := testkit.NewMCPServer(t)
	s.Handle("tools/list", func(c *testkit.MCPCall) {
		c.Result(`{"tools":[{"name":"show","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://view"}}}]}`)
	})
	s.Handle("resources/list", func(c *testkit.MCPCall) {
		c.Result(`{"resources":[{"uri":"doc://both","name":"both"},{"uri":"doc://` + name + `","name":"own"},{"uri":"ui://view","name":"view","mimeType":"text/html;profile=mcp-app"}]}`)
	})
	s.Handle("resources/templates/list", func(c *testkit.MCPCall) {
		c.Result(`{"resourceTemplates":[{"uriTemplate":"page://{n}","name":"page"}]}`)
	})
	s.Handle("resources/read", func(c *testkit.MCPCall) {
		c.Result(`{"contents":[{"uri":` + uriOf(c) + `,"text":"of ` + name + `"}]}`)
	})
	s.Handle("resources/subscribe", func(c *testkit.MCPCall) {
		c.Result(`{}`)
	})
	s.Handle("tools/call", func(c *testkit.MCPCall) {
		c.Stream()
		c.Send(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://both"}}`)
		c.Result(`{"content":[{"type":"resource_link","uri":"doc://both","name":"b"},{"type":"resource","resource":{"uri":"doc://unlisted","text":"x"}}],"structuredContent":{"uri":"doc://both"}}`)
	})
	s.Handle("prompts/list", func(c *testkit.MCPCall) { c.Result(`{"prompts":[{"name":"p"}]}`) })
	s.Handle("prompts/get", func(c *testkit.MCPCall) {
		c.Result(`{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"doc://both","text":"x"}}}]}`)
	})
	s.Handle("completion/complete", func(c *testkit.MCPCall) {
		ref, _ := mcp.Lookup(c.Params, "ref")
		c.Result(`{"completion":{"values":["of ` + name + `"]},"ref":` + string(ref) + `}`)
	})
	made := newTarget(t, name, s.URL, nil)
	told := make(chan struct{}, 10)
	stop := made.OnChange(func(string) { told <- struct{}{} })
	running(t, made)
	<-told
	stop()
	return s, made
}

func uriOf(c *testkit.MCPCall) string {
	uri, _ := mcp.Lookup(c.Params, "uri")
	return string(uri)
}

// Two targets offer the same URIs. Wherever one shows up, it leads back to the target that it came from.
func TestSharedURIs(t *testing.T) {
	t.Parallel()
	aServer, a := sharing(t, "a")
	bServer, b := sharing(t, "b")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{a, b}}}})
	c := s.caller("ada-token").initialize(`{}`)
	n := 0
	ask := func(method, params string) string {
		t.Helper()
		n++
		r := c.request(t.Context(), http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, n, method, params))
		resp := c.do(r)
		defer resp.Body.Close()
		var all strings.Builder
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
			for read := newEventReader(resp.Body); ; {
				e, err := read.Next()
				if err != nil {
					return all.String()
				}
				all.Write(e.Data)
			}
		}
		body := make([]byte, 1<<16)
		k, _ := resp.Body.Read(body)
		return string(body[:k])
	}
	const mark = "#gatehouse-target="
	for _, tc := range []struct{ method, params, want string }{
		{"resources/list", `{}`, `[{"uri":"doc://both","name":"both"},{"uri":"doc://a","name":"own"},{"uri":"ui://view","name":"view","mimeType":"text/html;profile=mcp-app"},` +
			`{"uri":"doc://both#gatehouse-target=b","name":"both"},{"uri":"doc://b","name":"own"},{"uri":"ui://view#gatehouse-target=b","name":"view","mimeType":"text/html;profile=mcp-app"}]`},
		{"resources/templates/list", `{}`, `[{"uriTemplate":"page://{n}","name":"page"},{"uriTemplate":"page://{n}#gatehouse-target=b","name":"page"}]`},
		{"tools/list", `{}`, `"_meta":{"ui":{"resourceUri":"ui://view#gatehouse-target=b"},"gatehouse/name":"show"}`},
		{"resources/read", `{"uri":"doc://both"}`, `{"uri":"doc://both","text":"of a"}`},
		{"resources/read", `{"uri":"doc://both` + mark + `b"}`, `{"uri":"doc://both` + mark + `b","text":"of b"}`},
		{"resources/read", `{"uri":"ui://view` + mark + `b"}`, `{"uri":"ui://view` + mark + `b","text":"of b"}`},
		{"resources/read", `{"uri":"page://7` + mark + `b"}`, `{"uri":"page://7` + mark + `b","text":"of b"}`},
		{"resources/read", `{"uri":"doc://unlisted` + mark + `a"}`, `"text":"of a"`},
		{"resources/read", `{"uri":"doc://b"}`, `{"uri":"doc://b","text":"of b"}`},
		{"resources/read", `{"uri":"doc://unlisted"}`, `Resource not found: doc://unlisted`},
		{"tools/call", `{"name":"a___show"}`, `{"uri":"doc://both"}}{"jsonrpc":"2.0","id":11,"result":{"content":[{"type":"resource_link","uri":"doc://both","name":"b"},{"type":"resource","resource":{"uri":"doc://unlisted` + mark + `a","text":"x"}}],"structuredContent":{"uri":"doc://both"}}`},
		{"tools/call", `{"name":"b___show"}`, `{"uri":"doc://both` + mark + `b"}}{"jsonrpc":"2.0","id":12,"result":{"content":[{"type":"resource_link","uri":"doc://both` + mark + `b","name":"b"},{"type":"resource","resource":{"uri":"doc://unlisted` + mark + `b","text":"x"}}],"structuredContent":{"uri":"doc://both"}}`},
		{"prompts/get", `{"name":"b___p"}`, `"resource":{"uri":"doc://both` + mark + `b","text":"x"}`},
		{"completion/complete", `{"ref":{"type":"ref/resource","uri":"page://{n}` + mark + `b"},"argument":{"name":"n","value":""}}`, `["of b"]},"ref":{"type":"ref/resource","uri":"page://{n}"}`},
		{"resources/subscribe", `{"uri":"doc://both` + mark + `b"}`, `"result":{}`},
	} {
		if got := ask(tc.method, tc.params); !strings.Contains(got, tc.want) {
			t.Errorf("%s %s: got %s\nwant %s", tc.method, tc.params, got, tc.want)
		}
	}
	for name, server := range map[string]*testkit.MCPServer{"a": aServer, "b": bServer} {
		for _, r := range server.Requests() {
			if strings.Contains(r.Body, "gatehouse-target") {
				t.Errorf("%s got %s", name, r.Body)
			}
		}
	}
	st := c.open(http.MethodGet, "", "")
	st.next()
	eventually(t, "b has a stream of ada's session", func() bool {
		return bServer.Push(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://both"}}`) >= 2
	})
	for {
		_, data := st.next()
		if strings.Contains(data, "resources/updated") {
			if !strings.Contains(data, `"uri":"doc://both`+mark+`b"`) {
				t.Errorf("told %s", data)
			}
			return
		}
	}
}

// The same in the stateless era, where clients listen for updates by URI.
func TestSharedURIsStateless(t *testing.T) {
	t.Parallel()
	_, a := sharing(t, "a")
	bServer, b := sharing(t, "b")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, Targets: []*target.Target{a, b}}}})
	c := s.caller("ada-token")
	ctx, cancel := context.WithCancel(t.Context())
	resp := c.do(c.modern(ctx, "subscriptions/listen", "", `{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{"resourceSubscriptions":["doc://both#gatehouse-target=b"]},`+modernMeta+`}}`))
	st := &stream{t: t, resp: resp, cancel: cancel, read: newEventReader(resp.Body)}
	defer st.close()
	if _, data := st.next(); !strings.Contains(data, `"resourceSubscriptions":["doc://both#gatehouse-target=b"]`) {
		t.Errorf("acknowledged %s", data)
	}
	eventually(t, "b tells", func() bool {
		return bServer.Push(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"doc://both"}}`) >= 2
	})
	if _, data := st.next(); !strings.Contains(data, `"uri":"doc://both#gatehouse-target=b"`) {
		t.Errorf("told %s", data)
	}
	if got := c.askModern("resources/read", "doc://both#gatehouse-target=b", `{"uri":"doc://both#gatehouse-target=b",`+modernMeta+`}`); !strings.Contains(got, `[{"uri":"doc://both#gatehouse-target=b","text":"of b"}]`) {
		t.Errorf("read %s", got)
	}
}

// modernMeta is what a request of the stateless era says about itself.
const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`

// modern makes a request of the stateless era.
func (c *caller) modern(ctx context.Context, method, name, body string) *http.Request {
	r := c.request(ctx, http.MethodPost, body)
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", method)
	if name != "" {
		r.Header.Set("Mcp-Name", name)
	}
	return r
}

func (c *caller) askModern(method, name, params string) string {
	c.s.t.Helper()
	resp := c.do(c.modern(c.s.t.Context(), method, name, `{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.s.t.Fatal(err)
	}
	return string(body)
}

// Without marks the first target owns what both offer, and nothing is rewritten.
func TestOwnURIs(t *testing.T) {
	t.Parallel()
	_, a := sharing(t, "a")
	_, b := sharing(t, "b")
	s := start(t, config{endpoints: []Endpoint{{Prefix: true, OwnURIs: true, Targets: []*target.Target{a, b}}}})
	c := s.caller("ada-token").initialize(`{}`)
	if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"resources/list"}`); strings.Count(body, `"doc://both"`) != 1 || strings.Contains(body, "gatehouse-target") {
		t.Errorf("listed %s", body)
	}
	if _, body := c.post(`{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"b___p"}}`); !strings.Contains(body, `{"uri":"doc://both","text":"x"}`) {
		t.Errorf("prompt %s", body)
	}
	if _, body := c.post(`{"jsonrpc":"2.0","id":3,"method":"resources/read","params":{"uri":"doc://both#gatehouse-target=b"}}`); !strings.Contains(body, "Resource not found") {
		t.Errorf("read %s", body)
	}
}

// Names without a prefix that meet are told apart, logged, and held to rules under either name.
func TestNamesThatMeet(t *testing.T) {
	t.Parallel()
	_, a := rawTarget(t, "a")
	bServer, b := rawTarget(t, "b")
	const second = "echo_npvsrsnc9r"
	s := start(t, config{endpoints: []Endpoint{{Targets: []*target.Target{a, b}, Policy: anySignedIn(t,
		policy.Requirement{Target: "b", Method: "tools/call", Name: second, Scopes: []string{"mcp:admin"}})}}})
	c := s.caller("ada-token").initialize(`{}`)
	if _, body := c.post(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`); !strings.Contains(body, `"name":"echo","description"`) || !strings.Contains(body, `"name":"`+second+`"`) || strings.Count(body, `"gatehouse/name":"echo"`) != 1 {
		t.Errorf("listed %s", body)
	}
	call := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + second + `","arguments":{}}}`
	if status, _ := c.post(call); status != http.StatusForbidden {
		t.Errorf("a rule on the public name: %d", status)
	}
	c.token = "ada-admin-token"
	if status, body := c.post(call); status != http.StatusOK || !strings.Contains(body, "content") {
		t.Errorf("%d %s", status, body)
	}
	if got := bServer.RequestsOf("tools/call"); len(got) != 1 || !strings.Contains(got[0].Body, `"name":"echo"`) {
		t.Errorf("b got %+v", got)
	}
	if n := strings.Count(s.log.String(), "two targets have the same name"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}
