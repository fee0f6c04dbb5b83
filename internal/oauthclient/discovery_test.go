package oauthclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

func TestDiscovery(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		vendor string
		doc    map[string]any
		reason oauthclient.Reason
	}{
		"good":                   {"", nil, ""},
		"slash":                  {"auth0", nil, ""},
		"issuer of another":      {"", map[string]any{"issuer": "https://evil.example"}, oauthclient.ReasonDiscovery},
		"issuer in capitals":     {"keycloak", map[string]any{"issuer": "HTTP://localhost"}, oauthclient.ReasonDiscovery},
		"no issuer":              {"", map[string]any{"issuer": ""}, oauthclient.ReasonDiscovery},
		"template, one tenant":   {"entra", map[string]any{"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}, oauthclient.ReasonDiscovery},
		"no authorize endpoint":  {"", map[string]any{"authorization_endpoint": ""}, oauthclient.ReasonDiscovery},
		"token endpoint on http": {"", map[string]any{"token_endpoint": "http://idp.example/token"}, oauthclient.ReasonDiscovery},
		"script for logout":      {"", map[string]any{"end_session_endpoint": "javascript:alert(1)"}, oauthclient.ReasonDiscovery},
		"user in the URL":        {"", map[string]any{"authorization_endpoint": "https://a:b@idp.example/"}, oauthclient.ReasonDiscovery},
		"no userinfo, wanted":    {"zitadel", map[string]any{"userinfo_endpoint": ""}, oauthclient.ReasonDiscovery},
		"no userinfo, no need":   {"dex", map[string]any{"userinfo_endpoint": ""}, ""},
		"signed assertions only": {"", map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}, oauthclient.ReasonDiscovery},
		"plain PKCE only":        {"", map[string]any{"code_challenge_methods_supported": []string{"plain"}}, oauthclient.ReasonDiscovery},
		"a list for a name":      {"", map[string]any{"token_endpoint": []string{"x"}}, oauthclient.ReasonDiscovery},
		"a huge document":        {"", map[string]any{"x": strings.Repeat("x", 300<<10)}, oauthclient.ReasonUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.vendor, nil)
			s.idp.SetDocument(tc.doc)
			_, _, err := s.Begin(context.Background(), oauthclient.BeginOptions{})
			if (err == nil) != (tc.reason == "") || oauthclient.ReasonOf(err) != tc.reason {
				t.Errorf("got %v, want %q", err, tc.reason)
			}
			if tc.reason == oauthclient.ReasonDiscovery && oauthclient.KindOf(err) != oauthclient.Misconfigured {
				t.Errorf("kind of %v", err)
			}
		})
	}
}

// TestDiscoveryIsKept asks once an hour, keeps serving while the IdP is away, and notices what changed.
func TestDiscoveryIsKept(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	fetches := func() int { n, _ := s.idp.Fetches(); return n }
	var g sync.WaitGroup
	for range 20 {
		g.Go(func() {
			if _, err := s.Metadata(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	if n := fetches(); n != 1 {
		t.Errorf("%d fetches for 20 at once", n)
	}
	s.clock.add(59 * time.Minute)
	s.begin(oauthclient.BeginOptions{})
	s.idp.SetDown(true)
	s.clock.add(time.Minute)
	for range 3 {
		s.begin(oauthclient.BeginOptions{})
	}
	if n := fetches(); n != 2 {
		t.Errorf("%d fetches after an hour", n)
	}
	s.idp.SetDown(false)
	s.idp.SetDocument(map[string]any{"authorization_endpoint": "https://new.example/"})
	s.clock.add(time.Minute)
	if to, _ := s.begin(oauthclient.BeginOptions{}); !strings.HasPrefix(to, "https://new.example/") {
		t.Errorf("old endpoint %s", to)
	}
	s.idp.SetDocument(map[string]any{"issuer": "https://evil.example", "authorization_endpoint": "https://evil.example/"})
	s.clock.add(time.Hour)
	if to, _ := s.begin(oauthclient.BeginOptions{}); !strings.HasPrefix(to, "https://new.example/") {
		t.Errorf("went over to %s", to)
	}
}

// TestDiscoveryFailureIsKept spares an IdP that is away the requests of everybody who tries to sign in.
func TestDiscoveryFailureIsKept(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	s.idp.SetDown(true)
	for range 5 {
		_, _, err := s.Begin(context.Background(), oauthclient.BeginOptions{})
		wantReason(t, err, oauthclient.Temporary, oauthclient.ReasonUnreachable)
	}
	if n, _ := s.idp.Fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	s.idp.SetDown(false)
	s.clock.add(5 * time.Second)
	s.mustSignIn()
}

func TestRun(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	waiting := s.idp.Hold()
	go func() { done <- s.Run(ctx) }()
	<-waiting
	s.idp.Release()
	if _, err := s.Metadata(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(o *oauthclient.Options)
		want   string // in the error
	}{
		"no name":          {func(o *oauthclient.Options) { o.Name = "" }, "required"},
		"no client id":     {func(o *oauthclient.Options) { o.ClientID = "" }, "required"},
		"no clock":         {func(o *oauthclient.Options) { o.Now = nil }, "required"},
		"unknown preset":   {func(o *oauthclient.Options) { o.Preset = "Okta" }, "okta, entra"},
		"issuer for a URL": {func(o *oauthclient.Options) { o.DiscoveryURL = "https://idp.example" }, ".well-known"},
		"http":             {func(o *oauthclient.Options) { o.DiscoveryURL = "http://idp.example/.well-known/openid-configuration" }, "https"},
		"callback on http": {func(o *oauthclient.Options) { o.RedirectURI = "http://gw.example/x" }, "https"},
		"no secret":        {func(o *oauthclient.Options) { o.ClientSecret = secret.Text{} }, "confidential"},
		"secret and key":   {func(o *oauthclient.Options) { o.ClientKey = &oauthclient.ClientKey{} }, "confidential"},
		"key of no kind":   {func(o *oauthclient.Options) { o.ClientSecret, o.ClientKey = secret.Text{}, &oauthclient.ClientKey{} }, "P-256"},
		"key of a wrong kind": {func(o *oauthclient.Options) {
			o.ClientSecret, o.ClientKey = secret.Text{}, &oauthclient.ClientKey{Private: p384}
		}, "P-256"},
		"secret as a key":    {func(o *oauthclient.Options) { o.AuthMethod = oauthclient.AuthPrivateKey }, "client_secret_post"},
		"scope with a space": {func(o *oauthclient.Options) { o.Scopes = []string{"a b"} }, "scope"},
		"alg none":           {func(o *oauthclient.Options) { o.Algorithms = []string{"none"} }, "cannot be allowed"},
		"alg HS256":          {func(o *oauthclient.Options) { o.Algorithms = []string{"HS256"} }, "cannot be allowed"},
		"state of their own": {func(o *oauthclient.Options) { o.AuthorizeParams = []oauthclient.Param{{Name: "state", Value: "x"}} }, "state"},
		"tenants elsewhere":  {func(o *oauthclient.Options) { o.Tenants = []string{"x"} }, "tenants"},
		"groups path":        {func(o *oauthclient.Options) { o.GroupsClaim = "*.x" }, "groups claim"},
	} {
		o := s.options("")
		tc.change(&o)
		if _, err := oauthclient.New(o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
