package authn_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// introspecting lets the foreign rules ask their issuer about opaque tokens.
func (h *house) introspecting(t testing.TB, change ...func(*authn.IntrospectionOptions)) rules {
	t.Helper()
	o := authn.IntrospectionOptions{
		Endpoint: h.foreign.IntrospectionEndpoint, ClientID: testkit.IntrospectionClient,
		ClientSecret: secret.New(testkit.IntrospectionSecret), Client: h.idp.Client(), Now: h.now,
	}
	for _, c := range change {
		c(&o)
	}
	asks, err := authn.NewIntrospector(o)
	if err != nil {
		t.Fatal(err)
	}
	return func(z *authn.Authorizer) { z.Introspection = asks }
}

func (h *house) opaque(extra map[string]any) string {
	return h.idp.Opaque(h.idp.Claims(h.now(), extra))
}

// TestIntrospectionRules: what the issuer says is judged just as what a JWT says.
func TestIntrospectionRules(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	groups := claim("groups", identity.TypeStringArray, identity.OpContainsAny, "eng")
	minute := func(d time.Duration) int64 { return h.now().Add(d).Unix() }
	for name, tt := range map[string]struct {
		rules  rules
		claims map[string]any
		want   authn.Reason // empty: accepted
	}{
		"good":                    {all(), nil, ""},
		"without iss":             {all(), map[string]any{"iss": nil}, ""},
		"without exp":             {all(), map[string]any{"exp": nil}, ""},
		"old and without exp":     {all(), map[string]any{"exp": nil, "iat": minute(-1000 * time.Hour)}, ""},
		"token type":              {all(), map[string]any{"token_type": "bearer"}, ""},
		"post":                    {h.introspecting(t, func(o *authn.IntrospectionOptions) { o.Post = true }), nil, ""},
		"another algorithm":       {func(z *authn.Authorizer) { z.Algorithms = []string{"RS256"} }, nil, ""},
		"groups":                  {groups, map[string]any{"groups": []string{"eng"}}, ""},
		"groups differ":           {groups, map[string]any{"groups": []string{"hr"}}, authn.ClaimMismatch},
		"another issuer":          {all(), map[string]any{"iss": "https://evil.example"}, authn.UnknownIssuer},
		"issuer is a number":      {all(), map[string]any{"iss": 7}, authn.UnknownIssuer},
		"another audience":        {all(), map[string]any{"aud": "api://other"}, authn.WrongAudience},
		"no audience":             {all(), map[string]any{"aud": nil}, authn.WrongAudience},
		"another client":          {clients("x"), nil, authn.WrongClient},
		"no subject":              {all(), map[string]any{"sub": nil}, authn.NoSubject},
		"refresh token":           {all(), map[string]any{"token_type": "refresh_token"}, authn.WrongTokenType},
		"refresh token, Keycloak": {all(), map[string]any{"typ": "Refresh"}, authn.RefreshTokenUsed},
		"bound to no known key":   {all(), map[string]any{"token_type": "DPoP"}, authn.UnknownBinding},
		"bound in another way":    {all(), map[string]any{"cnf": map[string]any{"kid": "k"}}, authn.UnknownBinding},
		"token type is a list":    {all(), map[string]any{"token_type": []string{"bearer"}}, authn.WrongTokenType},
		"expired, though active":  {all(), map[string]any{"exp": minute(-time.Minute)}, authn.TokenExpired},
		"not yet valid":           {all(), map[string]any{"nbf": minute(time.Hour)}, authn.TokenNotYetValid},
		"too long":                {all(), map[string]any{"exp": minute(100 * time.Hour)}, authn.LifetimeTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(h.introspecting(t), tt.rules))
			token := h.opaque(tt.claims)
			for range 2 {
				p, w := h.present(token, e)
				if tt.want != "" {
					wantRefusal(t, w, 401, "invalid_token", tt.want)
					continue
				}
				wantPrincipal(t, p, w)
				if p.Authorizer != "okta" || p.Key != (identity.PersonKey{Issuer: identity.Issuer(h.idp.Issuer()), Subject: "alice"}) {
					t.Errorf("principal %+v", p)
				}
				if _, there := p.Claims["active"]; there {
					t.Error("active is no claim of the person")
				}
			}
		})
	}
}

// TestIntrospectionBinding: what the issuer says about the key or the certificate of an opaque token is asked for.
func TestIntrospectionBinding(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t)))
	e.Certificates = true
	key := testkit.NewDPoPKey(t, "ES256")
	cert := parsed(t, testkit.NewCA(t).Issue(t, "client"))
	token := h.opaque(bound(key, t, map[string]any{"token_type": "DPoP"}))
	for range 2 {
		p, w := h.ask(withProof(token, h.proofFor(t, key, token, nil)), e)
		wantPrincipal(t, p, w)
		_, w = h.present(token, e)
		wantDPoPRefusal(t, w, "invalid_token", authn.TokenBound)
	}
	token = h.opaque(certified(cert.Raw, nil))
	for range 2 {
		p, w := h.ask(on(bearer(token), cert), e)
		wantPrincipal(t, p, w)
		_, w = h.present(token, e)
		wantRefusal(t, w, 401, "invalid_token", authn.CertificateMissing)
	}
}

func TestIntrospectionScope(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t), func(z *authn.Authorizer) { z.AllowedScopes = identity.Scopes{"mcp:admin"} }))
	_, w := h.present(h.opaque(nil), e)
	wantRefusal(t, w, 403, "insufficient_scope", authn.InsufficientScope)
}

// TestIntrospectionIsRemembered: a minute for a yes, half a minute for a no, never past the token's own end.
func TestIntrospectionIsRemembered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t)))
	asked := func(want int) {
		t.Helper()
		if n := h.idp.Introspections(); n != want {
			t.Errorf("asked %d times, want %d", n, want)
		}
	}
	token := h.opaque(nil)
	for range 3 {
		p, w := h.present(token, e)
		wantPrincipal(t, p, w)
	}
	asked(1)
	h.idp.RevokeOpaque(token)
	h.add(59 * time.Second)
	p, w := h.present(token, e)
	wantPrincipal(t, p, w)
	h.add(time.Second)
	for range 3 {
		_, w = h.present(token, e)
		wantRefusal(t, w, 401, "invalid_token", authn.TokenInactive)
	}
	asked(2)
	h.add(30 * time.Second)
	_, w = h.present(token, e)
	wantRefusal(t, w, 401, "invalid_token", authn.TokenInactive)
	asked(3)

	brief := h.opaque(map[string]any{"exp": h.now().Add(10 * time.Second).Unix()})
	p, w = h.present(brief, e)
	wantPrincipal(t, p, w)
	h.add(10 * time.Second)
	_, w = h.present(brief, e)
	wantRefusal(t, w, 401, "invalid_token", authn.TokenExpired)

	wrong := h.opaque(map[string]any{"aud": "api://other"}) // refused by us: the issuer is not asked each time either
	before := h.idp.Introspections()
	for range 3 {
		_, w = h.present(wrong, e)
		wantRefusal(t, w, 401, "invalid_token", authn.WrongAudience)
	}
	asked(before + 1)
}

// TestIntrospectionOnce: a hundred requests with one token are one question.
func TestIntrospectionOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t)))
	if err := h.foreign.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := h.opaque(nil)
	waiting := h.idp.Hold()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if p, w := h.present(token, e); p == nil {
				t.Errorf("refused: %s", w.Body)
			}
		})
	}
	<-waiting
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if p, w := h.ask(bearer(token).WithContext(ctx), e); p != nil || w.Code != http.StatusServiceUnavailable {
		t.Errorf("a request that has ended: %d", w.Code)
	}
	h.idp.Release()
	all.Wait()
	if n := h.idp.Introspections(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestIntrospectionFlood: invented tokens cause a bounded number of questions, and shut out nobody who is at work.
func TestIntrospectionFlood(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t)))
	worker := h.opaque(nil)
	p, w := h.present(worker, e)
	wantPrincipal(t, p, w)
	h.add(2 * time.Minute)
	for i := range 300 {
		_, w := h.present("invented"+strings.Repeat("x", i), e)
		if w.Code == http.StatusServiceUnavailable {
			wantRefusal(t, w, 503, "", authn.IntrospectionFailed)
		}
	}
	if n := h.idp.Introspections(); n > 102 {
		t.Errorf("asked %d times", n)
	}
	p, w = h.present(worker, e)
	wantPrincipal(t, p, w)
}

func TestIntrospectionTrouble(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	answers := func(status int, body string) rules {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", h.idp.IntrospectionURL())
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return h.introspecting(t, func(o *authn.IntrospectionOptions) {
			o.Endpoint = func(context.Context) (string, error) { return s.URL, nil }
		})
	}
	for name, tt := range map[string]struct {
		rules  rules
		detail string
	}{
		"wrong secret":     {h.introspecting(t, func(o *authn.IntrospectionOptions) { o.ClientSecret = secret.New("x") }), "client_id and client_secret"},
		"server error":     {answers(500, `{"active":true}`), "status 500"},
		"redirect":         {answers(307, ""), "status 307"},
		"not JSON":         {answers(200, "<html>"), "not a JSON object"},
		"not an object":    {answers(200, `[{"active":true}]`), "not a JSON object"},
		"twice":            {answers(200, `{"active":false,"active":true}`), "not a JSON object"},
		"does not say":     {answers(200, `{}`), "active"},
		"active is a text": {answers(200, `{"active":"true"}`), "active"},
		"endless":          {answers(200, `{"active":true,"x":"`+strings.Repeat("x", 70<<10)+`"}`), "65536"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := h.endpoint(t, "/mcp", h.foreignRules(tt.rules))
			_, w := h.present(h.opaque(nil), e)
			wantRefusal(t, w, 503, "", authn.IntrospectionFailed)
			_, err := h.auth.Authenticate(bearer(h.opaque(nil)), e)
			if err == nil || !strings.Contains(err.Error(), tt.detail) || strings.Contains(err.Error(), testkit.IntrospectionSecret) {
				t.Errorf("the log says %v", err)
			}
		})
	}
	h.idp.SetDown(true)
	e := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t)))
	_, w := h.present(h.opaque(nil), e)
	wantRefusal(t, w, 503, "", authn.IntrospectionFailed)
	h.idp.SetDown(false)
}

// TestOpaqueElsewhere: only the rule set that was told to ask takes opaque tokens, and the log names the cure.
func TestOpaqueElsewhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	token := h.opaque(nil)
	open := h.endpoint(t, "/mcp", h.foreignRules(h.introspecting(t)))
	p, w := h.present(token, open)
	wantPrincipal(t, p, w)
	closed := h.endpoint(t, "/mcp", h.foreignRules(), h.ownRules())
	_, w = h.present(token, closed)
	wantRefusal(t, w, 401, "invalid_token", authn.TokenMalformed)
	_, err := h.auth.Authenticate(bearer(token), closed)
	if err == nil || !strings.Contains(err.Error(), "introspection at the authorizer") {
		t.Errorf("the log says %v", err)
	}
	jwt, w := h.present(h.foreignToken(t, nil), open)
	wantPrincipal(t, jwt, w)
	if n := h.idp.Introspections(); n != 1 {
		t.Errorf("asked %d times: JWTs are not asked about", n)
	}
}

func TestIntrospectedHitAllocatesNothing(t *testing.T) {
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(h.introspecting(t)))
	r := bearer(h.opaque(nil))
	if n := testing.AllocsPerRun(100, func() {
		if _, err := h.auth.Authenticate(r, e); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a cached token, want none", n)
	}
}

func TestExtraScopes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(func(z *authn.Authorizer) { z.AllowedScopes = identity.Scopes{"mcp:tools"} }))
	e.ExtraScopes = identity.Scopes{"openid", "mcp:tools", "groups"}
	_, w := h.present("x", e)
	if got := parseChallenge(t, w)["scope"]; got != "mcp:tools openid groups" {
		t.Errorf("challenge asks for %q", got)
	}
	p, w := h.present(h.foreignToken(t, map[string]any{"scope": "mcp:tools"}), e)
	wantPrincipal(t, p, w)
	e.ExtraScopes = identity.Scopes{"a b"}
	if e.Validate() == nil {
		t.Error("a scope with a space is accepted")
	}
}
