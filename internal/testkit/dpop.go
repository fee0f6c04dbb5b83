package testkit

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"
)

// DPoPKey is a client's key for proofs of possession (RFC 9449).
type DPoPKey struct{ *IDPKey }

// NewDPoPKey makes one for the algorithm.
func NewDPoPKey(t testing.TB, alg string) *DPoPKey {
	t.Helper()
	return &DPoPKey{NewIDPKey(t, alg)}
}

// PublicJWK is the key as it stands in proofs.
func (k *DPoPKey) PublicJWK() map[string]any {
	out := k.JWK()
	for _, name := range []string{"kid", "alg", "use"} {
		delete(out, name)
	}
	return out
}

// Thumbprint is computed here independently of the code under test: the members in the order of RFC 7638 §3.2.
func (k *DPoPKey) Thumbprint(t testing.TB) string {
	t.Helper()
	jwk := k.JWK()
	required := map[string]any{"kty": jwk["kty"]}
	for _, name := range []string{"crv", "x", "y", "n", "e"} {
		if jwk[name] != nil {
			required[name] = jwk[name]
		}
	}
	raw, err := json.Marshal(required) // sorts by name, as the RFC asks
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Proof signs a proof for a request; claims are put on top, and nil removes one.
func (k *DPoPKey) Proof(t testing.TB, method, url string, at time.Time, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": at.Unix()}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return MintToken(t, k.IDPKey, map[string]any{"typ": "dpop+jwt", "jwk": k.PublicJWK(), "kid": nil}, all)
}

// TokenHash is ath.
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// ContentDigest is content_digest of a body.
func ContentDigest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}
