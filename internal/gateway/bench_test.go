package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/internal/session"
	"gatehouse/internal/target"
	"gatehouse/internal/testkit"
)

// BenchmarkToolsCall is one call through the gateway to a target that answers at once, without the HTTP server in front.
func BenchmarkToolsCall(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(answerAnything))
	defer upstream.Close()
	files, err := target.New(target.Options{Name: "files", HTTP: &target.HTTPOptions{URL: upstream.URL}})
	if err != nil {
		b.Fatal(err)
	}
	table, err := session.New(session.Options{Box: testkit.Keyring(b).Box(session.Purpose)})
	if err != nil {
		b.Fatal(err)
	}
	g, err := New(Options{Sessions: table, State: testkit.Keyring(b).Box(StatePurpose), Tasks: testkit.Keyring(b).MAC(TaskPurpose)})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := g.Swap(Snapshot{Endpoints: []Endpoint{{Path: "/mcp", Auth: tokensAt{newTokens(), "/mcp"}, Prefix: true, Targets: []*target.Target{files}, Policy: anySignedIn(b)}}}); err != nil {
		b.Fatal(err)
	}
	h := g.Handler("/mcp")
	post := func(id, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "/mcp", strings.NewReader(body))
		r.Header = http.Header{"Authorization": {"Bearer ada-token"}, "Content-Type": {"application/json"}, "Mcp-Session-Id": {id}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	id := post("", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}`).Header().Get("Mcp-Session-Id")
	b.ReportAllocs()
	for b.Loop() {
		if w := post(id, callEcho); !strings.Contains(w.Body.String(), `"result"`) {
			b.Fatal(w.Body.String())
		}
	}
}

func answerAnything(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	switch text := string(body); {
	case r.Method == http.MethodGet:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case strings.Contains(text, `"initialize"`):
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}}`)
	case strings.Contains(text, `"id":`):
		_, after, _ := strings.Cut(text, `"id":`)
		id, _, _ := strings.Cut(after, ",")
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+id+`,"result":{"content":[]}}`)
	default:
		w.WriteHeader(http.StatusAccepted)
	}
}
