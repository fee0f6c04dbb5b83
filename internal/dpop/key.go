package dpop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

// KeyAlgorithm is what a Key signs with.
const KeyAlgorithm = "ES256"

// Key makes proofs of its own possession, where Gatehouse is the client. It lives in memory only.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key.
func NewKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate DPoP key: %w", err)
	}
	return &Key{private}, nil
}

// Made is what a proof is made for.
type Made struct {
	Method string
	URL    *url.URL
	Token  string // the access token that comes along; empty at a token endpoint
	Nonce  string // the server's, if it gave one
	Body   []byte // of a request to an MCP server; nil: any (SEP-1932 content_digest)
}

// Proof makes a proof for one request (RFC 9449 §4.2).
func (k *Key) Proof(m Made, now time.Time) (string, error) {
	to := url.URL{Scheme: m.URL.Scheme, Host: m.URL.Host, Path: m.URL.Path, RawPath: m.URL.RawPath}
	claims := map[string]any{"jti": rand.Text(), "htm": m.Method, "htu": to.String(), "iat": now.Unix()}
	if m.Token != "" {
		sum := sha256.Sum256([]byte(m.Token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if m.Nonce != "" {
		claims["nonce"] = m.Nonce
	}
	if m.Body != nil {
		sum := sha256.Sum256(m.Body)
		claims["content_digest"] = "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
	}
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.ES256, Key: k.private}, (&gojose.SignerOptions{EmbedJWK: true}).WithType(typ))
	if err != nil {
		return "", fmt.Errorf("make DPoP proof: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("make DPoP proof: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("make DPoP proof: %w", err)
	}
	return signed.CompactSerialize()
}
