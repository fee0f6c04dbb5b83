package jose

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits on what is read of a proof: whoever sends one chooses the key that is worked with.
const (
	MaxProof        = 8 << 10 // bytes of a compact proof
	maxProofKey     = 2 << 10 // bytes of its key
	maxProofRSABits = 4096
)

// Proof is a compact JWS that was signed with the very key that it brings along (RFC 9449 §4.2). It shows that its maker
// has that key's private half, and nothing about who that is.
type Proof struct {
	Token
	Thumbprint string // of the key: SHA-256 in base64url (RFC 7638)
}

// ParseProof reads a proof as strictly as Parse does and checks its signature. The header must have the typ and a jwk
// that is a public key and nothing else; it must not name a key in any other way. Without algs the default list holds.
func ParseProof(text, typ string, algs []string) (*Proof, error) {
	if len(text) > MaxProof {
		return nil, fail(TooLarge, fmt.Sprintf("the proof has %d bytes, at most %d are read", len(text), MaxProof), nil)
	}
	var raw jsontext.Value
	s, err := read(text, func(head []byte) (Header, error) {
		h, jwk, err := readHeader(head)
		raw = jwk
		return h, err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case !s.Header.IsType(typ):
		return nil, fail(TypeRefused, fmt.Sprintf("typ is %.64q, want %s", s.Header.Typ, typ), nil)
	case !allowed(s.Header.Alg, algs):
		return nil, fail(AlgRefused, fmt.Sprintf("algorithm %.32q is not accepted", s.Header.Alg), nil)
	case raw == nil:
		return nil, fail(KeyRefused, "the header has no jwk", nil)
	}
	key, thumbprint, err := readProofKey(raw)
	if err != nil {
		return nil, err
	}
	if !key.fits(s.Header.Alg) {
		return nil, fail(KeyRefused, fmt.Sprintf("the key is not one for %s", s.Header.Alg), nil)
	}
	if alg, _ := algorithmOf(s.Header.Alg); !alg.verify(key.key, []byte(s.text), s.signature) {
		return nil, fail(BadSignature, "the signature is not that of the key in the header", nil)
	}
	t, err := s.token()
	if err != nil {
		return nil, err
	}
	return &Proof{Token: *t, Thumbprint: thumbprint}, nil
}

// readProofKey refuses a key that says more than a public key has to say: private parts, that it is symmetric, or
// certificates. The thumbprint is computed from the key as it was understood, so that spelling makes no difference.
func readProofKey(raw jsontext.Value) (PublicKey, string, error) {
	if len(raw) > maxProofKey {
		return PublicKey{}, "", fail(KeyRefused, fmt.Sprintf("the key has %d bytes, at most %d are read", len(raw), maxProofKey), nil)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(raw, &members); err != nil {
		return PublicKey{}, "", fail(KeyRefused, "jwk is no JSON object", err)
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "x5c", "x5u", "x5t", "x5t#S256", "jku"} {
		if _, present := members[name]; present {
			return PublicKey{}, "", fail(KeyRefused, "jwk has "+name+", and must be a public key and nothing else", nil)
		}
	}
	key, err := parseKey(raw)
	if err != nil {
		return PublicKey{}, "", fail(KeyRefused, "read jwk", err)
	}
	if k, ok := key.key.(*rsa.PublicKey); ok && k.N.BitLen() > maxProofRSABits {
		return PublicKey{}, "", fail(KeyRefused, fmt.Sprintf("RSA with %d bits, at most %d are taken", k.N.BitLen(), maxProofRSABits), nil)
	}
	sum, err := (&jose.JSONWebKey{Key: key.key}).Thumbprint(crypto.SHA256)
	if err != nil {
		return PublicKey{}, "", fail(KeyRefused, "compute the thumbprint of jwk", err)
	}
	return key, base64.RawURLEncoding.EncodeToString(sum), nil
}
