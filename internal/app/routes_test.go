package app

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// The way past the multiplexer leads where the multiplexer does.
func TestStraight(t *testing.T) {
	t.Parallel()
	mux, endpoints := http.NewServeMux(), map[string]http.Handler{}
	for _, path := range []string{"/mcp", "/eng/mcp", "/a%20b"} {
		endpoints[path] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("At", path+" "+r.Pattern) })
		mux.Handle(path, endpoints[path])
		mux.Handle(path+protectedResource, http.NotFoundHandler())
	}
	mux.HandleFunc("GET /static/", http.NotFound)
	all := straight(endpoints, mux)
	for _, target := range []string{
		"/mcp", "/mcp?a=b", "/eng/mcp", "/mcp/", "//mcp", "/x/../mcp", "/m%63p", "/eng%2Fmcp", "/MCP", "/a%20b", "/static/mcp", "http://other.example/mcp", "/mcp" + protectedResource,
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodOptions, http.MethodConnect} {
			ask := func(h http.Handler) (int, string, string) {
				r := httptest.NewRequest(method, "/", nil)
				u, err := url.ParseRequestURI(target)
				if err != nil {
					t.Fatal(target, err)
				}
				r.URL, r.RequestURI = u, target
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w.Code, w.Header().Get("At"), r.Pattern
			}
			status, at, pattern := ask(all)
			if wantStatus, want, wantPattern := ask(mux); status != wantStatus || at != want || pattern != wantPattern {
				t.Errorf("%s %s: %d %q %q; the multiplexer says %d %q %q", method, target, status, at, pattern, wantStatus, want, wantPattern)
			}
		}
	}
}
