package gateway

import (
	"net/http"
	"testing"

	"gatehouse/internal/mcp"
)

func FuzzCursor(f *testing.F) {
	v := &view{lists: map[mcp.ListKind][]entry{mcp.Tools: make([]entry, 3), mcp.Prompts: make([]entry, 3)}}
	for i, name := range []string{"a", "b c", ""} {
		v.lists[mcp.Tools][i].item.Name, v.lists[mcp.Prompts][i].item.Name = name, name
	}
	for i := range 5 {
		f.Add(`{"cursor":"`+v.cursor(mcp.Tools, i-1)+`"}`, i-1)
	}
	f.Add(`{"cursor":"`+v.cursor(mcp.Prompts, 1)+`"}`, 1)
	f.Add(`{"cursor":""}`, 0)
	f.Add(`{"cursor":{}}`, 0)
	f.Add(``, 0)
	f.Fuzz(func(t *testing.T, params string, i int) {
		from, err := v.begin([]byte(params), mcp.Tools)
		if from < 0 || from > 3 || err != nil && from != 0 {
			t.Errorf("%s: page begins at %d, %v", params, from, err)
		}
		from, err = v.begin([]byte(`{"cursor":"`+v.cursor(mcp.Tools, i)+`"}`), mcp.Tools)
		if inside := i >= 0 && i <= 3; inside != (err == nil) || inside && from != i {
			t.Errorf("a cursor to %d leads to %d, %v", i, from, err)
		}
		if _, err := v.begin([]byte(`{"cursor":"`+v.cursor(mcp.Tools, i)+`"}`), mcp.Prompts); err == nil {
			t.Error("a cursor fits another list")
		}
	})
}

func FuzzAccept(f *testing.F) {
	for _, s := range []string{"", "*/*", "application/json, text/event-stream", "text/html;q=0.5 , TEXT/*;level=1", ",;,", "application/jsonx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a := parseAccept(http.Header{"Accept": {s}})
		if both := parseAccept(http.Header{"Accept": {s, "*/*"}}); both != (accepted{true, true}) {
			t.Errorf("%q: adding */* gives %+v", s, both)
		}
		if more := parseAccept(http.Header{"Accept": {s + ",application/json"}}); !more.json || more.events != a.events {
			t.Errorf("%q: %+v, and with JSON added %+v", s, a, more)
		}
	})
}
