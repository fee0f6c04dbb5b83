package store_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

func TestUserRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		want := store.User{
			ID: "u1", Username: "Åsa", Name: "Åsa Öberg", Email: "asa@example.com", EmailVerified: true,
			Groups: []string{"eng", "sre"}, Claims: map[string]any{"cid": "0oa", "level": 3.0, "tags": []any{"a", true, nil}},
			PasswordHash: "$argon2id$…", CreatedAt: f.clock.Now(), UpdatedAt: f.clock.Now(),
		}
		must(t, f.CreateUser(t.Context(), want))
		for _, name := range []string{"Åsa", "åsa", "ÅSA"} {
			if got := get(f.UserByName(t.Context(), name))(t); !reflect.DeepEqual(got, want) {
				t.Errorf("user by name %s:\n got %+v\nwant %+v", name, got, want)
			}
		}
		if got := get(f.UserByID(t.Context(), "u1"))(t); !reflect.DeepEqual(got, want) {
			t.Errorf("user by ID: %+v", got)
		}
	})
}

func TestUserNamesAreUniqueWithoutCase(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		must(t, f.CreateUser(t.Context(), store.User{ID: "b", Username: "bob"}))
		must(t, f.CreateUser(t.Context(), store.User{ID: "a", Username: "Ann"}))
		wantErr(t, f.CreateUser(t.Context(), store.User{ID: "c", Username: "ANN"}), store.ErrExists)
		wantErr(t, f.CreateUser(t.Context(), store.User{ID: "b", Username: "other"}), store.ErrExists)
		if err := f.CreateUser(t.Context(), store.User{Username: "nobody"}); err == nil {
			t.Error("a user without an ID was created")
		}
		users := get(f.Users(t.Context()))(t)
		if len(users) != 2 || users[0].Username != "Ann" || users[1].Username != "bob" {
			t.Errorf("users are %+v, want Ann and bob", users)
		}
	})
}

func TestUnknownUser(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		for _, name := range []string{"nobody", "", "a\x00b", "a\xffb"} {
			_, err := f.UserByName(ctx, name)
			wantErr(t, err, store.ErrNotFound)
		}
		_, err := f.UserByID(ctx, "nobody")
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, f.SetPasswordHash(ctx, "nobody", "hash"), store.ErrNotFound)
		wantErr(t, f.SetUserAccess(ctx, "nobody", nil, nil), store.ErrNotFound)
		wantErr(t, f.SetUserDisabled(ctx, "nobody", true), store.ErrNotFound)
		if got := get(f.RevocationsSince(ctx, 0))(t); len(got) != 0 {
			t.Errorf("changes to an unknown user left revocations: %+v", got)
		}
	})
}

func TestTextThatPostgresCannotHold(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		wantErr(t, f.CreateUser(t.Context(), store.User{ID: "u", Username: "a\x00"}), store.ErrText)
		wantErr(t, f.SaveCode(t.Context(), store.Code{Hash: hash("c"), Grant: "g", Nonce: "\xff"}), store.ErrText)
		_, err := f.GrantByID(t.Context(), "g\x00")
		wantErr(t, err, store.ErrText)
	})
}

func TestUpgradePasswordHash(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		f.user(t, "u")
		f.session(t, "u", "cookie")
		must(t, f.UpgradePasswordHash(t.Context(), "u", "not the first hash", "lost race"))
		if got := get(f.UserByID(t.Context(), "u"))(t).PasswordHash; got != "first hash" {
			t.Errorf("hash is %q after a lost race", got)
		}
		must(t, f.UpgradePasswordHash(t.Context(), "u", "first hash", "stronger hash"))
		if got := get(f.UserByID(t.Context(), "u"))(t).PasswordHash; got != "stronger hash" {
			t.Errorf("hash is %q", got)
		}
		get(f.BrowserSession(t.Context(), hash("cookie")))(t) // still signed in
	})
}

// What each change to a user must end, at once and in one transaction.
func TestChangesToUserEndAccess(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, f *fixture) error
		ends   bool // sessions, codes and grants as well as tokens
	}{
		"password": {func(t *testing.T, f *fixture) error { return f.SetPasswordHash(t.Context(), "u", "second hash") }, true},
		"disabled": {func(t *testing.T, f *fixture) error { return f.SetUserDisabled(t.Context(), "u", true) }, true},
		"access": {func(t *testing.T, f *fixture) error {
			return f.SetUserAccess(t.Context(), "u", []string{"guests"}, nil)
		}, false},
		"revoke": {func(t *testing.T, f *fixture) error {
			return f.RevokePerson(t.Context(), identity.PersonKey{Issuer: issuer, Subject: "u"}, "by hand")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, f *fixture) { checkEnding(t, f, c.change, c.ends) })
		})
	}
}

func checkEnding(t *testing.T, f *fixture, change func(*testing.T, *fixture) error, ends bool) {
	ctx := t.Context()
	for _, id := range []string{"u", "other"} {
		f.user(t, id)
		f.session(t, id, "cookie of "+id)
		f.code(t, id, "future grant of "+id)
		f.grant(t, id, "grant of "+id)
	}
	issued := f.clock.Now()
	f.clock.Advance(time.Second)
	must(t, change(t, f))

	for id, ended := range map[string]bool{"u": ends, "other": false} {
		if _, err := f.BrowserSession(ctx, hash("cookie of "+id)); (err != nil) != ended {
			t.Errorf("%s: browser session: %v", id, err)
		}
		if _, fresh, err := f.TakeCode(ctx, hash("code of future grant of "+id)); err != nil || fresh == ended {
			t.Errorf("%s: code: fresh %v, %v", id, fresh, err)
		}
		want := store.Rotated
		if ended {
			want = store.Revoked
		}
		if got := f.rotate(t, "refresh of grant of "+id, "successor of "+id).Outcome; got != want {
			t.Errorf("%s: refresh is %s, want %s", id, got, want)
		}
		err := f.CreateGrant(ctx, grantOf(id, "future grant of "+id, f.clock), nil)
		if ended {
			wantErr(t, err, store.ErrRevoked)
		} else {
			must(t, err)
		}
	}
	checkTokens(t, f, issued, ends)
}

func checkTokens(t *testing.T, f *fixture, issued time.Time, ends bool) {
	u, other := identity.PersonKey{Issuer: issuer, Subject: "u"}, identity.PersonKey{Issuer: issuer, Subject: "other"}
	later := f.clock.Advance(time.Second)
	if !f.Revoked(u, "", "client", issued) {
		t.Error("a token issued before is still good")
	}
	if f.Revoked(u, "", "client", later) {
		t.Error("a token issued after is dead")
	}
	if got := f.Revoked(u, "grant of u", "client", later); got != ends {
		t.Errorf("a token of the old grant that was in the making: dead is %v, want %v", got, ends)
	}
	if f.Revoked(other, "grant of other", "client", issued) {
		t.Error("somebody else's token is dead")
	}
}

func TestDisabledUserCanComeBack(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.user(t, "u")
		must(t, f.SetUserDisabled(ctx, "u", true))
		session := store.BrowserSession{TokenHash: hash("new"), ID: "new", UserID: "u", Expires: f.clock.Now().Add(time.Hour)}
		wantErr(t, f.CreateBrowserSession(ctx, session), identity.ErrGone)
		wantErr(t, f.AddPasskey(ctx, store.Passkey{CredentialID: []byte("p"), UserID: "u", Data: []byte("{}")}), identity.ErrGone)
		f.clock.Advance(time.Second)
		must(t, f.SetUserDisabled(ctx, "u", false))
		f.clock.Advance(time.Second)
		must(t, f.CreateBrowserSession(ctx, session))
		f.grant(t, "u", "new grant")
		if got := f.rotate(t, "refresh of new grant", "next").Outcome; got != store.Rotated {
			t.Errorf("refresh is %s", got)
		}
	})
}

func TestSignInEndsWithTheUserThatWasChecked(t *testing.T) {
	changes := map[string]func(*testing.T, *fixture){
		"password": func(t *testing.T, f *fixture) { must(t, f.SetPasswordHash(t.Context(), "u", "second hash")) },
		"access":   func(t *testing.T, f *fixture) { must(t, f.SetUserAccess(t.Context(), "u", nil, nil)) },
		"disabled and enabled": func(t *testing.T, f *fixture) {
			must(t, f.SetUserDisabled(t.Context(), "u", true))
			must(t, f.SetUserDisabled(t.Context(), "u", false))
		},
	}
	onBoth(t, func(t *testing.T, f *fixture) {
		session := store.BrowserSession{TokenHash: hash("new"), ID: "new", UserID: "u", Expires: f.clock.Now().Add(time.Hour)}
		session.UserAsOf = f.user(t, "u").UpdatedAt
		for name, change := range changes {
			f.clock.Advance(time.Second)
			change(t, f)
			if err := f.CreateBrowserSession(t.Context(), session); !errors.Is(err, identity.ErrGone) {
				t.Errorf("%s has changed: %v", name, err)
			}
		}
		session.UserAsOf = get(f.UserByID(t.Context(), "u"))(t).UpdatedAt
		must(t, f.UpgradePasswordHash(t.Context(), "u", "second hash", "the same password, hashed better"))
		must(t, f.CreateBrowserSession(t.Context(), session))
	})
}
