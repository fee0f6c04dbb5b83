package authn

import (
	"crypto/sha256"
	"sync"
	"time"
)

const cacheShards = 16

type digest = [sha256.Size]byte

// digestOf hashes a token without a copy on the heap, unless it is unusually long.
func digestOf(token string) digest {
	var usual [2048]byte
	return sha256.Sum256(append(usual[:0], token...))
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
		return nil
	}
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
