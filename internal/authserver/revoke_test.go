package authserver

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	revoke := func(client, token string) int {
		return h.post("/revoke", url.Values{"client_id": {client}, "token": {token}, "token_type_hint": {"whatever"}}).Code
	}
	for _, which := range []string{"refresh", "access", "rotated refresh", "expired access"} {
		tokens := h.tokens(authorizeParams(nil), nil)
		token := tokens.RefreshToken
		switch which {
		case "access":
			token = tokens.AccessToken
		case "rotated refresh":
			tokens = h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, nil)))
		case "expired access":
			token = tokens.AccessToken
			h.clock.Advance(2 * time.Hour)
			tokens = h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, nil)))
		}
		for range 2 {
			if status := revoke(publicClient, token); status != http.StatusOK {
				t.Errorf("%s: status %d", which, status)
			}
		}
		h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant")
		if w := h.userinfo(tokens.AccessToken); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: userinfo status %d", which, w.Code)
		}
	}
	tokens := h.tokens(authorizeParams(nil), nil)
	for _, token := range []string{"unknown", tokens.IDToken, tokens.AccessToken + "x", "a.b.c", "\x00\xff"} {
		if status := revoke(publicClient, token); status != http.StatusOK {
			t.Errorf("%.20q: status %d", token, status)
		}
	}
	h.wantError(h.post("/revoke", url.Values{"client_id": {"walkthrough"}, "token": {tokens.RefreshToken}}), http.StatusBadRequest, "invalid_grant")
	h.wantError(h.post("/revoke", url.Values{"client_id": {publicClient}}), http.StatusBadRequest, "invalid_request")
	h.wantError(h.post("/revoke", url.Values{"client_id": {"nobody"}, "token": {"x"}}), http.StatusUnauthorized, "invalid_client")
	h.wantError(h.post("/revoke", url.Values{"client_id": {webClient}, "token": {"x"}}), http.StatusUnauthorized, "invalid_client")
	h.wantError(h.post("/revoke", url.Values{"client_id": {publicClient}, "token": {"x", "y"}}), http.StatusBadRequest, "invalid_request")
	h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, nil))) // untouched by all of that
}
