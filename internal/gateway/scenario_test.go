package gateway

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite what is expected in testdata/*.txt; read the diff")

// TestScenario plays testdata/*.txt. A line that begins with > is part of a request: method and token, headers
// ("Name: value", or "Name:" to leave one out), body. What must come back stands below it behind <. The session that
// initialize opened is used from then on; @ sets something up; # is a comment.
func TestScenario(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			now := play(t, string(was))
			if now == string(was) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s differs; got\n%s", file, difference(string(was), now))
		})
	}
}

// play goes through a scenario and returns it with the answers that came.
func play(t *testing.T, text string) string {
	var out, request []string
	p := newPlayer(t, text)
	flush := func() {
		if request != nil {
			out = append(out, p.exchange(request)...)
			request = nil
		}
	}
	for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, ">"):
			request = append(request, strings.TrimPrefix(strings.TrimPrefix(line, ">"), " "))
			out = append(out, line)
			continue
		case strings.HasPrefix(line, "<"):
			continue
		}
		flush()
		out = append(out, line)
	}
	flush()
	return strings.Join(out, "\n") + "\n"
}

type player struct {
	t        *testing.T
	s        *setup
	client   *http.Client
	sessions map[string]string // by token
	names    []string          // sessions in the order in which they came
}

func newPlayer(t *testing.T, text string) *player {
	files, notes := testkit.NewMCPServer(t), testkit.NewMCPServer(t)
	scriptFiles(files)
	scriptNotes(notes)
	c := config{endpoints: []Endpoint{{
		Prefix:  !strings.Contains(text, "@prefix off"),
		Targets: []*target.Target{running(t, newTarget(t, "files", files.URL, nil)), running(t, newTarget(t, "notes", notes.URL, nil))},
		Policy: anySignedIn(t,
			policy.Requirement{Target: "files", Method: "tools/call", Name: "admin", Scopes: identity.Scopes{"mcp:admin"}},
			policy.Requirement{Method: "prompts/get", Name: "secret", Scopes: identity.Scopes{"mcp:admin"}}),
	}}}
	if strings.Contains(text, "@page 2") {
		c.options.PageSize = 2
	}
	if strings.Contains(text, "@guests only") {
		c.endpoints[0].Policy = groupOnly(t, "guests")
	}
	s := start(t, c)
	s.auth.known["eve-former-token"] = principal("eve", "mcp:tools") // no longer a guest
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &player{t: t, s: s, client: &http.Client{Transport: transport}, sessions: map[string]string{}}
}

func scriptFiles(s *testkit.MCPServer) {
	s.Instructions = "Paths are absolute."
	s.Tool("admin", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Result(`{"content":[]}`) })
	s.Tool("fails", `{"type":"object"}`, func(c *testkit.MCPCall) { c.Error(-32099, "disk \"full\"") })
	s.Tool("rubbish", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.W.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(c.W, `{"jsonrpc":"2.0","id":1,"id":2}`)
	})
	s.Tool("refuses", `{"type":"object"}`, func(c *testkit.MCPCall) { c.W.WriteHeader(http.StatusUnauthorized) })
	s.Tool("steps", `{"type":"object"}`, func(c *testkit.MCPCall) {
		c.Stream()
		for i := range 2 {
			if c.ProgressToken() == "" {
				break
			}
			c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"x":1.0}}`, c.ProgressToken(), i+1))
		}
		c.Send(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"done"}}`)
		c.Send(`{"jsonrpc":"2.0","method":"notifications/made_up","params":{}}`)
		c.Result(`{"content":[],"structuredContent":{"big":12345678901234567890,"x":1.0}}`)
	})
	s.Handle("prompts/list", func(c *testkit.MCPCall) { c.Result(`{"prompts":[{"name":"review"},{"name":"secret"}]}`) })
	s.Handle("prompts/get", func(c *testkit.MCPCall) {
		c.Result(`{"messages":[],"got":` + string(c.Params) + `}`)
	})
	s.Handle("completion/complete", func(c *testkit.MCPCall) {
		c.Result(`{"completion":{"values":["a"]},"got":` + string(c.Params) + `}`)
	})
}

func scriptNotes(s *testkit.MCPServer) {
	s.RemoveTool("echo")
	s.Tool("add", `{"type":"object","properties":{"a":{"type":"number"}}}`, func(c *testkit.MCPCall) {
		c.Result(`{"content":[],"got":` + string(c.Params) + `}`)
	})
	s.Handle("resources/list", func(c *testkit.MCPCall) {
		c.Result(`{"resources":[{"uri":"note://1","name":"one"},{"uri":"note://2","name":"two"}]}`)
	})
	s.Handle("resources/templates/list", func(c *testkit.MCPCall) {
		c.Result(`{"resourceTemplates":[{"uriTemplate":"note://{id}","name":"any"}]}`)
	})
	s.Handle("resources/read", func(c *testkit.MCPCall) {
		c.Result(`{"contents":[{"uri":"note://1","text":"first"}],"got":` + string(c.Params) + `}`)
	})
	s.Handle("resources/subscribe", func(c *testkit.MCPCall) { c.Result(`{}`) })
	s.Handle("resources/unsubscribe", func(c *testkit.MCPCall) { c.Result(`{}`) })
	s.Handle("completion/complete", func(c *testkit.MCPCall) {
		c.Result(`{"completion":{"values":["1","2"]},"got":` + string(c.Params) + `}`)
	})
}

// exchange sends one request and returns what came back, line by line.
func (p *player) exchange(lines []string) []string {
	p.t.Helper()
	method, token, _ := strings.Cut(lines[0], " ")
	header := http.Header{"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json"}}
	if id := p.sessions[token]; id != "" {
		header.Set("Mcp-Session-Id", id)
	}
	body := ""
	for _, l := range lines[1:] {
		name, value, isHeader := strings.Cut(l, ":")
		switch {
		case body != "" || !isHeader || strings.HasPrefix(l, "{") || strings.HasPrefix(l, "["):
			body += l
		case strings.TrimSpace(value) == "":
			header.Del(name)
		default:
			header.Set(name, p.expand(strings.TrimSpace(value)))
		}
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.s.server.URL+"/mcp", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header = header
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if id := resp.Header.Get("Mcp-Session-Id"); id != "" {
		p.sessions[token] = id
		p.names = append(p.names, id)
	}
	out := []string{strings.TrimSpace(fmt.Sprintf("< %d %s", resp.StatusCode, resp.Header.Get("Content-Type")))}
	for _, name := range []string{"Mcp-Session-Id", "Www-Authenticate", "Allow", "X-Accel-Buffering"} {
		if v := resp.Header.Get(name); v != "" {
			out = append(out, "< "+name+": "+p.mask(v))
		}
	}
	for l := range bytes.Lines(answer) {
		out = append(out, strings.TrimSpace("< "+p.mask(strings.TrimRight(string(l), "\n"))))
	}
	return out
}

// expand puts the id of the nth session in place of $session<n>.
func (p *player) expand(s string) string {
	for i, id := range p.names {
		s = strings.ReplaceAll(s, fmt.Sprint("$session", i+1), id)
	}
	return s
}

var (
	eventTag  = regexp.MustCompile(`^id: [0-9a-f]{8}\.`)
	requestID = regexp.MustCompile(`"request_id":"[^"]*"`)
)

// mask hides what differs from run to run.
func (p *player) mask(s string) string {
	for i, id := range p.names {
		s = strings.ReplaceAll(s, id, fmt.Sprint("$session", i+1))
	}
	return requestID.ReplaceAllString(eventTag.ReplaceAllString(s, "id: $$tag."), `"request_id":"…"`)
}

func difference(was, now string) string {
	a, b := strings.Split(was, "\n"), strings.Split(now, "\n")
	var out []string
	for i := range max(len(a), len(b)) {
		var old, cur string
		if i < len(a) {
			old = a[i]
		}
		if i < len(b) {
			cur = b[i]
		}
		if old != cur {
			out = append(out, fmt.Sprintf("line %d\n  want %s\n  got  %s", i+1, old, cur))
		}
		if len(out) == 5 {
			break
		}
	}
	return strings.Join(out, "\n")
}
