package app

import (
	"net/http"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
)

// tokenCheck is authn as one endpoint of the gateway sees it.
type tokenCheck struct {
	authn    *authn.Authenticator
	endpoint *authn.Endpoint
}

// Authenticate implements gateway.Authenticator.
func (t tokenCheck) Authenticate(r *http.Request) (*identity.Principal, error) {
	return t.authn.Authenticate(r, t.endpoint)
}

// Recheck implements gateway.Authenticator.
func (t tokenCheck) Recheck(r *http.Request) (*identity.Principal, error) {
	return t.authn.Recheck(r, t.endpoint)
}

// Refuse implements gateway.Authenticator.
func (t tokenCheck) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	authn.WriteRefusal(w, r, t.endpoint, err)
}

// InsufficientScope implements gateway.Authenticator.
func (t tokenCheck) InsufficientScope(w http.ResponseWriter, r *http.Request, p *identity.Principal, needed identity.Scopes) {
	authn.WriteRefusal(w, r, t.endpoint, authn.NewInsufficientScope(p.Scopes, needed))
}
