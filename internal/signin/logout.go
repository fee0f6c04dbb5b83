package signin

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// LogoutPath is where providers post that somebody has signed out there; their name follows.
const LogoutPath = "/oauth/backchannel-logout/"

const (
	maxLogoutForm    = 32 << 10
	elsewhereTimeout = 2 * time.Second // for finding out where a provider has people sign out
)

// APIRoutes returns the addresses for programs, of the settings in force.
func (s *Service) APIRoutes() []web.Route {
	if len(s.settings.Load().Providers) == 0 {
		return nil
	}
	return []web.Route{{Pattern: "POST " + LogoutPath + "{provider}", Handler: web.HandlerFunc(s.backchannelLogout)}}
}

// backchannelLogout takes the token with which a provider says that somebody has signed out there (OpenID Connect
// Back-Channel Logout §2.5, §2.8). What rested on that session ends before the answer, here and on every copy.
func (s *Service) backchannelLogout(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	p := s.settings.Load().provider(r.PathValue("provider"))
	if p == nil {
		return &web.Error{Status: http.StatusNotFound, Code: "not_found", Message: "there is no such identity provider"}
	}
	token, err := readLogoutToken(w, r)
	if err != nil {
		return err
	}
	logout, err := p.VerifyLogoutToken(r.Context(), token)
	if err != nil {
		return s.logoutRefused(r, p, err)
	}
	people, fresh, err := s.Store.EndIDPSession(r.Context(), store.IDPLogout{
		Provider: p.Name(), Issuer: logout.Issuer, TokenSubject: logout.Subject, IDPSession: logout.SessionID,
		ID: logout.ID, ReplayUntil: logout.ReplayUntil, Reason: "signed out at the identity provider " + p.Name(),
	})
	switch {
	case err != nil:
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Reason: "unavailable", Message: "the logout cannot be carried out at the moment", Cause: err, RetryAfter: 5 * time.Second}
	case !fresh:
		return s.logoutRefused(r, p, errors.New("the logout token came before"))
	}
	for _, id := range people {
		s.record(r, audit.Event{Kind: audit.KindProviderLogout, Person: s.key(id), Provider: p.Name(), Reason: "signed out at the identity provider"})
	}
	s.Log.InfoContext(r.Context(), "signed out at an identity provider", "provider", p.Name(), "people", len(people), "one_session", logout.SessionID != "")
	w.WriteHeader(http.StatusOK)
	return nil
}

func readLogoutToken(w http.ResponseWriter, r *http.Request) (string, error) {
	malformed := &web.Error{Status: http.StatusBadRequest, Code: "invalid_request", Reason: "logout_token_malformed", Message: "post one logout_token as application/x-www-form-urlencoded"}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", malformed
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxLogoutForm)
	if err := r.ParseForm(); err != nil {
		malformed.Cause = err
		return "", malformed
	}
	if tokens := r.PostForm["logout_token"]; len(tokens) == 1 && tokens[0] != "" {
		return tokens[0], nil
	}
	return "", malformed
}

// logoutRefused tells a provider that is in order from one that cannot be verified just now, which may come again.
func (s *Service) logoutRefused(r *http.Request, p *Provider, err error) error {
	reason := oauthclient.ReasonOf(err)
	web.Note(r.Context(), "logout_refused", string(reason))
	if reason != "" && oauthclient.KindOf(err) == oauthclient.Temporary {
		return &web.Error{Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable", Reason: "unavailable", Message: "the logout token cannot be verified at the moment", Cause: err, RetryAfter: 5 * time.Second}
	}
	s.Log.InfoContext(r.Context(), "logout token refused", "provider", p.Name(), "error", err)
	return &web.Error{Status: http.StatusBadRequest, Code: "invalid_request", Reason: "logout_token_refused", Message: "the logout token is not good, or was used before", Cause: err}
}

// signOutElsewhere returns where the person can sign out at their provider too (OpenID Connect RP-Initiated Logout §2),
// or nothing: a provider that offers no such thing, or is away, keeps nobody from signing out here.
func (s *Service) signOutElsewhere(r *http.Request, signedIn *identity.SignedIn) string {
	p := s.settings.Load().provider(signedIn.Person.Provider)
	if p == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(r.Context(), elsewhereTimeout)
	defer cancel()
	o := oauthclient.EndSession{IDTokenHint: s.idTokenOf(r)}
	if p.Preset().LogoutRedirectParam != "" { // it shows no page of its own, and wants to know where to go
		o.ReturnTo = s.PublicURL.Scheme + "://" + s.PublicURL.Host + "/"
	}
	to, err := p.EndSessionURL(ctx, o)
	if err != nil {
		s.Log.WarnContext(r.Context(), "no sign-out at the identity provider", "provider", p.Name(), "error", err)
	}
	return to
}

// idTokenOf returns the provider's ID token of this browser's session, if it is kept.
func (s *Service) idTokenOf(r *http.Request) secret.Text {
	token, ok := s.cookies.token(r, s.cookies.session)
	if !ok {
		return secret.Text{}
	}
	b, err := s.Store.BrowserSession(r.Context(), tokenHash(token))
	if err != nil {
		return secret.Text{}
	}
	plain, err := s.idTokens.Open(b.Sealed, []byte(b.ID))
	if err != nil {
		return secret.Text{}
	}
	return secret.New(string(plain))
}
