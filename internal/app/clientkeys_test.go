package app

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

const signingClients = twoDoors + `clients:
  - client_id: fetched
    redirect_uris: [https://a.example/cb]
    token_endpoint_auth_method: private_key_jwt
    jwks_uri: %s
  - client_id: written
    redirect_uris: [https://a.example/cb]
    token_endpoint_auth_method: private_key_jwt
    jwks: {file: jwks.json}
`

// asserted redeems a refresh token that does not exist as a client that signs. What comes back is an OAuth error code:
// invalid_grant means that the client was believed.
func (h *house) asserted(client string, key *testkit.IDPKey) string {
	h.t.Helper()
	now := time.Now()
	resp, err := http.PostForm(h.url+"/token", url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"none"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion": {testkit.MintToken(h.t, key, nil, map[string]any{"iss": client, "sub": client, "aud": h.url,
			"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()})},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	var body struct{ Error string }
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return body.Error
}

func keySetOf(t *testing.T, key *testkit.IDPKey) string {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"keys": []any{key.JWK()}})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Clients with private_key_jwt, by keys in the configuration and by keys that are fetched, each changed while
// Gatehouse runs.
func TestClientsThatSign(t *testing.T) {
	t.Parallel()
	theirs := testkit.NewIDP(t, "") // it publishes the client's keys
	first, old, stranger := theirs.AddKey(t, "PS256"), testkit.NewIDPKey(t, "ES256"), testkit.NewIDPKey(t, "ES256")
	settings := fmt.Sprintf(signingClients, theirs.JWKSURL())
	h := prepareHouse(t, settings)
	h.write("jwks.json", keySetOf(t, old))
	h.start()
	want := func(client string, key *testkit.IDPKey, code string) {
		t.Helper()
		if got := h.asserted(client, key); got != code {
			t.Errorf("%s with key %s: %s, want %s", client, key.KID, got, code)
		}
	}
	want("fetched", first, "invalid_grant")
	want("fetched", theirs.AddKey(t, "RS256"), "invalid_grant")
	want("written", old, "invalid_grant")
	want("fetched", old, "invalid_client")
	want("written", first, "invalid_client")
	want("fetched", stranger, "invalid_client")

	h.write("jwks.json", keySetOf(t, stranger))
	if !h.reload(settings) {
		t.Fatal("the reload did not take effect")
	}
	want("written", stranger, "invalid_grant")
	want("written", old, "invalid_client")
	want("fetched", first, "invalid_grant")

	h.write("jwks.json", `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`)
	if h.reload(settings) {
		t.Error("a key that is too weak took effect")
	}
	want("written", stranger, "invalid_grant")
}
