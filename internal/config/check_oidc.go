package config

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
)

// providers checks the identity providers at which people sign in.
func (k *checker) providers() {
	var names, urls, domains []string
	for i := range k.cfg.SignIn.OIDC {
		p := &k.cfg.SignIn.OIDC[i]
		k.provider(fmt.Sprintf("sign_in.oidc[%d]", i), p)
		names, urls = append(names, p.Name), append(urls, p.DiscoveryURL+" "+string(p.ClientID))
		for j, d := range p.EmailDomains {
			at := fmt.Sprintf("sign_in.oidc[%d].email_domains[%d]", i, j)
			switch {
			case !domainPattern.MatchString(d):
				k.bad(at, fmt.Sprintf("%q is not a domain", d), "Write what stands behind the @, in lower case: acme.example.")
			case slices.Contains(domains, d):
				k.bad(at, fmt.Sprintf("%q leads to two providers", d), "Keep it at one of them.")
			}
			domains = append(domains, d)
		}
	}
	trusted := map[string]bool{}
	for i, p := range k.cfg.SignIn.OIDC {
		if p.IDJAG && trusted[p.DiscoveryURL] {
			k.bad(fmt.Sprintf("sign_in.oidc[%d].id_jag", i), "is set at a provider above with the same issuer, whose people these would be", "Keep it at one of them.")
		}
		trusted[p.DiscoveryURL] = trusted[p.DiscoveryURL] || p.IDJAG
	}
	for _, i := range repeated(names) {
		k.bad(fmt.Sprintf("sign_in.oidc[%d].name", i), fmt.Sprintf("%q is taken by a provider above", names[i]), "Give each provider its own name.")
	}
	for _, i := range repeated(urls) {
		k.doubtful(fmt.Sprintf("sign_in.oidc[%d]", i), "is an application that stands above already: its people would be two", "Keep one of the two.")
	}
}

// carriedClaims doubts access rules about claims that tokens do not carry: then nobody is ever admitted. Built-in users have
// any claims that their administrator gives them.
func (k *checker) carriedClaims() {
	if k.cfg.SignIn.Users {
		return
	}
	for _, e := range k.cfg.Endpoints {
		if !slices.Equal(e.Issuers, []string{Gatehouse}) {
			continue
		}
		for _, path := range e.Access.Rule.Claims() {
			if !k.carried(path) {
				k.doubtful(join("endpoints", e.Path)+".access", fmt.Sprintf("asks for the claim %q, which tokens do not carry", path),
					"Add it to the claims of a provider in sign_in.oidc.")
			}
		}
	}
}

func (k *checker) carried(path string) bool {
	first, _, _ := strings.Cut(path, ".")
	if identity.ReservedClaim(path) || identity.ReservedClaim(first) {
		return true
	}
	names := func(c string) bool { return path == c || strings.HasPrefix(path, c+".") }
	if slices.ContainsFunc(k.cfg.Clients, func(c Client) bool { return slices.ContainsFunc(slices.Collect(maps.Keys(c.AccessTokenClaims)), names) }) {
		return true
	}
	return slices.ContainsFunc(k.cfg.SignIn.OIDC, func(p OIDC) bool { return slices.ContainsFunc(p.Claims, names) })
}

var (
	providerName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	domainPattern = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
)

func (k *checker) provider(path string, p *OIDC) {
	if !providerName.MatchString(p.Name) {
		k.bad(path+".name", fmt.Sprintf("%q is not a name for a provider", p.Name), "Use up to 40 lower-case letters, digits and dashes: it becomes part of the callback URL.")
	}
	before := len(k.faults)
	k.discoveryURL(path+".discovery_url", p.DiscoveryURL)
	if k.cfg.IsOwn(p.DiscoveryURL) {
		k.bad(path+".discovery_url", "is Gatehouse itself", "Name the provider at which people have their accounts.")
	}
	if p.ClientID == "" {
		k.bad(path+".client_id", "is empty", "Copy it from the application at the provider.")
	}
	k.scopeList(path+".scopes", p.Scopes)
	for j, name := range p.Claims {
		if identity.ReservedClaim(name) || name == "" || strings.ContainsAny(name, " \"\\") {
			k.bad(fmt.Sprintf("%s.claims[%d]", path, j), fmt.Sprintf("%q is set by Gatehouse, or is no name of a claim", name), "Name claims that the provider puts into ID tokens, such as department.")
		}
	}
	if p.Hidden && len(p.EmailDomains) == 0 {
		k.bad(path+".hidden", "leaves no way to this provider", "Give it email_domains.")
	}
	preset, known := oauthclient.LookupPreset(p.Preset)
	if err := preset.CheckDiscoveryURL(p.DiscoveryURL); known && err != nil && len(k.faults) == before {
		k.bad(path+".discovery_url", fmt.Sprintf("does not look like one of %s, such as %s", p.Preset, preset.DiscoveryExample), sentence(preset.FormHint))
	}
	k.providerKey(path, p)
	if len(k.faults) > before || k.broken(path) {
		return
	}
	o := p.Client(k.cfg.PublicURL)
	if err := o.Check(); err != nil {
		k.bad(path, err.Error(), "docs/config.md lists the keys of a provider.")
		return
	}
	if preset.OpenToAnybody && p.Require == nil {
		k.doubtful(path, "has no require, and anybody in the world can have an account there", "Add a rule, such as require: {claim: hd, operator: equals, value: acme.example}.")
	}
	if !o.AsksForRefresh() {
		k.doubtful(path+".scopes", "get no refresh token, so that nobody can be asked whether a person still has access: clients have to sign in again after 8 h",
			"Add "+cmp.Or(preset.RefreshScope, "offline_access")+".")
	}
}

// sentence begins with a capital letter and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return "Copy it from the provider."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// providerKey reads the key, if there is one.
func (k *checker) providerKey(path string, p *OIDC) {
	switch {
	case p.PrivateKey == nil && p.ClientSecret.IsZero():
		k.bad(path, "has neither client_secret nor private_key", "Gatehouse is a confidential web application at the provider: give one of the two.")
	case p.PrivateKey != nil && !p.ClientSecret.IsZero():
		k.bad(path+".private_key", "stands beside client_secret", "Keep one of the two.")
	case p.PrivateKey != nil && !k.broken(path+".private_key"):
		var err error
		if p.PrivateKey.Signer, err = k.readSigner(p.PrivateKey.File); err != nil {
			k.bad(path+".private_key.file", fmt.Sprintf("cannot use the key: %v", err), "It must be an RSA or P-256 private key in PEM that Gatehouse may read.")
		}
	}
}

func (k *checker) readSigner(file string) (crypto.Signer, error) {
	data, err := k.read(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			if key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
				return nil, errors.New("it holds no private key")
			}
		}
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it cannot sign")
	}
	return signer, nil
}

// Client is the provider in the words of the package that talks to it. The caller adds HTTP client, clock and log.
func (p OIDC) Client(public Origin) oauthclient.Options {
	o := oauthclient.Options{
		Name: p.Name, DiscoveryURL: p.DiscoveryURL, Issuer: p.Issuer, Tenants: p.Tenants, Preset: p.Preset,
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURI: string(public) + "/oauth/callback/" + p.Name,
		Scopes: p.Scopes, GroupsClaim: p.GroupsClaim, Require: p.Require,
	}
	o.ClientKey = p.PrivateKey.Client()
	for _, name := range slices.Sorted(maps.Keys(p.Parameters)) {
		o.AuthorizeParams = append(o.AuthorizeParams, oauthclient.Param{Name: name, Value: p.Parameters[name]})
	}
	return o
}
