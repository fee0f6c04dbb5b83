package authn_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

func TestChecklist43_TokenOfAnotherEndpoint(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b := h.endpoint(t, "/a/mcp", h.ownRules()), h.endpoint(t, "/b/mcp", h.ownRules())
	token := h.ownToken(t, "at+jwt", map[string]any{"aud": []string{origin + "/a/mcp"}})
	for range 2 { // the second round meets the cache
		p, w := h.present(token, a)
		wantPrincipal(t, p, w)
		_, w = h.present(token, b)
		wantRefusal(t, w, 401, "invalid_token", authn.WrongAudience)
	}
	for _, aud := range []any{origin, origin + "/", origin + "/b/mcp/", origin + "/B/mcp", origin + "/b", nil, []string{}} {
		_, w := h.present(h.ownToken(t, "at+jwt", map[string]any{"aud": aud}), b)
		wantRefusal(t, w, 401, "invalid_token", authn.WrongAudience)
	}
}

func TestChecklist44_RevokedAtOnce(t *testing.T) {
	t.Parallel()
	for name, what := range map[string]any{
		"person": identity.PersonKey{Issuer: ownIss, Subject: "u-alice"},
		"grant":  identity.GrantID("g-1"),
		"client": identity.ClientID("c-1"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			e := h.endpoint(t, "/mcp", h.ownRules())
			token := h.ownToken(t, "at+jwt", nil)
			p, w := h.present(token, e)
			wantPrincipal(t, p, w)
			h.add(time.Minute)
			h.revoked.revoke(what, h.now())
			_, w = h.present(token, e)
			wantRefusal(t, w, 401, "invalid_token", authn.TokenRevoked)
			h.add(time.Second)
			p, w = h.present(h.ownToken(t, "at+jwt", nil), e)
			wantPrincipal(t, p, w)
		})
	}
}

func TestRevocationsTooOld(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	token := h.ownToken(t, "at+jwt", nil)
	p, w := h.present(token, e)
	wantPrincipal(t, p, w)
	h.revoked.setStale(true)
	for range 3 {
		_, w = h.present(token, e)
		wantRefusal(t, w, 503, "", authn.RevocationsUnknown)
	}
	h.revoked.setStale(false)
	p, w = h.present(token, e)
	wantPrincipal(t, p, w)
	if n := strings.Count(h.log.String(), "level=ERROR"); n != 1 || !strings.Contains(h.log.String(), "served") {
		t.Errorf("%d errors logged, want one and the return:\n%s", n, &h.log)
	}
}

func TestChecklist46_BadTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	rs := h.idp.AddKey(t, "RS256")
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules())
	public, err := x509.MarshalPKIXPublicKey(rs.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	now := h.now()
	claims := func(extra map[string]any) map[string]any { return h.idp.Claims(now, extra) }
	with := func(header map[string]any) string { return testkit.MintToken(t, rs, header, claims(nil)) }
	stranger := testkit.NewIDPKey(t, "ES256")
	stranger.KID = rs.KID

	p, w := h.present(with(nil), e)
	wantPrincipal(t, p, w)
	for name, tt := range map[string]struct {
		token string
		want  authn.Reason
	}{
		"opaque":                    {"gho_16C7e42F292c6912E7710c838347Ae178B4a", authn.TokenMalformed},
		"not base64":                {"a.b.c", authn.TokenMalformed},
		"too large":                 {strings.Repeat("a", 17<<10), authn.Reason(jose.TooLarge)},
		"none":                      {testkit.MintToken(t, &testkit.IDPKey{KID: rs.KID, Alg: "none"}, nil, claims(nil)), authn.Reason(jose.AlgRefused)},
		"HS256 with the public key": {testkit.MintToken(t, &testkit.IDPKey{KID: rs.KID, Alg: "HS256", Secret: public}, nil, claims(nil)), authn.Reason(jose.AlgRefused)},
		"RS512 is not on the list":  {testkit.MintToken(t, &testkit.IDPKey{KID: rs.KID, Alg: "RS512", Private: rs.Private}, nil, claims(nil)), authn.Reason(jose.AlgRefused)},
		"jku":                       {with(map[string]any{"jku": h.idp.JWKSURL()}), authn.Reason(jose.HeaderRefused)},
		"x5u":                       {with(map[string]any{"x5u": h.idp.JWKSURL()}), authn.Reason(jose.HeaderRefused)},
		"jwk":                       {testkit.MintToken(t, stranger, map[string]any{"jwk": stranger.JWK()}, claims(nil)), authn.Reason(jose.HeaderRefused)},
		"kid is a path":             {with(map[string]any{"kid": "../../../../dev/null"}), authn.Reason(jose.UnknownKey)},
		"forged":                    {testkit.MintToken(t, stranger, map[string]any{"kid": rs.KID}, claims(nil)), authn.Reason(jose.UnknownKey)},
		"expired":                   {h.idp.Mint(t, claims(map[string]any{"exp": now.Unix()})), authn.TokenExpired},
		"expired long ago":          {h.idp.Mint(t, claims(map[string]any{"exp": 1})), authn.TokenExpired},
		"never expires":             {h.idp.Mint(t, claims(map[string]any{"exp": nil})), authn.NoExpiry},
		"exp is text":               {h.idp.Mint(t, claims(map[string]any{"exp": "9999999999"})), authn.ClaimMalformed},
		"exp is beyond all years":   {h.idp.Mint(t, claims(map[string]any{"exp": 1e300})), authn.ClaimMalformed},
		"nbf in the future":         {h.idp.Mint(t, claims(map[string]any{"nbf": now.Unix() + 61})), authn.TokenNotYetValid},
		"iat in the future":         {h.idp.Mint(t, claims(map[string]any{"iat": now.Unix() + 61})), authn.TokenNotYetValid},
		"lives too long":            {h.idp.Mint(t, claims(map[string]any{"exp": now.Add(25 * time.Hour).Unix()})), authn.LifetimeTooLong},
		"lives too long, no iat":    {h.idp.Mint(t, claims(map[string]any{"iat": nil, "exp": now.Add(25 * time.Hour).Unix()})), authn.LifetimeTooLong},
		"wrong audience":            {h.idp.Mint(t, claims(map[string]any{"aud": "api://other"})), authn.WrongAudience},
		"audience missing":          {h.idp.Mint(t, claims(map[string]any{"aud": nil})), authn.WrongAudience},
		"audience by prefix":        {h.idp.Mint(t, claims(map[string]any{"aud": "api://default/x"})), authn.WrongAudience},
		"audience is an object":     {h.idp.Mint(t, claims(map[string]any{"aud": map[string]any{"api://default": true}})), authn.ClaimMalformed},
		"wrong issuer":              {h.idp.Mint(t, claims(map[string]any{"iss": "https://evil.example"})), authn.UnknownIssuer},
		"issuer missing":            {h.idp.Mint(t, claims(map[string]any{"iss": nil})), authn.UnknownIssuer},
		"issuer is a list":          {h.idp.Mint(t, claims(map[string]any{"iss": []string{h.idp.Issuer()}})), authn.UnknownIssuer},
		"own issuer, foreign key":   {h.idp.Mint(t, claims(map[string]any{"iss": string(ownIss)})), authn.Reason(jose.UnknownKey)},
		"foreign issuer, own key":   {h.ownToken(t, "at+jwt", map[string]any{"iss": h.idp.Issuer()}), authn.Reason(jose.UnknownKey)},
		"subject missing":           {h.idp.Mint(t, claims(map[string]any{"sub": nil})), authn.NoSubject},
		"subject with NUL":          {h.idp.Mint(t, claims(map[string]any{"sub": "a\x00b"})), authn.NoSubject},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				p, w := h.present(tt.token, e)
				if p != nil {
					t.Fatal("accepted")
				}
				params := wantRefusal(t, w, 401, "invalid_token", tt.want)
				if params["resource_metadata"] != origin+"/.well-known/oauth-protected-resource/mcp" || params["scope"] != "mcp:tools" {
					t.Errorf("challenge %v", params)
				}
				for _, secret := range []string{tt.token, "api://default", h.idp.Issuer()} {
					if strings.Contains(w.Body.String()+w.Header().Get("WWW-Authenticate"), secret) {
						t.Errorf("the answer gives away %.40s", secret)
					}
				}
			}
		})
	}
}

func TestNoCredentials(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	for header, want := range map[string]authn.Reason{
		"": authn.TokenMissing, "Basic dXNlcjpwYXNz": authn.SchemeUnsupported,
		"Bearertoken": authn.SchemeUnsupported, "gho_16C7e42F292c6912E7710c838347Ae178B4a": authn.SchemeUnsupported,
	} {
		r := bearer("")
		r.Header.Set("Authorization", header)
		_, w := h.ask(r, e)
		params := wantRefusal(t, w, 401, "", want)
		if len(params) != 2 || params["resource_metadata"] == "" || params["scope"] != "mcp:tools" {
			t.Errorf("%q: challenge %v, want metadata and scope only", header, params)
		}
	}
	r := bearer("")
	r.Header.Del("Authorization")
	_, w := h.ask(r, e)
	wantRefusal(t, w, 401, "", authn.TokenMissing)
	r.Header.Set("Authorization", "Bearer  ")
	_, w = h.ask(r, e)
	wantRefusal(t, w, 401, "invalid_token", authn.TokenMalformed)
	for _, scheme := range []string{"bearer ", "BEARER ", "Bearer   "} {
		r.Header.Set("Authorization", scheme+h.ownToken(t, "at+jwt", nil))
		p, w := h.ask(r, e)
		wantPrincipal(t, p, w)
	}
}

func TestChecklist47_TokenElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	token := h.ownToken(t, "at+jwt", nil)
	for _, withHeader := range []bool{true, false} {
		for name, tt := range map[string]struct {
			url, contentType, body string
			want                   authn.Reason
		}{
			"query":              {"/mcp?access_token=" + token, "application/json", "{}", authn.TokenInQuery},
			"query, escaped":     {"/mcp?a=b&access%5Ftoken=" + token, "application/json", "{}", authn.TokenInQuery},
			"query, empty":       {"/mcp?access_token", "application/json", "{}", authn.TokenInQuery},
			"form":               {"/mcp", "application/x-www-form-urlencoded", "access_token=" + token, authn.TokenInBody},
			"form with charset":  {"/mcp", "Application/X-WWW-Form-Urlencoded; charset=utf-8", "access_token=" + token, authn.TokenInBody},
			"form with bad rest": {"/mcp", "application/x-www-form-urlencoded; x", "access_token=" + token, authn.TokenInBody},
			"multipart":          {"/mcp", "multipart/form-data; boundary=x", "", authn.TokenInBody},
		} {
			r := httptest.NewRequest(http.MethodPost, tt.url, strings.NewReader(tt.body))
			r.Header.Set("Content-Type", tt.contentType)
			if withHeader {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			p, w := h.ask(r, e)
			if p != nil {
				t.Errorf("%s: accepted", name)
				continue
			}
			wantRefusal(t, w, 400, "invalid_request", tt.want)
		}
	}
	r := bearer(token)
	r.Header.Add("Authorization", "Bearer "+token)
	_, w := h.ask(r, e)
	wantRefusal(t, w, 400, "invalid_request", authn.HeaderRepeated)
}

func TestChecklist48_NotAnAccessToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	walkthrough := &authn.Authorizer{Name: "walkthrough", Issuer: ownIss, Keys: h.own, AllowedAudience: []string{"api://default"}}
	e := h.endpoint(t, "/mcp", h.ownRules(), walkthrough, h.foreignRules())
	foreign := func(header, claims map[string]any) string {
		return testkit.MintToken(t, h.idp.Newest(), header, h.idp.Claims(h.now(), claims))
	}
	for name, tt := range map[string]struct {
		token string
		want  authn.Reason
	}{
		"own ID token":                   {h.ownToken(t, "JWT", map[string]any{"nonce": "n"}), authn.IDTokenUsed},
		"own ID token without typ":       {h.ownToken(t, "", nil), authn.IDTokenUsed},
		"own ID token with fitting aud":  {h.ownToken(t, "JWT", map[string]any{"aud": "api://default"}), authn.IDTokenUsed},
		"own logout token":               {h.ownToken(t, "logout+jwt", nil), authn.LogoutTokenUsed},
		"own refresh token":              {"ghr_4f9Vb2kQ7ZyX0aB", authn.TokenMalformed},
		"own sealed session cookie":      {"Zm9vYmFyYmF6cXV4.Zm9v", authn.TokenMalformed},
		"Cognito ID token":               {foreign(nil, map[string]any{"token_use": "id"}), authn.IDTokenUsed},
		"Cognito, unknown use":           {foreign(nil, map[string]any{"token_use": true}), authn.WrongTokenType},
		"Keycloak ID token":              {foreign(nil, map[string]any{"typ": "ID"}), authn.IDTokenUsed},
		"Keycloak refresh token":         {foreign(nil, map[string]any{"typ": "Refresh"}), authn.RefreshTokenUsed},
		"Keycloak offline token":         {foreign(nil, map[string]any{"typ": "Offline"}), authn.RefreshTokenUsed},
		"Keycloak logout token":          {foreign(nil, map[string]any{"typ": "Logout"}), authn.LogoutTokenUsed},
		"OIDC logout token":              {foreign(map[string]any{"typ": "logout+jwt"}, nil), authn.LogoutTokenUsed},
		"ID-JAG":                         {foreign(map[string]any{"typ": "oauth-id-jag+jwt"}, nil), authn.WrongTokenType},
		"DPoP proof":                     {foreign(map[string]any{"typ": "dpop+jwt"}, nil), authn.WrongTokenType},
		"ID token for the client (OIDC)": {foreign(nil, map[string]any{"aud": "client-1", "nonce": "n", "at_hash": "h"}), authn.WrongAudience},
		"ID token with the code's hash":  {foreign(nil, map[string]any{"c_hash": "h"}), authn.IDTokenUsed},
	} {
		p, w := h.present(tt.token, e)
		if p != nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		t.Log(name)
		wantRefusal(t, w, 401, "invalid_token", tt.want)
	}
	for _, typ := range []any{nil, "JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT", "application/okta-internal-at+jwt"} {
		p, w := h.present(foreign(map[string]any{"typ": typ}, map[string]any{"typ": "Bearer", "token_use": "access"}), e)
		wantPrincipal(t, p, w)
	}
}

func TestChecklist49_InsufficientScope(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	own := h.endpoint(t, "/mcp", h.ownRules())
	own.DefaultScopes = identity.Scopes{"mcp:tools", "mcp:prompts"}
	foreign := h.endpoint(t, "/mcp", h.foreignRules(func(z *authn.Authorizer) {
		z.AllowedScopes = identity.Scopes{"tools.read", "tools.write"}
		z.AdvertisedScopes = map[string]string{"tools.read": "api://gw/tools.read"}
	}))
	for name, tt := range map[string]struct {
		token    string
		endpoint *authn.Endpoint
		scope    string
	}{
		"own, one of two":   {h.ownToken(t, "at+jwt", map[string]any{"scope": "openid mcp:prompts offline_access"}), own, "openid mcp:prompts mcp:tools"},
		"own, none":         {h.ownToken(t, "at+jwt", map[string]any{"scope": nil}), own, "mcp:tools mcp:prompts"},
		"foreign":           {h.foreignToken(t, map[string]any{"scope": "openid email"}), foreign, "openid email api://gw/tools.read tools.write"},
		"foreign, unsafe":   {h.foreignToken(t, map[string]any{"scope": nil, "scp": []string{`a"b`, "c\\d", "ok"}}), foreign, "ok api://gw/tools.read tools.write"},
		"foreign, no match": {h.foreignToken(t, map[string]any{"scope": "tools.readx"}), foreign, "tools.readx api://gw/tools.read tools.write"},
	} {
		for range 2 {
			_, w := h.present(tt.token, tt.endpoint)
			params := wantRefusal(t, w, 403, "insufficient_scope", authn.InsufficientScope)
			if params["scope"] != tt.scope || params["resource_metadata"] == "" {
				t.Errorf("%s: challenge %v, want scope %q", name, params, tt.scope)
			}
		}
	}
	p, w := h.present(h.foreignToken(t, map[string]any{"scope": "tools.write"}), foreign)
	wantPrincipal(t, p, w)

	// The gateway's own step-up, for a scope that one tool needs.
	w = httptest.NewRecorder()
	authn.WriteRefusal(w, bearer(""), own, authn.NewInsufficientScope(identity.Scopes{"mcp:tools"}, identity.Scopes{"mcp:admin"}))
	if params := wantRefusal(t, w, 403, "insufficient_scope", authn.InsufficientScope); params["scope"] != "mcp:tools mcp:admin" {
		t.Errorf("step-up asks for %q", params["scope"])
	}
}

func TestChecklist53_InternalHeaders(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	spoof := func(r *http.Request) *http.Request {
		for _, name := range []string{"X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Access-Token", "X-Auth-Request-User", "X-Remote-User", "Remote-User",
			"X-Gatehouse-Principal", "Mcp-Init-Host", "Router-Key", "Mcp-Session-Id", "X-Api-Key", "Proxy-Authorization", "Cookie"} {
			r.Header.Set(name, "Bearer "+h.ownToken(t, "at+jwt", map[string]any{"sub": "admin"}))
		}
		return r
	}
	r := spoof(bearer(""))
	r.Header.Del("Authorization")
	_, w := h.ask(r, e)
	wantRefusal(t, w, 401, "", authn.TokenMissing)
	p, w := h.ask(spoof(bearer(h.ownToken(t, "at+jwt", nil))), e)
	wantPrincipal(t, p, w)
	if p.Key.Subject != "u-alice" {
		t.Errorf("principal %v", p.Key)
	}
}

// TestChecklist54_ForgedTokens floods the front door; jose has the finer points.
func TestChecklist54_ForgedTokens(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules())
	good := h.foreignToken(t, nil)
	p, w := h.present(good, e)
	wantPrincipal(t, p, w)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 25 {
				token := testkit.MintToken(t, testkit.NewIDPKey(t, "ES256"), nil, h.idp.Claims(h.now(), nil))
				_, w := h.present(token, e)
				wantRefusal(t, w, 401, "invalid_token", authn.Reason(jose.UnknownKey))
				p, w := h.present(good, e)
				if p == nil {
					t.Errorf("the good token was refused: %s", w.Body)
				}
			}
		})
	}
	wg.Wait()
	if _, n := h.idp.Fetches(); n > 3 {
		t.Errorf("500 forged tokens caused %d fetches", n)
	}
}

func TestChecklist55_IssuerDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	second := testkit.NewIDP(t, "/second")
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(),
		&authn.Authorizer{Name: "second", Keys: h.remote(t, second), AllowedAudience: []string{"api://default"}})
	known := h.foreignToken(t, nil)
	p, w := h.present(known, e)
	wantPrincipal(t, p, w)

	h.idp.SetDown(true)
	second.SetDown(true)
	h.add(30 * time.Minute)
	for _, token := range []string{known, h.foreignToken(t, map[string]any{"sub": "bob"}), h.ownToken(t, "at+jwt", nil)} {
		p, w := h.present(token, e)
		wantPrincipal(t, p, w)
	}
	for range 5 {
		_, w = h.present(second.Mint(t, second.Claims(h.now(), nil)), e)
		wantRefusal(t, w, 503, "", authn.KeysUnavailable)
	}
	_, w = h.present(second.Mint(t, second.Claims(h.now(), map[string]any{"iss": "https://evil.example"})), e)
	wantRefusal(t, w, 401, "invalid_token", authn.UnknownIssuer)

	second.SetDown(false)
	h.add(11 * time.Second)
	p, w = h.present(second.Mint(t, second.Claims(h.now(), nil)), e)
	wantPrincipal(t, p, w)
}

func TestChecklist59_IssuerByteForByte(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules())
	doc := metadataOf(t, []*authn.Endpoint{e}, "/.well-known/oauth-protected-resource/mcp")
	servers, _ := doc["authorization_servers"].([]any)
	if len(servers) != 2 || servers[0] != string(ownIss) || servers[1] != h.idp.Issuer() {
		t.Fatalf("authorization_servers %v", servers)
	}
	for i, mint := range []func(map[string]any) string{
		func(c map[string]any) string { return h.ownToken(t, "at+jwt", c) },
		func(c map[string]any) string { return h.foreignToken(t, c) },
	} {
		iss := servers[i].(string)
		p, w := h.present(mint(map[string]any{"iss": iss}), e)
		wantPrincipal(t, p, w)
		if string(p.Key.Issuer) != iss {
			t.Errorf("principal of %q", p.Key.Issuer)
		}
		u, err := url.Parse(iss)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{iss + "/", strings.ToUpper(iss), u.Scheme + "://" + u.Host + ":443" + u.Path, iss + "#", strings.TrimSuffix(iss, iss[len(iss)-1:])} {
			_, w := h.present(mint(map[string]any{"iss": other}), e)
			wantRefusal(t, w, 401, "invalid_token", authn.UnknownIssuer)
		}
	}
}

func TestChecklist61_TokensOutliveRotation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	if err := h.own.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.add(59 * time.Minute)
	before := h.own.KID()
	token := h.ownToken(t, "at+jwt", nil)
	h.add(59 * time.Minute)
	if err := h.own.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.own.KID() == before || !slices.Contains([]string{before}, kidOf(t, token)) {
		t.Error("the key did not change")
	}
	p, w := h.present(token, e)
	wantPrincipal(t, p, w)
	p, w = h.present(h.ownToken(t, "at+jwt", nil), e)
	wantPrincipal(t, p, w)
}

func kidOf(t testing.TB, token string) string {
	t.Helper()
	parsed, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Header.Kid
}
