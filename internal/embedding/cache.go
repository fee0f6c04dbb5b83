package embedding

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// cache keeps the vectors that were used last.
type cache struct {
	most int

	mu    sync.Mutex // guards what follows
	byKey map[[sha256.Size]byte]*list.Element
	order *list.List // of *kept, last used first
}

type kept struct {
	key    [sha256.Size]byte
	vector []float32
}

func newCache(most int) *cache {
	return &cache{most: most, byKey: map[[sha256.Size]byte]*list.Element{}, order: list.New()}
}

// get returns nil for what is not kept. The caller does not change the vector.
func (c *cache) get(key [sha256.Size]byte) []float32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.byKey[key]
	if at == nil {
		return nil
	}
	c.order.MoveToFront(at)
	return at.Value.(*kept).vector
}

func (c *cache) put(key [sha256.Size]byte, vector []float32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[key] != nil {
		return
	}
	c.byKey[key] = c.order.PushFront(&kept{key, vector})
	if c.order.Len() > c.most {
		last := c.order.Back()
		delete(c.byKey, last.Value.(*kept).key)
		c.order.Remove(last)
	}
}
