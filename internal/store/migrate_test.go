package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

// raw opens the database behind the store's back.
func raw(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	driver := "sqlite"
	if strings.HasPrefix(dsn, "postgres://") {
		driver = "pgx"
	}
	db, err := sql.Open(driver, dsn)
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	return db
}

// onNew runs a test with the DSN of an empty database of each engine.
func onNew(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Parallel()
	for _, e := range []engine{{"sqlite", onSQLite}, {"postgres", onPostgres}} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			f(t, e.dsn(t))
		})
	}
}

func loadVersion1(t *testing.T, dsn string) {
	t.Helper()
	script, err := os.ReadFile("testdata/version1.sql")
	must(t, err)
	text := string(script)
	if strings.HasPrefix(dsn, "postgres://") {
		text = strings.ReplaceAll(text, " BLOB", " BYTEA")
	}
	_, err = raw(t, dsn).ExecContext(t.Context(), text)
	must(t, err)
}

func TestUpgradeFromVersion1(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		loadVersion1(t, dsn)
		f := newFixture(t, dsn)
		fresh := get(newFixture(t, onSQLite(t)).SchemaVersion(ctx))(t)
		if got := get(f.SchemaVersion(ctx))(t); got != fresh || got < 2 {
			t.Errorf("schema version is %d, a new database has %d", got, fresh)
		}
		ann := get(f.UserByName(ctx, "ANN"))(t)
		if ann.ID != "u1" || ann.Claims["cid"] != "0oa" || ann.PasswordHash != "$argon2id$old" || !ann.EmailVerified ||
			!ann.CreatedAt.Equal(time.UnixMicro(1795000000000001)) {
			t.Errorf("user after the upgrade: %+v", ann)
		}
		if bob := get(f.UserByID(ctx, "u2"))(t); !bob.Disabled || bob.Groups != nil {
			t.Errorf("user after the upgrade: %+v", bob)
		}
		if p := get(f.PasskeyByCredential(ctx, []byte("credential")))(t); string(p.Data) != `{"counter":7}` {
			t.Errorf("passkey after the upgrade: %+v", p)
		}
		f.grant(t, "u1", "g") // what version 1 did not have works
		must(t, f.SetUserDisabled(ctx, "u1", true))
		if got := f.rotate(t, "refresh of g", "x").Outcome; got != store.Revoked {
			t.Errorf("refresh is %s", got)
		}
	})
}

// A migration that was edited after its release would leave old and new installations apart.
func TestUpgradedSchemaIsThatOfANewDatabase(t *testing.T) {
	t.Parallel()
	upgraded, fresh := onSQLite(t), onSQLite(t)
	loadVersion1(t, upgraded)
	var schemas []string
	for _, dsn := range []string{upgraded, fresh} {
		newFixture(t, dsn)
		schemas = append(schemas, strings.Join(column(t, raw(t, dsn), `
			SELECT m.type || ' ' || m.tbl_name || ' ' || m.name || ' ' || COALESCE(group_concat(c.name || ' ' || c.type || ' ' || c."notnull" ||
				' ' || COALESCE(c.dflt_value, '') || ' ' || c.pk, ', '), '')
			FROM sqlite_master m LEFT JOIN pragma_table_info(m.name) c GROUP BY m.type, m.name ORDER BY 1`), "\n"))
	}
	if schemas[0] != schemas[1] {
		t.Errorf("upgraded:\n%s\nnew:\n%s", schemas[0], schemas[1])
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		s, err := store.Open(t.Context(), store.Options{DSN: dsn})
		must(t, err)
		must(t, s.Close())
		db := raw(t, dsn)
		_, err = db.ExecContext(t.Context(), `INSERT INTO gatehouse_schema VALUES (999, 0)`)
		must(t, err)
		_, err = store.Open(t.Context(), store.Options{DSN: dsn})
		wantErr(t, err, store.ErrNewerSchema)
		if !strings.Contains(err.Error(), "999") || !strings.Contains(err.Error(), "later version") {
			t.Errorf("the message does not say what to do: %v", err)
		}
		var version int
		must(t, db.QueryRowContext(t.Context(), `SELECT MAX(version) FROM gatehouse_schema`).Scan(&version))
		if version != 999 {
			t.Errorf("the schema version was changed to %d", version)
		}
	})
}

// Several copies that start at the same time on an old database upgrade it once.
func TestUpgradeByManyAtOnce(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		loadVersion1(t, dsn)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				s, err := store.Open(t.Context(), store.Options{DSN: dsn, Keys: testkit.Keyring(t, 1)})
				if err != nil {
					t.Error(err)
					return
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// A migration that fails leaves the database as it was.
func TestFailedUpgradeChangesNothing(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		loadVersion1(t, dsn)
		db := raw(t, dsn)
		_, err := db.ExecContext(t.Context(), `CREATE TABLE signing_keys (in_the_way BIGINT)`) // what version 3 creates
		must(t, err)
		_, err = store.Open(t.Context(), store.Options{DSN: dsn})
		if err == nil || !strings.Contains(err.Error(), "0003_keys.sql") {
			t.Errorf("error is %v", err)
		}
		var version int
		must(t, db.QueryRowContext(t.Context(), `SELECT MAX(version) FROM gatehouse_schema`).Scan(&version))
		if version != 1 {
			t.Errorf("schema version is %d", version)
		}
		_, err = db.ExecContext(t.Context(), `CREATE TABLE grants (free BIGINT)`) // version 2 was undone as well
		must(t, err)
	})
}

func TestWrongMasterKey(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		openWith := func(masters ...byte) error {
			s, err := store.Open(t.Context(), store.Options{DSN: dsn, Keys: testkit.Keyring(t, masters...)})
			if err == nil {
				must(t, s.Close())
			}
			return err
		}
		must(t, openWith(1))
		must(t, openWith(1))
		wantErr(t, openWith(2), store.ErrWrongKey)
		must(t, openWith(2, 1)) // key change
		must(t, openWith(2))
		wantErr(t, openWith(1), store.ErrWrongKey)
	})
}

func TestSigningKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		ctx, now := t.Context(), f.clock.Now()
		next := store.SigningKey{KID: "b", Alg: "ES256", Sealed: []byte{0, 255}, CreatedAt: now, ActiveFrom: now.Add(time.Hour), RetireAt: now.Add(2 * time.Hour), Expires: now.Add(3 * time.Hour)}
		active := store.SigningKey{KID: "a", Alg: "ES256", Sealed: []byte("a"), CreatedAt: now, ActiveFrom: now}
		must(t, f.AddSigningKey(ctx, next))
		must(t, f.AddSigningKey(ctx, active))
		wantErr(t, f.AddSigningKey(ctx, active), store.ErrExists)
		active.RetireAt, active.Sealed = now.Add(time.Minute), []byte("sealed anew")
		must(t, f.UpdateSigningKey(ctx, active))
		wantErr(t, f.UpdateSigningKey(ctx, store.SigningKey{KID: "c", Sealed: []byte{}}), store.ErrNotFound)
		if got, want := fmt.Sprint(get(f.SigningKeys(ctx))(t)), fmt.Sprint([]store.SigningKey{active, next}); got != want {
			t.Errorf("keys are %s, want %s", got, want)
		}
		f.clock.Advance(4 * time.Hour)
		must(t, f.PurgeExpired(ctx))
		if got := get(f.SigningKeys(ctx))(t); len(got) != 1 || got[0].KID != "a" {
			t.Errorf("keys after the purge are %+v", got)
		}
	})
}
