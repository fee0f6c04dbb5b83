package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

var carol = store.FederatedKey{Provider: "okta", Issuer: "https://idp.example", Subject: "carol"}

// comeIn signs a person in, with a browser session of that name, and returns who it is.
func (f *fixture) comeIn(t *testing.T, key store.FederatedKey, session string, change func(*store.FederatedPerson, *store.BrowserSession)) string {
	t.Helper()
	p, b := f.arrival(t, key, session)
	if change != nil {
		change(&p, &b)
	}
	must(t, f.SignInFederated(t.Context(), p, b))
	return p.ID
}

func (f *fixture) arrival(t *testing.T, key store.FederatedKey, session string) (store.FederatedPerson, store.BrowserSession) {
	t.Helper()
	id := get(f.FederatedID(t.Context(), key))(t)
	now := f.clock.Now()
	return store.FederatedPerson{ID: id, FederatedKey: key, TokenSubject: "sub of " + key.Subject, Username: "carol", Groups: []string{"eng"}, Sealed: []byte("sealed 1")},
		store.BrowserSession{TokenHash: hash(session), ID: "id of " + session, UserID: id, AuthTime: now, CreatedAt: now, LastSeen: now,
			Expires: now.Add(time.Hour), Provider: key.Provider, IDPSession: "sid of " + session, Sealed: []byte("id token")}
}

func (f *fixture) federated(t *testing.T, id string) store.FederatedPerson {
	t.Helper()
	return get(f.FederatedPerson(t.Context(), id))(t)
}

// lease asks on behalf of a holder, five minutes being how old the provider's word may be.
func (f *fixture) lease(t *testing.T, id, holder string) (store.FederatedPerson, bool) {
	t.Helper()
	now := f.clock.Now()
	p, taken, err := f.LeaseFederated(t.Context(), store.FederatedLease{ID: id, Lease: holder, Since: now.Add(-5 * time.Minute), Until: now.Add(time.Minute)})
	must(t, err)
	return p, taken
}

func TestFederatedID(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := get(f.FederatedID(t.Context(), carol))(t)
		if again := get(f.FederatedID(t.Context(), carol))(t); again != id {
			t.Errorf("%s, then %s", id, again)
		}
		for _, other := range []store.FederatedKey{
			{Provider: "entra", Issuer: carol.Issuer, Subject: carol.Subject}, {Provider: carol.Provider, Issuer: "https://other.example", Subject: carol.Subject},
			{Provider: carol.Provider, Issuer: carol.Issuer, Subject: "dave"},
		} {
			if got := get(f.FederatedID(t.Context(), other))(t); got == id {
				t.Errorf("%+v is the same person", other)
			}
		}
		if p := f.federated(t, id); p.EndedReason == "" {
			t.Errorf("somebody who never signed in may come in: %+v", p)
		}
	})
}

func TestSignInFederated(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", func(p *store.FederatedPerson, _ *store.BrowserSession) {
			p.Claims, p.Known, p.GroupsUnknown, p.Name, p.Email = map[string]any{"department": "R&D"}, map[string]any{"acr": "2"}, true, "Carol", "c@example.com"
		})
		p := f.federated(t, id)
		if p.FederatedKey != carol || p.EndedReason != "" || !p.VouchedAt.Equal(f.clock.Now()) || p.Claims["department"] != "R&D" || p.Known["acr"] != "2" ||
			!p.GroupsUnknown || p.Groups[0] != "eng" || string(p.Sealed) != "sealed 1" || p.TokenSubject != "sub of carol" || p.Name != "Carol" || p.Email != "c@example.com" {
			t.Errorf("%+v", p)
		}
		b := get(f.BrowserSession(t.Context(), hash("cookie")))(t)
		if b.UserID != id || b.Provider != "okta" || b.IDPSession != "sid of cookie" || string(b.Sealed) != "id token" {
			t.Errorf("%+v", b)
		}
		f.clock.Advance(time.Minute)
		f.comeIn(t, carol, "another", func(p *store.FederatedPerson, _ *store.BrowserSession) { p.Sealed = nil })
		if p := f.federated(t, id); string(p.Sealed) != "sealed 1" || !p.VouchedAt.Equal(f.clock.Now()) {
			t.Errorf("a sign-in without a refresh token leaves %+v", p)
		}
	})
}

// What tokens say of a person ends when the provider says something else, and not when it says the same again.
func TestFederatedAccessChanged(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "one", nil)
		issued := f.clock.Now()
		dead := func() bool { return f.Revoked(identity.PersonKey{Issuer: issuer, Subject: id}, "g", "client", issued) }
		f.clock.Advance(time.Minute)
		f.comeIn(t, carol, "two", func(p *store.FederatedPerson, _ *store.BrowserSession) {
			p.Name, p.Known = "Caroline", map[string]any{"updated_at": 7}
		})
		if dead() {
			t.Error("another name ended the tokens")
		}
		f.clock.Advance(1500 * time.Millisecond)
		asked := f.clock.Now()
		f.comeIn(t, carol, "three", func(p *store.FederatedPerson, _ *store.BrowserSession) { p.Groups = nil })
		if !dead() {
			t.Error("tokens with the old groups live on")
		}
		if second := asked.Truncate(time.Second); f.Revoked(identity.PersonKey{Issuer: issuer, Subject: id}, "g", "client", second) {
			t.Error("a token of the very second in which the provider was asked is dead")
		}
	})
}

// A sign-in that is being checked does not outlive an end that comes meanwhile.
func TestSignInFederatedRacesTheEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		p, b := f.arrival(t, carol, "cookie")
		f.clock.Advance(time.Second)
		must(t, f.RevokePerson(t.Context(), identity.PersonKey{Issuer: issuer, Subject: p.ID}, "signed out there"))
		wantErr(t, f.SignInFederated(t.Context(), p, b), identity.ErrGone)
		_, err := f.BrowserSession(t.Context(), hash("cookie"))
		wantErr(t, err, store.ErrNotFound)
		f.clock.Advance(time.Second)
		f.comeIn(t, carol, "later", nil)
	})
}

// Of all who ask at once one gets the lease; the next one not before the provider's word is old again.
func TestLeaseFederated(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", nil)
		if _, taken := f.lease(t, id, "early"); taken {
			t.Error("the provider is asked although its word is young")
		}
		f.clock.Advance(5 * time.Minute)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var holders []string
		for i := range 20 {
			wg.Go(func() {
				p, taken, err := f.LeaseFederated(t.Context(), store.FederatedLease{
					ID: id, Lease: fmt.Sprint(i), Since: f.clock.Now().Add(-5 * time.Minute), Until: f.clock.Now().Add(time.Minute),
				})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if taken {
					holders = append(holders, p.Lease)
				}
			})
		}
		wg.Wait()
		if len(holders) != 1 {
			t.Fatalf("the lease was taken by %q", holders)
		}
		asked := f.clock.Now()
		f.clock.Advance(2 * time.Second)
		renewal := store.FederatedRenewal{ID: id, Lease: "not mine", Asked: asked, Vouched: true, Sealed: []byte("sealed 2")}
		wantErr(t, f.FinishLease(t.Context(), renewal), store.ErrNotFound)
		renewal.Lease = holders[0]
		must(t, f.FinishLease(t.Context(), renewal))
		p := f.federated(t, id)
		if !p.VouchedAt.Equal(asked) || string(p.Sealed) != "sealed 2" || p.Lease != "" || p.Interrupted {
			t.Errorf("%+v", p)
		}
		wantErr(t, f.FinishLease(t.Context(), renewal), store.ErrNotFound)
		if _, taken := f.lease(t, id, "again"); taken {
			t.Error("the provider is asked again at once")
		}
	})
}

// The provider's silence gives the lease back and changes nothing but a token that came all the same.
func TestFinishLeaseWithoutAWord(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", nil)
		before := f.federated(t, id)
		f.clock.Advance(time.Hour)
		f.lease(t, id, "mine")
		must(t, f.FinishLease(t.Context(), store.FederatedRenewal{ID: id, Lease: "mine", Asked: f.clock.Now(), Sealed: []byte("rotated")}))
		if p := f.federated(t, id); !p.VouchedAt.Equal(before.VouchedAt) || string(p.Sealed) != "rotated" {
			t.Errorf("%+v", p)
		}
		if _, taken := f.lease(t, id, "next"); !taken {
			t.Error("nobody can ask again")
		}
	})
}

// A holder that vanished is noticed by the next one, until the provider says yes.
func TestInterruptedLease(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", nil)
		f.clock.Advance(time.Hour)
		if p, taken := f.lease(t, id, "vanishes"); !taken || p.Interrupted {
			t.Fatalf("%v %+v", taken, p)
		}
		if _, taken := f.lease(t, id, "waits"); taken {
			t.Fatal("two have the lease")
		}
		f.clock.Advance(time.Minute)
		if p, taken := f.lease(t, id, "second"); !taken || !p.Interrupted {
			t.Fatalf("%v %+v", taken, p)
		}
		must(t, f.FinishLease(t.Context(), store.FederatedRenewal{ID: id, Lease: "second", Asked: f.clock.Now()}))
		if p, taken := f.lease(t, id, "third"); !taken || !p.Interrupted {
			t.Fatalf("silence in between made it forgotten: %v %+v", taken, p)
		}
		must(t, f.FinishLease(t.Context(), store.FederatedRenewal{ID: id, Lease: "third", Asked: f.clock.Now(), Vouched: true}))
		if p := f.federated(t, id); p.Interrupted {
			t.Errorf("%+v", p)
		}
	})
}

func TestEndFederated(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		id := f.comeIn(t, carol, "cookie", nil)
		f.code(t, id, "code")
		f.grant(t, id, "g")
		f.grant(t, "somebody else", "other")
		issued := f.clock.Now()
		f.clock.Advance(time.Hour)
		f.lease(t, id, "mine")
		for _, lease := range []string{"", "not mine"} {
			if ended := get(f.EndFederated(ctx, id, lease, "no"))(t); ended {
				t.Errorf("ended with the lease %q", lease)
			}
		}
		if ended := get(f.EndFederated(ctx, id, "mine", "the provider said no"))(t); !ended {
			t.Fatal("not ended")
		}
		if p := f.federated(t, id); p.EndedReason != "the provider said no" || p.Sealed != nil || p.Lease != "" {
			t.Errorf("%+v", p)
		}
		_, err := f.BrowserSession(ctx, hash("cookie"))
		wantErr(t, err, store.ErrNotFound)
		_, err = f.GrantByID(ctx, "g")
		wantErr(t, err, store.ErrNotFound)
		if _, fresh, err := f.TakeCode(ctx, hash("code of code")); err != nil || fresh {
			t.Errorf("the code is still good: %v", err)
		}
		if !f.Revoked(identity.PersonKey{Issuer: issuer, Subject: id}, "g", "client", issued) {
			t.Error("the access token is still good")
		}
		get(f.GrantByID(ctx, "other"))(t)
		// They may sign in anew.
		f.comeIn(t, carol, "new", nil)
		if p := f.federated(t, id); p.EndedReason != "" {
			t.Errorf("%+v", p)
		}
	})
}

// What a provider says about an old refresh token ends nobody who has signed in anew.
func TestEndFederatedRacesASignIn(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", nil)
		f.clock.Advance(time.Hour)
		f.lease(t, id, "mine")
		f.comeIn(t, carol, "new", nil)
		if ended := get(f.EndFederated(t.Context(), id, "mine", "no"))(t); ended {
			t.Error("ended")
		}
		get(f.BrowserSession(t.Context(), hash("new")))(t)
	})
}

func TestPendingSignIn(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		must(t, f.SavePendingSignIn(ctx, hash("a"), []byte("sealed"), f.clock.Now().Add(10*time.Minute)))
		must(t, f.SavePendingSignIn(ctx, hash("b"), []byte("late"), f.clock.Now().Add(10*time.Minute)))
		var wg sync.WaitGroup
		var mu sync.Mutex
		taken := 0
		for range 20 {
			wg.Go(func() {
				sealed, err := f.TakePendingSignIn(ctx, hash("a"))
				mu.Lock()
				defer mu.Unlock()
				if err == nil && string(sealed) == "sealed" {
					taken++
				}
			})
		}
		wg.Wait()
		if taken != 1 {
			t.Errorf("taken %d times", taken)
		}
		f.clock.Advance(10 * time.Minute)
		_, err := f.TakePendingSignIn(ctx, hash("b"))
		wantErr(t, err, store.ErrNotFound)
		f.clock.Advance(time.Second)
		must(t, f.PurgeExpired(ctx))
		var left int
		must(t, raw(t, f.dsn).QueryRowContext(ctx, `SELECT COUNT(*) FROM pending_sign_ins`).Scan(&left))
		if left != 0 {
			t.Errorf("%d rows are left", left)
		}
	})
}

// A backup holds refresh tokens that the provider has replaced since: using one would look like theft.
func TestRestoreForgetsRefreshTokensOfProviders(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", nil)
		must(t, f.AfterRestore(t.Context()))
		if p := f.federated(t, id); p.Sealed != nil {
			t.Errorf("%+v", p)
		}
	})
}

// Refresh tokens go when nobody can have used them for longer than a grant lives.
func TestPurgeForgetsRefreshTokensOfProviders(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		id := f.comeIn(t, carol, "cookie", nil)
		f.clock.Advance(90 * 24 * time.Hour)
		must(t, f.PurgeExpired(t.Context()))
		if p := f.federated(t, id); p.Sealed == nil {
			t.Error("gone too early")
		}
		f.clock.Advance(48 * time.Hour)
		must(t, f.PurgeExpired(t.Context()))
		if p := f.federated(t, id); p.Sealed != nil || p.Username != "carol" {
			t.Errorf("%+v", p)
		}
	})
}

// A logout of a session ends what rests on it, at that provider, once.
func TestEndIDPSession(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		elsewhere := carol
		elsewhere.Provider = "entra"
		id := f.comeIn(t, carol, "one", nil)
		f.comeIn(t, carol, "two", nil)
		other := f.comeIn(t, elsewhere, "three", func(_ *store.FederatedPerson, b *store.BrowserSession) { b.IDPSession = "sid of one" })
		give := func(subject, grant, sid string) {
			g := grantOf(subject, grant, f.clock)
			g.IDPSession = sid
			must(t, f.CreateGrant(ctx, g, hash("refresh of "+grant)))
		}
		give(id, "of one", "sid of one")
		give(id, "of two", "sid of two")
		give(id, "nameless", "")
		give(other, "elsewhere", "sid of one")
		c := store.Code{Hash: hash("code"), Grant: "coming", Person: identity.PersonKey{Issuer: issuer, Subject: id}, Client: "client", IDPSession: "sid of one", Expires: f.clock.Now().Add(time.Minute)}
		must(t, f.SaveCode(ctx, c))
		logout := store.IDPLogout{Provider: "okta", Issuer: carol.Issuer, IDPSession: "sid of one", ID: "jti", ReplayUntil: f.clock.Now().Add(time.Minute), Reason: "signed out"}
		people, fresh, err := f.EndIDPSession(ctx, logout)
		must(t, err)
		if !fresh || len(people) != 1 || people[0] != id {
			t.Errorf("fresh %v, people %v", fresh, people)
		}
		standing := func(want string) {
			t.Helper()
			got := ""
			for _, g := range []identity.GrantID{"of one", "of two", "nameless", "elsewhere"} {
				if _, err := f.GrantByID(ctx, g); err == nil {
					got += string(g) + ", "
				}
			}
			for _, b := range []string{"one", "two", "three"} {
				if _, err := f.BrowserSession(ctx, hash(b)); err == nil {
					got += b + ", "
				}
			}
			if got != want {
				t.Errorf("what stands is %q, want %q", got, want)
			}
		}
		standing("of two, nameless, elsewhere, two, three, ")
		if _, fresh, err := f.TakeCode(ctx, hash("code")); err != nil || fresh {
			t.Errorf("a code of that session is still good: %v", err)
		}
		if !f.Revoked(identity.PersonKey{Issuer: issuer, Subject: id}, "of one", "client", f.clock.Now().Add(time.Second)) {
			t.Error("an access token of that session is still good")
		}
		p, b := f.arrival(t, carol, "late")
		b.IDPSession = "sid of one"
		wantErr(t, f.SignInFederated(ctx, p, b), identity.ErrGone)

		if _, fresh, err := f.EndIDPSession(ctx, logout); err != nil || fresh {
			t.Errorf("the same logout again: fresh %v, %v", fresh, err)
		}
		logout.ID, logout.TokenSubject, logout.IDPSession = "jti 2", "sub of carol", "unheard of"
		people, _, err = f.EndIDPSession(ctx, logout)
		must(t, err)
		if len(people) != 1 {
			t.Errorf("people %v", people)
		}
		standing("of two, elsewhere, two, three, ")
		logout.ID, logout.IDPSession = "jti 3", ""
		get2(t)(f.EndIDPSession(ctx, logout))
		standing("elsewhere, three, ")
		if p := f.federated(t, id); p.Sealed != nil || p.EndedReason != "" {
			t.Errorf("%+v", p)
		}
	})
}

func get2(t *testing.T) func([]string, bool, error) {
	return func(_ []string, fresh bool, err error) {
		t.Helper()
		if err != nil || !fresh {
			t.Fatalf("fresh %v, %v", fresh, err)
		}
	}
}

func TestRevokeGrantsOf(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		id := f.comeIn(t, carol, "cookie", nil)
		f.grant(t, id, "a")
		f.grant(t, id, "b")
		f.grant(t, "another", "c")
		f.code(t, id, "d")
		if n := get(f.RevokeGrantsOf(ctx, identity.PersonKey{Issuer: issuer, Subject: id}, "all"))(t); n != 2 {
			t.Errorf("%d grants", n)
		}
		for _, g := range []identity.GrantID{"a", "b"} {
			_, err := f.GrantByID(ctx, g)
			wantErr(t, err, store.ErrNotFound)
			if !f.Revoked(identity.PersonKey{Issuer: issuer, Subject: id}, g, "client", f.clock.Now()) {
				t.Errorf("tokens of %s live on", g)
			}
		}
		if _, fresh, err := f.TakeCode(ctx, hash("code of d")); err != nil || fresh {
			t.Errorf("the code is still good: %v", err)
		}
		get(f.GrantByID(ctx, "c"))(t)
		get(f.BrowserSession(ctx, hash("cookie")))(t)
		_, err := f.RevokeGrantsOf(ctx, identity.PersonKey{Issuer: issuer}, "nobody")
		if err == nil {
			t.Error("nobody's grants were revoked")
		}
	})
}
