package app

import (
	"net/http"
	"sync/atomic"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
)

// tokenCheck lets the gateway ask authn about an endpoint by its path. A path that is not in the present snapshot is
// refused like a request without a token.
type tokenCheck struct {
	*authn.Authenticator
	endpoints atomic.Pointer[map[string]*authn.Endpoint] // by path; the map is never changed
}

func newTokenCheck(a *authn.Authenticator) *tokenCheck {
	t := &tokenCheck{Authenticator: a}
	t.endpoints.Store(&map[string]*authn.Endpoint{})
	return t
}

func (t *tokenCheck) swap(endpoints []*authn.Endpoint) {
	byPath := make(map[string]*authn.Endpoint, len(endpoints))
	for _, e := range endpoints {
		byPath[e.Path] = e
	}
	t.endpoints.Store(&byPath)
}

// endpoint returns one that accepts nobody for a path that is gone.
func (t *tokenCheck) endpoint(path string) *authn.Endpoint {
	if e := (*t.endpoints.Load())[path]; e != nil {
		return e
	}
	return &authn.Endpoint{Path: path}
}

// Authenticate implements gateway.Authenticator.
func (t *tokenCheck) Authenticate(r *http.Request, path string) (*identity.Principal, error) {
	return t.Authenticator.Authenticate(r, t.endpoint(path))
}

// Recheck implements gateway.Authenticator.
func (t *tokenCheck) Recheck(r *http.Request, path string) (*identity.Principal, error) {
	return t.Authenticator.Recheck(r, t.endpoint(path))
}

// Refuse implements gateway.Authenticator.
func (t *tokenCheck) Refuse(w http.ResponseWriter, r *http.Request, path string, err error) {
	authn.WriteRefusal(w, r, t.endpoint(path), err)
}

// InsufficientScope implements gateway.Authenticator.
func (t *tokenCheck) InsufficientScope(w http.ResponseWriter, r *http.Request, path string, p *identity.Principal, needed identity.Scopes) {
	authn.WriteRefusal(w, r, t.endpoint(path), authn.NewInsufficientScope(p.Scopes, needed))
}
