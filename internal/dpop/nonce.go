package dpop

import (
	"encoding/base64"
	"encoding/binary"
	"time"

	"gatehouse/internal/seal"
)

// NonceHeader is the header field in which a nonce is handed out (RFC 9449 §8).
const NonceHeader = "Dpop-Nonce" // in the form of http.CanonicalHeaderKey

const (
	nonceEvery = time.Minute     // a new one that often
	nonceLife  = 5 * time.Minute // one is good for this long after its minute
	nonceTag   = 16              // bytes of its MAC
)

// Nonces hands out nonces and knows them again (RFC 9449 §8, §9). They carry their time under a MAC, so that nothing is
// remembered and every copy knows those of the others. It is safe for concurrent use.
type Nonces struct {
	mac *seal.MAC
	now func() time.Time
}

// NewNonces makes nonces for one kind of place; those for another are none here.
func NewNonces(keys *seal.Keyring, place string, now func() time.Time) *Nonces {
	return &Nonces{mac: keys.MAC(seal.Purpose("dpop nonce " + place)), now: now}
}

// Current returns the nonce of this minute.
func (n *Nonces) Current() string {
	var raw [8 + nonceTag]byte
	binary.BigEndian.PutUint64(raw[:], uint64(n.now().Truncate(nonceEvery).Unix()))
	copy(raw[8:], n.mac.Sum(raw[:8]))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// age returns how long ago a nonce was made. A nonce of another copy may come from a clock that is ahead.
func (n *Nonces) age(text string) (time.Duration, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 8+nonceTag || len(text) != base64.RawURLEncoding.EncodedLen(len(raw)) {
		return 0, false
	}
	known := false
	for _, tag := range n.mac.Sums(raw[:8]) {
		known = known || equal(tag[:nonceTag], raw[8:])
	}
	age := n.now().Sub(time.Unix(int64(binary.BigEndian.Uint64(raw)), 0))
	return age, known && age <= nonceLife+nonceEvery && age >= -nonceEvery
}

// Check looks at the proof's nonce. One that is there must be good; there must be one if it is required.
func (n *Nonces) Check(p *Proof, required bool) error {
	switch _, good := n.age(p.nonce); {
	case p.nonce == "" && !required, good:
		return nil
	case p.nonce == "":
		return fail(NonceNeeded, "the proof has no nonce")
	}
	return fail(NonceNeeded, "the proof's nonce is not ours, or it has had its time")
}

// Ageing reports whether the maker of the proof should be given the current nonce: it used one that ends soon.
func (n *Nonces) Ageing(p *Proof) bool {
	age, good := n.age(p.nonce)
	return good && age >= nonceLife/2
}
