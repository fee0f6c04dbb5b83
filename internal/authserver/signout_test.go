package authserver

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/identity"
)

func (h *harness) signedIn() bool {
	h.signIn.mu.Lock()
	defer h.signIn.mu.Unlock()
	return h.signIn.sessions["a"] != nil
}

func TestSignOutAsksFirst(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	back := url.Values{"client_id": {publicClient}, "post_logout_redirect_uri": {"https://app.example/bye"}, "state": {"s 1"}}
	w := h.do(request{path: "/signout", query: back, session: "a"})
	if w.Code != http.StatusOK || !h.signedIn() || !strings.Contains(w.Body.String(), "alice") {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	form := hiddenFields(w.Body.String())
	for name, q := range map[string]request{
		"bad token":  {form: with(form, "token", "x")},
		"cross-site": {form: form, header: map[string]string{"Sec-Fetch-Site": "cross-site"}},
	} {
		q.method, q.path, q.session = http.MethodPost, "/signout", "a"
		if w := h.do(q); w.Code != http.StatusForbidden || !h.signedIn() {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
	w = h.do(request{method: http.MethodPost, path: "/signout", form: form, session: "a"})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "https://app.example/bye?state=s+1" || h.signedIn() {
		t.Errorf("status %d, location %q, signed in %v", w.Code, w.Header().Get("Location"), h.signedIn())
	}
	w = h.do(request{path: "/signout", session: "a"})
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "You are signed out") {
		t.Errorf("again: status %d: %s", w.Code, w.Body)
	}
}

func TestSignOutByIDToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	hint := h.tokens(authorizeParams(nil), nil).IDToken
	query := url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://app.example/bye"}}
	if w := h.do(request{method: http.MethodHead, path: "/signout", query: query, session: "a"}); w.Code != http.StatusOK || !h.signedIn() {
		t.Errorf("HEAD: status %d", w.Code)
	}
	// A client's form comes without the cookie and goes on by GET.
	w := h.do(request{method: http.MethodPost, path: "/signout", form: query, header: map[string]string{"Sec-Fetch-Site": "cross-site"}})
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/signout?") {
		t.Fatalf("POST: status %d, location %q", w.Code, w.Header().Get("Location"))
	}
	w = h.do(request{path: w.Header().Get("Location"), session: "a"})
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "https://app.example/bye" || h.signedIn() {
		t.Errorf("status %d, location %q, signed in %v", w.Code, w.Header().Get("Location"), h.signedIn())
	}
}

func TestSignOutHintsThatProveNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	h.signIn.change(func(f *fakeSignIn) {
		f.sessions["a"] = &identity.SignedIn{Person: h.alice, SessionID: "session-later", AuthTime: h.clock.Now()}
	})
	for name, hint := range map[string]string{"another session": tokens.IDToken, "access token": tokens.AccessToken, "rubbish": "x"} {
		if w := h.do(request{path: "/signout", query: url.Values{"id_token_hint": {hint}}, session: "a"}); w.Code != http.StatusOK || !h.signedIn() {
			t.Errorf("%s: status %d, signed in %v, want to be asked", name, w.Code, h.signedIn())
		}
	}
}

func TestSignOutRedirectsOnlyWhereRegistered(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, query := range map[string]url.Values{
		"foreign":        {"client_id": {publicClient}, "post_logout_redirect_uri": {"https://evil.example/"}},
		"no client":      {"post_logout_redirect_uri": {"https://app.example/bye"}},
		"other client":   {"client_id": {webClient}, "post_logout_redirect_uri": {"https://app.example/bye"}},
		"redirect URI":   {"client_id": {publicClient}, "post_logout_redirect_uri": {desktopURI}},
		"script":         {"client_id": {publicClient}, "post_logout_redirect_uri": {"javascript:alert(1)"}},
		"unknown client": {"client_id": {"nobody"}, "post_logout_redirect_uri": {"https://app.example/bye"}},
	} {
		if w := h.do(request{path: "/signout", query: query}); w.Code != http.StatusOK || w.Header().Get("Location") != "" {
			t.Errorf("%s: status %d, location %q", name, w.Code, w.Header().Get("Location"))
		}
	}
	if w := h.do(request{path: "/signout", query: url.Values{"state": {"a", "b"}}}); w.Code != http.StatusBadRequest {
		t.Errorf("repeated parameter: status %d", w.Code)
	}
}
