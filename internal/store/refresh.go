package store

import (
	"context"
	"errors"
	"time"

	"gatehouse/internal/identity"
)

// Rotation asks to replace a refresh token by its successor (RFC 9700 §4.14.2).
type Rotation struct {
	OldHash         []byte
	NewHash         []byte
	SealedSuccessor []byte // the successor, sealed under a key that only the holder of the old token can derive
	Client          identity.ClientID
	Now             time.Time     // zero means the store's clock
	Grace           time.Duration // how long the old token still gets the same successor
}

// RotateOutcome says what became of a Rotation.
type RotateOutcome uint8

// The outcomes. Only Rotated and Replayed give the client tokens.
const (
	Unknown     RotateOutcome = iota // no such token
	Rotated                          // the successor is in force
	Replayed                         // rotated before, within the grace time: use RotateResult.SealedSuccessor
	Reused                           // rotated before, too long ago: the whole family is now revoked
	Expired                          // the grant's absolute or idle time is over
	Revoked                          // the grant was revoked before
	WrongClient                      // the token belongs to another client; nothing was changed
)

// String names the outcome for logs.
func (o RotateOutcome) String() string {
	names := [...]string{"unknown", "rotated", "replayed", "reused", "expired", "revoked", "wrong_client"}
	if int(o) < len(names) {
		return names[o]
	}
	return "invalid"
}

// RotateResult is what RotateRefresh decided. Grant is zero when the token is unknown.
type RotateResult struct {
	Outcome         RotateOutcome
	Grant           Grant
	SealedSuccessor []byte // the one in force: on Rotated that of the request, on Replayed that of the first rotation
}

// RotateRefresh replaces a refresh token, exactly once however many ask at the same time.
func (s *Store) RotateRefresh(ctx context.Context, r Rotation) (RotateResult, error) {
	if r.Now.IsZero() {
		r.Now = s.now()
	}
	var res RotateResult
	err := s.change(ctx, func(tx conn) (err error) {
		res, err = rotate(ctx, tx, r)
		return err
	})
	if err == nil && res.Outcome == Reused {
		// In a transaction of its own, because revocations are locked before grants, never after.
		err = s.RevokeGrant(ctx, res.Grant.ID, "refresh token reused")
	}
	if err != nil {
		return RotateResult{}, wrap("rotate refresh token", err)
	}
	return res, nil
}

func rotate(ctx context.Context, tx conn, r Rotation) (RotateResult, error) {
	family, err := lockFamily(ctx, tx, r.OldHash)
	if errors.Is(err, ErrNotFound) {
		return RotateResult{Outcome: Unknown}, nil
	}
	if err != nil {
		return RotateResult{}, err
	}
	token, err := one(ctx, tx, scanToken, `SELECT rotated_at, sealed_successor FROM refresh_tokens WHERE hash = ?`, r.OldHash)
	if err != nil {
		return RotateResult{}, err
	}
	res := RotateResult{Grant: family.Grant}
	switch {
	case family.Client != r.Client:
		res.Outcome = WrongClient
	case !family.revokedAt.IsZero():
		res.Outcome = Revoked
	case family.expired(r.Now):
		res.Outcome = Expired
	case token.rotatedAt.IsZero():
		res.Outcome, res.SealedSuccessor, res.Grant.LastUsed = Rotated, r.SealedSuccessor, r.Now
		err = succeed(ctx, tx, family.ID, r)
	case r.Now.Before(token.rotatedAt.Add(r.Grace)) && token.sealed != nil:
		res.Outcome, res.SealedSuccessor = Replayed, token.sealed
	default:
		res.Outcome = Reused
	}
	return res, err
}

// family is a grant as the holder of its lock sees it.
type family struct {
	Grant
	revokedAt time.Time
}

// lockFamily locks the grant of a token: its row stands for all tokens of the family.
func lockFamily(ctx context.Context, tx conn, hash []byte) (family, error) {
	scan := func(r row) (f family, err error) {
		var idle int64
		err = r.Scan(append(grantDest(&f.Grant, &idle), atTime{&f.revokedAt})...)
		f.IdleTimeout = time.Duration(idle) * time.Microsecond
		return f, err
	}
	return one(ctx, tx, scan, `SELECT `+grantColumns+`, revoked_at FROM grants
		WHERE grant_id = (SELECT grant_id FROM refresh_tokens WHERE hash = ?) FOR UPDATE`, hash)
}

type refreshToken struct {
	rotatedAt time.Time
	sealed    []byte
}

func scanToken(r row) (t refreshToken, err error) {
	return t, r.Scan(atTime{&t.rotatedAt}, &t.sealed)
}

func succeed(ctx context.Context, tx conn, grant identity.GrantID, r Rotation) error {
	if err := tx.execOne(ctx, `UPDATE refresh_tokens SET rotated_at = ?, sealed_successor = ? WHERE hash = ?`,
		micros(r.Now), r.SealedSuccessor, r.OldHash); err != nil {
		return err
	}
	if err := tx.execOne(ctx, `UPDATE grants SET last_used = ? WHERE grant_id = ?`, micros(r.Now), grant); err != nil {
		return err
	}
	return addRefreshToken(ctx, tx, grant, r.NewHash, r.Now)
}
