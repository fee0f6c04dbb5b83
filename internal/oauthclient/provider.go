package oauthclient

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

// Provider is Gatehouse's application at one IdP. It is safe for concurrent use.
type Provider struct {
	o        Options
	preset   Preset
	scopes   identity.Scopes
	template identity.Issuer // for Entra with several tenants
	client   *http.Client
	keys     *jose.RemoteKeys

	flight singleflight.Group // one fetch of the discovery document at a time
	mu     sync.Mutex         // guards what follows
	known  *Metadata
	due    time.Time // next fetch
	last   error     // of the last fetch

	trouble   error // of the last exchange, unless the IdP understood it
	troubleAt time.Time
}

// New checks the options. It fetches nothing and starts nothing; Run keeps metadata and keys fresh.
func New(o Options) (*Provider, error) {
	preset, err := o.validate()
	if err != nil {
		return nil, fmt.Errorf("identity provider %q: %w", o.Name, err)
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p := &Provider{o: o, preset: preset, scopes: o.scopes(preset), template: o.tenantTemplate(preset), client: &client}
	issuer := o.Issuer
	if p.template != "" {
		issuer = p.template
	}
	p.keys, err = jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: o.DiscoveryURL, Issuer: issuer, Client: &client, Now: o.Now, Log: o.Log, Told: o.KeysTold})
	if err != nil {
		return nil, fmt.Errorf("identity provider %q: %w", o.Name, err)
	}
	return p, nil
}

// Run keeps discovery document and keys fresh until ctx ends. Without it they are fetched when they are needed.
func (p *Provider) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.keys.Run(ctx) })
	g.Go(func() error { return p.keepMetadata(ctx) })
	return g.Wait()
}

// Name is what the administrator calls the IdP.
func (p *Provider) Name() string { return p.o.Name }

// Preset returns the vendor's peculiarities.
func (p *Provider) Preset() Preset { return p.preset }

// Scopes returns what is asked for.
func (p *Provider) Scopes() identity.Scopes { return slices.Clone(p.scopes) }

// AsksForRefresh reports whether the requests are such that this IdP gives a refresh token.
func (p *Provider) AsksForRefresh() bool { return p.preset.asksForRefresh(p.scopes) }

// Requires reports whether a rule decides who may sign in.
func (p *Provider) Requires() bool { return p.o.Require != nil }

// troubleFor is how long an IdP counts as unreachable after an exchange that it did not answer.
const troubleFor = 5 * time.Minute

// Trouble returns what stands in the way of exchanges with the IdP, as far as is known, or nil: it does not answer, its
// discovery document cannot be used, it does not accept Gatehouse.
func (p *Provider) Trouble() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trouble != nil && (KindOf(p.trouble) != Temporary || p.o.Now().Sub(p.troubleAt) < troubleFor) {
		return p.trouble
	}
	return p.last
}

// note remembers how an exchange ended. Anything but these two kinds means that the IdP is there and knows us.
func (p *Provider) note(err error) {
	kind := KindOf(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = nil
	if err != nil && (kind == Temporary || kind == Misconfigured) {
		p.trouble, p.troubleAt = err, p.o.Now()
	}
}

// Issues reports whether tokens with this iss are this IdP's to judge, so that a logout token finds its provider. It
// proves nothing.
func (p *Provider) Issues(iss identity.Issuer) bool {
	if p.template != "" {
		return slices.ContainsFunc(p.o.Tenants, func(t string) bool { return p.tenantIssuer(t) == iss })
	}
	return p.keys.Issues(iss)
}

// SameIssuer reports whether both are applications at one IdP.
func (p *Provider) SameIssuer(o *Provider) bool {
	return p.o.DiscoveryURL == o.o.DiscoveryURL || p.o.Issuer != "" && p.o.Issuer == o.o.Issuer
}

func (p *Provider) tenantIssuer(tenant string) identity.Issuer {
	return identity.Issuer(strings.Replace(string(p.template), tenantMark, tenant, 1))
}
