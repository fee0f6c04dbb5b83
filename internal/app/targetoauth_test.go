package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// behind is a Gatehouse that admits two services, to be the target of another one.
const behind = `
clients:
  - {client_id: front, grant_types: [client_credentials], token_endpoint_auth_method: client_secret_basic, client_secret: {file: secret}, scopes: [mcp:tools]}
  - {client_id: front-key, grant_types: [client_credentials], token_endpoint_auth_method: private_key_jwt, jwks: {file: jwks}, scopes: [mcp:tools]}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [front]}, targets: [demo], prefix: false}
  /vault/mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [front-key]}, dpop: required, targets: [demo], prefix: false}
`

const inFront = `
targets:
  plain:
    url: %[1]s/mcp
    oauth: {issuer: %[1]q, client_id: front, client_secret: {file: secret}, scopes: [mcp:tools]}
  vault:
    url: %[1]s/vault/mcp
    oauth: {issuer: %[1]q, client_id: front-key, private_key: {file: key.pem, kid: k1}, dpop: true}
  wrong:
    url: %[1]s/mcp
    oauth: {issuer: %[1]q, client_id: front, client_secret: {file: other}}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [plain, vault, wrong]}
`

// writeKey makes a key pair, and writes each half where its owner reads it.
func writeKey(t *testing.T, private, public *house) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private.write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	jwks, err := json.Marshal(map[string]any{"keys": []any{map[string]any{"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	if err != nil {
		t.Fatal(err)
	}
	public.write("jwks", string(jwks))
}

// A Gatehouse in front of another one gets its own tokens there: with a secret, and with a key and tokens bound to a key.
// The person's token stays in front. A credential that is refused is told to the administrator in the log, and to the
// caller without a word of it.
func TestTargetWantsTokens(t *testing.T) {
	t.Parallel()
	back, front := prepareHouse(t, behind), prepareHouse(t, fmt.Sprintf(inFront, "http://127.0.0.1:1"))
	writeKey(t, front, back)
	back.write("secret", "the secret of front")
	back.start()
	front.write("secret", "the secret of front")
	front.write("other", "another secret")
	front.configure(fmt.Sprintf(inFront, back.url))
	front.addUser("alice", "eng")
	front.start()
	c := connect(front, "/mcp")
	for range 2 {
		if got := c.mustCall("plain___whoami", `{}`); !strings.Contains(got, "service:front") || strings.Contains(got, "alice") {
			t.Errorf("whoami said %s", got)
		}
		if got := c.mustCall("vault___whoami", `{}`); !strings.Contains(got, "service:front-key") {
			t.Errorf("whoami said %s", got)
		}
	}
	if a := c.call("wrong___whoami", `{}`); a.status == http.StatusOK && a.Error == nil && a.Result["isError"] != true || strings.Contains(a.body, "invalid_client") {
		t.Errorf("the target without a credential answers: %s", a)
	}
	front.log.await(t, 0, "check the client, its secret or key, and how it authenticates")
	eventually(t, patience, "an audit record", func() bool { return back.auditRecords() != "" })
	if records := back.auditRecords(); strings.Contains(records, "alice") || !strings.Contains(records, `"subject":"service:front-key"`) {
		t.Errorf("the audit records behind:\n%s", records)
	}
	for _, hidden := range []string{"the secret of front", "another secret"} {
		if strings.Contains(front.log.String()+back.log.String(), hidden) {
			t.Errorf("a log holds %q", hidden)
		}
	}
	if strings.Contains(front.log.String(), "Bearer ey") || strings.Contains(front.log.String(), `"eyJ`) {
		t.Error("the log holds a token")
	}

	// A new secret: the target is made anew by the reload, and gets in.
	from := front.log.size()
	front.write("other", "the secret of front")
	if !front.reload(fmt.Sprintf(inFront, back.url)) {
		t.Fatal("not reloaded")
	}
	front.log.await(t, from, `"msg":"token of the target obtained","target":"wrong"`)
}
