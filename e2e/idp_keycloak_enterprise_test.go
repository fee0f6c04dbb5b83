//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

func keycloakEnterprise(t *testing.T, k *keycloak) {
	at := k.place(t)
	enterpriseSignIn(t, at, k.application(t, at), "eng")
}

// Gatehouse proves with a key who it is, and Keycloak has the public half.
func keycloakAssertion(t *testing.T, k *keycloak) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "gatehouse-1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gatehouse.pem")
	writeFile(t, file, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	at, p := k.place(t), k.idp()
	p.webClient, p.settings = fmt.Sprintf("gatehouse-%d", at.housePort), fmt.Sprintf("      private_key: {file: %q, kid: gatehouse-1}", file)
	k.client(t, p.webClient, map[string]any{
		"clientAuthenticatorType": "client-jwt", "redirectUris": []string{at.house + "/oauth/callback/" + p.name},
		"attributes": map[string]any{"use.jwks.string": "true", "jwks.string": string(public), "token.endpoint.auth.signing.alg": "ES256"},
	})
	refreshTogether(t, at, p, 1)
}

// Whoever is disabled at Keycloak is out with the next refresh of any of their clients, whatever the access tokens say.
func keycloakRemoved(t *testing.T, k *keycloak) {
	id := k.person(t, "dave", "eng")
	at := k.place(t)
	p := k.application(t, at)
	h := startEnterprise(t, at, enterprise{signIn: "  idp_recheck: 1s", rest: houseClients(at, "laptop")}, p)
	laptop := houseClient(at, "laptop")
	token := laptop.signIn(t, p.through("dave"))
	c := newCaller(t, at.house+"/mcp")
	if status := c.initialize(token.AccessToken); status != http.StatusOK {
		t.Fatalf("initialize: %d", status)
	}
	home := t.TempDir()
	r, _ := remoteEnterprise(t, "", at, p, home, "dave")
	r.tool("demo___whoami", map[string]any{})
	k.disable(t, id)

	token, refused := refreshUntilRefused(t, laptop, token)
	if refused.ErrorCode != "invalid_grant" || !strings.Contains(refused.ErrorDescription, "no longer vouches") {
		t.Errorf("a client of a removed person is told %q, %q", refused.ErrorCode, refused.ErrorDescription)
	}
	if status, _ := c.whoami(token.AccessToken, ""); status != http.StatusUnauthorized {
		t.Errorf("the access token of a removed person gets %d, want 401", status)
	}
	h.logged(t, `"auth_refused":"token_revoked"`)
	h.logged(t, `"msg":"person ended by their identity provider"`)

	// The other client is out too, and the person cannot sign in again.
	r.begin("tools/call", map[string]any{"name": "demo___whoami", "arguments": map[string]any{}})
	pages := p.through("dave")
	shown := walk(t, "keycloak-removed", r.nextAuthorizeURL(2), at.house, pages[:len(pages)-1])
	if !strings.Contains(shown.last(), "disabled") || !strings.HasPrefix(shown.ended.String(), k.origin) {
		t.Errorf("a removed person gets to %s:\n%s", shown.ended, shown.last())
	}
}

// The same without offline_access: Keycloak gives a refresh token all the same, so that it can be asked.
func keycloakRemovedOnline(t *testing.T, k *keycloak) {
	id := k.person(t, "grace", "eng")
	at := k.place(t)
	p := k.application(t, at)
	startEnterprise(t, at, enterprise{
		signIn: "  idp_recheck: 1s", rest: houseClients(at, "laptop"), providers: map[string]string{p.name: "      scopes: [profile, email]"},
	}, p)
	laptop := houseClient(at, "laptop")
	token := laptop.signIn(t, p.through("grace"))
	k.disable(t, id)
	if _, refused := refreshUntilRefused(t, laptop, token); refused.ErrorCode != "invalid_grant" {
		t.Errorf("a client of a removed person is told %q, %q", refused.ErrorCode, refused.ErrorDescription)
	}
}

// Who signs out at Keycloak, or is signed out there, is out here at once. With the scope offline_access Keycloak keeps an
// offline session and no other, which outlives every sign-out but its own.
func keycloakSignedOut(t *testing.T, k *keycloak) {
	for name, way := range map[string]struct {
		scopes  string
		signOut func(t *testing.T, person, client string)
	}{
		"session ended": {"[profile, email]", func(t *testing.T, person, _ string) {
			k.do(t, http.MethodPost, "/users/"+person+"/logout", nil, nil)
		}},
		"offline session revoked": {"[profile, email, offline_access]", func(t *testing.T, person, client string) {
			var found []struct {
				ID string `json:"id"`
			}
			k.do(t, http.MethodGet, "/clients?clientId="+client, nil, &found)
			k.do(t, http.MethodGet, "/users/"+person+"/offline-sessions/"+found[0].ID, nil, &found)
			k.do(t, http.MethodDelete, "/sessions/"+found[0].ID+"?isOffline=true", nil, nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			person := fmt.Sprintf("erin-%d", freePort(t))
			id := k.person(t, person, "eng")
			at := k.place(t)
			p := k.application(t, at)
			h := startEnterprise(t, at, enterprise{rest: houseClients(at, "laptop"), providers: map[string]string{p.name: "      scopes: " + way.scopes}}, p)
			laptop := houseClient(at, "laptop")
			token := laptop.signIn(t, p.through(person))
			c := newCaller(t, at.house+"/mcp")
			if status := c.initialize(token.AccessToken); status != http.StatusOK {
				t.Fatalf("initialize: %d", status)
			}
			way.signOut(t, id, p.webClient)
			h.logged(t, `"msg":"signed out at an identity provider"`)
			if status, _ := c.whoami(token.AccessToken, ""); status != http.StatusUnauthorized {
				t.Errorf("the access token of somebody who signed out gets %d, want 401", status)
			}
			if _, refused := laptop.refresh(t, token); refused == nil || refused.ErrorCode != "invalid_grant" {
				t.Errorf("the refresh token of somebody who signed out: %v, want invalid_grant", refused)
			}
			again := laptop.signIn(t, p.through(person))
			if status := c.initialize(again.AccessToken); status != http.StatusOK {
				t.Errorf("after signing in again: %d", status)
			}
		})
	}
}

func keycloakSignOut(t *testing.T, k *keycloak) {
	at := k.place(t)
	signOutBoth(t, at, k.application(t, at))
}

func keycloakTogether(t *testing.T, k *keycloak) {
	at := k.place(t)
	refreshTogether(t, at, k.application(t, at), 1)
}

func keycloakCopies(t *testing.T, k *keycloak) {
	at := k.place(t)
	refreshTogether(t, at, k.application(t, at), 2)
}

func keycloakBesideDex(t *testing.T, k *keycloak) {
	at := newPlace(t)
	dex, _ := startDex(t, at)
	severalIDPs(t, at, k.application(t, at), dex)
}

// refreshUntilRefused refreshes until the IdP, which is asked at most once a second, says no.
func refreshUntilRefused(t *testing.T, c *codeClient, token *oauth2.Token) (*oauth2.Token, *oauth2.RetrieveError) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		next, refused := c.refresh(t, token)
		if refused != nil {
			return token, refused
		}
		token = next
		<-time.After(100 * time.Millisecond) // for the real clock of another process
	}
	t.Fatal("a removed person's tokens are still refreshed after 10 s")
	return nil, nil
}
