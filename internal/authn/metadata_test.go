package authn_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
)

func getMetadata(endpoints []*authn.Endpoint, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	authn.MetadataHandler(func() []*authn.Endpoint { return endpoints }).ServeHTTP(w, r)
	return w
}

func metadataOf(t testing.TB, endpoints []*authn.Endpoint, path string) map[string]any {
	t.Helper()
	w := getMetadata(endpoints, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %v %s", path, w.Code, w.Header(), w.Body)
	}
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestChecklist56_MetadataFromConfiguration asks under foreign names.
func TestChecklist56_MetadataFromConfiguration(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	r := httptest.NewRequest(http.MethodGet, "http://evil.example/.well-known/oauth-protected-resource/mcp", nil)
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-Url", "X-Forwarded-Prefix"} {
		r.Header.Set(name, "evil.example")
	}
	w := getMetadata([]*authn.Endpoint{e}, r)
	var doc map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"resource": origin + "/mcp", "resource_name": "Tools", "authorization_servers": []any{origin},
		"scopes_supported": []any{"mcp:tools"}, "bearer_methods_supported": []any{"header"},
		"dpop_signing_alg_values_supported": []any{"ES256", "EdDSA", "PS256", "RS256"},
	}
	if !reflect.DeepEqual(doc, want) {
		t.Errorf("got %v, want %v", doc, want)
	}
	r = bearer("x.y.z")
	r.Host = "evil.example"
	_, w = h.ask(r, e)
	if got := parseChallenge(t, w)["resource_metadata"]; got != origin+"/.well-known/oauth-protected-resource/mcp" {
		t.Errorf("challenge points at %q", got)
	}
}

func TestChecklist57_ResourceIsExact(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b := h.endpoint(t, "/mcp", h.ownRules()), h.endpoint(t, "/finance/mcp", h.ownRules())
	root := h.endpoint(t, "/", h.ownRules())
	const wk = "/.well-known/oauth-protected-resource"
	for _, tt := range []struct {
		endpoints []*authn.Endpoint
		path      string
		resource  string // empty: not found
	}{
		{[]*authn.Endpoint{a, b}, wk + "/mcp", origin + "/mcp"},
		{[]*authn.Endpoint{a, b}, wk + "/finance/mcp", origin + "/finance/mcp"},
		{[]*authn.Endpoint{a, b}, "/mcp" + wk, origin + "/mcp"},
		{[]*authn.Endpoint{a, b}, "/finance/mcp" + wk, origin + "/finance/mcp"},
		{[]*authn.Endpoint{a, b}, wk, ""},
		{[]*authn.Endpoint{a}, wk, origin + "/mcp"},
		{[]*authn.Endpoint{a, root}, wk, origin + "/"},
		{[]*authn.Endpoint{a, b}, wk + "/finance", ""},
		{[]*authn.Endpoint{a, b}, wk + "/mcp/", ""},
		{[]*authn.Endpoint{a, b}, wk + "/MCP", ""},
		{[]*authn.Endpoint{a}, wk + "/other", ""},
		{[]*authn.Endpoint{a}, wk + "mcp", ""},
		{[]*authn.Endpoint{a}, "/mcp", ""},
		{nil, wk, ""},
	} {
		if tt.resource != "" {
			if doc := metadataOf(t, tt.endpoints, tt.path); doc["resource"] != tt.resource {
				t.Errorf("%s: resource %v, want %s", tt.path, doc["resource"], tt.resource)
			}
			continue
		}
		w := getMetadata(tt.endpoints, httptest.NewRequest(http.MethodGet, "http://localhost"+tt.path, nil))
		if w.Code != http.StatusNotFound || w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s, want 404 in JSON", tt.path, w.Code, w.Body)
		}
	}
	for _, tt := range []struct{ resource, want string }{
		{origin + "/mcp", origin + wk + "/mcp"}, {origin + "/a/b", origin + wk + "/a/b"}, {origin + "/", origin + wk}, {origin, origin + wk},
	} {
		if got := (&authn.Endpoint{Resource: tt.resource}).MetadataURL(); got != tt.want {
			t.Errorf("metadata of %s at %s, want %s", tt.resource, got, tt.want)
		}
	}
}

func TestChecklist58_PublicCORS(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	const path = "http://localhost/.well-known/oauth-protected-resource/mcp"
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions} {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("Access-Control-Request-Method", "GET")
		w := getMetadata([]*authn.Endpoint{e}, r)
		if w.Code >= 300 || w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
	w := getMetadata([]*authn.Endpoint{e}, httptest.NewRequest(http.MethodPost, path, nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
}

func TestChecklist60_ScopesAreMinimal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	scoped := h.foreignRules(func(z *authn.Authorizer) {
		z.AllowedScopes = identity.Scopes{"tools", "offline_access"}
		z.AdvertisedScopes = map[string]string{"tools": "api://gw/tools"}
	})
	for name, tt := range map[string]struct {
		authorizers []*authn.Authorizer
		defaults    identity.Scopes
		want        []any
	}{
		"defaults only":      {[]*authn.Authorizer{h.ownRules(), scoped}, identity.Scopes{"mcp:tools", "offline_access"}, []any{"mcp:tools"}},
		"what a foreign one": {[]*authn.Authorizer{scoped, h.ownRules()}, nil, []any{"api://gw/tools"}},
		"none, yet present":  {[]*authn.Authorizer{h.ownRules(), scoped}, nil, []any{}},
	} {
		e := h.endpoint(t, "/mcp", tt.authorizers...)
		e.DefaultScopes = tt.defaults
		doc := metadataOf(t, []*authn.Endpoint{e}, "/.well-known/oauth-protected-resource/mcp")
		if !reflect.DeepEqual(doc["scopes_supported"], tt.want) {
			t.Errorf("%s: %v, want %v", name, doc["scopes_supported"], tt.want)
		}
		r := bearer("")
		r.Header.Del("Authorization")
		_, w := h.ask(r, e)
		scope, present := parseChallenge(t, w)["scope"]
		if present != (len(tt.want) > 0) || present && scope != tt.want[0] {
			t.Errorf("%s: challenge asks for %q", name, scope)
		}
	}
}

func TestMetadataBeforeDiscovery(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.idp.SetDown(true)
	foreign, both := h.endpoint(t, "/mcp", h.foreignRules()), h.endpoint(t, "/mcp", h.foreignRules(), h.ownRules())
	const path = "/.well-known/oauth-protected-resource/mcp"
	w := getMetadata([]*authn.Endpoint{foreign}, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("no issuer known: %d %v", w.Code, w.Header())
	}
	if doc := metadataOf(t, []*authn.Endpoint{both}, path); len(doc["authorization_servers"].([]any)) != 1 {
		t.Errorf("one issuer known: %v", doc)
	}
	w = getMetadata([]*authn.Endpoint{both}, httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil))
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("an incomplete document may be kept: %v", w.Header())
	}
	h.idp.SetDown(false)
	h.add(11 * time.Second)
	if doc := metadataOf(t, []*authn.Endpoint{foreign}, path); doc["authorization_servers"].([]any)[0] != h.idp.Issuer() {
		t.Errorf("when it is back: %v", doc)
	}
}
