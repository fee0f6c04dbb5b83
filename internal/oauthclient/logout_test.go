package oauthclient_test

import (
	"context"
	"net/url"
	"reflect"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

func TestLogoutToken(t *testing.T) {
	t.Parallel()
	now := func(d time.Duration) int64 { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(d).Unix() }
	for name, tc := range map[string]struct {
		preset         string
		header, claims map[string]any
		reason         oauthclient.Reason
	}{
		"subject and session":   {"", nil, map[string]any{"sid": "s-1"}, ""},
		"session only":          {"", nil, map[string]any{"sid": "s-1", "sub": nil}, ""},
		"without exp":           {"", nil, map[string]any{"exp": nil}, ""},
		"full media type":       {"", map[string]any{"typ": "application/logout+jwt"}, nil, ""},
		"old Keycloak":          {"keycloak", map[string]any{"typ": "JWT"}, map[string]any{"typ": "Logout"}, ""},
		"nobody":                {"", nil, map[string]any{"sub": nil}, oauthclient.ReasonLogoutToken},
		"session a number":      {"", nil, map[string]any{"sid": 1}, oauthclient.ReasonLogoutToken},
		"untyped":               {"", map[string]any{"typ": "JWT"}, nil, oauthclient.ReasonLogoutToken},
		"an access token":       {"keycloak", map[string]any{"typ": "at+jwt"}, nil, oauthclient.ReasonLogoutToken},
		"with a nonce":          {"", nil, map[string]any{"nonce": "x"}, oauthclient.ReasonLogoutToken},
		"with a null nonce":     {"", nil, map[string]any{"nonce": (*int)(nil)}, oauthclient.ReasonLogoutToken},
		"no event":              {"", nil, map[string]any{"events": nil}, oauthclient.ReasonLogoutToken},
		"events a list":         {"", nil, map[string]any{"events": []string{logoutEvent}}, oauthclient.ReasonLogoutToken},
		"another event":         {"", nil, map[string]any{"events": map[string]any{"x": map[string]any{}}}, oauthclient.ReasonLogoutToken},
		"an event of true":      {"", nil, map[string]any{"events": map[string]any{logoutEvent: true}}, oauthclient.ReasonLogoutToken},
		"no jti":                {"", nil, map[string]any{"jti": nil}, oauthclient.ReasonLogoutToken},
		"no iat":                {"", nil, map[string]any{"iat": nil}, oauthclient.ReasonLogoutTokenStale},
		"old":                   {"", nil, map[string]any{"iat": now(-6 * time.Minute), "exp": nil}, oauthclient.ReasonLogoutTokenStale},
		"from the future":       {"", nil, map[string]any{"iat": now(2 * time.Minute)}, oauthclient.ReasonLogoutTokenStale},
		"expired":               {"", nil, map[string]any{"exp": now(-2 * time.Minute)}, oauthclient.ReasonLogoutTokenStale},
		"another client's":      {"", nil, map[string]any{"aud": "other"}, oauthclient.ReasonTokenAudience},
		"another issuer's":      {"", nil, map[string]any{"iss": "https://evil.example"}, oauthclient.ReasonTokenIssuer},
		"key in the header":     {"", map[string]any{"jwk": map[string]any{}}, nil, oauthclient.ReasonTokenMalformed},
		"signed with something": {"", map[string]any{"alg": "HS256"}, nil, oauthclient.ReasonTokenAlgorithm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.preset, nil)
			token := s.idp.LogoutToken(t, tc.header, tc.claims)
			if _, null := tc.claims["nonce"].(*int); null { // the helper takes null for removal
				token = testkit.MintToken(t, s.idp.Newest(), map[string]any{"typ": "logout+jwt"}, map[string]any{
					"iss": s.idp.Issuer(), "sub": "alice-1", "aud": "gatehouse", "iat": now(0), "jti": "x", "nonce": nil,
					"events": map[string]any{logoutEvent: map[string]any{}},
				})
			}
			l, err := s.VerifyLogoutToken(context.Background(), token)
			if (err == nil) != (tc.reason == "") || (l == nil) != (err != nil) || oauthclient.ReasonOf(err) != tc.reason {
				t.Fatalf("got %v, want %q", err, tc.reason)
			}
			if err == nil && (l.Issuer != identity.Issuer(s.idp.Issuer()) || l.ID == "" || !l.ReplayUntil.After(s.clock.now())) {
				t.Errorf("%+v", l)
			}
		})
	}
}

// TestLogoutTokenNamesTheSession signs in and lets the IdP end that very session.
func TestLogoutTokenNamesTheSession(t *testing.T) {
	t.Parallel()
	s := newSite(t, "keycloak", nil)
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.SessionID = "s-1" })
	r := s.mustSignIn()
	l, err := s.VerifyLogoutToken(context.Background(), s.idp.LogoutToken(t, nil, nil))
	if err != nil || l.SessionID != r.SessionID || l.Subject != r.Subject || l.Issuer != r.Issuer || !s.Issues(l.Issuer) || s.Issues("https://x") {
		t.Errorf("%+v, %v", l, err)
	}
	id, err := s.VerifyLogoutToken(context.Background(), r.IDToken.Reveal())
	if err == nil || id != nil {
		t.Error("an ID token ends sessions")
	}
}

func TestEndSessionURL(t *testing.T) {
	t.Parallel()
	o := oauthclient.EndSession{IDTokenHint: secret.New("x.y.z"), ReturnTo: "https://gw.example/bye", State: "s"}
	for preset, want := range map[string]url.Values{
		"": {"tenant": {"1"}, "client_id": {"gatehouse"}, "post_logout_redirect_uri": {"https://gw.example/bye"}, "state": {"s"}, "id_token_hint": {"x.y.z"}},
		"cognito": {"tenant": {"1"}, "client_id": {"gatehouse"}, "logout_uri": {"https://gw.example/bye"}, "state": {"s"},
			"id_token_hint": {"x.y.z"}},
	} {
		s := newSite(t, preset, nil)
		to, err := s.EndSessionURL(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil || !reflect.DeepEqual(u.Query(), want) {
			t.Errorf("%s: %s, %v", preset, to, err)
		}
	}
	s := newSite(t, "", nil)
	s.idp.SetDocument(map[string]any{"end_session_endpoint": nil})
	if to, err := s.EndSessionURL(context.Background(), o); to != "" || err != nil {
		t.Errorf("%q, %v", to, err)
	}
}
