package signin

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// offer fills in what the page says about identity providers. Where a browser may go to one, the page names the client
// on whose behalf, since nobody is asked in between (security checklist 25). So it does where nobody knows the client
// yet: its name on our page must not lend it our word.
func (s *Service) offer(f *form, flow identity.SignInStart) {
	settings := s.settings.Load()
	f.Passwords = !settings.NoUsers
	if len(settings.Providers) == 0 && (flow.Client == nil || !flow.Client.Unchecked) {
		return
	}
	f.Client = flow.Client
	if to, err := url.Parse(flow.ReturnTo); err == nil && flow.Client != nil {
		f.Cancel = to.Query()
	}
	if f.Address != "" { // one of the providers is found already
		f.Passwords = false
		return
	}
	f.Providers, f.Addresses = settings.offered(), settings.takesAddresses()
	if f.Addresses && strings.Contains(flow.LoginHint, "@") {
		f.Hint = flow.LoginHint
	}
}

// The answers to an address, which say nothing about whether anybody has it.
const (
	noAddressText  = "Type your e-mail address, such as name@company.example."
	noProviderText = "No identity provider is set up for addresses of that kind. Check it, or choose another way to sign in."
)

// postProvider is the form that sends the browser to an identity provider, or finds the one for an e-mail address.
func (s *Service) postProvider(w http.ResponseWriter, r *http.Request) error {
	_, formErr := s.checkBrowserForm(w, r)
	flow := s.openFlow(r.PostForm.Get(flowField))
	address := truncate(strings.TrimSpace(r.PostForm.Get("address")), 254)
	if formErr != nil {
		return s.render(w, r, http.StatusForbidden, flow, form{Error: expiredText})
	}
	name := r.PostForm.Get("provider")
	if name == "" {
		return s.findProvider(w, r, flow, address)
	}
	p := s.settings.Load().provider(name)
	if p == nil { // gone since the page was shown
		return s.render(w, r, http.StatusNotFound, flow, form{Error: expiredText})
	}
	if ok, wait := s.leaving.Allow(network(s.ClientIP(r), 64)); !ok {
		return s.renderRefusal(w, r, flow, form{}, &SlowDown{wait})
	}
	if address != "" {
		flow.LoginHint = address
	}
	return s.leave(w, r, p, flow)
}

// findProvider shows the provider to which the address leads, and nothing else.
func (s *Service) findProvider(w http.ResponseWriter, r *http.Request, flow identity.SignInStart, address string) error {
	if !strings.Contains(address, "@") {
		return s.render(w, r, http.StatusUnprocessableEntity, flow, form{Error: noAddressText})
	}
	p := s.settings.Load().providerOf(address)
	if p == nil {
		return s.render(w, r, http.StatusUnprocessableEntity, flow, form{Error: noProviderText, Username: address})
	}
	return s.render(w, r, http.StatusOK, flow, form{Address: address, Providers: []choice{p.choice()}})
}

// away is a sign-in under way at a provider. It waits in the store, sealed, for the browser that has the cookie; the
// cookie alone could not hold it, because the client's request is part of it.
type away struct {
	Pending oauthclient.Pending  `json:"pending"`
	Flow    identity.SignInStart `json:"flow"`
	Began   time.Time            `json:"began"`
}

// leave sends the browser to the provider. The cookie is set here and nowhere else: after the person has read on whose
// behalf they go (security checklist 29).
func (s *Service) leave(w http.ResponseWriter, r *http.Request, p *Provider, flow identity.SignInStart) error {
	o := oauthclient.BeginOptions{LoginHint: flow.LoginHint}
	switch {
	case flow.Reauthenticate:
		o.Prompt = "login"
	case flow.OtherAccount:
		o.Prompt = "select_account"
	}
	to, pending, err := p.Begin(r.Context(), o)
	if err != nil {
		return s.failed(w, r, p, flow, err)
	}
	token := randomBytes()
	plain, err := json.Marshal(away{Pending: pending, Flow: flow, Began: s.Now()})
	if err != nil {
		return fmt.Errorf("leave for %s: %w", p.Name(), err)
	}
	key := tokenHash(token)
	if err := s.Store.SavePendingSignIn(r.Context(), key, s.pending.Seal(plain, key), pending.Expires); err != nil {
		return unavailable(err)
	}
	s.cookies.set(w, s.leavingCookie(pending.State), base64.RawURLEncoding.EncodeToString(token), int(oauthclient.PendingLifetime.Seconds()))
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// leavingCookie is the name of the cookie of one sign-in, so that several tabs can be on their way at once.
func (s *Service) leavingCookie(state string) string {
	return s.cookies.leaving + base64.RawURLEncoding.EncodeToString(tokenHash([]byte(state))[:9])
}

// errStray means that this browser was not sent to a provider, or too long ago, or has come back before.
var errStray = errors.New("nobody was sent away from this browser with that state")

// cameBack finds what this browser was sent away with, once.
func (s *Service) cameBack(w http.ResponseWriter, r *http.Request) (*away, error) {
	states := r.URL.Query()["state"]
	if len(states) != 1 {
		return nil, errStray
	}
	name := s.leavingCookie(states[0])
	token, ok := s.cookies.token(r, name)
	if !ok {
		return nil, errStray
	}
	s.cookies.set(w, name, "", -1)
	key := tokenHash(token)
	sealed, err := s.Store.TakePendingSignIn(r.Context(), key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errStray
	}
	if err != nil {
		return nil, err
	}
	plain, err := s.pending.Open(sealed, key)
	if err != nil { // under a master key that is gone
		return nil, errors.Join(errStray, err)
	}
	var out away
	if err := json.Unmarshal(plain, &out); err != nil {
		return nil, fmt.Errorf("read what a browser was sent away with: %w", err)
	}
	return &out, nil
}

// recordStray records a callback for which nobody here was sent away, now and then: anybody can call it.
func (s *Service) recordStray(r *http.Request, p *Provider) {
	if ok, _ := s.slowed.Allow("stray " + network(s.ClientIP(r), 48)); ok {
		e := refused(methodOIDC, string(oauthclient.ReasonPending))
		e.Provider = p.Name()
		s.record(r, e)
	}
	web.Note(r.Context(), "reason", string(oauthclient.ReasonPending))
}
