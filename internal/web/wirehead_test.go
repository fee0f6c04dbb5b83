package web

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
)

// Lines of a head are remembered for the next one on the connection. Each answer has its own headers all the same, and
// keeps them.
func TestWireHeadersAreTheAnswersOwn(t *testing.T) {
	t.Parallel()
	heads := []http.Header{
		{"Content-Type": {"application/json"}, "X-For": {"ada"}, "Set-Cookie": {"a=1", "b=2"}},
		{"Content-Type": {"application/json"}, "X-For": {"bob"}, "Set-Cookie": {"a=1", "b=3"}},
		{"Content-Type": {"application/json"}, "X-For": {"bob"}},
		{"Content-Type": {"text/plain"}, "X-Other": {"bob"}},
		{},
		{"Content-Type": {"application/json"}, "X-For": {"ada"}, "Set-Cookie": {"a=1", "b=2"}},
	}
	url, accepted := rawServer(t, func(n int, _ *http.Request) string {
		said := "HTTP/1.1 200 OK\r\n"
		for _, name := range slices.Sorted(maps.Keys(heads[n])) {
			for _, v := range heads[n][name] {
				said += name + ": " + v + "\r\n"
			}
		}
		return said + fmt.Sprintf("Content-Length: %d\r\n\r\n%0*d", n+1, n+1, 0)
	})
	w := target(t)
	var got []*http.Response
	for n := range heads {
		resp, err := w.RoundTrip(postTo(t, url, ""))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || len(body) != n+1 {
			t.Errorf("answer %d: %d bytes, %v", n, len(body), err)
		}
		got = append(got, resp)
	}
	for n, want := range heads {
		want.Set("Content-Length", fmt.Sprint(n+1))
		if !maps.EqualFunc(got[n].Header, want, slices.Equal) {
			t.Errorf("answer %d: %v, want %v", n, got[n].Header, want)
		}
	}
	if accepted.Load() != 1 {
		t.Errorf("%d connections", accepted.Load())
	}
}
