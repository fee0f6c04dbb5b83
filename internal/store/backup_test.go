package store_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

func restoreOptions(t *testing.T, dsn string, c *testkit.Clock) store.Options {
	return store.Options{DSN: dsn, Now: c.Now, Keys: testkit.Keyring(t, 1)}
}

// used is a store in the middle of its life: a code not yet taken, a token not yet rotated, somebody signed in.
func used(t *testing.T, dsn string) *fixture {
	f := newFixture(t, dsn)
	ctx := t.Context()
	f.user(t, "u")
	must(t, f.CreateBrowserSession(ctx, store.BrowserSession{ // which outlives the test
		TokenHash: hash("cookie"), ID: "id of cookie", UserID: "u", Expires: f.clock.Now().Add(30 * 24 * time.Hour),
	}))
	f.code(t, "u", "future")
	f.device(t, "waiting")
	f.grant(t, "u", "g")
	must(t, f.AddPasskey(ctx, store.Passkey{CredentialID: []byte("p"), UserID: "u", Data: []byte("{}")}))
	must(t, f.AddSigningKey(ctx, store.SigningKey{KID: "k", Sealed: []byte("sealed")}))
	must(t, f.RevokeClient(ctx, "bad client", "by hand"))
	return f
}

// checkRestored looks at a database that was brought back after everything in it had been used.
func checkRestored(t *testing.T, f *fixture, issued time.Time) {
	t.Helper()
	ctx := t.Context()
	person := identity.PersonKey{Issuer: issuer, Subject: "u"}
	_, _, err := f.TakeCode(ctx, hash("code of future"))
	wantErr(t, err, store.ErrNotFound)
	if got := get(f.PollDevice(ctx, hash("device waiting"), "client", polling))(t); got != store.DeviceUnknown {
		t.Errorf("a device waits since before the restore: %d", got)
	}
	if got := f.rotate(t, "refresh of g", "second").Outcome; got == store.Rotated || got == store.Replayed {
		t.Errorf("a rotated refresh token is %s", got)
	}
	_, err = f.BrowserSession(ctx, hash("cookie"))
	wantErr(t, err, store.ErrNotFound)
	if got := get(f.Grants(ctx, person))(t); len(got) != 0 {
		t.Errorf("grants: %+v", got)
	}
	if !f.Revoked(person, "g", "client", issued) || !f.Revoked(identity.PersonKey{}, "", "another", issued) {
		t.Error("access tokens from before the restore are good")
	}
	if f.Revoked(person, "new", "client", f.clock.Advance(time.Second)) {
		t.Error("access tokens from after the restore are dead")
	}
	get(f.UserByID(ctx, "u"))(t)
	get(f.PasskeyByCredential(ctx, []byte("p")))(t)
	if len(get(f.SigningKeys(ctx))(t)) != 1 || !get(f.ClientRevoked(ctx, "bad client"))(t) {
		t.Error("keys or the deny list are lost")
	}
	f.session(t, "u", "new cookie")
	f.grant(t, "u", "new")
	if got := f.rotate(t, "refresh of new", "next").Outcome; got != store.Rotated {
		t.Errorf("a new refresh token is %s", got)
	}
}

// TestChecklist63_RestoreRevivesNothing: what was used after the backup stays used when the backup is restored.
func TestChecklist63_RestoreRevivesNothing(t *testing.T) {
	t.Parallel()
	ctx, dsn := t.Context(), onSQLite(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	f := used(t, dsn)
	must(t, f.Backup(ctx, backup))
	if _, fresh, err := f.TakeCode(ctx, hash("code of future")); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	f.rotate(t, "refresh of g", "second")
	f.user(t, "created after the backup")
	issued := f.clock.Now()
	f.clock.Advance(time.Hour)

	err := store.Restore(ctx, backup, restoreOptions(t, dsn, f.clock))
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("restore under a running server: %v", err)
	}
	must(t, f.Close())
	must(t, store.Restore(ctx, backup, restoreOptions(t, dsn, f.clock)))

	restored := &fixture{Store: open(t, dsn, f.clock), dsn: dsn, clock: f.clock}
	checkRestored(t, restored, issued)
	_, err = restored.UserByID(ctx, "created after the backup")
	wantErr(t, err, store.ErrNotFound)
	checkKept(t, dsn, f.clock)
}

// checkKept makes sure that the database from before the restore can still be used, and that nothing else is left.
func checkKept(t *testing.T, dsn string, c *testkit.Clock) {
	t.Helper()
	files, err := filepath.Glob(dsn + "?*")
	must(t, err)
	var kept []string
	for _, f := range files {
		if !strings.HasSuffix(f, "-wal") && !strings.HasSuffix(f, "-shm") {
			kept = append(kept, f)
		}
	}
	if len(kept) != 1 || !strings.Contains(kept[0], ".before-restore-") {
		t.Fatalf("files beside the database: %v", kept)
	}
	get(open(t, kept[0], c).UserByID(t.Context(), "created after the backup"))(t)
}

// TestChecklist63_AfterRestore is the same for a database that another program brought back.
func TestChecklist63_AfterRestore(t *testing.T) {
	onNew(t, func(t *testing.T, dsn string) {
		f := used(t, dsn)
		running := open(t, dsn, f.clock) // a copy that has seen revocations which the backup does not know
		issued := f.clock.Now()
		f.clock.Advance(time.Hour)
		must(t, f.AfterRestore(t.Context()))
		checkRestored(t, f, issued)
		seq := issued.UnixMicro() // more than any copy can have seen
		if got := get(f.RevocationsSince(t.Context(), seq))(t); len(got) != 1 || got[0].Kind != store.KindAll {
			t.Errorf("revocations a running copy learns of: %+v", got)
		}
		must(t, running.LoadRevocations(t.Context()))
		if !running.Revoked(identity.PersonKey{}, "", "", issued) {
			t.Error("a running copy did not notice")
		}
	})
}

func TestBackupOnPostgres(t *testing.T) {
	t.Parallel()
	dsn := onPostgres(t)
	f := newFixture(t, dsn)
	for _, err := range []error{
		f.Backup(t.Context(), filepath.Join(t.TempDir(), "b")),
		store.Restore(t.Context(), "b", restoreOptions(t, dsn, f.clock)),
	} {
		if err == nil || !strings.Contains(err.Error(), "pg_") || !strings.Contains(err.Error(), "--after-pg-restore") {
			t.Errorf("error is %v", err)
		}
	}
}

func TestBackupIsAFileOfItsOwn(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	f := used(t, onSQLite(t))
	path := filepath.Join(dir, "it's a backup.db")
	must(t, f.Backup(ctx, path))
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %o", info.Mode().Perm())
	}
	before, err := os.ReadFile(path)
	must(t, err)
	if err := f.Backup(ctx, path); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Errorf("a second backup to the same file: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Error("the first backup was changed")
	}
	if err := f.Backup(ctx, filepath.Join(dir, "no", "such", "directory")); err == nil {
		t.Error("no error for a directory that does not exist")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	path = filepath.Join(dir, "half")
	if err := f.Backup(cancelled, path); err == nil {
		t.Error("no error when cancelled")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("half a backup was left")
	}
}

func TestRestoreRefusals(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	f := used(t, onSQLite(t))
	good := filepath.Join(t.TempDir(), "good.db")
	must(t, f.Backup(ctx, good))
	must(t, f.Close())
	content, err := os.ReadFile(f.dsn)
	must(t, err)
	write := func(name string, b []byte) string {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, b, 0o600))
		return path
	}
	backup, err := os.ReadFile(good)
	must(t, err)
	for name, c := range map[string]struct {
		path string
		want error
	}{
		"missing":    {filepath.Join(t.TempDir(), "none"), os.ErrNotExist},
		"not sqlite": {write("text", []byte("a shopping list, not a database")), store.ErrBroken},
		"truncated":  {write("half", backup[:len(backup)/2]), store.ErrBroken},
	} {
		wantErr(t, store.Restore(ctx, c.path, restoreOptions(t, f.dsn, f.clock)), c.want)
		if now, err := os.ReadFile(f.dsn); err != nil || !bytes.Equal(now, content) {
			t.Errorf("%s: the database was touched", name)
		}
	}
	o := restoreOptions(t, f.dsn, f.clock)
	o.Keys = testkit.Keyring(t, 2)
	wantErr(t, store.Restore(ctx, good, o), store.ErrWrongKey)
	if left, _ := filepath.Glob(f.dsn + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What a restore is for: the database is broken, or gone.
func TestRestoreOverBroken(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(path string) error{
		"gone":      os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 5000) },
		"empty":     func(path string) error { return os.Truncate(path, 0) },
		"rubbish":   func(path string) error { return os.WriteFile(path, []byte("rubbish, but long enough"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			f := used(t, onSQLite(t))
			backup := filepath.Join(t.TempDir(), "b.db")
			must(t, f.Backup(ctx, backup))
			must(t, f.Close())
			must(t, damage(f.dsn))
			must(t, store.Restore(ctx, backup, restoreOptions(t, f.dsn, f.clock)))
			issued := f.clock.Advance(-time.Second)
			f.clock.Advance(time.Second)
			checkRestored(t, &fixture{Store: open(t, f.dsn, f.clock), dsn: f.dsn, clock: f.clock}, issued)
		})
	}
}

// A backup made by an older version is upgraded on the way.
func TestRestoreOfOlderBackup(t *testing.T) {
	t.Parallel()
	backup, dsn := onSQLite(t), onSQLite(t)
	loadVersion1(t, backup)
	c := testkit.NewClock(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	must(t, store.Restore(t.Context(), backup, restoreOptions(t, dsn, c)))
	get(open(t, dsn, c).UserByName(t.Context(), "ann"))(t)
}
