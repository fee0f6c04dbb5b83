package authn

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// MetadataHandler serves the protected-resource metadata (RFC 9728 §3) of all endpoints, at each of the places where
// clients look:
//
//	/.well-known/oauth-protected-resource/finance/mcp   where the challenge points
//	/finance/mcp/.well-known/oauth-protected-resource   where some clients append
//	/.well-known/oauth-protected-resource               while there is only one endpoint, or one at the root
//
// Everything in a document comes from the configuration, nothing from the request but the choice of the endpoint.
func MetadataHandler(endpoints func() []*Endpoint) http.Handler {
	return web.PublicCORS(web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			return &web.Error{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Message: "use GET"}
		}
		e := described(endpoints(), r.URL.Path)
		if e == nil {
			return &web.Error{Status: http.StatusNotFound, Code: "not_found", Message: "there is no such protected resource"}
		}
		keep := "public, max-age=300"
		if !e.discover(r.Context()) {
			keep = "no-store"
		}
		body, err := e.metadata()
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", keep)
		_, err = w.Write(body)
		return err
	}))
}

// described finds the endpoint that a metadata path is about.
func described(endpoints []*Endpoint, path string) *Endpoint {
	if rest, ok := strings.CutPrefix(path, wellKnown); ok {
		path = rest
	} else if path, ok = strings.CutSuffix(path, wellKnown); !ok {
		return nil
	}
	for _, e := range endpoints {
		if e.Path == path || e.Path == "/" && path == "" {
			return e.protected()
		}
	}
	if path == "" && len(endpoints) == 1 {
		return endpoints[0].protected()
	}
	return nil
}

// protected returns the endpoint unless it asks for no token at all.
func (e *Endpoint) protected() *Endpoint {
	if e.Anonymous {
		return nil
	}
	return e
}

// discover asks authorizers that do not know their issuer yet to find out, and reports whether all of them know it.
func (e *Endpoint) discover(ctx context.Context) bool {
	complete := true
	for _, z := range e.Authorizers {
		if d, ok := z.Keys.(discovered); ok && z.issuer() == "" {
			if err := d.Load(ctx); err != nil {
				web.Note(ctx, "discovery_error", err.Error())
				complete = false
			}
		}
	}
	return complete
}

func (e *Endpoint) metadata() ([]byte, error) {
	issuers := e.issuers()
	if len(issuers) == 0 {
		return nil, &web.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable,
			Message: "the authorization server cannot be reached at the moment", RetryAfter: 10 * time.Second}
	}
	scopes := validScopes(e.scopes())
	if scopes == nil {
		scopes = identity.Scopes{}
	}
	return json.Marshal(struct {
		Resource             string            `json:"resource"`
		ResourceName         string            `json:"resource_name,omitempty"`
		AuthorizationServers []identity.Issuer `json:"authorization_servers"`
		ScopesSupported      identity.Scopes   `json:"scopes_supported"`
		BearerMethods        []string          `json:"bearer_methods_supported"`
		DPoPAlgs             []string          `json:"dpop_signing_alg_values_supported"`
		DPoPRequired         bool              `json:"dpop_bound_access_tokens_required,omitzero"`
		Certificates         bool              `json:"tls_client_certificate_bound_access_tokens,omitzero"`
	}{e.Resource, e.Name, issuers, scopes, []string{"header"}, dpop.Algorithms(), e.DPoPRequired, e.Certificates})
}
