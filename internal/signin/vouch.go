package signin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

const (
	askTimeout  = 25 * time.Second       // for one person: longer than the provider may take, shorter than
	leaseLife   = time.Minute            // how long nobody else asks about that person
	saveTimeout = 10 * time.Second       // for what the provider said, however long it took to say it
	tellTimeout = 5 * time.Second        // for telling a provider what it need not know
	leaseWait   = 3 * time.Second        // for another copy's answer, before the provider's last word has to do
	leasePoll   = 250 * time.Millisecond // how often a copy looks whether the other has it
	pauseAfter  = 10 * time.Second       // of silence: how long a provider is left alone, so that requests need not wait for it
)

// checks is what is remembered of questions to providers. It is about this copy alone; what all copies must agree on
// is in the store.
type checks struct {
	flight singleflight.Group // one question at a time about one person
	asking sync.WaitGroup     // of those that are under way
	events *web.RateLimiter   // of audit events about providers in trouble

	mu      sync.Mutex // guards what follows
	pauses  map[string]pause
	unsaved map[string]store.FederatedRenewal // by person: what the database did not take
}

// pause is a time in which a provider is not asked, and why.
type pause struct {
	until time.Time
	err   error
}

func newChecks(now func() time.Time) checks {
	return checks{
		events: web.NewRateLimiter(web.RateOptions{Every: time.Minute, Burst: 1, Now: now}),
		pauses: map[string]pause{}, unsaved: map[string]store.FederatedRenewal{},
	}
}

// vouchedFor returns the person when the provider vouches for them, and asks it when it was last asked too long ago. What
// the provider says ends the person or does not; when it says nothing, its last word holds for VouchLife, unless the
// administrator wants none to hold.
func (s *Service) vouchedFor(ctx context.Context, f store.FederatedPerson) (identity.Person, error) {
	settings := s.settings.Load()
	p := settings.provider(f.Provider)
	switch {
	case p == nil:
		return identity.Person{}, &identity.Gone{Reason: "the identity provider " + f.Provider + " is no longer configured"}
	case !p.Issues(f.Issuer):
		return identity.Person{}, &identity.Gone{Reason: "the identity provider " + f.Provider + " is another one now"}
	case f.EndedReason != "":
		return identity.Person{}, &identity.Gone{Reason: f.EndedReason}
	case s.age(f) < settings.Recheck:
		return s.personOfFederated(p, f), nil
	case len(f.Sealed) == 0:
		return s.onItsWord(p, f, nil, false)
	}
	answer, err, _ := s.checks.flight.Do(f.ID, func() (any, error) {
		s.checks.asking.Add(1)
		defer s.checks.asking.Done()
		// Whoever asked first may hang up; the answer is for all, and a rotated token must not get lost.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		return s.ask(ctx, p, f.ID, settings)
	})
	if err != nil {
		return identity.Person{}, err
	}
	return answer.(identity.Person), nil
}

func (s *Service) age(f store.FederatedPerson) time.Duration { return s.Now().Sub(f.VouchedAt) }

// onItsWord lets the provider's last word hold. Without a refresh token (silence nil) its end is the end of the person's
// grants; when the provider merely is silent, it is not.
func (s *Service) onItsWord(p *Provider, f store.FederatedPerson, silence error, endUnreachable bool) (identity.Person, error) {
	switch {
	case silence == nil && s.age(f) >= VouchLife:
		return identity.Person{}, &identity.Gone{Reason: fmt.Sprintf("the identity provider %s gives no refresh token, so that a sign-in is good for %s", f.Provider, VouchLife)}
	case silence != nil && (endUnreachable || s.age(f) >= VouchLife):
		return identity.Person{}, fmt.Errorf("ask %s whether it still vouches for the person: %w", f.Provider, silence)
	}
	return s.personOfFederated(p, f), nil
}

// ask has this copy or another one ask the provider, and judges by the answer.
func (s *Service) ask(ctx context.Context, p *Provider, id string, settings *Settings) (identity.Person, error) {
	if err := s.saveLate(ctx, id); err != nil {
		return identity.Person{}, err
	}
	patience, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	for {
		began := s.Now()
		f, taken, err := s.Store.LeaseFederated(ctx, store.FederatedLease{
			ID: id, Lease: rand.Text(), Since: began.Add(-settings.Recheck), Until: began.Add(leaseLife),
		})
		switch {
		case err != nil:
			return identity.Person{}, err
		case f.EndedReason != "":
			return identity.Person{}, &identity.Gone{Reason: f.EndedReason}
		case s.age(f) < settings.Recheck:
			return s.personOfFederated(p, f), nil
		case len(f.Sealed) == 0:
			return s.onItsWord(p, f, nil, false)
		case taken:
			answer, again, err := s.redeem(ctx, p, f, began, settings)
			if !again {
				return answer, err
			}
			continue
		}
		s.Log.DebugContext(ctx, "another copy asks the identity provider", "provider", p.Name(), "person", id)
		select {
		case <-time.After(leasePoll):
		case <-patience.Done():
			return s.onItsWord(p, f, errors.New("another copy has had no answer yet"), settings.EndUnreachable)
		}
	}
}

// redeem asks the provider, with the lease in hand, and stores what it said. It is to be done again when the person signed
// in meanwhile, which makes the answer old.
func (s *Service) redeem(ctx context.Context, p *Provider, f store.FederatedPerson, began time.Time, settings *Settings) (answer identity.Person, again bool, err error) {
	renewal := store.FederatedRenewal{ID: f.ID, Lease: f.Lease, Asked: began}
	if silence := s.paused(p); silence != nil {
		return s.silent(ctx, p, f, renewal, silence, settings)
	}
	token, err := s.refresh.Open(f.Sealed, []byte(f.ID))
	if err != nil { // then there is none
		s.Log.ErrorContext(ctx, "refresh token of an identity provider cannot be opened; was a master key removed too early?", "provider", p.Name(), "person", f.ID, "error", err)
		return s.silent(ctx, p, f, renewal, nil, settings)
	}
	result, outcome, err := p.Refresh(ctx, secret.New(string(token)), oauthclient.RefreshOptions{
		Person: identity.PersonKey{Issuer: f.Issuer, Subject: f.Subject}, Known: f.Known,
	})
	if result != nil && !result.RefreshToken.IsZero() {
		renewal.Sealed = s.refresh.Seal([]byte(result.RefreshToken.Reveal()), []byte(f.ID))
	} else if !s.refresh.Current(f.Sealed, []byte(f.ID)) {
		renewal.Sealed = s.refresh.Seal(token, []byte(f.ID))
	}
	if outcome == oauthclient.OutcomeRenewed && result.IDTokenClaims != nil {
		profile, problem := profileOf(p, result)
		if problem != nil { // what was known of the person is no longer so, and what is so cannot be kept
			s.misconfigured(ctx, p, problem)
			if again, err := s.save(ctx, renewal); again || err != nil {
				return identity.Person{}, again, err
			}
			return identity.Person{}, false, problem
		}
		profile.FederatedKey = f.FederatedKey
		keepNames(&profile, f)
		renewal.Profile = &profile
	}
	switch outcome {
	case oauthclient.OutcomeRenewed:
		return s.renewed(ctx, p, f, renewal)
	case oauthclient.OutcomeEnded:
		return s.ended(ctx, p, f, err)
	case oauthclient.OutcomeMisconfigured:
		s.misconfigured(ctx, p, err)
	}
	if outcome == oauthclient.OutcomeUnknown || oauthclient.ReasonOf(err) == oauthclient.ReasonClientRefused { // nobody else fares better
		s.leaveAlone(p, err)
	}
	return s.silent(ctx, p, f, renewal, err, settings)
}

// keepNames keeps the names of a person of whom the provider says nothing new: unlike groups they open no door.
func keepNames(next *store.FederatedPerson, old store.FederatedPerson) {
	if next.Username == "" {
		next.Username = old.Username
	}
	if next.Name == "" {
		next.Name = old.Name
	}
}

// renewed stores that the provider vouches for the person.
func (s *Service) renewed(ctx context.Context, p *Provider, f store.FederatedPerson, renewal store.FederatedRenewal) (identity.Person, bool, error) {
	renewal.Vouched = true
	switch again, err := s.save(ctx, renewal); {
	case again || err != nil:
		return identity.Person{}, again, err
	}
	if renewal.Profile != nil {
		renewal.Profile.ID = f.ID
		f = *renewal.Profile
	}
	return s.personOfFederated(p, f), false, nil
}

// ended shuts the person out. When a refresh token may have got lost on the way, the provider's no may be our own doing:
// the person has to sign in again all the same, and operators read why.
func (s *Service) ended(ctx context.Context, p *Provider, f store.FederatedPerson, cause error) (identity.Person, bool, error) {
	reason := fmt.Sprintf("the identity provider %s no longer vouches for the person (%s)", p.Name(), oauthclient.ReasonOf(cause))
	if f.Interrupted {
		reason = fmt.Sprintf("the refresh token of the identity provider %s was lost when a copy of Gatehouse stopped while asking: sign in again", p.Name())
	}
	ctx, cancel := saving(ctx)
	defer cancel()
	ended, err := s.Store.EndFederated(ctx, f.ID, f.Lease, reason)
	if err != nil || !ended {
		return identity.Person{}, err == nil, err
	}
	s.Log.WarnContext(ctx, "person ended by their identity provider", "provider", p.Name(), "person", f.ID, "interrupted", f.Interrupted, "error", cause)
	s.note(ctx, audit.Event{Kind: audit.KindPersonEnded, Person: s.key(f.ID), Provider: p.Name(), Name: f.Subject, Decision: audit.Deny, Reason: reason})
	return identity.Person{}, false, &identity.Gone{Reason: reason}
}

// misconfigured is loud: the provider does not accept Gatehouse itself, and nobody can be checked until somebody acts.
func (s *Service) misconfigured(ctx context.Context, p *Provider, err error) {
	s.Log.ErrorContext(ctx, "identity provider does not accept Gatehouse: people cannot be checked until this is mended", "provider", p.Name(), "error", err)
	if ok, _ := s.checks.events.Allow(p.Name()); ok {
		s.note(ctx, audit.Event{Kind: audit.KindProviderTrouble, Provider: p.Name(), Reason: string(oauthclient.ReasonOf(err))})
	}
}

// silent gives the lease back, with a rotated token if one came, and goes by the provider's last word. Without a reason for
// the silence the provider cannot be asked ever again.
func (s *Service) silent(ctx context.Context, p *Provider, f store.FederatedPerson, renewal store.FederatedRenewal, silence error, settings *Settings) (identity.Person, bool, error) {
	if again, err := s.save(ctx, renewal); again || err != nil {
		return identity.Person{}, again, err
	}
	answer, err := s.onItsWord(p, f, silence, settings.EndUnreachable)
	return answer, false, err
}

// save stores a renewal. What the database does not take now is kept for the next question about the person: the
// provider may accept no other token from now on.
func (s *Service) save(ctx context.Context, renewal store.FederatedRenewal) (again bool, err error) {
	ctx, cancel := saving(ctx)
	defer cancel()
	err = s.Store.FinishLease(ctx, renewal)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	if err != nil && renewal.Sealed != nil {
		s.checks.mu.Lock()
		defer s.checks.mu.Unlock()
		s.checks.unsaved[renewal.ID] = renewal
		s.Log.ErrorContext(ctx, "refresh token of an identity provider not stored yet", "person", renewal.ID, "error", err)
	}
	return false, err
}

// saveLate tries again what save could not.
func (s *Service) saveLate(ctx context.Context, id string) error {
	s.checks.mu.Lock()
	renewal, found := s.checks.unsaved[id]
	s.checks.mu.Unlock()
	if !found {
		return nil
	}
	err := s.Store.FinishLease(ctx, renewal)
	if err != nil && !errors.Is(err, store.ErrNotFound) { // whoever has the lease now knows better
		return err
	}
	s.checks.mu.Lock()
	defer s.checks.mu.Unlock()
	delete(s.checks.unsaved, id)
	return nil
}

// Close waits, as long as ctx lasts, for questions to providers that are under way, and stores what the database did not take
// before: their new refresh tokens must not get lost. It is called when no request comes in any more.
func (s *Service) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.checks.asking.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("wait for identity providers: %w", ctx.Err())
	}
	s.checks.mu.Lock()
	ids := slices.Collect(maps.Keys(s.checks.unsaved))
	s.checks.mu.Unlock()
	var all error
	for _, id := range ids {
		all = errors.Join(all, s.saveLate(ctx, id))
	}
	return all
}

// saving gives a write its own time: what the provider said cannot be asked for again.
func saving(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
}

// leaveAlone spares everybody the wait for a provider that has just not answered.
func (s *Service) leaveAlone(p *Provider, err error) {
	s.checks.mu.Lock()
	defer s.checks.mu.Unlock()
	if s.checks.pauses[p.Name()].err == nil || !s.Now().Before(s.checks.pauses[p.Name()].until) {
		s.Log.Warn("identity provider is not asked for a while", "provider", p.Name(), "for", pauseAfter, "error", err)
	}
	s.checks.pauses[p.Name()] = pause{s.Now().Add(pauseAfter), err}
}

// paused returns why a provider is not asked just now, or nil.
func (s *Service) paused(p *Provider) error {
	s.checks.mu.Lock()
	defer s.checks.mu.Unlock()
	if pause := s.checks.pauses[p.Name()]; s.Now().Before(pause.until) {
		return pause.err
	}
	return nil
}

// forget drops the right to ask the provider about a person, and tells it so (RFC 7009). That it may not hear is no harm:
// the token is gone here.
func (s *Service) forget(ctx context.Context, id string) error {
	f, err := s.Store.FederatedPerson(ctx, id)
	if err != nil {
		return err
	}
	if err := s.Store.ForgetFederated(ctx, id); err != nil {
		return err
	}
	p := s.settings.Load().provider(f.Provider)
	token, err := s.refresh.Open(f.Sealed, []byte(f.ID))
	if p == nil || err != nil {
		return nil // there is nothing to tell, or nobody
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	if err := p.Revoke(ctx, secret.New(string(token))); err != nil {
		s.Log.InfoContext(ctx, "refresh token not revoked at the identity provider", "provider", p.Name(), "error", err)
	}
	return nil
}

// note records an event that no request of the person's own browser brought about.
func (s *Service) note(ctx context.Context, e audit.Event) {
	e.Time, e.RequestID = s.Now(), web.RequestID(ctx)
	if err := s.Audit.Record(ctx, e); err != nil {
		web.Note(ctx, "audit_error", err.Error())
	}
}
