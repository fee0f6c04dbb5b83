package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync"
	"time"
)

// Seen remembers the proofs that came while they could come again (RFC 9449 §11.1), in bounded memory. When that is full,
// the oldest are forgotten, and from then on no proof as old as those is accepted: so what is not remembered is not taken.
// It is safe for concurrent use.
type Seen struct {
	most int

	mu     sync.Mutex // guards what follows
	count  int
	slices map[int64]map[proofID]struct{} // by the time of the proofs
	floor  int64                          // slices before this one are closed
	swept  int64
}

// proofID is a digest of key and jti; half of it is plenty to tell proofs apart.
type proofID [16]byte

const (
	sliceOf   = 10 * time.Second
	keepFresh = time.Minute // proofs that are this young are never closed off
)

// NewSeen remembers at most that many proofs; 0 means 500,000, some 30 MiB when they all are there.
func NewSeen(most int) *Seen {
	if most <= 0 {
		most = 500_000
	}
	return &Seen{most: most, slices: map[int64]map[proofID]struct{}{}}
}

// Use notes a proof whose time was checked before, and refuses one that came before.
func (s *Seen) Use(p *Proof, now time.Time) error {
	sum := sha256.Sum256([]byte(p.Key + "\x00" + p.ID))
	id, slice, present := proofID(sum[:16]), sliceAt(p.IssuedAt), sliceAt(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(sliceAt(now.Add(-Window)), present)
	if slice < s.floor {
		return fail(WrongTime, "iat is %s: at present only proofs made after %s are taken", p.IssuedAt.UTC(), time.Unix(s.floor*int64(sliceOf/time.Second), 0).UTC())
	}
	if _, again := s.slices[slice][id]; again {
		return fail(Replayed, "a proof with this jti was used before")
	}
	if s.count >= s.most && !s.makeRoom(sliceAt(now.Add(-keepFresh))) {
		return fail(TooManyProofs, "%d proofs of the last minute are remembered, and no more", s.count)
	}
	if s.slices[slice] == nil {
		s.slices[slice] = map[proofID]struct{}{}
	}
	s.slices[slice][id] = struct{}{}
	s.count++
	return nil
}

func sliceAt(t time.Time) int64 { return t.Unix() / int64(sliceOf/time.Second) }

// forget drops what is too old to be accepted again; mu is held.
func (s *Seen) forget(oldest, present int64) {
	if s.swept == present {
		return
	}
	s.swept = present
	for slice := range s.slices {
		if slice < oldest {
			s.drop(slice)
			s.floor = max(s.floor, slice+1) // should the clock be set back, these could come again
		}
	}
}

// makeRoom closes the oldest slice, unless that is too fresh; mu is held.
func (s *Seen) makeRoom(before int64) bool {
	oldest, found := int64(0), false
	for slice := range s.slices {
		if !found || slice < oldest {
			oldest, found = slice, true
		}
	}
	if !found || oldest >= before {
		return false
	}
	s.drop(oldest)
	s.floor = max(s.floor, oldest+1)
	return true
}

func (s *Seen) drop(slice int64) {
	s.count -= len(s.slices[slice])
	delete(s.slices, slice)
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
