package clientdoc

import "container/list"

// lru is a map that forgets what was not used for longest when it is full. Its owner locks.
type lru[T any] struct {
	max   int
	byKey map[string]*list.Element
	order *list.List // of *item[T], the last used in front
}

type item[T any] struct {
	key   string
	value T
}

func newLRU[T any](most int) *lru[T] {
	return &lru[T]{max: most, byKey: map[string]*list.Element{}, order: list.New()}
}

func (l *lru[T]) get(key string) (value T, ok bool) {
	e, ok := l.byKey[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*item[T]).value, true
}

func (l *lru[T]) put(key string, value T) {
	l.remove(key)
	if l.order.Len() >= l.max {
		oldest := l.order.Back()
		delete(l.byKey, l.order.Remove(oldest).(*item[T]).key)
	}
	l.byKey[key] = l.order.PushFront(&item[T]{key, value})
}

func (l *lru[T]) remove(key string) {
	if e, ok := l.byKey[key]; ok {
		l.order.Remove(e)
		delete(l.byKey, key)
	}
}
