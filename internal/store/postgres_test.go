package store_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"gatehouse/internal/store"
)

// A PostgreSQL that does not answer, here because another session holds its locks and does nothing, fails what waits for
// it. As soon as it answers, all is well.
func TestPostgresThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	dsn := onPostgres(t)
	s, err := store.Open(t.Context(), store.Options{DSN: dsn, Patience: 300 * time.Millisecond})
	must(t, err)
	defer s.Close()
	other, err := sql.Open("pgx", dsn)
	must(t, err)
	defer other.Close()
	held, err := other.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = held.ExecContext(t.Context(), `LOCK TABLE revocation_seq, revocations IN ACCESS EXCLUSIVE MODE`)
	must(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.ClientRevoked(ctx, "c"); err == nil || ctx.Err() != nil {
		t.Errorf("a question: %v", err)
	}
	if err := s.RevokeGrant(ctx, "g", "test"); err == nil || ctx.Err() != nil {
		t.Errorf("a change: %v", err)
	}
	must(t, held.Rollback())
	if _, err := s.ClientRevoked(t.Context(), "c"); err != nil {
		t.Error(err)
	}
	must(t, s.RevokeGrant(t.Context(), "g", "test"))
}
