package jose

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"gatehouse/internal/seal"
)

// SigningAlg is the one algorithm that Gatehouse signs with.
const SigningAlg = "ES256"

// StoredKey is a signing key as it lies in the store.
type StoredKey struct {
	KID        string // RFC 7638 thumbprint of the public key
	Alg        string
	Sealed     []byte // PKCS #8, sealed and bound to KID
	CreatedAt  time.Time
	ActiveFrom time.Time // signs from then on, unless a newer key does
	RetireAt   time.Time // when a newer key is due
	Expires    time.Time // its public half is served until then
}

// KeyStore keeps signing keys for all copies.
type KeyStore interface {
	Keys(ctx context.Context) ([]StoredKey, error)
	AddKey(ctx context.Context, key StoredKey) error
	UpdateKey(ctx context.Context, key StoredKey) error
}

// SigningOptions configures SigningKeys. Zero durations take the defaults.
type SigningOptions struct {
	Store KeyStore
	Box   *seal.Box // for this purpose only
	Now   func() time.Time
	Log   *slog.Logger

	Lead         time.Duration // a new key is published this long before it signs; default 1 h
	Active       time.Duration // a key signs for this long; default 90 d
	LongestToken time.Duration // no token lives longer than this; default 24 h
}

// SigningKeys holds Gatehouse's own keys. Every copy reads the same rows and derives from their times which key signs
// now, so copies agree without talking; the lead gives all of them, and all who cache the key set, time to learn of a
// key before it is used. It is a KeySource.
type SigningKeys struct {
	o SigningOptions

	current    atomic.Pointer[ring]
	generation atomic.Uint64
	mu         sync.Mutex // one reader and changer of the store at a time
}

// ring is one state of the keys; it never changes.
type ring struct {
	keys   []signingKey // by ActiveFrom, oldest first
	public *KeySet
	jwks   []byte
}

type signingKey struct {
	StoredKey
	private *ecdsa.PrivateKey
}

// NewSigningKeys checks the options. Call Load before anything else.
func NewSigningKeys(o SigningOptions) (*SigningKeys, error) {
	if o.Store == nil || o.Box == nil || o.Now == nil || o.Log == nil {
		return nil, errors.New("signing keys: store, box, clock and log are required")
	}
	if o.Lead < 0 || o.Active < 0 || o.LongestToken < 0 {
		return nil, errors.New("signing keys: durations must not be negative")
	}
	o.Lead = cmp.Or(o.Lead, time.Hour)
	o.Active = cmp.Or(o.Active, 90*24*time.Hour)
	o.LongestToken = cmp.Or(o.LongestToken, 24*time.Hour)
	return &SigningKeys{o: o}, nil
}

// Sign returns a compact JWS over the claims, which encode as a JSON object under the rules of json/v2 (omitzero
// leaves out zero numbers, omitempty does not).
func (s *SigningKeys) Sign(typ string, claims any) (string, error) {
	key, err := s.signer()
	if err != nil {
		return "", err
	}
	head, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Typ string `json:"typ,omitempty"`
	}{SigningAlg, key.KID, typ})
	if err != nil {
		return "", fmt.Errorf("sign token: encode header: %w", err)
	}
	payload, err := json.Marshal(claims, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("sign token: encode claims: %w", err)
	}
	if payload[0] != '{' {
		return "", fmt.Errorf("sign token: claims of type %T are no JSON object", claims)
	}
	signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, sg, err := ecdsa.Sign(rand.Reader, key.private, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	sg.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// KID returns the id of the key that signs now, or "" before Load.
func (s *SigningKeys) KID() string {
	key, err := s.signer()
	if err != nil {
		return ""
	}
	return key.KID
}

// JWKS returns the public keys as a JWK set document. The caller must not change it.
func (s *SigningKeys) JWKS() []byte {
	if r := s.current.Load(); r != nil {
		return r.jwks
	}
	return []byte(`{"keys":[]}`)
}

// Key implements KeySource. It never touches the store.
func (s *SigningKeys) Key(ctx context.Context, kid, alg string) (PublicKey, error) {
	r := s.current.Load()
	if r == nil {
		return PublicKey{}, fail(KeysUnavailable, "the signing keys are not loaded yet", nil)
	}
	return r.public.Key(ctx, kid, alg)
}

// Generation implements KeySource.
func (s *SigningKeys) Generation() uint64 { return s.generation.Load() }

func (s *SigningKeys) signer() (signingKey, error) {
	if r := s.current.Load(); r != nil {
		return r.signer(s.o.Now()), nil
	}
	return signingKey{}, errors.New("signing keys: not loaded yet")
}

// signer is the newest key that is active. RetireAt plays no part: when no newer key could be made, signing goes on.
func (r *ring) signer(now time.Time) signingKey {
	for _, k := range slices.Backward(r.keys) {
		if !k.ActiveFrom.After(now) {
			return k
		}
	}
	return r.keys[0]
}

// newRing orders the keys and renders what is served: every key that has not expired, one of which signs.
func newRing(keys []signingKey, now time.Time) (*ring, error) {
	r := &ring{keys: slices.Clone(keys), public: &KeySet{}}
	slices.SortFunc(r.keys, func(a, b signingKey) int {
		if c := a.ActiveFrom.Compare(b.ActiveFrom); c != 0 {
			return c
		}
		return strings.Compare(a.KID, b.KID)
	})
	last := r.signer(now)
	r.keys = slices.DeleteFunc(r.keys, func(k signingKey) bool { return !now.Before(k.Expires) })
	if len(r.keys) == 0 {
		r.keys = []signingKey{last} // no newer key could be made: signing goes on
	}
	var doc jose.JSONWebKeySet
	for _, k := range r.keys {
		public, err := NewPublicKey(k.KID, SigningAlg, &k.private.PublicKey)
		if err != nil {
			return nil, err
		}
		r.public.keys = append(r.public.keys, public)
		doc.Keys = append(doc.Keys, jose.JSONWebKey{Key: &k.private.PublicKey, KeyID: k.KID, Algorithm: SigningAlg, Use: "sig"})
	}
	var err error
	if r.jwks, err = json.Marshal(doc); err != nil {
		return nil, fmt.Errorf("encode public keys: %w", err)
	}
	return r, nil
}

func (s *SigningKeys) seal(kid string, private *ecdsa.PrivateKey) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode signing key: %w", err)
	}
	return s.o.Box.Seal(plain, keyRow(kid)), nil
}

func (s *SigningKeys) open(stored StoredKey) (signingKey, error) {
	plain, err := s.o.Box.Open(stored.Sealed, keyRow(stored.KID))
	if err != nil {
		return signingKey{}, err
	}
	private, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return signingKey{}, fmt.Errorf("decode signing key: %w", err)
	}
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() || stored.Alg != SigningAlg {
		return signingKey{}, fmt.Errorf("decode signing key: it is not for %s", SigningAlg)
	}
	return signingKey{stored, key}, nil
}

// keyRow binds a sealed key to its row.
func keyRow(kid string) []byte { return []byte("signing key\x00" + kid) }

// generate makes a key and its id.
func generate() (*ecdsa.PrivateKey, string, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("generate signing key: %w", err)
	}
	thumbprint, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", fmt.Errorf("generate signing key: %w", err)
	}
	return private, base64.RawURLEncoding.EncodeToString(thumbprint), nil
}
