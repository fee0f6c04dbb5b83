package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/url"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// redeemCode is the authorization code grant (OAuth 2.1 §4.1.3). Taking the code burns it, so that whatever does not
// fit afterwards ends the attempt for good; taking it twice ends what the first time gave.
func (s *Server) redeemCode(req *redemption) (*issue, error) {
	text := req.form.Get("code")
	if text == "" {
		return nil, refuse(codeInvalidRequest, "code_missing", "code is missing")
	}
	ctx := req.r.Context()
	code, fresh, err := s.Store.TakeCode(ctx, hash(text))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, refuse(codeInvalidGrant, "code_unknown", "the code is unknown")
	case err != nil:
		return nil, unavailable(err)
	case !fresh:
		return nil, s.codeReused(req, &code, "authorization code")
	case !req.now.Before(code.Expires):
		return nil, refuse(codeInvalidGrant, "code_expired", "the code has expired")
	}
	if err := checkCode(&code, req.client, req.form); err != nil {
		return nil, err
	}
	if err := checkKey(code.DPoPKey, req.key, "the code"); err != nil {
		return nil, err
	}
	return s.grantFor(req, &code)
}

// grantFor makes the grant that a code stands for, when everything about the code has been checked.
func (s *Server) grantFor(req *redemption, code *store.Code) (*issue, error) {
	if err := s.checkProofNeeded(req, code.Resource); err != nil {
		return nil, err
	}
	ctx := req.r.Context()
	person, err := s.person(ctx, code.Person)
	if err != nil {
		return nil, err
	}
	grant, refresh := newGrant(code, req)
	var refreshHash []byte
	if refresh != "" {
		refreshHash = hash(refresh)
	}
	switch err := s.Store.CreateGrant(ctx, grant, refreshHash); {
	case errors.Is(err, store.ErrRevoked):
		return nil, refuse(codeInvalidGrant, "grant_revoked", "the authorization was revoked")
	case err != nil:
		return nil, unavailable(err)
	}
	return &issue{grant: grant, person: person, scopes: grant.Scopes, refresh: refresh, nonce: code.Nonce}, nil
}

// newGrant makes the grant that a code stands for, and its first refresh token if the client may have one.
func newGrant(code *store.Code, req *redemption) (grant store.Grant, refresh string) {
	lifetimes := req.client.Lifetimes
	grant = store.Grant{
		ID: code.Grant, Person: code.Person, Client: code.Client, ClientName: code.ClientName, Resource: code.Resource,
		Scopes: code.Scopes, CreatedAt: req.now, AuthTime: code.AuthTime, LastUsed: req.now, Expires: req.now.Add(lifetimes.Access),
		SessionID: code.SessionID, Methods: code.Methods, IDPSession: code.IDPSession,
	}
	if !req.client.allows(GrantRefresh) {
		return grant, ""
	}
	grant.Expires, grant.IdleTimeout = req.now.Add(lifetimes.Refresh), lifetimes.RefreshIdle
	if req.client.AuthMethod == AuthNone { // who has the refresh token of any other client must authenticate besides (RFC 9449 §5)
		grant.DPoPKey = req.key
	}
	return grant, newToken()
}

// codeReused ends everything that the code gave (RFC 6749 §4.1.2): one of the two who had it is a thief.
func (s *Server) codeReused(req *redemption, code *store.Code, what string) error {
	if err := s.Store.RevokeGrant(req.r.Context(), code.Grant, what+" used twice"); err != nil {
		return unavailable(err)
	}
	event := audit.Event{Kind: audit.KindReuse, Person: code.Person, Client: code.Client, Grant: code.Grant, Endpoint: code.Resource, Reason: what}
	if err := s.record(req.r, event); err != nil {
		return err
	}
	return refuse(codeInvalidGrant, "code_used", "the code was used before")
}

// checkCode compares the token request with what the code was issued for. OAuth 2.1 clients do not repeat the
// redirect URI; those of OAuth 2.0 do, and then it must be the same.
func checkCode(code *store.Code, client *Client, form url.Values) error {
	switch redirectURI := form.Get("redirect_uri"); {
	case code.Client != client.ID:
		return refuse(codeInvalidGrant, "code_of_other_client", "the code was issued to another client")
	case redirectURI != "" && redirectURI != code.RedirectURI:
		return refuse(codeInvalidGrant, "redirect_uri_differs", "redirect_uri is not the one of the authorization request")
	case !verifies(form.Get("code_verifier"), code.Challenge):
		return refuse(codeInvalidGrant, "pkce_mismatch", "code_verifier does not fit the code_challenge")
	}
	return checkResource(form["resource"], code.Resource)
}

// verifies checks a PKCE verifier (RFC 7636 §4.6).
func verifies(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	return isPKCEText(verifier) && subtle.ConstantTimeCompare([]byte(want), []byte(challenge)) == 1
}

// person reads who the tokens are for, as they are now.
func (s *Server) person(ctx context.Context, key identity.PersonKey) (identity.Person, error) {
	person, err := s.SignIn.Person(ctx, key)
	switch {
	case errors.Is(err, identity.ErrGone):
		e := refuse(codeInvalidGrant, "person_gone", "the person may no longer have access")
		if gone, ok := errors.AsType[*identity.Gone](err); ok {
			e.Message = gone.Error()
		}
		e.Cause = err
		return identity.Person{}, e
	case err != nil:
		return identity.Person{}, unavailable(err)
	}
	return person, nil
}
