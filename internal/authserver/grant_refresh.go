package authserver

import (
	"errors"
	"fmt"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
	"gatehouse/internal/store"
)

// refreshGrace is how long a rotated refresh token still yields its successor: several processes of one client race,
// and answers get lost (decision D7).
const refreshGrace = time.Minute

const successorPurpose = seal.Purpose("refresh successor")

// redeemRefreshToken is the refresh token grant (OAuth 2.1 §4.3). The token is rotated last, when nothing else can
// fail: a client that is told to come again may do so with the token that it has.
func (s *Server) redeemRefreshToken(req *redemption) (*issue, error) {
	old := req.form.Get("refresh_token")
	if old == "" {
		return nil, refuse(codeInvalidRequest, "refresh_token_missing", "refresh_token is missing")
	}
	ctx := req.r.Context()
	grant, err := s.Store.GrantByRefresh(ctx, hash(old))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refuse(codeInvalidGrant, "refresh_token_unknown", "the refresh token is unknown, expired or revoked")
	case err != nil:
		return nil, unavailable(err)
	case grant.Client != req.client.ID:
		return nil, refuse(codeInvalidGrant, "refresh_token_of_other_client", "the refresh token was issued to another client")
	}
	scopes, err := s.checkRefresh(req, &grant)
	if err != nil {
		return nil, err
	}
	person, err := s.person(ctx, grant.Person)
	if err != nil {
		return nil, s.endIfGone(req, &grant, err)
	}
	refresh, err := s.rotate(req, old)
	if err != nil {
		return nil, err
	}
	return &issue{grant: grant, person: person, scopes: scopes, refresh: refresh}, nil
}

// endIfGone ends a grant whose person may no longer have access, on record.
func (s *Server) endIfGone(req *redemption, grant *store.Grant, err error) error {
	if !errors.Is(err, identity.ErrGone) {
		return err
	}
	reason := "the person is gone"
	if gone, ok := errors.AsType[*identity.Gone](err); ok {
		reason = gone.Reason
	}
	if failed := s.Store.RevokeGrant(req.r.Context(), grant.ID, reason); failed != nil {
		return errors.Join(err, failed)
	}
	event := audit.Event{Kind: audit.KindRevoke, Person: grant.Person, Client: grant.Client, Grant: grant.ID, Endpoint: grant.Resource, Reason: reason}
	return errors.Join(err, s.record(req.r, event))
}

// checkRefresh holds the request against the grant: the same endpoint, no more scopes (RFC 6749 §6, RFC 8707 §2.2).
func (s *Server) checkRefresh(req *redemption, grant *store.Grant) (identity.Scopes, error) {
	if err := checkResource(req.form["resource"], grant.Resource); err != nil {
		return nil, err
	}
	if err := checkKey(grant.DPoPKey, req.key, "the refresh token"); err != nil {
		return nil, err
	}
	if err := s.checkProofNeeded(req, grant.Resource); err != nil {
		return nil, err
	}
	if grant.Resource != "" && !s.current.Load().hasResource(grant.Resource) {
		return nil, refuse(codeInvalidGrant, "endpoint_gone", "the endpoint that was authorized is no longer served")
	}
	granted := grant.Scopes
	if len(req.client.Scopes) > 0 { // which an administrator may have narrowed since
		granted = granted.Intersect(req.client.Scopes)
	}
	asked := identity.ParseScopes(req.form.Get("scope"))
	if len(asked) == 0 {
		return granted, nil
	}
	if !granted.HasAll(asked) {
		return nil, refuse(codeInvalidScope, "scope_too_wide", "the scope is wider than what was authorized")
	}
	return asked, nil
}

func (c *settings) hasResource(url string) bool {
	for _, r := range c.resources {
		if r.URL == url {
			return true
		}
	}
	return false
}

// rotate replaces the refresh token. The successor is kept sealed under the old token, so that all who present that
// one within the grace time get the same successor, and nobody else can read it.
func (s *Server) rotate(req *redemption, old string) (string, error) {
	next, box := newToken(), seal.UnderToken(old, successorPurpose)
	result, err := s.Store.RotateRefresh(req.r.Context(), store.Rotation{
		OldHash: hash(old), NewHash: hash(next), SealedSuccessor: box.Seal([]byte(next), nil),
		Client: req.client.ID, Now: req.now, Grace: refreshGrace,
	})
	if err != nil {
		return "", unavailable(err)
	}
	switch result.Outcome {
	case store.Rotated:
		return next, nil
	case store.Replayed:
		first, err := box.Open(result.SealedSuccessor, nil)
		if err != nil {
			return "", fmt.Errorf("open the successor of a refresh token: %w", err)
		}
		return string(first), nil
	case store.Reused:
		g := result.Grant
		event := audit.Event{Kind: audit.KindReuse, Person: g.Person, Client: g.Client, Grant: g.ID, Endpoint: g.Resource, Reason: "refresh token"}
		if err := s.record(req.r, event); err != nil {
			return "", err
		}
	}
	refused := refuse(codeInvalidGrant, "refresh_token_used", "the refresh token is no longer good")
	refused.Cause = fmt.Errorf("rotation: %s", result.Outcome)
	return "", refused
}
