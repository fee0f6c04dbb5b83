package authserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"gatehouse/internal/identity"
)

func issuerOf(srv *httptest.Server) identity.Issuer { return identity.Issuer(srv.URL) }

// TestOAuth2Library signs in with golang.org/x/oauth2 over HTTP: PKCE, both ways to send a secret, refresh.
func TestOAuth2Library(t *testing.T) {
	t.Parallel()
	for name, style := range map[string]oauth2.AuthStyle{"detected": oauth2.AuthStyleAutoDetect, "header": oauth2.AuthStyleInHeader} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			srv := httptest.NewServer(h.mux)
			t.Cleanup(srv.Close)
			config := oauth2.Config{
				ClientID: webClient, ClientSecret: webSecret, RedirectURL: webURI, Scopes: []string{"openid", "mcp:tools"},
				Endpoint: oauth2.Endpoint{AuthURL: srv.URL + "/authorize", TokenURL: srv.URL + "/token", AuthStyle: style},
			}
			own := oauth2.GenerateVerifier()
			address, err := url.Parse(config.AuthCodeURL("st", oauth2.S256ChallengeOption(own), oauth2.SetAuthURLParam("resource", testResource)))
			if err != nil {
				t.Fatal(err)
			}
			code := h.code(address.Query())
			ctx := context.WithValue(t.Context(), oauth2.HTTPClient, srv.Client())
			token, err := config.Exchange(ctx, code, oauth2.VerifierOption(own))
			if err != nil {
				t.Fatal(err)
			}
			token.Expiry = time.Now().Add(-time.Minute)
			next, err := config.TokenSource(ctx, token).Token()
			if err != nil || next.RefreshToken == token.RefreshToken || next.AccessToken == token.AccessToken {
				t.Fatalf("refresh: %v", err)
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/userinfo", nil)
			if err != nil {
				t.Fatal(err)
			}
			next.SetAuthHeader(request)
			response, err := srv.Client().Do(request)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("userinfo: %v, %v", response, err)
			}
			_ = response.Body.Close()
		})
	}
}

// TestMetadataMatchesRoutes follows every endpoint that the metadata names.
func TestMetadataMatchesRoutes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, path := range []string{"/authorize", "/token", "/register", "/revoke", "/userinfo", "/signout", "/.well-known/jwks.json"} {
		if w := h.do(request{path: path}); w.Code == http.StatusNotFound {
			t.Errorf("%s is not served", path)
		}
	}
	if w := h.do(request{path: "/.well-known/jwks.json"}); strings.Contains(w.Body.String(), `"d"`) {
		t.Error("the key set has a private key")
	}
}
