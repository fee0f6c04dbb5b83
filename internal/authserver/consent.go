package authserver

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// codeLifetime is how long a client may take to redeem a code; the browser goes straight there.
const codeLifetime = time.Minute

// consentPage is the data of templates/consent.html.
type consentPage struct {
	identity.ClientFacts

	Client       string
	Scopes       []scopeText
	Stay         string // how long access may last without another sign-in; empty for no longer than one access token
	Person       string
	PersonDetail string
	Provider     string // the identity provider that vouches for the person

	Transaction, Token string // hidden fields
}

// scopeText is a scope and what it means.
type scopeText struct{ Scope, Text string }

// consent shows what a client asks for and takes the person's decision. Consent is asked for every time: a remembered
// one could be ridden by whoever can make the browser open an address (checklist 25, 30).
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	params, err := readParams(w, r)
	if err != nil {
		return err
	}
	t, err := s.openTransaction(params.Get("tx"))
	if err != nil {
		return err
	}
	client, err := s.lookup(r.Context(), t.Client, s.browserAccount(r)) // it may have been revoked in the meantime
	if err != nil {
		return err
	}
	who, ok := s.SignIn.Current(r)
	switch {
	case r.Method == http.MethodPost && params.Get("decision") == "cancel":
		return s.cancel(w, r, t)
	case client.Pending() || t.Unchecked: // before anything else
		return s.checkLate(w, r, t, client, ok, params.Get("tx"))
	}
	if !ok || t.needsSignIn(who.AuthTime) {
		if t.Silent {
			return s.answerUnasked(w, r, t, client, refuse(codeLoginRequired, "login_required", "nobody is signed in, or not recently enough"))
		}
		s.SignIn.Start(w, r, s.signInStart(t, client, params.Get("tx"), ok))
		return nil
	}
	switch {
	case r.Method == http.MethodPost:
		return s.decide(w, r, t, client, who, params)
	case client.SkipConsent && !t.Ask:
		if r.Method == http.MethodHead {
			return nil
		}
		return s.finish(r, t, func() error { return s.allow(w, r, t, client, who) })
	case t.Silent:
		return s.answerUnasked(w, r, t, client, refuse(codeConsentRequired, "consent_required", "this client needs the person's consent"))
	}
	data := s.consentData(t, client, who)
	data.Transaction, data.Token = params.Get("tx"), s.consentToken(t, who)
	return page.Render(w, r, http.StatusOK, "consent", data)
}

// checkLate is for a client that was pending when its request came. Once somebody has signed in, its document is fetched
// and the redirect URI compared; then the transaction goes on as one that was checked to begin with.
func (s *Server) checkLate(w http.ResponseWriter, r *http.Request, t *transaction, client *Client, signedIn bool, sealed string) error {
	switch {
	case client.Pending() && signedIn:
		return web.TooMany(time.Minute) // the person has opened too many of them
	case client.Pending() && t.Silent:
		return refuse(codeLoginRequired, "login_required", "nobody is signed in")
	case client.Pending():
		s.SignIn.Start(w, r, s.signInStart(t, client, sealed, false))
		return nil
	}
	if err := s.checkRegistered(client, t.RedirectURI); err != nil {
		return err
	}
	t.Unchecked = false
	if !client.allows(GrantCode) {
		return s.answerUnasked(w, r, t, client, refuse(codeUnauthorizedClient, "grant_type_not_allowed", "this client may not use the authorization code grant"))
	}
	sealed, err := s.resealTransaction(t)
	if err != nil {
		return err
	}
	w.Header().Set("Location", consentPath(sealed))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// signInStart says on whose behalf somebody signs in.
func (s *Server) signInStart(t *transaction, client *Client, sealed string, again bool) identity.SignInStart {
	facts := s.clientFacts(t, client)
	return identity.SignInStart{
		ReturnTo: consentPath(sealed), LoginHint: t.LoginHint, ClientName: clientName(client), Reauthenticate: again, OtherAccount: t.Choose, Client: &facts,
	}
}

// cancel is for people who go back before they signed in. They have seen a page, which names where they go.
func (s *Server) cancel(w http.ResponseWriter, r *http.Request, t *transaction) error {
	if err := s.checkSameOrigin(r); err != nil {
		return err
	}
	return s.finish(r, t, func() error {
		event := audit.Event{Kind: audit.KindDeny, Client: t.Client, Endpoint: t.Resource, Decision: audit.Deny, Reason: "went back before signing in"}
		if err := s.record(r, event); err != nil {
			return err
		}
		if t.Unchecked {
			return page.Render(w, r, http.StatusOK, "message", page.Message{
				Title: "Nothing was allowed", Text: "You did not sign in, and the application was not told. You can close this window.",
			})
		}
		s.answerError(w, r, t, refuse(codeAccessDenied, "person_went_back", "the person did not want to sign in"))
		return nil
	})
}

// consentToken proves that a form was made for this transaction in this browser session (checklist 26).
func (s *Server) consentToken(t *transaction, who *identity.SignedIn) string {
	return base64.RawURLEncoding.EncodeToString(s.consentForms.Sum(consentSubject(t, who)))
}

func consentSubject(t *transaction, who *identity.SignedIn) []byte {
	return []byte(t.ID + "\x00" + who.SessionID + "\x00" + who.Person.Key.String())
}

// decide acts on the consent form.
func (s *Server) decide(w http.ResponseWriter, r *http.Request, t *transaction, client *Client, who *identity.SignedIn, form url.Values) error {
	if err := s.checkSameOrigin(r); err != nil {
		return err
	}
	tag, err := decodeExact(form.Get("token"))
	if err != nil || !s.consentForms.Check(consentSubject(t, who), tag) {
		return &web.Error{Status: http.StatusForbidden, Code: codeInvalidRequest,
			Reason: "form_foreign", Message: "this form belongs to another sign-in; go back to the application and start again"}
	}
	switch form.Get("decision") {
	case "allow":
		return s.finish(r, t, func() error { return s.allow(w, r, t, client, who) })
	case "deny":
		return s.finish(r, t, func() error {
			event := audit.Event{Kind: audit.KindDeny, Person: who.Person.Key, Client: t.Client, Endpoint: t.Resource, Decision: audit.Deny}
			if err := s.record(r, event); err != nil {
				return err
			}
			s.answerError(w, r, t, refuse(codeAccessDenied, "person_refused", "the person did not allow it"))
			return nil
		})
	case "switch":
		if _, err := s.SignIn.End(w, r); err != nil {
			return unavailable(err)
		}
		start := s.signInStart(t, client, form.Get("tx"), false)
		start.OtherAccount = true // or the identity provider would send the same person back
		s.SignIn.Start(w, r, start)
		return nil
	}
	return refuse(codeInvalidRequest, "decision_missing", "the form has no decision")
}

// checkSameOrigin refuses forms that another site sent. A browser that is told to hide where a form comes from says
// Origin: null; then Sec-Fetch-Site decides, and without that the form is refused.
func (s *Server) checkSameOrigin(r *http.Request) error {
	if err := s.crossOrigin.Check(r); err != nil {
		return &web.Error{Status: http.StatusForbidden, Code: codeInvalidRequest, Cause: err,
			Reason: "form_cross_site", Message: "this form was sent from another site; go back to the application and start again"}
	}
	return nil
}

// finish ends the transaction, which happens once.
func (s *Server) finish(r *http.Request, t *transaction, answer func() error) error {
	first, err := s.Store.UseOnce(r.Context(), "authorization transaction", t.ID, time.Unix(t.Expires, 0))
	if err != nil {
		return unavailable(err)
	}
	if !first {
		return refuse(codeInvalidRequest, "answered_before", "this request has been answered already; go back to the application and start again")
	}
	return answer()
}

// allow saves a code and sends it to the client.
func (s *Server) allow(w http.ResponseWriter, r *http.Request, t *transaction, client *Client, who *identity.SignedIn) error {
	code := newToken()
	saved := store.Code{
		Hash: hash(code), Grant: identity.GrantID(rand.Text()), Person: who.Person.Key, Client: t.Client, ClientName: client.Name,
		RedirectURI: t.RedirectURI, Challenge: t.Challenge, DPoPKey: t.DPoPKey, Resource: t.Resource, Nonce: t.Nonce, Scopes: t.Scopes,
		AuthTime: who.AuthTime, Expires: s.Now().Add(codeLifetime), SessionID: who.SessionID, Methods: who.Methods,
		IDPSession: who.IDPSession,
	}
	event := audit.Event{Kind: audit.KindConsent, Person: saved.Person, Client: t.Client, Grant: saved.Grant, Scopes: t.Scopes,
		Endpoint: t.Resource, Decision: audit.Allow}
	if err := s.record(r, event); err != nil {
		return err
	}
	if err := s.Store.SaveCode(r.Context(), saved); err != nil {
		s.answerError(w, r, t, unavailable(err))
		return nil
	}
	stands, err := s.sessionStands(r, who, saved.Grant)
	switch {
	case err != nil:
		return err
	case !stands:
		s.answerError(w, r, t, refuse(codeAccessDenied, "signed_out", "the person is no longer signed in"))
		return nil
	}
	s.answer(w, t, url.Values{"code": {code}})
	return nil
}

// sessionStands ends a code that was just saved when the session of who allowed it is over: what ended it in this very
// moment, such as a new password, did not see the code.
func (s *Server) sessionStands(r *http.Request, who *identity.SignedIn, grant identity.GrantID) (bool, error) {
	if now, ok := s.SignIn.Current(r); ok && now.SessionID == who.SessionID {
		return true, nil
	}
	if err := s.Store.RevokeGrant(r.Context(), grant, "the session ended during consent"); err != nil {
		return false, unavailable(err)
	}
	return false, nil
}

// newToken returns 256 random bits as text.
func newToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// clientFacts is what a person should know before they decide, and before they go to an identity provider.
func (s *Server) clientFacts(t *transaction, client *Client) identity.ClientFacts {
	facts := identity.ClientFacts{
		Verified: !client.registered || client.vouchedBy(t.RedirectURI), Host: client.Host, Unchecked: client.Pending(), RedirectHost: redirectHost(t.RedirectURI), Loopback: isLoopback(t.RedirectURI),
		Resource: cmp.Or(t.Resource, client.Audience),
	}
	facts.App = strings.HasSuffix(facts.RedirectHost, ":")
	if !client.registered {
		facts.ClientID = string(client.ID)
	}
	for _, r := range s.current.Load().resources {
		if r.URL == t.Resource {
			facts.ResourceName = r.Name
		}
	}
	return facts
}

// clientName is never empty.
func clientName(client *Client) string {
	return cmp.Or(client.Name, client.Host, "An application without a name")
}

func (s *Server) consentData(t *transaction, client *Client, who *identity.SignedIn) *consentPage {
	data := &consentPage{
		ClientFacts: s.clientFacts(t, client), Client: clientName(client), Person: who.Person.Label(),
		Provider: who.ProviderLabel, Stay: stay(client, who),
	}
	for _, scope := range t.Scopes {
		data.Scopes = append(data.Scopes, scopeText{scope, describeScope(scope)})
	}
	if data.PersonDetail = who.Person.Name; data.PersonDetail == data.Person || data.PersonDetail == "" {
		data.PersonDetail = who.Person.Email
	}
	return data
}

// stay says how long a client can have access without another sign-in.
func stay(client *Client, who *identity.SignedIn) string {
	const day = 24 * time.Hour
	switch longest := client.Lifetimes.Refresh; {
	case !client.allows(GrantRefresh):
		return ""
	case who.AccessFor > 0 && who.AccessFor < longest:
		return fmt.Sprintf("%d hours", who.AccessFor/time.Hour)
	case longest >= 2*day:
		return fmt.Sprintf("%d days", longest/day)
	default:
		return fmt.Sprintf("%d hours", max(1, longest/time.Hour))
	}
}

// describeScope says a standard scope in words. What an endpoint's own scope means only its name can tell.
func describeScope(scope string) string {
	switch scope {
	case scopeOpenID:
		return "Know that it is you"
	case scopeProfile:
		return "See your name, user name and groups"
	case scopeEmail:
		return "See your e-mail address"
	case scopeOffline:
		return "Stay connected while you are away"
	}
	return ""
}

// record adds when, where from and in which request to an audit event.
func (s *Server) record(r *http.Request, e audit.Event) error {
	e.Time, e.RequestID, e.Address = s.Now(), web.RequestID(r.Context()), web.ClientIP(r)
	if err := s.Audit.Record(r.Context(), e); err != nil {
		return unavailable(err)
	}
	return nil
}
