package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestChecklist17_LoopbackRedirect(t *testing.T) {
	t.Parallel()
	registered := []string{"http://localhost:3334/oauth/callback", "http://127.0.0.1/callback?x=1", "http://[::1]:8080", "https://app.example/callback", "https://localhost:8443/cb"}
	for uri, want := range map[string]bool{
		"http://localhost:3334/oauth/callback":           true,
		"http://localhost:61234/oauth/callback":          true,
		"http://localhost/oauth/callback":                true,
		"http://127.0.0.1:50000/callback?x=1":            true,
		"http://[::1]":                                   true,
		"http://[::1]:1":                                 true,
		"https://app.example/callback":                   true,
		"http://127.0.0.1:3334/oauth/callback":           false,
		"http://[::1]:3334/oauth/callback":               false,
		"http://localhost:3334/oauth/callback/":          false,
		"http://localhost:3334/oauth/Callback":           false,
		"http://localhost:3334/oauth/callback?x=1":       false,
		"http://localhost:3334/oauth/callback#f":         false,
		"http://localhost:3334/oauth/../oauth/callback":  false,
		"https://localhost:3334/oauth/callback":          false,
		"HTTP://localhost:3334/oauth/callback":           false,
		"http://LOCALHOST:3334/oauth/callback":           false,
		"http://localhost.evil:3334/oauth/callback":      false,
		"http://localhost.:3334/oauth/callback":          false,
		"http://127.0.0.1.evil/callback?x=1":             false,
		"http://127.1/callback?x=1":                      false,
		"http://2130706433/callback?x=1":                 false,
		"http://0x7f.0.0.1/callback?x=1":                 false,
		"http://[::ffff:127.0.0.1]:8080":                 false,
		"http://[0:0:0:0:0:0:0:1]:8080":                  false,
		"http://localhost:3334@evil/oauth/callback":      false,
		"http://localhost@evil:3334/oauth/callback":      false,
		"http://user@localhost:3334/oauth/callback":      false,
		"http://localhost:3334\\@evil/oauth/callback":    false,
		"http://localhost:/oauth/callback":               false,
		"http://localhost:0/oauth/callback":              false,
		"http://localhost:65536/oauth/callback":          false,
		"http://localhost:+80/oauth/callback":            false,
		"http://localhost:80:80/oauth/callback":          false,
		"http://localhost:99999999999999/oauth/callback": false,
		"https://app.example:8443/callback":              false,
		"https://localhost:1/cb":                         false,
		"http://evil.example/oauth/callback":             false,
		"":                                               false,
	} {
		if got := matchRedirect(registered, uri); got != want {
			t.Errorf("%q: %v, want %v", uri, got, want)
		}
	}
}

func TestChecklist1_RefusedRedirectURIs(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) {
		o.Snapshot.RedirectSchemes = []string{"cursor"}
		o.Limits = Limits{RegistrationsPerAddress: 1000, Registrations: 1000}
	})
	for _, uri := range []string{
		"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "about:blank", "blob:https://a/",
		"https://app.example/cb#f", "https://app.example/cb#", "https://user@app.example/", "https://user:pw@app.example/", "http://user@localhost/",
		"https://*.example/", "https://app.example/*", "http://localhost:*/cb", "http://app.example/cb", "http://localhost.evil/", "http://127.0.0.2/",
		"http://0.0.0.0/", "http://192.168.0.1/", "https://192.168.0.1/", "https://10.0.0.1:8443/cb", "https://172.16.0.1/", "https://127.0.0.1/",
		"https://169.254.169.254/latest", "https://100.64.0.1/", "https://0.0.0.0/", "https://[::1]/", "https://[fd00::1]/", "https://[fe80::1]/",
		"https://[::ffff:10.0.0.1]/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://10.0.0.1./",
		"myapp://cb", "Cursor://cb", "com.example:/cb", "/relative", "app.example/cb", "", "https://", "https:///cb", "https:app.example",
		"https://app.example\\@evil/", "https://app.example/ cb", "https://app.example/\ncb", "https://exämple/", "https://app%2eexample/", "//app.example/",
		"https://app.example/" + strings.Repeat("x", maxRedirectURI),
	} {
		w := h.register(map[string]any{"redirect_uris": []string{"https://app.example/ok", uri}})
		h.wantError(w, http.StatusBadRequest, "invalid_redirect_uri")
		if t.Failed() {
			t.Fatalf("at redirect URI %q", uri)
		}
	}
	good := []string{"https://app.example/cb?x=1", "https://8.8.8.8/cb", "https://[2606:4700::1111]/", "http://localhost:1/cb", "http://127.0.0.1/", "http://[::1]:5/x",
		"cursor://anysphere.cursor-mcp/oauth/callback", "https://xn--exmple-cua.example/", "https://intranet/cb", "https://a.b.c1/"}
	if w := h.register(map[string]any{"redirect_uris": good}); w.Code != http.StatusCreated {
		t.Errorf("good ones: status %d: %s", w.Code, w.Body)
	}
}

func TestWithParamsKeepsTheQuery(t *testing.T) {
	t.Parallel()
	params := url.Values{"code": {"a&b"}}
	for uri, want := range map[string]string{
		"https://a.example/cb":         "https://a.example/cb?code=a%26b",
		"https://a.example/cb?x=%2F&y": "https://a.example/cb?x=%2F&y&code=a%26b",
		"cursor://host/cb":             "cursor://host/cb?code=a%26b",
	} {
		if got := withParams(uri, params); got != want {
			t.Errorf("%s: %s, want %s", uri, got, want)
		}
	}
}
