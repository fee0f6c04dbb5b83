package authn

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

const cacheShards = 16

type digest = [sha256.Size]byte

// digestOf hashes a token piece by piece, so that no copy of it is made on the heap, however long it is.
func digestOf(token string) (d digest) {
	h := sha256.New()
	var piece [512]byte
	for len(token) > 0 {
		n := copy(piece[:], token)
		h.Write(piece[:n])
		token = token[n:]
	}
	h.Sum(d[:0])
	return d
}

// cache keeps verified tokens under their digest: a bounded number, in shards so that requests do not wait for each
// other. What was not used since the hand last came by makes room first.
type cache struct {
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	mu    sync.RWMutex // guards what follows
	index map[digest]int
	ring  []slot
	hand  int
	size  int

	hits, misses atomic.Uint64
}

type slot struct {
	digest digest
	token  *verified
}

func newCache(size int) *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i].size = max(1, size/cacheShards)
		c.shards[i].index = map[digest]int{}
	}
	return c
}

func (c *cache) shard(d digest) *cacheShard { return &c.shards[d[0]%cacheShards] }

func (c *cache) get(d digest) *verified {
	s := c.shard(d)
	s.mu.RLock()
	defer s.mu.RUnlock()
	i, ok := s.index[d]
	if !ok {
		s.misses.Add(1)
		return nil
	}
	s.hits.Add(1)
	v := s.ring[i].token
	if !v.used.Load() {
		v.used.Store(true)
	}
	return v
}

func (c *cache) put(d digest, v *verified, now time.Time) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, known := s.index[d]
	if !known {
		i = s.room(now)
		s.index[d] = i
	}
	s.ring[i] = slot{d, v}
}

// room returns a free place in the ring, emptied if need be; mu is held. After one round no token is marked any more,
// so the second round ends.
func (s *cacheShard) room(now time.Time) int {
	if len(s.ring) < s.size {
		s.ring = append(s.ring, slot{})
		return len(s.ring) - 1
	}
	for {
		i := s.hand
		s.hand = (s.hand + 1) % len(s.ring)
		old := s.ring[i]
		if !now.Before(old.token.expires) || !old.token.used.Swap(false) {
			delete(s.index, old.digest)
			return i
		}
	}
}

// counts returns how often a token was there or not, and how many are.
func (c *cache) counts() CacheCounts {
	var n CacheCounts
	for i := range c.shards {
		s := &c.shards[i]
		n.Hits, n.Misses = n.Hits+s.hits.Load(), n.Misses+s.misses.Load()
		s.mu.RLock()
		n.Tokens += len(s.index)
		s.mu.RUnlock()
	}
	return n
}
