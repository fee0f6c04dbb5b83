package signin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"gatehouse/internal/identity"
)

// The addresses of the sign-in pages.
const (
	Path         = "/signin"
	PasskeyPath  = "/signin/passkey"
	ProviderPath = "/signin/provider"
	CallbackPath = "/oauth/callback/" // and the provider's name, as registered there
)

// flowField carries, sealed, why a sign-in page is shown: from its address into its form and back.
const flowField = "flow"

// home is where somebody goes who signed in for no other reason.
const home = "/account"

// Start sends the browser to the sign-in page, from where it comes back to o.ReturnTo. That path and the client's
// name travel sealed, so that nobody can make the page lead elsewhere or name another client.
func (s *Service) Start(w http.ResponseWriter, r *http.Request, o identity.SignInStart) {
	sealed, err := s.sealFlow(o)
	if err != nil {
		s.Log.ErrorContext(r.Context(), "sign-in not started", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, Path+"?"+url.Values{flowField: {sealed}}.Encode(), http.StatusSeeOther)
}

func (s *Service) sealFlow(o identity.SignInStart) (string, error) {
	if !localPath(o.ReturnTo) {
		return "", fmt.Errorf("start sign-in: %q is not a path of this site to return to", o.ReturnTo)
	}
	plain, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("start sign-in: %w", err)
	}
	return s.flows.SealString(plain, nil), nil
}

// openFlow reads what sealFlow made. Anything else is a sign-in for its own sake.
func (s *Service) openFlow(sealed string) identity.SignInStart {
	o := identity.SignInStart{ReturnTo: home}
	if sealed == "" {
		return o
	}
	plain, err := s.flows.OpenString(sealed, nil)
	if err != nil {
		return o
	}
	var opened identity.SignInStart
	if json.Unmarshal(plain, &opened) != nil || !localPath(opened.ReturnTo) {
		return o
	}
	return opened
}
