package store_test

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

func TestGrantRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		want := grantOf("u", "g", f.clock)
		want.ClientName, want.Resource, want.SessionID, want.Nonce = "Kiro", "https://x/mcp", "s", "n"
		want.Methods = []string{"pwd"}
		must(t, f.CreateGrant(ctx, want, hash("refresh")))
		wantErr(t, f.CreateGrant(ctx, want, hash("again")), store.ErrExists)
		for name, got := range map[string]store.Grant{
			"by ID":      get(f.GrantByID(ctx, "g"))(t),
			"by refresh": get(f.GrantByRefresh(ctx, hash("refresh")))(t),
			"rotated":    f.rotate(t, "refresh", "next").Grant,
			"by old":     get(f.GrantByRefresh(ctx, hash("refresh")))(t),
		} {
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
			}
		}
		_, err := f.GrantByRefresh(ctx, hash("unknown"))
		wantErr(t, err, store.ErrNotFound)
	})
}

func TestGrantsOfPerson(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		for _, id := range []string{"a", "b", "gone"} {
			f.grant(t, "u", id)
			f.clock.Advance(time.Second)
		}
		f.grant(t, "other", "theirs")
		elsewhere := grantOf("u", "elsewhere", f.clock)
		elsewhere.Person.Issuer = "https://idp.example"
		must(t, f.CreateGrant(ctx, elsewhere, nil))
		must(t, f.RevokeGrant(ctx, "gone", "by the person"))
		f.rotate(t, "refresh of a", "next")
		got := get(f.Grants(ctx, identity.PersonKey{Issuer: issuer, Subject: "u"}))(t)
		if len(got) != 2 || got[0].ID != "a" || got[1].ID != "b" {
			t.Errorf("grants are %+v, want a (just used) and b", got)
		}
		for _, id := range []identity.GrantID{"gone", "never was"} {
			_, err := f.GrantByID(ctx, id)
			wantErr(t, err, store.ErrNotFound)
		}
		_, err := f.GrantByRefresh(ctx, hash("refresh of gone"))
		wantErr(t, err, store.ErrNotFound)
	})
}

func TestRotationLife(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		f.grant(t, "u", "g")
		step := func(old, successor string, want store.RotateOutcome, sealed string) {
			t.Helper()
			got := f.rotate(t, old, successor)
			if got.Outcome != want || string(got.SealedSuccessor) != sealed {
				t.Errorf("%s: %s with %q, want %s with %q", old, got.Outcome, got.SealedSuccessor, want, sealed)
			}
		}
		step("never issued", "x", store.Unknown, "")
		step("refresh of g", "second", store.Rotated, "sealed second")
		f.clock.Advance(59 * time.Second)
		step("refresh of g", "lost", store.Replayed, "sealed second")
		step("lost", "x", store.Unknown, "")
		step("second", "third", store.Rotated, "sealed third")
		f.clock.Advance(time.Second)
		step("second", "y", store.Replayed, "sealed third")
		step("refresh of g", "z", store.Reused, "")
		step("third", "fourth", store.Revoked, "")
		step("refresh of g", "z", store.Revoked, "")
		if !f.Revoked(identity.PersonKey{}, "g", "client", f.clock.Advance(time.Hour)) {
			t.Error("access tokens of a reused family are still good")
		}
	})
}

func TestRotationRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.grant(t, "u", "theirs")
		got := get(f.RotateRefresh(ctx, store.Rotation{OldHash: hash("refresh of theirs"), NewHash: hash("x"), Client: "thief", Grace: time.Minute}))(t)
		if got.Outcome != store.WrongClient {
			t.Errorf("another client's token: %s", got.Outcome)
		}
		if got := f.rotate(t, "refresh of theirs", "mine").Outcome; got != store.Rotated {
			t.Errorf("after another client tried: %s", got)
		}

		f.grant(t, "u", "idle")
		f.clock.Advance(29 * 24 * time.Hour)
		f.rotate(t, "refresh of idle", "second")
		f.clock.Advance(30 * 24 * time.Hour)
		if got := f.rotate(t, "second", "third").Outcome; got != store.Expired {
			t.Errorf("an idle token: %s", got)
		}
		_, err := f.GrantByID(ctx, "idle")
		wantErr(t, err, store.ErrNotFound)

		f.grant(t, "u", "old")
		token := "refresh of old"
		for i := range 4 {
			f.clock.Advance(20 * 24 * time.Hour)
			next := fmt.Sprint("old ", i)
			if got := f.rotate(t, token, next).Outcome; got != store.Rotated {
				t.Fatalf("rotation %d: %s", i, got)
			}
			token = next
		}
		f.clock.Advance(10 * 24 * time.Hour)
		if got := f.rotate(t, token, "last").Outcome; got != store.Expired {
			t.Errorf("after the absolute limit: %s", got)
		}
	})
}

// TestChecklist38_RotationIsIdempotent: however many redeem a refresh token at the same time, there is one successor.
func TestChecklist38_RotationIsIdempotent(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		f.grant(t, "u", "g")
		results := make([]store.RotateResult, 100)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				successor := fmt.Sprint("successor ", i)
				r, err := f.RotateRefresh(t.Context(), store.Rotation{
					OldHash: hash("refresh of g"), NewHash: hash(successor), SealedSuccessor: []byte(successor),
					Client: "client", Grace: time.Minute,
				})
				if err != nil {
					t.Error(err)
				}
				results[i] = r
			})
		}
		wg.Wait()
		count := map[store.RotateOutcome]int{}
		successors := map[string]bool{}
		for _, r := range results {
			count[r.Outcome]++
			successors[string(r.SealedSuccessor)] = true
		}
		if count[store.Rotated] != 1 || count[store.Replayed] != 99 || len(successors) != 1 {
			t.Fatalf("outcomes %v with %d successors, want one rotated, 99 replayed, one successor", count, len(successors))
		}
		for s := range successors {
			if got := f.rotate(t, s, "next").Outcome; got != store.Rotated {
				t.Errorf("the successor is %s", got)
			}
		}
	})
}

// A family that is reused, revoked and rotated from all sides ends, and no call fails.
func TestRotationAgainstRevocation(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		person := identity.PersonKey{Issuer: issuer, Subject: "u"}
		for i := range 8 {
			f.grant(t, "u", fmt.Sprint("g", i))
			f.rotate(t, fmt.Sprint("refresh of g", i), fmt.Sprint("second ", i))
		}
		f.clock.Advance(time.Hour)
		var wg sync.WaitGroup
		try := func(do func(i int) error) {
			for i := range 8 {
				wg.Go(func() {
					if err := do(i); err != nil {
						t.Error(err)
					}
				})
			}
		}
		rotation := func(old string, i int) error {
			_, err := f.RotateRefresh(ctx, store.Rotation{OldHash: hash(old), NewHash: hash(fmt.Sprint("of ", old)), Client: "client", Grace: time.Minute})
			return err
		}
		try(func(i int) error { return rotation(fmt.Sprint("refresh of g", i), i) }) // reuse
		try(func(i int) error { return rotation(fmt.Sprint("second ", i), i) })
		try(func(i int) error { return f.RevokeGrant(ctx, identity.GrantID(fmt.Sprint("g", i)), "by hand") })
		try(func(int) error { return f.RevokePerson(ctx, person, "by hand") })
		try(func(int) error { return f.RevokeClient(ctx, "client", "by hand") })
		try(func(int) error { return f.PurgeExpired(ctx) })
		wg.Wait()
		if got := get(f.Grants(ctx, person))(t); len(got) != 0 {
			t.Errorf("grants that survived: %+v", got)
		}
	})
}

// A copy whose clock is ahead does not make another one forget what was used.
func TestPurgeWithClocksApart(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, until := t.Context(), f.clock.Now().Add(time.Minute)
		if first := get(f.UseOnce(ctx, "assertion", "jti", until))(t); !first {
			t.Fatal("used before")
		}
		f.clock.Advance(3 * time.Minute) // as it is on that copy
		must(t, f.PurgeExpired(ctx))
		f.clock.Advance(-150 * time.Second)
		if first := get(f.UseOnce(ctx, "assertion", "jti", until))(t); first {
			t.Error("an id counts twice")
		}
		f.clock.Advance(24 * time.Hour)
		must(t, f.PurgeExpired(ctx))
		if first := get(f.UseOnce(ctx, "assertion", "jti", until))(t); !first {
			t.Error("an id is never forgotten")
		}
	})
}

func TestPurgeExpired(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.user(t, "u")
		f.session(t, "u", "cookie")
		f.code(t, "u", "future")
		f.grant(t, "u", "g")
		must(t, f.RevokeGrant(ctx, "elsewhere", "by hand"))
		must(t, f.RevokeClient(ctx, "bad client", "by hand"))
		f.rotate(t, "refresh of g", "second")
		must(t, f.PurgeExpired(ctx))
		if got := f.rotate(t, "refresh of g", "x").Outcome; got != store.Replayed {
			t.Errorf("purging broke the grace time: %s", got)
		}
		f.clock.Advance(12 * time.Hour)
		must(t, f.PurgeExpired(ctx))
		if _, _, err := f.TakeCode(ctx, hash("code of future")); err != nil {
			t.Errorf("a code that has just expired: %v", err)
		}
		f.clock.Advance(92 * 24 * time.Hour)
		must(t, f.PurgeExpired(ctx))
		_, _, err := f.TakeCode(ctx, hash("code of future"))
		wantErr(t, err, store.ErrNotFound)
		if got := f.rotate(t, "second", "third").Outcome; got != store.Unknown {
			t.Errorf("a purged token is %s", got)
		}
		if got := get(f.RevocationsSince(ctx, 0))(t); len(got) != 1 || got[0].Kind != store.KindClient {
			t.Errorf("revocations left: %+v, want the client's only", got)
		}
		if !get(f.ClientRevoked(ctx, "bad client"))(t) {
			t.Error("the deny list expired")
		}
	})
}
