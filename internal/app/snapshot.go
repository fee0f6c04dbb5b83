package app

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/authn"
	"gatehouse/internal/authserver"
	"gatehouse/internal/config"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
)

// clientsOf translates the static clients.
func clientsOf(c *config.Config, remote *issuers) ([]authserver.Client, error) {
	out := make([]authserver.Client, 0, len(c.Clients))
	for _, cl := range c.Clients {
		next := authserver.Client{
			ID: cl.ClientID, Name: cl.Name, RedirectURIs: cl.RedirectURIs, AuthMethod: cl.AuthMethod, Secret: cl.Secret,
			GrantTypes: cl.GrantTypes, Groups: cl.Groups, DPoPBound: cl.DPoPBound, CertificateBound: cl.CertificateBound, Audience: cl.Audience, Scopes: cl.Scopes, AccessTokenClaims: cl.AccessTokenClaims,
			PostLogoutRedirectURIs: cl.PostLogoutURIs,
			Lifetimes:              lifetimesOf(cl.Lifetimes), SkipConsent: cl.Consent == config.ConsentSkip,
			AssertionAlg: cl.AssertionAlg,
		}
		switch {
		case cl.JWKSURI != "":
			next.Keys = remote.keys[clientKeys(cl)].RemoteKeys
		case !cl.JWKS.IsZero():
			keys, err := jose.ParseKeySet([]byte(cl.JWKS.Reveal()))
			if err != nil {
				return nil, fmt.Errorf("client %s: jwks: %w", cl.ClientID, err)
			}
			next.Keys = keys
		}
		out = append(out, next)
	}
	return out, nil
}

func lifetimesOf(l config.Lifetimes) authserver.Lifetimes {
	return authserver.Lifetimes{Access: l.AccessToken, ID: l.IDToken, Refresh: l.RefreshToken, RefreshIdle: l.RefreshIdle}
}

// authServerSnapshot is the part of the configuration that the authorization server works by.
func authServerSnapshot(c *config.Config, remote *issuers) (authserver.Snapshot, error) {
	clients, err := clientsOf(c, remote)
	if err != nil {
		return authserver.Snapshot{}, err
	}
	s := authserver.Snapshot{
		Clients: clients, RedirectSchemes: c.Registration.PrivateRedirectSchemes,
		RegistrationClosed: !c.Registration.Dynamic, NoDevices: !c.Registration.DeviceCode,
		Assertions:        slices.ContainsFunc(c.SignIn.OIDC, func(o config.OIDC) bool { return o.IDJAG }),
		Certificates:      c.CertificatesShown(),
		DPoPNonceOptional: c.DPoP.Nonce == config.NonceNowhere, Lifetimes: lifetimesOf(c.Tokens),
		Documents: authserver.Documents{
			Off: !c.Registration.Documents.Enabled, Hosts: c.Registration.Documents.Hosts, Trusted: c.Registration.Documents.Trusted,
		},
	}
	for _, e := range c.Endpoints {
		if e.Access.Anonymous {
			continue // takes no tokens, so none is issued for it
		}
		all := e.Scopes.Advertised
		for _, scopes := range e.Scopes.Tools {
			all = all.Union(scopes)
		}
		for _, scopes := range e.Scopes.Methods {
			all = all.Union(scopes)
		}
		s.Resources = append(s.Resources, authserver.Resource{
			URL: c.Resource(e.Path), DefaultScopes: e.Scopes.Default, Scopes: all, DPoPRequired: e.DPoP == config.DPoPRequired,
		})
	}
	return s, s.Check()
}

// policyOf translates an endpoint's access rule and scopes.
func policyOf(c *config.Config, e *config.Endpoint) (*policy.Policy, error) {
	o := policy.Options{Access: policy.Access{
		AnySignedIn: e.Access.AnySignedIn || e.Access.Anonymous, Rule: e.Access.Rule, Services: e.Services,
	}}
	for name, scopes := range e.Scopes.Tools {
		for _, target := range e.Targets { // each that may have a tool of that name
			if own, ok := strings.CutPrefix(name, c.PrefixOf(e, target)); ok && own != "" {
				o.Requires = append(o.Requires, policy.Requirement{Target: target, Method: mcp.MethodToolsCall, Name: own, Scopes: scopes})
			}
		}
	}
	if e.Search != nil { // Gatehouse's own tool
		o.Requires = append(o.Requires, policy.Requirement{Method: mcp.MethodToolsCall, Name: "search_tools", Scopes: e.Scopes.Tools["search_tools"]})
	}
	for method, scopes := range e.Scopes.Methods {
		o.Requires = append(o.Requires, policy.Requirement{Method: method, Scopes: scopes})
	}
	p, err := policy.New(o)
	if err != nil {
		return nil, fmt.Errorf("endpoint %s: %w", e.Path, err)
	}
	return p, nil
}

// authnEndpoint translates whose tokens an endpoint takes.
func authnEndpoint(c *config.Config, e config.Endpoint, own jose.KeySource, remote *issuers) (*authn.Endpoint, error) {
	out := &authn.Endpoint{Path: e.Path, Resource: c.Resource(e.Path), Name: "Gatehouse " + e.Path, DefaultScopes: e.Scopes.Default,
		ExtraScopes: e.Scopes.Advertised, Anonymous: e.Access.Anonymous, DPoPRequired: e.DPoP == config.DPoPRequired, NonceRequired: c.DPoP.Nonce == config.NonceEverywhere,
		Certificates: c.CertificatesShown()}
	for _, name := range e.Issuers {
		if name == config.Gatehouse {
			rule, err := vouchers(c)
			if err != nil {
				return nil, err
			}
			out.Authorizers = append(out.Authorizers, &authn.Authorizer{Name: name, Own: true, Issuer: c.Issuer(), Keys: own, CustomClaims: []*identity.Rule{rule}})
			continue
		}
		for _, a := range c.Authorizers {
			if a.Name != name {
				continue
			}
			authorizer, err := authorizerOf(c, a, own, remote)
			if err != nil {
				return nil, err
			}
			out.Authorizers = append(out.Authorizers, authorizer)
		}
	}
	return out, out.Validate()
}

func authorizerOf(c *config.Config, a config.Authorizer, own jose.KeySource, remote *issuers) (*authn.Authorizer, error) {
	out := &authn.Authorizer{
		Name: a.Name, Introspection: remote.introspectors[introspectionOf(a)], AllowedAudience: a.AllowedAudience, NoAudience: len(a.AllowedAudience) == 0,
		AllowedClients: a.AllowedClients, AllowedScopes: a.AllowedScopes, AdvertisedScopes: a.AdvertisedScopes,
		CustomClaims: a.CustomClaims,
	}
	if c.IsOwn(a.DiscoveryURL) {
		rule, err := vouchers(c)
		out.Issuer, out.Keys, out.CustomClaims = c.Issuer(), own, append(slices.Clip(out.CustomClaims), rule)
		return out, err
	}
	out.Keys = remote.keys[a.DiscoveryURL].RemoteKeys
	return out, nil
}
