package signin

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"gatehouse/internal/secret"
)

func TestChecklist32_Argon2id(t *testing.T) {
	t.Parallel()
	h := newHasher(currentParams)
	ctx := t.Context()
	phc, err := h.hash(ctx, testPassword)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %q", phc)
	}
	if again, _ := h.hash(ctx, testPassword); again == phc {
		t.Error("the salt repeats")
	}
	for password, want := range map[string]bool{testPassword: true, "": false, testPassword + " ": false} {
		if ok, stale, err := h.verify(ctx, phc, password); ok != want || stale || err != nil {
			t.Errorf("verify %q: %v, %v, %v", password, ok, stale, err)
		}
	}
	if ok, _, err := h.verify(ctx, "", ""); ok || err != nil {
		t.Errorf("nobody's password: %v, %v", ok, err)
	}
}

// Somebody who does not exist, or has no password, costs a hash like everybody else.
func TestChecklist32_UnknownUsersTakeTheSameWork(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.hasher = newHasher(currentParams)
	nobody, err := f.lookUp(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	p, _, sum, err := parseHash(f.hasher.dummy)
	if err != nil || p != currentParams || len(sum) != hashLen {
		t.Errorf("the stand-in hash costs %+v, %v", p, err)
	}
	for range cap(f.hasher.slots) {
		f.hasher.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, phc := range map[string]string{"nobody": nobody.PasswordHash, "alice": f.alice.PasswordHash} {
		if _, _, err := f.hasher.verify(ctx, phc, testPassword); !errors.Is(err, context.Canceled) {
			t.Errorf("%s does not wait for a turn to hash: %v", name, err)
		}
	}
}

func TestHashIsRenewedWhenCostsChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	ctx := t.Context()
	cheap := hashParams{memory: 8, time: 1, threads: 1}
	f.hasher = newHasher(currentParams)
	salt := make([]byte, saltLen)
	sum, err := f.hasher.run(ctx, cheap, testPassword, salt, hashLen)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Store.SetPasswordHash(ctx, f.alice.ID, formatHash(cheap, salt, sum)); err != nil {
		t.Fatal(err)
	}
	b := f.browser(t)
	b.signIn(Path, "alice", testPassword)
	u, err := f.Store.UserByID(ctx, f.alice.ID)
	if err != nil || !strings.Contains(u.PasswordHash, "m=19456") {
		t.Errorf("hash %q, %v", u.PasswordHash, err)
	}
	if b.get("/who").StatusCode != 200 || f.browser(t).signIn(Path, "alice", testPassword).StatusCode != 303 {
		t.Error("renewing the hash signed alice out or changed her password")
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(newHasher(currentParams).dummy)
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=8,t=1,p=0$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2i$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, phc string) {
		p, salt, sum, err := parseHash(phc)
		if err != nil {
			return
		}
		if formatHash(p, salt, sum) != phc || p.memory > 1<<20 || p.time > 64 || p.threads == 0 {
			t.Errorf("accepted %q as %+v", phc, p)
		}
	})
}

func TestChosenPasswords(t *testing.T) {
	t.Parallel()
	for password, ok := range map[string]bool{
		"correct horse battery":      true,
		"žluťoučký kůň":              true, // 13 characters
		"short":                      false,
		"žluťoučký":                  false,
		"aaaaaaaaaaaaaaaa":           false,
		"123456789012":               false,
		"Password1234!":              false,
		"alice-alice-1":              false,
		"with\x00zero byte":          false,
		"not \xff utf-8 at all":      false,
		strings.Repeat("abcd ", 250): false,
	} {
		err := checkPassword(password, "alice-alice")
		var weak *WeakPassword
		if (err == nil) != ok || err != nil && !errors.As(err, &weak) {
			t.Errorf("%q: %v", password, err)
		}
	}
}

func TestGeneratedPasswords(t *testing.T) {
	t.Parallel()
	if bits := 20 * math.Log2(float64(len(generateAlphabet))); bits < 96 {
		t.Errorf("%.1f bits", bits)
	}
	seen := map[string]bool{}
	for range 100 {
		p := generatePassword()
		if len(p) != 23 || seen[p] || checkPassword(p, "alice") != nil {
			t.Fatalf("%q", p)
		}
		seen[p] = true
	}
}

func TestChecklist33_BootstrapPasswordIsRandomAndShownOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{testPassword: true}
	for range 2 {
		f := newFixture(t)
		ctx := t.Context()
		if _, _, created, err := f.users.Bootstrap(ctx, UserSpec{Username: "bob"}); created || err != nil {
			t.Fatalf("bootstrap beside alice: %v, %v", created, err)
		}
		empty := newEmptyUsers(t)
		user, password, created, err := empty.Bootstrap(ctx, UserSpec{Username: `DOMAIN\Bob`, Groups: []string{"admins"}, Password: secret.New("ignored ignored")})
		if err != nil || !created || user.Username != "demo" || len(user.Groups) != 1 {
			t.Fatalf("bootstrap: %+v, %v, %v", user, created, err)
		}
		if p := password.Reveal(); len(p) < 20 || seen[p] || strings.Contains(user.PasswordHash, p) {
			t.Error("the password is fixed, short or stored")
		} else if ok, _, _ := empty.hasher.verify(ctx, user.PasswordHash, p); !ok {
			t.Error("the password does not work")
		} else {
			seen[p] = true
		}
		if _, again, created, err := empty.Bootstrap(ctx, UserSpec{Username: "bob"}); created || err != nil || !again.IsZero() {
			t.Errorf("second bootstrap: %v, %v", created, err)
		}
	}
}

func TestAFloodOfPasswordsLeavesCoresForOthers(t *testing.T) {
	t.Parallel()
	h := newHasher(cheapParams)
	if n := cap(h.slots); n < 1 || n > max(1, runtime.NumCPU()/2) {
		t.Errorf("%d passwords are hashed at once on %d cores", n, runtime.NumCPU())
	}
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, "waits in vain"); !errors.Is(err, context.Canceled) {
		t.Errorf("one more: %v, want it to wait", err)
	}
}
