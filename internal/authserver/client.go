package authserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/clientdoc"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/secret"
)

// Client authentication methods (RFC 7591 §2) and grant types (RFC 6749, RFC 7591, RFC 8628 §3.4).
const (
	AuthNone       = "none"
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"

	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"

	GrantClientCredentials = "client_credentials"
	GrantIDJAG             = "urn:ietf:params:oauth:grant-type:jwt-bearer" // RFC 7523 §2.1
)

// Client is an application that may ask for tokens: one that an administrator wrote down, or one that registered
// itself and carries its metadata in its id.
type Client struct {
	ID                     identity.ClientID
	Name                   string
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	AuthMethod             string          // default: private_key_jwt with keys, client_secret_basic with a secret, else none
	Secret                 secret.Text     // for client_secret_basic and client_secret_post
	Keys                   jose.KeySource  // for private_key_jwt: what its assertions are signed with
	AssertionAlg           string          // for private_key_jwt: the only algorithm; empty for any that we accept
	GrantTypes             []string        // default: authorization_code and refresh_token
	Audience               string          // aud of access tokens instead of the endpoint's URL
	Scopes                 identity.Scopes // the most it can be granted; empty: whatever the endpoint knows
	AccessTokenClaims      map[string]any
	Groups                 []string // of a service: what groups says in its tokens
	Lifetimes              Lifetimes
	SkipConsent            bool // for first-party applications on https only
	DPoPBound              bool // dpop_bound_access_tokens: it gets no token without a proof (RFC 9449 §5.2)
	CertificateBound       bool // tls_client_certificate_bound_access_tokens: it gets no token without a certificate (RFC 8705 §3.4)

	Host string // of the metadata document that describes it; empty for other kinds of clients

	registered bool // it registered or describes itself: nobody has vouched for its name
	pending    bool // its document has not been fetched
}

// Pending reports whether the client's metadata document may not be fetched before somebody has signed in. Nothing but ID
// and Host is known then, and the client may do nothing.
func (c *Client) Pending() bool { return c.pending }

// vouchedBy reports whether the host of the client's document is where the answer goes, so that it is really that host
// which asks. Loopback addresses and private-use schemes are open to every program on a device, other hosts to whoever
// they belong to. Without a redirect, as with devices, the client's own key will do.
func (c *Client) vouchedBy(redirectURI string) bool {
	if c.Host == "" || c.pending {
		return false
	}
	if redirectURI == "" {
		return c.AuthMethod == AuthPrivateKey
	}
	u, err := url.Parse(redirectURI)
	return err == nil && u.Scheme == "https" && strings.TrimSuffix(strings.ToLower(u.Host), ":443") == c.Host
}

// Lifetimes are how long what a client gets is good for. Zero means the default.
type Lifetimes struct {
	Access      time.Duration // 1 h
	ID          time.Duration // 1 h
	Refresh     time.Duration // 90 d from the person's consent
	RefreshIdle time.Duration // 30 d without use
}

// minLifetime keeps clients that refresh a minute ahead of time from refreshing with every request.
const minLifetime = 5 * time.Minute

func (l Lifetimes) withDefaults() (Lifetimes, error) {
	const day = 24 * time.Hour
	l = Lifetimes{
		Access:      cmp.Or(l.Access, time.Hour),
		ID:          cmp.Or(l.ID, time.Hour),
		Refresh:     cmp.Or(l.Refresh, 90*day),
		RefreshIdle: cmp.Or(l.RefreshIdle, 30*day),
	}
	if shortest := min(l.Access, l.ID, l.Refresh, l.RefreshIdle); shortest < minLifetime {
		return l, fmt.Errorf("lifetime %s is too short: no lifetime may be under %s", shortest, minLifetime)
	}
	if longest := max(l.Access, l.ID); longest > day {
		return l, fmt.Errorf("lifetime %s is too long: access and ID tokens live for %s at most; refresh tokens may live longer", longest, day)
	}
	return l, nil
}

func (c *Client) allows(grant string) bool { return slices.Contains(c.GrantTypes, grant) }

// withDefaults checks what an administrator wrote and fills in the rest.
func (c Client) withDefaults() (*Client, error) {
	c.registered = false
	if c.Name == "" {
		c.Name = string(c.ID)
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []string{GrantCode, GrantRefresh}
	}
	if err := c.checkAuthMethod(); err != nil {
		return nil, err
	}
	for _, g := range c.GrantTypes {
		if !slices.Contains(grantTypes(), g) {
			return nil, fmt.Errorf("grant type %q is unknown; use one of %s", g, strings.Join(grantTypes(), ", "))
		}
	}
	if c.allows(GrantIDJAG) && c.Audience != "" {
		return nil, fmt.Errorf("grant type %s goes with no audience: the identity provider says which endpoint its tokens are for", GrantIDJAG)
	}
	if err := c.checkService(); err != nil {
		return nil, err
	}
	for _, uri := range slices.Concat(c.RedirectURIs, c.PostLogoutRedirectURIs) {
		u, err := url.Parse(uri)
		if err != nil || !u.IsAbs() || u.User != nil || strings.Contains(uri, "#") {
			return nil, fmt.Errorf("redirect URI %q is not an absolute URI without user name and fragment", uri)
		}
		if u.Scheme == "http" && !isLoopback(uri) || slices.Contains([]string{"javascript", "data", "file"}, u.Scheme) {
			return nil, fmt.Errorf("redirect URI %q: use https, or http on localhost, 127.0.0.1 or [::1]", uri)
		}
		if c.SkipConsent && u.Scheme != "https" {
			return nil, fmt.Errorf("consent can be skipped only for redirect URIs on https, not for %q", uri)
		}
	}
	for name := range c.AccessTokenClaims {
		if identity.ProtocolClaim(name) {
			return nil, fmt.Errorf("access token claim %q is set by the server and cannot be given", name)
		}
	}
	var err error
	c.Lifetimes, err = c.Lifetimes.withDefaults()
	return &c, err
}

// grantTypes are the grants that a static client may have.
func grantTypes() []string {
	return []string{GrantCode, GrantRefresh, GrantDevice, GrantClientCredentials, GrantIDJAG}
}

// checkService keeps services apart from applications through which people come: what is granted to one must never be
// taken for the other.
func (c *Client) checkService() error {
	switch service := c.allows(GrantClientCredentials); {
	case !service && len(c.Groups) > 0:
		return fmt.Errorf("groups are for services, whose only grant is %s", GrantClientCredentials)
	case !service:
	case len(c.GrantTypes) > 1:
		return fmt.Errorf("grant type %s goes with no other: make one client for the service and one for people", GrantClientCredentials)
	case c.AuthMethod == AuthNone:
		return fmt.Errorf("grant type %s needs a client that authenticates, with a secret or with keys", GrantClientCredentials)
	case len(c.Scopes) == 0:
		return fmt.Errorf("grant type %s needs the scopes that the service may have", GrantClientCredentials)
	case standardScopes().HasAny(c.Scopes):
		return fmt.Errorf("grant type %s does not go with the scopes %s, which are about people", GrantClientCredentials, standardScopes())
	}
	return nil
}

// authMethods are the ways in which clients may authenticate, as the metadata lists them.
func authMethods() []string { return []string{AuthNone, AuthPost, AuthBasic, AuthPrivateKey} }

// checkAuthMethod fills in the method and holds it against what the client authenticates with.
func (c *Client) checkAuthMethod() error {
	if c.AuthMethod == "" {
		switch {
		case c.Keys != nil:
			c.AuthMethod = AuthPrivateKey
		case !c.Secret.IsZero():
			c.AuthMethod = AuthBasic
		default:
			c.AuthMethod = AuthNone
		}
	}
	withSecret := c.AuthMethod == AuthBasic || c.AuthMethod == AuthPost
	switch {
	case !slices.Contains(authMethods(), c.AuthMethod):
		return fmt.Errorf("authentication method %q is unknown; use one of %s", c.AuthMethod, strings.Join(authMethods(), ", "))
	case withSecret == c.Secret.IsZero():
		return fmt.Errorf("authentication method %s and the secret do not fit: client_secret_basic and client_secret_post need one, the others go without", c.AuthMethod)
	case (c.AuthMethod == AuthPrivateKey) != (c.Keys != nil):
		return fmt.Errorf("authentication method %s and the keys do not fit: private_key_jwt needs some, the others go without", c.AuthMethod)
	case c.AssertionAlg != "" && (c.Keys == nil || !slices.Contains(assertionAlgs(), c.AssertionAlg)):
		return fmt.Errorf("assertions cannot be signed with %q; private_key_jwt takes %s", c.AssertionAlg, strings.Join(assertionAlgs(), ", "))
	case c.CertificateBound && c.AuthMethod == AuthNone:
		return errors.New("tokens cannot be bound to the certificate of a client that does not authenticate: its refresh tokens would be bound to nothing")
	}
	return nil
}

func isLoopback(uri string) bool {
	_, _, ok := splitLoopback(uri)
	return ok
}

// settings is a checked snapshot.
type settings struct {
	clients   map[identity.ClientID]*Client
	resources []Resource
	schemes   []string
	closed    bool
	noDevices bool
	documents Documents

	nonceOptional bool
	assertions    bool
	certificates  bool
	lifetimes     Lifetimes // of registered clients
	metadata      []byte
}

func newSettings(issuer identity.Issuer, snapshot Snapshot) (*settings, error) {
	out := &settings{
		clients: map[identity.ClientID]*Client{}, resources: slices.Clone(snapshot.Resources),
		schemes: snapshot.RedirectSchemes, closed: snapshot.RegistrationClosed, noDevices: snapshot.NoDevices,
		documents:     snapshot.Documents,
		nonceOptional: snapshot.DPoPNonceOptional, assertions: snapshot.Assertions, certificates: snapshot.Certificates,
	}
	var faults []error
	var err error
	if out.lifetimes, err = snapshot.Lifetimes.withDefaults(); err != nil {
		faults = append(faults, fmt.Errorf("registered clients: %w", err))
	}
	for i, c := range snapshot.Clients {
		checked, err := c.withDefaults()
		switch {
		case c.ID == "":
			err = errors.New("the id is empty")
		case out.clients[c.ID] != nil:
			err = errors.New("the id is used twice")
		case strings.HasPrefix(string(c.ID), clientIDPrefix):
			err = fmt.Errorf("ids that begin with %s belong to registered clients", clientIDPrefix)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("client %d (%s): %w", i+1, c.ID, err))
			continue
		}
		out.clients[c.ID] = checked
	}
	for i, r := range out.resources {
		canonical, err := canonicalResource(r.URL)
		if err != nil {
			faults = append(faults, fmt.Errorf("resource %q: %w", r.URL, err))
		}
		out.resources[i].canonical = canonical
		out.resources[i].Scopes = r.DefaultScopes.Union(r.Scopes)
	}
	if out.metadata, err = newMetadata(issuer, out); err != nil {
		faults = append(faults, err)
	}
	return out, errors.Join(faults...)
}

// lookup finds a client that may act. Clients that an administrator revoked are as unknown as those that never were. A
// client whose metadata document would have to be fetched, when the account does not allow that, is Pending.
func (s *Server) lookup(ctx context.Context, id identity.ClientID, on account) (*Client, error) {
	unknown := refuse(codeInvalidClient, "client_unknown", "this client is not known here, or no longer allowed")
	current, host := s.current.Load(), ""
	client := current.clients[id]
	switch {
	case client != nil:
	case clientdoc.IsURL(string(id)):
		var err error
		if host, err = current.documentHost(s.Issuer, id); err != nil {
			return nil, err
		}
	default:
		var err error
		if client, err = s.openClientID(id); err != nil {
			unknown.Cause = err
			return nil, unknown
		}
	}
	revoked, err := s.Store.ClientRevoked(ctx, id)
	if err != nil {
		return nil, unavailable(err)
	}
	switch {
	case revoked:
		return nil, unknown
	case client == nil:
		return s.documented(ctx, id, host, on)
	}
	return client, nil
}
