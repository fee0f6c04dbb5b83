// Package authserver is the authorization server: OAuth 2.1 and OpenID Connect for the clients of this installation.
// It owns clients and their registration, the authorization transaction, consent, codes, tokens, revocation, userinfo
// and the metadata about all of that. It does not own how a person signs in (SignIn does), keys (jose does),
// storage (store does) or what a token allows at an endpoint (authn and policy do).
//
// The path of a sign-in: authorize.go validates and seals the request into a transaction without writing anything,
// consent.go shows who asks for what and turns a decision into a code, token.go turns codes and refresh tokens into
// tokens (grant_code.go, grant_refresh.go), which tokens.go mints. Devices without a browser go another way to the same
// code: device.go, device_page.go and grant_device.go. Services come without a person: grant_service.go. An
// identity provider can speak for the person: grant_idjag.go.
//
// Specifications: OAuth 2.1 (draft 13), RFC 6749, 7009, 7591, 7636, 8414, 8628, 8707, 9068, 9207, 9449, OpenID Connect Core,
// Discovery and RP-Initiated Logout 1.0.
package authserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/clientdoc"
	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/seal"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// SignIn is the back end that knows the persons and their browser sessions.
type SignIn interface {
	// Current says who sits at this browser.
	Current(r *http.Request) (*identity.SignedIn, bool)
	// Start sends the browser to sign in. It comes back to the local path of the request's ReturnTo.
	Start(w http.ResponseWriter, r *http.Request, o identity.SignInStart)
	// Person returns the current record, or identity.ErrGone when the person may no longer have access.
	Person(ctx context.Context, key identity.PersonKey) (identity.Person, error)
	// End signs this browser out. It returns where the person can sign out at their identity provider too, or nothing.
	End(w http.ResponseWriter, r *http.Request) (elsewhere string, err error)
}

// Audit takes the security events of checklist item 64. When it cannot keep one, nothing is issued.
type Audit interface {
	Record(ctx context.Context, e audit.Event) error
}

// Options are what a Server needs. Audit, Limits, Log and Now may be left out.
type Options struct {
	Issuer   identity.Issuer
	Store    *store.Store
	Signing  *jose.SigningKeys
	SignIn   SignIn
	Keys     *seal.Keyring
	Snapshot Snapshot

	Documents  *clientdoc.Cache // without it client ID metadata documents are off
	Assertions Assertions       // of identity providers about people; without it that grant is off

	Audit  Audit
	Limits Limits
	Log    *slog.Logger
	Now    func() time.Time
}

// Limits bound anonymous work. Zero means the default.
type Limits struct {
	RegistrationsPerAddress int // a minute; default 30
	Registrations           int // a minute, from everywhere; default 600

	// Client ID metadata documents, and key sets that they name, fetched a minute
	DocumentsPerPerson       int // for one who is signed in; default 10
	EarlyDocuments           int // of trusted hosts, before anybody is signed in; default 30
	EarlyDocumentsPerAddress int // default 6
	APIDocuments             int // for programs that show nothing of ours; default 30
	APIDocumentsPerAddress   int // default 6
}

func (o *Options) validate() error {
	switch {
	case o.Issuer == "" || strings.HasSuffix(string(o.Issuer), "/"):
		return fmt.Errorf("authorization server: issuer %q must be the public URL without a slash at its end", o.Issuer)
	case o.Store == nil || o.Signing == nil || o.SignIn == nil || o.Keys == nil:
		return errors.New("authorization server: store, signing keys, sign-in and keyring are all needed")
	case min(o.Limits.RegistrationsPerAddress, o.Limits.Registrations, o.Limits.DocumentsPerPerson, o.Limits.EarlyDocuments,
		o.Limits.EarlyDocumentsPerAddress, o.Limits.APIDocuments, o.Limits.APIDocumentsPerAddress) < 0:
		return errors.New("authorization server: limits must not be negative")
	}
	if o.Audit == nil {
		o.Audit = (*audit.Log)(nil)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Limits.RegistrationsPerAddress = cmp.Or(o.Limits.RegistrationsPerAddress, 30)
	o.Limits.Registrations = cmp.Or(o.Limits.Registrations, 600)
	o.Limits.DocumentsPerPerson = cmp.Or(o.Limits.DocumentsPerPerson, 10)
	o.Limits.EarlyDocuments = cmp.Or(o.Limits.EarlyDocuments, 30)
	o.Limits.EarlyDocumentsPerAddress = cmp.Or(o.Limits.EarlyDocumentsPerAddress, 6)
	o.Limits.APIDocuments = cmp.Or(o.Limits.APIDocuments, 30)
	o.Limits.APIDocumentsPerAddress = cmp.Or(o.Limits.APIDocumentsPerAddress, 6)
	return nil
}

// Snapshot is the part of the settings that a reload may change. It is immutable once it was handed over.
type Snapshot struct {
	Clients         []Client
	Resources       []Resource
	RedirectSchemes []string // private-use schemes that clients may bring, such as cursor
	Documents       Documents

	RegistrationClosed bool      // clients cannot register themselves; those that did before stay
	Assertions         bool      // Options.Assertions has providers that are trusted
	DPoPNonceOptional  bool      // proofs at the token endpoint need no nonce of ours
	Certificates       bool      // clients can show certificates (RFC 8705)
	NoDevices          bool      // clients that registered themselves may not use the device grant
	Lifetimes          Lifetimes // for clients that registered themselves
}

// Check reports every fault that would make Swap refuse the snapshot.
func (s Snapshot) Check() error {
	_, err := newSettings("", s)
	return err
}

// Resource is one endpoint for which tokens are issued (RFC 8707).
type Resource struct {
	URL           string // exactly as in the endpoint's metadata
	Name          string // for the consent page
	DefaultScopes identity.Scopes
	Scopes        identity.Scopes // every scope of the endpoint; the default ones need not be repeated
	DPoPRequired  bool            // it takes no token that is not bound to a key (RFC 9449)

	canonical string
}

// Server is the authorization server. It is safe for concurrent use.
type Server struct {
	Options
	current atomic.Pointer[settings]

	crossOrigin  *http.CrossOriginProtection
	transactions *seal.Box
	consentForms *seal.MAC
	signOutForms *seal.MAC
	clientIDs    *seal.MAC
	clientSecret *seal.MAC
	userCodes    *seal.MAC
	deviceForms  *seal.MAC
	nonces       *dpop.Nonces

	registrations       *web.RateLimiter // of everybody together
	registrationsByAddr *web.RateLimiter
	devices             *web.RateLimiter // of everybody together
	devicesByAddr       *web.RateLimiter
	guesses             *web.RateLimiter // user codes tried by one person
	guessesByAddr       *web.RateLimiter

	remembered       *web.RateLimiter // assertions and proofs of strangers
	rememberedByAddr *web.RateLimiter

	documentsByPerson    *web.RateLimiter
	documentsEarly       *web.RateLimiter
	documentsEarlyByAddr *web.RateLimiter
	documentsAPI         *web.RateLimiter
	documentsAPIByAddr   *web.RateLimiter
}

// New checks the options and builds the server. It starts nothing.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		Options:      o,
		crossOrigin:  http.NewCrossOriginProtection(),
		transactions: o.Keys.Box("authorization transaction"),
		consentForms: o.Keys.MAC("consent form"),
		signOutForms: o.Keys.MAC("sign-out form"),
		clientIDs:    o.Keys.MAC(clientIDLabel),
		clientSecret: o.Keys.MAC("registered client secret"),
		userCodes:    o.Keys.MAC("device user code"),
		deviceForms:  o.Keys.MAC("device form"),
		nonces:       dpop.NewNonces(o.Keys, "authorization server", o.Now),

		registrations:       perMinute(o.Limits.Registrations, o.Now),
		registrationsByAddr: perMinute(o.Limits.RegistrationsPerAddress, o.Now),
		devices:             perMinute(devicesPerMinute, o.Now),
		devicesByAddr:       perMinute(devicesPerAddress, o.Now),
		guesses:             web.NewRateLimiter(web.RateOptions{Every: guessEvery, Burst: guessBurst, Now: o.Now}),
		guessesByAddr:       web.NewRateLimiter(web.RateOptions{Every: guessEvery / 5, Burst: guessBurst * 5, Now: o.Now}),
	}
	s.remembered, s.rememberedByAddr = perMinute(rememberedPerMinute, o.Now), perMinute(rememberedPerAddress, o.Now)
	s.documentsByPerson = perMinute(o.Limits.DocumentsPerPerson, o.Now)
	s.documentsEarly, s.documentsEarlyByAddr = perMinute(o.Limits.EarlyDocuments, o.Now), perMinute(o.Limits.EarlyDocumentsPerAddress, o.Now)
	s.documentsAPI, s.documentsAPIByAddr = perMinute(o.Limits.APIDocuments, o.Now), perMinute(o.Limits.APIDocumentsPerAddress, o.Now)
	if err := s.crossOrigin.AddTrustedOrigin(string(o.Issuer)); err != nil {
		return nil, fmt.Errorf("authorization server: trust the issuer %s as a form's origin: %w", o.Issuer, err)
	}
	if err := s.Swap(o.Snapshot); err != nil {
		return nil, err
	}
	return s, nil
}

func perMinute(n int, now func() time.Time) *web.RateLimiter {
	return web.NewRateLimiter(web.RateOptions{Every: time.Minute / time.Duration(n), Burst: n, Now: now})
}

// Swap replaces the snapshot. When it returns an error nothing has changed.
func (s *Server) Swap(snapshot Snapshot) error {
	if s.Documents == nil {
		snapshot.Documents.Off = true
	}
	next, err := newSettings(s.Issuer, snapshot)
	if err != nil {
		return fmt.Errorf("authorization server settings: %w", err)
	}
	s.current.Store(next)
	return nil
}

const tokenPath = "/token"

// APIRoutes are for programs: JSON in and out, any origin without credentials, no cookies. The list names the
// endpoints of the present snapshot, so build the mux anew after Swap.
func (s *Server) APIRoutes() []web.Route {
	routes := []web.Route{
		{Pattern: tokenPath, Handler: s.api(s.token, http.MethodPost)},
		{Pattern: "/register", Handler: s.api(s.register, http.MethodPost)},
		{Pattern: "/revoke", Handler: s.api(s.revoke, http.MethodPost)},
		{Pattern: "/userinfo", Handler: s.api(s.userinfo, http.MethodGet, http.MethodPost)},
		{Pattern: "/device_authorization", Handler: s.api(s.authorizeDevice, http.MethodPost)},
	}
	return append(routes, s.metadataRoutes()...)
}

// BrowserRoutes are for people: pages and cookies. Forms of ours are refused when they come from another site; the
// authorization and the sign-out endpoint take cross-site requests too, as their specifications ask, and change
// nothing then. So no check of the origin may stand in front of these routes.
func (s *Server) BrowserRoutes() []web.Route {
	return []web.Route{
		{Pattern: "/authorize", Handler: s.browser(s.authorize, http.MethodGet, http.MethodPost)},
		{Pattern: "/consent", Handler: s.browser(s.consent, http.MethodGet, http.MethodPost)},
		{Pattern: "/device", Handler: s.browser(s.device, http.MethodGet, http.MethodPost)},
		{Pattern: "/signout", Handler: s.browser(s.signOut, http.MethodGet, http.MethodPost)},
	}
}
