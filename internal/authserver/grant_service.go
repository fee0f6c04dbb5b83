package authserver

import (
	"crypto/rand"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// serviceToken is the client credentials grant (OAuth 2.1 §4.2): a service that the administrator set up acts as itself,
// under a subject that no person can have. It gets no refresh token, since it can always come again, and no grant in the
// store; the grant's id in the token is there to be revoked.
func (s *Server) serviceToken(req *redemption) (*issue, error) {
	client, current := req.client, s.current.Load()
	if client.registered || client.AuthMethod == AuthNone { // neither can be set up so; this is what it would break
		return nil, refuse(codeUnauthorizedClient, "service_not_allowed", "only a client that an administrator set up, with a secret or keys, may act as itself")
	}
	resource, err := current.findResource(req.form["resource"])
	if err != nil {
		return nil, err
	}
	if resource == nil && client.Audience == "" {
		return nil, refuse(codeInvalidTarget, "resource_missing", "name the endpoint that the token is for in resource")
	}
	if resource != nil {
		if err := s.checkProofNeeded(req, resource.URL); err != nil {
			return nil, err
		}
	}
	scopes, err := serviceScopes(client, resource, req.form.Get("scope"))
	if err != nil {
		return nil, err
	}
	grant := store.Grant{ID: identity.GrantID(rand.Text()), Person: identity.ServiceKey(s.Issuer, client.ID), Client: client.ID, Scopes: scopes}
	if resource != nil {
		grant.Resource = resource.URL
	}
	return &issue{grant: grant, person: identity.Person{Key: grant.Person, Groups: client.Groups}, scopes: scopes}, nil
}

// serviceScopes are those that the administrator wrote down for the service and that the endpoint knows: all of them, or
// those that were asked for.
func serviceScopes(client *Client, resource *Resource, asked string) (identity.Scopes, error) {
	scopes := client.Scopes
	if resource != nil {
		scopes = scopes.Intersect(resource.Scopes)
	}
	if wanted := identity.ParseScopes(asked); len(wanted) > 0 {
		scopes = wanted.Intersect(scopes)
	}
	if len(scopes) == 0 {
		return nil, refuse(codeInvalidScope, "scope_not_allowed", "this service may have none of these scopes here")
	}
	return scopes, nil
}
