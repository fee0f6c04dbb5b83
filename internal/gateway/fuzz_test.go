package gateway

import (
	"net/http"
	"testing"

	"gatehouse/internal/mcp"
)

func FuzzCursor(f *testing.F) {
	entries := make([]entry, 3)
	for i, name := range []string{"a", "b c", ""} {
		entries[i].item.Name = name
	}
	f.Add(`{"cursor":"` + cursor(mcp.Tools, 1, "a") + `"}`)
	f.Add(`{"cursor":"` + cursor(mcp.Tools, 2, "b c") + `"}`)
	f.Add(`{"cursor":"` + cursor(mcp.Tools, 99999999, "gone") + `"}`)
	f.Add(`{"cursor":"` + cursor(mcp.Tools, -1, "gone") + `"}`)
	f.Add(`{"cursor":"` + cursor(mcp.Prompts, 1, "a") + `"}`)
	f.Add(`{"cursor":""}`)
	f.Add(`{"cursor":{}}`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, params string) {
		from, err := startAfter([]byte(params), mcp.Tools, entries)
		if from < 0 || from > len(entries) || err != nil && from != 0 {
			t.Errorf("%s: page begins at %d of %d, %v", params, from, len(entries), err)
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
