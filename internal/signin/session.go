package signin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// touchEvery bounds how often a session in use is written down as such.
const touchEvery = time.Minute

// cookieNames are the names of the cookies, and whether they are bound to https.
type cookieNames struct {
	session string // who is signed in
	form    string // ties a sign-in form to the browser that it was shown in
	leaving string // ties a sign-in at an identity provider to the browser that it was begun in; its state follows
	secure  bool
}

// cookieNamesFor uses the __Host- prefix (RFC 6265bis §4.1.3.2) wherever it works: only some browsers accept it on
// plain http, which Gatehouse serves on loopback alone. There the port is part of the name, because browsers share
// cookies between the ports of a host.
func cookieNamesFor(public *url.URL) cookieNames {
	if public.Scheme == "https" {
		return cookieNames{session: "__Host-gatehouse", form: "__Host-gatehouse-form", leaving: "__Host-gatehouse-idp-", secure: true}
	}
	name := "gatehouse"
	if port := public.Port(); port != "" {
		name += "-" + port
	}
	return cookieNames{session: name, form: name + "-form", leaving: name + "-idp-"}
}

// set writes a cookie; maxAge 0 lets it end with the browser, a negative one removes it.
func (n cookieNames) set(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: n.secure, SameSite: http.SameSiteLaxMode,
	})
}

// token returns the decoded value of the one cookie of that name. Two of them mean that somebody planted one.
func (n cookieNames) token(r *http.Request, name string) ([]byte, bool) {
	found := r.CookiesNamed(name)
	if len(found) != 1 {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(found[0].Value)
	return raw, err == nil && len(raw) == 32
}

func tokenHash(token []byte) []byte {
	sum := sha256.Sum256(token)
	return sum[:]
}

// Current returns who is signed in at the browser that sent the request.
func (s *Service) Current(r *http.Request) (*identity.SignedIn, bool) {
	signedIn, err := s.current(r)
	switch {
	case err == nil:
		return signedIn, true
	case !errors.Is(err, errNotSignedIn):
		s.Log.ErrorContext(r.Context(), "browser session not readable", "error", err)
	}
	return nil, false
}

var errNotSignedIn = errors.New("nobody is signed in at this browser")

func (s *Service) current(r *http.Request) (*identity.SignedIn, error) {
	token, ok := s.cookies.token(r, s.cookies.session)
	if !ok {
		return nil, errNotSignedIn
	}
	ctx, now, hash := r.Context(), s.Now(), tokenHash(token)
	b, err := s.Store.BrowserSession(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNotSignedIn
	}
	if err != nil {
		return nil, fmt.Errorf("read browser session: %w", err)
	}
	if !now.Before(b.Expires) || now.Sub(b.LastSeen) >= s.Idle {
		return nil, errNotSignedIn
	}
	signedIn, err := s.whose(ctx, b)
	if errors.Is(err, identity.ErrGone) {
		return nil, errNotSignedIn
	}
	if err != nil {
		return nil, err
	}
	if now.Sub(b.LastSeen) >= touchEvery {
		err := s.Store.TouchBrowserSession(ctx, hash, now)
		if errors.Is(err, store.ErrNotFound) { // ended in this very moment
			return nil, errNotSignedIn
		}
		if err != nil {
			return nil, fmt.Errorf("note that a browser session is in use: %w", err)
		}
	}
	return signedIn, nil
}

// whose says whom a browser session belongs to; identity.ErrGone when they may no longer be signed in.
func (s *Service) whose(ctx context.Context, b store.BrowserSession) (*identity.SignedIn, error) {
	out := &identity.SignedIn{SessionID: b.ID, AuthTime: b.AuthTime, Methods: b.Methods, IDPSession: b.IDPSession}
	if b.Provider != "" {
		return out, s.whoseFederated(ctx, b, out)
	}
	user, err := s.user(ctx, b.UserID)
	if err == nil {
		out.Person = s.personOf(user)
	}
	return out, err
}

// Person returns the current record of a person; identity.ErrGone when they may no longer have access. For somebody
// whom an identity provider vouches for, it makes sure that the provider still does.
func (s *Service) Person(ctx context.Context, key identity.PersonKey) (identity.Person, error) {
	if key.Issuer != s.Issuer {
		return identity.Person{}, identity.ErrGone
	}
	federated, err := s.Store.FederatedPerson(ctx, key.Subject)
	switch {
	case err == nil:
		return s.vouchedFor(ctx, federated)
	case !errors.Is(err, store.ErrNotFound):
		return identity.Person{}, fmt.Errorf("read person: %w", err)
	}
	user, err := s.user(ctx, key.Subject)
	if err != nil {
		return identity.Person{}, err
	}
	return s.personOf(user), nil
}

// user returns a built-in user who may sign in, else identity.ErrGone.
func (s *Service) user(ctx context.Context, id string) (store.User, error) {
	u, err := s.Store.UserByID(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && u.Disabled:
		return store.User{}, identity.ErrGone
	case err != nil:
		return store.User{}, fmt.Errorf("read user: %w", err)
	case s.settings.Load().NoUsers:
		return store.User{}, identity.ErrGone
	}
	return u, nil
}

// End signs this browser out: the session is gone from the store and the cookie from the browser. It returns where the
// person can sign out at their identity provider as well, or nothing.
func (s *Service) End(w http.ResponseWriter, r *http.Request) (elsewhere string, err error) {
	signedIn, ok := s.Current(r)
	if ok {
		elsewhere = s.signOutElsewhere(r, signedIn)
	}
	if err := s.endStored(r); err != nil {
		return "", err
	}
	s.cookies.set(w, s.cookies.session, "", -1)
	if ok {
		s.record(r, audit.Event{Kind: audit.KindSignOut, Person: signedIn.Person.Key, Provider: signedIn.Person.Provider})
	}
	return elsewhere, nil
}

// endStored removes the session whose cookie came with the request, if there is one.
func (s *Service) endStored(r *http.Request) error {
	token, ok := s.cookies.token(r, s.cookies.session)
	if !ok {
		return nil
	}
	b, err := s.Store.BrowserSession(r.Context(), tokenHash(token))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read browser session: %w", err)
	}
	if err := s.Store.EndBrowserSession(r.Context(), b.ID); err != nil {
		return fmt.Errorf("end browser session: %w", err)
	}
	return nil
}

// begin opens a new session at each sign-in and ends the one the browser came with, so that nobody can be made to
// use a session that somebody else knows (security checklist 31).
// The user is the one whose credentials were checked: a change since then, such as another password, stops it.
func (s *Service) begin(w http.ResponseWriter, r *http.Request, user store.User, methods []string) error {
	if err := s.endStored(r); err != nil {
		return err
	}
	b, token := s.newSession(r, s.Now())
	b.UserID, b.UserAsOf, b.Methods = user.ID, user.UpdatedAt, methods
	if err := s.Store.CreateBrowserSession(r.Context(), b); err != nil {
		return fmt.Errorf("open browser session: %w", err)
	}
	s.cookies.set(w, s.cookies.session, token, int(s.Absolute.Seconds()))
	return nil
}

// newSession makes a session that is nobody's yet, and the cookie that goes with it.
func (s *Service) newSession(r *http.Request, now time.Time) (b store.BrowserSession, cookie string) {
	token := randomBytes()
	return store.BrowserSession{
		TokenHash: tokenHash(token),
		ID:        base64.RawURLEncoding.EncodeToString(randomBytes()[:16]),
		AuthTime:  now,
		CreatedAt: now,
		LastSeen:  now,
		Expires:   now.Add(s.Absolute),
		UserAgent: truncate(r.UserAgent(), 200),
	}, base64.RawURLEncoding.EncodeToString(token)
}
