package store

import (
	"context"
	"maps"
	"sync"
	"time"

	"gatehouse/internal/identity"
)

// watchInterval keeps the promise that a revocation is known everywhere within two seconds.
const watchInterval = time.Second

// revokedView is the revocations in memory, so that no request waits for the database.
type revokedView struct {
	loading sync.Mutex // guards seq; one load at a time; taken before mu
	seq     int64

	mu       sync.RWMutex // guards all below
	loadedAt time.Time
	swept    time.Time
	all      time.Time
	persons  map[identity.PersonKey]epoch
	grants   map[identity.GrantID]time.Time // when the revocation expires
	clients  map[identity.ClientID]struct{}
}

func newRevokedView() *revokedView {
	return &revokedView{
		persons: map[identity.PersonKey]epoch{},
		grants:  map[identity.GrantID]time.Time{},
		clients: map[identity.ClientID]struct{}{},
	}
}

// epoch is the moment before which a person's tokens are dead.
type epoch struct{ before, expires time.Time }

// Revoked reports whether a token of that person, grant and client, issued then, is dead. It asks memory only; see
// RevocationsLoaded for how old that is.
func (s *Store) Revoked(person identity.PersonKey, grant identity.GrantID, client identity.ClientID, issued time.Time) bool {
	v := s.revoked
	v.mu.RLock()
	defer v.mu.RUnlock()
	if _, dead := v.grants[grant]; dead {
		return true
	}
	if _, dead := v.clients[client]; dead {
		return true
	}
	return issued.Before(v.all) || issued.Before(v.persons[person].before) ||
		issued.Before(v.persons[identity.PersonKey{Subject: person.Subject}].before)
}

// RevocationsLoaded returns when the revocations in memory were last known to be complete.
func (s *Store) RevocationsLoaded() time.Time {
	s.revoked.mu.RLock()
	defer s.revoked.mu.RUnlock()
	return s.revoked.loadedAt
}

// LoadRevocations brings the revocations in memory up to date with what other processes wrote. Those made through
// this Store are known at once.
func (s *Store) LoadRevocations(ctx context.Context) error {
	v := s.revoked
	v.loading.Lock()
	defer v.loading.Unlock()
	now := s.now()
	fresh, err := s.RevocationsSince(ctx, v.seq)
	if err != nil {
		return err
	}
	v.add(fresh)
	v.loaded(now)
	if len(fresh) > 0 {
		v.seq = fresh[len(fresh)-1].Seq
	}
	return nil
}

func (v *revokedView) add(revocations []Revocation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range revocations {
		switch r.Kind {
		case KindAll:
			v.all = later(v.all, r.Before)
		case KindPerson:
			key := identity.PersonKey{Issuer: r.Issuer, Subject: r.Subject}
			v.persons[key] = epoch{before: later(v.persons[key].before, r.Before), expires: later(v.persons[key].expires, r.Expires)}
		case KindGrant:
			v.grants[identity.GrantID(r.Subject)] = r.Expires
		case KindClient:
			v.clients[identity.ClientID(r.Subject)] = struct{}{}
		}
	}
}

// loaded notes the time, and now and then forgets what has expired.
func (v *revokedView) loaded(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.loadedAt = now
	if now.Sub(v.swept) < time.Hour {
		return
	}
	v.swept = now
	maps.DeleteFunc(v.persons, func(_ identity.PersonKey, e epoch) bool { return now.After(e.expires) })
	maps.DeleteFunc(v.grants, func(_ identity.GrantID, expires time.Time) bool { return now.After(expires) })
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
