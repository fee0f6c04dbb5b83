package authn_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

const tenant, otherTenant = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"

// broken is a token that an endpoint refuses, and what an administrator should be told.
type broken struct {
	issuer string // of the authorizer; without it: Okta's custom authorization server
	rules  rules
	header map[string]any // on top of the usual one
	claims map[string]any // on top of a good access token; nil removes one
	token  string         // instead of one with these claims
	change func(string) string

	reason authn.Reason
	failed string // the first check that fails
	cause  string // part of the first cause
	cure   string // part of its cure
}

func brokenTokens(h *house, key, stranger *testkit.IDPKey, t *testing.T) map[string]broken {
	t.Helper()
	const (
		oktaCustom = "https://acme.okta.com/oauth2/default"
		entraV2    = "https://login.microsoftonline.com/" + tenant + "/v2.0"
		entraV1    = "https://sts.windows.net/" + tenant + "/"
		cognito    = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_X"
		auth0      = "https://acme.eu.auth0.com/"
		realm      = "https://sso.acme.example/realms/acme"
	)
	at := func(d time.Duration) int64 { return h.now().Add(d).Unix() }
	groups := claim("groups", identity.TypeStringArray, identity.OpContains, "eng")
	scopes := func(s ...string) rules { return func(z *authn.Authorizer) { z.AllowedScopes = s } }
	audience := func(s ...string) rules { return func(z *authn.Authorizer) { z.AllowedAudience = s } }
	algs := func(s ...string) rules { return func(z *authn.Authorizer) { z.Algorithms = s } }
	type c = map[string]any
	mint := func(k *testkit.IDPKey, head, claims c) string { return testkit.MintToken(t, k, head, claims) }
	goodClaims := c{"iss": oktaCustom, "sub": "alice", "aud": "api://default", "cid": "0oa1", "iat": at(0), "exp": at(time.Hour)}
	hmac := &testkit.IDPKey{KID: key.KID, Alg: "HS256", Secret: []byte("secret")}
	none := &testkit.IDPKey{KID: key.KID, Alg: "none"}
	return map[string]broken{
		// what is no token
		"nothing":              {token: " ", reason: authn.TokenMalformed, failed: "format", cause: "no token", cure: "--token-file"},
		"the whole answer":     {token: `{"access_token":"x"}`, reason: authn.TokenMalformed, failed: "format", cause: "whole answer", cure: "access_token"},
		"line break inside":    {change: func(s string) string { return s[:40] + "\n" + s[40:] }, reason: authn.TokenMalformed, failed: "format", cause: "line breaks", cure: "one line"},
		"encrypted":            {token: "eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc", reason: authn.TokenMalformed, failed: "format", cause: "encrypted", cure: "audience"},
		"signature cut off":    {change: func(s string) string { return s[:strings.LastIndex(s, ".")] }, reason: authn.TokenMalformed, failed: "format", cause: "cut off", cure: "again"},
		"payload damaged":      {change: func(s string) string { i := strings.Index(s, "."); return s[:i+5] + s[i+7:] }, reason: authn.TokenMalformed, failed: "format", cause: "damaged", cure: "again"},
		"Google's":             {token: "ya29.a0AfH6SMBx", reason: authn.TokenMalformed, failed: "format", cause: "Google", cure: "through Gatehouse"},
		"GitHub's":             {token: "gho_16C7e42F292c6912E7710c838347Ae178B4a", reason: authn.TokenMalformed, failed: "format", cause: "GitHub", cure: "headers"},
		"an API key":           {token: "sk-proj-abcdef", reason: authn.TokenMalformed, failed: "format", cause: "API key", cure: "headers"},
		"opaque, Okta org":     {issuer: "https://acme.okta.com", token: "00aBcDeF", reason: authn.TokenMalformed, failed: "format", cause: "org authorization server", cure: "custom authorization server"},
		"opaque, Auth0":        {issuer: auth0, token: "aBcDeF", reason: authn.TokenMalformed, failed: "format", cause: "Auth0", cure: "audience"},
		"opaque":               {issuer: realm, token: "aBcDeF", reason: authn.TokenMalformed, failed: "format", cause: "opaque", cure: "introspection"},
		"endless":              {token: "ey" + strings.Repeat("x", 20<<10), reason: authn.Reason(jose.TooLarge), failed: "format", cause: "hundreds of groups", cure: "fewer"},
		"brings its own key":   {header: c{"jwk": c{"kty": "RSA"}}, reason: authn.Reason(jose.HeaderRefused), failed: "format", cause: "its own key", cure: "forged"},
		"introspection, ended": {issuer: h.idp.Issuer(), rules: h.introspecting(t), token: "gone", reason: authn.TokenInactive, failed: "introspection", cause: "does not know", cure: "Sign in again"},
		// signature
		"not signed":         {token: mint(none, nil, goodClaims), reason: authn.Reason(jose.AlgRefused), failed: "signature", cause: "not signed", cure: "Never"},
		"shared secret":      {token: mint(hmac, nil, goodClaims), reason: authn.Reason(jose.AlgRefused), failed: "signature", cause: "Authentik", cure: "signing key"},
		"another algorithm":  {rules: algs("RS256"), reason: authn.Reason(jose.AlgRefused), failed: "signature", cause: "ES256", cure: "RS256"},
		"unknown kid":        {token: mint(stranger, nil, goodClaims), reason: authn.Reason(jose.UnknownKey), failed: "signature", cause: "unknown kid", cure: "jwks_uri"},
		"forged":             {token: mint(stranger, c{"kid": key.KID}, goodClaims), reason: authn.Reason(jose.BadSignature), failed: "signature", cause: "changed after", cure: "Copy it again"},
		"Okta org, JWT":      {issuer: "https://acme.okta.com", token: mint(stranger, nil, c{"iss": "https://acme.okta.com", "sub": "a", "aud": "https://acme.okta.com", "iat": at(0), "exp": at(time.Hour)}), reason: authn.Reason(jose.UnknownKey), failed: "signature", cause: "org authorization server", cure: "custom authorization server"},
		"Microsoft Graph":    {issuer: entraV2, token: mint(stranger, c{"kid": key.KID}, c{"iss": entraV2, "sub": "a", "aud": "00000003-0000-0000-c000-000000000000", "iat": at(0), "exp": at(time.Hour)}), reason: authn.Reason(jose.BadSignature), failed: "signature", cause: "Microsoft Graph", cure: "Expose an API"},
		"issuer unreachable": {issuer: "(down)", claims: c{"iss": h.idp.Issuer()}, reason: authn.KeysUnavailable, failed: "signature", cause: "cannot be fetched", cure: "jwks_uri"},
		// type
		"ID token, Keycloak":      {issuer: realm, claims: c{"typ": "ID"}, reason: authn.IDTokenUsed, failed: "type", cause: "this is an ID token", cure: "access_token"},
		"ID token, Cognito":       {issuer: cognito, claims: c{"token_use": "id"}, reason: authn.IDTokenUsed, failed: "type", cause: "this is an ID token", cure: "access_token"},
		"ID token, Dex":           {claims: c{"c_hash": "h"}, reason: authn.IDTokenUsed, failed: "type", cause: "this is an ID token", cure: "access_token"},
		"ID token, by looks":      {claims: c{"aud": "0oa1", "nonce": "n", "at_hash": "h"}, reason: authn.WrongAudience, failed: "audience", cause: "looks like an ID token", cure: "access token"},
		"ID token of Gatehouse":   {issuer: "(own)", token: h.ownToken(t, "JWT", nil), reason: authn.IDTokenUsed, failed: "type", cause: "this is an ID token", cure: "access_token"},
		"refresh token, Keycloak": {issuer: realm, claims: c{"typ": "Refresh"}, reason: authn.RefreshTokenUsed, failed: "type", cause: "refresh token", cure: "access token"},
		"logout token":            {header: c{"typ": "logout+jwt"}, reason: authn.LogoutTokenUsed, failed: "type", cause: "logout token", cure: "access_token"},
		"ID-JAG":                  {header: c{"typ": "oauth-id-jag+jwt"}, reason: authn.WrongTokenType, failed: "type", cause: "ID-JAG", cure: "token endpoint"},
		"DPoP proof":              {header: c{"typ": "dpop+jwt"}, reason: authn.WrongTokenType, failed: "type", cause: "DPoP proof", cure: "belongs to"},
		"some JWT":                {header: c{"typ": "secevent+jwt"}, reason: authn.WrongTokenType, failed: "type", cause: "another kind", cure: "access_token"},
		"no subject":              {issuer: realm, claims: c{"sub": nil}, reason: authn.NoSubject, failed: "subject", cause: "(sub)", cure: "basic"},
		// issuer
		"no issuer":                {claims: c{"iss": nil}, reason: authn.UnknownIssuer, failed: "issuer", cause: "does not say who", cure: "iss"},
		"trailing slash":           {issuer: auth0, claims: c{"iss": strings.TrimSuffix(auth0, "/")}, reason: authn.UnknownIssuer, failed: "issuer", cause: "trailing slash", cure: "character by character"},
		"case of the issuer":       {issuer: realm, claims: c{"iss": strings.Replace(realm, "acme.", "Acme.", 1)}, reason: authn.UnknownIssuer, failed: "issuer", cause: "case only", cure: "character by character"},
		"http behind a proxy":      {issuer: realm, claims: c{"iss": strings.Replace(realm, "https", "http", 1)}, reason: authn.UnknownIssuer, failed: "issuer", cause: "http behind a proxy", cure: "proxy headers"},
		"port":                     {issuer: realm, claims: c{"iss": strings.Replace(realm, "example/", "example:8443/", 1)}, reason: authn.UnknownIssuer, failed: "issuer", cause: "port only", cure: "one public address"},
		"Entra v1 issuer":          {issuer: entraV2, claims: c{"iss": entraV1, "ver": "1.0"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "Entra v1 issuer", cure: "requestedAccessTokenVersion to 2"},
		"Entra v2 issuer":          {issuer: entraV1, claims: c{"iss": entraV2}, reason: authn.UnknownIssuer, failed: "issuer", cause: "expects v1", cure: "/v2.0/"},
		"Entra, another tenant":    {issuer: entraV2, claims: c{"iss": strings.Replace(entraV2, tenant, otherTenant, 1)}, reason: authn.UnknownIssuer, failed: "issuer", cause: "wrong tenant", cure: "right tenant"},
		"Entra, v1, other tenant":  {issuer: entraV2, claims: c{"iss": strings.Replace(entraV1, tenant, otherTenant, 1)}, reason: authn.UnknownIssuer, failed: "issuer", cause: "wrong tenant", cure: "right tenant"},
		"Entra, personal account":  {issuer: entraV2, claims: c{"iss": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "personal Microsoft account", cure: "organisation"},
		"Okta, org for custom":     {claims: c{"iss": "https://acme.okta.com"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "org authorization server", cure: oktaCustom},
		"Okta, custom for org":     {issuer: "https://acme.okta.com", claims: c{"iss": oktaCustom}, reason: authn.UnknownIssuer, failed: "issuer", cause: "custom authorization server", cure: oktaCustom},
		"Okta, another custom one": {claims: c{"iss": "https://acme.okta.com/oauth2/aus7"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "another of Okta's", cure: "one authorization server"},
		"Okta, another org":        {claims: c{"iss": "https://globex.okta.com/oauth2/default"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "another tenant", cure: "tenant"},
		"Keycloak, another realm":  {issuer: realm, claims: c{"iss": "https://sso.acme.example/realms/master"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "another realm", cure: "one realm"},
		"Keycloak, another host":   {issuer: realm, claims: c{"iss": "http://keycloak:8080/realms/acme"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "another host name", cure: "hostname"},
		"Cognito, another pool":    {issuer: cognito, claims: c{"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Y"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "another tenant", cure: "discovery URL"},
		"some other issuer":        {claims: c{"iss": "https://evil.example"}, reason: authn.UnknownIssuer, failed: "issuer", cause: "another issuer", cure: "sign in at"},
		"foreign at an own place":  {issuer: "(own)", claims: c{"iss": realm}, reason: authn.UnknownIssuer, failed: "issuer", cause: "only Gatehouse's own", cure: "Add an authorizer"},
		// time
		"expired just now":   {claims: c{"exp": at(-time.Minute), "iat": at(-time.Hour)}, reason: authn.TokenExpired, failed: "time", cause: "expired 1m0s ago", cure: "NTP"},
		"expired yesterday":  {claims: c{"exp": at(-25 * time.Hour), "iat": at(-26 * time.Hour)}, reason: authn.TokenExpired, failed: "time", cause: "expired 25h0m0s ago", cure: "offline_access"},
		"clock skew":         {claims: c{"iat": at(5 * time.Minute)}, reason: authn.TokenNotYetValid, failed: "time", cause: "clock skew: the token is valid only in 5m0s", cure: "NTP"},
		"not before":         {claims: c{"nbf": at(2 * time.Hour)}, reason: authn.TokenNotYetValid, failed: "time", cause: "clock skew: the token is valid only in 2h0m0s", cure: "NTP"},
		"milliseconds":       {claims: c{"exp": at(time.Hour) * 1000}, reason: authn.ClaimMalformed, failed: "time", cause: "milliseconds", cure: "RFC 7519"},
		"expiry as text":     {claims: c{"exp": "soon"}, reason: authn.ClaimMalformed, failed: "time", cause: "not a number", cure: "RFC 7519"},
		"no expiry":          {claims: c{"exp": nil}, reason: authn.NoExpiry, failed: "time", cause: "never expires", cure: "lifetime"},
		"lives for a month":  {claims: c{"exp": at(720 * time.Hour)}, reason: authn.LifetimeTooLong, failed: "lifetime", cause: "lives longer", cure: "Shorten"},
		"lives for too long": {rules: func(z *authn.Authorizer) { z.MaxLifetime = time.Minute }, reason: authn.LifetimeTooLong, failed: "lifetime", cause: "lives longer", cure: "1m0s"},
		// audience
		"audience is the client":   {claims: c{"aud": "0oa1"}, reason: authn.WrongAudience, failed: "audience", cause: "the audience is the client id", cure: "allowed_audience"},
		"Cognito has none":         {issuer: cognito, claims: c{"aud": nil, "cid": nil, "client_id": "1abc", "token_use": "access"}, reason: authn.WrongAudience, failed: "audience", cause: "Cognito", cure: "allowed_clients"},
		"no audience":              {claims: c{"aud": nil}, reason: authn.WrongAudience, failed: "audience", cause: "no audience", cure: "allowed_clients"},
		"Keycloak's account":       {issuer: realm, claims: c{"aud": "account"}, reason: authn.WrongAudience, failed: "audience", cause: "account", cure: "audience mapper"},
		"Auth0's userinfo":         {issuer: auth0, claims: c{"aud": "https://acme.eu.auth0.com/userinfo"}, reason: authn.WrongAudience, failed: "audience", cause: "userinfo", cure: "audience"},
		"Entra, GUID and api://":   {issuer: entraV2, rules: audience("api://" + otherTenant), claims: c{"aud": otherTenant}, reason: authn.WrongAudience, failed: "audience", cause: "api://", cure: "List both"},
		"slash of the audience":    {rules: audience("https://gw/mcp"), claims: c{"aud": "https://gw/mcp/"}, reason: authn.WrongAudience, failed: "audience", cause: "trailing slash", cure: "character by character"},
		"case of the audience":     {claims: c{"aud": "API://default"}, reason: authn.WrongAudience, failed: "audience", cause: "case only", cure: "character by character"},
		"another API":              {claims: c{"aud": "api://other"}, reason: authn.WrongAudience, failed: "audience", cause: "another API", cure: "allowed_audience"},
		"own, another endpoint":    {issuer: "(own)", token: h.ownToken(t, "at+jwt", c{"aud": origin + "/finance/mcp"}), reason: authn.WrongAudience, failed: "audience", cause: "another endpoint", cure: origin + "/mcp"},
		"own, something else":      {issuer: "(own)", token: h.ownToken(t, "at+jwt", c{"aud": "api://x"}), reason: authn.WrongAudience, failed: "audience", cause: "resource", cure: origin + "/mcp"},
		"own, without the scope":   {issuer: "(own)", token: h.ownToken(t, "at+jwt", c{"scope": "openid"}), reason: authn.InsufficientScope, failed: "scopes", cause: "did not ask", cure: "mcp:tools"},
		"own, revoked":             {issuer: "(own)", token: h.ownToken(t, "at+jwt", c{"gid": "g-revoked"}), reason: authn.TokenRevoked, failed: "revocation", cause: "access was ended", cure: "Sign in again"},
		"another client":           {rules: clients("0oa2"), reason: authn.WrongClient, failed: "client", cause: "another client", cure: `"0oa1"`},
		"no client":                {rules: clients("0oa2"), claims: c{"cid": nil}, reason: authn.WrongClient, failed: "client", cause: "does not say which client", cure: "azp"},
		"a registered client":      {rules: clients("0oa2"), claims: c{"cid": "dcr1.xyz"}, reason: authn.WrongClient, failed: "client", cause: "registered itself", cure: "allowed_clients"},
		"scope not asked for":      {rules: scopes("mcp"), reason: authn.InsufficientScope, failed: "scopes", cause: "did not ask", cure: "mcp"},
		"scope's short name":       {rules: scopes("api://x/mcp.access"), claims: c{"scp": "mcp.access"}, reason: authn.InsufficientScope, failed: "scopes", cause: "short one", cure: "advertised_scopes"},
		"scope's long name":        {issuer: cognito, rules: scopes("mcp.tools"), claims: c{"scope": "gw/mcp.tools"}, reason: authn.InsufficientScope, failed: "scopes", cause: "short one", cure: "allowed_scopes"},
		"application without user": {issuer: entraV2, rules: scopes("mcp.access"), claims: c{"roles": []string{"Mcp.Read"}}, reason: authn.InsufficientScope, failed: "scopes", cause: "not to a person", cure: "roles"},
		// claims
		"groups overage":      {issuer: entraV2, rules: groups, claims: c{"_claim_names": c{"groups": "src1"}}, reason: authn.GroupsUnknown, failed: "claims", cause: "groups overage", cure: "app roles"},
		"groups, Okta":        {rules: groups, reason: authn.ClaimMismatch, failed: "claims", cause: "no claim groups", cure: "Security, API"},
		"groups, Keycloak":    {issuer: realm, rules: groups, reason: authn.ClaimMismatch, failed: "claims", cause: "no claim groups", cure: "Add to access token"},
		"groups by a path":    {issuer: realm, rules: groups, claims: c{"groups": []string{"/eng"}}, reason: authn.ClaimMismatch, failed: "claims", cause: "full path", cure: "slash"},
		"groups elsewhere":    {issuer: cognito, rules: groups, claims: c{"cognito:groups": []string{"eng"}}, reason: authn.ClaimMismatch, failed: "claims", cause: "cognito:groups", cure: "cognito:groups"},
		"roles in the realm":  {issuer: realm, rules: groups, claims: c{"realm_access": c{"roles": []string{"eng"}}}, reason: authn.ClaimMismatch, failed: "claims", cause: "realm_access.roles", cure: "realm_access.roles"},
		"a name with a URL":   {issuer: auth0, rules: groups, claims: c{"https://acme.example/groups": []string{"eng"}}, reason: authn.ClaimMismatch, failed: "claims", cause: "https://acme.example/groups", cure: "as it is in the token"},
		"groups are ids":      {issuer: entraV2, rules: groups, claims: c{"groups": []string{tenant}}, reason: authn.ClaimMismatch, failed: "claims", cause: "object ids", cure: "app roles"},
		"groups as text":      {rules: groups, claims: c{"groups": "eng"}, reason: authn.ClaimMismatch, failed: "claims", cause: "text, not a list", cure: "equals"},
		"case of a group":     {rules: groups, claims: c{"groups": []string{"Eng"}}, reason: authn.ClaimMismatch, failed: "claims", cause: "case only", cure: "exactly"},
		"not in the group":    {rules: groups, claims: c{"groups": []string{"hr"}}, reason: authn.ClaimMismatch, failed: "claims", cause: "does not have", cure: "sign in again"},
		"roles are keys":      {rules: claim("roles", identity.TypeStringArray, identity.OpContains, "admin"), claims: c{"roles": c{"admin": c{}}}, reason: authn.ClaimMismatch, failed: "claims", cause: "an object", cure: "type: keys"},
		"a number is no text": {rules: claim("level", identity.TypeString, identity.OpEquals, "3"), claims: c{"level": 3}, reason: authn.ClaimMismatch, failed: "claims", cause: "not text", cure: "without quotes"},
		"a list is no text":   {rules: claim("groups", identity.TypeString, identity.OpEquals, "eng"), claims: c{"groups": []string{"eng"}}, reason: authn.ClaimMismatch, failed: "claims", cause: "a list", cure: "contains"},
	}
}

// TestExplain: what is said about each broken token is the right thing, and agrees with what the endpoint does.
func TestExplain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.revoked.revoke(identity.GrantID("g-revoked"), h.now().Add(time.Hour))
	key, stranger := testkit.NewIDPKey(t, "ES256"), testkit.NewIDPKey(t, "ES256")
	keys, err := jose.ParseKeySet(jwks(t, key))
	if err != nil {
		t.Fatal(err)
	}
	down := testkit.NewIDP(t, "/down")
	down.SetDown(true)
	for name, b := range brokenTokens(h, key, stranger, t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := &authn.Authorizer{Name: "direct", Issuer: "https://acme.okta.com/oauth2/default", Keys: keys, AllowedAudience: []string{"api://default"}}
			switch b.issuer {
			case "":
			case "(own)":
				z = h.ownRules()
			case "(down)":
				z.Issuer, z.Keys = "", h.remote(t, down)
				b.claims = map[string]any{"iss": down.Issuer()}
			case h.idp.Issuer():
				z.Issuer, z.Keys = "", h.foreign
			default:
				z.Issuer = identity.Issuer(b.issuer)
			}
			if b.rules != nil {
				b.rules(z)
			}
			token := b.token
			if token == "" {
				c := map[string]any{"iss": string(z.Issuer), "sub": "alice", "aud": "api://default", "cid": "0oa1", "iat": h.now().Unix(), "exp": h.now().Add(time.Hour).Unix()}
				maps.Copy(c, b.claims)
				maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
				token = testkit.MintToken(t, key, b.header, c)
			}
			if b.change != nil {
				token = b.change(token)
			}
			h.explained(t, token, h.endpoint(t, "/mcp", z), b)
		})
	}
}

// explained asks for an explanation and compares it with what was expected, and with Authenticate.
func (h *house) explained(t *testing.T, token string, e *authn.Endpoint, b broken) {
	t.Helper()
	x := authn.Explain(t.Context(), token, e, authn.ExplainOptions{Now: h.now(), Revocations: h.revoked})
	_, err := h.auth.Authenticate(bearer(token), e)
	if x.Refusal == nil || err == nil {
		t.Fatalf("accepted: %+v, %v", x, err)
	}
	if refusal := err.(*authn.Refusal); strings.TrimSpace(token) != "" && (refusal.Reason != x.Refusal.Reason || refusal.Status != x.Refusal.Status) {
		t.Errorf("explains %s, and the endpoint says %s", x.Refusal, refusal)
	}
	if x.Refusal.Reason != b.reason {
		t.Errorf("reason %s, want %s", x.Refusal, b.reason)
	}
	first := ""
	for _, c := range x.Checks {
		if c.Outcome == authn.Failed && first == "" {
			first = c.Name
		}
		if long := len(c.Expected) + len(c.Found); len(token) > 64 && (strings.Contains(c.Found+c.Expected, token[len(token)-32:]) || long > 1200) {
			t.Errorf("%s shows the token or too much", c.Name)
		}
	}
	if first != b.failed && b.failed != "signature" && b.failed != "type" || !failed(x, b.failed) {
		t.Errorf("first failed check is %q, want %q: %+v", first, b.failed, x.Checks)
	}
	if len(x.Causes) == 0 || !strings.Contains(x.Causes[0].What, b.cause) || !strings.Contains(x.Causes[0].Cure, b.cure) {
		t.Errorf("causes %+v, want %q and %q", x.Causes, b.cause, b.cure)
	}
}

func failed(x *authn.Explanation, name string) bool {
	for _, c := range x.Checks {
		if c.Name == name && c.Outcome == authn.Failed {
			return true
		}
	}
	return false
}

func TestExplainAccepts(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(all(clients("client-1"), h.introspecting(t), claim("sub", identity.TypeString, identity.OpEquals, "alice"))))
	for name, token := range map[string]string{
		"own": h.ownToken(t, "at+jwt", nil), "foreign": h.foreignToken(t, nil), "opaque": h.opaque(nil),
		"with the scheme": "Bearer " + h.foreignToken(t, nil) + "\n", "with the header": "  bearer: " + h.foreignToken(t, nil),
	} {
		x := authn.Explain(t.Context(), token, e, authn.ExplainOptions{Now: h.now(), Revocations: h.revoked})
		if x.Refusal != nil || len(x.Causes) > 0 || len(x.Checks) < 8 {
			t.Errorf("%s: %v %+v", name, x.Refusal, x.Causes)
		}
		for _, c := range x.Checks {
			if c.Outcome == authn.Failed {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
	h.revoked.setStale(true)
	x := authn.Explain(t.Context(), h.foreignToken(t, nil), e, authn.ExplainOptions{Now: h.now(), Revocations: h.revoked})
	if x.Refusal == nil || x.Refusal.Reason != authn.RevocationsUnknown || !failed(x, "revocation") {
		t.Errorf("%+v", x)
	}
	x = authn.Explain(t.Context(), h.foreignToken(t, nil), e, authn.ExplainOptions{Now: h.now()})
	if x.Refusal != nil {
		t.Errorf("without revocations: %v", x.Refusal)
	}
}

// TestExplainPicksTheRules: of several rule sets for an issuer the one that came furthest is shown.
func TestExplainPicksTheRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	strict := h.foreignRules(clients("other"))
	strict.Name = "strict"
	far := h.foreignRules(func(z *authn.Authorizer) { z.AllowedScopes = identity.Scopes{"mcp:admin"} })
	far.Name = "far"
	x := authn.Explain(t.Context(), h.foreignToken(t, nil), h.endpoint(t, "/mcp", strict, far, h.ownRules()), authn.ExplainOptions{Now: h.now()})
	if x.Authorizer != "far" || x.Refusal == nil || x.Refusal.Reason != authn.InsufficientScope {
		t.Errorf("%+v", x)
	}
}

// FuzzExplain: no token upsets the explanation, and it accepts exactly what the endpoint accepts.
func FuzzExplain(f *testing.F) {
	h := newHouse(f)
	e := h.endpoint(f, "/mcp", h.ownRules(), h.foreignRules())
	for _, token := range []string{
		h.ownToken(f, "at+jwt", nil), h.foreignToken(f, nil), h.foreignToken(f, map[string]any{"iss": "http://[::1", "aud": []any{1, nil}, "exp": "x"}),
		"", "Bearer", "Bearer ", "a.b.c", "ey.ey.ey", "{}", "ya29.x", "e30.e30.e30", "\x1b[31m",
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		x := authn.Explain(t.Context(), token, e, authn.ExplainOptions{Now: h.now()})
		if strings.ContainsAny(token, " \t\r\n") {
			return // cleaned, or the header could not even carry it
		}
		_, err := h.auth.Authenticate(bearer(token), e)
		if (x.Refusal == nil) != (err == nil) {
			t.Errorf("explains %v, the endpoint says %v", x.Refusal, err)
		}
		if x.Refusal != nil && len(x.Causes) == 0 {
			t.Error("no cause")
		}
	})
}
