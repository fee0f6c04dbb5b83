package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/identity"
)

// conn runs queries that are written with ? on either engine, in or outside a transaction.
type conn struct {
	on interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	}
	postgres bool
	patience time.Duration // for a statement; 0 is no bound
}

// bounded gives a statement its time: a connection that leads nowhere any more, or a lock that nobody lets go, must not
// hold up whoever asks.
func (c conn) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.patience == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.patience)
}

// row is what a scan function reads from.
type row interface{ Scan(dest ...any) error }

// exec returns how many rows were changed.
func (c conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if err := checkText(args); err != nil {
		return 0, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	res, err := c.on.ExecContext(ctx, c.dialect(query), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// execOne is exec for a statement that must meet a row.
func (c conn) execOne(ctx context.Context, query string, args ...any) error {
	n, err := c.exec(ctx, query, args...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// many returns every row.
func many[T any](ctx context.Context, c conn, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	if err := checkText(args); err != nil {
		return nil, err
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	rows, err := c.on.QueryContext(ctx, c.dialect(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// one returns the first row, or ErrNotFound.
func one[T any](ctx context.Context, c conn, scan func(row) (T, error), query string, args ...any) (T, error) {
	all, err := many(ctx, c, scan, query, args...)
	switch {
	case err != nil:
		return *new(T), err
	case len(all) == 0:
		return *new(T), ErrNotFound
	}
	return all[0], nil
}

// scanValue scans a row of one column.
func scanValue[T any](r row) (v T, err error) { return v, r.Scan(&v) }

// dialect rewrites what the engines spell differently: placeholders and row locks. SQLite needs no row locks, because
// a transaction that may write is the only one. No query holds a question mark in a literal.
func (c conn) dialect(query string) string {
	if !c.postgres {
		return strings.ReplaceAll(strings.ReplaceAll(query, " FOR UPDATE", ""), " FOR SHARE", "")
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// checkText makes SQLite refuse what PostgreSQL would.
func checkText(args []any) error {
	for _, a := range args {
		if v := reflect.ValueOf(a); v.Kind() == reflect.String && !validAnywhere(v.String()) {
			return ErrText
		}
	}
	return nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// micros is how times are stored: microseconds since 1970 in UTC, 0 for no time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// atTime scans what micros stored.
type atTime struct{ t *time.Time }

func (s atTime) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("read a time from %T", src)
	}
	*s.t = time.Time{}
	if n != 0 {
		*s.t = time.UnixMicro(n).UTC()
	}
	return nil
}

// toJSON is how lists and maps are stored.
func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// fromJSON scans what toJSON stored.
type fromJSON struct{ into any }

func (s fromJSON) Scan(src any) error {
	switch v := src.(type) {
	case string:
		return json.Unmarshal([]byte(v), s.into)
	case []byte:
		return json.Unmarshal(v, s.into)
	}
	return fmt.Errorf("read JSON from %T", src)
}

// asScopes scans the space-separated form of scopes.
type asScopes struct{ into *identity.Scopes }

func (s asScopes) Scan(src any) error {
	v, ok := src.(string)
	if !ok {
		return fmt.Errorf("read scopes from %T", src)
	}
	*s.into = identity.ParseScopes(v)
	return nil
}

// onceHash bounds the size of an id that a stranger chose and keeps the purposes apart.
func onceHash(purpose, id string) []byte {
	h := sha256.Sum256([]byte(purpose + "\x00" + id))
	return h[:]
}
