// Package seal turns the installation's master key into one key per purpose (HKDF-SHA256, RFC 5869) and seals small
// values under them (AES-256-GCM with a random nonce). A sealed value is bound to its purpose and to the additional
// data that the caller names, so that it opens at no other place. It owns no storage and reads no file.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// KeySize is the size of a master key in bytes.
const KeySize = 32

// ErrOpen means that a value was not sealed here, for this purpose and this additional data, or was changed since.
var ErrOpen = errors.New("sealed value does not open: it is foreign, altered, or meant for another place")

// Purpose separates the keys: a value sealed for one purpose never opens for another.
type Purpose string

// Keyring seals under the newest master key and opens under every one it was given.
type Keyring struct{ masters [][]byte }

// NewKeyring takes the master keys, newest first. Each must have KeySize bytes.
func NewKeyring(masters ...[]byte) (*Keyring, error) {
	if len(masters) == 0 {
		return nil, errors.New("keyring: no master key given")
	}
	for i, m := range masters {
		if len(m) != KeySize {
			return nil, fmt.Errorf("keyring: master key %d has %d bytes, want %d", i+1, len(m), KeySize)
		}
	}
	k := &Keyring{}
	for _, m := range masters {
		k.masters = append(k.masters, bytes.Clone(m))
	}
	return k, nil
}

// Box seals and opens for one purpose. It is safe for concurrent use.
type Box struct{ aeads []cipher.AEAD }

// Box derives the keys of a purpose.
func (k *Keyring) Box(p Purpose) *Box {
	b := &Box{}
	for _, m := range k.masters {
		b.aeads = append(b.aeads, newAEAD(derive(m, "seal "+string(p))))
	}
	return b
}

// Seal encrypts plain, bound to additional data; the result carries its nonce.
func (b *Box) Seal(plain, additional []byte) []byte {
	return b.aeads[0].Seal(nil, nil, plain, additional)
}

// Open reverses Seal; it returns ErrOpen for anything else.
func (b *Box) Open(sealed, additional []byte) ([]byte, error) {
	for _, a := range b.aeads {
		if plain, err := a.Open(nil, nil, sealed, additional); err == nil {
			return plain, nil
		}
	}
	return nil, ErrOpen
}

// Current reports whether a value opens under the newest key, so that its holder need not seal it again.
func (b *Box) Current(sealed, additional []byte) bool {
	_, err := b.aeads[0].Open(nil, nil, sealed, additional)
	return err == nil
}

// SealString is Seal in unpadded base64url, for URLs, headers and forms.
func (b *Box) SealString(plain, additional []byte) string {
	return base64.RawURLEncoding.EncodeToString(b.Seal(plain, additional))
}

// OpenString reverses SealString. It takes one spelling only, so that a sealed value can be named in a deny list.
func (b *Box) OpenString(sealed string, additional []byte) ([]byte, error) {
	if strings.ContainsAny(sealed, "\r\n") { // which the decoder would skip
		return nil, ErrOpen
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return nil, ErrOpen
	}
	return b.Open(raw, additional)
}

// MAC computes and checks HMAC-SHA256 tags for one purpose. It is safe for concurrent use.
type MAC struct{ keys [][]byte }

// MAC derives the keys of a purpose.
func (k *Keyring) MAC(p Purpose) *MAC {
	m := &MAC{}
	for _, master := range k.masters {
		m.keys = append(m.keys, derive(master, "mac "+string(p)))
	}
	return m
}

// Sum returns the tag of data under the newest key.
func (m *MAC) Sum(data []byte) []byte { return sum(m.keys[0], data) }

// Sums returns the tags of data under every key, the newest first, to look something up by its tag.
func (m *MAC) Sums(data []byte) [][]byte {
	out := make([][]byte, len(m.keys))
	for i, key := range m.keys {
		out[i] = sum(key, data)
	}
	return out
}

// Check reports whether tag belongs to data, under any of the keys, in constant time.
func (m *MAC) Check(data, tag []byte) bool {
	ok := false
	for _, key := range m.keys {
		ok = hmac.Equal(sum(key, data), tag) || ok
	}
	return ok
}

// Signers derives one key pair for signatures of a purpose from each master key, newest first: whoever has the master key
// has the same pair.
func (k *Keyring) Signers(p Purpose) []ed25519.PrivateKey {
	all := make([]ed25519.PrivateKey, 0, len(k.masters))
	for _, m := range k.masters {
		all = append(all, ed25519.NewKeyFromSeed(derive(m, "sign "+string(p))))
	}
	return all
}

// CheckPart is Check for the first bytes of a tag, at least 16 of them.
func (m *MAC) CheckPart(data, part []byte) bool {
	ok := false
	for _, key := range m.keys {
		tag := sum(key, data)
		ok = len(part) >= 16 && len(part) <= len(tag) && hmac.Equal(tag[:len(part)], part) || ok
	}
	return ok
}

// UnderToken seals under a key derived from a high-entropy token that only its holder has, such as a refresh token:
// whoever reads the store cannot open it.
func UnderToken(token string, p Purpose) *Box {
	return &Box{aeads: []cipher.AEAD{newAEAD(derive([]byte(token), "token "+string(p)))}}
}

func sum(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}

// derive cannot fail: the hash is fixed and the length is far below HKDF's limit.
func derive(secret []byte, info string) []byte {
	key, err := hkdf.Key(sha256.New, secret, []byte("gatehouse"), info, KeySize)
	if err != nil {
		panic(fmt.Sprintf("derive key for %q: %v", info, err))
	}
	return key
}

// newAEAD cannot fail: every key comes from derive.
func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(fmt.Sprintf("make AES cipher: %v", err))
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(fmt.Sprintf("make AES-GCM: %v", err))
	}
	return aead
}
