package upauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/loopback"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

// Options says for which target tokens are, and how they are obtained.
type Options struct {
	Target string // its name, for messages
	URL    string // of the MCP server, as the administrator wrote it

	// Issuer is the one authorization server at which Client is known. Empty: the one that the target names. Then it is
	// the target that decides where a secret of Client is sent, so leave it empty only without one.
	Issuer   identity.Issuer
	Client   Client // registered by hand; zero: Document, else dynamic registration (RFC 7591)
	Document string // URL of our client ID metadata document, for authorization servers that take such
	Grant    Grant

	// Scopes are what is asked for, whatever the target wants. Empty: what the target asks for, and more when it asks for
	// more.
	Scopes     identity.Scopes
	Parameters map[string]string // further parameters of token requests
	// WithoutResource leaves the resource parameter (RFC 8707) out of token requests, for authorization servers that refuse
	// it. Tokens are then for whatever the scopes stand for.
	WithoutResource bool
	DPoP            bool // tokens bound to a key of this Source (RFC 9449), and no others

	Near *http.Client // for URLs of the administrator's: that of the target, the issuer, and what the issuer names
	Far  *http.Client // for every other URL that a target names
	Now  func() time.Time
	Log  *slog.Logger
}

// Client is what an authorization server knows Gatehouse as.
type Client struct {
	ID         identity.ClientID
	Secret     secret.Text            // or Key, or neither for a public client
	Key        *oauthclient.ClientKey //
	AuthMethod string                 // empty: what suits the authorization server

	expires time.Time // of the secret, when registered dynamically
}

// authNone is the authentication of a public client (RFC 7591 §2).
const authNone = "none"

// Source gets tokens for one target. It is safe for concurrent use, starts no goroutine that outlives its work, and has
// nothing to close.
type Source struct {
	o      Options
	target *url.URL
	key    *dpop.Key // nil without DPoP
	flight singleflight.Group
	budget *rate.Limiter // of tokens that are asked for because the target refused one

	mu      sync.Mutex // guards what follows
	token   *token
	asked   identity.Scopes
	known   *place
	home    identity.Issuer            // of the client that was registered by hand: the first it was used at
	clients map[identity.Issuer]Client // registered dynamically, each for its own issuer
	failed  error                      // the last failure
	pause   time.Time                  // until when it stands
	nonces  map[string]string          // of DPoP, by origin
}

// New checks the options. Nothing is contacted before the first request.
func New(o Options) (*Source, error) {
	target, err := url.Parse(o.URL)
	switch {
	case err != nil || target.Host == "":
		return nil, fmt.Errorf("token for target %s: url is not an absolute URL", o.Target)
	case o.Grant == nil || o.Near == nil || o.Far == nil || o.Now == nil || o.Log == nil:
		return nil, errors.New("token for target " + o.Target + ": grant, HTTP clients, clock and log are required")
	case !o.Client.Secret.IsZero() && o.Client.Key != nil:
		return nil, errors.New("token for target " + o.Target + ": give either a client secret or a client key")
	case o.Client.ID == "" && (!o.Client.Secret.IsZero() || o.Client.Key != nil):
		return nil, errors.New("token for target " + o.Target + ": there is a secret or key, and no client id")
	}
	if o.Issuer != "" {
		if _, err := secureURL(string(o.Issuer)); err != nil {
			return nil, fmt.Errorf("token for target %s: issuer: %w", o.Target, err)
		}
	}
	s := &Source{o: o, target: target, asked: o.Scopes, home: o.Issuer, budget: rate.NewLimiter(rate.Every(refusalEvery), refusalBurst), clients: map[identity.Issuer]Client{}, nonces: map[string]string{}}
	if o.DPoP {
		if s.key, err = dpop.NewKey(); err != nil {
			return nil, fmt.Errorf("token for target %s: %w", o.Target, err)
		}
	}
	return s, nil
}

// secureURL admits https, and http on the loopback interface.
func secureURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("it is no URL")
	case u.Host == "" || u.User != nil || strings.Contains(raw, "#"):
		return nil, fmt.Errorf("%.200q is not of the form https://host/path", u.Redacted())
	case u.Scheme == "https" || u.Scheme == "http" && loopback.Is(u.Hostname()):
		return u, nil
	}
	return nil, fmt.Errorf("%.200q is not https", u.Redacted())
}

// origin is the scheme, host and port of a URL.
func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}
