package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	postgresConnections    = 16
	postgresConnectTimeout = 5 * time.Second
	postgresPatience       = 10 * time.Second // as long as SQLite waits for another writer
)

func (s *Store) openPostgres(ctx context.Context, o Options) error {
	cfg, err := pgx.ParseConfig(o.DSN) // its errors leave the password out
	if err != nil {
		return fmt.Errorf("open database on PostgreSQL: %w", err)
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = postgresConnectTimeout
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(postgresConnections)
	db.SetMaxIdleConns(postgresConnections / 2)
	db.SetConnMaxIdleTime(5 * time.Minute)
	s.write, s.readers = db, db
	s.read = conn{on: db, postgres: true, patience: cmp.Or(o.Patience, postgresPatience)}
	s.closers = []func() error{db.Close}
	if err := db.PingContext(ctx); err != nil {
		return errors.Join(fmt.Errorf("open database on PostgreSQL: %w; check that the server runs and that the URL is right", err), db.Close())
	}
	return nil
}
