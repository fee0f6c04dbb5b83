package jose

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// checkEvery is how often a copy looks at the store: far below the lead, so that all copies know a key before it signs.
const checkEvery = time.Minute

// Load reads the keys from the store, and makes the first one in an empty store.
func (s *SigningKeys) Load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, err := s.read(ctx)
	if err != nil {
		return err
	}
	if s.dueForNew(keys) {
		if keys, err = s.replace(ctx, keys); err != nil {
			return err
		}
	}
	return s.publish(keys)
}

// Rotate makes a new key now. It signs after the lead; the others stop then and are served until their last token has
// expired.
func (s *SigningKeys) Rotate(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, err := s.read(ctx)
	if err != nil {
		return err
	}
	if keys, err = s.replace(ctx, keys); err != nil {
		return err
	}
	return s.publish(keys)
}

// Withdraw makes a new key that signs at once and ends all others: whatever they signed is refused from now on here,
// and on the other copies within a minute. It is for keys that somebody else may have.
func (s *SigningKeys) Withdraw(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, err := s.read(ctx)
	if err != nil {
		return err
	}
	now := s.o.Now()
	for _, k := range keys {
		k.RetireAt, k.Expires = now, now
		if err := s.o.Store.UpdateKey(ctx, k.StoredKey); err != nil {
			return fmt.Errorf("withdraw signing key %s: %w", k.KID, err)
		}
	}
	if keys, err = s.replace(ctx, nil); err != nil {
		return err
	}
	return s.publish(keys)
}

// Run rotates on time and picks up what other copies and commands did, until ctx ends. When the store is away, the
// keys at hand serve on.
func (s *SigningKeys) Run(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := s.Load(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Error("signing keys not refreshed", "error", err)
		}
	}
}

// read opens every stored key that this master key opens.
func (s *SigningKeys) read(ctx context.Context) ([]signingKey, error) {
	stored, err := s.o.Store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	var keys []signingKey
	var faults []error
	for _, row := range stored {
		key, err := s.open(row)
		if err != nil {
			faults = append(faults, fmt.Errorf("open signing key %s: %w", row.KID, err))
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 && len(faults) > 0 {
		return nil, fmt.Errorf("%w (is this the master key that the database was made with? an old one can be given beside the new one)", errors.Join(faults...))
	}
	for _, f := range faults {
		s.o.Log.Warn("signing key left out", "error", f)
	}
	return keys, nil
}

// dueForNew reports whether the newest key retires within the lead.
func (s *SigningKeys) dueForNew(keys []signingKey) bool {
	limit := s.o.Now().Add(s.o.Lead)
	for _, k := range keys {
		if k.RetireAt.After(limit) {
			return false
		}
	}
	return true
}

// replace adds a key and sets the end of the others to its beginning. The others go first: a crash in between only
// makes a new key due. Two copies that do this at once add two keys, of which all copies pick the same.
func (s *SigningKeys) replace(ctx context.Context, keys []signingKey) ([]signingKey, error) {
	now := s.o.Now()
	activeFrom := now.Add(s.o.Lead)
	signer := ""
	if len(keys) == 0 {
		activeFrom = now
	} else {
		r, err := newRing(keys, now)
		if err != nil {
			return nil, err
		}
		signer = r.signer(now).KID
	}
	for _, k := range keys {
		if k.KID != signer && !k.RetireAt.After(activeFrom) {
			continue
		}
		k.RetireAt, k.Expires = activeFrom, s.servedUntil(activeFrom)
		if err := s.o.Store.UpdateKey(ctx, k.StoredKey); err != nil {
			return nil, fmt.Errorf("retire signing key %s: %w", k.KID, err)
		}
	}
	private, kid, err := generate()
	if err != nil {
		return nil, err
	}
	row := StoredKey{KID: kid, Alg: SigningAlg, CreatedAt: now, ActiveFrom: activeFrom, RetireAt: activeFrom.Add(s.o.Active)}
	row.Expires = s.servedUntil(row.RetireAt)
	if row.Sealed, err = s.seal(kid, private); err != nil {
		return nil, err
	}
	if err := s.o.Store.AddKey(ctx, row); err != nil {
		return nil, fmt.Errorf("store signing key: %w", err)
	}
	s.o.Log.Info("signing key made", "kid", kid, "active_from", activeFrom)
	return s.read(ctx)
}

// servedUntil leaves room for the last token of a key, and for copies that learn of a change a little later.
func (s *SigningKeys) servedUntil(retire time.Time) time.Time {
	return retire.Add(s.o.LongestToken + 5*time.Minute)
}

func (s *SigningKeys) publish(keys []signingKey) error {
	if len(keys) == 0 {
		return errors.New("read signing keys: the store returned none after one was added")
	}
	r, err := newRing(keys, s.o.Now())
	if err != nil {
		return err
	}
	if old := s.current.Swap(r); old != nil && !r.public.covers(old.public) {
		s.generation.Add(1)
	}
	return nil
}
