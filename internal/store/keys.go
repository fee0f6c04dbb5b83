package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/seal"
)

// SigningKey is a private key for Gatehouse's own tokens, sealed by its owner.
type SigningKey struct {
	KID        string
	Alg        string
	Sealed     []byte
	CreatedAt  time.Time
	ActiveFrom time.Time
	RetireAt   time.Time
	Expires    time.Time // zero means never
}

const signingKeyColumns = `kid, alg, sealed, created_at, active_from, retire_at, expires`

func scanSigningKey(r row) (k SigningKey, err error) {
	err = r.Scan(&k.KID, &k.Alg, &k.Sealed, atTime{&k.CreatedAt}, atTime{&k.ActiveFrom}, atTime{&k.RetireAt}, atTime{&k.Expires})
	return k, err
}

// SigningKeys lists all keys, oldest first.
func (s *Store) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	all, err := many(ctx, s.read, scanSigningKey, `SELECT `+signingKeyColumns+` FROM signing_keys ORDER BY active_from, created_at, kid`)
	return all, wrap("list signing keys", err)
}

// AddSigningKey adds a key, or returns ErrExists when the kid is taken.
func (s *Store) AddSigningKey(ctx context.Context, k SigningKey) error {
	return wrap("add signing key", s.change(ctx, func(tx conn) error {
		n, err := tx.exec(ctx, `INSERT INTO signing_keys (`+signingKeyColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			k.KID, k.Alg, k.Sealed, micros(k.CreatedAt), micros(k.ActiveFrom), micros(k.RetireAt), micros(k.Expires))
		if err == nil && n == 0 {
			return ErrExists
		}
		return err
	}))
}

// UpdateSigningKey changes the times and the sealing of a key.
func (s *Store) UpdateSigningKey(ctx context.Context, k SigningKey) error {
	return wrap("update signing key", s.change(ctx, func(tx conn) error {
		return tx.execOne(ctx, `UPDATE signing_keys SET sealed = ?, active_from = ?, retire_at = ?, expires = ? WHERE kid = ?`,
			k.Sealed, micros(k.ActiveFrom), micros(k.RetireAt), micros(k.Expires), k.KID)
	}))
}

// The mark tells whether a master key is the right one.
const (
	keyMark      seal.Purpose = "master key mark"
	keyMarkPlace string       = "master_key_mark"
	readKeyMark  string       = `SELECT sealed FROM master_key_mark`
)

// checkKeys opens the mark that the first start sealed. When no key opens it, nothing else sealed would open either.
func (s *Store) checkKeys(ctx context.Context, keys *seal.Keyring) error {
	if keys == nil {
		return nil
	}
	box, place := keys.Box(keyMark), []byte(keyMarkPlace)
	mark, err := one(ctx, s.read, scanValue[[]byte], readKeyMark)
	if errors.Is(err, ErrNotFound) {
		err = s.change(ctx, func(tx conn) error {
			if _, err := tx.exec(ctx, `INSERT INTO master_key_mark (id, sealed) VALUES (1, ?) ON CONFLICT DO NOTHING`, box.Seal(nil, place)); err != nil {
				return err
			}
			mark, err = one(ctx, tx, scanValue[[]byte], readKeyMark) // another copy's, when that was faster
			return err
		})
	}
	if err != nil {
		return wrap("read master key mark", err)
	}
	if _, err := box.Open(mark, place); err != nil {
		return fmt.Errorf("%w: put the old key back; to change keys, give the new one first and the old one after it", ErrWrongKey)
	}
	if box.Current(mark, place) {
		return nil
	}
	return wrap("renew master key mark", s.change(ctx, func(tx conn) error {
		return tx.execOne(ctx, `UPDATE master_key_mark SET sealed = ?`, box.Seal(nil, place))
	}))
}
