package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // SHA-256 for crypto.Hash
	_ "crypto/sha512" // SHA-384 and SHA-512 for crypto.Hash
	"math/big"
	"slices"
)

// RSA keys outside these sizes are refused: smaller ones are weak (RFC 7518 §3.3), larger ones make every check of a
// forged token expensive.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// algorithm is one signature algorithm of RFC 7518 §3.1 or RFC 8037.
type algorithm struct {
	hash  crypto.Hash    // zero for EdDSA
	curve elliptic.Curve // for ECDSA
	pss   bool           // for RSA: PSS padding instead of PKCS #1 v1.5
}

// algorithmOf knows asymmetric algorithms only: none and the HMAC family do not exist here, so that no list can
// allow them.
func algorithmOf(name string) (algorithm, bool) {
	switch name {
	case "RS256":
		return algorithm{hash: crypto.SHA256}, true
	case "RS384":
		return algorithm{hash: crypto.SHA384}, true
	case "RS512":
		return algorithm{hash: crypto.SHA512}, true
	case "PS256":
		return algorithm{hash: crypto.SHA256, pss: true}, true
	case "PS384":
		return algorithm{hash: crypto.SHA384, pss: true}, true
	case "PS512":
		return algorithm{hash: crypto.SHA512, pss: true}, true
	case "ES256":
		return algorithm{hash: crypto.SHA256, curve: elliptic.P256()}, true
	case "ES384":
		return algorithm{hash: crypto.SHA384, curve: elliptic.P384()}, true
	case "ES512":
		return algorithm{hash: crypto.SHA512, curve: elliptic.P521()}, true
	case "EdDSA":
		return algorithm{}, true
	}
	return algorithm{}, false
}

// DefaultAlgorithms is what an issuer may sign with when its administrator says nothing.
func DefaultAlgorithms() []string { return []string{"RS256", "PS256", "ES256", "EdDSA"} }

// KnownAlgorithm reports whether name may stand in an allow list.
func KnownAlgorithm(name string) bool {
	_, ok := algorithmOf(name)
	return ok
}

func allowed(alg string, algs []string) bool {
	if len(algs) == 0 {
		algs = DefaultAlgorithms()
	}
	return KnownAlgorithm(alg) && slices.Contains(algs, alg)
}

// suits reports whether a key of this type and curve can belong to the algorithm.
func (a algorithm) suits(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return a.hash != 0 && a.curve == nil
	case *ecdsa.PublicKey:
		return a.curve != nil && a.curve == k.Curve
	case ed25519.PublicKey:
		return a.hash == 0
	}
	return false
}

// verify checks a signature of RFC 7518 §3 under a key that suits the algorithm.
func (a algorithm) verify(key crypto.PublicKey, message, signature []byte) bool {
	if k, ok := key.(ed25519.PublicKey); ok {
		return ed25519.Verify(k, message, signature)
	}
	h := a.hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	switch k := key.(type) {
	case *rsa.PublicKey:
		if a.pss {
			return rsa.VerifyPSS(k, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(k, a.hash, digest, signature) == nil
	case *ecdsa.PublicKey:
		size := (k.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(k, digest, r, s)
	}
	return false
}
