package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/signin"
	"gatehouse/internal/telemetry"
)

// providerSet keeps the identity providers at which people sign in. One whose settings are unchanged survives a reload,
// with what it knows of the other side.
type providerSet struct {
	metrics *telemetry.Metrics
	client  *http.Client
	log     *slog.Logger
	now     func() time.Time
	current map[string]*provider // by name
}

type provider struct {
	*oauthclient.Provider
	part
	made config.OIDC
}

// plan makes the providers of a configuration and takes over those that are there already. None that is new runs yet.
func (s *providerSet) plan(c *config.Config) (map[string]*provider, error) {
	next := make(map[string]*provider, len(c.SignIn.OIDC))
	for _, o := range c.SignIn.OIDC {
		if old := s.current[o.Name]; old != nil && reflect.DeepEqual(old.made, o) {
			next[o.Name] = old
			continue
		}
		options := o.Client(c.PublicURL)
		options.Client, options.Now, options.Log = s.client, s.now, s.log
		options.KeysTold = s.metrics.Keys(options.DiscoveryURL)
		p, err := oauthclient.New(options)
		if err != nil {
			return nil, err
		}
		next[o.Name] = &provider{Provider: p, made: o}
	}
	return next, nil
}

// adopt starts what is new in a plan and returns what the plan no longer has. A nil plan has nothing.
func (s *providerSet) adopt(ctx context.Context, next map[string]*provider) (retired []*provider) {
	retired = adopt(ctx, s.log, "identity provider", s.current, next)
	s.current = next
	return retired
}

// signInSettings is the part of the configuration that signing in works by.
func signInSettings(c *config.Config, providers map[string]*provider) signin.Settings {
	s := signin.Settings{
		NoUsers: !c.SignIn.Users, Recheck: c.SignIn.Recheck, EndUnreachable: c.SignIn.Unreachable == config.UnreachableEnd,
	}
	for _, o := range c.SignIn.OIDC {
		s.Providers = append(s.Providers, signin.Provider{
			Provider: providers[o.Name].Provider, Label: o.Label, EmailDomains: o.EmailDomains, Hidden: o.Hidden, Claims: o.Claims, Assertions: o.IDJAG,
		})
	}
	return s
}

// vouchers is the rule that own tokens have to meet: whoever vouched for the person is still in the configuration. A
// service has nobody who vouches for it.
func vouchers(c *config.Config) (*identity.Rule, error) {
	leaves := []identity.ClaimRule{{Claim: "sub", Type: identity.TypeString, Operator: identity.OpStartsWith, Values: []string{identity.ServicePrefix}}}
	if c.SignIn.Users {
		leaves = append(leaves, identity.ClaimRule{Claim: identity.ProviderClaim, Operator: identity.OpExists, Values: []string{"false"}})
	}
	for _, o := range c.SignIn.OIDC {
		leaves = append(leaves, identity.ClaimRule{Claim: identity.ProviderClaim, Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{o.Name}})
	}
	var parts []*identity.Rule
	for _, l := range leaves {
		rule, err := identity.NewRule(l)
		if err != nil {
			return nil, fmt.Errorf("rule about identity providers: %w", err)
		}
		parts = append(parts, rule)
	}
	return identity.AnyOf(parts...)
}
