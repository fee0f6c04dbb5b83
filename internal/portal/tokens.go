package portal

import (
	"net/http"

	"gatehouse/internal/authn"
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

// tokens shows the form, and says about a token what the endpoint would say. For everybody but administrators there is
// no such page, whatever they send. The token arrives in a form, is looked at, and forgotten.
func (p *Portal) tokens(w http.ResponseWriter, r *http.Request) error {
	signedIn, err := p.administrator(w, r)
	if signedIn == nil {
		return err
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
