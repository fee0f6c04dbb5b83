package store

import (
	"context"
	"time"

	"gatehouse/internal/identity"
)

// Grant is one authorization that a person gave to a client. Its refresh tokens form one family.
type Grant struct {
	ID          identity.GrantID
	Person      identity.PersonKey
	Client      identity.ClientID
	ClientName  string
	Resource    string
	Scopes      identity.Scopes
	CreatedAt   time.Time
	AuthTime    time.Time
	LastUsed    time.Time
	Expires     time.Time     // absolute; zero means never
	IdleTimeout time.Duration // since LastUsed; zero means none
	SessionID   string
	Methods     []string
	Nonce       string
	IDPSession  string // sid: the session at the identity provider that it rests on
	DPoPKey     string // thumbprint of the key that its refresh tokens are bound to; empty for none
}

const grantColumns = `grant_id, issuer, subject, client, client_name, resource, scopes, created_at, auth_time, last_used, expires, idle_timeout, session_id, methods_json, nonce, idp_session, dpop_jkt`

// standing is the condition for a grant that is neither revoked nor expired; its argument is now, twice.
const standing = `revoked_at = 0 AND (expires = 0 OR expires > ?) AND (idle_timeout = 0 OR last_used + idle_timeout > ?)`

func grantDest(g *Grant, idle *int64) []any {
	return []any{&g.ID, &g.Person.Issuer, &g.Person.Subject, &g.Client, &g.ClientName, &g.Resource, asScopes{&g.Scopes},
		atTime{&g.CreatedAt}, atTime{&g.AuthTime}, atTime{&g.LastUsed}, atTime{&g.Expires}, idle, &g.SessionID,
		fromJSON{&g.Methods}, &g.Nonce, &g.IDPSession, &g.DPoPKey}
}

func scanGrant(r row) (g Grant, err error) {
	var idle int64
	err = r.Scan(grantDest(&g, &idle)...)
	g.IdleTimeout = time.Duration(idle) * time.Microsecond
	return g, err
}

func (g Grant) expired(now time.Time) bool {
	return !g.Expires.IsZero() && !now.Before(g.Expires) ||
		g.IdleTimeout > 0 && !now.Before(g.LastUsed.Add(g.IdleTimeout))
}

// CreateGrant stores a grant with its first refresh token, if any. It returns ErrRevoked when the grant, its client, or
// since CreatedAt its person was revoked, or when the code that it comes from died with one of them.
func (s *Store) CreateGrant(ctx context.Context, g Grant, refreshHash []byte) error {
	methods, err := toJSON(g.Methods)
	if err != nil {
		return wrap("create grant", err)
	}
	if g.CreatedAt.IsZero() {
		g.CreatedAt = s.now()
	}
	if g.LastUsed.IsZero() {
		g.LastUsed = g.CreatedAt
	}
	return wrap("create grant", s.change(ctx, func(tx conn) error {
		if err := mayBeGranted(ctx, tx, g); err != nil {
			return err
		}
		n, err := tx.exec(ctx, `INSERT INTO grants (`+grantColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			g.ID, g.Person.Issuer, g.Person.Subject, g.Client, forDisplay(g.ClientName), g.Resource, g.Scopes.String(),
			micros(g.CreatedAt), micros(g.AuthTime), micros(g.LastUsed), micros(g.Expires), g.IdleTimeout.Microseconds(),
			g.SessionID, methods, g.Nonce, g.IDPSession, g.DPoPKey)
		switch {
		case err != nil:
			return err
		case n == 0:
			return ErrExists
		case refreshHash == nil:
			return nil
		}
		return addRefreshToken(ctx, tx, g.ID, refreshHash, g.CreatedAt)
	}))
}

// mayBeGranted looks for revocations, after making sure that none can come in before this transaction ends.
func mayBeGranted(ctx context.Context, tx conn, g Grant) error {
	if _, err := one(ctx, tx, scanValue[int64], `SELECT last FROM revocation_seq FOR SHARE`); err != nil {
		return err
	}
	against, err := one(ctx, tx, scanValue[int], `SELECT
		(SELECT COUNT(*) FROM codes WHERE grant_id = ? AND revoked) +
		(SELECT COUNT(*) FROM revocations WHERE kind = 'grant' AND subject = ?) +
		(SELECT COUNT(*) FROM revocations WHERE kind = 'client' AND subject = ?) +
		(SELECT COUNT(*) FROM revocations WHERE kind = 'person' AND subject = ? AND (issuer = ? OR issuer = '') AND before_at > ?) +
		(SELECT COUNT(*) FROM revocations WHERE kind = 'all' AND subject = '' AND before_at > ?)`,
		g.ID, g.ID, g.Client, g.Person.Subject, g.Person.Issuer, micros(g.CreatedAt), micros(g.CreatedAt))
	if err == nil && against > 0 {
		return ErrRevoked
	}
	return err
}

func addRefreshToken(ctx context.Context, tx conn, grant identity.GrantID, hash []byte, at time.Time) error {
	_, err := tx.exec(ctx, `INSERT INTO refresh_tokens (hash, grant_id, created_at) VALUES (?, ?, ?)`, hash, grant, micros(at))
	return err
}

// GrantByID finds a grant that stands: neither revoked nor expired.
func (s *Store) GrantByID(ctx context.Context, id identity.GrantID) (Grant, error) {
	now := micros(s.now())
	g, err := one(ctx, s.read, scanGrant, `SELECT `+grantColumns+` FROM grants WHERE grant_id = ? AND `+standing, id, now, now)
	return g, wrap("find grant", err)
}

// GrantByRefresh finds the standing grant of a refresh token, also of one that was rotated.
func (s *Store) GrantByRefresh(ctx context.Context, hash []byte) (Grant, error) {
	now := micros(s.now())
	g, err := one(ctx, s.read, scanGrant, `SELECT `+grantColumns+` FROM grants
		WHERE grant_id = (SELECT grant_id FROM refresh_tokens WHERE hash = ?) AND `+standing, hash, now, now)
	return g, wrap("find grant by refresh token", err)
}

// Grants lists the standing grants of a person, last used first.
func (s *Store) Grants(ctx context.Context, person identity.PersonKey) ([]Grant, error) {
	now := micros(s.now())
	all, err := many(ctx, s.read, scanGrant, `SELECT `+grantColumns+` FROM grants WHERE subject = ? AND issuer = ? AND `+standing+
		` ORDER BY last_used DESC, grant_id`, person.Subject, person.Issuer, now, now)
	return all, wrap("list grants", err)
}
