package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// IDPKey is a key pair that signs tokens.
type IDPKey struct {
	KID, Alg string
	Private  crypto.Signer // nil for HMAC and none
	Secret   []byte        // for HMAC
}

// NewIDPKey makes a key for RS*, PS*, ES* or EdDSA. RSA keys have 2048 bits.
func NewIDPKey(t testing.TB, alg string) *IDPKey {
	t.Helper()
	var private crypto.Signer
	var err error
	switch {
	case strings.HasPrefix(alg, "RS"), strings.HasPrefix(alg, "PS"):
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case strings.HasPrefix(alg, "ES"):
		private, err = ecdsa.GenerateKey(curveOf(alg), rand.Reader)
	case alg == "EdDSA":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("make key: unknown algorithm %q", alg)
	}
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	return &IDPKey{KID: rand.Text(), Alg: alg, Private: private}
}

// JWK is the public half in its JSON form, ready to be changed.
func (k *IDPKey) JWK() map[string]any {
	raw, err := jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.KID, Algorithm: k.Alg, Use: "sig"}.MarshalJSON()
	if err != nil {
		panic(err) // NewIDPKey made it
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		panic(err)
	}
	return out
}

// PrivateJWK is the whole key in its JSON form, for clients that sign.
func (k *IDPKey) PrivateJWK(t testing.TB) map[string]any {
	t.Helper()
	raw, err := jose.JSONWebKey{Key: k.Private, KeyID: k.KID, Algorithm: k.Alg}.MarshalJSON()
	if err != nil {
		t.Fatalf("encode key: %v", err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("encode key: %v", err)
	}
	return out
}

// MintToken signs claims; header is put on top of alg, kid and typ, and nil removes one. The key's algorithm decides
// how, whatever the header says; none and HS256 exist to be refused.
func MintToken(t testing.TB, key *IDPKey, header, claims map[string]any) string {
	t.Helper()
	head := map[string]any{"alg": key.Alg, "kid": key.KID, "typ": "JWT"}
	for name, value := range header {
		if value == nil {
			delete(head, name)
		} else {
			head[name] = value
		}
	}
	return SignRaw(t, key, encodeJSON(t, head), encodeJSON(t, claims))
}

// SignRaw signs a header and a payload that need not even be JSON.
func SignRaw(t testing.TB, key *IDPKey, header, payload []byte) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	signature, err := key.sign([]byte(signed))
	if err != nil {
		t.Fatalf("sign token: %v", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encodeJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encode token: %v", err)
	}
	return raw
}

func (k *IDPKey) sign(message []byte) ([]byte, error) {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[k.Alg[max(0, len(k.Alg)-3):]]
	switch {
	case k.Alg == "none":
		return nil, nil
	case k.Alg == "HS256":
		mac := hmac.New(sha256.New, k.Secret)
		mac.Write(message)
		return mac.Sum(nil), nil
	case k.Alg == "EdDSA":
		return k.Private.Sign(rand.Reader, message, crypto.Hash(0))
	case hash == 0:
		return nil, fmt.Errorf("unknown algorithm %q", k.Alg)
	}
	h := hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	switch private := k.Private.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, err
		}
		size := (private.Curve.Params().BitSize + 7) / 8
		out := make([]byte, 2*size)
		r.FillBytes(out[:size])
		s.FillBytes(out[size:])
		return out, nil
	case *rsa.PrivateKey:
		if strings.HasPrefix(k.Alg, "PS") {
			return rsa.SignPSS(rand.Reader, private, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(rand.Reader, private, hash, digest)
	}
	return nil, fmt.Errorf("key of type %T cannot sign %s", k.Private, k.Alg)
}

func curveOf(alg string) elliptic.Curve {
	switch alg {
	case "ES384":
		return elliptic.P384()
	case "ES512":
		return elliptic.P521()
	}
	return elliptic.P256()
}
