package authn

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/identity"
)

const wellKnown = "/.well-known/oauth-protected-resource"

// Endpoint is one protected resource (RFC 9728): what it is called, whose tokens it takes and which scopes it asks
// for. It is immutable: a reload makes new ones.
type Endpoint struct {
	Path     string // as routed, such as /mcp
	Resource string // the exact URL that people give to their clients; from the configuration, never from a request
	Name     string // for people; may be empty

	Authorizers   []*Authorizer   // the first one's issuer leads the metadata
	DefaultScopes identity.Scopes // what the first challenge asks for, and what Gatehouse's own tokens need
	DPoPRequired  bool            // takes only tokens that are bound to a key (RFC 9449)
	NonceRequired bool            // proofs must carry a nonce of ours
	Certificates  bool            // clients can show certificates, here or to the proxy (RFC 8705)
	ExtraScopes   identity.Scopes // what clients are told to ask for beside that, and nobody needs

	Anonymous bool // for tests on one machine: there are no authorizers, and no token is looked at
}

// Validate reports what is wrong with the endpoint or one of its authorizers.
func (e *Endpoint) Validate() error {
	u, err := url.Parse(e.Resource)
	if err != nil {
		return fmt.Errorf("endpoint %s: resource: %w", e.Path, err)
	}
	var faults []error
	if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.ContainsAny(e.Resource, "?#\"\\ ") {
		faults = append(faults, fmt.Errorf("resource %q is no plain absolute URL", e.Resource))
	}
	if !strings.HasPrefix(e.Path, "/") || strings.TrimSuffix(e.Path, "/") != strings.TrimSuffix(u.Path, "/") {
		faults = append(faults, fmt.Errorf("resource %q does not end in the path", e.Resource))
	}
	switch {
	case e.Anonymous && len(e.Authorizers) > 0:
		faults = append(faults, errors.New("it has authorizers, and is anonymous"))
	case !e.Anonymous && len(e.Authorizers) == 0:
		faults = append(faults, errors.New("it has no authorizer, so nobody could get in"))
	}
	for _, s := range slices.Concat(e.DefaultScopes, e.ExtraScopes) {
		if !identity.ValidScope(s) {
			faults = append(faults, fmt.Errorf("scope %q has characters that a scope must not have", s))
		}
	}
	for _, z := range e.Authorizers {
		faults = append(faults, z.Validate())
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("endpoint %s: %w", e.Path, err)
	}
	return nil
}

// MetadataURL is where the endpoint's metadata is: the well-known part comes between origin and path (RFC 9728 §3.1).
func (e *Endpoint) MetadataURL() string {
	origin, path := e.split()
	return origin + wellKnown + path
}

// split parts the resource where its path begins; the path / is none.
func (e *Endpoint) split() (origin, path string) {
	_, rest, _ := strings.Cut(e.Resource, "://")
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return e.Resource, ""
	}
	origin, path = e.Resource[:len(e.Resource)-len(rest)+slash], rest[slash:]
	if path == "/" {
		path = ""
	}
	return origin, path
}

// scopes is what a client is told to ask for: the default scopes, or else what the leading authorizer wants to see; and
// the extra ones.
func (e *Endpoint) scopes() identity.Scopes {
	scopes := e.DefaultScopes
	if len(scopes) == 0 && len(e.Authorizers) > 0 {
		scopes = e.Authorizers[0].advertised(e.Authorizers[0].AllowedScopes)
	}
	if len(e.ExtraScopes) == 0 {
		return scopes
	}
	return scopes.Union(e.ExtraScopes)
}

// issuers are the authorization servers in the order of the authorizers. One whose name is not known yet is left out.
func (e *Endpoint) issuers() []identity.Issuer {
	out := []identity.Issuer{}
	for _, z := range e.Authorizers {
		if iss := z.issuer(); iss != "" && !slices.Contains(out, iss) {
			out = append(out, iss)
		}
	}
	return out
}
