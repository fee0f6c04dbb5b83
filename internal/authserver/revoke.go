package authserver

import (
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
		return refuse(codeInvalidRequest, "token is missing")
	}
	grant, err := s.grantOf(r, token)
	switch {
	case errors.Is(err, store.ErrNotFound):
		w.WriteHeader(http.StatusOK)
		return nil
	case err != nil:
		return unavailable(err)
	case grant.Client != client.ID:
		return refuse(codeInvalidGrant, "the token was issued to another client")
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

// grantOf finds the standing grant of a refresh token or of an access token.
func (s *Server) grantOf(r *http.Request, token string) (store.Grant, error) {
	claims, err := s.ownClaims(r.Context(), token, typAccess)
	if err != nil {
		return s.Store.GrantByRefresh(r.Context(), hash(token))
	}
	id, _ := claims.String(identity.GrantClaim)
	return s.Store.GrantByID(r.Context(), identity.GrantID(id))
}
