package mcp

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func mark(uri string) string {
	if strings.HasPrefix(uri, "x:") {
		return MarkURI(uri, "t")
	}
	return uri
}

func TestRenaming(t *testing.T) {
	t.Parallel()
	const m = "#gatehouse-target=t"
	for in, want := range map[string]string{
		// tools/call
		`{"content":[{"type":"resource_link","uri":"x:1","n":1.0},{"uri":"x:2","type":"resource_link"},{"type":"text","uri":"x:3","text":"x:3"}]}`:                               `{"content":[{"type":"resource_link","uri":"x:1` + m + `","n":1.0},{"uri":"x:2` + m + `","type":"resource_link"},{"type":"text","uri":"x:3","text":"x:3"}]}`,
		`{"content":[{"type":"resource","resource":{"uri":"x:1","text":"x:1"},"uri":"x:9"}],"structuredContent":{"uri":"x:1","content":[{"type":"resource_link","uri":"x:1"}]}}`: `{"content":[{"type":"resource","resource":{"uri":"x:1` + m + `","text":"x:1"},"uri":"x:9"}],"structuredContent":{"uri":"x:1","content":[{"type":"resource_link","uri":"x:1"}]}}`,
		// resources/read
		`{"contents":[{"uri":"x:1","blob":"x:1"},{"uri":"y:1"}], "_meta":{"u":"x:1"}}`: `{"contents":[{"uri":"x:1` + m + `","blob":"x:1"},{"uri":"y:1"}], "_meta":{"u":"x:1"}}`,
		// prompts/get
		`{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x:1"}}},{"content":[{"type":"resource_link","uri":"x:2"}]}]}`: `{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x:1` + m + `"}}},{"content":[{"type":"resource_link","uri":"x:2` + m + `"}]}]}`,
		// MCP Apps, in a list and in a result
		`{"name":"n","_meta":{"ui":{"resourceUri":"x:1","csp":{"resourceUri":"x:1"}},"ui/resourceUri":"x:1","resourceUri":"x:1"},"inputSchema":{"_meta":{"ui":{"resourceUri":"x:1"}}}}`: `{"name":"n","_meta":{"ui":{"resourceUri":"x:1` + m + `","csp":{"resourceUri":"x:1"}},"ui/resourceUri":"x:1` + m + `","resourceUri":"x:1"},"inputSchema":{"_meta":{"ui":{"resourceUri":"x:1"}}}}`,
		// tasks, and what a server asks
		`{"status":"completed","result":{"content":[{"type":"resource_link","uri":"x:1"}]}}`:                                                   `{"status":"completed","result":{"content":[{"type":"resource_link","uri":"x:1` + m + `"}]}}`,
		`{"inputRequests":{"a":{"method":"sampling/createMessage","params":{"messages":[{"content":{"type":"resource_link","uri":"x:1"}}]}}}}`: `{"inputRequests":{"a":{"method":"sampling/createMessage","params":{"messages":[{"content":{"type":"resource_link","uri":"x:1` + m + `"}}]}}}}`,
		`{"messages":[{"content":[{"type":"tool_result","content":[{"type":"resource_link","uri":"x:1"}]}]}]}`:                                 `{"messages":[{"content":[{"type":"tool_result","content":[{"type":"resource_link","uri":"x:1` + m + `"}]}]}]}`,
		// skills and directories
		`{"skills":[{"uri":"x:1","frontmatter":{"uri":"x:1"},"resources":[{"uri":"x:1","size":1},{"uri":"x:2"}]}],"ttlMs":1}`: `{"skills":[{"uri":"x:1` + m + `","frontmatter":{"uri":"x:1"},"resources":[{"uri":"x:1` + m + `","size":1},{"uri":"x:2` + m + `"}]}],"ttlMs":1}`,
		`{"skill":{"uri":"x:1","resources":"dynamic"}}`:                                                                       `{"skill":{"uri":"x:1` + m + `","resources":"dynamic"}}`,
		`{"resources":[{"uri":"x:1","name":"x:1"}]}`:                                                                          `{"resources":[{"uri":"x:1` + m + `","name":"x:1"}]}`,
		// keys and values with escapes, a URI with a fragment
		`{"conten\u0074":[{"type":"resource_lin\u006b","\u0075ri":"x:\/1#a"}]}`: `{"conten\u0074":[{"type":"resource_lin\u006b","\u0075ri":"x:/1#a&gatehouse-target=t"}]}`,
		// nothing to do, and nothing that could be done
		`{"content":[{"type":"text","text":"x:1"}]}`:                                        `{"content":[{"type":"text","text":"x:1"}]}`,
		`{"content":"uri","contents":7,"messages":{},"_meta":[],"result":null,"uri":"x:1"}`: `{"content":"uri","contents":7,"messages":{},"_meta":[],"result":null,"uri":"x:1"}`,
		`[{"uri":"x:1"}]`: `[{"uri":"x:1"}]`,
	} {
		if got := string(Renaming{URI: mark}.Apply([]byte(in))); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", in, got, want)
		}
	}
}

func TestRenamingOfTasks(t *testing.T) {
	t.Parallel()
	const m = "#gatehouse-target=t"
	for in, want := range map[string]string{
		`{"resultType":"task","taskId":"x:1","status":"working"}`:             `{"resultType":"task","taskId":"x:1` + m + `","status":"working"}`,
		`{"taskId":"x:1","result":{"content":[],"taskId":"x:2"}}`:             `{"taskId":"x:1` + m + `","result":{"content":[],"taskId":"x:2` + m + `"}}`,
		`{"task":{"taskId":"x:1","status":"working"}}`:                        `{"task":{"taskId":"x:1` + m + `","status":"working"}}`,
		`{"tasks":[{"taskId":"x:1"},{"taskId":"x:2"}]}`:                       `{"tasks":[{"taskId":"x:1` + m + `"},{"taskId":"x:2` + m + `"}]}`,
		`{"content":[],"_meta":{"` + MetaRelatedTask + `":{"taskId":"x:1"}}}`: `{"content":[],"_meta":{"` + MetaRelatedTask + `":{"taskId":"x:1` + m + `"}}}`,
		`{"structuredContent":{"taskId":"x:1"},"x":{"taskId":"x:1"}}`:         `{"structuredContent":{"taskId":"x:1"},"x":{"taskId":"x:1"}}`,
		`{"content":[{"type":"resource_link","uri":"x:1"}]}`:                  `{"content":[{"type":"resource_link","uri":"x:1"}]}`,
	} {
		if got := string(Renaming{Task: mark}.Apply([]byte(in))); got != want {
			t.Errorf("%s\nbecame %s\nwant   %s", in, got, want)
		}
	}
}

// FuzzRenaming holds the mapping against a reading with encoding/json: whatever is valid stays valid, and differs in
// URIs only.
func FuzzRenaming(f *testing.F) {
	f.Add([]byte(`{"content":[{"type":"resource_link","uri":"x:1"},{"type":"resource","resource":{"uri":"x:2"}}],"_meta":{"ui":{"resourceUri":"x:"}}}`))
	f.Add([]byte(`{"messages":[{"content":{"uri":"x:1","type":"resource_link"}}],"contents":[{"uri":"x:\u00e9"}]}`))
	f.Add([]byte(`{"result":{"result":{"content":[[{"type":"resource_link","uri":"x:1"}]]}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if !Valid(in) {
			return
		}
		got := Renaming{URI: mark, Task: mark}.Apply(in)
		if !Valid(got) {
			t.Fatalf("%s became %s", in, got)
		}
		was, err1 := anyValue(in)
		is, err2 := anyValue(got)
		if err1 != nil || err2 != nil {
			t.Fatalf("%s became %s, which encoding/json does not read", in, got)
		}
		if !reflect.DeepEqual(unmark(is), unmark(was)) {
			t.Fatalf("%s became %s", in, got)
		}
	})
}

func anyValue(raw []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	err = d.Decode(&v)
	return v, err
}

// unmark takes marks out of every string.
func unmark(v any) any {
	switch v := v.(type) {
	case string:
		own, _, _ := UnmarkURI(v)
		return own
	case []any:
		for i := range v {
			v[i] = unmark(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = unmark(v[k])
		}
	}
	return v
}

// What is known of a result stays known, and is true of the renamed one.
func TestRenamedResultsHaveTheirMembers(t *testing.T) {
	t.Parallel()
	r := Renaming{URI: func(uri string) string { return "much-longer-" + uri }}
	for in, want := range map[string]string{
		`{"contents":[{"uri":"a:b"}],"ttlMs":5}`: `{"contents":[{"uri":"much-longer-a:b"}],"ttlMs":5}`,
		`{"contents":[],"ttlMs":5}`:              `{"contents":[],"ttlMs":5}`,
	} {
		if got := r.ApplyTo(ParseResult([]byte(in))); string(got.Raw) != want || !got.Valid || string(got.TTL()) != "5" {
			t.Errorf("%s: %s, ttlMs %s", in, got.Raw, got.TTL())
		}
	}
}
