package jose_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/jose"
	"gatehouse/internal/seal"
	"gatehouse/internal/testkit"
)

// shelf is a KeyStore in memory.
type shelf struct {
	mu   sync.Mutex // guards rows and err
	rows []jose.StoredKey
	err  error
}

func (s *shelf) Keys(context.Context) ([]jose.StoredKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rows), s.err
}

func (s *shelf) AddKey(_ context.Context, k jose.StoredKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, k)
	return s.err
}

func (s *shelf) UpdateKey(_ context.Context, k jose.StoredKey) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.rows {
		if s.rows[i].KID == k.KID {
			s.rows[i] = k
			return s.err
		}
	}
	return errors.New("no such key")
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func box(t testing.TB, master byte) *seal.Box {
	t.Helper()
	return testkit.Keyring(t, master).Box("signing keys")
}

func signing(t testing.TB, s *shelf, now func() time.Time) *jose.SigningKeys {
	t.Helper()
	keys, err := jose.NewSigningKeys(jose.SigningOptions{Store: s, Box: box(t, 1), Now: now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func load(t testing.TB, keys *jose.SigningKeys) {
	t.Helper()
	if err := keys.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func sign(t testing.TB, keys *jose.SigningKeys) string {
	t.Helper()
	token, err := keys.Sign("at+jwt", map[string]any{"sub": "alice", "n": 1})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// published reads the served key set the way a client does.
func published(t testing.TB, keys *jose.SigningKeys) (*jose.KeySet, []string) {
	t.Helper()
	set, err := jose.ParseKeySet(keys.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(keys.JWKS(), &doc); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range doc.Keys {
		if k["d"] != nil || k["use"] != "sig" || k["alg"] != "ES256" {
			t.Errorf("served key %v", k)
		}
		ids = append(ids, k["kid"].(string))
	}
	return set, ids
}

func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	keys := signing(t, s, c.Now)
	if _, err := keys.Sign("at+jwt", map[string]any{}); err == nil {
		t.Error("signed before Load")
	}
	if string(keys.JWKS()) != `{"keys":[]}` || keys.KID() != "" {
		t.Error("keys before Load")
	}
	if r := verify(t, keys, "e30.e30.AA"); r != jose.AlgRefused {
		t.Error(r)
	}
	load(t, keys)
	token := sign(t, keys)
	header, claims, err := jose.Verify(t.Context(), token, keys, []string{jose.SigningAlg})
	if err != nil || claims["sub"] != "alice" {
		t.Errorf("verify: %v %v", claims, err)
	}
	if !header.IsType("at+jwt") || header.IsType("jwt") {
		t.Errorf("typ %q", header.Typ)
	}
	set, ids := published(t, keys)
	if r := verify(t, set, token); r != "" || len(ids) != 1 || ids[0] != keys.KID() {
		t.Errorf("by the published keys: %q %v", r, ids)
	}
	if header != (jose.Header{Alg: "ES256", Kid: keys.KID(), Typ: "at+jwt"}) {
		t.Errorf("header %+v", header)
	}
	for _, claims := range []any{nil, "text", []string{"a"}, func() {}} {
		if _, err := keys.Sign("JWT", claims); err == nil {
			t.Errorf("signed %T", claims)
		}
	}
	if bytes.Contains(s.rows[0].Sealed, []byte("PRIVATE")) {
		t.Error("the key lies in the store unsealed")
	}
}

// TestChecklist61_SigningKeyRotation walks through 200 days by the hour: the key of every token is served for as long
// as the token may live, a key is published an hour before it signs, and no kid comes twice.
func TestChecklist61_SigningKeyRotation(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	keys := signing(t, s, c.Now)
	load(t, keys)
	type issued struct {
		token string
		at    time.Time
	}
	var living []issued
	firstSeen := map[string]time.Time{}
	signed := map[string]bool{}
	_, ids := published(t, keys)
	firstSeen[ids[0]] = c.Now().Add(-24 * time.Hour) // the first one has nobody to wait for
	for range 200 * 24 {
		c.Advance(time.Hour)
		load(t, keys)
		set, ids := published(t, keys)
		for _, id := range ids {
			if firstSeen[id].IsZero() {
				firstSeen[id] = c.Now()
			}
		}
		if !signed[keys.KID()] && c.Now().Sub(firstSeen[keys.KID()]) < time.Hour {
			t.Fatalf("key signs %s after it was published", c.Now().Sub(firstSeen[keys.KID()]))
		}
		signed[keys.KID()] = true
		if c.Now().Hour()%6 == 0 {
			living = append(living, issued{sign(t, keys), c.Now()})
		}
		for len(living) > 0 && c.Now().Sub(living[0].at) > 24*time.Hour {
			living = living[1:]
		}
		for _, l := range living[:min(1, len(living))] {
			if r := verify(t, set, l.token); r != "" {
				t.Fatalf("token of %s at %s: %q", l.at, c.Now(), r)
			}
		}
		if len(ids) > 2 {
			t.Fatalf("%d keys served", len(ids))
		}
	}
	if len(signed) != 3 || len(s.rows) != 3 {
		t.Errorf("%d of %d keys signed in 200 days, want 3", len(signed), len(s.rows))
	}
	seen := map[string]bool{}
	for _, row := range s.rows {
		if seen[row.KID] {
			t.Errorf("kid %s twice", row.KID)
		}
		seen[row.KID] = true
	}
}

func TestRotateByCommand(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	server, command := signing(t, s, c.Now), signing(t, s, c.Now)
	load(t, server)
	old, oldKID := sign(t, server), server.KID()
	if err := command.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Minute)
	load(t, server)
	if _, ids := published(t, server); len(ids) != 2 || server.KID() != oldKID {
		t.Errorf("before the lead is over: %v, signs %s", ids, server.KID())
	}
	c.Advance(time.Hour)
	if server.KID() == oldKID || server.KID() != command.KID() {
		t.Error("after the lead every copy signs with the new key, without looking at the store")
	}
	if r := verify(t, server, old); r != "" {
		t.Errorf("old token: %q", r)
	}
	generation := server.Generation()
	c.Advance(25 * time.Hour)
	load(t, server)
	if _, ids := published(t, server); len(ids) != 1 || server.Generation() == generation {
		t.Errorf("after the last token expired: %v", ids)
	}
	if r := verify(t, server, old); r != jose.UnknownKey {
		t.Errorf("old token: %q", r)
	}
}

// A key that somebody else may have signs nothing that is believed, here at once and at a copy when it looks.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	server, command := signing(t, s, c.Now), signing(t, s, c.Now)
	load(t, server)
	old, generation := sign(t, server), server.Generation()
	if err := command.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	load(t, server)
	if server.KID() != command.KID() || server.Generation() == generation {
		t.Error("the copy does not sign with the new key")
	}
	if _, ids := published(t, server); len(ids) != 1 {
		t.Errorf("published %v, want the new key alone", ids)
	}
	if r := verify(t, server, old); r != jose.UnknownKey {
		t.Errorf("token of a withdrawn key: %q", r)
	}
	if r := verify(t, server, sign(t, server)); r != "" {
		t.Errorf("token of the new key: %q", r)
	}
}

func TestCopiesAgree(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	copies := []*jose.SigningKeys{signing(t, s, c.Now), signing(t, s, c.Now), signing(t, s, c.Now)}
	for range 100 * 4 {
		var wg sync.WaitGroup
		for _, k := range copies { // at once, so that several may find a key due
			wg.Go(func() {
				if err := k.Load(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, k := range copies {
			load(t, k)
		}
		token := sign(t, copies[0])
		for _, k := range copies[1:] {
			if r := verify(t, k, token); r != "" || k.KID() != copies[0].KID() {
				t.Fatalf("copies disagree at %s: %q", c.Now(), r)
			}
		}
		c.Advance(6 * time.Hour)
	}
}

func TestLateRotation(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	keys := signing(t, s, c.Now)
	load(t, keys)
	old := keys.KID()
	s.fail(errors.New("database is away"))
	c.Advance(91 * 24 * time.Hour)
	if err := keys.Load(t.Context()); err == nil {
		t.Error("no error while the store is away")
	}
	token := sign(t, keys)
	if r := verify(t, keys, token); r != "" {
		t.Errorf("own token while the store is away: %q", r)
	}
	s.fail(nil)
	c.Advance(24 * time.Hour)
	load(t, keys)
	if keys.KID() != old {
		t.Error("the new key signs without having been published first")
	}
	token = sign(t, keys)
	c.Advance(24 * time.Hour)
	load(t, keys)
	if r := verify(t, keys, token); r != "" || keys.KID() == old {
		t.Errorf("a day later: %q", r)
	}
}

func TestForeignMasterKey(t *testing.T) {
	t.Parallel()
	s, c := &shelf{}, newClock()
	load(t, signing(t, s, c.Now))
	other, err := jose.NewSigningKeys(jose.SigningOptions{Store: s, Box: box(t, 2), Now: c.Now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "master key") {
		t.Errorf("another master key: %v, want a hint", err)
	}
	if len(s.rows) != 1 {
		t.Error("a new key was made over keys that do not open")
	}
	// A sealed key is bound to its row.
	load(t, signing(t, &shelf{}, c.Now))
	s2 := &shelf{rows: slices.Clone(s.rows)}
	s2.rows[0].KID = "another"
	if err := signing(t, s2, c.Now).Load(t.Context()); err == nil {
		t.Error("a sealed key opened in another row")
	}
}

func TestSigningOptionsRefused(t *testing.T) {
	t.Parallel()
	good := jose.SigningOptions{Store: &shelf{}, Box: box(t, 1), Now: time.Now, Log: quiet()}
	for _, change := range []func(*jose.SigningOptions){
		func(o *jose.SigningOptions) { o.Store = nil }, func(o *jose.SigningOptions) { o.Box = nil },
		func(o *jose.SigningOptions) { o.Now = nil }, func(o *jose.SigningOptions) { o.Log = nil },
		func(o *jose.SigningOptions) { o.Lead = -1 },
	} {
		o := good
		change(&o)
		if _, err := jose.NewSigningKeys(o); err == nil {
			t.Error("accepted")
		}
	}
}

func TestSigningKeysRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		server, command := signing(t, s, time.Now), signing(t, s, time.Now)
		load(t, server)
		load(t, command)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- server.Run(ctx) }()
		old := server.KID()
		if err := command.Rotate(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if _, ids := published(t, server); len(ids) != 2 {
			t.Errorf("%d keys published a minute after the command", len(ids))
		}
		s.fail(errors.New("database is away"))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if server.KID() == old {
			t.Error("the next key does not sign while the store is away")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	keys := signing(b, &shelf{}, time.Now)
	load(b, keys)
	b.ReportAllocs()
	for b.Loop() {
		sign(b, keys)
	}
}
