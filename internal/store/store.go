// Package store owns everything that must survive a restart, and every SQL statement: users, passkeys, browser
// sessions, authorization codes, devices that wait, grants with their refresh tokens, revocations, one-time ids and
// sealed signing keys. One set of queries serves two engines, SQLite in a file and PostgreSQL. Each method is one
// transaction.
//
// It owns no rule of OAuth beyond what must be atomic, hashes no password, makes no token and sees none: high-entropy
// secrets arrive as SHA-256 hashes, keys and successors sealed.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gatehouse/internal/seal"
)

var (
	// ErrNotFound means that nothing stands under that name.
	ErrNotFound = errors.New("not found")
	// ErrExists means that the name is taken.
	ErrExists = errors.New("already exists")
	// ErrRevoked means that a revocation stands against what was to be created.
	ErrRevoked = errors.New("revoked")
	// ErrBroken means that a database file cannot be used as it is. It is never changed or overwritten.
	ErrBroken = errors.New("the file is not a usable database")
	// ErrNewerSchema means that a later version of Gatehouse has upgraded the database.
	ErrNewerSchema = errors.New("the database was upgraded by a later version of Gatehouse")
	// ErrWrongKey means that no given master key is the one that the database was used with.
	ErrWrongKey = errors.New("the master key is not the one that this database was used with")
	// ErrText means that a text holds a NUL byte or is not UTF-8, which PostgreSQL cannot store.
	ErrText = errors.New("text holds a NUL byte or is not UTF-8")
)

// Options says which database to open.
type Options struct {
	DSN  string           // a file path for SQLite, or a postgres:// URL
	Keys *seal.Keyring    // to notice a wrong master key early; nil skips the check
	Now  func() time.Time // nil means time.Now
	Log  *slog.Logger     // nil discards

	Patience time.Duration // for one statement on PostgreSQL, upgrade and purge excepted; 0 means 10 s
}

func (o Options) clock() func() time.Time {
	if o.Now == nil {
		return time.Now
	}
	return o.Now
}

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// Store is an open database. It is safe for concurrent use, also by several processes at once.
type Store struct {
	read    conn    // for queries outside of a transaction; over readers
	write   *sql.DB // for transactions that may write: see change
	readers *sql.DB
	closers []func() error // of the connections
	file    string         // the database file; empty for PostgreSQL
	now     func() time.Time
	log     *slog.Logger
	revoked *revokedView // the revocations, in memory
}

// Open opens the database, creates it when there is none, and upgrades an older schema.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := connect(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		s.migrate,
		func(ctx context.Context) error { return s.checkKeys(ctx, o.Keys) },
		s.LoadRevocations,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("open database %s: %w", s.place(), err), s.Close())
		}
	}
	return s, nil
}

func connect(ctx context.Context, o Options) (*Store, error) {
	s := &Store{now: o.clock(), log: o.logger(), revoked: newRevokedView()}
	switch {
	case o.DSN == "":
		return nil, errors.New("open database: no file or postgres:// URL given")
	case isPostgres(o.DSN):
		return s, s.openPostgres(ctx, o)
	default:
		return s, s.openSQLite(ctx, o.DSN)
	}
}

func isPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// Close ends all connections.
func (s *Store) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return wrap("ask the database", s.readers.QueryRowContext(ctx, "SELECT 1").Scan(&one))
}

// PurgeExpired removes what no longer matters to anybody. Codes stay for a day after they expire, so that late reuse is
// still noticed; sealed successors go once no grace window can reach them.
func (s *Store) PurgeExpired(ctx context.Context) error {
	now := s.now()
	for _, p := range []struct {
		query string
		limit time.Time
	}{
		{`DELETE FROM codes WHERE expires < ?`, now.Add(-day)},
		{`DELETE FROM device_requests WHERE expires < ?`, now.Add(-time.Hour)}, // until then a device is told that it came too late
		{`DELETE FROM browser_sessions WHERE expires < ?`, now},
		{`DELETE FROM pending_sign_ins WHERE expires < ?`, now},
		{`UPDATE federated_people SET sealed = NULL, known_json = 'null' WHERE sealed IS NOT NULL AND lease = '' AND vouched_at < ?`, now.Add(-revocationLife)},
		{`UPDATE refresh_tokens SET sealed_successor = NULL WHERE sealed_successor IS NOT NULL AND rotated_at < ?`, now.Add(-day)},
		{`DELETE FROM grants WHERE expires > 0 AND expires < ?`, now},
		{`DELETE FROM revocations WHERE expires > 0 AND expires < ?`, now},
		{`DELETE FROM used_ids WHERE expires < ?`, now.Add(-clockDrift)},
		{`DELETE FROM signing_keys WHERE expires > 0 AND expires < ?`, now},
	} {
		err := s.changeSlowly(ctx, func(tx conn) error {
			_, err := tx.exec(ctx, p.query, micros(p.limit))
			return err
		}, 0)
		if err != nil {
			return wrap("purge what has expired", err)
		}
	}
	return nil
}

const day = 24 * time.Hour

// clockDrift is how far the clocks of copies may be apart, at the very most: what one of them takes for over, such as an
// id that was used, another may still accept.
const clockDrift = time.Hour

// place names the database in messages, without credentials.
func (s *Store) place() string {
	if s.file != "" {
		return s.file
	}
	return "on PostgreSQL"
}

// change runs f in one transaction that may write. On SQLite it begins as a writer (BEGIN IMMEDIATE), so that what f
// reads cannot change under it; on PostgreSQL f locks the rows that it decides on.
func (s *Store) change(ctx context.Context, f func(tx conn) error) error {
	ctx, cancel := s.read.bounded(ctx) // beginning and committing
	defer cancel()
	return s.changeSlowly(ctx, f, s.read.patience)
}

// changeSlowly is change with another bound for each statement.
func (s *Store) changeSlowly(ctx context.Context, f func(tx conn) error, patience time.Duration) error {
	opts := &sql.TxOptions{}
	if s.read.postgres {
		opts.Isolation = sql.LevelReadCommitted
	}
	tx, err := s.write.BeginTx(ctx, opts)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := f(conn{on: tx, postgres: s.read.postgres, patience: patience}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// UseOnce remembers an id, such as a jti, until it expires, and reports whether it was new for that purpose.
func (s *Store) UseOnce(ctx context.Context, purpose, id string, expires time.Time) (first bool, err error) {
	err = s.change(ctx, func(tx conn) error {
		n, err := tx.exec(ctx, `INSERT INTO used_ids (id_hash, purpose, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
			onceHash(purpose, id), purpose, micros(expires))
		first = n == 1
		return err
	})
	return first && err == nil, wrap("use "+purpose+" id once", err)
}

// validAnywhere reports whether both engines can hold the text.
func validAnywhere(s string) bool {
	return !strings.ContainsRune(s, 0) && strings.ToValidUTF8(s, "") == s
}

// forDisplay makes text that a stranger chose, such as a User-Agent, storable.
func forDisplay(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
