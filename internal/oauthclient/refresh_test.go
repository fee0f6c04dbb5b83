package oauthclient_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// TestRefreshRotates redeems a chain of refresh tokens, then an old one, which an IdP takes for theft.
func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	first := s.mustSignIn()
	token := first.RefreshToken
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Person = map[string]any{"groups": []string{"ops"}} })
	for range 3 {
		s.clock.add(time.Hour)
		r, outcome, err := s.Refresh(context.Background(), token, oauthclient.RefreshOptions{Person: first.Person.Key})
		if err != nil || outcome != oauthclient.OutcomeRenewed || r.Person.Key != first.Person.Key || r.Person.Groups != nil ||
			r.RefreshToken.Reveal() == token.Reveal() || !r.AccessTokenExpiry.Equal(s.clock.now().Add(time.Hour)) {
			t.Fatalf("%s, %v, %+v", outcome, err, r)
		}
		token = r.RefreshToken
	}
	for _, dead := range []secret.Text{first.RefreshToken, token} {
		r, outcome, err := s.Refresh(context.Background(), dead, oauthclient.RefreshOptions{Person: first.Person.Key})
		wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonGrantRefused)
		if outcome != oauthclient.OutcomeEnded || r != nil {
			t.Errorf("%s, %+v", outcome, r)
		}
	}
}

func TestRefreshOutcomes(t *testing.T) {
	t.Parallel()
	reply := func(status int, body string) func(*testkit.UpstreamConfig) {
		return func(c *testkit.UpstreamConfig) {
			c.TokenAnswer = func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				_, _ = w.Write([]byte(body))
			}
		}
	}
	claim := func(name string, value any) func(*testkit.UpstreamConfig) {
		return func(c *testkit.UpstreamConfig) { c.IDToken = func(m map[string]any) { m[name] = value } }
	}
	for name, tc := range map[string]struct {
		change  func(*testkit.UpstreamConfig)
		outcome oauthclient.RefreshOutcome
		rotated bool // a new refresh token came all the same
	}{
		"person removed":      {func(c *testkit.UpstreamConfig) { c.Disabled = true }, oauthclient.OutcomeEnded, false},
		"invalid_grant":       {reply(400, `{"error":"invalid_grant"}`), oauthclient.OutcomeEnded, false},
		"sign in again":       {reply(400, `{"error":"interaction_required"}`), oauthclient.OutcomeEnded, false},
		"secret expired":      {reply(401, `{"error":"invalid_client"}`), oauthclient.OutcomeMisconfigured, false},
		"grant not allowed":   {reply(400, `{"error":"unauthorized_client"}`), oauthclient.OutcomeMisconfigured, false},
		"invalid_request":     {reply(400, `{"error":"invalid_request"}`), oauthclient.OutcomeMisconfigured, false},
		"down":                {reply(503, ``), oauthclient.OutcomeUnknown, false},
		"down but talking":    {reply(502, `{"error":"invalid_grant"}`), oauthclient.OutcomeUnknown, false},
		"busy":                {reply(429, `{"error":"invalid_grant"}`), oauthclient.OutcomeUnknown, false},
		"temporarily":         {reply(400, `{"error":"temporarily_unavailable"}`), oauthclient.OutcomeUnknown, false},
		"a proxy's page":      {reply(404, `<html>`), oauthclient.OutcomeUnknown, false},
		"an empty answer":     {reply(200, ``), oauthclient.OutcomeUnknown, false},
		"another person":      {claim("sub", "mallory"), oauthclient.OutcomeEnded, true},
		"for another client":  {claim("aud", "other"), oauthclient.OutcomeMisconfigured, true},
		"outside the rule":    {claim("groups", []string{"guests"}), oauthclient.OutcomeEnded, true},
		"all is well":         {claim("x", 1), oauthclient.OutcomeRenewed, true},
		"an old nonce is new": {claim("nonce", "x"), oauthclient.OutcomeRenewed, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule, err := identity.NewRule(identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"eng"}})
			if err != nil {
				t.Fatal(err)
			}
			s := newSite(t, "", func(o *oauthclient.Options) { o.Require = rule })
			first := s.mustSignIn()
			s.idp.Configure(tc.change)
			r, outcome, err := s.Refresh(context.Background(), first.RefreshToken, oauthclient.RefreshOptions{Person: first.Person.Key})
			if outcome != tc.outcome || (err == nil) != (outcome == oauthclient.OutcomeRenewed) {
				t.Errorf("%s, %v", outcome, err)
			}
			if (r != nil && !r.RefreshToken.IsZero()) != tc.rotated {
				t.Errorf("result %+v", r)
			}
			if err != nil && r != nil && (r.IDTokenClaims != nil || !r.Person.Key.IsZero()) {
				t.Errorf("claims that were not accepted: %+v", r)
			}
		})
	}
}

// TestRefreshWithoutKeys has the IdP rotate its keys and lose them: the person is not put out, and the new refresh
// token is not lost.
func TestRefreshWithoutKeys(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	first := s.mustSignIn()
	s.clock.add(25 * time.Hour) // keys and metadata are too old by now
	if _, err := s.Metadata(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.idp.SetKeySet([]byte(`oops`))
	r, outcome, err := s.Refresh(context.Background(), first.RefreshToken, oauthclient.RefreshOptions{Person: first.Person.Key})
	if outcome != oauthclient.OutcomeUnknown || err == nil || r == nil || r.RefreshToken.IsZero() {
		t.Fatalf("%s, %v, %+v", outcome, err, r)
	}
	s.idp.SetKeySet(nil)
	s.clock.add(time.Minute)
	if _, outcome, err = s.Refresh(context.Background(), r.RefreshToken, oauthclient.RefreshOptions{Person: first.Person.Key}); outcome != oauthclient.OutcomeRenewed {
		t.Errorf("%s, %v", outcome, err)
	}
}

func TestRefreshWithoutIDToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	first := s.mustSignIn()
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.NoIDToken, c.NoRotation = true, true })
	r, outcome, err := s.Refresh(context.Background(), first.RefreshToken, oauthclient.RefreshOptions{Person: first.Person.Key})
	if outcome != oauthclient.OutcomeRenewed || err != nil || r.Person.Key != first.Person.Key || r.IDTokenClaims != nil || !r.RefreshToken.IsZero() {
		t.Errorf("%s, %v, %+v", outcome, err, r)
	}
}

// TestRefreshGivesUp leaves an IdP that never answers when the caller does.
func TestRefreshGivesUp(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	first := s.mustSignIn()
	ctx, cancel := context.WithCancel(context.Background())
	s.idp.Configure(func(c *testkit.UpstreamConfig) {
		c.TokenAnswer = func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		}
	})
	if _, outcome, err := s.Refresh(ctx, first.RefreshToken, oauthclient.RefreshOptions{Person: first.Person.Key}); outcome != oauthclient.OutcomeUnknown || err == nil {
		t.Errorf("%s, %v", outcome, err)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	r := s.mustSignIn()
	if err := s.Revoke(context.Background(), r.RefreshToken); err != nil {
		t.Fatal(err)
	}
	if _, outcome, _ := s.Refresh(context.Background(), r.RefreshToken, oauthclient.RefreshOptions{Person: r.Person.Key}); outcome != oauthclient.OutcomeEnded {
		t.Errorf("%s after revocation", outcome)
	}
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.ClientSecret = "changed" })
	wantReason(t, s.Revoke(context.Background(), r.RefreshToken), oauthclient.Misconfigured, oauthclient.ReasonRequestRefused)
	s.idp.SetDown(true)
	wantReason(t, s.Revoke(context.Background(), r.RefreshToken), oauthclient.Temporary, oauthclient.ReasonRequestRefused)

	s = newSite(t, "", nil)
	s.idp.SetDocument(map[string]any{"revocation_endpoint": nil})
	wantReason(t, s.Revoke(context.Background(), r.RefreshToken), oauthclient.Misconfigured, oauthclient.ReasonNotOffered)
}

// TestRefreshRule holds the rule against what the IdP said before, where it says nothing new: how the person signed in is
// so until they sign in again, and without an ID token everything is.
func TestRefreshRule(t *testing.T) {
	t.Parallel()
	leaf := func(r identity.ClaimRule) *identity.Rule {
		rule, err := identity.NewRule(r)
		if err != nil {
			t.Fatal(err)
		}
		return rule
	}
	strong := leaf(identity.ClaimRule{Claim: "acr", Type: identity.TypeString, Operator: identity.OpEquals, Values: []string{"mfa"}})
	staff := leaf(identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"staff"}})
	noGuest, err := identity.Not(leaf(identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{"guests"}}))
	if err != nil {
		t.Fatal(err)
	}
	claims := func(c map[string]any) func(*testkit.UpstreamConfig) {
		return func(u *testkit.UpstreamConfig) {
			u.IDToken = func(all map[string]any) {
				for name, value := range c {
					all[name] = value
				}
			}
		}
	}
	noIDToken := func(u *testkit.UpstreamConfig) { u.NoIDToken = true }
	for name, tc := range map[string]struct {
		rule    *identity.Rule
		at      map[string]any // what the ID token of the sign-in says
		later   func(*testkit.UpstreamConfig)
		forget  bool // what was said at the sign-in is not known any more
		outcome oauthclient.RefreshOutcome
	}{
		"acr is not repeated":             {strong, map[string]any{"acr": "mfa"}, claims(nil), false, oauthclient.OutcomeRenewed},
		"acr is lower now":                {strong, map[string]any{"acr": "mfa"}, claims(map[string]any{"acr": "pwd"}), false, oauthclient.OutcomeEnded},
		"groups are not repeated":         {staff, map[string]any{"groups": []string{"staff"}}, claims(nil), false, oauthclient.OutcomeEnded},
		"no ID token":                     {staff, map[string]any{"groups": []string{"staff"}}, noIDToken, false, oauthclient.OutcomeRenewed},
		"no ID token, a rule that is new": {staff, map[string]any{"groups": []string{"staff"}}, noIDToken, true, oauthclient.OutcomeEnded},
		"and one that nothing fulfils":    {noGuest, nil, noIDToken, true, oauthclient.OutcomeEnded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", func(o *oauthclient.Options) { o.Require = tc.rule })
			s.idp.Configure(claims(tc.at))
			first := s.mustSignIn()
			s.idp.Configure(tc.later)
			o := oauthclient.RefreshOptions{Person: first.Person.Key, Known: first.Person.Claims}
			if tc.forget {
				o.Known = nil
			}
			if _, outcome, err := s.Refresh(context.Background(), first.RefreshToken, o); outcome != tc.outcome {
				t.Errorf("%s, %v", outcome, err)
			}
		})
	}
}
