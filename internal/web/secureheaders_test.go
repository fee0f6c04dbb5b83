package web

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"
)

// What a handler says counts for more than the defaults, over our server as over any other.
func TestSecurityHeadersGiveWay(t *testing.T) {
	t.Parallel()
	h := Chain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/other":
			w.Header().Set("Cache-Control", "max-age=1")
			w.Header()["Referrer-Policy"] = []string{"a", "b"}
		case "/none":
			w.Header()["X-Frame-Options"] = nil
		case "/error":
			WriteError(w, r, tooLarge(1))
			return
		case "/panic":
			panic("on purpose")
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
		}
		_, _ = io.WriteString(w, "hello")
	}), WithRequestID, Recover(discard()), SecurityHeaders(true))
	ours, _ := start(t, ServerOptions{Linger: time.Millisecond, Handler: h})
	other := httptest.NewServer(h)
	defer other.Close()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func(addr, path string) http.Header {
		resp, err := client.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		delete(resp.Header, "X-Request-Id")
		delete(resp.Header, "Date")
		return resp.Header
	}
	for _, path := range []string{"/", "/other", "/", "/none", "/", "/error", "/early", "/"} { // over one connection
		if got, want := ask(ours.Addr().String(), path), ask(other.Listener.Addr().String(), path); !maps.EqualFunc(got, want, slices.Equal) || len(got) < 7 {
			t.Errorf("%s: %v; net/http says %v", path, got, want)
		}
	}
	if got := ask(ours.Addr().String(), "/panic"); got.Get("X-Frame-Options") != "DENY" {
		t.Errorf("after a panic: %v", got)
	}
}
