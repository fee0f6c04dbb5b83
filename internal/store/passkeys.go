package store

import (
	"context"
	"time"
)

// Passkey is a WebAuthn credential of a user.
type Passkey struct {
	CredentialID []byte
	UserID       string
	Name         string
	Data         []byte // opaque JSON: public key, counter, transports
	CreatedAt    time.Time
	LastUsed     time.Time
}

const passkeyColumns = `credential_id, user_id, name, data, created_at, last_used`

func scanPasskey(r row) (p Passkey, err error) {
	err = r.Scan(&p.CredentialID, &p.UserID, &p.Name, &p.Data, atTime{&p.CreatedAt}, atTime{&p.LastUsed})
	return p, err
}

// AddPasskey adds a credential: ErrExists when it is registered already, identity.ErrGone when the user is disabled.
func (s *Store) AddPasskey(ctx context.Context, p Passkey) error {
	if p.CreatedAt.IsZero() {
		p.CreatedAt = s.now()
	}
	return wrap("add passkey", s.change(ctx, func(tx conn) error {
		if err := mustBeEnabled(ctx, tx, p.UserID); err != nil {
			return err
		}
		n, err := tx.exec(ctx, `INSERT INTO passkeys (`+passkeyColumns+`) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			p.CredentialID, p.UserID, forDisplay(p.Name), p.Data, micros(p.CreatedAt), micros(p.LastUsed))
		if err == nil && n == 0 {
			return ErrExists
		}
		return err
	}))
}

// Passkeys lists the credentials of a user, oldest first.
func (s *Store) Passkeys(ctx context.Context, userID string) ([]Passkey, error) {
	all, err := many(ctx, s.read, scanPasskey, `SELECT `+passkeyColumns+` FROM passkeys WHERE user_id = ? ORDER BY created_at, credential_id`, userID)
	return all, wrap("list passkeys", err)
}

// PasskeyByCredential finds a credential by its ID.
func (s *Store) PasskeyByCredential(ctx context.Context, credentialID []byte) (Passkey, error) {
	p, err := one(ctx, s.read, scanPasskey, `SELECT `+passkeyColumns+` FROM passkeys WHERE credential_id = ?`, credentialID)
	return p, wrap("find passkey", err)
}

// UpdatePasskey stores what changed with a sign-in, such as the counter.
func (s *Store) UpdatePasskey(ctx context.Context, credentialID, data []byte, usedAt time.Time) error {
	return wrap("update passkey", s.change(ctx, func(tx conn) error {
		return tx.execOne(ctx, `UPDATE passkeys SET data = ?, last_used = ? WHERE credential_id = ?`, data, micros(usedAt), credentialID)
	}))
}

// RemovePasskey removes a credential of that user.
func (s *Store) RemovePasskey(ctx context.Context, userID string, credentialID []byte) error {
	return wrap("remove passkey", s.change(ctx, func(tx conn) error {
		return tx.execOne(ctx, `DELETE FROM passkeys WHERE user_id = ? AND credential_id = ?`, userID, credentialID)
	}))
}
