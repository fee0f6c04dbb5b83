package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Backup writes a consistent copy of a SQLite database to a new file while Gatehouse runs. The copy holds what the
// database holds: keep it as secret as the database. PostgreSQL has pg_dump for that.
func (s *Store) Backup(ctx context.Context, path string) error {
	if s.read.postgres {
		return errors.New("back up: the database is on PostgreSQL: use pg_dump; after pg_restore, run: gatehouse restore --after-pg-restore")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("back up to %s: the file exists and is not overwritten; name another one", path)
	}
	if err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	defer f.Close()
	if err := errors.Join(copyDatabase(ctx, s.file, path), f.Sync()); err != nil {
		return errors.Join(fmt.Errorf("back up to %s: %w", path, err), os.Remove(path))
	}
	return syncDir(path)
}

// copyDatabase uses a connection of its own: readers may not write anywhere, and the writer has other work.
func copyDatabase(ctx context.Context, from, to string) error {
	db, err := openFile(from)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `VACUUM INTO ?`, to)
	return errors.Join(err, db.Close())
}

// Restore puts a backup in the place of the SQLite database that o names, and ends in it what AfterRestore ends. The
// database that was there is kept beside it under a name with the time. Gatehouse must not be running on it.
func Restore(ctx context.Context, backup string, o Options) error {
	if isPostgres(o.DSN) {
		return errors.New("restore: the database is on PostgreSQL: use pg_restore, then run: gatehouse restore --after-pg-restore")
	}
	kept, err := restore(ctx, backup, o)
	if errors.Is(err, ErrBroken) {
		err = fmt.Errorf("%w: the backup is damaged, or not one of Gatehouse; the present database was not touched", ErrBroken)
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", backup, err)
	}
	o.logger().InfoContext(ctx, "database restored", "backup", backup, "database", o.DSN, "previous_database", kept)
	return nil
}

func restore(ctx context.Context, backup string, o Options) (kept string, err error) {
	path, err := filepath.Abs(o.DSN)
	if err != nil {
		return "", err
	}
	if err := checkHeader(backup); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	prepared, err := copyFile(backup, path+".restoring-*")
	if err != nil {
		return "", err
	}
	defer removeDatabase(prepared) // after the rename there is nothing left of it
	o.DSN = prepared
	if err := prepareRestored(ctx, o); err != nil {
		return "", err
	}
	if kept, err = setAside(ctx, path, o.clock()()); err != nil {
		return "", err
	}
	if err := os.Rename(prepared, path); err != nil {
		return "", fmt.Errorf("%w; the previous database is %s", err, kept)
	}
	return kept, syncDir(path)
}

// AfterRestore ends what may have been used since the backup was made: codes, waiting devices, browser sessions, grants
// with their refresh tokens, those of identity providers, and every access token issued until now. Users, passkeys, keys
// and revocations stay. It is for a database that another program brought back; Restore does it by itself.
func (s *Store) AfterRestore(ctx context.Context) error {
	const reason = "database restored from a backup"
	return wrap("end what the backup would revive", s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		if err := s.endGrants(ctx, tx, "1 = 1", reason); err != nil {
			return nil, err
		}
		for _, query := range []string{
			`DELETE FROM codes`, `DELETE FROM device_requests`, `DELETE FROM browser_sessions`, `DELETE FROM refresh_tokens`,
			`DELETE FROM pending_sign_ins`, `UPDATE federated_people SET sealed = NULL, lease = '', lease_until = 0`,
		} {
			if _, err := tx.exec(ctx, query); err != nil {
				return nil, err
			}
		}
		// Copies that still run have seen numbers that the backup does not know: go past them all.
		return []Revocation{{Seq: s.now().UnixMicro(), Kind: KindAll, Expires: s.now().Add(revocationLife), Reason: reason}}, nil
	}))
}

// prepareRestored checks and upgrades the copy of a backup, and ends what it would revive.
func prepareRestored(ctx context.Context, o Options) error {
	s, err := connect(ctx, o)
	if err != nil {
		return err
	}
	version, err := schemaVersion(ctx, s.read)
	if err == nil && version == 0 {
		err = fmt.Errorf("%w: it is not a backup of Gatehouse", ErrBroken)
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	if s, err = Open(ctx, o); err != nil {
		return err
	}
	return errors.Join(s.AfterRestore(ctx), s.Close())
}

func copyFile(from, pattern string) (string, error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(pattern), filepath.Base(pattern)) // with mode 0600
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}

// setAside renames the database with its log, if there is one, and returns its new name or none.
func setAside(ctx context.Context, path string, now time.Time) (kept string, err error) {
	if err := checkUnused(ctx, path); err != nil {
		return "", err
	}
	kept = path + ".before-restore-" + now.UTC().Format("20060102T150405.000000Z")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Rename(path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("set the present database aside: %w", err)
		}
	}
	_, err = os.Stat(kept)
	if errors.Is(err, fs.ErrNotExist) {
		return "none", nil
	}
	return kept, err
}

// checkUnused makes sure that no process has the database open. A broken or missing one cannot be in use.
func checkUnused(ctx context.Context, path string) error {
	if checkHeader(path) != nil {
		return nil
	}
	db, err := openFile(path, "locking_mode(EXCLUSIVE)")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `PRAGMA busy_timeout = 500; BEGIN EXCLUSIVE`)
	if isBusy(err) {
		return fmt.Errorf("the database %s is in use: stop Gatehouse first", path)
	}
	return ctx.Err() // any other error is what the restore is for
}

func removeDatabase(path string) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(path + suffix) // what was never made cannot be removed
	}
}

// syncDir makes a new name in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
