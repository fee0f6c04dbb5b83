package store_test

import (
	"reflect"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

func TestPasskeys(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.user(t, "u")
		f.user(t, "other")
		p := store.Passkey{CredentialID: []byte{1, 0, 255}, UserID: "u", Name: "laptop", Data: []byte(`{"counter":1}`), CreatedAt: f.clock.Now()}
		must(t, f.AddPasskey(ctx, p))
		wantErr(t, f.AddPasskey(ctx, store.Passkey{CredentialID: p.CredentialID, UserID: "other", Data: []byte("{}")}), store.ErrExists)
		wantErr(t, f.AddPasskey(ctx, store.Passkey{CredentialID: []byte{2}, UserID: "nobody", Data: []byte("{}")}), identity.ErrGone)

		p.Data, p.LastUsed = []byte(`{"counter":2}`), f.clock.Advance(time.Minute)
		must(t, f.UpdatePasskey(ctx, p.CredentialID, p.Data, p.LastUsed))
		if got := get(f.PasskeyByCredential(ctx, p.CredentialID))(t); !reflect.DeepEqual(got, p) {
			t.Errorf("passkey is %+v, want %+v", got, p)
		}
		if got := get(f.Passkeys(ctx, "u"))(t); len(got) != 1 || !reflect.DeepEqual(got[0], p) {
			t.Errorf("passkeys are %+v", got)
		}
		wantErr(t, f.RemovePasskey(ctx, "other", p.CredentialID), store.ErrNotFound)
		must(t, f.RemovePasskey(ctx, "u", p.CredentialID))
		_, err := f.PasskeyByCredential(ctx, p.CredentialID)
		wantErr(t, err, store.ErrNotFound)
		wantErr(t, f.UpdatePasskey(ctx, p.CredentialID, p.Data, p.LastUsed), store.ErrNotFound)
	})
}

func TestBrowserSessions(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.user(t, "u")
		now := f.clock.Now()
		want := store.BrowserSession{
			TokenHash: hash("cookie"), ID: "s1", UserID: "u", AuthTime: now, CreatedAt: now, LastSeen: now,
			Expires: now.Add(time.Hour), Methods: []string{"pwd", "user"}, UserAgent: "Mozilla\x00/\xff5",
		}
		must(t, f.CreateBrowserSession(ctx, want))
		wantErr(t, f.CreateBrowserSession(ctx, want), store.ErrExists)
		want.UserAgent = "Mozilla/\uFFFD5"
		want.LastSeen = f.clock.Advance(time.Minute)
		must(t, f.TouchBrowserSession(ctx, want.TokenHash, want.LastSeen))
		if got := get(f.BrowserSession(ctx, hash("cookie")))(t); !reflect.DeepEqual(got, want) {
			t.Errorf("session is %+v, want %+v", got, want)
		}
		f.session(t, "u", "second")
		f.clock.Advance(time.Second)
		f.session(t, "u", "third")
		must(t, f.EndBrowserSession(ctx, "id of second"))
		must(t, f.EndBrowserSession(ctx, "id of second"))
		if got := get(f.BrowserSessions(ctx, "u"))(t); len(got) != 2 || got[0].ID != "id of third" || got[1].ID != "s1" {
			t.Errorf("sessions are %+v", got)
		}
		must(t, f.EndBrowserSessions(ctx, "u"))
		if got := get(f.BrowserSessions(ctx, "u"))(t); len(got) != 0 {
			t.Errorf("sessions after the end are %+v", got)
		}
		wantErr(t, f.TouchBrowserSession(ctx, hash("cookie"), now), store.ErrNotFound)
	})
}

func TestBrowserSessionExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		f.user(t, "u")
		f.session(t, "u", "cookie")
		f.clock.Advance(time.Hour)
		_, err := f.BrowserSession(t.Context(), hash("cookie"))
		wantErr(t, err, store.ErrNotFound)
		if got := get(f.BrowserSessions(t.Context(), "u"))(t); len(got) != 0 {
			t.Errorf("sessions are %+v", got)
		}
	})
}
