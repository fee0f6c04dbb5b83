package signin

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// methodOIDC is the method of a sign-in at a provider in the audit records.
const methodOIDC = "oidc"

// authTimeSkew is how far the clocks of Gatehouse and of a provider may be apart.
const authTimeSkew = time.Minute

// callback is where a provider sends the browser back to (OpenID Connect Core §3.1.2.5). What came back counts only in
// the browser that was sent there, once, and only from the provider whose callback this is (security checklist 29, 34).
func (s *Service) callback(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address holds the code
	p := s.settings.Load().provider(r.PathValue("provider"))
	if p == nil {
		return &page.Failure{Status: http.StatusNotFound, Title: "There is no such identity provider", Text: "It may have been removed a moment ago. Start again from your application."}
	}
	if r.Method == http.MethodHead { // no browser that comes back; what it was sent away with waits for one
		return nil
	}
	back, err := s.cameBack(w, r)
	if errors.Is(err, errStray) {
		s.recordStray(r, p)
		return page.Render(w, r, http.StatusBadRequest, "message", page.Message{Title: "This sign-in was not begun here", Text: strayText})
	}
	if err != nil {
		return unavailable(err)
	}
	result, err := p.Finish(r.Context(), back.Pending, r.URL.Query())
	if err != nil {
		return s.failed(w, r, p, back.Flow, err)
	}
	if back.Flow.Reauthenticate && !result.AuthTime.IsZero() && result.AuthTime.Before(back.Began.Add(-authTimeSkew)) {
		return s.failed(w, r, p, back.Flow, &oauthclient.Error{
			Kind: oauthclient.SignInNeeded, Reason: oauthclient.ReasonTokenAuthTime, Provider: p.Name(), Detail: "the provider was asked for a new sign-in and let the old one count",
		})
	}
	if back.Flow.Reauthenticate && result.AuthTime.Before(back.Began) { // within the skew: it was anew
		result.AuthTime = back.Began
	}
	return s.arrive(w, r, p, back.Flow, result)
}

// strayText leaves open whether the browser took too long, came twice, or was never sent.
const strayText = "It took longer than ten minutes, was finished before, or belongs to another browser. To be on the safe side nothing was done. Start again from your application."

// arrive opens the browser session of a person for whom the provider vouches.
func (s *Service) arrive(w http.ResponseWriter, r *http.Request, p *Provider, flow identity.SignInStart, result *oauthclient.Result) error {
	if err := s.Audit.Ready(r.Context()); err != nil {
		return unavailable(err)
	}
	person, err := profileOf(p, result)
	if err != nil {
		return s.failed(w, r, p, flow, err)
	}
	if person.GroupsUnknown {
		s.Log.WarnContext(r.Context(), "groups unknown: rules on groups will deny", "provider", p.Name(), "hint", p.Preset().GroupsHint)
	}
	person.FederatedKey = store.FederatedKey{Provider: p.Name(), Issuer: result.Person.Key.Issuer, Subject: result.Person.Key.Subject}
	if person.ID, err = s.Store.FederatedID(r.Context(), person.FederatedKey); err != nil {
		return unavailable(err)
	}
	if !result.RefreshToken.IsZero() {
		person.Sealed = s.refresh.Seal([]byte(result.RefreshToken.Reveal()), []byte(person.ID))
	} else if p.AsksForRefresh() {
		s.Log.WarnContext(r.Context(), "identity provider gave no refresh token: clients have to sign in again", "provider", p.Name(), "after", VouchLife)
	}
	if err := s.endStored(r); err != nil {
		return unavailable(err)
	}
	b, cookie := s.federatedSession(r, result, person)
	err = s.Store.SignInFederated(r.Context(), person, b)
	if errors.Is(err, identity.ErrGone) { // signed out at the provider in this very moment
		return s.failed(w, r, p, flow, &oauthclient.Error{Kind: oauthclient.SignInNeeded, Reason: oauthclient.ReasonErrorResponse, Provider: p.Name(), Cause: err,
			Detail: "the person was signed out there meanwhile"})
	}
	if err != nil {
		return unavailable(err)
	}
	s.cookies.set(w, s.cookies.session, cookie, int(b.Expires.Sub(b.CreatedAt).Seconds()))
	s.record(r, audit.Event{
		Kind: audit.KindSignIn, Person: s.key(person.ID), Method: methodOIDC, Provider: p.Name(), Name: person.Subject, Decision: audit.Allow,
	})
	http.Redirect(w, r, flow.ReturnTo, http.StatusSeeOther)
	return nil
}

// federatedSession makes the session. Without a way to ask the provider again it lasts no longer than the provider's word.
func (s *Service) federatedSession(r *http.Request, result *oauthclient.Result, person store.FederatedPerson) (store.BrowserSession, string) {
	now := s.Now()
	b, cookie := s.newSession(r, now)
	b.UserID, b.Provider, b.Methods = person.ID, person.Provider, methodsAt(result.Methods)
	if len(result.SessionID) <= 255 && printable(result.SessionID) {
		b.IDPSession = result.SessionID
	}
	if at := result.AuthTime; !at.IsZero() && at.Before(now) {
		b.AuthTime = at
	}
	if result.RefreshToken.IsZero() {
		b.Expires = now.Add(min(s.Absolute, VouchLife))
	}
	b.Sealed = s.idTokens.Seal([]byte(result.IDToken.Reveal()), []byte(b.ID))
	return b, cookie
}

// methodsAt bounds what a provider says about how the person signed in (RFC 8176), which our ID tokens repeat.
func methodsAt(amr []string) []string {
	var out []string
	for _, m := range amr {
		if len(out) < 8 && m != "" && len(m) <= 32 && printable(m) && !strings.ContainsAny(m, " \"\\") {
			out = append(out, m)
		}
	}
	return out
}

// failed shows why somebody did not get in, with the way back to where they can try again. What the provider wrote is
// shown, escaped, and goes nowhere else (security checklist 35).
func (s *Service) failed(w http.ResponseWriter, r *http.Request, p *Provider, flow identity.SignInStart, err error) error {
	var e *oauthclient.Error
	if !errors.As(err, &e) {
		return err
	}
	message, status := failureText(p.label(), e)
	s.logFailure(r, e)
	refusal := refused(methodOIDC, string(e.Reason))
	refusal.Provider = p.Name()
	s.record(r, refusal)
	detail := []string{"Code " + string(e.Reason)}
	if e.Code != "" {
		detail = append(detail, p.label()+" says "+e.Code)
	}
	if id := web.RequestID(r.Context()); id != "" {
		detail = append(detail, "Request "+id)
	}
	message.Detail = strings.Join(detail, " · ")
	message.LinkText, message.LinkPath = "Try again", flow.ReturnTo
	return page.Render(w, r, status, "message", message)
}

// logFailure is loud about what an administrator has to mend.
func (s *Service) logFailure(r *http.Request, e *oauthclient.Error) {
	web.Note(r.Context(), "reason", string(e.Reason))
	switch e.Kind {
	case oauthclient.Misconfigured:
		s.Log.ErrorContext(r.Context(), "sign-in at an identity provider is misconfigured", "provider", e.Provider, "error", e)
	case oauthclient.Temporary:
		s.Log.WarnContext(r.Context(), "identity provider cannot be reached for a sign-in", "provider", e.Provider, "error", e)
	default:
		s.Log.InfoContext(r.Context(), "sign-in at an identity provider refused", "provider", e.Provider, "error", e)
	}
}

func failureText(label string, e *oauthclient.Error) (page.Message, int) {
	said := ""
	if e.Description != "" {
		said = label + " writes: “" + strings.TrimSuffix(e.Description, ".") + "”."
	}
	switch {
	case e.Reason == oauthclient.ReasonPersonRefused || e.Reason == oauthclient.ReasonTokenTenant:
		return page.Message{Title: "You may not sign in here", Text: label + " knows you, but your account is not one of those that may use this Gatehouse. Ask whoever runs it."}, http.StatusForbidden
	case e.Kind == oauthclient.Denied:
		return page.Message{Title: label + " did not let you in", Text: cmp.Or(said, "You or "+label+" said no.")}, http.StatusForbidden
	case e.Kind == oauthclient.SignInNeeded:
		return page.Message{Title: label + " wants to see you first", Text: cmp.Or(said, "Sign in there anew, then try again here.")}, http.StatusForbidden
	case e.Kind == oauthclient.Temporary:
		return page.Message{Title: label + " cannot be reached right now", Text: cmp.Or(said, "This is not about you. Please try again in a moment.")}, http.StatusServiceUnavailable
	case e.Kind == oauthclient.Misconfigured:
		return page.Message{Title: "Signing in with " + label + " does not work at the moment",
			Text: strings.TrimSpace(said + " It is not your fault: tell whoever runs this Gatehouse.")}, http.StatusBadGateway
	}
	return page.Message{Title: "This sign-in cannot be used", Text: "What came back from " + label + " is not the answer to what this browser asked, or came too late. Start again."}, http.StatusBadRequest
}
