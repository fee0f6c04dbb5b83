package signin

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// trusting is a copy that trusts the identity provider's assertions.
func (b *branch) trusting(change ...func(*oauthclient.Options, *Provider)) *Service {
	b.t.Helper()
	s := b.copy(nil)
	o := oauthclient.Options{
		Name: "okta", DiscoveryURL: b.idp.DiscoveryURL(), ClientID: "gatehouse", ClientSecret: secret.New("s3cret+/&="), GroupsClaim: "groups",
		RedirectURI: "https://gate.example/oauth/callback/okta", Client: b.idp.Client(), Now: b.clock.Now, Log: s.Log,
	}
	p := Provider{Assertions: true, Claims: []string{"department"}}
	for _, c := range change {
		c(&o, &p)
	}
	var err error
	if p.Provider, err = oauthclient.New(o); err != nil {
		b.t.Fatal(err)
	}
	if err := s.Swap(Settings{NoUsers: true, Providers: []Provider{p}}); err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *branch) asserted(s *Service, extra map[string]any) (identity.Person, error) {
	b.t.Helper()
	token, err := jose.Parse(b.idp.IDJAG(b.t, string(testIssuer), "copilot", nil, extra))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.VerifyAssertion(b.t.Context(), token); err != nil {
		return identity.Person{}, err
	}
	return s.AssertedPerson(b.t.Context(), token.Claims)
}

func (b *branch) mustAssert(s *Service, extra map[string]any) identity.Person {
	b.t.Helper()
	person, err := b.asserted(s, extra)
	if err != nil {
		b.t.Fatal(err)
	}
	return person
}

// Whom an assertion names is whom a sign-in names, whichever comes first.
func TestAssertedPersonIsTheOneWhoSignsIn(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.trusting()
	b.idp.Configure(func(c *testkit.UpstreamConfig) {
		c.Person = map[string]any{"preferred_username": "ada", "email": "ada@acme.example", "email_verified": true, "groups": []string{"eng"}, "department": "R&D"}
	})
	first := b.mustAssert(s, nil)
	if first.Key.Issuer != testIssuer || first.Provider != "okta" || !first.GroupsUnknown || len(first.Groups) > 0 || first.Email != "" {
		t.Errorf("somebody new: %+v", first)
	}
	if again := b.mustAssert(s, nil); again.Key != first.Key {
		t.Errorf("the second assertion names %v, the first %v", again.Key, first.Key)
	}
	if _, err := s.Person(t.Context(), first.Key); !errors.Is(err, identity.ErrGone) {
		t.Errorf("an assertion for one client lets others in: %v", err)
	}
	if key := b.signIn(s); key != first.Key {
		t.Errorf("signed in as %v, asserted as %v", key, first.Key)
	}
	// What the provider said at the sign-in holds while its word does.
	known := b.mustAssert(s, nil)
	if known.Username != "ada" || known.Email != "ada@acme.example" || !slices.Equal(known.Groups, []string{"eng"}) || known.GroupsUnknown || known.Claims["department"] != "R&D" {
		t.Errorf("somebody known: %+v", known)
	}
	said := b.mustAssert(s, map[string]any{"groups": []string{"sales"}, "department": "Sales", "email": "x@evil.example", "preferred_username": "ada2"})
	if !slices.Equal(said.Groups, []string{"sales"}) || said.Claims["department"] != "Sales" || said.Email != "ada@acme.example" || said.Username != "ada2" {
		t.Errorf("the assertion does not win: %+v", said)
	}
	if person, err := s.Person(t.Context(), first.Key); err != nil || !slices.Equal(person.Groups, []string{"eng"}) {
		t.Errorf("an assertion changed what others see: %+v, %v", person, err)
	}
	b.clock.Advance(VouchLife)
	if old := b.mustAssert(s, nil); !old.GroupsUnknown || len(old.Groups) > 0 || old.Key != first.Key {
		t.Errorf("groups of eight hours ago: %+v", old)
	}
}

func TestAssertionsAreTrustedWhereTheAdministratorSaysSo(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	token, err := jose.Parse(b.idp.IDJAG(t, string(testIssuer), "copilot", nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	untrusting := b.trusting(func(_ *oauthclient.Options, p *Provider) { p.Assertions = false })
	if err := untrusting.VerifyAssertion(t.Context(), token); err == nil {
		t.Error("an assertion of a provider that is for signing in alone")
	}
	s := b.trusting()
	if err := s.VerifyAssertion(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	stranger := testkit.NewIDPKey(t, "ES256")
	stranger.KID = b.idp.Newest().KID
	weak := testkit.NewIDPKey(t, "ES384")
	claims := func(extra map[string]any) map[string]any {
		out := maps.Clone(map[string]any(token.Claims))
		maps.Copy(out, extra)
		return out
	}
	for name, text := range map[string]string{
		"forged":         testkit.MintToken(t, stranger, map[string]any{"typ": "oauth-id-jag+jwt"}, claims(nil)),
		"algorithm":      testkit.MintToken(t, weak, map[string]any{"typ": "oauth-id-jag+jwt"}, claims(nil)),
		"another issuer": testkit.MintToken(t, b.idp.Newest(), map[string]any{"typ": "oauth-id-jag+jwt"}, claims(map[string]any{"iss": "https://evil.example"})),
		"no issuer":      testkit.MintToken(t, b.idp.Newest(), map[string]any{"typ": "oauth-id-jag+jwt"}, claims(map[string]any{"iss": ""})),
	} {
		bad, err := jose.Parse(text)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := s.VerifyAssertion(t.Context(), bad); err == nil || jose.ReasonOf(err) == jose.KeysUnavailable || strings.Contains(err.Error(), text[:40]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, sub := range []any{"", nil, 7, strings.Repeat("x", 256), "a\x00b"} {
		if person, err := b.asserted(s, map[string]any{"sub": sub}); err == nil {
			t.Errorf("sub %v names %+v", sub, person)
		}
	}
	twice := Settings{Providers: []Provider{s.settings.Load().Providers[0], s.settings.Load().Providers[0]}}
	if twice.Check() == nil {
		t.Error("two providers of one name and issuer are trusted")
	}
	fresh := newBranch(t)
	away := fresh.trusting()
	fresh.idp.SetDown(true)
	if _, err := fresh.asserted(away, nil); jose.ReasonOf(err) != jose.KeysUnavailable {
		t.Errorf("the provider is away: %v", err)
	}
}

// TestChecklist44_AssertedAndEnded: whom the provider ended does not come back by an assertion.
func TestChecklist44_AssertedAndEnded(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.trusting()
	key := b.signIn(s)
	b.clock.Advance(time.Hour)
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = true })
	if _, err := s.Person(t.Context(), key); !errors.Is(err, identity.ErrGone) {
		t.Fatalf("disabled at the provider: %v", err)
	}
	if person, err := b.asserted(s, nil); !errors.Is(err, identity.ErrGone) {
		t.Errorf("%+v, %v", person, err)
	}
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = false })
	if again := b.signIn(s); again != key {
		t.Errorf("signed in anew as %v", again)
	}
	b.mustAssert(s, nil)
}

// The rule about who may sign in holds for assertions: by what they say, or by what the provider said lately.
func TestAssertedPersonMeetsTheRule(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	rule, err := identity.NewRule(identity.ClaimRule{Claim: "hd", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"acme.example"}})
	if err != nil {
		t.Fatal(err)
	}
	s := b.trusting(func(o *oauthclient.Options, _ *Provider) { o.Require = rule })
	if _, err := b.asserted(s, nil); !errors.Is(err, identity.ErrGone) {
		t.Errorf("nothing known: %v", err)
	}
	if _, err := b.asserted(s, map[string]any{"hd": "evil.example"}); !errors.Is(err, identity.ErrGone) {
		t.Errorf("another organisation: %v", err)
	}
	said := b.mustAssert(s, map[string]any{"hd": "acme.example"})
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Person = map[string]any{"hd": "acme.example"} })
	if key := b.signIn(s); key != said.Key {
		t.Errorf("signed in as %v, asserted as %v", key, said.Key)
	}
	b.mustAssert(s, nil)
	if _, err := b.asserted(s, map[string]any{"hd": "evil.example"}); !errors.Is(err, identity.ErrGone) {
		t.Errorf("the assertion's own word does not win: %v", err)
	}
	b.clock.Advance(VouchLife)
	if _, err := b.asserted(s, nil); !errors.Is(err, identity.ErrGone) {
		t.Errorf("on a word of eight hours ago: %v", err)
	}
}
