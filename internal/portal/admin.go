package portal

import (
	"errors"
	"fmt"
	"net/http"

	"gatehouse/internal/identity"
)

// isAdministrator reports whether the rule of the configuration holds for somebody. Without a rule nobody is one.
func (p *Portal) isAdministrator(person identity.Person) bool {
	return p.Administrators != nil && p.Administrators.Mismatch(identity.ClaimsOf(p.Issuer, person)) == nil
}

// administrator returns who asks, when that is an administrator; nil otherwise, and then it has answered that there is no
// such page.
func (p *Portal) administrator(w http.ResponseWriter, r *http.Request) (*identity.SignedIn, error) {
	signedIn, ok := p.SignIn.Current(r)
	if !ok || !p.isAdministrator(signedIn.Person) {
		http.NotFound(w, r)
		return nil, nil
	}
	person, err := p.SignIn.Person(r.Context(), signedIn.Person.Key) // whom their identity provider may have to be asked about
	switch {
	case errors.Is(err, identity.ErrGone), err == nil && !p.isAdministrator(person):
		http.NotFound(w, r)
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("find out whether somebody is still an administrator: %w", err)
	}
	return signedIn, nil
}
