// Package portal owns the pages for people: the home page, which says what this is and how to connect, and the
// account page, where a person sees and disconnects the clients they allowed, keeps passkeys, changes the password
// and signs out, and the pages on which administrators find out about a token and see how the targets are. It holds no state; signing in belongs to signin, the look to page.
package portal

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/signin"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// AccountPath is where the account page is; its forms post to paths below.
const AccountPath = "/account"

// Endpoint is one MCP URL that people can connect to.
type Endpoint struct {
	Path    string
	Open    bool // no token is looked at there
	URL     string
	Targets []string // names of what is behind it
}

// Guide says how one client is connected to the first endpoint.
type Guide struct {
	Client string // "Kiro", "VS Code", …
	Where  string // the file that Text goes into
	Text   string // what to put there
	Link   string // opens the client with everything filled in; empty when it has no such link
}

// Options are what the pages need; all are required but Audit, Administrators, Targets and Now.
type Options struct {
	SignIn    *signin.Service
	Store     *store.Store
	Endpoints []Endpoint
	Guides    []Guide
	Log       *slog.Logger
	Audit     *audit.Log
	Now       func() time.Time // default time.Now

	Issuer         identity.Issuer
	Administrators *identity.Rule                                                       // nil: there are none
	Targets        func() []Target                                                      // how the targets are, by name
	Explain        func(ctx context.Context, endpoint, token string) *authn.Explanation // endpoint is a path
}

func (o *Options) validate() error {
	if o.SignIn == nil || o.Store == nil || o.Log == nil {
		return errors.New("portal: sign-in, store and log are required")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Targets == nil {
		o.Targets = func() []Target { return nil }
	}
	return nil
}

// Portal answers with the pages.
type Portal struct{ Options }

// New builds the portal.
func New(o Options) (*Portal, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Portal{o}, nil
}

// Routes returns the portal's addresses. Every one but the home page is for somebody who is signed in, and every
// form is checked to be theirs, before its handler runs.
func (p *Portal) Routes() []web.Route {
	post := func(path string, h action) web.Route {
		return web.Route{Pattern: "POST " + AccountPath + path, Handler: page.Handler(p.Log, p.submitted(h))}
	}
	return []web.Route{
		{Pattern: "GET /{$}", Handler: page.Handler(p.Log, p.home)},
		{Pattern: "GET " + AccountPath, Handler: page.Handler(p.Log, p.showAccount)},
		{Pattern: "GET " + AccountPath + "/", Handler: http.RedirectHandler(AccountPath, http.StatusSeeOther)}, // the address of a form shown again
		{Pattern: TargetsPath, Handler: page.Handler(p.Log, p.targets)},
		{Pattern: TokensPath, Handler: page.Handler(p.Log, p.tokens)},
		post("/clients/disconnect", p.disconnect),
		post("/clients/disconnect-all", p.disconnectAll),
		post("/passkeys/add", ownUser(p.addPasskey)),
		post("/passkeys/remove", ownUser(p.removePasskey)),
		post("/password", ownUser(p.changePassword)),
		post("/confirm", p.confirm),
		post("/signout", p.signOut),
		post("/signout-everywhere", p.signOutEverywhere),
	}
}

// action is what a form of the account page does.
type action func(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error

// ownUser keeps actions about passwords and passkeys to people who have them here.
func ownUser(do action) action {
	return func(w http.ResponseWriter, r *http.Request, signedIn *identity.SignedIn) error {
		if signedIn.Person.Provider != "" {
			return &page.Failure{Status: http.StatusForbidden, Title: "Nothing was changed", Text: "Your password and passkeys are kept at " + signedIn.ProviderLabel + "."}
		}
		return do(w, r, signedIn)
	}
}

// submitted runs an action for the person whose form it is.
func (p *Portal) submitted(do action) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		signedIn, ok := p.SignIn.Current(r)
		if !ok {
			p.SignIn.Start(w, r, identity.SignInStart{ReturnTo: AccountPath})
			return nil
		}
		if err := p.SignIn.CheckForm(w, r, signedIn); err != nil {
			return &page.Failure{
				Status: http.StatusForbidden,
				Title:  "Nothing was changed",
				Text:   "This form was not sent from your account page, or that page is from an earlier sign-in. Open your account and try again.",
				Cause:  err,
			}
		}
		return do(w, r, signedIn)
	}
}
