package authserver

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestUserinfo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for scope, want := range map[string]map[string]any{
		"openid":                 {"sub": "alice-id", "department": "R&D"},
		"openid email mcp:tools": {"sub": "alice-id", "department": "R&D", "email": "alice@acme.example", "email_verified": true},
		"openid profile":         {"sub": "alice-id", "department": "R&D", "name": "Alice Doe", "preferred_username": "alice", "groups": []any{"eng"}},
	} {
		tokens := h.tokens(authorizeParams(map[string]string{"scope": scope}), nil)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			w := h.do(request{method: method, path: "/userinfo", header: map[string]string{"Authorization": "bearer " + tokens.AccessToken}})
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || !reflect.DeepEqual(got, want) {
				t.Errorf("%s %q: status %d, %v, want %v", method, scope, w.Code, got, want)
			}
		}
	}
}

func TestUserinfoRefusals(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	foreign := newHarness(t).tokens(authorizeParams(nil), nil)
	for name, token := range map[string]string{
		"ID token": tokens.IDToken, "refresh token": tokens.RefreshToken, "rubbish": "x", "another key": foreign.AccessToken,
		"changed": tokens.AccessToken[:len(tokens.AccessToken)-4] + "AAAA", "two": tokens.AccessToken + " x",
	} {
		w := h.userinfo(token)
		h.wantError(w, http.StatusUnauthorized, "invalid_token")
		if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), `Bearer error="invalid_token"`) {
			t.Errorf("%s: WWW-Authenticate %q", name, w.Header().Get("WWW-Authenticate"))
		}
	}
	w := h.do(request{path: "/userinfo", query: url.Values{"access_token": {tokens.AccessToken}}})
	if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("token in the query: status %d, %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
	w = h.post("/userinfo", url.Values{"access_token": {tokens.AccessToken}})
	if w.Code != http.StatusUnauthorized {
		t.Errorf("token in the body: status %d", w.Code)
	}
	plain := h.tokens(authorizeParams(map[string]string{"scope": "mcp:tools"}), nil)
	h.wantError(h.userinfo(plain.AccessToken), http.StatusForbidden, "insufficient_scope")
	h.clock.Advance(time.Hour)
	h.wantError(h.userinfo(tokens.AccessToken), http.StatusUnauthorized, "invalid_token")
}
