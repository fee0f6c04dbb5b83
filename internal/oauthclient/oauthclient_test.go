package oauthclient_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// clock is a hand-driven one.
type clock struct {
	mu sync.Mutex // guards t
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// site is Gatehouse at one IdP.
type site struct {
	t     testing.TB
	idp   *testkit.UpstreamIDP
	clock *clock
	*oauthclient.Provider
}

func newSite(t testing.TB, vendor string, change func(*oauthclient.Options)) *site {
	t.Helper()
	s := &site{t: t, idp: testkit.NewUpstreamIDP(t, vendor), clock: &clock{t: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}}
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Now = s.clock.now })
	s.Provider = s.provider(vendor, change)
	return s
}

// provider makes another one for the same IdP.
func (s *site) provider(preset string, change func(*oauthclient.Options)) *oauthclient.Provider {
	s.t.Helper()
	o := s.options(preset)
	if change != nil {
		change(&o)
	}
	p, err := oauthclient.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

func (s *site) options(preset string) oauthclient.Options {
	return oauthclient.Options{
		Name: "acme", DiscoveryURL: s.idp.DiscoveryURL(), Preset: preset, ClientID: "gatehouse", ClientSecret: secret.New("s3cret+/&="),
		RedirectURI: "https://gw.example/oauth/callback/" + preset, Client: s.idp.Client(), Now: s.clock.now, Log: slog.New(slog.DiscardHandler),
	}
}

func (s *site) begin(o oauthclient.BeginOptions) (string, oauthclient.Pending) {
	s.t.Helper()
	to, pending, err := s.Begin(context.Background(), o)
	if err != nil {
		s.t.Fatalf("begin: %v", err)
	}
	return to, pending
}

// visit begins a sign-in and returns what the browser comes back with.
func (s *site) visit() (oauthclient.Pending, url.Values) {
	s.t.Helper()
	to, pending := s.begin(oauthclient.BeginOptions{})
	return pending, s.idp.Visit(s.t, to)
}

func (s *site) signIn() (*oauthclient.Result, error) {
	s.t.Helper()
	pending, back := s.visit()
	return s.Finish(context.Background(), pending, back)
}

func (s *site) mustSignIn() *oauthclient.Result {
	s.t.Helper()
	r, err := s.signIn()
	if err != nil {
		s.t.Fatalf("sign in: %v", err)
	}
	return r
}

func wantReason(t testing.TB, err error, kind oauthclient.Kind, reason oauthclient.Reason) {
	t.Helper()
	if err == nil || oauthclient.KindOf(err) != kind || oauthclient.ReasonOf(err) != reason {
		t.Errorf("got %v, want %s, %s", err, kind, reason)
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.SessionID = "s-1" })
	r := s.mustSignIn()
	want := identity.Person{
		Key:      identity.PersonKey{Issuer: identity.Issuer(s.idp.Issuer()), Subject: "alice-1"},
		Username: "alice", Name: "Alice Adams", Email: "alice@acme.example", EmailVerified: true,
		Claims: identity.Claims{"name": "Alice Adams", "preferred_username": "alice", "email": "alice@acme.example", "email_verified": true, "groups": []any{"eng"}},
	}
	if !reflect.DeepEqual(r.Person, want) {
		t.Errorf("person %+v\nwant   %+v", r.Person, want)
	}
	if r.Subject != "alice-1" || r.SessionID != "s-1" || !r.AuthTime.Equal(s.clock.now()) || r.RefreshToken.IsZero() || r.IDToken.IsZero() ||
		!r.AccessTokenExpiry.Equal(s.clock.now().Add(time.Hour)) || r.IDTokenClaims["nonce"] == nil {
		t.Errorf("result %+v", r)
	}
	if got := s.idp.Requests("token")[0]; got.Params.Has("resource") || got.Params.Get("code_verifier") == "" {
		t.Errorf("token request %v", got.Params)
	}
}

func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := func(k *oauthclient.ClientKey) func(*oauthclient.Options) {
		return func(o *oauthclient.Options) { o.ClientSecret, o.ClientKey = secret.Text{}, k }
	}
	for name, tc := range map[string]struct {
		method  string
		offered any
		public  crypto.PublicKey
		change  func(*oauthclient.Options)
		preset  string
	}{
		"basic by default":      {"client_secret_basic", []string{}, nil, nil, ""},
		"basic before post":     {"client_secret_basic", []string{"client_secret_post", "client_secret_basic"}, nil, nil, ""},
		"post when it must":     {"client_secret_post", []string{"client_secret_post", "private_key_jwt"}, nil, nil, ""},
		"post when told so":     {"client_secret_post", []string{"client_secret_basic"}, nil, func(o *oauthclient.Options) { o.AuthMethod = "client_secret_post" }, ""},
		"RS256":                 {"private_key_jwt", []string{"private_key_jwt"}, rsaKey.Public(), key(&oauthclient.ClientKey{Private: rsaKey, KeyID: "k1"}), ""},
		"PS256, a certificate":  {"private_key_jwt", nil, rsaKey.Public(), key(&oauthclient.ClientKey{Private: rsaKey, Algorithm: "PS256", CertSHA256: "abc"}), "entra"},
		"ES256":                 {"private_key_jwt", nil, ecKey.Public(), key(&oauthclient.ClientKey{Private: ecKey}), ""},
		"ES256, aud the issuer": {"private_key_jwt", nil, ecKey.Public(), key(&oauthclient.ClientKey{Private: ecKey}), "auth0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.preset, tc.change)
			s.idp.Configure(func(c *testkit.UpstreamConfig) { c.AuthMethod, c.ClientKey = tc.method, tc.public })
			if tc.offered != nil {
				s.idp.SetDocument(map[string]any{"token_endpoint_auth_methods_supported": tc.offered})
			}
			r := s.mustSignIn()
			if _, outcome, err := s.Refresh(context.Background(), r.RefreshToken, oauthclient.RefreshOptions{Person: r.Person.Key}); outcome != oauthclient.OutcomeRenewed {
				t.Errorf("refresh: %s, %v", outcome, err)
			}
			if err := s.Revoke(context.Background(), r.RefreshToken); err != nil {
				t.Errorf("revoke: %v", err)
			}
		})
	}
}

func TestAuthorizationRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", func(o *oauthclient.Options) {
		o.Scopes = identity.Scopes{"email", "groups"}
		o.AuthorizeParams = []oauthclient.Param{{Name: "domain_hint", Value: "acme"}, {Name: "prompt", Value: "consent"}}
	})
	s.idp.SetDocument(map[string]any{"authorization_endpoint": s.idp.IDP.Issuer() + "/authorize?p=policy"})
	age := 90 * time.Second
	to, pending := s.begin(oauthclient.BeginOptions{LoginHint: "alice@acme.example", Prompt: "login", MaxAge: &age})
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "gatehouse", "redirect_uri": "https://gw.example/oauth/callback/", "scope": "openid email groups",
		"state": pending.State, "nonce": pending.Nonce, "code_challenge_method": "S256", "login_hint": "alice@acme.example", "prompt": "consent login",
		"max_age": "90", "domain_hint": "acme", "p": "policy",
	} {
		if q.Get(name) != want || len(q[name]) != 1 {
			t.Errorf("%s is %q, want %q", name, q[name], want)
		}
	}
	if q.Has("resource") || len(q.Get("code_challenge")) != 43 || strings.Contains(to, pending.Verifier) {
		t.Errorf("request %s", to)
	}
	if _, other := s.begin(oauthclient.BeginOptions{}); other.State == pending.State || other.Nonce == pending.Nonce || other.Verifier == pending.Verifier {
		t.Error("two sign-ins share a secret")
	}
	to, _ = s.begin(oauthclient.BeginOptions{Prompt: "none"})
	if !strings.Contains(to, "prompt=none&") {
		t.Errorf("prompt=none is not alone in %s", to)
	}
	for _, tc := range []struct {
		preset string
		known  []string // prompts in the IdP's metadata
		want   string
	}{
		{"keycloak", nil, "login"}, {"keycloak", []string{"none", "login", "consent"}, "login"}, {"keycloak", []string{"none", "login", "select_account"}, "select_account"},
		{"entra", nil, "select_account"}, {"", nil, "consent+login"}, // OpenID Connect Core §11: offline_access goes with consent
	} {
		s := newSite(t, tc.preset, nil)
		s.idp.SetDocument(map[string]any{"prompt_values_supported": tc.known})
		if to, _ := s.begin(oauthclient.BeginOptions{Prompt: "select_account"}); !strings.Contains(to, "prompt="+tc.want+"&") {
			t.Errorf("preset %q, metadata with %v: %s, want prompt=%s", tc.preset, tc.known, to, tc.want)
		}
	}
}

func TestUserinfo(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		idToken, userinfo map[string]any
		reason            oauthclient.Reason
		check             func(p identity.Person) bool
	}{
		"adds claims": {map[string]any{}, map[string]any{"email": "a@x.example", "email_verified": true, "groups": []string{"b", "a", "b"}, "name": "A"}, "",
			func(p identity.Person) bool {
				return p.Email == "a@x.example" && p.Name == "A" && reflect.DeepEqual(p.Groups, []string{"a", "b"})
			}},
		"does not overrule": {map[string]any{"name": "A"}, map[string]any{"name": "B", "iss": "https://evil.example", "sid": "x"}, "",
			func(p identity.Person) bool { return p.Name == "A" && p.Claims["sid"] == nil }},
		"verifies no other address": {map[string]any{"email": "victim@x.example"}, map[string]any{"email": "mine@x.example", "email_verified": true}, "",
			func(p identity.Person) bool { return p.Email == "" && !p.EmailVerified }},
		"verifies the same address": {map[string]any{"email": "a@x.example"}, map[string]any{"email": "a@x.example", "email_verified": "true"}, "",
			func(p identity.Person) bool { return p.Email == "a@x.example" }},
		"another subject": {map[string]any{}, map[string]any{"sub": "mallory"}, oauthclient.ReasonUserinfo, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", func(o *oauthclient.Options) { o.UserInfo, o.GroupsClaim = true, "groups" })
			s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Person, c.Userinfo = tc.idToken, tc.userinfo })
			r, err := s.signIn()
			if tc.reason != "" {
				wantReason(t, err, oauthclient.Rejected, tc.reason)
				return
			}
			if err != nil || !tc.check(r.Person) {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
}

// Without a preset the specification holds: the claims of scopes are in userinfo, where there is one.
func TestUserinfoWithoutPreset(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		preset   string
		document map[string]any
		asked    int
	}{
		"endpoint":    {"", nil, 1},
		"no endpoint": {"", map[string]any{"userinfo_endpoint": nil}, 0},
		"preset":      {"keycloak", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, tc.preset, nil)
			s.idp.Configure(func(c *testkit.UpstreamConfig) {
				c.Person, c.Userinfo = map[string]any{}, map[string]any{"name": "From userinfo"}
			})
			s.idp.SetDocument(tc.document)
			r, err := s.signIn()
			if err != nil {
				t.Fatal(err)
			}
			if n := len(s.idp.Requests("userinfo")); n != tc.asked || (r.Person.Name == "From userinfo") != (tc.asked == 1) {
				t.Errorf("userinfo was asked %d times, want %d; the person's name is %q", n, tc.asked, r.Person.Name)
			}
		})
	}
}

func TestUserinfoErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status     int
		kind, body string
		want       oauthclient.Kind
		reason     oauthclient.Reason
	}{
		"down":      {503, "text/html", "", oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"refused":   {401, "application/json", "{}", oauthclient.Misconfigured, oauthclient.ReasonUserinfo},
		"redirect":  {302, "application/json", "{}", oauthclient.Misconfigured, oauthclient.ReasonUserinfo},
		"signed":    {200, "application/jwt", "x.y.z", oauthclient.Misconfigured, oauthclient.ReasonUserinfo},
		"rubbish":   {200, "application/json", "[]", oauthclient.Rejected, oauthclient.ReasonUserinfo},
		"two subs":  {200, "application/json", `{"sub":"alice-1","sub":"bob"}`, oauthclient.Rejected, oauthclient.ReasonUserinfo},
		"no sub":    {200, "application/json", `{}`, oauthclient.Rejected, oauthclient.ReasonUserinfo},
		"null":      {200, "application/json", `null`, oauthclient.Rejected, oauthclient.ReasonUserinfo},
		"too large": {200, "application/json", strings.Repeat(" ", 1<<20), oauthclient.Temporary, oauthclient.ReasonUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", func(o *oauthclient.Options) { o.UserInfo = true })
			s.idp.Configure(func(c *testkit.UpstreamConfig) {
				c.UserinfoAnswer = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", tc.kind)
					w.WriteHeader(tc.status)
					_, _ = w.Write([]byte(tc.body))
				}
			})
			_, err := s.signIn()
			wantReason(t, err, tc.want, tc.reason)
		})
	}
}

// TestNothingSecretIsLogged fails in many ways and looks for secrets in the log and in the errors.
func TestNothingSecretIsLogged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s := newSite(t, "", func(o *oauthclient.Options) {
		o.Log, o.UserInfo = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), true
	})
	r := s.mustSignIn()
	var secrets []string
	note := func(err error) {
		if err != nil {
			log.WriteString(err.Error() + "\n")
		}
	}
	fail := func() {
		pending, back := s.visit()
		secrets = append(secrets, pending.Verifier, pending.Nonce, pending.State, back.Get("code"))
		_, err := s.Finish(context.Background(), pending, back)
		note(err)
		_, _, err = s.Refresh(context.Background(), r.RefreshToken, oauthclient.RefreshOptions{Person: r.Person.Key})
		note(err)
		note(s.Revoke(context.Background(), r.RefreshToken))
		_, err = s.VerifyLogoutToken(context.Background(), r.IDToken.Reveal())
		note(err)
	}
	secrets = append(secrets, "s3cret", r.RefreshToken.Reveal(), r.IDToken.Reveal())
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Userinfo = map[string]any{"sub": "mallory"} })
	fail()
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.ClientSecret = "changed" })
	fail()
	s.idp.Configure(func(c *testkit.UpstreamConfig) {
		c.TokenAnswer = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	})
	fail()
	for _, x := range secrets {
		if x != "" && strings.Contains(log.String(), x) {
			t.Errorf("%q is in the log:\n%s", x, log.String())
		}
	}
	if strings.Count(log.String(), "\n") < 9 {
		t.Errorf("not much was tried:\n%s", log.String())
	}
}

func TestSecretsOfAPendingSignInAreNotShown(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	_, pending := s.begin(oauthclient.BeginOptions{})
	var shown strings.Builder
	log := slog.New(slog.NewJSONHandler(&shown, nil))
	log.Info("x", "pending", pending)
	for _, text := range []string{shown.String(), pending.String(), pending.GoString()} {
		if strings.Contains(text, pending.Verifier) || strings.Contains(text, pending.State) || strings.Contains(text, pending.Nonce) {
			t.Errorf("shown in %q", text)
		}
	}
}
