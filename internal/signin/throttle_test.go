package signin

import (
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestChecklist32_ThrottlesGuessing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"alice", "nobody"} { // the same for people who do not exist
		b := f.browser(t)
		b.from = "203.0.113.7"
		for i := range pairRate.burst {
			if got := b.signIn(Path, name, "wrong password"); got.StatusCode != http.StatusUnauthorized {
				t.Fatalf("%s: attempt %d: %d", name, i, got.StatusCode)
			}
		}
		got := b.signIn(Path, name, testPassword)
		if got.StatusCode != http.StatusTooManyRequests || got.Header.Get("Retry-After") != "30" {
			t.Errorf("%s: after %d attempts: %d, Retry-After %q", name, pairRate.burst, got.StatusCode, got.Header.Get("Retry-After"))
		}
	}
	// Alice herself, elsewhere, is not locked out.
	b := f.browser(t)
	b.from = "198.51.100.1"
	if got := b.signIn(Path, "alice", testPassword); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the right password from elsewhere: %d", got.StatusCode)
	}
	// And where she was guessed at she can sign in a little later.
	f.clock.Advance(pairRate.interval)
	b = f.browser(t)
	b.from = "203.0.113.7"
	if got := b.signIn(Path, "ALICE", testPassword); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the right password after waiting: %d", got.StatusCode)
	}
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	from := netip.MustParseAddr("192.0.2.1")

	t.Run("one address on many accounts", func(t *testing.T) {
		t.Parallel()
		th := newThrottle()
		for i := range addressRate.burst {
			if _, wait := th.take(start, fmt.Sprint("user", i), from); wait > 0 {
				t.Fatalf("attempt %d has to wait %s", i, wait)
			}
		}
		if _, wait := th.take(start, "another", from); wait != addressRate.interval {
			t.Errorf("wait %s, want %s", wait, addressRate.interval)
		}
		if _, wait := th.take(start.Add(addressRate.interval), "another", from); wait > 0 {
			t.Errorf("still has to wait %s", wait)
		}
	})
	t.Run("many addresses on one account", func(t *testing.T) {
		t.Parallel()
		th := newThrottle()
		let := 0
		for i := range 100 { // each address tries three times
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			for range 3 {
				if _, wait := th.take(start, "alice", a); wait == 0 {
					let++
				}
			}
		}
		if let != 100+accountRate.burst {
			t.Errorf("%d attempts were let through, want one for each address and %d more", let, accountRate.burst)
		}
	})
	t.Run("success counts for nothing", func(t *testing.T) {
		t.Parallel()
		th := newThrottle()
		for range 1000 {
			success, wait := th.take(start, "alice", from)
			if wait > 0 {
				t.Fatalf("has to wait %s", wait)
			}
			success()
		}
	})
	t.Run("an IPv6 network is one address", func(t *testing.T) {
		t.Parallel()
		th := newThrottle()
		for i := range pairRate.burst {
			th.take(start, "alice", netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)))
		}
		if _, wait := th.take(start, "alice", netip.MustParseAddr("2001:db8::ffff")); wait == 0 {
			t.Error("another address of the same /64 is let through")
		}
		if network(netip.MustParseAddr("::ffff:192.0.2.1"), 64) != "192.0.2.1" {
			t.Error("a mapped IPv4 address counts as another one")
		}
	})
	t.Run("an IPv6 site has a limit of its own", func(t *testing.T) {
		t.Parallel()
		th := newThrottle()
		let := 0
		for i := range 1000 { // each from a network that was never seen before
			if _, wait := th.take(start, "alice", netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))); wait == 0 {
				let++
			}
		}
		if let != siteRate.burst {
			t.Errorf("%d attempts from 1000 networks of one site were let through, want %d", let, siteRate.burst)
		}
		if _, wait := th.take(start, "alice", netip.MustParseAddr("2001:db8:1::1")); wait > 0 {
			t.Errorf("another site has to wait %s", wait)
		}
	})
	t.Run("memory is bounded", func(t *testing.T) {
		t.Parallel()
		th := newThrottle()
		for i := range throttleSize {
			th.take(start, "alice", netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		if len(th.entries) > throttleSize || th.recent.Len() != len(th.entries) {
			t.Errorf("%d entries, %d in the list", len(th.entries), th.recent.Len())
		}
	})
}
