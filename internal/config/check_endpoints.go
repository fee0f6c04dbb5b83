package config

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/internal/identity"
)

func (k *checker) endpoints() {
	if len(k.cfg.Endpoints) == 0 {
		k.bad("endpoints", "is missing: Gatehouse would serve nothing", "Add one: endpoints: {/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [name]}}.")
	}
	issuers, targets := []string{Gatehouse}, []string{}
	for i := range k.cfg.Authorizers {
		issuers = append(issuers, k.cfg.Authorizers[i].Name)
	}
	for i := range k.cfg.Targets {
		targets = append(targets, k.cfg.Targets[i].Name)
	}
	for i := range k.cfg.Endpoints {
		e := &k.cfg.Endpoints[i]
		path := join("endpoints", e.Path)
		k.endpointPath(path, e.Path)
		if e.Access.Anonymous {
			k.anonymous(path, e)
		} else {
			k.references(path+".issuers", e.Issuers, issuers, "an issuer")
		}
		k.references(path+".targets", e.Targets, targets, "a target")
		if i := slices.Index(e.Issuers, Gatehouse); i >= 0 && k.cfg.SignIn.nobody() {
			k.bad(fmt.Sprintf("%s.issuers[%d]", path, i), "nobody can sign in for it, because sign_in.users is false", "Set sign_in.users: true, add a provider to sign_in.oidc, or name an authorizer instead.")
		}
		k.services(path+".services", e)
		k.endpointPrefixes(path, e)
		k.endpointScopes(path+".scopes", e, targets)
		if e.Search != nil {
			k.search(path+".search", e)
		}
		k.introspectors(path+".issuers", e.Issuers)
	}
}

// services checks which clients may come as themselves.
func (k *checker) services(path string, e *Endpoint) {
	for issuer, clients := range e.Services {
		at := join(path, issuer)
		if !slices.Contains(e.Issuers, issuer) {
			k.bad(at, fmt.Sprintf("%q is none of the issuers of this endpoint", issuer), "Name one of: "+strings.Join(e.Issuers, ", ")+".")
			continue
		}
		if len(clients) == 0 {
			k.bad(at, "names nothing", "Name at least one client, or remove the key.")
		}
		for i, id := range clients {
			if issuer == Gatehouse {
				k.ownService(fmt.Sprintf("%s[%d]", at, i), e, id)
			} else if id == "" {
				k.bad(fmt.Sprintf("%s[%d]", at, i), "is empty", "Write the client's id at that issuer.")
			}
		}
	}
}

// ownService checks one service of the built-in authorization server.
func (k *checker) ownService(at string, e *Endpoint, id identity.ClientID) {
	i := slices.IndexFunc(k.cfg.Clients, func(c Client) bool { return c.ClientID == id })
	switch {
	case i < 0:
		k.bad(at, fmt.Sprintf("%q is not the client_id of a client", id), "Add it to clients, with grant_types: [client_credentials].")
	case !slices.Contains(k.cfg.Clients[i].GrantTypes, GrantClientCredentials):
		k.bad(at, "is a client through which people come, not a service", "Give the service a client of its own, with grant_types: [client_credentials].")
	case !k.cfg.Clients[i].Scopes.HasAll(e.Scopes.Default):
		k.bad(at, "may not have the scopes that every call needs here: "+e.Scopes.Default.String(), "Add them to scopes of the client.")
	}
}

func (k *checker) endpointPath(at, path string) {
	segment := func(s string) bool {
		return s != "" && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.~-", r)
		})
	}
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case !strings.HasPrefix(path, "/"):
		k.bad(at, fmt.Sprintf("%q does not begin with a slash", path), "Write the path of the URL: /mcp")
	case slices.ContainsFunc(segments, func(s string) bool { return !segment(s) }):
		k.bad(at, fmt.Sprintf("%q is not a path that Gatehouse can serve", path), "Use letters, digits, dots, dashes and underscores between single slashes, without one at the end: /finance/mcp")
	case slices.Contains(reservedPaths(), "/"+strings.ToLower(segments[0])):
		k.bad(at, fmt.Sprintf("/%s is taken by Gatehouse's own pages", segments[0]), "Choose another beginning, such as /mcp.")
	}
}

// references checks a list of names against what they may name.
func (k *checker) references(path string, names, known []string, what string) {
	if len(names) == 0 {
		hint := "Nothing of the kind is configured."
		if len(known) > 0 {
			hint = "Name at least one of: " + strings.Join(known, ", ") + "."
		}
		k.bad(path, "names nothing", hint)
	}
	for i, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		hint := "Nothing of the kind is configured."
		if guess := closest(name, known); guess != "" {
			hint = fmt.Sprintf("Did you mean %s?", guess)
		} else if len(known) > 0 {
			hint = "Known: " + strings.Join(known, ", ") + "."
		}
		k.bad(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is not the name of %s", name, what), hint)
	}
	for _, i := range repeated(names) {
		k.bad(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is named twice", names[i]), "Remove one.")
	}
}

func (k *checker) endpointScopes(path string, e *Endpoint, targets []string) {
	k.scopeList(path+".default", e.Scopes.Default)
	k.scopeList(path+".advertised", e.Scopes.Advertised)
	if i := slices.Index(e.Scopes.Advertised, "offline_access"); i >= 0 {
		k.doubtful(fmt.Sprintf("%s.advertised[%d]", path, i), "is a matter between client and issuer and never advertised", "Remove it; clients ask for it when the issuer's metadata lists it.")
	}
	for name, scopes := range e.Scopes.Tools {
		at := join(path+".tools", name)
		k.scopeList(at, scopes)
		target, _, _ := strings.Cut(name, "___")
		switch {
		case name == "":
			k.bad(at, "is not the name of a tool", "Write the name as clients see it.")
		case k.cfg.hasToolName(e, name), e.Search != nil && name == "search_tools":
		case slices.Contains(targets, target) && !slices.Contains(e.Targets, target):
			k.bad(at, fmt.Sprintf("%s is not a target of this endpoint", target), "Add it to targets, or remove the scope.")
		case strings.Contains(name, "___") && !slices.Contains(targets, target):
			k.bad(at, fmt.Sprintf("%q is not the name of a target", target), "Write the name as clients see it: target___tool.")
		default:
			k.bad(at, "no tool here has that name", "Write the name as clients see it: target___tool, or with the prefix of its target.")
		}
	}
	for method, scopes := range e.Scopes.Methods {
		at := join(path+".methods", method)
		k.scopeList(at, scopes)
		if slices.Contains(methods(), method) {
			continue
		}
		hint := "Check the name."
		if guess := closest(method, methods()); guess != "" {
			hint = fmt.Sprintf("Did you mean %s?", guess)
		}
		k.doubtful(at, "is not a method of MCP, nor of an extension that is known here", hint)
	}
}

// hasToolName reports whether a tool of some target may have that name.
func (c *Config) hasToolName(e *Endpoint, name string) bool {
	return slices.ContainsFunc(e.Targets, func(target string) bool {
		prefix := c.PrefixOf(e, target)
		return len(name) > len(prefix) && strings.HasPrefix(name, prefix)
	})
}

// endpointPrefixes checks what stands before names, and whether names of two targets can meet.
func (k *checker) endpointPrefixes(path string, e *Endpoint) {
	for target, prefix := range e.Prefixes {
		at := join(path+".prefixes", target)
		if !slices.Contains(e.Targets, target) {
			k.bad(at, "is not a target of this endpoint", "Targets here: "+strings.Join(e.Targets, ", ")+".")
		}
		if prefix != "" {
			k.namePrefix(at, prefix)
		}
	}
	for i, later := range e.Targets {
		for _, first := range e.Targets[:i] {
			a, b := k.cfg.PrefixOf(e, first), k.cfg.PrefixOf(e, later)
			if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
				k.doubtful(fmt.Sprintf("%s.targets[%d]", path, i), fmt.Sprintf("names of %s and of %s can meet; then that of %s is changed", first, later, later),
					"Give each a prefix of its own in prefixes, unless you know that they have no names in common.")
				break
			}
		}
	}
}

// methods are the requests that a client sends, over all revisions of the protocol and the extensions that we know.
func methods() []string {
	return []string{
		"completion/complete", "initialize", "logging/setLevel", "ping", "prompts/get", "prompts/list",
		"resources/directory/read", "resources/list", "resources/read", "resources/subscribe", "resources/templates/list",
		"resources/unsubscribe", "server/discover", "skills/get", "skills/list", "subscriptions/listen", "tasks/cancel", "tasks/get",
		"tasks/list", "tasks/result", "tasks/update", "tools/call", "tools/list",
	}
}

// unused warns of what nothing refers to.
func (k *checker) unused() {
	var issuers, targets []string
	for i := range k.cfg.Endpoints {
		issuers = append(issuers, k.cfg.Endpoints[i].Issuers...)
		targets = append(targets, k.cfg.Endpoints[i].Targets...)
	}
	const message, hint = "is not used by any endpoint", "Name it at an endpoint, or remove it."
	for i := range k.cfg.Authorizers {
		if !slices.Contains(issuers, k.cfg.Authorizers[i].Name) {
			k.doubtful(fmt.Sprintf("authorizers[%d]", i), message, hint)
		}
	}
	for i := range k.cfg.Targets {
		if !slices.Contains(targets, k.cfg.Targets[i].Name) {
			k.doubtful(join("targets", k.cfg.Targets[i].Name), message, hint)
		}
	}
}
