package target

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jsonschema "github.com/google/jsonschema-go/jsonschema"

	"gatehouse/internal/mcp"
)

func demo(t *testing.T, c Caller) *Conn {
	t.Helper()
	return connected(t, started(t, Options{Demo: true, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }}), c, newRecorder())
}

func TestDemoTools(t *testing.T) {
	t.Parallel()
	conn := demo(t, Caller{Principal: person("ada")})
	for _, tc := range []struct {
		name, rest, want string
		wrong            bool
	}{
		{"echo", `,"arguments":{"text":"hé"}`, "hé", false},
		{"echo", ``, "missing", true},
		{"echo", `,"arguments":{"Text":"x"}`, "schema", true},
		{"echo", `,"arguments":{"text":"x","more":1}`, "schema", true},
		{"add", `,"arguments":{"a":1.5,"b":2}`, "3.5", false},
		{"add", `,"arguments":{"a":"1","b":2}`, "schema", true},
		{"time", ``, "Tuesday, 14 November 2023, 22:13:20 UTC", false},
		{"time", `,"arguments":{"zone":"Europe/Berlin"}`, "23:13:20 CET", false},
		{"time", `,"arguments":{"zone":"../../etc/passwd"}`, "No time zone", true},
		{"time", `,"arguments":{"zone":"Local"}`, "No time zone", true},
		{"long_task", `,"arguments":{"steps":0}`, "steps", true},
		{"long_task", `,"arguments":{"steps":2,"step_ms":1}`, "Done", false},
	} {
		result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams(tc.name, tc.rest), nil)
		if err != nil {
			t.Errorf("%s%s: %v", tc.name, tc.rest, err)
			continue
		}
		isError, _ := mcp.Lookup(result, "isError")
		if text := textOf(t, result); !strings.Contains(text, tc.want) || (string(isError) == "true") != tc.wrong {
			t.Errorf("%s%s: %s", tc.name, tc.rest, result)
		}
	}
}

func TestDemoWhoami(t *testing.T) {
	t.Parallel()
	conn := demo(t, Caller{Principal: person("ada"), ClientInfo: []byte(`{"name":"kiro","version":"1"}`), Revision: mcp.Rev20250618})
	result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("whoami", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := mcp.Lookup(result, "structuredContent")
	for _, want := range []string{`"subject":"ada"`, `"issuer":"https://issuer.example"`, `"groups":["eng"]`, `"scopes":["mcp:tools"]`, `"client_id":"client-1"`, `"kiro"`, `"2025-06-18"`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
	if text := textOf(t, result); !strings.Contains(text, `"subject": "ada"`) {
		t.Errorf("text %s", text)
	}
}

// TestDemoListsAreTrue checks that what the demo lists is what it does: schemas hold, prompts and resources exist.
func TestDemoListsAreTrue(t *testing.T) {
	t.Parallel()
	conn := demo(t, Caller{Principal: person("ada")})
	c, err := conn.t.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	arguments := map[string]string{"echo": `{"text":"x"}`, "add": `{"a":1,"b":2}`, "long_task": `{"steps":1,"step_ms":1}`}
	for _, tool := range c.Tools {
		args := arguments[tool.Name]
		if args == "" {
			args = "{}"
		}
		fits(t, tool, "inputSchema", []byte(args))
		result, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams(tool.Name, `,"arguments":`+args), nil)
		if err != nil {
			t.Errorf("%s: %v", tool.Name, err)
			continue
		}
		if data, ok := mcp.Lookup(result, "structuredContent"); ok {
			fits(t, tool, "outputSchema", data)
		}
	}
	for _, p := range c.Prompts {
		if _, err := conn.Call(t.Context(), mcp.MethodPromptsGet, toolParams(p.Name, `,"arguments":{"tone":"terse"}`), nil); err != nil {
			t.Errorf("prompt %s: %v", p.Name, err)
		}
	}
	for _, r := range append(c.Resources, mcp.Item{Name: "gatehouse://time/Europe%2FBerlin"}) {
		if _, err := conn.Call(t.Context(), mcp.MethodResourcesRead, []byte(`{"uri":"`+r.Name+`"}`), nil); err != nil {
			t.Errorf("resource %s: %v", r.Name, err)
		}
	}
	if len(c.Tools) != 5 || len(c.Prompts) != 1 || len(c.Resources) != 2 || len(c.Templates) != 1 {
		t.Errorf("%+v", c)
	}
}

func fits(t *testing.T, tool mcp.Item, schema string, value []byte) {
	t.Helper()
	raw, ok := mcp.Lookup(tool.Raw, schema)
	if !ok {
		t.Errorf("%s: no %s", tool.Name, schema)
		return
	}
	var s jsonschema.Schema
	if err := s.UnmarshalJSON(raw); err != nil {
		t.Errorf("%s: %s: %v", tool.Name, schema, err)
		return
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		t.Errorf("%s: %s: %v", tool.Name, schema, err)
		return
	}
	if err := resolved.Validate(anyOf(t, value)); err != nil {
		t.Errorf("%s: %s does not fit %s: %v", tool.Name, value, schema, err)
	}
}

func TestDemoCompletesAndRefuses(t *testing.T) {
	t.Parallel()
	conn := demo(t, Caller{})
	for params, want := range map[string]string{
		`{"ref":{"type":"ref/prompt","name":"introduce"},"argument":{"name":"tone","value":"F"}}`:                     `["friendly","formal","funny"]`,
		`{"ref":{"type":"ref/resource","uri":"gatehouse://time/{zone}"},"argument":{"name":"zone","value":"europe"}}`: `["Europe%2FBerlin","Europe%2FLondon"]`,
	} {
		result, err := conn.Call(t.Context(), mcp.MethodComplete, []byte(params), nil)
		if err != nil || !strings.Contains(string(result), want) {
			t.Errorf("%s: %s %v", params, result, err)
		}
	}
	for method, params := range map[string]string{
		mcp.MethodComplete:      `{"ref":{"type":"ref/prompt","name":"x"},"argument":{"name":"tone","value":""}}`,
		mcp.MethodToolsCall:     `{"name":"x"}`,
		mcp.MethodPromptsGet:    `{"name":"x"}`,
		mcp.MethodResourcesRead: `{"uri":"gatehouse://x"}`,
		mcp.MethodSetLevel:      `{"level":"loud"}`,
		mcp.MethodSubscribe:     `{"uri":"gatehouse://about"}`,
	} {
		_, err := conn.Call(t.Context(), method, []byte(params), nil)
		if _, ok := errors.AsType[*mcp.Error](err); !ok {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestDemoLongTask(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tg, err := New(Options{Name: "up", Demo: true})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tg.Connect(t.Context(), Caller{}, newRecorder())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var seen []string
		note := func(m *mcp.Message) { seen = append(seen, m.Method+string(m.ProgressToken)) }
		begin := time.Now()
		if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("long_task", `,"arguments":{"steps":30,"step_ms":10000},"_meta":{"progressToken":"p"}`), note); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d != 5*time.Minute || len(seen) != 32 || seen[0] != mcp.NoteMessage || seen[1] != mcp.NoteProgress+`"p"` {
			t.Errorf("took %s, %d notifications: %v", d, len(seen), seen)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		_, err = conn.Call(ctx, mcp.MethodToolsCall, toolParams("long_task", `,"arguments":{"steps":30,"step_ms":10000}`), note)
		wants(t, err, Timeout)
		if _, err := conn.Call(t.Context(), mcp.MethodSetLevel, []byte(`{"level":"warning"}`), nil); err != nil {
			t.Fatal(err)
		}
		seen = nil
		if _, err := conn.Call(t.Context(), mcp.MethodToolsCall, toolParams("long_task", ""), note); err != nil || len(seen) != 0 {
			t.Errorf("%v, log messages %v", err, seen)
		}
	})
}

// The demo puts its answers together itself: what the gateway asks of results is found in them all the same.
func TestDemoResultsHaveMembers(t *testing.T) {
	t.Parallel()
	conn := demo(t, Caller{Principal: person("ada")})
	m, err := mcp.NewRequest(mcp.MethodToolsCall, toolParams("echo", `,"arguments":{"text":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := conn.Forward(t.Context(), &m, "", nil); err != nil || !r.Valid {
		t.Errorf("%+v, %v", r, err)
	}
}
