package jose

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits on a key set document.
const (
	maxKeySet = 256 << 10
	maxKeys   = 64
)

// PublicKey is one verification key of an issuer.
type PublicKey struct {
	kid string
	alg string // empty: any algorithm that suits the key's type
	key crypto.PublicKey
}

// NewPublicKey takes an RSA key of 2048 to 8192 bits, an ECDSA key on P-256, P-384 or P-521, or an Ed25519 key. An
// empty alg leaves the algorithm to the key's type.
func NewPublicKey(kid, alg string, key crypto.PublicKey) (PublicKey, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return PublicKey{}, fmt.Errorf("key %q: RSA with %d bits, want %d to %d", kid, bits, minRSABits, maxRSABits)
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return PublicKey{}, fmt.Errorf("key %q: type %T cannot verify signatures here", kid, key)
	}
	p := PublicKey{kid: kid, alg: alg, key: key}
	if alg != "" && !p.fits(alg) {
		return PublicKey{}, fmt.Errorf("key %q: its type does not go with its algorithm %q", kid, alg)
	}
	return p, nil
}

// KID returns the key's id.
func (p PublicKey) KID() string { return p.kid }

func (p PublicKey) fits(alg string) bool {
	a, ok := algorithmOf(alg)
	return ok && (p.alg == "" || p.alg == alg) && a.suits(p.key)
}

func (p PublicKey) equal(o PublicKey) bool {
	k, ok := p.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.kid == o.kid && p.alg == o.alg && k.Equal(o.key)
}

// KeySet is a fixed set of public keys (RFC 7517 §5). It is a KeySource.
type KeySet struct {
	keys    []PublicKey
	skipped []error // keys that cannot be used, for the log
}

// ParseKeySet reads a JWK set. Keys that are for encryption, weak, or of an unknown kind are left out, as RFC 7517 §5
// asks; a set without any usable key is an error.
func ParseKeySet(raw []byte) (*KeySet, error) {
	if len(raw) > maxKeySet {
		return nil, fmt.Errorf("read key set: it is longer than %d bytes", maxKeySet)
	}
	var doc struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read key set: %w", err)
	}
	if len(doc.Keys) > maxKeys {
		return nil, fmt.Errorf("read key set: it has %d keys, at most %d are taken", len(doc.Keys), maxKeys)
	}
	set := &KeySet{}
	for i, k := range doc.Keys {
		key, err := parseKey(k)
		if err != nil {
			set.skipped = append(set.skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		set.keys = append(set.keys, key)
	}
	if len(set.keys) == 0 {
		return nil, errors.Join(append([]error{errors.New("read key set: no key in it can verify signatures")}, set.skipped...)...)
	}
	return set, nil
}

// Usable lists the algorithms of the keys that can verify signatures, one entry a key: "RS256", or the type of the key
// when it does not say. Skipped says why others cannot.
func (s *KeySet) Usable() (algorithms []string, skipped []error) {
	for _, k := range s.keys {
		if k.alg != "" {
			algorithms = append(algorithms, k.alg)
			continue
		}
		i := slices.IndexFunc(DefaultAlgorithms(), k.fits)
		if i < 0 {
			algorithms = append(algorithms, fmt.Sprintf("%T", k.key))
			continue
		}
		algorithms = append(algorithms, DefaultAlgorithms()[i])
	}
	return algorithms, slices.Clone(s.skipped)
}

func parseKey(raw jsontext.Value) (PublicKey, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil {
		return PublicKey{}, err
	}
	var purpose struct {
		Operations []string `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &purpose); err != nil {
		return PublicKey{}, err
	}
	switch {
	case !jwk.IsPublic():
		return PublicKey{}, errors.New("not a public key")
	case jwk.Use != "" && jwk.Use != "sig":
		return PublicKey{}, fmt.Errorf("use is %.32q, not sig", jwk.Use)
	case purpose.Operations != nil && !slices.Contains(purpose.Operations, "verify"):
		return PublicKey{}, errors.New("key_ops has no verify")
	case len(jwk.KeyID) > maxKid:
		return PublicKey{}, fmt.Errorf("kid is longer than %d bytes", maxKid)
	}
	return NewPublicKey(jwk.KeyID, jwk.Algorithm, jwk.Key)
}

// MarshalJSON writes the usable keys as a JWK set, each with no more than verifying needs.
func (s *KeySet) MarshalJSON() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range s.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key, KeyID: k.kid, Algorithm: k.alg})
	}
	return json.Marshal(set)
}

// Key implements KeySource.
func (s *KeySet) Key(_ context.Context, kid, alg string) (PublicKey, error) {
	var found PublicKey
	n := 0
	for _, k := range s.keys {
		if (kid == "" || k.kid == kid) && k.fits(alg) {
			if n++; n == 1 {
				found = k
			}
		}
	}
	switch {
	case n == 1 || n > 1 && kid != "":
		return found, nil
	case n > 1:
		return PublicKey{}, fail(UnknownKey, "the token names no key and the issuer has several", nil)
	}
	return PublicKey{}, fail(UnknownKey, "the issuer publishes no key "+strconv.Quote(kid)+" for "+alg, nil)
}

// Generation implements KeySource: a fixed set never changes.
func (s *KeySet) Generation() uint64 { return 0 }

func (s *KeySet) has(kid string) bool {
	return slices.ContainsFunc(s.keys, func(k PublicKey) bool { return k.kid == kid })
}

// covers reports whether every key of old is still in s.
func (s *KeySet) covers(old *KeySet) bool {
	for _, k := range old.keys {
		if !slices.ContainsFunc(s.keys, k.equal) {
			return false
		}
	}
	return true
}
