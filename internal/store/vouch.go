package store

import (
	"context"
	"time"

	"gatehouse/internal/identity"
)

// FederatedLease asks for the right to redeem a person's refresh token at the provider. Providers rotate these tokens
// and take one that comes twice for theft, so that of all copies one redeems at a time.
type FederatedLease struct {
	ID    string // of the person
	Lease string // random; names the holder
	Since time.Time
	Until time.Time // when the lease ends by itself
}

// LeaseFederated takes the lease, unless the provider vouched for the person after l.Since, the person may not come in,
// has no refresh token, or somebody else holds it. It returns the person as they are then. That a holder vanished, and
// perhaps the token with it that the provider accepts now, is remembered until the provider says yes again.
func (s *Store) LeaseFederated(ctx context.Context, l FederatedLease) (p FederatedPerson, taken bool, err error) {
	err = s.change(ctx, func(tx conn) (err error) {
		if p, err = one(ctx, tx, scanFederated, `SELECT `+federatedColumns+` FROM federated_people WHERE id = ? FOR UPDATE`, l.ID); err != nil {
			return err
		}
		if p.VouchedAt.After(l.Since) || p.EndedReason != "" || len(p.Sealed) == 0 || p.Lease != "" && s.now().Before(p.LeaseUntil) {
			return nil
		}
		p.Interrupted = p.Interrupted || p.Lease != ""
		p.Lease, p.LeaseUntil, taken = l.Lease, l.Until, true
		return tx.execOne(ctx, `UPDATE federated_people SET lease = ?, lease_until = ?, interrupted = ? WHERE id = ?`, l.Lease, micros(l.Until), p.Interrupted, l.ID)
	})
	return p, taken && err == nil, wrap("lease refresh token of federated person", err)
}

// FederatedRenewal is what came of redeeming a refresh token.
type FederatedRenewal struct {
	ID, Lease string
	Asked     time.Time
	Vouched   bool   // the provider said yes, when it was asked
	Sealed    []byte // replaces the refresh token; nil keeps it

	// Profile replaces what is known of the person; nil keeps it. When groups or claims are others than before, access
	// tokens issued before Asked are dead.
	Profile *FederatedPerson
}

// FinishLease stores what came of it and gives the lease back. It is ErrNotFound, and nothing is stored, when the lease
// is no longer the caller's: the person has signed in anew, or it took too long.
func (s *Store) FinishLease(ctx context.Context, r FederatedRenewal) error {
	finish := func(tx conn) error {
		vouched := micros(time.Time{})
		if r.Vouched {
			vouched = micros(r.Asked)
		}
		// Engines differ in what they call the greater of two values.
		return tx.execOne(ctx, `UPDATE federated_people SET lease = '', lease_until = 0, sealed = COALESCE(?, sealed),
			interrupted = CASE WHEN ? THEN FALSE ELSE interrupted END, vouched_at = CASE WHEN vouched_at < ? THEN ? ELSE vouched_at END
			WHERE id = ? AND lease = ?`, r.Sealed, r.Vouched, vouched, vouched, r.ID, r.Lease)
	}
	if r.Profile == nil {
		return wrap("store renewal of federated person", s.change(ctx, finish))
	}
	return wrap("store renewal of federated person", s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		if err := finish(tx); err != nil { // before anything else is changed
			return nil, err
		}
		profile := *r.Profile
		profile.ID = r.ID
		return s.saveProfile(ctx, tx, profile, r.Asked)
	}))
}

// EndFederated shuts a person out for whom the provider no longer vouches, with every session, code, grant and token.
// Somebody who holds no lease any more ends nobody: the person has signed in anew.
func (s *Store) EndFederated(ctx context.Context, id, lease, reason string) (ended bool, err error) {
	err = s.revoke(ctx, func(tx conn) ([]Revocation, error) {
		n, err := tx.exec(ctx, `UPDATE federated_people SET lease = '', lease_until = 0, sealed = NULL, interrupted = FALSE, ended_reason = ?
			WHERE id = ? AND lease = ? AND lease != ''`, forDisplay(reason), id, lease)
		if err != nil || n == 0 {
			return nil, err
		}
		ended = true
		return s.endPerson(ctx, tx, identity.PersonKey{Subject: id}, reason)
	})
	return ended && err == nil, wrap("end federated person", err)
}

// ForgetFederated drops a person's refresh token, so that the provider's word about them holds as long as it does and
// no longer. Without one it does nothing.
func (s *Store) ForgetFederated(ctx context.Context, id string) error {
	return wrap("forget refresh token of federated person", s.change(ctx, func(tx conn) error {
		_, err := tx.exec(ctx, `UPDATE federated_people SET sealed = NULL, lease = '', lease_until = 0, interrupted = FALSE WHERE id = ?`, id)
		return err
	}))
}
