package oauthclient_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/jose"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

// An identity provider elsewhere does not get this machine's own services asked, by naming them as its endpoints.
func TestDiscoveryOfThisMachinesServices(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	here := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer here.Close()
	for _, member := range []string{"", "token_endpoint", "userinfo_endpoint", "revocation_endpoint", "jwks_uri"} {
		var idp *httptest.Server
		idp = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks" {
				_, _ = w.Write([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`))
				return
			}
			doc := map[string]string{"issuer": idp.URL}
			for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "revocation_endpoint"} {
				doc[name] = idp.URL + "/" + name
			}
			doc["jwks_uri"] = idp.URL + "/jwks"
			if member != "" {
				doc[member] = here.URL
			}
			_ = json.NewEncoder(w).Encode(doc)
		}))
		p, err := oauthclient.New(oauthclient.Options{
			Name: "idp", DiscoveryURL: idp.URL + "/.well-known/openid-configuration", ClientID: "gatehouse", ClientSecret: secret.New("s"),
			RedirectURI: "https://gate.example/oauth/callback/idp", Client: idp.Client(), Now: time.Now, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = p.Begin(context.Background(), oauthclient.BeginOptions{})
		if want := member != "" && member != "jwks_uri"; (oauthclient.ReasonOf(err) == oauthclient.ReasonDiscovery) != want || want != (err != nil) {
			t.Errorf("%q: %v", member, err)
		}
		keys, err := jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: idp.URL + "/.well-known/openid-configuration", Client: idp.Client(), Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Load(context.Background()); (err != nil) != (member == "jwks_uri") {
			t.Errorf("keys, %q: %v", member, err)
		}
		idp.Close()
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("a service of this machine was asked %d times", n)
	}
}
