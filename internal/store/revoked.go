package store

import (
	"context"
	"sync"
	"time"

	"gatehouse/internal/identity"
)

// watchInterval keeps the promise that a revocation is known everywhere within two seconds.
const watchInterval = time.Second

// revokedView is the revocations in memory, so that no request waits for the database.
type revokedView struct {
	loading sync.Mutex // one load at a time; taken before mu

	mu       sync.RWMutex // guards all below
	seq      int64
	loadedAt time.Time
	swept    time.Time
	all      time.Time
	persons  map[identity.PersonKey]Revocation
	grants   map[identity.GrantID]Revocation
	clients  map[identity.ClientID]Revocation
}

// Revoked reports whether a token of that person, grant and client, issued then, is dead. It asks memory only; see
// RevocationsLoaded for how old that is.
func (s *Store) Revoked(person identity.PersonKey, grant identity.GrantID, client identity.ClientID, issued time.Time) bool {
	v := &s.revoked
	v.mu.RLock()
	defer v.mu.RUnlock()
	if _, dead := v.grants[grant]; dead {
		return true
	}
	if _, dead := v.clients[client]; dead {
		return true
	}
	return issued.Before(v.all) || issued.Before(v.persons[person].Before) ||
		issued.Before(v.persons[identity.PersonKey{Subject: person.Subject}].Before)
}

// RevocationsLoaded returns when the revocations in memory were last known to be complete.
func (s *Store) RevocationsLoaded() time.Time {
	s.revoked.mu.RLock()
	defer s.revoked.mu.RUnlock()
	return s.revoked.loadedAt
}

// LoadRevocations brings the revocations in memory up to date. Every revocation made through this Store does it.
func (s *Store) LoadRevocations(ctx context.Context) error {
	v := &s.revoked
	v.loading.Lock()
	defer v.loading.Unlock()
	now := s.now()
	fresh, err := s.RevocationsSince(ctx, v.seq)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.loadedAt = now
	for _, r := range fresh {
		v.add(r)
	}
	v.sweep(now)
	return nil
}

func (v *revokedView) add(r Revocation) {
	if v.persons == nil {
		v.persons = map[identity.PersonKey]Revocation{}
		v.grants = map[identity.GrantID]Revocation{}
		v.clients = map[identity.ClientID]Revocation{}
	}
	v.seq = r.Seq
	switch r.Kind {
	case KindAll:
		v.all = later(v.all, r.Before)
	case KindPerson:
		key := identity.PersonKey{Issuer: r.Issuer, Subject: r.Subject}
		r.Before = later(v.persons[key].Before, r.Before)
		v.persons[key] = r
	case KindGrant:
		v.grants[identity.GrantID(r.Subject)] = r
	case KindClient:
		v.clients[identity.ClientID(r.Subject)] = r
	}
}

// sweep forgets what has expired, now and then.
func (v *revokedView) sweep(now time.Time) {
	if now.Sub(v.swept) < time.Hour {
		return
	}
	v.swept = now
	for k, r := range v.persons {
		if now.After(r.Expires) {
			delete(v.persons, k)
		}
	}
	for k, r := range v.grants {
		if now.After(r.Expires) {
			delete(v.grants, k)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// WatchRevocations learns of what other copies and the command line revoke, until ctx ends.
func (s *Store) WatchRevocations(ctx context.Context) error {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := s.LoadRevocations(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			s.log.ErrorContext(ctx, "revocations cannot be read", "error", err, "known_until", s.RevocationsLoaded())
		case err == nil && away:
			s.log.InfoContext(ctx, "revocations can be read again")
		}
		away = err != nil
	}
}
