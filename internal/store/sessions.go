package store

import (
	"context"
	"time"
)

// BrowserSession is one signed-in browser.
type BrowserSession struct {
	TokenHash []byte // SHA-256 of the cookie value
	ID        string // names the session where the cookie value must not appear
	UserID    string // of a built-in user, or of a federated person when Provider is set
	AuthTime  time.Time
	CreatedAt time.Time
	LastSeen  time.Time
	Expires   time.Time
	Methods   []string
	UserAgent string

	Provider   string // the identity provider at which the person signed in; empty for built-in users
	IDPSession string // sid: the session there, if the provider names it
	Sealed     []byte // the provider's ID token

	// UserAsOf is the UpdatedAt of the user whose credentials were checked, for CreateBrowserSession alone; it is not
	// stored. Zero skips the comparison.
	UserAsOf time.Time
}

const sessionColumns = `token_hash, id, user_id, auth_time, created_at, last_seen, expires, methods_json, user_agent, provider, idp_session, sealed`

func scanSession(r row) (b BrowserSession, err error) {
	err = r.Scan(&b.TokenHash, &b.ID, &b.UserID, atTime{&b.AuthTime}, atTime{&b.CreatedAt}, atTime{&b.LastSeen},
		atTime{&b.Expires}, fromJSON{&b.Methods}, &b.UserAgent, &b.Provider, &b.IDPSession, &b.Sealed)
	return b, err
}

// CreateBrowserSession remembers a sign-in of a built-in user. It returns identity.ErrGone when the user was disabled
// meanwhile, or changed since UserAsOf: whoever knows the old password could otherwise win a race against its end.
func (s *Store) CreateBrowserSession(ctx context.Context, b BrowserSession) error {
	return wrap("create browser session", s.change(ctx, func(tx conn) error {
		if err := mustBeEnabled(ctx, tx, b.UserID); err != nil {
			return err
		}
		if err := mustBeUnchanged(ctx, tx, b.UserID, b.UserAsOf); err != nil {
			return err
		}
		return insertSession(ctx, tx, b)
	}))
}

func insertSession(ctx context.Context, tx conn, b BrowserSession) error {
	methods, err := toJSON(b.Methods)
	if err != nil {
		return err
	}
	n, err := tx.exec(ctx, `INSERT INTO browser_sessions (`+sessionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		b.TokenHash, b.ID, b.UserID, micros(b.AuthTime), micros(b.CreatedAt), micros(b.LastSeen), micros(b.Expires), methods, forDisplay(b.UserAgent),
		b.Provider, b.IDPSession, b.Sealed)
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// BrowserSession finds a session that has not expired. The idle limit is the caller's to check.
func (s *Store) BrowserSession(ctx context.Context, tokenHash []byte) (BrowserSession, error) {
	b, err := one(ctx, s.read, scanSession, `SELECT `+sessionColumns+` FROM browser_sessions WHERE token_hash = ? AND expires > ?`,
		tokenHash, micros(s.now()))
	return b, wrap("find browser session", err)
}

// BrowserSessions lists the unexpired sessions of a user, last seen first.
func (s *Store) BrowserSessions(ctx context.Context, userID string) ([]BrowserSession, error) {
	all, err := many(ctx, s.read, scanSession, `SELECT `+sessionColumns+` FROM browser_sessions WHERE user_id = ? AND expires > ? ORDER BY last_seen DESC, id`,
		userID, micros(s.now()))
	return all, wrap("list browser sessions", err)
}

// TouchBrowserSession records that the browser was seen.
func (s *Store) TouchBrowserSession(ctx context.Context, tokenHash []byte, at time.Time) error {
	return wrap("touch browser session", s.change(ctx, func(tx conn) error {
		return tx.execOne(ctx, `UPDATE browser_sessions SET last_seen = ? WHERE token_hash = ?`, micros(at), tokenHash)
	}))
}

// EndBrowserSession signs one browser out. A session that is gone already is no error.
func (s *Store) EndBrowserSession(ctx context.Context, id string) error {
	return s.endBrowserSessions(ctx, `DELETE FROM browser_sessions WHERE id = ?`, id)
}

// EndBrowserSessions signs a user out of every browser.
func (s *Store) EndBrowserSessions(ctx context.Context, userID string) error {
	return s.endBrowserSessions(ctx, `DELETE FROM browser_sessions WHERE user_id = ?`, userID)
}

func (s *Store) endBrowserSessions(ctx context.Context, query, id string) error {
	return wrap("end browser session", s.change(ctx, func(tx conn) error {
		_, err := tx.exec(ctx, query, id)
		return err
	}))
}
