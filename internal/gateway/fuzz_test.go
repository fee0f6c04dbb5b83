package gateway

import (
	"net/http"
	"testing"

	"gatehouse/internal/mcp"
)

func FuzzCursor(f *testing.F) {
	tools, prompts := &list{}, &list{}
	for _, name := range []string{"a", "b c", ""} {
		e := entry{item: mcp.Item{Name: name}}
		tools.entries, prompts.entries = append(tools.entries, e), append(prompts.entries, e)
	}
	tools.write(mcp.Tools)
	prompts.write(mcp.Prompts)
	for i := range 5 {
		f.Add(`{"cursor":"`+tools.cursor(i-1)+`"}`, i-1)
	}
	f.Add(`{"cursor":"`+prompts.cursor(1)+`"}`, 1)
	f.Add(`{"cursor":""}`, 0)
	f.Add(`{"cursor":{}}`, 0)
	f.Add(``, 0)
	f.Fuzz(func(t *testing.T, params string, i int) {
		from, err := tools.begin([]byte(params))
		if from < 0 || from > 3 || err != nil && from != 0 {
			t.Errorf("%s: page begins at %d, %v", params, from, err)
		}
		from, err = tools.begin([]byte(`{"cursor":"` + tools.cursor(i) + `"}`))
		if inside := i >= 0 && i <= 3; inside != (err == nil) || inside && from != i {
			t.Errorf("a cursor to %d leads to %d, %v", i, from, err)
		}
		if _, err := prompts.begin([]byte(`{"cursor":"` + tools.cursor(i) + `"}`)); err == nil {
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
