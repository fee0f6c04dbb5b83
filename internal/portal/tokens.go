package portal

import (
	"errors"
	"fmt"
	"net/http"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/page"
)

// TokensPath is where an administrator finds out why a token is accepted or refused.
const TokensPath = "/admin/tokens"

// tokensPage is the data of the "tokens" page. What was pasted is not in it: it is never shown again.
type tokensPage struct {
	FormToken string
	Endpoints []Endpoint
	Chosen    string // path of the endpoint
	Result    *authn.Explanation
}

// isAdministrator reports whether the rule of the configuration holds for somebody. Without a rule nobody is one.
func (p *Portal) isAdministrator(person identity.Person) bool {
	return p.Administrators != nil && p.Explain != nil && p.Administrators.Mismatch(identity.ClaimsOf(p.Issuer, person)) == nil
}

// tokens shows the form, and says about a token what the endpoint would say. For everybody but administrators there is
// no such page, whatever they send. The token arrives in a form, is looked at, and forgotten.
func (p *Portal) tokens(w http.ResponseWriter, r *http.Request) error {
	signedIn, ok := p.SignIn.Current(r)
	if !ok || !p.isAdministrator(signedIn.Person) {
		http.NotFound(w, r)
		return nil
	}
	person, err := p.SignIn.Person(r.Context(), signedIn.Person.Key) // whom their identity provider may have to be asked about
	switch {
	case errors.Is(err, identity.ErrGone), err == nil && !p.isAdministrator(person):
		http.NotFound(w, r)
		return nil
	case err != nil:
		return fmt.Errorf("find out whether somebody is still an administrator: %w", err)
	}
	t := tokensPage{FormToken: p.SignIn.FormToken(signedIn)}
	for _, e := range p.Endpoints {
		if !e.Open {
			t.Endpoints = append(t.Endpoints, e)
		}
	}
	if len(t.Endpoints) == 0 {
		http.NotFound(w, r)
		return nil
	}
	t.Chosen = t.Endpoints[0].Path
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return page.Render(w, r, http.StatusOK, "tokens", t)
	case http.MethodPost:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		return &page.Failure{Status: http.StatusMethodNotAllowed, Title: "This page takes a form", Text: "Open it again and paste the token there."}
	}
	if err := p.SignIn.CheckForm(w, r, signedIn); err != nil {
		return &page.Failure{
			Status: http.StatusForbidden, Title: "Nothing was looked at", Cause: err,
			Text: "This form was not sent from the page for tokens, it is from an earlier sign-in, or what was pasted is far too long. Open the page and try again.",
		}
	}
	for _, e := range t.Endpoints {
		if e.Path == r.PostForm.Get("endpoint") {
			t.Chosen = e.Path
		}
	}
	t.Result = p.Explain(r.Context(), t.Chosen, r.PostForm.Get("token"))
	return page.Render(w, r, http.StatusOK, "tokens", t)
}
