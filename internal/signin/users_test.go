package signin

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
)

func newEmptyUsers(t *testing.T) *Users {
	f := newFixture(t)
	s, err := store.Open(t.Context(), store.Options{DSN: t.TempDir() + "/empty.db", Keys: f.Keys, Now: f.clock.Now, Log: f.Log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	users := NewUsers(s, f.clock.Now)
	users.hasher = f.hasher
	return users
}

func TestAddRefusesBadSpecs(t *testing.T) {
	t.Parallel()
	users := newEmptyUsers(t)
	good := secret.New(testPassword)
	tests := map[string]UserSpec{
		"empty username":      {Password: good},
		"space in username":   {Username: "a b", Password: good},
		"path in username":    {Username: "../a", Password: good},
		"look-alike username": {Username: "аlice", Password: good}, // Cyrillic а
		"long username":       {Username: strings.Repeat("a", 65), Password: good},
		"short password":      {Username: "a", Password: secret.New("short")},
		"e-mail":              {Username: "a", Password: good, Email: "nowhere"},
		"e-mail with header":  {Username: "a", Password: good, Email: "a@b\r\nBcc: c"},
		"name":                {Username: "a", Password: good, Name: "a\nb"},
		"name turned around":  {Username: "a", Password: good, Name: "a\u202eb"},
		"empty group":         {Username: "a", Password: good, Groups: []string{""}},
		"group twice":         {Username: "a", Password: good, Groups: []string{"x", "x"}},
		"reserved claim":      {Username: "a", Password: good, Claims: identity.Claims{"sub": "root"}},
		"groups as claim":     {Username: "a", Password: good, Claims: identity.Claims{"groups": "admin"}},
		"claim name":          {Username: "a", Password: good, Claims: identity.Claims{"a b": 1}},
		"large claims":        {Username: "a", Password: good, Claims: identity.Claims{"a": strings.Repeat("x", 5000)}},
	}
	for name, spec := range tests {
		if _, _, err := users.Add(t.Context(), spec); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if all, err := users.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("users were left behind: %v, %v", all, err)
	}
}

// TestNamesWithJoiners: a Persian name, a Sinhala one, and an emoji.
func TestNamesWithJoiners(t *testing.T) {
	t.Parallel()
	users := newEmptyUsers(t)
	for username, name := range map[string]string{"a": "علی\u200cرضا", "b": "ශ්\u200dරී", "c": "Kim 🧑\u200d💻"} {
		if u, _, err := users.Add(t.Context(), UserSpec{Username: username, Name: name}); err != nil || u.Name != name {
			t.Errorf("%q: %+v, %v", name, u, err)
		}
	}
}

func TestAddAndSetPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	bob, generated, err := f.users.Add(ctx, UserSpec{Username: "Bob@Example.com"})
	if err != nil || bob.Username != "bob@example.com" || generated.IsZero() || bob.ID == "" {
		t.Fatalf("%+v, %v", bob, err)
	}
	if _, _, err := f.users.Add(ctx, UserSpec{Username: "BOB@example.com"}); !errors.Is(err, store.ErrExists) {
		t.Errorf("the same name in other case: %v", err)
	}
	b := f.browser(t)
	if got := b.signIn(Path, "bob@example.com", generated.Reveal()); got.StatusCode != 303 {
		t.Fatalf("sign-in: %d", got.StatusCode)
	}
	renewed, err := f.users.SetPassword(ctx, "bob@example.com", secret.Text{})
	if err != nil || renewed.IsZero() {
		t.Fatal(err)
	}
	if b.get("/who").StatusCode != 401 {
		t.Error("a new password left the browser signed in")
	}
	if b.signIn(Path, "bob@example.com", generated.Reveal()).StatusCode != 401 || b.signIn(Path, "bob@example.com", renewed.Reveal()).StatusCode != 303 {
		t.Error("the new password is not in force")
	}
	if _, err := f.users.SetPassword(ctx, "carol", secret.Text{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a password for nobody: %v", err)
	}
}

func TestSetAccess(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	if err := f.users.SetAccess(ctx, "alice", []string{"sre"}, identity.Claims{"level": "2"}); err != nil {
		t.Fatal(err)
	}
	p, err := f.Person(ctx, f.key(f.alice.ID))
	if err != nil || len(p.Groups) != 1 || p.Groups[0] != "sre" || p.Claims["level"] != "2" || p.Claims["team"] != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if err := f.users.SetAccess(ctx, "alice", nil, identity.Claims{"aud": "x"}); err == nil {
		t.Error("a reserved claim was accepted")
	}
}

func TestPerson(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p, err := f.Person(t.Context(), f.key(f.alice.ID))
	if err != nil || p.Key.Issuer != testIssuer || p.Username != "alice" || p.Email != "alice@example.com" {
		t.Errorf("%+v, %v", p, err)
	}
	for _, key := range []identity.PersonKey{{}, f.key("nobody"), {Issuer: "https://other.example", Subject: f.alice.ID}} {
		if _, err := f.Person(t.Context(), key); !errors.Is(err, identity.ErrGone) {
			t.Errorf("%v: %v", key, err)
		}
	}
}
