package store_test

import (
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

func TestCodeRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		want := store.Code{
			Hash: hash("code"), Grant: "g", Person: identity.PersonKey{Issuer: issuer, Subject: "u"}, Client: "c", ClientName: "Kiro",
			RedirectURI: "http://localhost:3334/cb?a=b", Challenge: "challenge", Resource: "https://x/mcp", Nonce: "n",
			Scopes: identity.Scopes{"openid", "mcp:tools"}, AuthTime: f.clock.Now(), Expires: f.clock.Now().Add(time.Minute),
			SessionID: "s", Methods: []string{"pwd"}, DPoPKey: "thumbprint",
		}
		must(t, f.SaveCode(ctx, want))
		wantErr(t, f.SaveCode(ctx, want), store.ErrExists)
		for i, wantFresh := range []bool{true, false, false} {
			got, fresh, err := f.TakeCode(ctx, hash("code"))
			if err != nil || fresh != wantFresh || !reflect.DeepEqual(got, want) {
				t.Errorf("take %d: fresh %v, %v\n got %+v\nwant %+v", i, fresh, err, got, want)
			}
		}
		_, fresh, err := f.TakeCode(ctx, hash("another"))
		wantErr(t, err, store.ErrNotFound)
		if fresh {
			t.Error("an unknown code is fresh")
		}
	})
}

func TestCodeIsFreshOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		f.code(t, "u", "g")
		var fresh atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, first, err := f.TakeCode(t.Context(), hash("code of g")); err != nil {
					t.Error(err)
				} else if first {
					fresh.Add(1)
				}
			})
		}
		wg.Wait()
		if fresh.Load() != 1 {
			t.Errorf("%d calls got a fresh code", fresh.Load())
		}
	})
}

// The thief's and the owner's redemption race: whatever the order, the reuse leaves nothing alive.
func TestCodeReuseBeforeGrantExists(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		c := f.code(t, "u", "g")
		if _, fresh, err := f.TakeCode(ctx, c.Hash); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		must(t, f.RevokeGrant(ctx, c.Grant, "code reused"))
		wantErr(t, f.CreateGrant(ctx, grantOf("u", "g", f.clock), hash("refresh")), store.ErrRevoked)
		if got := f.rotate(t, "refresh", "next").Outcome; got != store.Unknown {
			t.Errorf("refresh is %s", got)
		}
	})
}

func TestUseOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, expires := t.Context(), f.clock.Now().Add(time.Minute)
		var first atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if ok, err := f.UseOnce(ctx, "jti", "id\x00\xff", expires); err != nil {
					t.Error(err)
				} else if ok {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if first.Load() != 1 {
			t.Errorf("%d calls were the first", first.Load())
		}
		if !get(f.UseOnce(ctx, "other purpose", "id\x00\xff", expires))(t) {
			t.Error("another purpose shares the ids")
		}
		f.clock.Advance(2 * time.Hour)
		must(t, f.PurgeExpired(ctx))
		if !get(f.UseOnce(ctx, "jti", "id\x00\xff", expires))(t) {
			t.Error("the id is remembered for ever")
		}
	})
}
