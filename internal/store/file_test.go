package store_test

import (
	"bytes"
	"database/sql"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"gatehouse/internal/store"
)

// filled writes a database with some pages and returns its file, closed.
func filled(t *testing.T) string {
	t.Helper()
	dsn := onSQLite(t)
	s, err := store.Open(t.Context(), store.Options{DSN: dsn})
	must(t, err)
	for _, id := range strings.Split(strings.Repeat("x", 40), "") {
		_ = s.CreateUser(t.Context(), store.User{ID: id, Username: id, Name: strings.Repeat("n", 5000)})
	}
	must(t, s.Close())
	return dsn
}

func TestBrokenFile(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"not_sqlite":  func([]byte) []byte { return []byte("listen: localhost:8080\n# not a database at all\n") },
		"short":       func(b []byte) []byte { return b[:10] },
		"empty":       func([]byte) []byte { return nil },
		"truncated":   func(b []byte) []byte { return b[:len(b)/2] },
		"header_only": func(b []byte) []byte { return b[:100] },
		"overwritten": func(b []byte) []byte { copy(b[4096:], bytes.Repeat([]byte("garbage "), 2000)); return b },
		"schema_gone": func(b []byte) []byte { clear(b[100:4096]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filled(t)
			content, err := os.ReadFile(path)
			must(t, err)
			content = damage(content)
			must(t, os.WriteFile(path, content, 0o600))
			s, err := store.Open(t.Context(), store.Options{DSN: path})
			if err == nil {
				must(t, s.Close())
			}
			wantErr(t, err, store.ErrBroken)
			for _, part := range []string{path, "gatehouse restore"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the message lacks %q: %v", part, err)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, content) {
				t.Errorf("the broken file was changed (%v)", err)
			}
		})
	}
}

func TestUnusableFile(t *testing.T) {
	t.Parallel()
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		_, err := store.Open(t.Context(), store.Options{DSN: t.TempDir()})
		wantErr(t, err, store.ErrBroken)
	})
	t.Run("log_without_file", func(t *testing.T) {
		t.Parallel()
		path := onSQLite(t)
		must(t, os.WriteFile(path+"-wal", []byte("changes not yet in the file"), 0o600))
		_, err := store.Open(t.Context(), store.Options{DSN: path})
		wantErr(t, err, store.ErrBroken)
		if _, err := os.Stat(path); err == nil {
			t.Error("a new database was made beside the log of another")
		}
	})
	t.Run("of_another_program", func(t *testing.T) {
		t.Parallel()
		path := onSQLite(t)
		db, err := sql.Open("sqlite", path)
		must(t, err)
		_, err = db.ExecContext(t.Context(), `CREATE TABLE recipes (title TEXT)`)
		must(t, err)
		must(t, db.Close())
		_, err = store.Open(t.Context(), store.Options{DSN: path})
		wantErr(t, err, store.ErrBroken)
	})
	t.Run("nothing_named", func(t *testing.T) {
		t.Parallel()
		if _, err := store.Open(t.Context(), store.Options{}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("parent_is_a_file", func(t *testing.T) {
		t.Parallel()
		path := onSQLite(t)
		must(t, os.WriteFile(path, nil, 0o600))
		if _, err := store.Open(t.Context(), store.Options{DSN: filepath.Join(path, "db")}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("postgres_away", func(t *testing.T) {
		t.Parallel()
		_, err := store.Open(t.Context(), store.Options{DSN: "postgres://me:pa55word@127.0.0.1:1/db"})
		if err == nil || strings.Contains(err.Error(), "pa55word") || !strings.Contains(err.Error(), "check that the server runs") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("postgres_url_wrong", func(t *testing.T) {
		t.Parallel()
		_, err := store.Open(t.Context(), store.Options{DSN: "postgres://me:pa55word@host:port/db"})
		if err == nil || strings.Contains(err.Error(), "pa55word") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestFileModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no such modes")
	}
	dir := filepath.Join(t.TempDir(), "state", "gatehouse 100%?#")
	path := filepath.Join(dir, "gatehouse.db")
	f := newFixture(t, path)
	f.user(t, "u")
	for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		info, err := os.Stat(name)
		must(t, err)
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	must(t, os.Chmod(path, 0o644))
	open(t, path, f.clock)
	info, err := os.Stat(path)
	must(t, err)
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("a readable file kept mode %o", got)
	}
}

func TestDurability(t *testing.T) {
	t.Parallel()
	path := onSQLite(t)
	f := newFixture(t, path)
	must(t, f.Ping(t.Context()))
	var mode string
	must(t, raw(t, path).QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&mode))
	if mode != "wal" {
		t.Errorf("journal mode is %s", mode)
	}
}
