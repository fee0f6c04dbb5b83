package signin

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// Routes returns the sign-in pages of the settings in force.
func (s *Service) Routes() []web.Route {
	again := http.RedirectHandler(Path, http.StatusSeeOther) // the address of a form shown again
	routes := []web.Route{{Pattern: "GET " + Path, Handler: page.Handler(s.Log, s.showSignIn)}}
	settings := s.settings.Load()
	if !settings.NoUsers {
		routes = append(routes,
			web.Route{Pattern: "POST " + Path, Handler: page.Handler(s.Log, s.postPassword)},
			web.Route{Pattern: "POST " + PasskeyPath, Handler: page.Handler(s.Log, s.postPasskey)},
			web.Route{Pattern: "GET " + PasskeyPath, Handler: again})
	}
	if len(settings.Providers) > 0 {
		routes = append(routes,
			web.Route{Pattern: "POST " + ProviderPath, Handler: page.Handler(s.Log, s.postProvider)},
			web.Route{Pattern: "GET " + ProviderPath, Handler: again},
			web.Route{Pattern: "GET " + CallbackPath + "{provider}", Handler: page.Handler(s.Log, s.callback)})
	}
	return routes
}

// form is what the "signin" page shows.
type form struct {
	ClientName string
	Username   string
	SignedInAs string // set when a person who is signed in is asked again
	Error      string
	Token      string
	Flow       string
	Passkey    *passkeyForm // nil where browsers offer no passkeys

	Passwords bool // built-in users sign in here
	Providers []choice
	Address   string // e-mail address as typed, which led to the one provider shown
	Addresses bool   // there is a field for one
	Hint      string // what the client says it is
	Client    *identity.ClientFacts
	Cancel    url.Values // what the form that gives up posts back to the client's request; nil when nobody asks
}

// The answers to a sign-in that did not work. The first says nothing about which part was wrong.
const (
	wrongText   = "That username and password do not match. Check both and try again."
	expiredText = "This page was open for too long, or cookies are blocked. Please try again."
	passkeyText = "That passkey could not be used here. Try again, or sign in with your password."
)

func (s *Service) showSignIn(w http.ResponseWriter, r *http.Request) error {
	flow := s.openFlow(r.URL.Query().Get(flowField))
	if _, ok := s.Current(r); ok && !flow.Reauthenticate {
		http.Redirect(w, r, flow.ReturnTo, http.StatusSeeOther)
		return nil
	}
	return s.render(w, r, http.StatusOK, flow, form{Username: flow.LoginHint})
}

// render fills in what every showing of the page needs. The flow is sealed anew, so a page never carries more than
// was checked.
func (s *Service) render(w http.ResponseWriter, r *http.Request, status int, flow identity.SignInStart, f form) error {
	sealed, err := s.sealFlow(flow)
	if err != nil {
		return err
	}
	f.Flow, f.ClientName = sealed, truncate(flow.ClientName, 200)
	s.offer(&f, flow)
	token, browser := s.browserFormToken(w, r)
	f.Token = token
	if signedIn, ok := s.Current(r); ok && flow.Reauthenticate {
		f.SignedInAs = signedIn.Person.Label()
		if f.Username == "" && signedIn.Person.Provider == "" {
			f.Username = signedIn.Person.Username
		}
	}
	if f.Passwords {
		if f.Passkey, err = s.beginPasskeySignIn(browser); err != nil {
			return err
		}
	}
	return page.Render(w, r, status, "signin", f)
}

// postPassword is a sign-in with username and password.
func (s *Service) postPassword(w http.ResponseWriter, r *http.Request) error {
	_, formErr := s.checkBrowserForm(w, r)
	flow := s.openFlow(r.PostForm.Get(flowField))
	f := form{Username: truncate(strings.TrimSpace(r.PostForm.Get("username")), 200)}
	if formErr != nil {
		f.Error = expiredText
		return s.render(w, r, http.StatusForbidden, flow, f)
	}
	user, err := s.checkCredentials(r, f.Username, r.PostForm.Get("password"))
	if err != nil {
		return s.renderRefusal(w, r, flow, f, err)
	}
	return s.finish(w, r, flow, user, []string{"pwd"})
}

// renderRefusal shows the form again. An error that is no refusal goes on to whoever handles errors. The 401 comes
// without the challenge that RFC 9110 §15.5.2 asks for, because browsers answer one with a password box of their own.
func (s *Service) renderRefusal(w http.ResponseWriter, r *http.Request, flow identity.SignInStart, f form, err error) error {
	var slow *SlowDown
	switch {
	case errors.As(err, &slow):
		w.Header().Set("Retry-After", strconv.Itoa(slow.Seconds()))
		f.Error = slow.Error()
		return s.render(w, r, http.StatusTooManyRequests, flow, f)
	case errors.Is(err, ErrWrong):
		f.Error = wrongText
		return s.render(w, r, http.StatusUnauthorized, flow, f)
	case errors.Is(err, errPasskey):
		f.Error = passkeyText
		return s.render(w, r, http.StatusUnauthorized, flow, f)
	}
	return unavailable(err)
}

// finish opens the browser session and sends the browser back to where it came from.
func (s *Service) finish(w http.ResponseWriter, r *http.Request, flow identity.SignInStart, user store.User, methods []string) error {
	if err := s.Audit.Ready(r.Context()); err != nil {
		return unavailable(err)
	}
	err := s.begin(w, r, user, methods)
	if errors.Is(err, identity.ErrGone) { // disabled, or given another password, in this very moment
		return s.renderRefusal(w, r, flow, form{}, ErrWrong)
	}
	if err != nil {
		return unavailable(err)
	}
	s.record(r, audit.Event{Kind: audit.KindSignIn, Person: s.key(user.ID), Method: strings.Join(methods, " "), Decision: audit.Allow})
	http.Redirect(w, r, flow.ReturnTo, http.StatusSeeOther)
	return nil
}

// ErrWrong means that a username and a password do not belong together; it says no more than that.
var ErrWrong = errors.New("username and password do not match")

// SlowDown means that there were too many attempts of late.
type SlowDown struct{ Wait time.Duration }

// Seconds returns the wait in whole seconds, at least one.
func (e *SlowDown) Seconds() int { return max(1, int(math.Ceil(e.Wait.Seconds()))) }

func (e *SlowDown) Error() string {
	return fmt.Sprintf("Too many attempts. Wait %s and try again.", waitText(e.Seconds()))
}

func waitText(seconds int) string {
	if seconds == 1 {
		return "one second"
	}
	return fmt.Sprintf("%d seconds", seconds)
}

// checkCredentials is the one place where a password is compared. People who do not exist, who have no password or
// who are disabled take the same time and get the same answer as a wrong password.
func (s *Service) checkCredentials(r *http.Request, username, password string) (store.User, error) {
	ctx := r.Context()
	success, wait := s.throttle.take(s.Now(), username, s.ClientIP(r))
	if wait > 0 {
		s.recordSlowed(r, "pwd")
		return store.User{}, &SlowDown{wait}
	}
	user, err := s.lookUp(ctx, username)
	if err != nil {
		return store.User{}, err
	}
	tooLong := len(password) > MaxPasswordBytes
	if tooLong {
		password = ""
	}
	ok, stale, err := s.hasher.verify(ctx, user.PasswordHash, password)
	if err != nil {
		return store.User{}, fmt.Errorf("check password: %w", err)
	}
	if !ok || tooLong || user.Disabled {
		s.record(r, refused("pwd", "credentials_wrong"))
		return store.User{}, ErrWrong
	}
	success()
	if stale {
		s.renewHash(ctx, user, password)
	}
	return user, nil
}

// lookUp returns the zero user, which no password belongs to, when there is none of that name.
func (s *Service) lookUp(ctx context.Context, username string) (store.User, error) {
	if !validUsername(strings.ToLower(username)) {
		username = "-" // nobody's, but looked for all the same
	}
	user, err := s.Store.UserByName(ctx, username)
	if errors.Is(err, store.ErrNotFound) {
		return store.User{}, nil
	}
	if err != nil {
		return store.User{}, fmt.Errorf("look up user: %w", err)
	}
	return user, nil
}

// renewHash brings a hash to the current costs. Doing it can wait until the next sign-in.
func (s *Service) renewHash(ctx context.Context, user store.User, password string) {
	renewed, err := s.hasher.hash(ctx, password)
	if err == nil {
		err = s.Store.UpgradePasswordHash(ctx, user.ID, user.PasswordHash, renewed)
	}
	if err != nil {
		s.Log.WarnContext(ctx, "password hash not renewed", "user", user.ID, "error", err)
	}
}

// unavailable is what a person sees when the store cannot be reached: trouble here, not with what they typed.
func unavailable(err error) error {
	return &page.Failure{
		Status: http.StatusServiceUnavailable,
		Title:  "Signing in is not possible right now",
		Text:   "Gatehouse cannot reach its records. This is not about what you typed. Please try again in a moment.",
		Cause:  err,
	}
}

// record writes an audit event. The username that was typed stays out of it, because it may be a password.
func (s *Service) record(r *http.Request, e audit.Event) {
	e.Time, e.RequestID, e.Address = s.Now(), web.RequestID(r.Context()), s.ClientIP(r)
	if e.Kind == audit.KindSignInFailed {
		web.Note(r.Context(), "reason", e.Reason)
	}
	if err := s.Audit.Record(r.Context(), e); err != nil {
		web.Note(r.Context(), "audit_error", err.Error())
	}
}

// recordSlowed writes one event a minute for an address whose attempts come too fast. They cost their sender next to
// nothing, and must not fill the disk.
func (s *Service) recordSlowed(r *http.Request, method string) {
	if ok, _ := s.slowed.Allow(network(s.ClientIP(r), 48)); ok {
		s.record(r, refused(method, "too_many_attempts"))
	}
}

// refused is the record of a sign-in that did not work.
func refused(method, reason string) audit.Event {
	return audit.Event{Kind: audit.KindSignInFailed, Method: method, Decision: audit.Deny, Reason: reason}
}
