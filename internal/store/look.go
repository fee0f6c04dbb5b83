package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Condition is how a database was found.
type Condition struct {
	Exists         bool
	Place          string // without credentials
	Schema, Newest int    // the version that it has, and the one that this program brings it to
}

// Look says how a database is without making, upgrading or changing anything. Its errors are those of Open.
func Look(ctx context.Context, o Options) (Condition, error) {
	all, err := allMigrations()
	if err != nil {
		return Condition{}, fmt.Errorf("read migrations: %w", err)
	}
	c := Condition{Newest: len(all)}
	s := &Store{now: time.Now, log: o.logger(), revoked: newRevokedView()}
	if isPostgres(o.DSN) {
		err = s.openPostgres(ctx, o)
	} else {
		c.Exists, err = s.lookAtFile(ctx, o.DSN)
	}
	c.Place = s.place()
	if err != nil || !c.Exists && s.file != "" {
		return c, err
	}
	err = s.look(ctx, o, &c)
	return c, errors.Join(err, s.Close())
}

func (s *Store) look(ctx context.Context, o Options, c *Condition) (err error) {
	if c.Schema, err = schemaVersion(ctx, s.read); err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	c.Exists = c.Schema > 0
	switch {
	case c.Schema > c.Newest:
		return fmt.Errorf("%w: its schema has version %d, this program knows %d", ErrNewerSchema, c.Schema, c.Newest)
	case !c.Exists || o.Keys == nil:
		return nil
	}
	mark, err := one(ctx, s.read, scanValue[[]byte], readKeyMark)
	if errors.Is(err, ErrNotFound) {
		return nil // made by the first start
	}
	if err != nil {
		return wrap("read master key mark", err)
	}
	if _, err := o.Keys.Box(keyMark).Open(mark, []byte(keyMarkPlace)); err != nil {
		return ErrWrongKey
	}
	return nil
}

// lookAtFile opens a SQLite file for reading, if there is one.
func (s *Store) lookAtFile(ctx context.Context, path string) (exists bool, err error) {
	if s.file, err = filepath.Abs(path); err != nil {
		return false, fmt.Errorf("find database: %w", err)
	}
	info, err := os.Stat(s.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(s.file + "-wal"); err == nil {
			return false, fmt.Errorf("%w: the file is gone but its log %s-wal is there", ErrBroken, filepath.Base(s.file))
		}
		return false, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular() || info.Size() == 0:
		return false, fmt.Errorf("%w: it is empty or not a regular file", ErrBroken)
	}
	if err := checkHeader(s.file); err != nil {
		return true, err
	}
	if s.readers, err = openFile(s.file, "query_only(1)"); err != nil {
		return true, err
	}
	s.read, s.write = conn{on: s.readers}, s.readers
	s.closers = []func() error{s.readers.Close}
	if err := s.checkFile(ctx); err != nil {
		return true, errors.Join(err, s.Close())
	}
	return true, nil
}
