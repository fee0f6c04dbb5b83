// Package signin knows who sits at a browser: built-in users with their passwords and passkeys, people for whom an
// identity provider vouches, the browser sessions, and the pages on which a person signs in. The authorization server
// asks it through a small interface of its own (Current, Start, Person, End). It issues no token, asks for no consent
// and decides no access; the account page belongs to portal, the look of the pages to page, what is said between
// Gatehouse and an identity provider to oauthclient.
package signin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/seal"
	"gatehouse/internal/store"
	"gatehouse/internal/web"
)

// How long a browser session lives unless Options say otherwise.
const (
	DefaultIdle     = 12 * time.Hour
	DefaultAbsolute = 7 * 24 * time.Hour
)

// Options are what a Service needs. Everything without a remark is required.
type Options struct {
	PublicURL *url.URL        // the origin under which browsers reach Gatehouse
	Issuer    identity.Issuer // the issuer part of every person's key
	Store     *store.Store
	Keys      *seal.Keyring
	ClientIP  func(*http.Request) netip.Addr
	Log       *slog.Logger
	Audit     *audit.Log       // optional
	Now       func() time.Time // default time.Now
	Idle      time.Duration    // default DefaultIdle: a session unused for so long ends
	Absolute  time.Duration    // default DefaultAbsolute: a session ends after so long in any case

	NoPasskeys bool // built-in users sign in with their passwords only
	Settings   Settings
}

func (o *Options) validate() error {
	switch {
	case o.PublicURL == nil || o.PublicURL.Host == "":
		return errors.New("sign-in: the public URL is missing")
	case o.Issuer == "":
		return errors.New("sign-in: the issuer is missing")
	case o.Store == nil || o.Keys == nil || o.ClientIP == nil || o.Log == nil:
		return errors.New("sign-in: store, keys, client address and log are required")
	case o.Idle < 0 || o.Absolute < 0:
		return errors.New("sign-in: the lifetimes of a browser session cannot be negative")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.Absolute == 0 {
		o.Absolute = DefaultAbsolute
	}
	return nil
}

// Service signs people in. It is safe for concurrent use and starts no goroutine.
type Service struct {
	Options
	hasher   *hasher
	throttle *throttle
	cookies  cookieNames
	flows    *seal.Box // why a sign-in page is shown, carried in its address
	ceremony *seal.Box // a passkey ceremony under way, carried in its form
	forms    *seal.MAC
	origin   *http.CrossOriginProtection
	passkeys *webauthn.WebAuthn // nil when they are off, and where browsers offer none: a host that is an IP address
	slowed   *web.RateLimiter   // of the records about attempts that came too fast
	leaving  *web.RateLimiter   // of browsers that go to an identity provider, by address
	pending  *seal.Box          // sign-ins that are under way at an identity provider
	idTokens *seal.Box          // ID tokens of browser sessions
	refresh  *seal.Box          // refresh tokens of identity providers
	checks   checks

	settings atomic.Pointer[Settings]
}

// New builds the service.
func New(o Options) (*Service, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	s := &Service{
		Options:  o,
		hasher:   newHasher(currentParams),
		throttle: newThrottle(),
		cookies:  cookieNamesFor(o.PublicURL),
		flows:    o.Keys.Box("sign-in flow"),
		ceremony: o.Keys.Box("passkey ceremony"),
		forms:    o.Keys.MAC("sign-in form"),
		origin:   http.NewCrossOriginProtection(),
		slowed:   web.NewRateLimiter(web.RateOptions{Every: time.Minute, Burst: 1, Now: o.Now}),
		leaving:  web.NewRateLimiter(web.RateOptions{Every: 2 * time.Second, Burst: 30, Now: o.Now}),
		pending:  o.Keys.Box("sign-in at an identity provider"),
		idTokens: o.Keys.Box("ID token of a browser session"),
		refresh:  o.Keys.Box("refresh token of an identity provider"),
		checks:   newChecks(o.Now),
	}
	if err := s.Swap(o.Settings); err != nil {
		return nil, err
	}
	origin := o.PublicURL.Scheme + "://" + o.PublicURL.Host
	if err := s.origin.AddTrustedOrigin(origin); err != nil {
		return nil, fmt.Errorf("sign-in: trust the public URL %s as a form's origin: %w", origin, err)
	}
	if !o.NoPasskeys && net.ParseIP(o.PublicURL.Hostname()) == nil {
		p, err := newPasskeys(o.PublicURL.Hostname(), origin)
		if err != nil {
			return nil, fmt.Errorf("sign-in: set up passkeys for %s: %w", origin, err)
		}
		s.passkeys = p
	}
	return s, nil
}

// key returns the person key of a built-in user.
func (s *Service) key(userID string) identity.PersonKey {
	return identity.PersonKey{Issuer: s.Issuer, Subject: userID}
}

// personOf turns a stored user into a person.
func (s *Service) personOf(u store.User) identity.Person {
	return identity.Person{
		Key:           s.key(u.ID),
		Username:      u.Username,
		Name:          u.Name,
		Email:         u.Email,
		EmailVerified: u.EmailVerified,
		Groups:        u.Groups,
		Claims:        identity.Claims(u.Claims),
	}
}

// randomBytes returns 256 random bits.
func randomBytes() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails since Go 1.24
	return b
}
