package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// migrations hold the schema, one file a version, in order. A file that was released never changes.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrationLock is the PostgreSQL advisory lock that lets one copy migrate while the others wait.
const migrationLock = 0x67617465

type migration struct {
	version int
	name    string
	script  string
}

func allMigrations() ([]migration, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql") // sorted
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, name := range names {
		m := migration{version: i + 1, name: strings.TrimPrefix(name, "migrations/")}
		if want := fmt.Sprintf("%04d_", m.version); !strings.HasPrefix(m.name, want) {
			return nil, fmt.Errorf("migration %s should begin with %s", m.name, want)
		}
		script, err := migrations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		m.script = string(script)
		all = append(all, m)
	}
	return all, nil
}

// SchemaVersion returns the version of the schema that the database has now.
func (s *Store) SchemaVersion(ctx context.Context) (int, error) {
	v, err := schemaVersion(ctx, s.read)
	return v, wrap("read schema version", err)
}

func schemaVersion(ctx context.Context, c conn) (int, error) {
	exists := `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'gatehouse_schema'`
	if c.postgres {
		exists = `SELECT COUNT(*) WHERE to_regclass('gatehouse_schema') IS NOT NULL`
	}
	n, err := one(ctx, c, scanValue[int], exists)
	if err != nil || n == 0 {
		return 0, err
	}
	return one(ctx, c, scanValue[int], `SELECT COALESCE(MAX(version), 0) FROM gatehouse_schema`)
}

// migrate brings the schema to the newest version, in one transaction. A current one needs no right to change it.
func (s *Store) migrate(ctx context.Context) error {
	all, err := allMigrations()
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, err := schemaVersion(ctx, s.read)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if have == len(all) {
		return nil
	}
	var from int
	err = s.changeSlowly(ctx, func(tx conn) error {
		if from, err = lockSchema(ctx, tx); err != nil {
			return err
		}
		if from > len(all) {
			return fmt.Errorf("%w: its schema has version %d, this program knows %d; start that later version, or restore a backup from before the upgrade",
				ErrNewerSchema, from, len(all))
		}
		return s.apply(ctx, tx, all[from:])
	}, 0)
	if err != nil {
		return err
	}
	s.log.InfoContext(ctx, "database schema upgraded", "from", from, "to", len(all))
	return nil
}

// lockSchema keeps other processes from migrating at the same time and returns the version. On SQLite the transaction
// alone does that.
func lockSchema(ctx context.Context, tx conn) (int, error) {
	if tx.postgres {
		if _, err := tx.exec(ctx, `SELECT pg_advisory_xact_lock(?)`, migrationLock); err != nil {
			return 0, fmt.Errorf("lock schema: %w", err)
		}
	}
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	if version == 0 && !tx.postgres {
		others, err := one(ctx, tx, scanValue[int], `SELECT COUNT(*) FROM sqlite_master`)
		if err != nil {
			return 0, fmt.Errorf("list tables: %w", err)
		}
		if others > 0 {
			return 0, fmt.Errorf("%w: it is the SQLite database of another program; name another file", ErrBroken)
		}
	}
	return version, nil
}

func (s *Store) apply(ctx context.Context, tx conn, steps []migration) error {
	_, err := tx.on.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS gatehouse_schema (version BIGINT PRIMARY KEY, applied_at BIGINT NOT NULL)`)
	if err != nil {
		return fmt.Errorf("create schema table: %w", err)
	}
	for _, m := range steps {
		if _, err := tx.on.ExecContext(ctx, ddl(m.script, tx.postgres)); err != nil {
			return fmt.Errorf("apply migration %s: %w", m.name, err)
		}
		if _, err := tx.exec(ctx, `INSERT INTO gatehouse_schema (version, applied_at) VALUES (?, ?)`, m.version, micros(s.now())); err != nil {
			return fmt.Errorf("record migration %s: %w", m.name, err)
		}
	}
	return nil
}

// ddl spells the one type that the engines name differently.
func ddl(script string, postgres bool) string {
	if postgres {
		return strings.ReplaceAll(script, " BLOB", " BYTEA")
	}
	return script
}
