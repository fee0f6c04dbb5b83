package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// issuer is an identity provider: one RSA key, discovery document, key set.
type issuer struct {
	url     string
	key     *rsa.PrivateKey
	kid     string
	fetches atomic.Int64 // of the key set
	server  *http.Server
}

const audience = "https://tools.bench.example"

func startIssuer() (*issuer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the identity provider: %w", err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("make the identity provider's key: %w", err)
	}
	i := &issuer{url: "http://" + l.Addr().String(), key: key, kid: "bench-1"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"issuer": i.url, "jwks_uri": i.url + "/keys", "authorization_endpoint": i.url + "/authorize",
			"token_endpoint": i.url + "/token", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"}, "code_challenge_methods_supported": []string{"S256"}})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.fetches.Add(1)
		writeJSON(w, map[string]any{"keys": []any{map[string]any{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": i.kid,
			"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes())}}})
	})
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = i.server.Serve(l) }()
	return i, nil
}

func (i *issuer) close() { _ = i.server.Close() }

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token signs an access token for a person. An empty kid is the issuer's own.
func (i *issuer) token(subject, kid string) string {
	return i.tokenWith(subject, kid, nil)
}

// tokenWith signs a token with other claims than usual.
func (i *issuer) tokenWith(subject, kid string, other map[string]any) string {
	if kid == "" {
		kid = i.kid
	}
	header, _ := json.Marshal(map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": kid})
	now := time.Now()
	claims := map[string]any{"iss": i.url, "aud": []string{audience}, "sub": subject, "client_id": "bench", "scope": "mcp:tools",
		"groups": []string{"engineering", "sre"}, "iat": now.Unix(), "exp": now.Add(4 * time.Hour).Unix(), "jti": encode([]byte(subject))}
	maps.Copy(claims, other)
	payload, _ := json.Marshal(claims)
	signed := encode(header) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err) // a key that was just made signs
	}
	return signed + "." + encode(signature)
}

// badTokens are tokens that nobody may get in with, by what is wrong with them.
func (i *issuer) badTokens() map[string]string {
	good := i.token("mallory", "")
	changed := strings.LastIndexByte(good, '.') + 20
	flip := byte('A')
	if good[changed] == flip {
		flip = 'B'
	}
	return map[string]string{
		"a wrong signature": good[:changed] + string(flip) + good[changed+1:],
		"another issuer":    i.tokenWith("mallory", "", map[string]any{"iss": "http://127.0.0.1:1"}),
		"another audience":  i.tokenWith("mallory", "", map[string]any{"aud": []string{"https://other.example"}}),
		"an expiry gone by": i.tokenWith("mallory", "", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
	}
}
