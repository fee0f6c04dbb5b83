package authserver

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

const (
	idpIssuer = "https://acme.idp.example"
	emaClient = "copilot"
	emaSecret = "ema s3cret"
)

// asserting is an identity provider in whose word the server trusts: its key, and whom it knows.
type asserting struct {
	*fakeSignIn
	key  *testkit.IDPKey
	set  *jose.KeySet
	away bool
}

func (a *asserting) VerifyAssertion(ctx context.Context, t *jose.Token) error {
	if iss, _ := t.Claims.String("iss"); iss != idpIssuer {
		return errors.New("another issuer")
	}
	if a.away {
		return &jose.Error{Reason: jose.KeysUnavailable, Detail: "away"}
	}
	return t.Verify(ctx, a.set, nil)
}

func (a *asserting) AssertedPerson(ctx context.Context, claims identity.Claims) (identity.Person, error) {
	sub, _ := claims.String("sub")
	if sub != "U019488227" {
		return identity.Person{}, &identity.Gone{Reason: "nobody knows them"}
	}
	person, err := a.Person(ctx, identity.PersonKey{Issuer: testIssuer, Subject: "alice-id"})
	person.Provider = "acme"
	return person, err
}

// withIDP trusts an identity provider, and has a client for its assertions.
func withIDP(t *testing.T, idp *asserting) func(*Options) {
	t.Helper()
	idp.key = testkit.NewIDPKey(t, "ES256")
	raw, err := json.Marshal(map[string]any{"keys": []any{idp.key.JWK()}})
	if err != nil {
		t.Fatal(err)
	}
	if idp.set, err = jose.ParseKeySet(raw); err != nil {
		t.Fatal(err)
	}
	return func(o *Options) {
		idp.fakeSignIn = o.SignIn.(*fakeSignIn)
		o.Assertions, o.Snapshot.Assertions = idp, true
		o.Snapshot.Clients = append(o.Snapshot.Clients, Client{ID: emaClient, Name: "Copilot", GrantTypes: []string{GrantIDJAG}, AuthMethod: AuthPost, Secret: secret.New(emaSecret)})
	}
}

// jag is an ID-JAG as of now; claims and header are put on top, and nil removes one.
func (h *harness) jag(idp *asserting, header, claims map[string]any) string {
	h.t.Helper()
	now := h.clock.Now()
	all := map[string]any{
		"jti": rand.Text(), "iss": idpIssuer, "sub": "U019488227", "aud": testIssuer, "resource": testResource, "client_id": emaClient,
		"exp": now.Add(5 * time.Minute).Unix(), "iat": now.Unix(), "scope": "mcp:tools mcp:admin",
	}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	head := map[string]any{"typ": "oauth-id-jag+jwt"}
	for name, value := range header {
		head[name] = value
	}
	return testkit.MintToken(h.t, idp.key, head, all)
}

func (h *harness) exchange(assertion string, others map[string]string) *httptest.ResponseRecorder {
	h.t.Helper()
	v := url.Values{"grant_type": {GrantIDJAG}, "client_id": {emaClient}, "client_secret": {emaSecret}, "assertion": {assertion}}
	for name, value := range others {
		if v.Set(name, value); value == "" {
			v.Del(name)
		}
	}
	return h.post("/token", v)
}

func TestIDJAG(t *testing.T) {
	t.Parallel()
	idp := &asserting{}
	h := newHarness(t, withIDP(t, idp))
	assertion := h.jag(idp, nil, map[string]any{"auth_time": h.clock.Now().Add(-time.Hour).Unix()})
	tokens := h.wantTokens(h.exchange(assertion, nil))
	if tokens.TokenType != "Bearer" || tokens.RefreshToken != "" || tokens.IDToken != "" || tokens.Scope != "mcp:tools mcp:admin" || tokens.ExpiresIn != 3590 {
		t.Errorf("response %+v", tokens)
	}
	_, claims := h.claims(tokens.AccessToken)
	for name, want := range map[string]any{
		"iss": testIssuer, "sub": "alice-id", "aud": testResource, "client_id": emaClient, "scope": "mcp:tools mcp:admin", "idp": "acme",
		"auth_time": float64(h.clock.Now().Add(-time.Hour).Unix()),
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	grants, err := h.store.Grants(t.Context(), h.alice.Key)
	if err != nil || len(grants) != 1 || grants[0].ClientName != "Copilot" || !grants[0].Expires.Equal(h.clock.Now().Add(time.Hour)) {
		t.Errorf("grants %+v, %v", grants, err)
	}
	if got := h.audit.of(audit.KindIssue); len(got) != 1 || got[0].Person != h.alice.Key || got[0].Method != "jwt-bearer" {
		t.Errorf("events %+v", got)
	}
	if w := h.post("/revoke", url.Values{"client_id": {emaClient}, "client_secret": {emaSecret}, "token": {tokens.AccessToken}}); w.Code != http.StatusOK {
		t.Errorf("revoke: %d", w.Code)
	}
	gid, _ := claims.String("gid")
	if !h.store.Revoked(h.alice.Key, identity.GrantID(gid), emaClient, h.clock.Now()) {
		t.Error("the token cannot be revoked")
	}
	if strings.Contains(h.log.String(), assertion) || strings.Contains(string(h.stored()), assertion) || strings.Contains(h.log.String(), emaSecret) {
		t.Error("the assertion is in the log or the database")
	}
	var doc metadata
	if err := json.Unmarshal(h.do(request{path: "/.well-known/oauth-authorization-server"}).Body.Bytes(), &doc); err != nil ||
		!slices.Contains(doc.GrantTypes, GrantIDJAG) || !slices.Equal(doc.GrantProfiles, []string{"urn:ietf:params:oauth:grant-profile:id-jag"}) {
		t.Errorf("metadata %+v, %v", doc, err)
	}
}

func TestIDJAGScopes(t *testing.T) {
	t.Parallel()
	idp := &asserting{}
	h := newHarness(t, withIDP(t, idp))
	for _, c := range []struct {
		said  any
		asked string
		want  string // empty: refused
		code  string
	}{
		{"mcp:tools mcp:admin", "mcp:admin", "mcp:admin", ""},
		{"mcp:tools", "mcp:admin mcp:tools", "mcp:tools", ""},
		{"mcp:tools openid email offline_access", "", "mcp:tools", ""}, // what is about people is not the endpoint's
		{"mcp:tools unknown", "", "mcp:tools", ""},
		{nil, "", "mcp:tools", ""}, // no word about scopes: the endpoint's default ones
		{nil, "mcp:admin", "", "invalid_scope"},
		{"mcp:tools", "mcp:admin", "", "invalid_scope"},
		{"mcp:tools", "openid", "", "invalid_scope"},
		{"openid", "", "", "invalid_grant"},
		{"unknown", "mcp:tools", "", "invalid_grant"},
		{[]string{"mcp:tools"}, "", "", "invalid_grant"},
		{7, "", "", "invalid_grant"},
	} {
		w := h.exchange(h.jag(idp, nil, map[string]any{"scope": c.said}), map[string]string{"scope": c.asked})
		if c.want == "" {
			h.wantError(w, 400, c.code)
			continue
		}
		if got := h.wantTokens(w); got.Scope != c.want || got.IDToken != "" {
			t.Errorf("%v, asked for %q: %+v", c.said, c.asked, got)
		}
	}
	narrow := testSnapshot()
	narrow.Assertions = true
	narrow.Clients = append(narrow.Clients, Client{ID: emaClient, GrantTypes: []string{GrantIDJAG}, AuthMethod: AuthPost, Secret: secret.New(emaSecret), Scopes: identity.Scopes{"mcp:tools"}})
	if err := h.server.Swap(narrow); err != nil {
		t.Fatal(err)
	}
	if got := h.wantTokens(h.exchange(h.jag(idp, nil, nil), nil)); got.Scope != "mcp:tools" {
		t.Errorf("a client with a limit got %q", got.Scope)
	}
}

// TestChecklist45_IDJAG: whatever does not fit is refused, and nothing of that uses the assertion up.
func TestChecklist45_IDJAG(t *testing.T) {
	t.Parallel()
	idp, stranger := &asserting{}, &asserting{}
	h := newHarness(t, withIDP(t, idp), func(o *Options) {
		o.Snapshot.Resources = append(o.Snapshot.Resources, Resource{URL: otherURL, DefaultScopes: identity.Scopes{"finance"}})
		o.Snapshot.Clients = append(o.Snapshot.Clients,
			Client{ID: "other", GrantTypes: []string{GrantIDJAG}, AuthMethod: AuthPost, Secret: secret.New(emaSecret)},
			Client{ID: "public", GrantTypes: []string{GrantIDJAG}})
	})
	stranger.key = testkit.NewIDPKey(t, "ES256")
	stranger.key.KID = idp.key.KID
	at := func(d time.Duration) int64 { return h.clock.Now().Add(d).Unix() }
	type c = map[string]any
	hmac := &asserting{key: &testkit.IDPKey{KID: idp.key.KID, Alg: "HS256", Secret: []byte("secret")}}
	none := &asserting{key: &testkit.IDPKey{KID: idp.key.KID, Alg: "none"}}
	good := h.jag(idp, nil, nil)
	for name, bad := range map[string]struct {
		assertion string
		others    map[string]string
		code      string
		reason    string
	}{
		"none":                        {"", nil, "invalid_request", "id_jag_missing"},
		"no JWT":                      {"x", nil, "invalid_grant", "id_jag_unreadable"},
		"encrypted":                   {"eyJhbGciOiJkaXIifQ..aaaa.bbbb.cccc", nil, "invalid_grant", "id_jag_unreadable"},
		"ID token":                    {h.jag(idp, c{"typ": "JWT"}, nil), nil, "invalid_grant", "id_jag_type"},
		"no typ":                      {h.jag(idp, c{"typ": nil}, nil), nil, "invalid_grant", "id_jag_type"},
		"access token":                {h.jag(idp, c{"typ": "at+jwt"}, nil), nil, "invalid_grant", "id_jag_type"},
		"logout token":                {h.jag(idp, c{"typ": "logout+jwt"}, nil), nil, "invalid_grant", "id_jag_type"},
		"for another server":          {h.jag(idp, nil, c{"aud": "https://other.example"}), nil, "invalid_grant", "id_jag_audience"},
		"for the token endpoint":      {h.jag(idp, nil, c{"aud": testIssuer + "/token"}), nil, "invalid_grant", "id_jag_audience"},
		"for the endpoint":            {h.jag(idp, nil, c{"aud": testResource}), nil, "invalid_grant", "id_jag_audience"},
		"with a slash":                {h.jag(idp, nil, c{"aud": testIssuer + "/"}), nil, "invalid_grant", "id_jag_audience"},
		"for two":                     {h.jag(idp, nil, c{"aud": []string{testIssuer, "https://other.example"}}), nil, "invalid_grant", "id_jag_audience"},
		"for nobody":                  {h.jag(idp, nil, c{"aud": nil}), nil, "invalid_grant", "id_jag_audience"},
		"another client's":            {h.jag(idp, nil, c{"client_id": "other"}), nil, "invalid_grant", "id_jag_client"},
		"no client's":                 {h.jag(idp, nil, c{"client_id": nil}), nil, "invalid_grant", "id_jag_client"},
		"client in azp":               {h.jag(idp, nil, c{"client_id": nil, "azp": emaClient}), nil, "invalid_grant", "id_jag_client"},
		"shown by another client":     {good, map[string]string{"client_id": "other"}, "invalid_grant", "id_jag_client"},
		"expired":                     {h.jag(idp, nil, c{"iat": at(-10 * time.Minute), "exp": at(-time.Minute)}), nil, "invalid_grant", "id_jag_expired"},
		"no exp":                      {h.jag(idp, nil, c{"exp": nil}), nil, "invalid_grant", "id_jag_time"},
		"no iat":                      {h.jag(idp, nil, c{"iat": nil}), nil, "invalid_grant", "id_jag_time"},
		"from the future":             {h.jag(idp, nil, c{"iat": at(2 * time.Minute)}), nil, "invalid_grant", "id_jag_time"},
		"not yet":                     {h.jag(idp, nil, c{"nbf": at(2 * time.Minute)}), nil, "invalid_grant", "id_jag_time"},
		"nbf a text":                  {h.jag(idp, nil, c{"nbf": "now"}), nil, "invalid_grant", "id_jag_time"},
		"an hour long":                {h.jag(idp, nil, c{"exp": at(time.Hour)}), nil, "invalid_grant", "id_jag_lifetime"},
		"an hour long, nearly over":   {h.jag(idp, nil, c{"iat": at(-55 * time.Minute), "exp": at(5 * time.Minute)}), nil, "invalid_grant", "id_jag_lifetime"},
		"no jti":                      {h.jag(idp, nil, c{"jti": nil}), nil, "invalid_grant", "id_jag_jti_missing"},
		"endless jti":                 {h.jag(idp, nil, c{"jti": strings.Repeat("x", maxJTI+1)}), nil, "invalid_grant", "id_jag_jti_missing"},
		"for a foreign endpoint":      {h.jag(idp, nil, c{"resource": "https://evil.example/mcp"}), nil, "invalid_grant", "id_jag_resource"},
		"for two endpoints":           {h.jag(idp, nil, c{"resource": []string{testResource, otherURL}}), nil, "invalid_grant", "id_jag_resource"},
		"resource empty":              {h.jag(idp, nil, c{"resource": ""}), nil, "invalid_grant", "id_jag_resource"},
		"resource a list of nothing":  {h.jag(idp, nil, c{"resource": []string{}}), nil, "invalid_grant", "id_jag_resource"},
		"resource a number":           {h.jag(idp, nil, c{"resource": 7}), nil, "invalid_grant", "id_jag_resource"},
		"asked for another endpoint":  {good, map[string]string{"resource": otherURL}, "invalid_target", "resource_not_authorized"},
		"scope of another endpoint":   {h.jag(idp, nil, c{"resource": otherURL}), nil, "invalid_grant", "id_jag_scope"},
		"no endpoint at all":          {h.jag(idp, nil, c{"resource": nil}), nil, "invalid_target", "resource_missing"},
		"another issuer":              {h.jag(idp, nil, c{"iss": "https://evil.example"}), nil, "invalid_grant", "id_jag_signature"},
		"no issuer":                   {h.jag(idp, nil, c{"iss": nil}), nil, "invalid_grant", "id_jag_signature"},
		"another key":                 {h.jag(stranger, nil, nil), nil, "invalid_grant", "id_jag_signature"},
		"unknown key":                 {h.jag(idp, c{"kid": "x"}, nil), nil, "invalid_grant", "id_jag_signature"},
		"shared secret":               {h.jag(hmac, nil, nil), nil, "invalid_grant", "id_jag_signature"},
		"no signature":                {h.jag(none, nil, nil), nil, "invalid_grant", "id_jag_signature"},
		"brings its own key":          {h.jag(idp, c{"jwk": idp.key.JWK()}, nil), nil, "invalid_grant", "id_jag_unreadable"},
		"somebody unknown":            {h.jag(idp, nil, c{"sub": "U2"}), nil, "invalid_grant", "person_gone"},
		"bound to a key":              {h.jag(idp, nil, c{"cnf": c{"jkt": strings.Repeat("A", 43)}}), nil, "invalid_dpop_proof", "proof_missing"},
		"bound to a certificate":      {h.jag(idp, nil, c{"cnf": c{"x5t#S256": "x"}}), nil, "invalid_grant", "unknown_binding"},
		"bound otherwise":             {h.jag(idp, nil, c{"cnf": c{"kid": "x"}}), nil, "invalid_grant", "unknown_binding"},
		"client not allowed":          {good, map[string]string{"client_id": "poster", "client_secret": "posted"}, "unauthorized_client", "grant_type_not_allowed"},
		"a client that may otherwise": {h.jag(idp, nil, c{"client_id": publicClient}), map[string]string{"client_id": publicClient, "client_secret": ""}, "unauthorized_client", "grant_type_not_allowed"},
	} {
		w := h.exchange(bad.assertion, bad.others)
		h.wantError(w, 400, bad.code)
		if !strings.Contains(w.Body.String(), "("+bad.reason+")") {
			t.Errorf("%s: %s, want %s", name, w.Body, bad.reason)
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
	h.wantError(h.exchange(good, map[string]string{"client_secret": "wrong"}), 401, "invalid_client")
	h.wantTokens(h.exchange(good, nil)) // nothing of that has used it up
	h.wantError(h.exchange(good, nil), 400, "invalid_grant")

	// Where the assertion names no endpoint, the request does; where it names one in another spelling, it is that one.
	h.wantTokens(h.exchange(h.jag(idp, nil, c{"resource": nil}), map[string]string{"resource": testResource}))
	h.wantTokens(h.exchange(h.jag(idp, nil, c{"resource": []string{testResource + "/"}, "aud": []string{testIssuer}}), map[string]string{"resource": testResource}))
	h.wantTokens(h.exchange(h.jag(idp, nil, c{"client_id": "public"}), map[string]string{"client_id": "public", "client_secret": ""}))
	idp.away = true
	h.wantError(h.exchange(h.jag(idp, nil, nil), nil), 503, "temporarily_unavailable")
}

// TestChecklist45_JTIOnce: on all copies together, until the assertion could not come again.
func TestChecklist45_JTIOnce(t *testing.T) {
	t.Parallel()
	idp := &asserting{}
	h := newHarness(t, withIDP(t, idp))
	assertion := h.jag(idp, nil, map[string]any{"jti": "the same"})
	var mu sync.Mutex
	good := 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w := h.exchange(assertion, nil); w.Code == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				good++
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("%d of 20 exchanges went through", good)
	}
	second, err := New(h.server.Options)
	if err != nil {
		t.Fatal(err)
	}
	h.server = second
	h.mount()
	h.wantError(h.exchange(assertion, nil), 400, "invalid_grant")
	h.clock.Advance(6*time.Minute - time.Second)
	if err := h.store.PurgeExpired(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := h.exchange(assertion, nil)
	if h.wantError(w, 400, "invalid_grant"); !strings.Contains(w.Body.String(), "id_jag_replayed") {
		t.Errorf("in its last second: %s", w.Body)
	}
	h.wantError(h.exchange(h.jag(idp, nil, map[string]any{"jti": "the same", "sub": "somebody else"}), nil), 400, "invalid_grant")
}

// TestChecklist44_IDJAGOfTheRevoked: an assertion from before a person was cut off is worth nothing after.
func TestChecklist44_IDJAGOfTheRevoked(t *testing.T) {
	t.Parallel()
	idp := &asserting{}
	h := newHarness(t, withIDP(t, idp))
	before := h.jag(idp, nil, nil)
	h.clock.Advance(time.Second)
	if err := h.store.RevokePerson(t.Context(), h.alice.Key, "test"); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(time.Second)
	w := h.exchange(before, nil)
	if h.wantError(w, 400, "invalid_grant"); !strings.Contains(w.Body.String(), "grant_revoked") {
		t.Errorf("before: %s", w.Body)
	}
	h.wantTokens(h.exchange(h.jag(idp, nil, nil), nil)) // the identity provider says so anew
	h.signIn.change(func(f *fakeSignIn) { f.persons = map[identity.PersonKey]identity.Person{} })
	h.wantError(h.exchange(h.jag(idp, nil, nil), nil), 400, "invalid_grant")
	if err := h.store.RevokeClient(t.Context(), emaClient, "test"); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.exchange(h.jag(idp, nil, nil), nil), 401, "invalid_client")
}

func TestIDJAGWithDPoP(t *testing.T) {
	t.Parallel()
	idp := &asserting{}
	h := newHarness(t, withIDP(t, idp))
	p, thief := h.prover(), h.prover()
	form := func(assertion string) url.Values {
		return url.Values{"grant_type": {GrantIDJAG}, "client_id": {emaClient}, "client_secret": {emaSecret}, "assertion": {assertion}}
	}
	bound := h.jag(idp, nil, map[string]any{"cnf": map[string]any{"jkt": p.key.Thumbprint(t)}})
	h.wantError(thief.ask(form(bound), nil), 400, "invalid_grant")
	if tokens := h.wantTokens(p.ask(form(bound), nil)); tokens.TokenType != "DPoP" || h.boundTo(tokens.AccessToken) != p.key.Thumbprint(t) {
		t.Errorf("response %+v", tokens)
	}
	if tokens := h.wantTokens(p.ask(form(h.jag(idp, nil, nil)), nil)); tokens.TokenType != "DPoP" {
		t.Errorf("a free assertion with a proof: %+v", tokens)
	}
}

// Without a trusted identity provider there is no such grant.
func TestIDJAGIsOffByDefault(t *testing.T) {
	t.Parallel()
	idp := &asserting{}
	h := newHarness(t, withIDP(t, idp), func(o *Options) { o.Snapshot.Assertions = false })
	h.wantError(h.exchange(h.jag(idp, nil, nil), nil), 400, "unsupported_grant_type")
	if doc := h.do(request{path: "/.well-known/oauth-authorization-server"}).Body.String(); strings.Contains(doc, "jwt-bearer\"") && strings.Contains(doc, "authorization_grant_profiles_supported") {
		t.Errorf("metadata %s", doc)
	}
	c := h.registered(map[string]any{"grant_types": []string{GrantCode, GrantIDJAG}})
	if slices.Contains(c.GrantTypes, GrantIDJAG) {
		t.Error("a client registers itself for it")
	}
	s := testSnapshot()
	s.Clients = append(s.Clients, Client{ID: "x", GrantTypes: []string{GrantIDJAG}, Audience: "api://default"})
	if s.Check() == nil {
		t.Error("a client with another audience may bring assertions")
	}
}

func FuzzIDJAG(f *testing.F) {
	s := bareServer(f)
	key := testkit.NewIDPKey(f, "ES256")
	f.Add("oauth-id-jag+jwt", []byte(`{"jti":"1","aud":"https://gate.example","client_id":"copilot","iat":1000000000,"exp":1000000300,"resource":"https://gate.example/mcp","scope":"mcp:tools"}`))
	f.Add("JWT", []byte(`{"aud":["https://gate.example"]}`))
	f.Add("", []byte(`{"scope":7,"resource":[],"cnf":{"jkt":""},"iat":1e300}`))
	req := &redemption{client: &Client{ID: emaClient}, form: url.Values{}, now: time.Unix(1e9, 0)}
	f.Fuzz(func(t *testing.T, typ string, payload []byte) {
		head, err := json.Marshal(map[string]string{"alg": "ES256", "typ": typ})
		if err != nil {
			return
		}
		token, err := jose.Parse(testkit.SignRaw(t, key, head, payload))
		if err != nil {
			return
		}
		a, err := s.checkIDJAG(req, token)
		if err != nil {
			return
		}
		client, _ := token.Claims.String("client_id")
		if client != emaClient || a.id == "" || a.resource == nil || a.resource.URL != testResource || a.expires.Before(req.now.Add(-assertionSkew)) ||
			a.issued.After(req.now) || !a.resource.Scopes.HasAll(a.scopes) || !strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), typIDJAG) {
			t.Errorf("%q %s passes as %+v", typ, payload, a)
		}
	})
}
