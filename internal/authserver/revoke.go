package authserver

import (
	"context"
	"errors"
	"net/http"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// revoke is token revocation (RFC 7009). Either token ends its whole grant, on every copy. A token that is unknown,
// or ended before, is answered like one that was ended now.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := checkRepeated(form); err != nil {
		return err
	}
	client, err := s.authenticate(r, form)
	if err != nil {
		return err
	}
	token := form.Get("token")
	if token == "" {
		return refuse(codeInvalidRequest, "token_parameter_missing", "token is missing")
	}
	if done, err := s.revokeService(r, client, token); done || err != nil {
		return err
	}
	grant, err := s.grantOf(r.Context(), token)
	switch {
	case errors.Is(err, store.ErrNotFound):
		w.WriteHeader(http.StatusOK)
		return nil
	case err != nil:
		return unavailable(err)
	case grant.Client != client.ID:
		return refuse(codeInvalidGrant, "token_of_other_client", "the token was issued to another client")
	}
	if err := s.Store.RevokeGrant(r.Context(), grant.ID, "revoked by the client"); err != nil {
		return unavailable(err)
	}
	if err := s.record(r, audit.Event{Kind: audit.KindRevoke, Person: grant.Person, Client: client.ID, Grant: grant.ID, Endpoint: grant.Resource}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeService ends the token of a service, whose grant is nowhere but in the token. An empty answer is the right one.
func (s *Server) revokeService(r *http.Request, client *Client, token string) (done bool, err error) {
	if !client.allows(GrantClientCredentials) {
		return false, nil
	}
	var owner, id string
	if claims, err := s.ownClaims(r.Context(), token, typAccess); err == nil {
		owner, _ = claims.String("client_id")
		id, _ = claims.String(identity.GrantClaim)
	}
	switch {
	case id == "": // a service has no other tokens (RFC 7009 §2.2)
		return true, nil
	case owner != string(client.ID):
		return true, refuse(codeInvalidGrant, "token_of_other_client", "the token was issued to another client")
	}
	if err := s.Store.RevokeGrant(r.Context(), identity.GrantID(id), "revoked by the client"); err != nil {
		return true, unavailable(err)
	}
	key := identity.ServiceKey(s.Issuer, client.ID)
	return true, s.record(r, audit.Event{Kind: audit.KindRevoke, Person: key, Client: client.ID, Grant: identity.GrantID(id)})
}

// grantOf finds the standing grant of a refresh token or of an access token.
func (s *Server) grantOf(ctx context.Context, token string) (store.Grant, error) {
	claims, err := s.ownClaims(ctx, token, typAccess)
	if err != nil {
		return s.Store.GrantByRefresh(ctx, hash(token))
	}
	id, _ := claims.String(identity.GrantClaim)
	return s.Store.GrantByID(ctx, identity.GrantID(id))
}
