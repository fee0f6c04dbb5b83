package authn_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

type rules = func(*authn.Authorizer)

func clients(ids ...identity.ClientID) rules {
	return func(z *authn.Authorizer) { z.AllowedClients = ids }
}

func claim(name string, kind identity.ClaimType, op identity.Operator, values ...string) rules {
	return func(z *authn.Authorizer) {
		z.CustomClaims = append(z.CustomClaims, rule(identity.ClaimRule{Claim: name, Type: kind, Operator: op, Values: values}))
	}
}

// rule makes an empty rule of one that could never be meant; Validate must refuse that.
func rule(r identity.ClaimRule) *identity.Rule {
	made, err := identity.NewRule(r)
	if err != nil {
		return &identity.Rule{}
	}
	return made
}

func all(changes ...rules) rules {
	return func(z *authn.Authorizer) {
		for _, c := range changes {
			c(z)
		}
	}
}

// TestRules holds §10 of the notes on identity providers, with the token shapes of §9.
func TestRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	groups := claim("groups", identity.TypeStringArray, identity.OpContainsAny, "eng", "sre")
	noAudience := func(z *authn.Authorizer) { z.NoAudience, z.AllowedAudience = true, nil }
	minute := func(d time.Duration) int64 { return h.now().Add(d).Unix() }
	for name, tt := range map[string]struct {
		rules  rules
		claims map[string]any
		want   authn.Reason // empty: accepted
	}{
		"audience in a list":          {all(), map[string]any{"aud": []string{"https://t.auth0.com/userinfo", "api://default"}}, ""},
		"one of two audiences":        {func(z *authn.Authorizer) { z.AllowedAudience = []string{"GUID", "api://gw"} }, map[string]any{"aud": "GUID"}, ""},
		"no audience, client fits":    {all(noAudience, clients("client-1")), map[string]any{"aud": nil}, ""},
		"no audience, client differs": {all(noAudience, clients("other")), map[string]any{"aud": nil}, authn.WrongClient},
		"client missing":              {clients("client-1"), map[string]any{"client_id": nil}, authn.WrongClient},
		"client in azp":               {clients("client-1"), map[string]any{"client_id": nil, "azp": "client-1"}, ""},
		"client in cid":               {clients("client-1"), map[string]any{"client_id": nil, "cid": "client-1"}, ""},
		"client in appid":             {clients("client-1"), map[string]any{"client_id": nil, "appid": "client-1"}, ""},
		"first present counts":        {clients("client-1"), map[string]any{"client_id": "other", "azp": "client-1"}, authn.WrongClient},
		"client is a number":          {clients("client-1"), map[string]any{"client_id": 7, "azp": "client-1"}, authn.WrongClient},
		"scope among allowed":         {func(z *authn.Authorizer) { z.AllowedScopes = identity.Scopes{"a", "mcp:tools"} }, nil, ""},
		"scp list":                    {func(z *authn.Authorizer) { z.AllowedScopes = identity.Scopes{"b"} }, map[string]any{"scope": nil, "scp": []string{"a", "b"}}, ""},
		"scp string":                  {func(z *authn.Authorizer) { z.AllowedScopes = identity.Scopes{"b"} }, map[string]any{"scope": nil, "scp": "a b"}, ""},
		"default scopes are our own":  {all(), map[string]any{"scope": nil}, ""},
		"groups fit":                  {groups, map[string]any{"groups": []string{"x", "sre"}}, ""},
		"groups differ":               {groups, map[string]any{"groups": []string{"engx"}}, authn.ClaimMismatch},
		"groups missing":              {groups, nil, authn.ClaimMismatch},
		"groups as text":              {groups, map[string]any{"groups": "eng"}, authn.ClaimMismatch},
		"groups moved away":           {groups, map[string]any{"_claim_names": map[string]any{"groups": "src1"}}, authn.GroupsUnknown},
		"groups here and moved":       {groups, map[string]any{"groups": []string{"eng"}, "_claim_names": map[string]any{"groups": "src1"}}, ""},
		"both claims":                 {all(groups, claim("cid", identity.TypeString, identity.OpEquals, "0oa1")), map[string]any{"groups": []string{"eng"}, "cid": "0oa1"}, ""},
		"one of two claims":           {all(groups, claim("cid", identity.TypeString, identity.OpEquals, "0oa1")), map[string]any{"groups": []string{"eng"}, "cid": "0oa2"}, authn.ClaimMismatch},
		"clock skew":                  {all(), map[string]any{"iat": minute(time.Minute), "nbf": minute(time.Minute)}, ""},
		"a day long":                  {all(), map[string]any{"exp": minute(24 * time.Hour)}, ""},
		"longer by a setting":         {func(z *authn.Authorizer) { z.MaxLifetime = 48 * time.Hour }, map[string]any{"exp": minute(36 * time.Hour)}, ""},
		"shorter by a setting":        {func(z *authn.Authorizer) { z.MaxLifetime = 5 * time.Minute }, nil, authn.LifetimeTooLong},
		"algorithm not on its list":   {func(z *authn.Authorizer) { z.Algorithms = []string{"RS256"} }, nil, authn.Reason(jose.AlgRefused)},
		"Okta":                        {all(clients("0oa1"), groups), map[string]any{"ver": 1, "client_id": nil, "cid": "0oa1", "uid": "00u1", "scope": nil, "scp": []string{"mcp.tools"}, "groups": []string{"eng"}}, ""},
		"Entra v2":                    {clients("GUID"), map[string]any{"ver": "2.0", "client_id": nil, "azp": "GUID", "scope": nil, "scp": "mcp.access", "tid": "TID", "oid": "OID"}, ""},
		"Cognito":                     {all(noAudience, clients("1abc"), claim("cognito:groups", identity.TypeStringArray, identity.OpContains, "eng")), map[string]any{"aud": nil, "client_id": "1abc", "token_use": "access", "cognito:groups": []string{"eng"}}, ""},
		"Keycloak":                    {clients("cid"), map[string]any{"typ": "Bearer", "client_id": nil, "azp": "cid", "realm_access": map[string]any{"roles": []string{"x"}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(tt.rules))
			for range 2 {
				p, w := h.present(h.foreignToken(t, tt.claims), e)
				if tt.want != "" {
					wantRefusal(t, w, 401, "invalid_token", tt.want)
					continue
				}
				wantPrincipal(t, p, w)
				if p.Authorizer != "okta" || p.Key != (identity.PersonKey{Issuer: identity.Issuer(h.idp.Issuer()), Subject: "alice"}) || p.Grant != "" {
					t.Errorf("principal %+v", p)
				}
			}
		})
	}
}

func TestPrincipal(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules())
	now := h.now().Truncate(time.Second)
	p, w := h.present(h.ownToken(t, "at+jwt", map[string]any{"scope": "mcp:tools email mcp:tools", "groups": []string{"eng"}}), e)
	wantPrincipal(t, p, w)
	groups, _ := p.Claims.Strings("groups")
	if !reflect.DeepEqual(groups, []string{"eng"}) {
		t.Errorf("claims %v", p.Claims)
	}
	p.Claims = nil
	want := &identity.Principal{Key: identity.PersonKey{Issuer: ownIss, Subject: "u-alice"}, Client: "c-1", Scopes: identity.Scopes{"mcp:tools", "email"},
		Grant: "g-1", Authorizer: "gatehouse", IssuedAt: p.IssuedAt, Expires: p.Expires}
	if !reflect.DeepEqual(p, want) || !p.IssuedAt.Equal(now) || !p.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("got %+v, want %+v", p, want)
	}
	p, w = h.present(h.foreignToken(t, map[string]any{"gid": "g-1", "iat": nil}), e)
	wantPrincipal(t, p, w)
	if p.Grant != "" || !p.IssuedAt.IsZero() {
		t.Errorf("a foreign token got grant %q, issued %s", p.Grant, p.IssuedAt)
	}
}

// TestWalkthroughAuthorizer: a rule set in AgentCore's manner on tokens of the built-in provider, beside its own.
func TestWalkthroughAuthorizer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	walkthrough := &authn.Authorizer{
		Name: "walkthrough", Issuer: ownIss, Keys: h.own, AllowedAudience: []string{"api://default"}, AllowedClients: []identity.ClientID{"0oa1"},
		CustomClaims: []*identity.Rule{rule(identity.ClaimRule{Claim: "cid", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"0oa1"}})},
	}
	e := h.endpoint(t, "/mcp", h.ownRules(), walkthrough)
	good := map[string]any{"aud": "api://default", "client_id": "0oa1", "cid": "0oa1", "scope": "openid profile email offline_access"}
	p, w := h.present(h.ownToken(t, "at+jwt", good), e)
	wantPrincipal(t, p, w)
	if p.Authorizer != "walkthrough" || p.Grant != "g-1" {
		t.Errorf("principal %+v: its grant must be revocable", p)
	}
	p, w = h.present(h.ownToken(t, "at+jwt", nil), e)
	wantPrincipal(t, p, w)
	if p.Authorizer != "gatehouse" {
		t.Errorf("principal %+v", p)
	}
	good["cid"] = "0oa2" // the more telling refusal of the two wins
	_, w = h.present(h.ownToken(t, "at+jwt", good), e)
	wantRefusal(t, w, 401, "invalid_token", authn.ClaimMismatch)
}

// TestTwoKeySourcesOfOneIssuer: each rule set sees only what its own keys have verified.
func TestTwoKeySourcesOfOneIssuer(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	iss := identity.Issuer(h.idp.Issuer())
	set := func(key *testkit.IDPKey) *jose.RemoteKeys {
		other := testkit.NewIDP(t, "")
		other.SetKeySet(jwks(t, key))
		keys, err := jose.NewRemoteKeys(jose.RemoteOptions{JWKSURL: other.JWKSURL(), Issuer: iss, Client: other.Client(), Now: h.now, Log: discard()})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	k1, k2 := testkit.NewIDPKey(t, "ES256"), testkit.NewIDPKey(t, "RS256")
	first := &authn.Authorizer{Name: "first", Issuer: iss, Keys: set(k1), AllowedAudience: []string{"api://a"}}
	second := &authn.Authorizer{Name: "second", Issuer: iss, Keys: set(k2), AllowedAudience: []string{"api://b"}, Algorithms: []string{"RS256"}}
	e := h.endpoint(t, "/mcp", first, second)
	token := func(key *testkit.IDPKey, aud string) string {
		return testkit.MintToken(t, key, nil, h.idp.Claims(h.now(), map[string]any{"aud": aud}))
	}
	p, w := h.present(token(k1, "api://a"), e)
	wantPrincipal(t, p, w)
	p, w = h.present(token(k2, "api://b"), e)
	wantPrincipal(t, p, w)
	_, w = h.present(token(k1, "api://b"), e)
	wantRefusal(t, w, 401, "invalid_token", authn.WrongAudience)
	_, w = h.present(token(k2, "api://a"), e)
	wantRefusal(t, w, 401, "invalid_token", authn.WrongAudience)

	// What the cache holds under one set of keys says nothing at an endpoint that trusts another.
	cached := token(k1, "api://a")
	p, w = h.present(cached, e)
	wantPrincipal(t, p, w)
	strict := h.endpoint(t, "/mcp", &authn.Authorizer{Name: "strict", Issuer: iss, Keys: set(k2), AllowedAudience: []string{"api://a"}})
	_, w = h.present(cached, strict)
	wantRefusal(t, w, 401, "invalid_token", authn.Reason(jose.UnknownKey))
	p, w = h.present(cached, e)
	wantPrincipal(t, p, w)
}

func TestReloadHasItsSayOnCachedTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	token := h.foreignToken(t, map[string]any{"groups": []string{"eng"}})
	loose := h.endpoint(t, "/mcp", h.foreignRules())
	tight := h.endpoint(t, "/mcp", h.foreignRules(claim("groups", identity.TypeStringArray, identity.OpContains, "sre")))
	gone := h.endpoint(t, "/mcp", h.ownRules())
	for range 3 {
		p, w := h.present(token, loose)
		wantPrincipal(t, p, w)
		_, w = h.present(token, tight)
		wantRefusal(t, w, 401, "invalid_token", authn.ClaimMismatch)
		_, w = h.present(token, gone)
		wantRefusal(t, w, 401, "invalid_token", authn.UnknownIssuer)
	}
}

func TestCachedTokenExpires(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	token := h.ownToken(t, "at+jwt", nil)
	h.add(time.Hour - time.Second)
	p, w := h.present(token, e)
	wantPrincipal(t, p, w)
	h.add(time.Second)
	_, w = h.present(token, e)
	wantRefusal(t, w, 401, "invalid_token", authn.TokenExpired)
}

func TestWithdrawnKeyEndsCachedTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules())
	token := h.foreignToken(t, nil)
	p, w := h.present(token, e)
	wantPrincipal(t, p, w)
	h.idp.Rotate(t, "ES256")
	p, w = h.present(h.foreignToken(t, nil), e) // makes the keys be fetched
	wantPrincipal(t, p, w)
	_, w = h.present(token, e)
	wantRefusal(t, w, 401, "invalid_token", authn.Reason(jose.UnknownKey))
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t) // keeps 64 tokens
	e := h.endpoint(t, "/mcp", h.ownRules())
	var tokens []string
	for i := range 300 {
		tokens = append(tokens, h.ownToken(t, "at+jwt", map[string]any{"jti": i}))
	}
	for range 2 {
		for _, token := range tokens {
			p, w := h.present(token, e)
			wantPrincipal(t, p, w)
		}
	}
	if n := h.auth.CachedTokens(); n > 64 || n < 32 {
		t.Errorf("%d tokens kept, want about 64", n)
	}
}

func TestWriteRefusalOfAnotherError(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	w := httptest.NewRecorder()
	authn.WriteRefusal(w, bearer(""), h.endpoint(t, "/mcp", h.ownRules()), errors.New("secret detail"))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "secret") || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	good := func() *authn.Endpoint { return h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules()) }
	for name, tt := range map[string]struct {
		change func(*authn.Endpoint)
		says   string
	}{
		"no authorizer":           {func(e *authn.Endpoint) { e.Authorizers = nil }, "nobody could get in"},
		"relative resource":       {func(e *authn.Endpoint) { e.Resource = "/mcp" }, "absolute URL"},
		"resource with fragment":  {func(e *authn.Endpoint) { e.Resource += "#x" }, "absolute URL"},
		"resource with query":     {func(e *authn.Endpoint) { e.Resource += "?x" }, "absolute URL"},
		"resource of other path":  {func(e *authn.Endpoint) { e.Resource = origin + "/other" }, "path"},
		"bad scope":               {func(e *authn.Endpoint) { e.DefaultScopes = identity.Scopes{`a"b`} }, "scope"},
		"no audience":             {func(e *authn.Endpoint) { e.Authorizers[1].AllowedAudience = nil }, "allowed audience is empty"},
		"no audience, no clients": {func(e *authn.Endpoint) { e.Authorizers[1].AllowedAudience, e.Authorizers[1].NoAudience = nil, true }, "allowed clients"},
		"audience both ways":      {func(e *authn.Endpoint) { e.Authorizers[1].NoAudience = true }, "told to look at none"},
		"own with audience":       {func(e *authn.Endpoint) { e.Authorizers[0].AllowedAudience = []string{"x"} }, "cannot be set"},
		"no keys":                 {func(e *authn.Endpoint) { e.Authorizers[1].Keys = nil }, "keys"},
		"no issuer":               {func(e *authn.Endpoint) { e.Authorizers[0].Issuer = "" }, "issuer"},
		"HMAC":                    {func(e *authn.Endpoint) { e.Authorizers[1].Algorithms = []string{"HS256"} }, "HS256"},
		"none":                    {func(e *authn.Endpoint) { e.Authorizers[1].Algorithms = []string{"none"} }, "none"},
		"rule that cannot be": {func(e *authn.Endpoint) {
			claim("groups", identity.TypeString, identity.OpContains, "x")(e.Authorizers[1])
		}, "claim rule"},
		"negative lifetime": {func(e *authn.Endpoint) { e.Authorizers[1].MaxLifetime = -1 }, "lifetime"},
	} {
		e := good()
		tt.change(e)
		if err := e.Validate(); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "/mcp") {
			t.Errorf("%s: %v, want it to speak of %q", name, err, tt.says)
		}
	}
	if _, err := authn.New(authn.Options{}); err == nil {
		t.Error("an authenticator without revocations was made")
	}
}
