package upauth

import (
	"context"
	"errors"
	"net/url"
	"time"

	"gatehouse/internal/identity"
)

const (
	renewWait    = time.Second      // how long a call waits for the next token while the one at hand still works
	failurePause = 5 * time.Second  // after a failure: how long it answers for those who ask meanwhile
	refusalPause = 30 * time.Second // after a target refused a token that was made because it refused the one before
)

// need says why a token is wanted.
type need struct {
	refused *token          // by the target: any other will do
	named   string          // resource_metadata of its challenge
	scopes  identity.Scopes // of its challenge
	fresh   bool            // there was a challenge: look again where tokens come from
	more    bool            // the scopes were not enough
}

// current returns the token to send now; nil when there is none yet, and none can be had without being asked for one.
func (s *Source) current(ctx context.Context) (*token, error) {
	s.mu.Lock()
	t := s.token
	s.mu.Unlock()
	if t != nil && !t.due(s.o.Now()) {
		return t, nil
	}
	if t == nil && !s.o.Grant.alone() {
		return nil, nil
	}
	if t != nil && !t.expired(s.o.Now()) {
		return s.renewInTime(ctx, t)
	}
	t, err := s.renew(ctx, need{})
	if errors.Is(err, errNowhere) && t == nil {
		return nil, nil // the target's challenge may tell
	}
	return t, err
}

// renewInTime renews a token that still works, and goes on with it when that takes too long.
func (s *Source) renewInTime(ctx context.Context, have *token) (*token, error) {
	waiting, cancel := context.WithTimeout(ctx, renewWait)
	defer cancel()
	t, err := s.renew(waiting, need{})
	if err != nil && ctx.Err() == nil {
		return have, nil // what went wrong is in the log, or will be
	}
	return t, err
}

// renew gets a new token, once for all who want one. The work goes on when the caller gives up, since others may wait.
func (s *Source) renew(ctx context.Context, n need) (*token, error) {
	done := s.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Grant.patience())
		defer cancel()
		return s.renewNow(ctx, n)
	})
	select {
	case r := <-done:
		t, _ := r.Val.(*token)
		return t, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Source) renewNow(ctx context.Context, n need) (*token, error) {
	now := s.o.Now()
	s.mu.Lock()
	have, asked, known, failed := s.token, s.asked, s.known, s.failed
	if !now.Before(s.pause) {
		failed = nil
	}
	s.mu.Unlock()
	good := have != nil && have != n.refused && !have.expired(now)
	switch {
	case good && !have.due(now) && (!n.more || asked.HasAll(n.scopes)):
		return have, nil // somebody else was first
	case failed != nil && good && !n.more:
		return have, nil
	case failed != nil:
		return nil, failed
	}
	if n.fresh || known != nil && now.Sub(known.found) > placeFresh {
		known = nil
	}
	t, scopes, err := s.obtain(ctx, known, have, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !errors.Is(err, errNowhere) {
			s.failed, s.pause = err, s.o.Now().Add(failurePause)
		}
		if good && !n.more {
			s.o.Log.Warn("token of the target not renewed; the one at hand still works", "target", s.o.Target, "error", err)
			return have, nil
		}
		return nil, err
	}
	t.renewal = n.refused != nil
	s.token, s.asked, s.failed = t, scopes, nil
	s.o.Log.Info("token of the target obtained", "target", s.o.Target, "issuer", string(t.issuer), "scopes", scopes.String(), "expires", t.expires)
	return t, nil
}

func (t *token) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// obtain goes the whole way to a token, by the refresh token when there is one of the same server.
func (s *Source) obtain(ctx context.Context, p *place, have *token, n need) (*token, identity.Scopes, error) {
	if p == nil {
		var err error
		if p, err = s.locate(ctx, n.named); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		s.known = p
		s.mu.Unlock()
	}
	if !can(p.server.Grants, s.o.Grant.grantType(), s.o.Grant.grantType()) {
		return nil, nil, s.fail("choose the grant", errors.New("the authorization server does not list "+s.o.Grant.grantType()), "")
	}
	c, err := s.clientAt(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	scopes := s.choose(p, n)
	if have != nil && !have.refresh.IsZero() && have.issuer == p.server.Issuer && !n.more && !s.o.Grant.alone() {
		t, err := s.redeem(ctx, p, c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {have.refresh.Reveal()}, "resource": {p.resource}})
		if err == nil {
			if t.refresh.IsZero() {
				t.refresh = have.refresh
			}
			return t, scopes, nil
		}
		if codeOf(err) == "" { // not the server's word: the grant may well live
			return nil, nil, err
		}
		s.o.Log.Info("refresh token of the target refused", "target", s.o.Target, "error", err)
	}
	form, err := s.o.Grant.request(ctx, s, p, c, scopes)
	if err != nil {
		return nil, nil, err
	}
	form.Set("grant_type", s.o.Grant.grantType())
	form.Set("resource", p.resource)
	if len(scopes) > 0 && s.o.Grant.alone() {
		form.Set("scope", scopes.String())
	}
	t, err := s.redeem(ctx, p, c, form)
	if codeOf(err) == "invalid_client" {
		s.forget(p.server.Issuer)
	}
	return t, scopes, err
}

// choose says what to ask for: what the administrator wrote; else what was asked for before and what the challenge names;
// else what the target lists; else nothing (MCP basic/authorization, scope selection). A person's token is to last.
func (s *Source) choose(p *place, n need) identity.Scopes {
	const offline = "offline_access"
	if len(s.o.Scopes) > 0 {
		return s.o.Scopes
	}
	s.mu.Lock()
	scopes := s.asked
	s.mu.Unlock()
	if len(n.scopes) > 0 {
		scopes = scopes.Union(n.scopes)
	}
	if len(scopes) == 0 {
		scopes = p.scopes
	}
	if len(scopes) > 0 && !s.o.Grant.alone() && can(p.server.Scopes, "none", offline) {
		scopes = scopes.Union(identity.Scopes{offline})
	}
	return scopes[:min(len(scopes), maxScopes)]
}
