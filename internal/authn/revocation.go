package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/identity"
)

const (
	pollEvery   = time.Second
	pollTimeout = 5 * time.Second
	// Databases hand out sequence numbers before they commit, so a lower number may appear after a higher one. Each
	// poll therefore goes back to what was the newest this long ago; applying a revocation twice changes nothing.
	pollOverlap = time.Minute
)

// RevocationKind says what ended.
type RevocationKind string

// The kinds.
const (
	RevokedAll    RevocationKind = "all"    // everything of the issuer, or of all issuers when it names none
	RevokedPerson RevocationKind = "person" // Issuer and Subject
	RevokedGrant  RevocationKind = "grant"  // Subject is the grant's id
	RevokedClient RevocationKind = "client" // Subject is the client's id
)

// Revocation ends what was issued up to and including Before. Tokens carry whole seconds, so one that was issued in
// the same second is ended as well.
type Revocation struct {
	Seq     int64 // grows; zero for one that is applied before it is stored
	Kind    RevocationKind
	Issuer  identity.Issuer
	Subject string
	Before  time.Time
	Expires time.Time // by then every token that it could concern has expired
}

// RevocationOptions configures a RevocationList.
type RevocationOptions struct {
	// Poll returns the revocations with a greater sequence number, from the store that all copies share.
	Poll     func(ctx context.Context, since int64) ([]Revocation, error)
	Now      func() time.Time
	Log      *slog.Logger
	MaxStale time.Duration // how long the list is good without the store; default 5 min
}

// RevocationList holds in memory what was revoked anywhere. It implements Revocations.
type RevocationList struct {
	o       RevocationOptions
	renewed atomic.Int64 // when the store was last read, in nanoseconds; 0 is never

	mu   sync.RWMutex // guards ends
	ends map[revoked]end

	// Used by the poller only.
	newest, aged, settled int64 // the greatest sequence number now, when the minute began, and a minute before that
	minute                time.Time
	reported              bool // that the store is away
	reportedStale         bool
}

type revoked struct {
	kind    RevocationKind
	issuer  identity.Issuer
	subject string
}

type end struct{ before, expires time.Time }

// NewRevocationList checks the options. The list refuses everybody until Poll has succeeded once.
func NewRevocationList(o RevocationOptions) (*RevocationList, error) {
	if o.Poll == nil || o.Now == nil || o.Log == nil {
		return nil, errors.New("revocation list: poll, clock and log are required")
	}
	if o.MaxStale <= 0 {
		o.MaxStale = 5 * time.Minute
	}
	return &RevocationList{o: o, ends: map[revoked]end{}}, nil
}

// Run polls until ctx ends. A failed poll changes nothing but the list's age.
func (l *RevocationList) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if err := l.Refresh(ctx); ctx.Err() != nil {
			return nil
		} else {
			l.report(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Refresh polls once. It must not run beside Run.
func (l *RevocationList) Refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	asked := l.o.Now()
	list, err := l.o.Poll(ctx, l.settled)
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	l.Apply(list...)
	for _, r := range list {
		l.newest = max(l.newest, r.Seq)
	}
	if asked.Sub(l.minute) >= pollOverlap {
		l.settled, l.aged, l.minute = l.aged, l.newest, asked
		l.forget(asked)
	}
	l.renewed.Store(asked.UnixNano())
	return nil
}

// Apply takes revocations in at once: on the copy that made them, before the store has told the others.
func (l *RevocationList) Apply(list ...Revocation) {
	if len(list) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range list {
		key := revoked{kind: r.Kind, subject: r.Subject}
		if r.Kind == RevokedPerson || r.Kind == RevokedAll {
			key.issuer = r.Issuer
		}
		old := l.ends[key]
		l.ends[key] = end{before: later(old.before, r.Before), expires: later(old.expires, r.Expires)}
	}
}

// Revoked implements Revocations. A token that does not say when it was issued counts as issued before everything.
func (l *RevocationList) Revoked(key identity.PersonKey, grant identity.GrantID, client identity.ClientID, issued time.Time) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if len(l.ends) == 0 {
		return false
	}
	return l.ended(revoked{RevokedPerson, key.Issuer, key.Subject}, issued) ||
		grant != "" && l.ended(revoked{RevokedGrant, "", string(grant)}, issued) ||
		client != "" && l.ended(revoked{RevokedClient, "", string(client)}, issued) ||
		l.ended(revoked{RevokedAll, key.Issuer, ""}, issued) ||
		l.ended(revoked{RevokedAll, "", ""}, issued)
}

// ended looks one key up; mu is held.
func (l *RevocationList) ended(key revoked, issued time.Time) bool {
	e, ok := l.ends[key]
	return ok && !issued.After(e.before)
}

// Current implements Revocations.
func (l *RevocationList) Current() bool {
	renewed := l.renewed.Load()
	return renewed != 0 && l.o.Now().UnixNano()-renewed <= int64(l.o.MaxStale)
}

// Age returns how long ago the store was last read.
func (l *RevocationList) Age() time.Duration {
	return time.Duration(l.o.Now().UnixNano() - l.renewed.Load())
}

// report logs each change of state once, not each poll.
func (l *RevocationList) report(err error) {
	switch {
	case err == nil && l.reported:
		l.o.Log.Info("revocations are read again")
		l.reported, l.reportedStale = false, false
	case err != nil && !l.reported:
		l.o.Log.Warn("revocations cannot be read; what is known is used for now", "max_stale", l.o.MaxStale, "error", err)
		l.reported = true
	}
	if err != nil && !l.reportedStale && !l.Current() {
		l.o.Log.Error("revocations are too old; every request is refused until the database answers", "max_stale", l.o.MaxStale, "error", err)
		l.reportedStale = true
	}
}

// forget drops what no living token can be concerned by.
func (l *RevocationList) forget(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key, e := range l.ends {
		if now.After(e.expires) {
			delete(l.ends, key)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
