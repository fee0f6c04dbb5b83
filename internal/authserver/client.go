package authserver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/web"
)

// Client authentication methods (RFC 7591 §2) and grant types (RFC 6749, RFC 7591).
const (
	AuthNone  = "none"
	AuthBasic = "client_secret_basic"
	AuthPost  = "client_secret_post"

	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
)

// Client is an application that may ask for tokens: one that an administrator wrote down, or one that registered
// itself and carries its metadata in its id.
type Client struct {
	ID                     identity.ClientID
	Name                   string
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	AuthMethod             string          // none (the default without a secret), client_secret_basic (the default with one), client_secret_post
	Secret                 secret.Text     // for the two secret methods
	GrantTypes             []string        // default: authorization_code and refresh_token
	Audience               string          // aud of access tokens instead of the endpoint's URL
	Scopes                 identity.Scopes // the most it can be granted; empty: whatever the endpoint knows
	AccessTokenClaims      map[string]any
	Lifetimes              Lifetimes
	SkipConsent            bool // for first-party applications on https only

	registered bool // it registered itself: nobody has vouched for its name
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
	if c.AuthMethod == "" {
		c.AuthMethod = AuthNone
		if !c.Secret.IsZero() {
			c.AuthMethod = AuthBasic
		}
	}
	if !slices.Contains([]string{AuthNone, AuthBasic, AuthPost}, c.AuthMethod) {
		return nil, fmt.Errorf("authentication method %q is unknown; use none, client_secret_basic or client_secret_post", c.AuthMethod)
	}
	if (c.AuthMethod == AuthNone) != c.Secret.IsZero() {
		return nil, fmt.Errorf("authentication method %s and the secret do not fit: none goes without a secret, the others need one", c.AuthMethod)
	}
	for _, g := range c.GrantTypes {
		if g != GrantCode && g != GrantRefresh {
			return nil, fmt.Errorf("grant type %q is unknown; use authorization_code and refresh_token", g)
		}
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
	lifetimes Lifetimes // of registered clients
	metadata  []byte
}

func newSettings(issuer identity.Issuer, snapshot Snapshot) (*settings, error) {
	out := &settings{
		clients: map[identity.ClientID]*Client{}, resources: slices.Clone(snapshot.Resources),
		schemes: snapshot.RedirectSchemes, closed: snapshot.RegistrationClosed,
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

// lookup finds a client that may act. Clients that an administrator revoked are as unknown as those that never were.
func (s *Server) lookup(ctx context.Context, id identity.ClientID) (*Client, error) {
	unknown := refuse(codeInvalidClient, "this client is not known here, or no longer allowed")
	client := s.current.Load().clients[id]
	if client == nil {
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
	if revoked {
		return nil, unknown
	}
	return client, nil
}

// credentials are what a request to the token or revocation endpoint says about its client. Basic credentials come
// raw from some clients and form-encoded (RFC 6749 §2.3.1) from others, so that there may be two readings of each.
type credentials struct {
	ids     []identity.ClientID
	secrets []string
	method  string
}

// authenticate checks that the request comes from the client that it names, by the method that client is registered for.
func (s *Server) authenticate(r *http.Request, form url.Values) (*Client, error) {
	given, err := readCredentials(r, form)
	if err != nil {
		return nil, err
	}
	client, err := s.lookup(r.Context(), given.ids[0])
	if err != nil && len(given.ids) > 1 {
		client, err = s.lookup(r.Context(), given.ids[1])
	}
	if err != nil {
		e := web.AsError(err)
		if e.Code == codeInvalidClient {
			return nil, refuseClient(e.Message, e.Cause)
		}
		return nil, e
	}
	if client.AuthMethod != given.method {
		return nil, refuseClient("this client is registered for the authentication method "+client.AuthMethod, nil)
	}
	if client.AuthMethod == AuthNone {
		return client, nil
	}
	if !slices.ContainsFunc(given.secrets, func(secret string) bool { return s.secretFits(client, secret) }) {
		return nil, refuseClient("the client secret is wrong", nil)
	}
	return client, nil
}

// secretFits compares in constant time, whatever the lengths.
func (s *Server) secretFits(client *Client, given string) bool {
	if client.registered {
		tag, err := base64.RawURLEncoding.DecodeString(given)
		return err == nil && s.clientSecret.Check([]byte(client.ID), tag)
	}
	want, got := sha256.Sum256([]byte(client.Secret.Reveal())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func readCredentials(r *http.Request, form url.Values) (*credentials, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	scheme, encoded, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Basic") {
		switch {
		case id == "":
			return nil, refuseClient("client_id is missing", nil)
		case secret == "":
			return &credentials{ids: []identity.ClientID{identity.ClientID(id)}, method: AuthNone}, nil
		}
		return &credentials{ids: []identity.ClientID{identity.ClientID(id)}, secrets: []string{secret}, method: AuthPost}, nil
	}
	if secret != "" {
		return nil, refuse(codeInvalidRequest, "the client authenticates in two ways at once")
	}
	out, err := parseBasic(strings.TrimSpace(encoded))
	if err != nil {
		return nil, refuseClient("the Basic credentials cannot be read", err)
	}
	if id != "" && !slices.Contains(out.ids, identity.ClientID(id)) {
		return nil, refuse(codeInvalidRequest, "client_id and the Basic credentials name different clients")
	}
	return out, nil
}

// parseBasic reads the credentials of RFC 7617. An empty secret is none.
func parseBasic(encoded string) (*credentials, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	id, secret, ok := strings.Cut(string(raw), ":")
	if !ok || id == "" {
		return nil, errors.New("no client id before a colon")
	}
	out := &credentials{ids: []identity.ClientID{identity.ClientID(id)}, method: AuthNone}
	if decoded, err := url.QueryUnescape(id); err == nil && decoded != id && decoded != "" {
		out.ids = append(out.ids, identity.ClientID(decoded))
	}
	if secret == "" {
		return out, nil
	}
	out.method, out.secrets = AuthBasic, []string{secret}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		out.secrets = append(out.secrets, decoded)
	}
	return out, nil
}
