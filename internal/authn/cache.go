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
	var piece [1024]byte
	for len(token) > 0 {
		n := copy(piece[:], token)
		h.Write(piece[:n])
		token = token[n:]
	}
	h.Sum(d[:0])
	return d
}

// cache keeps a bounded number of verified tokens by their digest. It is split into shards, each with a lock of its own, so
// that requests seldom wait for each other. When a shard is full, the CLOCK algorithm makes room: a hand goes round the ring,
// and drops the first token that has expired or was not used since the hand last came by.
type cache struct {
	shards [cacheShards]cacheShard
}

type cacheShard struct {
	size int // the most tokens

	mu    sync.RWMutex   // guards what follows
	index map[digest]int // where in ring
	ring  []slot
	hand  int

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

// room returns a free place in the ring, and makes one if the ring is full. It needs s.mu. The hand takes the mark "used" off
// each token that it passes, so it finds one to drop in its second round at the latest.
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

// counts returns how often a token was found and not found, and how many there are.
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
