package signin

import (
	"container/list"
	"crypto/sha256"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// rate allows burst attempts at once and then one every interval.
type rate struct {
	interval time.Duration
	burst    int
}

// The rates of guessing. They are fixed: loosening them is never the answer to a forgotten password.
var (
	addressRate = rate{6 * time.Second, 30}  // all accounts from one address: one password tried on many names
	siteRate    = rate{2 * time.Second, 120} // all accounts from one IPv6 site, whose owner has 65,536 networks to come from
	pairRate    = rate{30 * time.Second, 5}  // one account from one address
	accountRate = rate{20 * time.Second, 20} // one account from everywhere
)

const (
	throttleSize = 20_000         // keys remembered; the longest unused are forgotten first
	pairMemory   = 24 * time.Hour // how long an address that failed at an account counts as known to have failed
)

// throttle slows down guessing. Accounts are told apart by the name as typed, so it neither matters nor shows
// whether they exist. The rate of a whole account holds only for addresses that have failed there before: somebody
// who comes from a new address has an attempt, however hard others hammer at that account.
type throttle struct {
	mu      sync.Mutex // guards what follows
	entries map[throttleKey]*list.Element
	recent  *list.List // of *attempts, most recently used first
}

type throttleKey [sha256.Size]byte

// attempts is the state of one key: the attempts made so far are paid for at the time busy (GCRA).
type attempts struct {
	key        throttleKey
	busy, last time.Time
}

func newThrottle() *throttle {
	return &throttle{entries: map[throttleKey]*list.Element{}, recent: list.New()}
}

// charge is one rate that an attempt counts against.
type charge struct {
	key  throttleKey
	rate rate
}

// take counts one attempt at an account from an address. Without a wait the attempt may go on; success is to be
// called when it turns out right. With a wait nothing was counted.
func (t *throttle) take(now time.Time, account string, from netip.Addr) (success func(), wait time.Duration) {
	account, address := strings.ToLower(account), network(from, 64)
	pair := charge{keyOf("pair", account, address), pairRate}
	charges := []charge{{keyOf("address", address), addressRate}, pair}
	if from.Unmap().Is6() {
		charges = append(charges, charge{keyOf("site", network(from, 48)), siteRate})
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.peek(pair.key); a != nil && now.Sub(a.last) < pairMemory {
		charges = append(charges, charge{keyOf("account", account), accountRate})
	}
	for _, c := range charges {
		if a := t.peek(c.key); a != nil {
			wait = max(wait, c.rate.wait(now, a.busy))
		}
	}
	if wait > 0 {
		return nil, wait
	}
	for _, c := range charges {
		a := t.touch(c.key)
		a.busy, a.last = later(a.busy, now).Add(c.rate.interval), now
	}
	return func() { t.giveBack(charges, pair.key) }, 0
}

// giveBack makes a right attempt count for nothing, and the address new again.
func (t *throttle) giveBack(charges []charge, pair throttleKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range charges {
		if a := t.peek(c.key); a != nil {
			a.busy = a.busy.Add(-c.rate.interval)
		}
	}
	if e, ok := t.entries[pair]; ok {
		t.recent.Remove(e)
		delete(t.entries, pair)
	}
}

// wait returns how long an attempt would have to wait when the earlier ones are paid for at busy.
func (r rate) wait(now, busy time.Time) time.Duration {
	return max(0, later(busy, now).Add(r.interval).Sub(now)-time.Duration(r.burst)*r.interval)
}

func (t *throttle) peek(k throttleKey) *attempts {
	if e, ok := t.entries[k]; ok {
		return e.Value.(*attempts)
	}
	return nil
}

// touch returns the state of a key, as the most recently used one, and forgets the oldest when there are too many.
func (t *throttle) touch(k throttleKey) *attempts {
	if e, ok := t.entries[k]; ok {
		t.recent.MoveToFront(e)
		return e.Value.(*attempts)
	}
	if t.recent.Len() >= throttleSize {
		oldest := t.recent.Back()
		t.recent.Remove(oldest)
		delete(t.entries, oldest.Value.(*attempts).key)
	}
	a := &attempts{key: k}
	t.entries[k] = t.recent.PushFront(a)
	return a
}

// network is what counts as one address: an IPv6 user has a whole /64, and often a /48.
func network(a netip.Addr, bits int) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(bits); err == nil {
			return p.String()
		}
	}
	return a.String()
}

func keyOf(parts ...string) throttleKey {
	return sha256.Sum256([]byte(strings.Join(parts, "\x00")))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
