package store_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

func TestRevocationsInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		must(t, f.RevokeGrant(ctx, "g", "code reused"))
		must(t, f.RevokeGrant(ctx, "g", "code reused again"))
		must(t, f.RevokePerson(ctx, identity.PersonKey{Issuer: issuer, Subject: "u"}, "by hand"))
		must(t, f.RevokeClient(ctx, "c", "bad"))
		must(t, f.RevokeClient(ctx, "c", "bad"))
		now, life := f.clock.Now(), 91*24*time.Hour
		want := []store.Revocation{
			{Seq: 1, Kind: store.KindGrant, Subject: "g", Before: now, Expires: now.Add(life), Reason: "code reused"},
			{Seq: 2, Kind: store.KindPerson, Issuer: issuer, Subject: "u", Before: now, Expires: now.Add(life), Reason: "by hand"},
			{Seq: 3, Kind: store.KindClient, Subject: "c", Before: now, Reason: "bad"},
		}
		for since := range 4 {
			got := get(f.RevocationsSince(ctx, int64(since)))(t)
			if fmt.Sprint(got) != fmt.Sprint(want[since:]) {
				t.Errorf("since %d:\n got %+v\nwant %+v", since, got, want[since:])
			}
		}
	})
}

func TestRevokingNobody(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		for name, err := range map[string]error{
			"grant": f.RevokeGrant(ctx, "", "x"), "client": f.RevokeClient(ctx, "", "x"), "person": f.RevokePerson(ctx, identity.PersonKey{Issuer: issuer}, "x"),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if f.Revoked(identity.PersonKey{Issuer: issuer, Subject: "u"}, "", "", f.clock.Now()) {
			t.Error("everybody without a grant is out")
		}
	})
}

func TestClientDenyList(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.grant(t, "u", "g")
		f.code(t, "u", "future")
		must(t, f.RevokeClient(ctx, "client", "stolen"))
		for id, want := range map[identity.ClientID]bool{"client": true, "another": false, "\x00\xff": false} {
			if got := get(f.ClientRevoked(ctx, id))(t); got != want {
				t.Errorf("client %q revoked: %v", id, got)
			}
		}
		if got := f.rotate(t, "refresh of g", "x").Outcome; got != store.Revoked {
			t.Errorf("its refresh token is %s", got)
		}
		if _, fresh, err := f.TakeCode(ctx, hash("code of future")); err != nil || fresh {
			t.Errorf("its code: fresh %v, %v", fresh, err)
		}
		wantErr(t, f.CreateGrant(ctx, grantOf("u", "g2", f.clock), nil), store.ErrRevoked)
		if !f.Revoked(identity.PersonKey{}, "", "client", f.clock.Advance(time.Hour)) {
			t.Error("its access tokens are good")
		}
	})
}

// A poller that has seen a number must never find a smaller one later, whatever the order of commits.
func TestRevocationNumbersBecomeVisibleInOrder(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		const writers, each = 8, 10
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					if err := f.RevokeGrant(ctx, identity.GrantID(fmt.Sprint(w, "-", i)), "test"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		seen, last := 0, int64(0)
		for seen < writers*each && !t.Failed() {
			fresh, err := f.RevocationsSince(ctx, last)
			must(t, err)
			for _, r := range fresh {
				if r.Seq != last+1 {
					t.Fatalf("number %d comes after %d", r.Seq, last)
				}
				last = r.Seq
				seen++
			}
		}
		wg.Wait()
	})
}

// Grants and revocations that race: no grant may stand beside a revocation against it.
func TestNoGrantSlipsPastRevocation(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for i := range 20 {
			id := fmt.Sprint("g", i)
			g := grantOf("u", id, f.clock)
			wg.Go(func() { _ = f.CreateGrant(ctx, g, hash(id)) })
			wg.Go(func() {
				if err := f.RevokeGrant(ctx, g.ID, "test"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := get(f.Grants(ctx, identity.PersonKey{Issuer: issuer, Subject: "u"}))(t); len(got) != 0 {
			t.Errorf("%d grants slipped past", len(got))
		}
	})
}

func TestRevocationsReachOtherProcesses(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		other := open(t, f.dsn, f.clock)
		person := identity.PersonKey{Issuer: issuer, Subject: "u"}
		issued := f.clock.Now()
		f.clock.Advance(time.Second)
		must(t, f.RevokePerson(ctx, person, "by hand"))
		must(t, f.RevokeGrant(ctx, "g", "by hand"))
		if other.Revoked(person, "", "", issued) {
			t.Error("known without asking the database")
		}
		loaded := f.clock.Advance(time.Second)
		must(t, other.LoadRevocations(ctx))
		if !other.Revoked(person, "", "", issued) || !other.Revoked(identity.PersonKey{}, "g", "", loaded) {
			t.Error("unknown after asking the database")
		}
		if got := other.RevocationsLoaded(); !got.Equal(loaded) {
			t.Errorf("loaded at %v, want %v", got, loaded)
		}
		reopened := open(t, f.dsn, f.clock)
		if !reopened.Revoked(person, "", "", issued) {
			t.Error("unknown after a restart")
		}
		f.clock.Advance(92 * 24 * time.Hour)
		must(t, other.LoadRevocations(ctx))
		if other.Revoked(identity.PersonKey{}, "g", "", loaded) {
			t.Error("an expired revocation is kept in memory")
		}
	})
}

func TestWatchRevocations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		dsn := onSQLite(t)
		server, err := store.Open(t.Context(), store.Options{DSN: dsn, Log: slog.New(slog.NewTextHandler(&log, nil))})
		must(t, err)
		command, err := store.Open(t.Context(), store.Options{DSN: dsn})
		must(t, err)
		log.Reset()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- server.WatchRevocations(ctx) }()
		must(t, command.RevokeGrant(ctx, "g", "by hand"))
		time.Sleep(1500 * time.Millisecond)
		if !server.Revoked(identity.PersonKey{}, "g", "", time.Now()) {
			t.Error("the server does not know within two seconds")
		}
		must(t, command.Close())
		must(t, server.Close()) // the database is away
		loaded := server.RevocationsLoaded()
		time.Sleep(10 * time.Second)
		if got := server.RevocationsLoaded(); !got.Equal(loaded) {
			t.Errorf("loaded at %v without a database", got)
		}
		cancel()
		must(t, <-done)
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "revocations cannot be read") {
			t.Errorf("want one record, log is:\n%s", &log)
		}
	})
}
