package oauthclient_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/oauthclient"
	"gatehouse/internal/testkit"
)

// TestChecklist34_Response pins what is believed of the parameters with which a browser comes back.
func TestChecklist34_Response(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(p *oauthclient.Pending, q url.Values)
		reason oauthclient.Reason
	}{
		"another state":    {func(_ *oauthclient.Pending, q url.Values) { q.Set("state", "x") }, oauthclient.ReasonState},
		"no state":         {func(_ *oauthclient.Pending, q url.Values) { q.Del("state") }, oauthclient.ReasonState},
		"state of nobody":  {func(p *oauthclient.Pending, q url.Values) { p.State = ""; q.Set("state", "") }, oauthclient.ReasonPending},
		"two states":       {func(_ *oauthclient.Pending, q url.Values) { q.Add("state", "x") }, oauthclient.ReasonResponse},
		"two codes":        {func(_ *oauthclient.Pending, q url.Values) { q.Add("code", "x") }, oauthclient.ReasonResponse},
		"no code":          {func(_ *oauthclient.Pending, q url.Values) { q.Del("code") }, oauthclient.ReasonResponse},
		"a huge code":      {func(_ *oauthclient.Pending, q url.Values) { q.Set("code", strings.Repeat("x", 10000)) }, oauthclient.ReasonResponse},
		"code and error":   {func(_ *oauthclient.Pending, q url.Values) { q.Set("error", "access_denied") }, oauthclient.ReasonResponse},
		"iss of another":   {func(_ *oauthclient.Pending, q url.Values) { q.Set("iss", "https://evil.example") }, oauthclient.ReasonIssMismatch},
		"iss with a slash": {func(_ *oauthclient.Pending, q url.Values) { q.Set("iss", q.Get("iss")+"/") }, oauthclient.ReasonIssMismatch},
		"iss empty":        {func(_ *oauthclient.Pending, q url.Values) { q.Set("iss", "") }, oauthclient.ReasonIssMismatch},
		"iss missing":      {func(_ *oauthclient.Pending, q url.Values) { q.Del("iss") }, oauthclient.ReasonIssMissing},
		"iss missing in an error": {func(_ *oauthclient.Pending, q url.Values) {
			q.Del("iss")
			q.Del("code")
			q.Set("error", "access_denied")
		}, oauthclient.ReasonIssMissing},
		"iss of another in one":    {func(_ *oauthclient.Pending, q url.Values) { q.Set("iss", "x"); q.Del("code"); q.Set("error", "x") }, oauthclient.ReasonIssMismatch},
		"begun at another":         {func(p *oauthclient.Pending, _ url.Values) { p.Provider = "other" }, oauthclient.ReasonPending},
		"begun at another issuer":  {func(p *oauthclient.Pending, q url.Values) { p.Issuer = "https://x"; q.Set("iss", "https://x") }, oauthclient.ReasonPending},
		"begun for another return": {func(p *oauthclient.Pending, _ url.Values) { p.RedirectURI = "https://x" }, oauthclient.ReasonPending},
		"begun long ago":           {func(p *oauthclient.Pending, _ url.Values) { p.Expires = p.Expires.Add(-oauthclient.PendingLifetime) }, oauthclient.ReasonExpired},
		"another verifier":         {func(p *oauthclient.Pending, _ url.Values) { p.Verifier = strings.Repeat("x", 52) }, oauthclient.ReasonGrantRefused},
		"another nonce":            {func(p *oauthclient.Pending, _ url.Values) { p.Nonce = "x" }, oauthclient.ReasonTokenNonce},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", nil)
			pending, back := s.visit()
			tc.change(&pending, back)
			_, err := s.Finish(context.Background(), pending, back)
			wantReason(t, err, oauthclient.Rejected, tc.reason)
			asked := tc.reason == oauthclient.ReasonGrantRefused || tc.reason == oauthclient.ReasonTokenNonce
			if n := len(s.idp.Requests("token")); asked != (n == 1) {
				t.Errorf("%d token requests", n)
			}
		})
	}
}

// TestChecklist34_MixUp lets an attacker's IdP, whose answers a person's browser brings, use the code of another one.
func TestChecklist34_MixUp(t *testing.T) {
	t.Parallel()
	honest, attacker := newSite(t, "", nil), newSite(t, "", nil)
	_, back := honest.visit()
	_, pending := attacker.begin(oauthclient.BeginOptions{})
	back.Set("state", pending.State)
	_, err := attacker.Finish(context.Background(), pending, back)
	wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonIssMismatch)
	if len(attacker.idp.Requests("token")) != 0 {
		t.Error("the code of the honest IdP went to the attacker's")
	}
}

func TestChecklist34_IssWithoutAdvertisement(t *testing.T) {
	t.Parallel()
	s := newSite(t, "okta", nil)
	s.mustSignIn() // absent and not advertised
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Iss = "https://evil.example" })
	_, err := s.signIn()
	wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonIssMismatch)
	s.idp.Configure(func(c *testkit.UpstreamConfig) { c.Iss = s.idp.Issuer() })
	s.mustSignIn()
}

func TestChecklist34_Replay(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	pending, back := s.visit()
	if _, err := s.Finish(context.Background(), pending, back); err != nil {
		t.Fatal(err)
	}
	_, err := s.Finish(context.Background(), pending, back)
	wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonGrantRefused)
}

// TestChecklist34_IDToken pins what is believed of an ID token.
func TestChecklist34_IDToken(t *testing.T) {
	t.Parallel()
	const (
		rejected = oauthclient.Rejected
		wrong    = oauthclient.Misconfigured
	)
	set := func(name string, value any) func(*testkit.UpstreamConfig) {
		return func(c *testkit.UpstreamConfig) {
			c.IDToken = func(claims map[string]any) {
				if value == nil {
					delete(claims, name)
				} else {
					claims[name] = value
				}
			}
		}
	}
	at := func(name string, d time.Duration) func(*testkit.UpstreamConfig) {
		return func(c *testkit.UpstreamConfig) { set(name, c.Now().Add(d).Unix())(c) }
	}
	head := func(name string, value any) func(*testkit.UpstreamConfig) {
		return func(c *testkit.UpstreamConfig) { c.IDTokenHeader = map[string]any{name: value} }
	}
	foreign := testkit.NewIDPKey(t, "ES256")
	for name, tc := range map[string]struct {
		change func(*testkit.UpstreamConfig)
		kind   oauthclient.Kind // empty: accepted
		reason oauthclient.Reason
	}{
		"alg none": {func(c *testkit.UpstreamConfig) { c.IDTokenKey = &testkit.IDPKey{Alg: "none"} }, wrong, oauthclient.ReasonTokenAlgorithm},
		"alg HS256": {func(c *testkit.UpstreamConfig) {
			c.IDTokenKey = &testkit.IDPKey{Alg: "HS256", Secret: []byte("s3cret+/&=")}
		}, wrong, oauthclient.ReasonTokenAlgorithm},
		"foreign key":       {func(c *testkit.UpstreamConfig) { c.IDTokenKey = foreign }, rejected, oauthclient.ReasonTokenSignature},
		"key in the header": {head("jku", "https://evil.example/keys"), rejected, oauthclient.ReasonTokenMalformed},
		"iss of another":    {set("iss", "https://evil.example"), rejected, oauthclient.ReasonTokenIssuer},
		"no iss":            {set("iss", nil), rejected, oauthclient.ReasonTokenIssuer},
		"aud of another":    {set("aud", "other"), rejected, oauthclient.ReasonTokenAudience},
		"no aud":            {set("aud", nil), rejected, oauthclient.ReasonTokenAudience},
		"aud a number":      {set("aud", 1), rejected, oauthclient.ReasonTokenAudience},
		"aud a list of one": {set("aud", []string{"gatehouse"}), "", ""},
		"several, no azp":   {set("aud", []string{"gatehouse", "other"}), rejected, oauthclient.ReasonTokenParty},
		"several, azp of another": {func(c *testkit.UpstreamConfig) {
			c.IDToken = func(m map[string]any) { m["aud"], m["azp"] = []string{"gatehouse", "other"}, "other" }
		}, rejected, oauthclient.ReasonTokenParty},
		"several, azp ours": {func(c *testkit.UpstreamConfig) {
			c.IDToken = func(m map[string]any) { m["aud"], m["azp"] = []string{"other", "gatehouse"}, "gatehouse" }
		}, "", ""},
		"azp of another":     {set("azp", "other"), rejected, oauthclient.ReasonTokenParty},
		"expired":            {at("exp", -2*time.Minute), rejected, oauthclient.ReasonTokenTime},
		"expired by a hair":  {at("exp", -30*time.Second), "", ""},
		"no exp":             {set("exp", nil), rejected, oauthclient.ReasonTokenTime},
		"exp a string":       {set("exp", "1"), rejected, oauthclient.ReasonTokenTime},
		"from the future":    {at("iat", 2*time.Minute), rejected, oauthclient.ReasonTokenTime},
		"no iat":             {set("iat", nil), rejected, oauthclient.ReasonTokenTime},
		"not yet":            {at("nbf", 2*time.Minute), rejected, oauthclient.ReasonTokenTime},
		"nonce of another":   {set("nonce", "x"), rejected, oauthclient.ReasonTokenNonce},
		"no nonce":           {set("nonce", nil), rejected, oauthclient.ReasonTokenNonce},
		"at_hash of another": {set("at_hash", "x"), rejected, oauthclient.ReasonTokenHash},
		"at_hash a number":   {set("at_hash", 1), rejected, oauthclient.ReasonTokenHash},
		"no at_hash":         {set("at_hash", nil), "", ""},
		"no sub":             {set("sub", nil), rejected, oauthclient.ReasonTokenSubject},
		"sub with a NUL":     {set("sub", "a\x00b"), rejected, oauthclient.ReasonTokenSubject},
		"an access token":    {head("typ", "at+jwt"), rejected, oauthclient.ReasonTokenType},
		"Keycloak's bearer":  {set("typ", "Bearer"), rejected, oauthclient.ReasonTokenType},
		"Cognito's access":   {set("token_use", "access"), rejected, oauthclient.ReasonTokenType},
		"a logout token":     {set("events", map[string]any{}), rejected, oauthclient.ReasonTokenType},
		"no typ":             {head("typ", nil), "", ""},
		"missing":            {func(c *testkit.UpstreamConfig) { c.NoIDToken = true }, wrong, oauthclient.ReasonTokenMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", nil)
			s.idp.Configure(tc.change)
			_, err := s.signIn()
			if tc.kind == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantReason(t, err, tc.kind, tc.reason)
		})
	}
}

// TestAlgorithms signs with algorithms of the default list and with others; at_hash goes by each one's hash.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for alg, byDefault := range map[string]bool{"RS256": true, "ES256": true, "PS256": true, "EdDSA": true, "ES384": false, "RS512": false} {
		s := newSite(t, "", nil)
		s.idp.Rotate(t, alg)
		if _, err := s.signIn(); (err == nil) != byDefault {
			t.Errorf("%s: %v", alg, err)
		}
		s.Provider = s.provider("", func(o *oauthclient.Options) { o.Algorithms = []string{alg} })
		s.mustSignIn()
	}
	s := newSite(t, "", func(o *oauthclient.Options) { o.Algorithms = []string{"RS256"} })
	_, err := s.signIn()
	wantReason(t, err, oauthclient.Misconfigured, oauthclient.ReasonTokenAlgorithm)
}

// TestChecklist34_SharedCallback has two IdPs that advertise no iss come back to one path.
func TestChecklist34_SharedCallback(t *testing.T) {
	t.Parallel()
	s := newSite(t, "dex", nil)
	other := s.provider("dex", func(o *oauthclient.Options) { o.Name = "other" })
	pending, back := s.visit()
	_, err := other.Finish(context.Background(), pending, back)
	wantReason(t, err, oauthclient.Rejected, oauthclient.ReasonPending)
	if len(s.idp.Requests("token")) != 0 {
		t.Error("the code was sent")
	}
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	for ago, ok := range map[time.Duration]bool{time.Minute: true, time.Hour: false} {
		s.idp.Configure(func(c *testkit.UpstreamConfig) {
			c.IDToken = func(m map[string]any) { m["auth_time"] = s.clock.now().Add(-ago).Unix() }
		})
		age := 5 * time.Minute
		to, pending := s.begin(oauthclient.BeginOptions{MaxAge: &age})
		_, err := s.Finish(context.Background(), pending, s.idp.Visit(t, to))
		if ok && err != nil {
			t.Error(err)
		} else if !ok {
			wantReason(t, err, oauthclient.SignInNeeded, oauthclient.ReasonTokenAuthTime)
		}
	}
}

// TestChecklist35_ErrorResponse pins what errors mean, and that what the IdP wrote stays out of logs and codes.
func TestChecklist35_ErrorResponse(t *testing.T) {
	t.Parallel()
	for code, kind := range map[string]oauthclient.Kind{
		"access_denied": oauthclient.Denied, "login_required": oauthclient.SignInNeeded, "interaction_required": oauthclient.SignInNeeded,
		"server_error": oauthclient.Temporary, "temporarily_unavailable": oauthclient.Temporary, "unauthorized_client": oauthclient.Misconfigured,
		"invalid_scope": oauthclient.Misconfigured, "something_new": oauthclient.Misconfigured, "bad\ncode": oauthclient.Misconfigured,
	} {
		s := newSite(t, "", nil)
		text := "<script>alert(1)</script>\u202e\x00 go\nthere " + strings.Repeat("x", 5000)
		s.idp.Configure(func(c *testkit.UpstreamConfig) { c.AuthorizeErr, c.ErrText = code, text })
		_, err := s.signIn()
		e, ok := err.(*oauthclient.Error)
		if !ok || e.Kind != kind {
			t.Errorf("%s: %v", code, err)
			continue
		}
		if strings.Contains(err.Error(), "script") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: what the IdP wrote is in %q", code, err)
		}
		if !strings.HasPrefix(e.Description, "<script>alert(1)</script> go there xxx") || len(e.Description) > 600 {
			t.Errorf("%s: description %q", code, e.Description)
		}
	}
}

func TestTokenEndpointErrors(t *testing.T) {
	t.Parallel()
	reply := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		kind   oauthclient.Kind
		reason oauthclient.Reason
	}{
		"bad secret":       {reply(401, `{"error":"invalid_client"}`), oauthclient.Misconfigured, oauthclient.ReasonClientRefused},
		"bad code":         {reply(400, `{"error":"invalid_grant"}`), oauthclient.Rejected, oauthclient.ReasonGrantRefused},
		"bad request":      {reply(400, `{"error":"invalid_request"}`), oauthclient.Misconfigured, oauthclient.ReasonRequestRefused},
		"down":             {reply(503, `down`), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"down, with words": {reply(500, `{"error":"invalid_grant"}`), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"busy":             {reply(429, `{"error":"invalid_request"}`), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"a proxy's page":   {reply(403, `<html>`), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"a page instead":   {reply(200, `<html>`), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"named twice":      {reply(200, `{"id_token":"a","id_token":"b"}`), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"a flood":          {reply(200, strings.Repeat(" ", 1<<20)), oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, oauthclient.Temporary, oauthclient.ReasonUnreachable},
		"another type": {reply(200, `{"access_token":"a","token_type":"DPoP","id_token":"x"}`), oauthclient.Misconfigured, oauthclient.ReasonRequestRefused},
		"rubbish":      {reply(200, `{"access_token":"a","token_type":"bearer","id_token":"x.y.z"}`), oauthclient.Rejected, oauthclient.ReasonTokenMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "", nil)
			s.idp.Configure(func(c *testkit.UpstreamConfig) { c.TokenAnswer = tc.answer })
			_, err := s.signIn()
			wantReason(t, err, tc.kind, tc.reason)
			if n := len(s.idp.Requests("token")); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestPendingSurvivesJSON(t *testing.T) {
	t.Parallel()
	s := newSite(t, "", nil)
	age := time.Hour
	to, pending := s.begin(oauthclient.BeginOptions{MaxAge: &age})
	raw, err := json.Marshal(pending)
	if err != nil {
		t.Fatal(err)
	}
	var again oauthclient.Pending
	if err := json.Unmarshal(raw, &again); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(context.Background(), again, s.idp.Visit(t, to)); err != nil {
		t.Error(err)
	}
}
