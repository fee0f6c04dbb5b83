package authserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

func TestMetadata(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) {
		o.Snapshot.Resources = append(o.Snapshot.Resources, Resource{URL: otherURL + "/"}, Resource{URL: "https://root.gate.example"})
	})
	var first string
	for _, path := range []string{
		"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server/mcp", "/.well-known/openid-configuration/mcp", "/mcp/.well-known/openid-configuration",
		"/.well-known/oauth-authorization-server/finance/mcp", "/.well-known/openid-configuration/finance/mcp", "/finance/mcp/.well-known/openid-configuration",
	} {
		w := h.do(request{path: path, header: map[string]string{"MCP-Protocol-Version": "2025-11-25"}})
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: status %d, headers %v", path, w.Code, w.Header())
		}
		if first == "" {
			first = w.Body.String()
		}
		if w.Body.String() != first {
			t.Errorf("%s differs from the first document", path)
		}
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(first), &doc); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"issuer": testIssuer, "authorization_endpoint": testIssuer + "/authorize", "token_endpoint": testIssuer + "/token",
		"registration_endpoint": testIssuer + "/register", "revocation_endpoint": testIssuer + "/revoke", "userinfo_endpoint": testIssuer + "/userinfo",
		"device_authorization_endpoint": testIssuer + "/device_authorization", "end_session_endpoint": testIssuer + "/signout", "jwks_uri": testIssuer + "/.well-known/jwks.json",
		"authorization_response_iss_parameter_supported": true,
	} {
		if doc[name] != want {
			t.Errorf("%s is %v, want %v", name, doc[name], want)
		}
	}
	for name, want := range map[string][]string{
		"response_types_supported": {"code"}, "code_challenge_methods_supported": {"S256"}, "subject_types_supported": {"public"},
		"id_token_signing_alg_values_supported": {"ES256"}, "grant_types_supported": {GrantCode, GrantRefresh, GrantDevice},
		"token_endpoint_auth_methods_supported": {AuthNone, AuthPost, AuthBasic, AuthPrivateKey}, "response_modes_supported": {"query"},
		"token_endpoint_auth_signing_alg_values_supported":      {"RS256", "PS256", "ES256", "EdDSA"},
		"revocation_endpoint_auth_methods_supported":            {AuthNone, AuthPost, AuthBasic, AuthPrivateKey},
		"revocation_endpoint_auth_signing_alg_values_supported": {"RS256", "PS256", "ES256", "EdDSA"},
		"scopes_supported": {"openid", "profile", "email", "offline_access", "mcp:tools"},
	} {
		var got []string
		for _, v := range doc[name].([]any) {
			got = append(got, v.(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server/nope", "/.well-known/openid-configuration/mcp/x", "/.well-known/openid-configuration/"} {
		h.wantError(h.do(request{path: path}), http.StatusNotFound, "not_found")
	}
}

func TestChecklist56_MetadataIgnoresHost(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	r := httptest.NewRequest(http.MethodGet, "https://evil.example/.well-known/oauth-authorization-server", nil)
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("Forwarded", "host=evil.example;proto=http")
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	if w.Code != http.StatusOK || strings.Contains(w.Body.String(), "evil") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestChecklist58_CORSWithoutCredentials(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, path := range []string{"/token", "/register", "/revoke", "/userinfo", "/device_authorization", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server"} {
		for _, method := range []string{http.MethodOptions, http.MethodGet, http.MethodPost} {
			w := h.do(request{method: method, path: path, header: map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}})
			header := w.Header()
			if header.Get("Access-Control-Allow-Origin") != "*" || header.Get("Access-Control-Allow-Credentials") != "" || header.Get("Set-Cookie") != "" {
				t.Errorf("%s %s: headers %v", method, path, header)
			}
			if method == http.MethodOptions && (w.Code != http.StatusNoContent || !strings.Contains(header.Get("Access-Control-Allow-Headers"), "authorization")) {
				t.Errorf("preflight of %s: status %d, headers %v", path, w.Code, header)
			}
		}
	}
	for _, path := range []string{"/authorize", "/consent", "/signout"} {
		w := h.do(request{path: path, header: map[string]string{"Origin": "https://app.example"}, session: "a"})
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may be read by other sites", path)
		}
	}
}

func TestChecklist59_OneIssuer(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	_, access := h.claims(tokens.AccessToken)
	_, id := h.claims(tokens.IDToken)
	answer := h.callback(h.decide(h.consentForm(authorizeParams(nil), "deny")), desktopURI)
	failure := h.callback(h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"response_type": "x"})}), desktopURI)
	if access["iss"] != testIssuer || id["iss"] != testIssuer || answer.Get("iss") != testIssuer || failure.Get("iss") != testIssuer {
		t.Errorf("issuers %v, %v, %v, %v", access["iss"], id["iss"], answer.Get("iss"), failure.Get("iss"))
	}
	if _, err := New(Options{Issuer: testIssuer + "/"}); err == nil {
		t.Error("an issuer with a slash at its end was accepted")
	}
}

func TestChecklist60_ScopesOfSingleToolsAreNotListed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if body := h.do(request{path: "/.well-known/openid-configuration"}).Body.String(); strings.Contains(body, "mcp:admin") {
		t.Error("the metadata lists a scope that no first challenge asks for")
	}
	if c := h.registered(nil); strings.Contains(c.Scope, "mcp:admin") {
		t.Error("a registration lists it")
	}
	if tokens := h.tokens(authorizeParams(map[string]string{"scope": "mcp:admin"}), nil); tokens.Scope != "mcp:admin" {
		t.Errorf("a step-up that names it got %q", tokens.Scope)
	}
}

// TestGoSDKMetadata lets the official SDK read the metadata and register.
func TestGoSDKMetadata(t *testing.T) {
	t.Parallel()
	var handler http.Handler
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	h := newHarness(t, func(o *Options) {
		o.Issuer = issuerOf(srv)
		o.Snapshot.Resources[0].URL = srv.URL + "/mcp"
	})
	handler = h.mux
	meta, err := oauthex.GetAuthServerMeta(t.Context(), srv.URL+"/.well-known/oauth-authorization-server", srv.URL, srv.Client())
	if err != nil || meta == nil {
		t.Fatalf("metadata %v, error %v", meta, err)
	}
	client, err := oauthex.RegisterClient(t.Context(), meta.RegistrationEndpoint, &oauthex.ClientRegistrationMetadata{
		RedirectURIs: []string{"http://127.0.0.1:7777/cb"}, ClientName: "Go SDK", TokenEndpointAuthMethod: "none",
		GrantTypes: []string{GrantCode, GrantRefresh},
	}, srv.Client())
	if err != nil || client.ClientID == "" {
		t.Fatalf("registration %+v, error %v", client, err)
	}
}
