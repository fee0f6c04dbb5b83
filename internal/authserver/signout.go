package authserver

import (
	"encoding/base64"
	"net/http"
	"net/url"

	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/web"
)

// signOutPage is the data of templates/signout.html.
type signOutPage struct {
	Person   string
	Provider string // the identity provider at which the person signed in
	Token    string

	ClientID, RedirectURI, State string // as they came, for where to go afterwards
}

// signOut ends the browser's session (OpenID Connect RP-Initiated Logout 1.0). A client that proves with an ID token
// that it knows the session gets it ended at once, everybody else's visitor is asked.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	params, err := readParams(w, r)
	if err != nil {
		return err
	}
	if err := checkRepeated(params); err != nil {
		return err
	}
	if r.Method == http.MethodPost && params.Get("token") == "" {
		// A form of a client, from another site: without the cookie, which the same request by GET has.
		w.Header().Set("Location", "/signout?"+params.Encode())
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	hint, _ := s.ownClaims(r.Context(), params.Get("id_token_hint"), typID) // no hint and a bad one are alike
	who, ok := s.SignIn.Current(r)
	switch {
	case !ok:
		return s.signedOut(w, r, hint, params, page.SignedOut("", ""))
	case r.Method == http.MethodPost:
		if err := s.checkSignOutForm(r, who, params); err != nil {
			return err
		}
	case !isSession(hint, who):
		return page.Render(w, r, http.StatusOK, "signout", signOutPage{
			Person: who.Person.Label(), Provider: who.ProviderLabel, Token: base64.RawURLEncoding.EncodeToString(s.signOutForms.Sum([]byte(who.SessionID))),
			ClientID: clientOf(hint, params), RedirectURI: params.Get("post_logout_redirect_uri"), State: params.Get("state"),
		})
	case r.Method == http.MethodHead:
		return nil
	}
	elsewhere, err := s.SignIn.End(w, r)
	if err != nil {
		return unavailable(err)
	}
	if params.Get("at") == "provider" && elsewhere != "" {
		w.Header().Set("Location", elsewhere)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	return s.signedOut(w, r, hint, params, page.SignedOut(who.ProviderLabel, elsewhere))
}

func (s *Server) checkSignOutForm(r *http.Request, who *identity.SignedIn, form url.Values) error {
	if err := s.checkSameOrigin(r); err != nil {
		return err
	}
	tag, err := decodeExact(form.Get("token"))
	if err != nil || !s.signOutForms.Check([]byte(who.SessionID), tag) {
		return &web.Error{Status: http.StatusForbidden, Code: codeInvalidRequest, Reason: "form_foreign", Message: "this form belongs to another sign-in; try again"}
	}
	return nil
}

// isSession reports whether an ID token was issued in the session that is to be ended.
func isSession(hint identity.Claims, who *identity.SignedIn) bool {
	sub, _ := hint.String("sub")
	sid, _ := hint.String("sid")
	return sub != "" && sub == who.Person.Key.Subject && sid != "" && sid == who.SessionID
}

func clientOf(hint identity.Claims, params url.Values) string {
	if aud, ok := hint.String("aud"); ok {
		return aud
	}
	return params.Get("client_id")
}

// signedOut goes where the client asked to go, if that is registered, or says that it is done.
func (s *Server) signedOut(w http.ResponseWriter, r *http.Request, hint identity.Claims, params url.Values, done page.Message) error {
	target := params.Get("post_logout_redirect_uri")
	client := s.current.Load().clients[identity.ClientID(clientOf(hint, params))]
	if target == "" || client == nil || !matchRedirect(client.PostLogoutRedirectURIs, target) {
		return page.Render(w, r, http.StatusOK, "message", done)
	}
	if state := params.Get("state"); state != "" {
		target = withParams(target, url.Values{"state": {state}})
	}
	w.Header().Set("Location", target)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
