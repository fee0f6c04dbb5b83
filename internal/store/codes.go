package store

import (
	"context"
	"time"

	"gatehouse/internal/identity"
)

// Code is an authorization code (RFC 6749 §4.1.2) with everything that it was issued for.
type Code struct {
	Hash        []byte           // SHA-256 of the code
	Grant       identity.GrantID // the grant that redeeming it creates
	Person      identity.PersonKey
	Client      identity.ClientID
	ClientName  string
	RedirectURI string
	Challenge   string // PKCE S256 (RFC 7636)
	Resource    string
	Nonce       string
	Scopes      identity.Scopes
	AuthTime    time.Time
	Expires     time.Time
	SessionID   string
	Methods     []string
	IDPSession  string // sid: the session at the identity provider that the grant rests on
	DPoPKey     string // thumbprint of the only key that may redeem it; empty for any or none
}

const codeColumns = `hash, grant_id, issuer, subject, client, client_name, redirect_uri, challenge, resource, nonce, scopes, auth_time, expires, session_id, methods_json, idp_session, dpop_jkt`

// storedCode is a code and whether it still may be redeemed.
type storedCode struct {
	Code
	takenAt time.Time
	revoked bool
}

func scanCode(r row) (c storedCode, err error) {
	err = r.Scan(&c.Hash, &c.Grant, &c.Person.Issuer, &c.Person.Subject, &c.Client, &c.ClientName, &c.RedirectURI, &c.Challenge,
		&c.Resource, &c.Nonce, asScopes{&c.Scopes}, atTime{&c.AuthTime}, atTime{&c.Expires}, &c.SessionID, fromJSON{&c.Methods},
		&c.IDPSession, &c.DPoPKey, atTime{&c.takenAt}, &c.revoked)
	return c, err
}

// SaveCode stores a code that was just issued.
func (s *Store) SaveCode(ctx context.Context, c Code) error {
	methods, err := toJSON(c.Methods)
	if err != nil {
		return wrap("save code", err)
	}
	return wrap("save code", s.change(ctx, func(tx conn) error { return insertCode(ctx, tx, c, methods) }))
}

func insertCode(ctx context.Context, tx conn, c Code, methods string) error {
	n, err := tx.exec(ctx, `INSERT INTO codes (`+codeColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		c.Hash, c.Grant, c.Person.Issuer, c.Person.Subject, c.Client, forDisplay(c.ClientName), c.RedirectURI, c.Challenge,
		c.Resource, c.Nonce, c.Scopes.String(), micros(c.AuthTime), micros(c.Expires), c.SessionID, methods, c.IDPSession, c.DPoPKey)
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// ClientOfCode returns to which client a code was issued, whether or not it is still good. It burns nothing. An unknown
// code is ErrNotFound.
func (s *Store) ClientOfCode(ctx context.Context, hash []byte) (identity.ClientID, error) {
	id, err := one(ctx, s.read, scanValue[identity.ClientID], `SELECT client FROM codes WHERE hash = ?`, hash)
	return id, wrap("find the client of a code", err)
}

// TakeCode burns a code. Only the first call gets fresh=true, and only while nothing that the code rests on was
// revoked; later ones get the same code, so that its grant can be revoked. Whether it has expired is the caller's to
// check. An unknown code is ErrNotFound.
func (s *Store) TakeCode(ctx context.Context, hash []byte) (c Code, fresh bool, err error) {
	err = s.change(ctx, func(tx conn) error {
		stored, err := one(ctx, tx, scanCode, `SELECT `+codeColumns+`, taken_at, revoked FROM codes WHERE hash = ? FOR UPDATE`, hash)
		if err != nil {
			return err
		}
		c, fresh = stored.Code, stored.takenAt.IsZero() && !stored.revoked
		_, err = tx.exec(ctx, `UPDATE codes SET taken_at = ? WHERE hash = ? AND taken_at = 0`, micros(s.now()), hash)
		return err
	})
	if err != nil {
		return Code{}, false, wrap("take code", err)
	}
	return c, fresh, nil
}
