package jose

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
)

// metadata is what this package needs of an issuer's discovery document (RFC 8414 §2, OpenID Connect Discovery §3).
type metadata struct {
	issuer        identity.Issuer
	jwksURI       string
	introspection string // RFC 8414 §2 introspection_endpoint; may be empty
}

// IssuersOf returns the issuers that a discovery URL can stand for. The well-known part is either appended to the
// issuer (OpenID Connect Discovery §4) or inserted before its path (RFC 8414 §3.1), and in both cases a trailing slash
// of the issuer is lost on the way.
func IssuersOf(discoveryURL string) ([]identity.Issuer, error) {
	for _, name := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		before, after, found := strings.Cut(discoveryURL, name)
		if !found || after != "" && after[0] != '/' {
			continue
		}
		if base := strings.TrimSuffix(before+after, "/"); !strings.ContainsAny(base, "?#") {
			return []identity.Issuer{identity.Issuer(base), identity.Issuer(base + "/")}, nil
		}
	}
	return nil, fmt.Errorf("discovery URL %q: it must contain /.well-known/openid-configuration or /.well-known/oauth-authorization-server", discoveryURL)
}

// discover gets the document and checks that it speaks for one of the expected issuers, byte for byte (RFC 8414 §3.3).
func discover(ctx context.Context, client *http.Client, from string, expected []identity.Issuer) (metadata, error) {
	body, _, err := fetch(ctx, client, from)
	if err != nil {
		return metadata{}, fmt.Errorf("discover issuer: %w", err)
	}
	var doc struct {
		Issuer        identity.Issuer `json:"issuer"`
		JWKSURI       string          `json:"jwks_uri"`
		Introspection string          `json:"introspection_endpoint"`
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		return metadata{}, fmt.Errorf("read discovery document %s: %w", from, err)
	}
	if !slices.Contains(expected, doc.Issuer) {
		return metadata{}, fmt.Errorf("discovery document %s: issuer is %q, want %q; use the discovery URL of that issuer, or set the issuer as well",
			from, doc.Issuer, expected[0])
	}
	if doc.JWKSURI == "" {
		return metadata{}, errors.New("discovery document " + from + ": jwks_uri is missing")
	}
	if err := checkNamed(from, doc.JWKSURI); err != nil {
		return metadata{}, fmt.Errorf("discovery document %s: jwks_uri: %w", from, err)
	}
	return metadata{issuer: doc.Issuer, jwksURI: doc.JWKSURI, introspection: doc.Introspection}, nil
}
