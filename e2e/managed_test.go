//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/auth/extauth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/oauth2"

	"gatehouse/internal/testkit"
)

const managedSettings = `
sign_in:
  users: false
  oidc:
    - {name: acme, discovery_url: %q, client_id: gatehouse, client_secret: "s3cret+/&=", id_jag: true}
clients:
  - {client_id: copilot, name: Copilot, grant_types: ["urn:ietf:params:oauth:grant-type:jwt-bearer"], token_endpoint_auth_method: client_secret_post, client_secret: managed}
  - {client_id: nightly, grant_types: [client_credentials], token_endpoint_auth_method: client_secret_post, client_secret: "s3cret/+ of: nightly", scopes: [mcp:tools]}
targets: {demo: {demo: true}}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [nightly]}, targets: [demo]}
`

// exchanges answers token exchanges (RFC 8693) in the name of an identity provider: an ID token for an ID-JAG.
func exchanges(t *testing.T, idp *testkit.UpstreamIDP) (url string, count *atomic.Int64) {
	t.Helper()
	count = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if r.FormValue("requested_token_type") != "urn:ietf:params:oauth:token-type:id-jag" || r.FormValue("subject_token") != "the ID token" {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_request"}`)
			return
		}
		jag := idp.IDJAG(t, r.FormValue("audience"), "copilot", nil, map[string]any{"resource": r.FormValue("resource"), "scope": r.FormValue("scope")})
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issued_token_type": "urn:ietf:params:oauth:token-type:id-jag", "access_token": jag, "token_type": "N_A", "expires_in": 300,
		})
	}))
	t.Cleanup(s.Close)
	return s.URL, count
}

// sdkWhoami asks over the official Go SDK.
func sdkWhoami(t *testing.T, url string, handler auth.OAuthHandler) map[string]any {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil)
	s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url, OAuthHandler: handler}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	result, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "demo___whoami", Arguments: map[string]any{}})
	if err != nil || len(result.Content) == 0 {
		t.Fatalf("whoami: %+v, %v", result, err)
	}
	var who struct{ Claims map[string]any }
	if err := json.Unmarshal([]byte(result.Content[0].(*mcp.TextContent).Text), &who); err != nil {
		t.Fatal(err)
	}
	return who.Claims
}

// Enterprise-Managed Authorization with the official Go SDK: the person signs in nowhere but at their identity provider.
func TestEnterpriseManagedAuthorizationWithTheGoSDK(t *testing.T) {
	idp := testkit.NewUpstreamIDP(t, "")
	exchange, count := exchanges(t, idp)
	idp.SetDocument(map[string]any{"token_endpoint": exchange, "code_challenge_methods_supported": []string{"S256"}})
	url := inside(t, fmt.Sprintf(managedSettings, idp.DiscoveryURL()), nil)
	handler, err := extauth.NewEnterpriseHandler(&extauth.EnterpriseHandlerConfig{
		IdPIssuerURL: idp.Issuer(), IdPCredentials: &oauthex.ClientCredentials{ClientID: "copilot-at-idp"},
		MCPAuthServerURL: url, MCPResourceURI: url + "/mcp", MCPScopes: []string{"mcp:tools"},
		MCPCredentials: &oauthex.ClientCredentials{ClientID: "copilot", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "managed"}},
		IDTokenFetcher: func(context.Context) (*oauth2.Token, error) {
			return (&oauth2.Token{}).WithExtra(map[string]any{"id_token": "the ID token"}), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	claims := sdkWhoami(t, url+"/mcp", handler)
	if claims["idp"] != "acme" || claims["client_id"] != "copilot" || strings.HasPrefix(fmt.Sprint(claims["sub"]), "service:") || count.Load() != 1 {
		t.Errorf("claims %v after %d exchanges", claims, count.Load())
	}
}

// Client credentials with the official Go SDK, which sends secrets in the body wherever that is supported.
func TestClientCredentialsWithTheGoSDK(t *testing.T) {
	url := inside(t, fmt.Sprintf(managedSettings, testkit.NewUpstreamIDP(t, "").DiscoveryURL()), nil)
	handler, err := extauth.NewClientCredentialsHandler(&extauth.ClientCredentialsHandlerConfig{
		Credentials: &oauthex.ClientCredentials{ClientID: "nightly", ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: "s3cret/+ of: nightly"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if claims := sdkWhoami(t, url+"/mcp", handler); claims["sub"] != "service:nightly" {
		t.Errorf("claims %v", claims)
	}
}
