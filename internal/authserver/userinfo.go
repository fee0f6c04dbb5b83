package authserver

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// userinfo says who the person behind an access token is, as they are now (OpenID Connect Core §5.3). It accepts
// every access token of ours with the openid scope, whatever its audience: a client that signs people in and calls an
// endpoint has one token for both. Tokens that are good for nothing else have the issuer as their audience.
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request) error {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, tokenTypeBearer) && !strings.EqualFold(scheme, tokenTypeDPoP) || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer") // no error code for a request without a token (RFC 6750 §3.1)
		return &web.Error{Status: http.StatusUnauthorized, Code: codeInvalidRequest, Reason: "token_missing", Message: "send an access token in the Authorization header"}
	}
	refused := &web.Error{Status: http.StatusUnauthorized, Code: codeInvalidToken, Reason: "token_not_good", Message: "the access token is not good, or no longer"}
	claims, err := s.ownClaims(r.Context(), token, typAccess)
	if err != nil {
		refused.Cause = err
		return refused
	}
	if expires, ok := claims["exp"].(float64); !ok || s.Now().Unix() >= int64(expires) {
		return refused
	}
	if err := s.possession(w, r, scheme, token, claims); err != nil {
		return err
	}
	id, _ := claims.String(identity.GrantClaim)
	grant, err := s.Store.GrantByID(r.Context(), identity.GrantID(id))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refused
	case err != nil:
		return unavailable(err)
	}
	scope, _ := claims.String("scope")
	scopes := identity.ParseScopes(scope)
	if !scopes.Has(scopeOpenID) {
		return &web.Error{Status: http.StatusForbidden, Code: codeInsufficientScope, Reason: "insufficient_scope", Message: "the access token lacks the scope openid"}
	}
	person, err := s.SignIn.Person(r.Context(), grant.Person)
	switch {
	case errors.Is(err, identity.ErrGone):
		refused.Cause = err
		return refused
	case err != nil:
		return unavailable(err)
	}
	out := personClaims(person, scopes)
	out["sub"] = grant.Person.Subject
	writeJSON(w, http.StatusOK, out)
	return nil
}
