package store_test

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

// TestChecklist62_NoSecretIsStored goes through the life of every secret, the way its owners use the store, and then
// looks for them in everything that the database holds.
func TestChecklist62_NoSecretIsStored(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		f := newFixture(t, dsn)
		secrets := useSecrets(t, f)
		stored := dump(t, f)
		if !bytes.Contains(stored, []byte("Name-u")) {
			t.Fatal("the dump lacks what must be in it")
		}
		for name, secret := range secrets {
			rawURL := base64.RawURLEncoding.EncodeToString([]byte(secret))
			for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), rawURL, base64.StdEncoding.EncodeToString([]byte(secret))} {
				if bytes.Contains(stored, []byte(form)) {
					t.Errorf("the %s is in the database as %q", name, form)
				}
			}
		}
	})
}

// useSecrets returns the secrets that went through the store's callers.
func useSecrets(t *testing.T, f *fixture) map[string]string {
	ctx := t.Context()
	secrets := map[string]string{
		"cookie": rand.Text(), "code": rand.Text(), "refresh token": rand.Text(), "successor": rand.Text(),
		"signing key": rand.Text(), "one-time id": rand.Text(), "provider's refresh token": rand.Text(), "provider's ID token": rand.Text(),
		"cookie of a pending sign-in": rand.Text(), "state of a pending sign-in": rand.Text(),
	}
	f.user(t, "u")
	must(t, f.CreateBrowserSession(ctx, store.BrowserSession{TokenHash: hash(secrets["cookie"]), ID: "s", UserID: "u", Expires: f.clock.Now().Add(time.Hour)}))
	must(t, f.SaveCode(ctx, store.Code{Hash: hash(secrets["code"]), Grant: "g", Client: "client", Expires: f.clock.Now().Add(time.Minute)}))
	_, _, err := f.TakeCode(ctx, hash(secrets["code"]))
	must(t, err)
	must(t, f.CreateGrant(ctx, grantOf("u", "g", f.clock), hash(secrets["refresh token"])))
	sealed := seal.UnderToken(secrets["refresh token"], "refresh successor").Seal([]byte(secrets["successor"]), []byte("g"))
	res := get(f.RotateRefresh(ctx, store.Rotation{
		OldHash: hash(secrets["refresh token"]), NewHash: hash(secrets["successor"]), SealedSuccessor: sealed, Client: "client", Grace: time.Minute,
	}))(t)
	if res.Outcome != store.Rotated {
		t.Fatal(res.Outcome)
	}
	key := testkit.Keyring(t, 1).Box("signing keys").Seal([]byte(secrets["signing key"]), []byte("kid"))
	must(t, f.AddSigningKey(ctx, store.SigningKey{KID: "kid", Sealed: key}))
	box := testkit.Keyring(t, 1).Box("of an identity provider")
	f.comeIn(t, carol, secrets["cookie"]+"2", func(p *store.FederatedPerson, b *store.BrowserSession) {
		p.Sealed = box.Seal([]byte(secrets["provider's refresh token"]), []byte(p.ID))
		b.Sealed = box.Seal([]byte(secrets["provider's ID token"]), []byte(b.ID))
		b.ID, b.IDPSession = "s2", "sid"
	})
	must(t, f.SavePendingSignIn(ctx, hash(secrets["cookie of a pending sign-in"]), box.Seal([]byte(secrets["state of a pending sign-in"]), nil), f.clock.Now().Add(time.Minute)))
	get(f.UseOnce(ctx, "jti", secrets["one-time id"], f.clock.Now()))(t)

	replay := get(f.RotateRefresh(ctx, store.Rotation{OldHash: hash(secrets["refresh token"]), NewHash: hash("x"), Client: identity.ClientID("client"), Grace: time.Minute}))(t)
	if got, err := seal.UnderToken(secrets["refresh token"], "refresh successor").Open(replay.SealedSuccessor, []byte("g")); err != nil || string(got) != secrets["successor"] {
		t.Errorf("the holder of the old token cannot open the successor: %v", err)
	}
	return secrets
}

// dump returns everything that the database holds: the bytes of SQLite's files, or every row on PostgreSQL.
func dump(t *testing.T, f *fixture) []byte {
	t.Helper()
	var out bytes.Buffer
	if !strings.HasPrefix(f.dsn, "postgres://") {
		files, err := filepath.Glob(f.dsn + "*")
		must(t, err)
		for _, name := range files {
			b, err := os.ReadFile(name)
			must(t, err)
			out.Write(b)
		}
		return out.Bytes()
	}
	db := raw(t, f.dsn)
	for _, table := range column(t, db, `SELECT tablename FROM pg_tables WHERE schemaname = 'public'`) {
		for _, row := range column(t, db, `SELECT t::text FROM `+table+` t`) {
			out.WriteString(row + "\n")
		}
	}
	return out.Bytes()
}

func column(t *testing.T, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
	must(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		must(t, rows.Scan(&s))
		out = append(out, s)
	}
	must(t, rows.Err())
	return out
}
