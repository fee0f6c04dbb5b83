package authn_test

import (
	"strings"
	"testing"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
)

// TestServices: what a client got for itself is told from what a person allowed, by the marks that issuers leave.
func TestServices(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(func(z *authn.Authorizer) { z.AllowedAudience = []string{"api"} }))
	for name, c := range map[string]struct {
		claims  map[string]any
		service bool
	}{
		"person":                          {nil, false},
		"subject is the client":           {map[string]any{"sub": "c-1", "client_id": "c-1"}, true},
		"Okta":                            {map[string]any{"sub": "0oa1", "client_id": nil, "cid": "0oa1", "scp": []string{"mcp"}}, true},
		"Auth0":                           {map[string]any{"sub": "abc@clients", "client_id": nil, "azp": "abc", "gty": "client-credentials"}, true},
		"Auth0, without gty":              {map[string]any{"sub": "abc@clients", "client_id": nil, "azp": "abc"}, true},
		"a person named so":               {map[string]any{"sub": "abc@clients", "client_id": nil, "azp": "def"}, false},
		"Entra":                           {map[string]any{"sub": "o-1", "oid": "o-1", "tid": "t", "client_id": nil, "azp": "app", "roles": []string{"r"}}, true},
		"Entra, with idtyp":               {map[string]any{"sub": "o-1", "oid": "o-2", "tid": "t", "idtyp": "app"}, true},
		"Entra, a person":                 {map[string]any{"sub": "pairwise", "oid": "o-1", "tid": "t", "scp": "mcp.access", "idtyp": "user"}, false},
		"Entra, a person by the same oid": {map[string]any{"sub": "o-1", "oid": "o-1", "tid": "t", "scp": "mcp.access"}, false},
		"Keycloak":                        {map[string]any{"sub": "6a1f", "preferred_username": "service-account-ci"}, true},
		"Keycloak, without names":         {map[string]any{"sub": "6a1f", "client_id": "ci", "clientHost": "10.0.0.7", "clientAddress": "10.0.0.7"}, true},
		"Keycloak, a person":              {map[string]any{"sub": "6a1f", "preferred_username": "ci"}, false},
		"a subject like ours":             {map[string]any{"sub": "service:ci"}, false},
	} {
		claims := map[string]any{"aud": "api"}
		for k, v := range c.claims {
			claims[k] = v
		}
		p, w := h.present(h.foreignToken(t, claims), e)
		wantPrincipal(t, p, w)
		if p.Service != c.service {
			t.Errorf("%s: service %v", name, p.Service)
		}
	}
	for sub, service := range map[string]bool{"service:ci": true, "u-alice": false, "c-1": false} {
		p, w := h.present(h.ownToken(t, "at+jwt", map[string]any{"sub": sub, "client_id": "c-1"}), e)
		wantPrincipal(t, p, w)
		x := authn.Explain(t.Context(), h.ownToken(t, "at+jwt", map[string]any{"sub": sub, "client_id": "c-1"}), e, authn.ExplainOptions{Now: h.now()})
		last := x.Checks[len(x.Checks)-1]
		if x.Refusal != nil || (last.Name == "service" && strings.Contains(last.Found, "{gatehouse: [c-1]}")) != service {
			t.Errorf("%s is explained with %+v, %v", sub, last, x.Refusal)
		}
		if p.Service != service || p.Key != (identity.PersonKey{Issuer: ownIss, Subject: sub}) {
			t.Errorf("%s: service %v, key %v", sub, p.Service, p.Key)
		}
	}
}
