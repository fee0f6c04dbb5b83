package authserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/store"
)

// The typ headers of our tokens (RFC 9068 §2.1). An ID token is a plain JWT, so that neither passes for the other.
const (
	typAccess = "at+jwt"
	typID     = "JWT"
)

// tokenResponse is the answer of the token endpoint (OAuth 2.1 §3.2.3, OpenID Connect Core §3.1.3.3).
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Scope        string `json:"scope"`
}

// earlier is by how much clients are told that an access token ends before it does. A request may be under way at the end, and
// some clients send the person to sign in again when a token is refused that was good by their own clock.
const earlier = 10 * time.Second

// mint signs the tokens. No person gets the subject of a service, whatever a sign-in back end calls people, and no
// service that of a person.
func (s *Server) mint(req *redemption, what *issue) (*tokenResponse, error) {
	if key := what.grant.Person; key.IsService() != req.client.allows(GrantClientCredentials) {
		return nil, fmt.Errorf("mint tokens for %q at %q: the subject does not go with the grant", key.Subject, key.Issuer)
	}
	if err := s.checkProofNeeded(req, what.grant.Resource); err != nil {
		return nil, err
	}
	access, err := s.Signing.Sign(typAccess, s.accessClaims(req, what))
	if err != nil {
		return nil, fmt.Errorf("sign access token: %w", err)
	}
	out := &tokenResponse{
		AccessToken: access, TokenType: tokenTypeBearer, ExpiresIn: int64((req.client.Lifetimes.Access - earlier) / time.Second),
		RefreshToken: what.refresh, Scope: what.scopes.String(),
	}
	if req.key != "" {
		out.TokenType = tokenTypeDPoP
	}
	if what.scopes.Has(scopeOpenID) {
		if out.IDToken, err = s.Signing.Sign(typID, s.idClaims(req, what, access)); err != nil {
			return nil, fmt.Errorf("sign ID token: %w", err)
		}
	}
	return out, nil
}

// accessClaims are the claims of a JWT access token (RFC 9068 §2.2). What an administrator added to the person yields
// to what the person's record says, that to what was added to the client, and everything to the reserved claims.
func (s *Server) accessClaims(req *redemption, what *issue) map[string]any {
	claims := personClaims(what.person, what.scopes)
	setText(claims, "preferred_username", what.person.Username)
	if len(what.person.Groups) > 0 {
		claims["groups"] = what.person.Groups
	}
	maps.Copy(claims, req.client.AccessTokenClaims)
	maps.Copy(claims, map[string]any{
		"iss": s.Issuer, "sub": what.grant.Person.Subject, "aud": s.audience(req.client, &what.grant),
		"exp": req.now.Add(req.client.Lifetimes.Access).Unix(), "iat": req.now.Unix(), "jti": rand.Text(),
		"client_id": req.client.ID, "scope": what.scopes.String(), identity.GrantClaim: what.grant.ID,
	})
	setText(claims, identity.ProviderClaim, what.person.Provider)
	if what.person.GroupsUnknown { // as an issuer says it, so that a rule on groups knows that it knows nothing (OpenID Connect Core §5.6.2)
		claims["_claim_names"] = map[string]any{"groups": "idp"}
	}
	bound := map[string]any{}
	setText(bound, "jkt", req.key)              // RFC 9449 §6.1
	setText(bound, "x5t#S256", req.certificate) // RFC 8705 §3.1
	if len(bound) > 0 {
		claims["cnf"] = bound
	}
	if !what.grant.AuthTime.IsZero() { // nobody signed in for a service
		claims["auth_time"] = what.grant.AuthTime.Unix()
	}
	return claims
}

// audience is where an access token is accepted: what the administrator set for the client, else the endpoint, else
// only our own userinfo.
func (s *Server) audience(client *Client, grant *store.Grant) string {
	switch {
	case client.Audience != "":
		return client.Audience
	case grant.Resource != "":
		return grant.Resource
	}
	return string(s.Issuer)
}

// idClaims are the claims of an ID token (OpenID Connect Core §2, §3.1.3.6).
func (s *Server) idClaims(req *redemption, what *issue, access string) map[string]any {
	claims := personClaims(what.person, what.scopes)
	half := sha256.Sum256([]byte(access))
	maps.Copy(claims, map[string]any{
		"iss": s.Issuer, "sub": what.grant.Person.Subject, "aud": req.client.ID, "azp": req.client.ID,
		"exp": req.now.Add(req.client.Lifetimes.ID).Unix(), "iat": req.now.Unix(), "auth_time": what.grant.AuthTime.Unix(),
		"at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	})
	setText(claims, "nonce", what.nonce)
	setText(claims, "sid", what.grant.SessionID)
	if len(what.grant.Methods) > 0 {
		claims["amr"] = what.grant.Methods
	}
	return claims
}

// personClaims are what the scopes let a client know about a person (OpenID Connect Core §5.4), and the claims that an
// administrator gave to the person, which go to every client.
func personClaims(person identity.Person, scopes identity.Scopes) map[string]any {
	claims := map[string]any{}
	for name, value := range person.Claims {
		if !identity.ReservedClaim(name) {
			claims[name] = value
		}
	}
	if scopes.Has(scopeProfile) {
		setText(claims, "name", person.Name)
		setText(claims, "preferred_username", person.Username)
		if len(person.Groups) > 0 {
			claims["groups"] = person.Groups
		}
	}
	if scopes.Has(scopeEmail) && person.Email != "" {
		claims["email"], claims["email_verified"] = person.Email, person.EmailVerified
	}
	return claims
}

func setText(claims map[string]any, name, value string) {
	if value != "" {
		claims[name] = value
	}
}

var errToken = errors.New("not a token that was issued here")

// ownClaims returns the claims of a token that was signed here, whether or not it has expired.
func (s *Server) ownClaims(ctx context.Context, token, typ string) (identity.Claims, error) {
	header, claims, err := jose.Verify(ctx, token, s.Signing, []string{jose.SigningAlg})
	if err != nil {
		return nil, err
	}
	if iss, _ := claims.String("iss"); header.Typ != typ || iss != string(s.Issuer) {
		return nil, errToken
	}
	return claims, nil
}
