package authn_test

import (
	"log/slog"
	"strings"
	"testing"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

// direct is how one vendor's own access tokens are accepted, as docs/idp tells it, and what goes wrong there.
type direct struct {
	origin string // where the vendor's servers are
	rules  rules
	ask    testkit.AccessRequest
	person string // sub
	scopes string

	mistakes map[string]mistake
}

// mistake is something that people get wrong with a vendor.
type mistake struct {
	rules  rules // on top
	ask    func(*testkit.AccessRequest)
	token  string
	reason authn.Reason
	cause  string // part of the likeliest cause
	cure   string
}

const client1 = "0oa1client"

func vendors(t *testing.T) map[string]direct {
	t.Helper()
	audience := func(s ...string) rules { return func(z *authn.Authorizer) { z.AllowedAudience = s } }
	only := func(ids ...identity.ClientID) rules {
		return func(z *authn.Authorizer) { z.AllowedAudience, z.NoAudience, z.AllowedClients = nil, true, ids }
	}
	scope := func(s ...string) rules { return func(z *authn.Authorizer) { z.AllowedScopes = s } }
	group := func(path, value string) rules {
		return claim(path, identity.TypeStringArray, identity.OpContains, value)
	}
	extra := func(claims map[string]any) func(*testkit.AccessRequest) {
		return func(r *testkit.AccessRequest) { r.Claims = claims }
	}
	aud := func(s string) func(*testkit.AccessRequest) {
		return func(r *testkit.AccessRequest) { r.Audience = s }
	}
	stranger := testkit.NewIDPKey(t, "RS256")
	return map[string]direct{
		"okta": {
			origin: "https://acme.okta.com", ask: testkit.AccessRequest{ClientID: client1, Scope: "mcp.tools offline_access"}, person: "alice@acme.example", scopes: "mcp.tools offline_access",
			rules: all(audience(testkit.OktaAudience), clients(client1), scope("mcp.tools"), group("groups", "eng")),
			mistakes: map[string]mistake{
				"token of the org server": {ask: func(r *testkit.AccessRequest) {
					r.Claims, r.Key = map[string]any{"iss": "https://acme.okta.com", "aud": "https://acme.okta.com"}, stranger
				}, reason: authn.UnknownIssuer, cause: "org authorization server", cure: "custom authorization server"},
				"opaque":            {token: "00aBcDeFgH", reason: authn.TokenMalformed, cause: "opaque", cure: "introspection"},
				"ID token":          {ask: extra(map[string]any{"aud": client1, "cid": nil, "nonce": "n", "at_hash": "h", "scp": nil}), reason: authn.WrongAudience, cause: "ID token", cure: "access token"},
				"another audience":  {ask: extra(map[string]any{"aud": "api://finance"}), reason: authn.WrongAudience, cause: "another API", cure: "allowed_audience"},
				"another client":    {ask: extra(map[string]any{"cid": "0oa2"}), reason: authn.WrongClient, cause: "another client", cure: "0oa2"},
				"scope not allowed": {ask: extra(map[string]any{"scp": []string{"openid"}}), reason: authn.InsufficientScope, cause: "did not ask", cure: "mcp.tools"},
				"no groups claim":   {ask: extra(map[string]any{"groups": nil}), reason: authn.ClaimMismatch, cause: "no claim groups", cure: "Security, API"},
				"another server":    {ask: extra(map[string]any{"iss": "https://acme.okta.com/oauth2/aus7"}), reason: authn.UnknownIssuer, cause: "another of Okta's", cure: "one authorization server"},
			},
		},
		"entra": {
			origin: "https://login.microsoftonline.com", ask: testkit.AccessRequest{ClientID: client1, Scope: "mcp.access"}, person: "pairwise-of-the-api", scopes: "mcp.access",
			rules: all(audience(testkit.EntraAPI, "api://"+testkit.EntraAPI), clients(client1), scope("mcp.access"), group("roles", "Mcp.User")),
			mistakes: map[string]mistake{
				"v1 tokens": {ask: extra(map[string]any{"iss": "https://sts.windows.net/" + testkit.EntraTenant + "/", "ver": "1.0", "azp": nil, "appid": client1, "aud": "api://" + testkit.EntraAPI}),
					reason: authn.UnknownIssuer, cause: "Entra v1 issuer", cure: "requestedAccessTokenVersion to 2"},
				"token for Graph":    {ask: aud(testkit.EntraGraph), reason: authn.UnknownIssuer, cause: "Entra v1 issuer", cure: "v2.0"},
				"only api://":        {rules: audience("api://" + testkit.EntraAPI), reason: authn.WrongAudience, cause: "api://", cure: "List both"},
				"groups overage":     {rules: group("groups", "5ac2e5a4-0000-4000-8000-000000000009"), ask: extra(map[string]any{"groups": nil, "_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.microsoft.com/v1.0/users/x/getMemberObjects"}}}), reason: authn.GroupsUnknown, cause: "groups overage", cure: "app roles"},
				"groups by name":     {rules: group("groups", "eng"), reason: authn.ClaimMismatch, cause: "object ids", cure: "app roles"},
				"another tenant":     {ask: extra(map[string]any{"iss": "https://login.microsoftonline.com/99999999-0000-4000-8000-000000000000/v2.0"}), reason: authn.UnknownIssuer, cause: "wrong tenant", cure: "tenant"},
				"personal account":   {ask: extra(map[string]any{"iss": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"}), reason: authn.UnknownIssuer, cause: "personal Microsoft account", cure: "organisation"},
				"application itself": {ask: extra(map[string]any{"scp": nil}), reason: authn.InsufficientScope, cause: "not to a person", cure: "roles"},
				"ID token":           {ask: extra(map[string]any{"aud": client1, "azp": nil, "nonce": "n", "scp": nil}), reason: authn.WrongAudience, cause: "ID token", cure: "access token"},
			},
		},
		"cognito": {
			origin: "https://cognito-idp.us-east-1.amazonaws.com", ask: testkit.AccessRequest{ClientID: client1, Scope: "openid gw/mcp.tools"}, person: "b4c8d4d8-uuid", scopes: "openid gw/mcp.tools",
			rules: all(only(client1), scope("gw/mcp.tools"), group("cognito:groups", "eng")),
			mistakes: map[string]mistake{
				"audience expected":  {rules: func(z *authn.Authorizer) { z.NoAudience, z.AllowedAudience = false, []string{client1} }, reason: authn.WrongAudience, cause: "Cognito's access tokens have no audience", cure: "allowed_clients"},
				"ID token":           {ask: extra(map[string]any{"token_use": "id", "aud": client1, "client_id": nil}), reason: authn.IDTokenUsed, cause: "ID token", cure: "access_token"},
				"scope's short name": {rules: scope("mcp.tools"), reason: authn.InsufficientScope, cause: "short one", cure: "allowed_scopes"},
				"another client":     {ask: extra(map[string]any{"client_id": "other"}), reason: authn.WrongClient, cause: "another client", cure: "other"},
				"another pool":       {ask: extra(map[string]any{"iss": "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_Other"}), reason: authn.UnknownIssuer, cause: "another tenant", cure: "discovery URL"},
				"groups elsewhere":   {rules: group("groups", "eng"), reason: authn.ClaimMismatch, cause: "cognito:groups", cure: "cognito:groups"},
			},
		},
		"auth0": {
			origin: "https://acme.eu.auth0.com", ask: testkit.AccessRequest{ClientID: client1, Scope: "openid mcp:tools", Audience: origin + "/mcp"}, person: "auth0|1", scopes: "openid mcp:tools",
			rules: all(audience(origin+"/mcp"), clients(client1), scope("mcp:tools"), group("https://acme.example/groups", "eng")),
			mistakes: map[string]mistake{
				"no audience asked for": {ask: aud(""), reason: authn.TokenMalformed, cause: "encrypted token (JWE)", cure: "audience"},
				"issuer without slash":  {ask: extra(map[string]any{"iss": "https://acme.eu.auth0.com"}), reason: authn.UnknownIssuer, cause: "trailing slash", cure: "Auth0"},
				"userinfo only":         {ask: extra(map[string]any{"aud": "https://acme.eu.auth0.com/userinfo"}), reason: authn.WrongAudience, cause: "userinfo", cure: "audience"},
				"slash of the API":      {ask: aud(origin + "/mcp/"), reason: authn.WrongAudience, cause: "trailing slash", cure: "character by character"},
				"groups by short name":  {rules: group("groups", "eng"), reason: authn.ClaimMismatch, cause: "https://acme.example/groups", cure: "as it is in the token"},
			},
		},
		"keycloak": {
			origin: "https://sso.acme.example", ask: testkit.AccessRequest{ClientID: client1, Scope: "openid mcp:tools", Audience: "gatehouse"}, person: "f:1:alice", scopes: "openid mcp:tools",
			rules: all(audience("gatehouse"), clients(client1), scope("mcp:tools"), group("realm_access.roles", "mcp")),
			mistakes: map[string]mistake{
				"no audience mapper": {ask: aud(""), reason: authn.WrongAudience, cause: "Keycloak was told no audience", cure: "audience mapper"},
				"groups by path":     {rules: group("groups", "eng"), reason: authn.ClaimMismatch, cause: "full path", cure: "slash"},
				"ID token":           {ask: extra(map[string]any{"typ": "ID"}), reason: authn.IDTokenUsed, cause: "ID token", cure: "access_token"},
				"refresh token":      {ask: extra(map[string]any{"typ": "Refresh"}), reason: authn.RefreshTokenUsed, cause: "refresh token", cure: "access token"},
				"no subject":         {ask: extra(map[string]any{"sub": nil}), reason: authn.NoSubject, cause: "(sub)", cure: "basic"},
				"http":               {ask: extra(map[string]any{"iss": "http://sso.acme.example/realms/acme"}), reason: authn.UnknownIssuer, cause: "http behind a proxy", cure: "hostname"},
				"another host name":  {ask: extra(map[string]any{"iss": "http://keycloak:8080/realms/acme"}), reason: authn.UnknownIssuer, cause: "another host name", cure: "hostname"},
				"another realm":      {ask: extra(map[string]any{"iss": "https://sso.acme.example/realms/master"}), reason: authn.UnknownIssuer, cause: "another realm", cure: "one realm"},
			},
		},
		"google": { // there is no good one
			origin: "https://accounts.google.com", ask: testkit.AccessRequest{ClientID: client1, Scope: "openid"}, rules: audience(client1),
			mistakes: map[string]mistake{
				"any access token": {reason: authn.TokenMalformed, cause: "access token of Google", cure: "through Gatehouse"},
			},
		},
		"pingone": {
			origin: "https://auth.pingone.eu", ask: testkit.AccessRequest{ClientID: client1, Scope: "mcp:tools", Audience: "gatehouse"}, person: "9d0e-uuid", scopes: "mcp:tools",
			rules: all(audience("gatehouse"), clients(client1), scope("mcp:tools")),
			mistakes: map[string]mistake{
				"no custom resource": {ask: aud(""), reason: authn.WrongAudience, cause: "PingOne's own API", cure: "custom resource"},
				"another client":     {ask: extra(map[string]any{"client_id": "other"}), reason: authn.WrongClient, cause: "another client", cure: "other"},
			},
		},
		"dex": {
			origin: "https://dex.acme.example", ask: testkit.AccessRequest{ClientID: client1, Scope: "openid groups"}, person: "CgVhbGljZRIFbG9jYWw",
			rules: all(audience(client1), group("groups", "eng")),
			mistakes: map[string]mistake{
				"another client":   {ask: func(r *testkit.AccessRequest) { r.ClientID = "other" }, reason: authn.WrongAudience, cause: "", cure: "allowed_audience"},
				"scopes expected":  {rules: scope("mcp:tools"), reason: authn.InsufficientScope, cause: "did not ask", cure: "mcp:tools"},
				"clients expected": {rules: clients(client1), reason: authn.WrongClient, cause: "does not say which client", cure: "allowed_audience"},
			},
		},
		"authentik": {
			origin: "https://sso.acme.example", ask: testkit.AccessRequest{ClientID: client1, Scope: "openid profile"}, person: "hashed-uid", scopes: "openid profile",
			rules: all(audience(client1), group("groups", "eng")),
			mistakes: map[string]mistake{
				"issuer without slash": {ask: extra(map[string]any{"iss": "https://sso.acme.example/application/o/gatehouse"}), reason: authn.UnknownIssuer, cause: "trailing slash", cure: "Authentik"},
				"no signing key": {ask: func(r *testkit.AccessRequest) {
					r.Key = &testkit.IDPKey{KID: "", Alg: "HS256", Secret: []byte("client secret")}
				}, reason: authn.Reason(jose.AlgRefused), cause: "Authentik does that", cure: "signing key"},
				"audience of an API":  {rules: audience("api://gatehouse"), reason: authn.WrongAudience, cause: "the audience is the client id", cure: "Authentik"},
				"another application": {ask: extra(map[string]any{"iss": "https://sso.acme.example/application/o/other/"}), reason: authn.UnknownIssuer, cause: "another tenant", cure: "discovery URL"},
			},
		},
		"zitadel": {
			origin: "https://acme.zitadel.cloud", ask: testkit.AccessRequest{ClientID: client1, Audience: testkit.ZitadelAPI}, person: "200000000000000001",
			rules: all(audience(testkit.ZitadelAPI), claim(testkit.ZitadelRoles, identity.TypeKeys, identity.OpContains, "mcp")),
			mistakes: map[string]mistake{
				"token type Bearer": {ask: aud(""), reason: authn.TokenMalformed, cause: "Zitadel gives out opaque tokens", cure: "token type"},
				"roles as a list":   {rules: group(testkit.ZitadelRoles, "mcp"), reason: authn.ClaimMismatch, cause: "an object", cure: "type: keys"},
				"another project":   {ask: extra(map[string]any{"aud": []string{client1, "200000000000000099"}}), reason: authn.WrongAudience, cause: "another API", cure: "allowed_audience"},
				"roles by name":     {rules: group("roles", "mcp"), reason: authn.ClaimMismatch, cause: "urn:zitadel:iam:org:project:roles", cure: "urn:zitadel"},
			},
		},
	}
}

// TestDirectModeOfEachVendor: a token of the vendor's shape is accepted with who and what it says; each typical mistake
// is refused for the right reason, and explained.
func TestDirectModeOfEachVendor(t *testing.T) {
	t.Parallel()
	for name, v := range vendors(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, net := newHouse(t), testkit.NewInternet(t)
			idp := testkit.NewUpstreamIDP(t, name)
			net.Publish(t, idp, v.origin)
			idp.Configure(func(c *testkit.UpstreamConfig) { c.Now = h.now })
			keys, err := jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: idp.DiscoveryURL(), Client: net.Client(), Now: h.now, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			endpoint := func(more rules) *authn.Endpoint {
				z := &authn.Authorizer{Name: name, Keys: keys}
				v.rules(z)
				if more != nil {
					z.CustomClaims = nil
					more(z)
				}
				return h.endpoint(t, "/mcp", z)
			}
			token := idp.AccessToken(t, v.ask)
			p, err := h.auth.Authenticate(bearer(token), endpoint(nil))
			switch {
			case name == "google":
			case err != nil:
				t.Errorf("a good token: %v", err)
			case p.Key != identity.PersonKey{Issuer: identity.Issuer(idp.Issuer()), Subject: v.person} || p.Scopes.String() != v.scopes:
				t.Errorf("%+v", p)
			}
			for what, m := range v.mistakes {
				ask := v.ask
				if m.ask != nil {
					m.ask(&ask)
				}
				token := m.token
				if token == "" {
					token = idp.AccessToken(t, ask)
				}
				e := endpoint(m.rules)
				_, err := h.auth.Authenticate(bearer(token), e)
				x := authn.Explain(t.Context(), token, e, authn.ExplainOptions{Now: h.now(), Revocations: h.revoked})
				refusal, ok := err.(*authn.Refusal)
				if !ok || refusal.Reason != m.reason || x.Refusal == nil || x.Refusal.Reason != m.reason {
					t.Errorf("%s: %v, explained as %v, want %s", what, err, x.Refusal, m.reason)
					continue
				}
				if len(x.Causes) == 0 || !strings.Contains(x.Causes[0].What, m.cause) || !strings.Contains(x.Causes[0].Cure, m.cure) {
					t.Errorf("%s: %+v, want %q and %q", what, x.Causes, m.cause, m.cure)
				}
			}
		})
	}
}
