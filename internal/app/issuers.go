package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/config"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/telemetry"
)

// keySets keeps what is known about other issuers. Like targets it survives a reload, so that an issuer that is away at
// that moment does not lock anybody out.
type keySets struct {
	metrics *telemetry.Metrics
	client  *http.Client
	log     *slog.Logger
	now     func() time.Time
	current issuers
}

// issuers are those of one configuration who sign what we take: other issuers, and clients with private_key_jwt.
type issuers struct {
	keys          map[string]*keySet // published keys, one set for each discovery URL and each jwks_uri of a client
	introspectors map[introspection]*authn.Introspector
}

type keySet struct {
	*jose.RemoteKeys
	part
}

// introspection is what makes one introspector differ from another.
type introspection struct{ discoveryURL, url, clientID, clientSecret, authMethod string }

func introspectionOf(a config.Authorizer) introspection {
	in := a.Introspection
	if in == nil {
		return introspection{}
	}
	return introspection{a.DiscoveryURL, in.URL, in.ClientID, in.ClientSecret.Reveal(), in.AuthMethod}
}

// plan makes what a configuration needs and takes over what is there already.
func (s *keySets) plan(c *config.Config) (*issuers, error) {
	next := &issuers{keys: map[string]*keySet{}, introspectors: map[introspection]*authn.Introspector{}}
	old := &s.current
	for _, cl := range c.Clients {
		if cl.JWKSURI == "" {
			continue
		}
		// The keys are the client's own: whatever signs with them speaks as the client, and as nobody else.
		o := jose.RemoteOptions{JWKSURL: cl.JWKSURI, Issuer: identity.Issuer(cl.ClientID)}
		if err := s.keysFor(next, old, clientKeys(cl), o); err != nil {
			return nil, fmt.Errorf("client %s: %w", cl.ClientID, err)
		}
	}
	for _, a := range c.Authorizers {
		if c.IsOwn(a.DiscoveryURL) {
			continue
		}
		if err := s.keysFor(next, old, a.DiscoveryURL, jose.RemoteOptions{DiscoveryURL: a.DiscoveryURL}); err != nil {
			return nil, fmt.Errorf("authorizer %s: %w", a.Name, err)
		}
		if a.Introspection == nil {
			continue
		}
		key := introspectionOf(a)
		if next.introspectors[key] = old.introspectors[key]; next.introspectors[key] != nil {
			continue
		}
		var err error
		if next.introspectors[key], err = s.introspector(a, next.keys[a.DiscoveryURL]); err != nil {
			return nil, fmt.Errorf("authorizer %s: %w", a.Name, err)
		}
	}
	return next, nil
}

// clientKeys names the key set of a client with a jwks_uri. It cannot be a discovery URL.
func clientKeys(cl config.Client) string { return string(cl.ClientID) + " " + cl.JWKSURI }

// keysFor puts a key set into a plan: the one there was, or a new one.
func (s *keySets) keysFor(next, old *issuers, name string, o jose.RemoteOptions) error {
	if next.keys[name] == nil {
		next.keys[name] = old.keys[name]
	}
	if next.keys[name] != nil {
		return nil
	}
	o.Client, o.Now, o.Log = s.client, s.now, s.log
	o.Told = s.metrics.Keys(o.DiscoveryURL + o.JWKSURL)
	keys, err := jose.NewRemoteKeys(o)
	if err != nil {
		return err
	}
	next.keys[name] = &keySet{RemoteKeys: keys}
	return nil
}

func (s *keySets) introspector(a config.Authorizer, keys *keySet) (*authn.Introspector, error) {
	in := a.Introspection
	o := authn.IntrospectionOptions{
		Endpoint: keys.IntrospectionEndpoint, ClientID: in.ClientID, ClientSecret: in.ClientSecret,
		Post: in.AuthMethod == config.AuthPost, Client: s.client, Now: s.now,
	}
	if in.URL != "" {
		o.Endpoint = func(context.Context) (string, error) { return in.URL, nil }
	}
	return authn.NewIntrospector(o)
}

// adopt starts what is new in a plan and returns what the plan no longer has. A nil plan has nothing.
func (s *keySets) adopt(ctx context.Context, next *issuers) (retired []*keySet) {
	if next == nil {
		next = &issuers{}
	}
	retired = adopt(ctx, s.log, "keys of", s.current.keys, next.keys)
	s.current = *next
	return retired
}
