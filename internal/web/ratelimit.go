package web

import (
	"container/list"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RateOptions say how often a key may be used.
type RateOptions struct {
	Every time.Duration // one use is earned back in this time
	Burst int           // uses that may come at once
	Keys  int           // keys remembered; the one not seen for longest is forgotten first. 0 means 10,000
	Now   func() time.Time
}

// RateLimiter limits how often each key is used, in bounded memory. It is safe for concurrent use.
type RateLimiter struct {
	options RateOptions

	mu    sync.Mutex // guards all below
	byKey map[string]*list.Element
	order *list.List // of *bucket, the last used in front
}

type bucket struct {
	key     string
	limiter *rate.Limiter
}

// NewRateLimiter returns a limiter under which every key starts with its full burst.
func NewRateLimiter(o RateOptions) *RateLimiter {
	if o.Keys == 0 {
		o.Keys = 10_000
	}
	return &RateLimiter{options: o, byKey: make(map[string]*list.Element), order: list.New()}
}

// Allow counts one use of key. When there is none left it reports false and how long to wait.
func (l *RateLimiter) Allow(key string) (ok bool, wait time.Duration) {
	refund, wait := l.Try(key)
	return refund != nil, wait
}

// Try is Allow for uses of which only some are to count: refund takes back the one that it counted. It is nil when there
// was none left.
func (l *RateLimiter) Try(key string) (refund func(), wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.options.Now()
	use := l.bucket(key).ReserveN(now, 1)
	if !use.OK() {
		return nil, l.options.Every
	}
	if wait = use.DelayFrom(now); wait > 0 {
		use.CancelAt(now)
		return nil, wait
	}
	return func() { use.CancelAt(now) }, 0
}

func (l *RateLimiter) bucket(key string) *rate.Limiter {
	if e, ok := l.byKey[key]; ok {
		l.order.MoveToFront(e)
		return e.Value.(*bucket).limiter
	}
	if l.order.Len() >= l.options.Keys {
		oldest := l.order.Back()
		delete(l.byKey, l.order.Remove(oldest).(*bucket).key)
	}
	b := &bucket{key, rate.NewLimiter(rate.Every(l.options.Every), l.options.Burst)}
	l.byKey[key] = l.order.PushFront(b)
	return b.limiter
}

// TooMany is the error to return when a limiter said no.
func TooMany(wait time.Duration) *Error {
	return &Error{Status: http.StatusTooManyRequests, Code: "too_many_requests", Message: "too many requests; try again later", RetryAfter: wait}
}

// AddrKey is the rate limit key of an address: an IPv6 client counts by its /64, of which it owns every address.
func AddrKey(a netip.Addr) string {
	if a.Is6() && !a.Is4In6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.Unmap().String()
}
