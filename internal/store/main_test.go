package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

var postgres = sync.OnceValues(testkit.StartPostgres)

func TestMain(m *testing.M) {
	if task := os.Getenv(childEnv); task != "" {
		os.Exit(runChild(task, os.Args[1:]))
	}
	code := m.Run()
	if p, err := postgres(); err == nil {
		if err := p.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// engine is one of the two databases that every test of behaviour runs against.
type engine struct {
	name string
	dsn  func(t *testing.T) string // of a new, empty database
}

func onSQLite(t *testing.T) string { return filepath.Join(t.TempDir(), "gatehouse.db") }

func onPostgres(t *testing.T) string {
	t.Helper()
	p, err := postgres()
	if errors.Is(err, testkit.ErrNoPostgres) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := p.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dsn
}

// onBoth runs a test against a new store of each engine.
func onBoth(t *testing.T, f func(t *testing.T, f *fixture)) {
	t.Parallel()
	for _, e := range []engine{{"sqlite", onSQLite}, {"postgres", onPostgres}} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			f(t, newFixture(t, e.dsn(t)))
		})
	}
}

// fixture is an open store with a clock that the test moves.
type fixture struct {
	*store.Store
	dsn   string
	clock *testkit.Clock
}

func newFixture(t *testing.T, dsn string) *fixture {
	t.Helper()
	c := testkit.NewClock(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	return &fixture{Store: open(t, dsn, c), dsn: dsn, clock: c}
}

func open(t *testing.T, dsn string, c *testkit.Clock) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{DSN: dsn, Now: c.Now, Keys: testkit.Keyring(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func hash(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func get[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

const issuer = identity.Issuer("https://gatehouse.example")

func (f *fixture) user(t *testing.T, id string) store.User {
	t.Helper()
	must(t, f.CreateUser(t.Context(), store.User{ID: id, Username: "Name-" + id, PasswordHash: "first hash"}))
	return get(f.UserByID(t.Context(), id))(t)
}

func (f *fixture) session(t *testing.T, user, token string) {
	t.Helper()
	now := f.clock.Now()
	must(t, f.CreateBrowserSession(t.Context(), store.BrowserSession{
		TokenHash: hash(token), ID: "id of " + token, UserID: user, AuthTime: now, CreatedAt: now, LastSeen: now, Expires: now.Add(time.Hour),
	}))
}

func (f *fixture) code(t *testing.T, subject, grant string) store.Code {
	t.Helper()
	c := store.Code{
		Hash: hash("code of " + grant), Grant: identity.GrantID(grant), Person: identity.PersonKey{Issuer: issuer, Subject: subject},
		Client: "client", RedirectURI: "http://localhost:3334/oauth/callback", Expires: f.clock.Now().Add(time.Minute),
	}
	must(t, f.SaveCode(t.Context(), c))
	return c
}

func grantOf(subject, id string, c *testkit.Clock) store.Grant {
	return store.Grant{
		ID: identity.GrantID(id), Person: identity.PersonKey{Issuer: issuer, Subject: subject}, Client: "client",
		Scopes: identity.Scopes{"mcp:tools", "offline_access"}, CreatedAt: c.Now(), AuthTime: c.Now(), LastUsed: c.Now(),
		Expires: c.Now().Add(90 * 24 * time.Hour), IdleTimeout: 30 * 24 * time.Hour,
	}
}

// grant creates a grant whose refresh token is "refresh of " + id.
func (f *fixture) grant(t *testing.T, subject, id string) store.Grant {
	t.Helper()
	g := grantOf(subject, id, f.clock)
	must(t, f.CreateGrant(t.Context(), g, hash("refresh of "+id)))
	return g
}

func (f *fixture) rotate(t *testing.T, old, successor string) store.RotateResult {
	t.Helper()
	return get(f.RotateRefresh(t.Context(), store.Rotation{
		OldHash: hash(old), NewHash: hash(successor), SealedSuccessor: []byte("sealed " + successor), Client: "client",
		Now: f.clock.Now(), Grace: time.Minute,
	}))(t)
}
