package signin

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
)

// VouchLife is how long an identity provider's word holds when it cannot be asked again: because it gave no refresh
// token, or because it does not answer.
const VouchLife = 8 * time.Hour

// DefaultRecheck is how old a provider's word may be before a client's refresh has it asked again.
const DefaultRecheck = 5 * time.Minute

// Settings are the part of the options that a reload may change. They are immutable once handed over.
type Settings struct {
	NoUsers   bool // nobody signs in with a password or passkey of ours
	Providers []Provider

	Recheck        time.Duration // default DefaultRecheck
	EndUnreachable bool          // while a provider does not answer, its people's clients get no new tokens
}

// Provider is an identity provider at which people sign in.
type Provider struct {
	*oauthclient.Provider
	Label        string   // what people call it; default its name
	EmailDomains []string // addresses of these domains lead to it, in lower case
	Hidden       bool     // it is not offered: only an address leads to it
	Claims       []string // names of claims that tokens carry besides those of the person's own record
	Assertions   bool     // clients may bring its assertions about people (ID-JAG) instead of sending them here
}

func (p *Provider) label() string {
	if p.Label != "" {
		return p.Label
	}
	return p.Name()
}

// Check reports settings that Swap would refuse.
func (s Settings) Check() error {
	var faults []error
	for i, p := range s.Providers {
		switch {
		case p.Provider == nil:
			faults = append(faults, errors.New("sign-in: a provider is missing"))
		case slices.ContainsFunc(s.Providers[:i], func(o Provider) bool { return o.Provider != nil && o.Name() == p.Name() }):
			faults = append(faults, fmt.Errorf("sign-in: two providers are called %q", p.Name()))
		case p.Assertions && slices.ContainsFunc(s.Providers[:i], func(o Provider) bool { return o.Provider != nil && o.Assertions && o.SameIssuer(p.Provider) }):
			faults = append(faults, fmt.Errorf("sign-in: the assertions of one issuer are trusted twice, so that %q is never asked", p.Name()))
		}
	}
	if s.Recheck < 0 || s.Recheck > VouchLife {
		faults = append(faults, fmt.Errorf("sign-in: providers must be asked again between at once and after %s", VouchLife))
	}
	return errors.Join(faults...)
}

// Swap replaces the settings. When it returns an error nothing has changed. Routes depends on them, so build the mux
// anew afterwards.
func (s *Service) Swap(next Settings) error {
	if err := next.Check(); err != nil {
		return err
	}
	if next.Recheck == 0 {
		next.Recheck = DefaultRecheck
	}
	s.settings.Store(&next)
	return nil
}

// provider finds one by name; nil when there is none.
func (s *Settings) provider(name string) *Provider {
	for i := range s.Providers {
		if s.Providers[i].Name() == name {
			return &s.Providers[i]
		}
	}
	return nil
}

// providerOf finds the provider to which an e-mail address leads; nil when there is none.
func (s *Settings) providerOf(address string) *Provider {
	_, domain, found := strings.Cut(address, "@")
	if !found {
		return nil
	}
	domain = strings.ToLower(domain)
	for i := range s.Providers {
		if slices.Contains(s.Providers[i].EmailDomains, domain) {
			return &s.Providers[i]
		}
	}
	return nil
}

// takesAddresses reports whether some provider is found by e-mail address.
func (s *Settings) takesAddresses() bool {
	return slices.ContainsFunc(s.Providers, func(p Provider) bool { return len(p.EmailDomains) > 0 })
}

// choice is a provider as the sign-in page shows it.
type choice struct{ Name, Label string }

func (p *Provider) choice() choice { return choice{p.Name(), p.label()} }

// offered lists the providers that have a button.
func (s *Settings) offered() []choice {
	var out []choice
	for i := range s.Providers {
		if p := &s.Providers[i]; !p.Hidden {
			out = append(out, p.choice())
		}
	}
	return out
}

// carried picks the claims that go into tokens.
func (p *Provider) carried(all map[string]any) identity.Claims {
	var out identity.Claims
	for _, name := range p.Claims {
		if v, ok := all[name]; ok && !identity.ReservedClaim(name) {
			if out == nil {
				out = identity.Claims{}
			}
			out[name] = v
		}
	}
	return out
}

// Trouble is what stands between Gatehouse and a provider.
type Trouble struct{ Provider, Text string }

// Troubles lists the providers at which people cannot sign in now, as far as is known.
func (s *Service) Troubles() []Trouble {
	var out []Trouble
	for _, p := range s.settings.Load().Providers {
		if err := p.Provider.Trouble(); err != nil {
			out = append(out, Trouble{p.Name(), err.Error()})
		}
	}
	return out
}
