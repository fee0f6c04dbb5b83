package upauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
)

// place is where tokens for the target come from.
type place struct {
	resource string          // the identifier of the target, as it wants to be called (RFC 8707 §2)
	scopes   identity.Scopes // that it knows
	server   server
	trusted  bool // the administrator named the server
	found    time.Time
}

// resourceMetadata is what we use of protected-resource metadata (RFC 9728 §2).
type resourceMetadata struct {
	Resource string            `json:"resource"`
	Servers  []identity.Issuer `json:"authorization_servers"`
	Scopes   []string          `json:"scopes_supported"`
}

// server is what we use of authorization server metadata (RFC 8414 §2, RFC 9207 §3, RFC 9449 §5.1).
type server struct {
	Issuer                identity.Issuer `json:"issuer"`
	AuthorizationEndpoint string          `json:"authorization_endpoint"`
	TokenEndpoint         string          `json:"token_endpoint"`
	RegistrationEndpoint  string          `json:"registration_endpoint"`
	Grants                []string        `json:"grant_types_supported"`
	AuthMethods           []string        `json:"token_endpoint_auth_methods_supported"`
	Challenges            []string        `json:"code_challenge_methods_supported"`
	Scopes                []string        `json:"scopes_supported"`
	ProofAlgorithms       []string        `json:"dpop_signing_alg_values_supported"`
	IssParameter          bool            `json:"authorization_response_iss_parameter_supported"`
	Documents             bool            `json:"client_id_metadata_document_supported"`
}

// placeFresh is how long a place is good while the target does not refuse what came from it.
const placeFresh = time.Hour

// errNowhere means that nothing says where tokens come from.
var errNowhere = errors.New("the target names no authorization server")

// locate finds the authorization server of the target: as its challenge says, else by well-known URLs, else as the
// administrator said.
func (s *Source) locate(ctx context.Context, named string) (*place, error) {
	meta, err := s.resourceMetadata(ctx, named)
	if err != nil && !errors.Is(err, errAbsent) {
		return nil, s.fail("read the target's protected-resource metadata", err, "")
	}
	p := &place{resource: withoutFragment(s.target), trusted: s.o.Issuer != "", found: s.o.Now()}
	issuer := s.o.Issuer
	if meta != nil {
		p.resource, p.scopes = meta.Resource, validScopes(strings.Join(meta.Scopes, " "))
		switch {
		case issuer == "" && len(meta.Servers) > 0:
			issuer = meta.Servers[0]
		case len(meta.Servers) > 0 && !slices.Contains(meta.Servers, issuer):
			return nil, s.fail("find the authorization server", fmt.Errorf("the target trusts %.300q, and not the configured issuer %q", meta.Servers, issuer),
				"set the issuer to the one at which the client is registered, exactly as the target writes it")
		}
	}
	if issuer == "" {
		return nil, s.fail("find the authorization server", errNowhere, "set the issuer")
	}
	if p.server, err = s.serverMetadata(ctx, issuer, p.trusted); err != nil {
		return nil, s.fail(fmt.Sprintf("read the metadata of the authorization server %.200q", issuer), err, "")
	}
	return p, nil
}

// resourceMetadata reads the target's own document: the URL in its challenge, else the well-known ones (RFC 9728 §3).
func (s *Source) resourceMetadata(ctx context.Context, named string) (*resourceMetadata, error) {
	urls := []string{named}
	if named == "" {
		const wellKnown = "/.well-known/oauth-protected-resource"
		base := s.target.Scheme + "://" + s.target.Host
		urls = []string{base + wellKnown + strings.TrimSuffix(s.target.EscapedPath(), "/")}
		if root := base + wellKnown; urls[0] != root {
			urls = append(urls, root)
		}
	}
	var err error
	for _, from := range urls {
		var m resourceMetadata
		if err = s.document(ctx, from, false, &m); err == nil {
			return &m, s.checkResource(m.Resource)
		}
		if !errors.Is(err, errAbsent) {
			break
		}
	}
	return nil, err
}

// checkResource sees to it that a document is about this target: its resource is the target's URL, or what that lies in
// (RFC 9728 §3.3, and what servers that publish one document for their origin need).
func (s *Source) checkResource(resource string) error {
	u, err := url.Parse(resource)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" && u.RawQuery != s.target.RawQuery || strings.Contains(resource, "#"):
	case origin(u) != origin(s.target):
	default:
		within, path := strings.TrimSuffix(u.EscapedPath(), "/"), s.target.EscapedPath()
		if path == within || strings.HasPrefix(path, within+"/") {
			return nil
		}
	}
	return fmt.Errorf("it is about the resource %.200q, and not about %s", resource, s.target.Redacted())
}

func withoutFragment(u *url.URL) string {
	own := *u
	own.Fragment, own.RawFragment = "", ""
	return own.String()
}

// serverMetadata reads the document of an issuer, which must name that very issuer (RFC 8414 §3.3).
func (s *Source) serverMetadata(ctx context.Context, issuer identity.Issuer, trusted bool) (server, error) {
	u, err := secureURL(string(issuer))
	if err != nil {
		return server{}, err
	}
	for _, from := range metadataURLs(u) {
		var m server
		if err = s.document(ctx, from, trusted, &m); errors.Is(err, errAbsent) {
			continue
		}
		if err != nil {
			return server{}, err
		}
		if m.Issuer != issuer {
			return server{}, fmt.Errorf("it is the document of the issuer %.200q", m.Issuer)
		}
		if _, err := secureURL(m.TokenEndpoint); err != nil {
			return server{}, fmt.Errorf("token_endpoint: %w", err)
		}
		return m, nil
	}
	return server{}, err
}

// metadataURLs are the well-known URLs of an issuer in the order of MCP basic/authorization.
func metadataURLs(issuer *url.URL) []string {
	const oauth, oidc = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
	base, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	if path == "" {
		return []string{base + oauth, base + oidc}
	}
	return []string{base + oauth + path, base + oidc + path, base + path + oidc}
}

// can reports whether a list of metadata admits a value; one that is left out has a default.
func can(list []string, byDefault, value string) bool {
	if len(list) == 0 {
		return cmp.Or(byDefault, value) == value
	}
	return slices.Contains(list, value)
}
