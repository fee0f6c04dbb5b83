package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// From the settings to the answer: the search, the short list, AgentCore's name, vectors with their key, and reloads.
func TestToolSearch(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	var broken atomic.Bool
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/v1/embeddings" || r.Header.Get("Authorization") != "Bearer sesame-open" || broken.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var q struct{ Input []string }
		_ = json.NewDecoder(r.Body).Decode(&q)
		data := []map[string]any{}
		for i, text := range q.Input {
			v := []float32{0, 1}
			if strings.Contains(text, "clock") || strings.Contains(text, "Uhr") || strings.Contains(text, "time zone") {
				v = []float32{1, 0}
			}
			data = append(data, map[string]any{"index": i, "embedding": v})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}))
	t.Cleanup(api.Close)
	settings := func(search string) string {
		return fmt.Sprintf(`
embeddings: {url: "%s/v1", model: m, api_key: {file: api.key}, timeout: 10s}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]%s}
`, api.URL, search)
	}
	h := prepareHouse(t, settings(", search: {list: search, pinned: [demo___echo], agentcore_name: true, embeddings: true, limit: 2}"))
	h.write("api.key", "sesame-open\n")
	h.addUser("alice", "eng")
	h.start()
	c := connect(h, "/mcp")
	found := func(tool, query string) string {
		a := c.call(tool, fmt.Sprintf(`{"query":%q}`, query))
		content, _ := a.Result["structuredContent"].(map[string]any)
		tools, _ := content["tools"].([]any)
		var names []string
		for _, one := range tools {
			names = append(names, one.(map[string]any)["name"].(string))
		}
		return strings.Join(names, " ")
	}
	if got := found("search_tools", "add two numbers"); !strings.HasPrefix(got, "demo___add") {
		t.Errorf("found %s", got)
	}
	eventually(t, patience, "found by meaning", func() bool {
		return strings.HasPrefix(found("x_amz_bedrock_agentcore_search", "wie viel Uhr ist es"), "demo___time")
	})
	if list := c.rpc("tools/list", `{}`); strings.Count(list.body, `"inputSchema"`) != 5 || strings.Contains(list.body, `"demo___add"`) || !strings.Contains(list.body, `"demo___echo"`) {
		t.Errorf("list: %s", list)
	}
	if got := c.mustCall("call_tool", `{"name":"demo___add","arguments":{"a":2,"b":3}}`); !strings.Contains(got, "5") {
		t.Errorf("through call_tool: %s", got)
	}
	if got := c.mustCall("demo___add", `{"a":2,"b":4}`); !strings.Contains(got, "6") {
		t.Errorf("by name: %s", got)
	}
	before := asked.Load()
	if !h.reload(settings(", search: {embeddings: true}")) {
		t.Fatal("not reloaded")
	}
	if list := c.rpc("tools/list", `{}`); !strings.Contains(list.body, `"demo___add"`) || strings.Contains(list.body, "call_tool") {
		t.Errorf("list after the reload: %s", list)
	}
	eventually(t, patience, "found by meaning again", func() bool { return strings.HasPrefix(found("search_tools", "wie viel Uhr ist es"), "demo___time") })
	if asked.Load() != before {
		t.Error("a reload that does not touch them loses the vectors")
	}
	broken.Store(true)
	began := time.Now()
	if got := found("search_tools", "echo a text"); !strings.HasPrefix(got, "demo___echo") {
		t.Errorf("by words alone: %s", got)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if !h.reload(settings("")) {
		t.Fatal("not reloaded")
	}
	if a := c.call("search_tools", `{"query":"x"}`); !strings.Contains(a.body, "Unknown tool") {
		t.Errorf("switched off: %s", a)
	}
	log := h.log.String()
	if strings.Contains(log, "sesame") || strings.Contains(log, "echo a text") || !strings.Contains(log, "tools are searched by words alone") {
		t.Errorf("the log says too much or too little")
	}
	h.stop() // which writes what is left
	if records := h.auditRecords(); !strings.Contains(records, `"name":"search_tools"`) || strings.Contains(records, "Uhr") {
		t.Errorf("records: %.2000s", records)
	}
}
