package authserver

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

const (
	serviceID     = "ci"
	serviceSecret = "service s3cret"
)

func withService(o *Options) {
	o.Snapshot.Clients = append(o.Snapshot.Clients, Client{
		ID: serviceID, GrantTypes: []string{GrantClientCredentials}, AuthMethod: AuthPost, Secret: secret.New(serviceSecret),
		Scopes: identity.Scopes{"mcp:tools", "mcp:admin", "elsewhere"}, Groups: []string{"robots"}, AccessTokenClaims: map[string]any{"team": "platform"},
		Lifetimes: Lifetimes{Access: 10 * time.Minute},
	})
}

func (h *harness) asService(others map[string]string) *httptest.ResponseRecorder {
	h.t.Helper()
	v := url.Values{"grant_type": {GrantClientCredentials}, "client_id": {serviceID}, "client_secret": {serviceSecret}, "resource": {testResource}}
	for name, value := range others {
		if v.Set(name, value); value == "" {
			v.Del(name)
		}
	}
	return h.post("/token", v)
}

func TestServiceToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService)
	tokens := h.wantTokens(h.asService(nil))
	if tokens.RefreshToken != "" || tokens.IDToken != "" || tokens.Scope != "mcp:tools mcp:admin" || tokens.ExpiresIn != 590 || tokens.TokenType != "Bearer" {
		t.Errorf("response %+v", tokens)
	}
	header, claims := h.claims(tokens.AccessToken)
	groups, _ := claims.Strings("groups")
	now := float64(h.clock.Now().Unix())
	for name, want := range map[string]any{
		"iss": testIssuer, "sub": "service:ci", "aud": testResource, "client_id": serviceID, "scope": "mcp:tools mcp:admin", "team": "platform",
		"iat": now, "exp": now + 600, "auth_time": nil, "preferred_username": nil, "name": nil, "email": nil,
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if header.Typ != "at+jwt" || !slices.Equal(groups, []string{"robots"}) || claims["gid"] == nil {
		t.Errorf("header %+v, claims %v", header, claims)
	}
	if got := h.audit.of(audit.KindIssue); len(got) != 1 || got[0].Person != identity.ServiceKey(testIssuer, serviceID) {
		t.Errorf("events %+v", got)
	}
	for asked, want := range map[string]string{"mcp:admin": "mcp:admin", "openid mcp:tools offline_access elsewhere": "mcp:tools"} {
		if got := h.wantTokens(h.asService(map[string]string{"scope": asked})); got.Scope != want || got.IDToken != "" || got.RefreshToken != "" {
			t.Errorf("%q: %+v", asked, got)
		}
	}
	h.wantTokens(h.asService(map[string]string{"resource": ""})) // there is one endpoint only
	if w := h.userinfo(tokens.AccessToken); w.Code != http.StatusUnauthorized {
		t.Errorf("userinfo knows a service: status %d", w.Code)
	}
	if grants, err := h.store.Grants(t.Context(), identity.ServiceKey(testIssuer, serviceID)); err != nil || len(grants) > 0 {
		t.Errorf("grants %v, %v", grants, err)
	}
	document := h.do(request{path: "/.well-known/oauth-authorization-server"}).Body.String()
	if !strings.Contains(document, `"client_credentials"`) || strings.Contains(newHarness(t).do(request{path: "/.well-known/oauth-authorization-server"}).Body.String(), `"client_credentials"`) {
		t.Errorf("metadata %s", document)
	}
}

func TestServiceRefusals(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService, func(o *Options) {
		o.Snapshot.Resources = append(o.Snapshot.Resources, Resource{URL: otherURL, DefaultScopes: identity.Scopes{"finance"}})
	})
	for name, c := range map[string]struct {
		others map[string]string
		status int
		code   string
	}{
		"no secret":               {map[string]string{"client_secret": ""}, 401, "invalid_client"},
		"wrong secret":            {map[string]string{"client_secret": "x"}, 401, "invalid_client"},
		"no resource of several":  {map[string]string{"resource": ""}, 400, "invalid_target"},
		"foreign resource":        {map[string]string{"resource": "https://evil.example/mcp"}, 400, "invalid_target"},
		"scope of another":        {map[string]string{"scope": "openid"}, 400, "invalid_scope"},
		"endpoint without scopes": {map[string]string{"resource": otherURL}, 400, "invalid_scope"},
		"client for people":       {map[string]string{"client_id": "poster", "client_secret": "posted"}, 400, "unauthorized_client"},
		"public client":           {map[string]string{"client_id": publicClient, "client_secret": ""}, 400, "unauthorized_client"},
		"code":                    {map[string]string{"grant_type": GrantCode, "code": "x"}, 400, "unauthorized_client"},
		"refresh":                 {map[string]string{"grant_type": GrantRefresh, "refresh_token": "x"}, 400, "unauthorized_client"},
	} {
		if h.wantError(h.asService(c.others), c.status, c.code); t.Failed() {
			t.Fatal(name)
		}
	}
	basic := map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(serviceID+":"+serviceSecret))}
	form := url.Values{"grant_type": {GrantClientCredentials}, "resource": {testResource}}
	h.wantError(h.do(request{method: http.MethodPost, path: "/token", form: form, header: basic}), 401, "invalid_client") // registered for the body
	if w := h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"client_id": serviceID})}); w.Code != http.StatusBadRequest {
		t.Errorf("a service is sent to a browser: status %d", w.Code)
	}
	if err := h.store.RevokeClient(t.Context(), serviceID, "test"); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.asService(nil), 401, "invalid_client")
}

// No client makes itself a service.
func TestServicesDoNotRegisterThemselves(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	uris := []string{"https://app.example/"}
	h.wantError(h.register(map[string]any{"redirect_uris": uris, "grant_types": []string{GrantClientCredentials}}), 400, "invalid_client_metadata")
	c := h.registered(map[string]any{"grant_types": []string{GrantCode, GrantClientCredentials}, "token_endpoint_auth_method": AuthPost})
	if slices.Contains(c.GrantTypes, GrantClientCredentials) {
		t.Errorf("grants %v", c.GrantTypes)
	}
	form := url.Values{"grant_type": {GrantClientCredentials}, "client_id": {string(c.ClientID)}, "client_secret": {c.Secret}, "resource": {testResource}}
	h.wantError(h.post("/token", form), 400, "unauthorized_client")
}

// The subject of a service and that of a person are never the same, whatever a sign-in calls people.
func TestServiceSubjectsAreNobodyElses(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService)
	h.signIn.change(func(f *fakeSignIn) {
		mallory := h.alice
		mallory.Key.Subject = "service:ci"
		f.persons[mallory.Key] = mallory
		f.sessions["a"] = &identity.SignedIn{Person: mallory, SessionID: "session-m", AuthTime: h.clock.Now()}
	})
	w := h.post("/token", codeForm(h.code(authorizeParams(nil)), nil))
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "access_token") {
		t.Errorf("a person got the subject of a service: %d %s", w.Code, w.Body)
	}
	bad := func(name string, change func(*Client)) {
		t.Helper()
		s := testSnapshot()
		c := Client{ID: "x", GrantTypes: []string{GrantClientCredentials}, AuthMethod: AuthPost, Secret: secret.New("s"), Scopes: identity.Scopes{"a"}}
		change(&c)
		s.Clients = append(s.Clients, c)
		if err := s.Check(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	bad("a service without a secret", func(c *Client) { c.AuthMethod, c.Secret = AuthNone, secret.Text{} })
	bad("a service that people come through", func(c *Client) { c.GrantTypes = append(c.GrantTypes, GrantCode) })
	bad("a service that refreshes", func(c *Client) { c.GrantTypes = append(c.GrantTypes, GrantRefresh) })
	bad("a service without scopes", func(c *Client) { c.Scopes = nil })
	bad("a service with openid", func(c *Client) { c.Scopes = identity.Scopes{"a", "openid"} })
	bad("groups of people", func(c *Client) { c.GrantTypes, c.Groups, c.RedirectURIs = nil, []string{"x"}, []string{webURI} })
}

func TestChecklist44_ServiceTokenIsRevoked(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService, func(o *Options) {
		o.Snapshot.Clients = append(o.Snapshot.Clients, Client{ID: "cd", GrantTypes: []string{GrantClientCredentials}, AuthMethod: AuthPost, Secret: secret.New("s"), Scopes: identity.Scopes{"mcp:tools"}})
	})
	token := h.wantTokens(h.asService(nil)).AccessToken
	other := h.wantTokens(h.asService(nil)).AccessToken
	_, claims := h.claims(token)
	_, otherClaims := h.claims(other)
	dead := func(claims identity.Claims) bool {
		gid, _ := claims.String("gid")
		return h.store.Revoked(identity.ServiceKey(testIssuer, serviceID), identity.GrantID(gid), serviceID, h.clock.Now())
	}
	h.wantError(h.post("/revoke", url.Values{"client_id": {"cd"}, "client_secret": {"s"}, "token": {token}}), 400, "invalid_grant")
	h.post("/revoke", url.Values{"client_id": {publicClient}, "token": {token}})
	if dead(claims) {
		t.Fatal("a stranger revoked the token")
	}
	for _, text := range []string{token, token, "nonsense"} {
		if w := h.post("/revoke", url.Values{"client_id": {serviceID}, "client_secret": {serviceSecret}, "token": {text}}); w.Code != http.StatusOK {
			t.Errorf("revoke: status %d: %s", w.Code, w.Body)
		}
	}
	if !dead(claims) || dead(otherClaims) {
		t.Errorf("revoked: %v, the other token: %v", dead(claims), dead(otherClaims))
	}
}
