package jose_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

func TestKeySetLeavesOut(t *testing.T) {
	t.Parallel()
	good, other := testkit.NewIDPKey(t, "ES256"), testkit.NewIDPKey(t, "ES256")
	but := func(member string, value any) map[string]any {
		jwk := maps.Clone(other.JWK())
		jwk[member] = value
		return jwk
	}
	weak := map[string]any{
		"kty": "RSA", "kid": other.KID, "e": "AQAB",
		"n": base64.RawURLEncoding.EncodeToString(new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 1024), big.NewInt(1)).Bytes()),
	}
	for name, jwk := range map[string]any{
		"encryption key":     but("use", "enc"),
		"key_ops":            but("key_ops", []string{"sign"}),
		"other algorithm":    but("alg", "RS256"),
		"HMAC algorithm":     but("alg", "HS256"),
		"point not on it":    but("x", "AAAA"),
		"unknown curve":      but("crv", "secp256k1"),
		"unknown type":       but("kty", "XYZ"),
		"symmetric":          map[string]any{"kty": "oct", "kid": other.KID, "k": "AAAA"},
		"private":            but("d", base64.RawURLEncoding.EncodeToString(make([]byte, 32))),
		"RSA of 1024 bits":   weak,
		"long kid":           but("kid", strings.Repeat("k", 257)),
		"not even an object": 7,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := parseSet(t, jwk, good.JWK())
			if _, err := set.Key(t.Context(), good.KID, "ES256"); err != nil {
				t.Errorf("the good key beside it is gone: %v", err)
			}
			for _, alg := range everyAlgorithm {
				if _, err := set.Key(t.Context(), other.KID, alg); jose.ReasonOf(err) != jose.UnknownKey {
					t.Errorf("%s: %v, want unknown key", alg, err)
				}
			}
		})
	}
}

func TestKeySetRefused(t *testing.T) {
	t.Parallel()
	key := testkit.NewIDPKey(t, "ES256").JWK()
	var many []any
	for range 65 {
		many = append(many, key)
	}
	crowd, err := json.Marshal(map[string]any{"keys": many})
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"empty": "", "HTML": "<html>", "list": "[]", "no keys": "{}", "empty keys": `{"keys":[]}`,
		"names keys twice": `{"keys":[],"keys":[]}`,
		"nothing usable":   `{"keys":[{"kty":"oct","k":"AAAA"}]}`,
		"65 keys":          string(crowd),
		"too long":         `{"keys":[]` + strings.Repeat(" ", 256<<10) + `}`,
	} {
		if _, err := jose.ParseKeySet([]byte(raw)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNewPublicKey(t *testing.T) {
	t.Parallel()
	weak := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2046), E: 65537}
	huge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8192), E: 65537}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		alg string
		key any
		ok  bool
	}{
		{"ES256", &ec.PublicKey, true}, {"", &ec.PublicKey, true}, {"ES384", &ec.PublicKey, false},
		{"RS256", weak, false}, {"RS256", huge, false}, {"EdDSA", make(ed25519.PublicKey, 32), true},
		{"RS256", make(ed25519.PublicKey, 32), false}, {"HS256", []byte("secret"), false}, {"", nil, false},
	} {
		key, err := jose.NewPublicKey("k", tt.alg, tt.key)
		if (err == nil) != tt.ok {
			t.Errorf("%s with %T: %v, want ok %v", tt.alg, tt.key, err, tt.ok)
		}
		if err == nil && key.KID() != "k" {
			t.Errorf("kid %q", key.KID())
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		raw, err := json.Marshal(map[string]any{"keys": []any{testkit.NewIDPKey(f, alg).JWK()}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := jose.ParseKeySet(raw)
		if err == nil {
			_, err = set.Key(t.Context(), "", "ES256")
			_ = fmt.Sprint(err)
		}
	})
}
