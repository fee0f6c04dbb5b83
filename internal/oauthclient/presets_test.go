package oauthclient_test

import (
	"context"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/testkit"
)

// TestPresets signs in at each vendor's fake, refreshes, and is put out when the person is removed there.
func TestPresets(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		subject  string // of the key; empty is the sub
		email    string
		username string
		groups   []string
		change   func(*oauthclient.Options)
	}{
		"okta":      {"", "alice@acme.example", "alice@acme.example", []string{"Everyone", "eng"}, nil},
		"entra":     {"0a1b2c3d-0000-4000-8000-000000000001", "", "alice@acme.example", []string{"5ac2e5a4-0000-4000-8000-000000000009"}, nil},
		"cognito":   {"", "alice@acme.example", "alice", []string{"eng"}, nil},
		"auth0":     {"", "alice@acme.example", "", []string{"eng"}, func(o *oauthclient.Options) { o.GroupsClaim = "https://acme.example/groups" }},
		"keycloak":  {"", "alice@acme.example", "alice", []string{"admin", "user"}, func(o *oauthclient.Options) { o.GroupsClaim = "realm_access.roles" }},
		"google":    {"", "alice@acme.example", "", nil, nil},
		"pingone":   {"", "alice@acme.example", "alice", []string{"eng"}, nil},
		"dex":       {"", "alice@acme.example", "alice", []string{"eng"}, nil},
		"authentik": {"", "alice@acme.example", "alice", []string{"eng"}, nil},
		"zitadel":   {"", "alice@acme.example", "alice", []string{"admin"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, name, want.change)
			r := s.mustSignIn()
			if want.subject == "" {
				want.subject = r.Subject
			}
			p := r.Person
			if (p.Key != identity.PersonKey{Issuer: identity.Issuer(s.idp.Issuer()), Subject: want.subject}) || p.Email != want.email ||
				p.Username != want.username || !reflect.DeepEqual(p.Groups, want.groups) || r.GroupsUnknown {
				t.Errorf("%+v", p)
			}
			if !s.AsksForRefresh() || r.RefreshToken.IsZero() {
				t.Error("no refresh token")
			}
			if q := s.idp.Requests("authorize")[0].Params; q.Has("resource") {
				t.Errorf("resource is sent: %v", q)
			}
			again, outcome, err := s.Refresh(context.Background(), r.RefreshToken, oauthclient.RefreshOptions{Person: p.Key})
			if outcome != oauthclient.OutcomeRenewed || !reflect.DeepEqual(again.Person.Groups, want.groups) {
				t.Fatalf("refresh: %s, %v", outcome, err)
			}
			s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = true })
			if _, outcome, err := s.Refresh(context.Background(), again.RefreshToken, oauthclient.RefreshOptions{Person: p.Key}); outcome != oauthclient.OutcomeEnded {
				t.Errorf("refresh of a removed person: %s, %v", outcome, err)
			}
			if err := s.Preset().CheckDiscoveryURL(s.Preset().DiscoveryExample); err != nil {
				t.Error(err)
			}
		})
	}
	if got := oauthclient.PresetNames(); len(got) != 10 {
		t.Errorf("presets %q", got)
	}
}

// TestEntraRefusesResource shows what would happen if the client's resource were forwarded, and the hint for it.
func TestEntraRefusesResource(t *testing.T) {
	t.Parallel()
	s := newSite(t, "entra", nil)
	to, pending := s.begin(oauthclient.BeginOptions{})
	_, err := s.Finish(context.Background(), pending, s.idp.Visit(t, to+"&resource=https%3A%2F%2Fgw.example%2Fmcp"))
	wantReason(t, err, oauthclient.Misconfigured, oauthclient.ReasonRequestRefused)
	if e, ok := err.(*oauthclient.Error); !ok || !strings.Contains(e.Hint, "refuses a resource parameter") || !strings.HasPrefix(e.Description, "AADSTS9010010") {
		t.Errorf("%+v", e)
	}
	o := s.options("entra")
	o.AuthorizeParams = []oauthclient.Param{{Name: "resource", Value: "https://gw.example/mcp"}}
	if _, err := oauthclient.New(o); err == nil {
		t.Error("an administrator can add resource")
	}
}

func TestEntraTenants(t *testing.T) {
	t.Parallel()
	s := newSite(t, "entra", nil)
	s.idp.SetDocument(map[string]any{"issuer": s.idp.URL() + "/{tenantid}/v2.0"})
	many := func(tenants ...string) func(o *oauthclient.Options) {
		return func(o *oauthclient.Options) {
			o.DiscoveryURL, o.Tenants = s.idp.URL()+"/common/v2.0/.well-known/openid-configuration", tenants
		}
	}
	s.Provider = s.provider("entra", many("other", testkit.EntraTenant))
	r := s.mustSignIn()
	if r.Issuer != identity.Issuer(s.idp.Issuer()) || r.Person.Key.Issuer != r.Issuer || !s.Issues(r.Issuer) || s.Issues(identity.Issuer(s.idp.URL()+"/{tenantid}/v2.0")) {
		t.Errorf("%+v", r.Person.Key)
	}
	if _, outcome, err := s.Refresh(context.Background(), r.RefreshToken, oauthclient.RefreshOptions{Person: r.Person.Key}); outcome != oauthclient.OutcomeRenewed {
		t.Errorf("%s, %v", outcome, err)
	}
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Iss = s.idp.URL() + "/third/v2.0" })
	_, err := s.signIn()
	wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonIssMismatch)
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Iss = "" })

	s.Provider = s.provider("entra", many("other"))
	_, err = s.signIn()
	wantReason(t, err, oauthclient.Denied, oauthclient.ReasonTokenTenant)
	// A tid on the list does not help when iss is another tenant's.
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.IDToken = func(m map[string]any) { m["tid"] = "other" } })
	_, err = s.signIn()
	wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonTokenIssuer)

	if _, err := oauthclient.New(func() oauthclient.Options { o := s.options("entra"); many()(&o); return o }()); err == nil {
		t.Error("common without a list of tenants is accepted")
	}
}

func TestEntraWithoutObjectID(t *testing.T) {
	t.Parallel()
	s := newSite(t, "entra", nil)
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.IDToken = func(m map[string]any) { delete(m, "oid") } })
	_, err := s.signIn()
	wantReason(t, err, oauthclient.Misconfigured, oauthclient.ReasonTokenSubject)
}

func TestGroups(t *testing.T) {
	t.Parallel()
	list := func(v ...any) []any { return v }
	for name, tc := range map[string]struct {
		path    string
		claims  map[string]any
		want    []string
		unknown bool
	}{
		"list":             {"groups", map[string]any{"groups": list("b", "a", "b")}, []string{"a", "b"}, false},
		"one string":       {"role", map[string]any{"role": "admin"}, []string{"admin"}, false},
		"absent":           {"groups", map[string]any{}, nil, false},
		"null":             {"groups", map[string]any{"groups": nil}, nil, false},
		"nested":           {"realm_access.roles", map[string]any{"realm_access": map[string]any{"roles": list("x")}}, []string{"x"}, false},
		"any client":       {"resource_access.*.roles", map[string]any{"resource_access": map[string]any{"a": map[string]any{"roles": list("x")}, "b": map[string]any{"roles": list("y", "x")}}}, []string{"x", "y"}, false},
		"object":           {"roles", map[string]any{"roles": map[string]any{"b": 1, "a": map[string]any{}}}, []string{"a", "b"}, false},
		"a name with dots": {"https://acme.example/groups", map[string]any{"https://acme.example/groups": list("x")}, []string{"x"}, false},
		"numbers":          {"groups", map[string]any{"groups": list(1)}, nil, true},
		"elsewhere":        {"groups", map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://graph.example"}}}, nil, true},
		"others elsewhere": {"groups", map[string]any{"_claim_names": map[string]any{"x": "src1"}, "groups": list("a")}, []string{"a"}, false},
		"hasgroups":        {"groups", map[string]any{"hasgroups": true}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", func(o *oauthclient.Options) { o.GroupsClaim = tc.path })
			s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Person = tc.claims })
			r := s.mustSignIn()
			if !reflect.DeepEqual(r.Person.Groups, tc.want) || r.GroupsUnknown != tc.unknown {
				t.Errorf("%q, unknown %v", r.Person.Groups, r.GroupsUnknown)
			}
			moved := tc.claims["_claim_names"] != nil
			if _, kept := r.Person.Claims["_claim_names"]; kept != moved {
				t.Errorf("claims %v", r.Person.Claims)
			}
		})
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		claims map[string]any
		want   string
	}{
		"verified":           {map[string]any{"email": "a@x.example", "email_verified": true}, "a@x.example"},
		"verified in words":  {map[string]any{"email": "a@x.example", "email_verified": "true"}, "a@x.example"},
		"not verified":       {map[string]any{"email": "a@x.example", "email_verified": false}, ""},
		"nothing said":       {map[string]any{"email": "a@x.example"}, ""},
		"a number":           {map[string]any{"email": "a@x.example", "email_verified": 1}, ""},
		"no address":         {map[string]any{"email": "alice", "email_verified": true}, ""},
		"a hidden character": {map[string]any{"email": "a\u202e@x.example", "email_verified": true}, ""},
	} {
		s := newSite(t, "", nil)
		s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Person = tc.claims })
		if p := s.mustSignIn().Person; p.Email != tc.want || p.EmailVerified != (tc.want != "") {
			t.Errorf("%s: %q, %v", name, p.Email, p.EmailVerified)
		}
	}
	s := newSite(t, "entra", nil)
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.IDToken = func(m map[string]any) { m["email_verified"] = true } })
	if p := s.mustSignIn().Person; p.Email != "" {
		t.Errorf("an address at Entra is taken for true: %q", p.Email)
	}
}

func TestRequire(t *testing.T) {
	t.Parallel()
	rule, err := identity.NewRule(identity.ClaimRule{Claim: "hd", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"acme.example"}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "google", func(o *oauthclient.Options) { o.Require = rule })
	s.mustSignIn()
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.IDToken = func(m map[string]any) { delete(m, "hd") } })
	_, err = s.signIn()
	wantReason(t, err, oauthclient.Denied, oauthclient.ReasonPersonRefused)
	if strings.Contains(err.Error(), "alice") {
		t.Errorf("who it was is in %q", err)
	}
}

func TestGoogleRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, "google", nil)
	to, _ := s.begin(oauthclient.BeginOptions{Prompt: "login"})
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	if q := u.Query(); q.Get("access_type") != "offline" || q.Get("prompt") != "consent select_account" || slices.Contains(strings.Fields(q.Get("scope")), "offline_access") {
		t.Errorf("%v", q)
	}
}

func TestHints(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ preset, code, text, want string }{
		{"okta", "access_denied", "User is not assigned to the client application.", "assign the person"},
		{"okta", "invalid_scope", "The authorization server resource does not have any configured default scopes, 'offline_access'", "Refresh Token"},
		{"entra", "invalid_request", "AADSTS50011: The redirect URI specified in the request does not match", "Authentication › Web"},
		{"cognito", "invalid_scope", "", "Cognito knows no offline_access"},
		{"keycloak", "invalid_scope", "Offline tokens not allowed for the user or client", "realm role offline_access"},
		{"google", "redirect_uri_mismatch", "", "Authorized redirect URIs"},
		{"dex", "invalid_scope", `Unrecognized scope(s) ["x"]`, "Dex does not know"},
		{"", "invalid_scope", "", "allow the application"},
		{"", "server_error", "", ""},
	} {
		s := newSite(t, tc.preset, nil)
		s.idp.Configure(func(c *testkit.UpstreamConfig) { c.AuthorizeErr, c.ErrText = tc.code, tc.text })
		_, err := s.signIn()
		if e, ok := err.(*oauthclient.Error); !ok || !strings.Contains(e.Hint, tc.want) || (tc.want == "") != (e.Hint == "") {
			t.Errorf("%s: %v", tc.preset, err)
		}
	}
	s := newSite(t, "authentik", nil)
	s.idp.Configure(func(c *testkit.UpstreamConfig) {
		c.IDTokenKey = &testkit.IDPKey{Alg: "HS256", Secret: []byte("s3cret+/&=")}
	})
	_, err := s.signIn()
	if e, ok := err.(*oauthclient.Error); !ok || !strings.Contains(e.Hint, "select a signing key") {
		t.Errorf("%v", err)
	}
}

func TestDiscoveryURLForms(t *testing.T) {
	t.Parallel()
	const wellKnown = "/.well-known/openid-configuration"
	for preset, forms := range map[string]struct{ good, bad []string }{
		"okta":      {[]string{"https://acme.okta.com", "https://login.acme.example/oauth2/aus1"}, []string{"https://acme.okta.com/oauth2/", "https://acme.okta.com/oauth2/default/v1"}},
		"entra":     {[]string{"https://login.microsoftonline.com/" + testkit.EntraTenant + "/v2.0", "https://login.microsoftonline.com/common/v2.0"}, []string{"https://login.microsoftonline.com/" + testkit.EntraTenant, "https://login.microsoftonline.com/acme.onmicrosoft.com/v2.0"}},
		"cognito":   {[]string{"https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_Ab1"}, []string{"https://acme.auth.eu-central-1.amazoncognito.com"}},
		"auth0":     {[]string{"https://t.eu.auth0.com", "https://t.eu.auth0.com/"}, []string{"https://t.eu.auth0.com/authorize"}},
		"keycloak":  {[]string{"https://sso.example/realms/a", "https://sso.example/auth/realms/a"}, []string{"https://sso.example", "https://sso.example/realms/a/account"}},
		"google":    {[]string{"https://accounts.google.com"}, []string{"https://accounts.google.com/o/oauth2"}},
		"pingone":   {[]string{"https://auth.pingone.eu/env/as", "https://login.example/as"}, []string{"https://auth.pingone.eu/env"}},
		"dex":       {[]string{"https://dex.example/dex", "https://dex.example"}, nil},
		"authentik": {[]string{"https://sso.example/application/o/gw"}, []string{"https://sso.example/application/gw"}},
		"zitadel":   {[]string{"https://acme.zitadel.cloud"}, []string{"https://acme.zitadel.cloud/oauth/v2"}},
	} {
		p, ok := oauthclient.LookupPreset(preset)
		if !ok {
			t.Fatal(preset)
		}
		for _, issuer := range forms.good {
			if err := p.CheckDiscoveryURL(issuer + wellKnown); err != nil {
				t.Error(err)
			}
		}
		for _, issuer := range forms.bad {
			if err := p.CheckDiscoveryURL(issuer + wellKnown); err == nil || !strings.Contains(err.Error(), p.FormHint) {
				t.Errorf("%s: %s: %v", preset, issuer, err)
			}
		}
		if err := p.CheckDiscoveryURL(forms.good[0]); err == nil && p.DiscoveryPath != "" {
			t.Errorf("%s: an issuer passes for a discovery URL", preset)
		}
	}
}
