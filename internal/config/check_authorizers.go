package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/identity"
	"gatehouse/internal/loopback"
)

func (k *checker) authorizers() {
	names := make([]string, 0, len(k.cfg.Authorizers))
	for i := range k.cfg.Authorizers {
		k.authorizer(fmt.Sprintf("authorizers[%d]", i), &k.cfg.Authorizers[i])
		names = append(names, k.cfg.Authorizers[i].Name)
	}
	for _, i := range repeated(names) {
		k.bad(fmt.Sprintf("authorizers[%d].name", i), fmt.Sprintf("%q is taken by an authorizer above", names[i]), "Give each authorizer its own name.")
	}
}

func (k *checker) authorizer(path string, a *Authorizer) {
	switch {
	case a.Name == Gatehouse:
		k.bad(path+".name", "is the name of the built-in issuer", "Choose another; endpoints use gatehouse for tokens that Gatehouse issues.")
	case !validName(a.Name):
		k.bad(path+".name", fmt.Sprintf("%q is not a name", a.Name), nameHint)
	}
	k.discoveryURL(path+".discovery_url", a.DiscoveryURL)
	if k.cfg.IsOwn(a.DiscoveryURL) && k.cfg.SignIn.nobody() {
		k.bad(path+".discovery_url", "nobody can sign in there, because sign_in.users is false", "Set sign_in.users: true, add a provider to sign_in.oidc, or name another issuer.")
	}
	for _, group := range []struct {
		key   string
		given bool
		size  int
	}{
		{"allowed_audience", a.AllowedAudience != nil, len(a.AllowedAudience)},
		{"allowed_clients", a.AllowedClients != nil, len(a.AllowedClients)},
		{"allowed_scopes", a.AllowedScopes != nil, len(a.AllowedScopes)},
	} {
		if group.given && group.size == 0 {
			k.bad(path+"."+group.key, "names nothing", "Name at least one value, or remove the key.")
		}
	}
	if len(a.AllowedAudience) == 0 && len(a.AllowedClients) == 0 && !k.broken(path+".allowed_audience") && !k.broken(path+".allowed_clients") {
		k.bad(path, "has neither allowed_audience nor allowed_clients: any token of the issuer would do, also those meant for others",
			"Add allowed_audience. Where tokens have no audience (Amazon Cognito), add allowed_clients.")
	}
	k.noneEmpty(path+".allowed_audience", a.AllowedAudience)
	for i, id := range a.AllowedClients {
		if id == "" {
			k.bad(fmt.Sprintf("%s.allowed_clients[%d]", path, i), "is empty", "Give it a value, or remove it.")
		}
	}
	k.scopeList(path+".allowed_scopes", a.AllowedScopes)
	k.introspection(path, a)
	for allowed, advertised := range a.AdvertisedScopes {
		at := join(path+".advertised_scopes", allowed)
		if !a.AllowedScopes.Has(allowed) {
			k.bad(at, "is not among allowed_scopes", "Left stands the allowed scope, right what clients are told to ask for.")
		} else if !identity.ValidScope(advertised) {
			k.bad(at, fmt.Sprintf("%q is not a scope", advertised), "A scope has no spaces, quotes or backslashes.")
		}
	}
}

func (k *checker) introspection(path string, a *Authorizer) {
	in := a.Introspection
	if in == nil {
		return
	}
	path += ".introspection"
	if k.cfg.IsOwn(a.DiscoveryURL) {
		k.bad(path, "asks Gatehouse about its own tokens, which are JWTs", "Remove it.")
	}
	if in.ClientID == "" {
		k.bad(path+".client_id", "is empty", "Register a confidential client at the issuer and let it introspect.")
	}
	u, err := url.Parse(in.URL)
	switch {
	case in.URL == "":
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || strings.Contains(in.URL, "#"):
		k.bad(path+".url", "is not the URL of an introspection endpoint", "Copy it from the provider: https://…/introspect")
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.bad(path+".url", "is plain http on another host than this machine: tokens and client_secret would travel in the open", "Write https.")
	}
}

// introspectors warns where one issuer is shown the tokens of another.
func (k *checker) introspectors(path string, issuers []string) {
	var asked []string
	for i := range k.cfg.Authorizers {
		if a := &k.cfg.Authorizers[i]; a.Introspection != nil && slices.Contains(issuers, a.Name) && !slices.Contains(asked, a.DiscoveryURL) {
			asked = append(asked, a.DiscoveryURL)
		}
	}
	if len(asked) > 1 {
		k.doubtful(path, "names several issuers with introspection: each is shown every opaque token until one knows it", "Give each issuer an endpoint of its own.")
	}
}

func (k *checker) discoveryURL(path, s string) {
	const hint = "Copy it from the provider: https://…/.well-known/openid-configuration"
	u, err := url.Parse(s)
	switch {
	case s == "" && k.index[path] == nil: // reported where it was looked for
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		k.bad(path, "is not a URL", hint)
	case u.User != nil || u.RawQuery != "" || strings.Contains(s, "#"):
		k.bad(path, "has a user name, a query or a fragment in it", hint)
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.bad(path, "is plain http on another host than this machine: whoever sits on the way could name their own keys", "Write https.")
	case !strings.HasSuffix(u.Path, wellKnownOpenID) && !strings.Contains(u.Path+"/", wellKnownOAuth+"/") && !strings.HasPrefix(u.Path, wellKnownOpenID+"/"):
		k.bad(path, "is not a discovery URL", hint+" (or /.well-known/oauth-authorization-server, RFC 8414)")
	}
}
