package testkit

import (
	"net/http"
	"net/url"
	"strings"
)

// EntraTenant is the tenant of the entra fake.
const EntraTenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"

// upstreamVendor is how one vendor differs, from documentation; no live tenant was asked.
type upstreamVendor struct {
	path, slash       string // of the issuer
	document          map[string]any
	subject           string
	person            map[string]any
	unknownScopes     []string
	resourceError     string // what the vendor says to a resource parameter
	assertionToIssuer bool
	onlineOnly        bool // refresh tokens need access_type=offline and consent
	noScopeForRefresh bool
	deadError         string
	deadAs            int
}

// refresh reports whether the authorization request gets a refresh token.
func (v upstreamVendor) refresh(asked url.Values) bool {
	switch {
	case v.noScopeForRefresh:
		return true
	case v.onlineOnly:
		return asked.Get("access_type") == "offline" && asked.Get("prompt") == "consent"
	}
	return strings.Contains(" "+asked.Get("scope")+" ", " offline_access ")
}

func (v upstreamVendor) deadCode() string {
	if v.deadError != "" {
		return v.deadError
	}
	return "invalid_grant"
}

func (v upstreamVendor) deadStatus() int {
	if v.deadAs != 0 {
		return v.deadAs
	}
	return http.StatusBadRequest
}

func upstreamVendors() map[string]upstreamVendor {
	s256 := map[string]any{"code_challenge_methods_supported": []string{"S256"}}
	alice := func(extra map[string]any) map[string]any {
		p := map[string]any{"name": "Alice Adams", "preferred_username": "alice", "email": "alice@acme.example", "email_verified": true}
		put(p, extra)
		return p
	}
	return map[string]upstreamVendor{
		"": {subject: "alice-1", document: map[string]any{
			"code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
		}, person: alice(map[string]any{"groups": []string{"eng"}})},
		"okta": {
			path: "/oauth2/default", subject: "00u1", document: s256,
			person: map[string]any{"ver": 1, "idp": "00o1", "amr": []string{"pwd", "mfa"}, "preferred_username": "alice@acme.example", "name": "Alice Adams",
				"email": "alice@acme.example", "email_verified": true, "groups": []string{"Everyone", "eng"}},
		},
		"entra": {
			path: "/" + EntraTenant + "/v2.0", subject: "pairwise-of-this-app",
			person: map[string]any{"ver": "2.0", "tid": EntraTenant, "oid": "0a1b2c3d-0000-4000-8000-000000000001", "name": "Alice Adams",
				"preferred_username": "alice@acme.example", "email": "ceo@acme.example", "roles": []string{"Mcp.Admin"}, "groups": []string{"5ac2e5a4-0000-4000-8000-000000000009"}},
			resourceError: "AADSTS9010010: The resource parameter provided in the request doesn't match with the requested scopes.",
		},
		"cognito": {
			path: "/us-east-1_AbCdEfGhI", subject: "b4c8d4d8-uuid", noScopeForRefresh: true, unknownScopes: []string{"offline_access"},
			person: map[string]any{"token_use": "id", "cognito:username": "alice", "cognito:groups": []string{"eng"}, "name": "Alice Adams",
				"email": "alice@acme.example", "email_verified": true, "origin_jti": "x"},
		},
		"auth0": {
			slash: "/", subject: "auth0|1", document: s256, assertionToIssuer: true, deadAs: http.StatusForbidden,
			person: alice(map[string]any{"preferred_username": nil, "nickname": "alice", "https://acme.example/groups": []string{"eng"}}),
		},
		"keycloak": {
			path: "/realms/acme", subject: "f:1:alice", document: map[string]any{
				"code_challenge_methods_supported": []string{"plain", "S256"}, "authorization_response_iss_parameter_supported": true,
			},
			person: alice(map[string]any{"typ": "ID", "azp": "gatehouse", "acr": "1", "groups": []string{"/eng"}, "realm_access": map[string]any{"roles": []string{"admin", "user"}}}),
		},
		"google": {
			subject: "110169484474386276334", document: s256, onlineOnly: true, unknownScopes: []string{"offline_access"},
			person: alice(map[string]any{"preferred_username": nil, "azp": "gatehouse", "hd": "acme.example"}),
		},
		"pingone": {path: "/6f1b2c3d-env/as", subject: "9d0e-uuid", document: s256, person: alice(map[string]any{"groups": []string{"eng"}})},
		"dex": {
			path: "/dex", subject: "CgVhbGljZRIFbG9jYWw", document: s256, deadError: "invalid_request",
			person: alice(map[string]any{"groups": []string{"eng"}, "federated_claims": map[string]any{"connector_id": "ldap"}}),
		},
		"authentik": {path: "/application/o/gatehouse", slash: "/", subject: "hashed-uid", document: s256, person: alice(map[string]any{"groups": []string{"eng"}})},
		"zitadel": {
			subject: "200000000000000001", document: s256, assertionToIssuer: true,
			person: alice(map[string]any{"azp": "gatehouse", "aud": []string{"gatehouse", "200000000000000002"},
				"urn:zitadel:iam:org:project:roles": map[string]any{"admin": map[string]any{"ORGID": "acme.example"}}}),
		},
	}
}
