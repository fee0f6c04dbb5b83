package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"modernc.org/sqlite" // registers the driver "sqlite" too
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	sqliteHeader = "SQLite format 3\x00"
	// busyTimeout is how long a writer waits for another process, such as the command line beside the server.
	busyTimeout = 10 * time.Second

	hintRestore = "it was left as it is; to go back to a backup, stop Gatehouse and run: gatehouse restore BACKUP"
)

func (s *Store) openSQLite(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	s.file = path
	if err := prepareFile(path); errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("open database %s: %w; let the user that runs Gatehouse write to the directory and its files, or choose another place with state_dir or database", path, err)
	} else if err != nil {
		return fmt.Errorf("open database %s: %w", path, err)
	}
	if s.write, err = openFile(path, "journal_mode(WAL)"); err != nil {
		return fmt.Errorf("open database %s: %w", path, err)
	}
	if s.readers, err = openFile(path, "query_only(1)"); err != nil {
		return errors.Join(fmt.Errorf("open database %s: %w", path, err), s.write.Close())
	}
	s.write.SetMaxOpenConns(1)
	s.readers.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	s.readers.SetMaxIdleConns(4)
	s.read = conn{on: s.readers}
	s.closers = []func() error{s.readers.Close, s.write.Close}
	if err := s.checkFile(ctx); err != nil {
		return errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return nil
}

// openFile opens an existing file; mode=rw keeps SQLite from creating one.
func openFile(path string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"mode": {"rw"}, "_txlock": {"immediate"}}
	q["_pragma"] = append(pragmas, fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()), "synchronous(FULL)", "foreign_keys(1)")
	slashed := filepath.ToSlash(path)
	if slashed[0] != '/' { // a Windows drive
		slashed = "/" + slashed
	}
	return sql.Open("sqlite", (&url.URL{Scheme: "file", Path: slashed, RawQuery: q.Encode()}).String())
}

// prepareFile creates the file when there is none, and looks at it before SQLite does: SQLite would take an empty file
// for a new database, and a lost file beside its log too.
func prepareFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createFile(path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is not a regular file", ErrBroken)
	case info.Size() == 0:
		return fmt.Errorf("%w: it is empty; if it never held anything, remove it and start again; else %s", ErrBroken, hintRestore)
	}
	if err := checkHeader(path); err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(path, 0o600)
	}
	return nil
}

func createFile(path string) error {
	if _, err := os.Stat(path + "-wal"); err == nil {
		return fmt.Errorf("%w: the file is gone but its log %s-wal is there; put the file back, or move the log away; %s",
			ErrBroken, filepath.Base(path), hintRestore)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func checkHeader(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, len(sqliteHeader))
	if _, err := io.ReadFull(f, head); err != nil || !bytes.Equal(head, []byte(sqliteHeader)) {
		return fmt.Errorf("%w: it does not begin like an SQLite file; %s", ErrBroken, hintRestore)
	}
	return nil
}

// checkFile reads the whole structure, because a cut-off file opens well and fails much later.
func (s *Store) checkFile(ctx context.Context) error {
	verdict, err := one(ctx, conn{on: s.write}, scanValue[string], `PRAGMA quick_check(1)`)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w; %s", ErrBroken, err, hintRestore)
	case verdict != "ok":
		return fmt.Errorf("%w: %s; %s", ErrBroken, verdict, hintRestore)
	}
	return nil
}

func isBusy(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}
