package authserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

const signingClient = "signer"

// signer is a client that authenticates with signed assertions.
type signer struct {
	h   *harness
	id  string
	key *testkit.IDPKey
}

// newSigner adds a static client with one key of each algorithm, and returns a signer with the key for alg.
func newSigner(t *testing.T, alg string) signer {
	t.Helper()
	var jwks []any
	var mine *testkit.IDPKey
	for _, a := range assertionAlgs() {
		key := testkit.NewIDPKey(t, a)
		jwks = append(jwks, key.JWK())
		if a == alg {
			mine = key
		}
	}
	keys := keySet(t, jwks...)
	h := newHarness(t, func(o *Options) {
		o.Snapshot.Clients = append(o.Snapshot.Clients, Client{ID: signingClient, RedirectURIs: []string{webURI}, Keys: keys})
	})
	return signer{h, signingClient, mine}
}

func keySet(t *testing.T, jwks ...any) *jose.KeySet {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"keys": jwks})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jose.ParseKeySet(raw)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// assertion signs a good assertion; header and claims replace or, when nil, remove.
func (s signer) assertion(header, changes map[string]any) string {
	s.h.t.Helper()
	now := s.h.clock.Now()
	claims := map[string]any{
		"iss": s.id, "sub": s.id, "aud": testIssuer, "jti": newToken(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
	for name, value := range changes {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return testkit.MintToken(s.h.t, s.key, header, claims)
}

// assertionForm is a refresh with a token that does not exist: once the client is believed, the answer is invalid_grant.
func assertionForm(assertion string) url.Values {
	return url.Values{"grant_type": {GrantRefresh}, "refresh_token": {"none"}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}}
}

func (s signer) send(assertion string) *httptest.ResponseRecorder {
	s.h.t.Helper()
	return s.h.post("/token", assertionForm(assertion))
}

func TestPrivateKeyJWT(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			s := newSigner(t, alg)
			params := authorizeParams(map[string]string{"client_id": s.id, "redirect_uri": webURI})
			form := codeForm(s.h.code(params), map[string]string{"client_id": "", "redirect_uri": webURI})
			maps.Copy(form, assertionForm(s.assertion(nil, nil)))
			form.Set("grant_type", GrantCode)
			tokens := s.h.wantTokens(s.h.post("/token", form))

			refresh := refreshForm(tokens.RefreshToken, map[string]string{"client_id": s.id, "client_assertion_type": assertionType,
				"client_assertion": s.assertion(nil, map[string]any{"aud": testIssuer + "/token"})})
			tokens = s.h.wantTokens(s.h.post("/token", refresh))

			end := url.Values{"token": {tokens.RefreshToken}, "client_assertion_type": {assertionType}, "client_assertion": {s.assertion(nil, nil)}}
			if w := s.h.post("/revoke", end); w.Code != http.StatusOK {
				t.Errorf("revoke: status %d: %s", w.Code, w.Body)
			}
			refresh.Set("refresh_token", tokens.RefreshToken)
			refresh.Set("client_assertion", s.assertion(nil, nil))
			s.h.wantError(s.h.post("/token", refresh), http.StatusBadRequest, codeInvalidGrant)
		})
	}
}

func TestAssertionsThatAreBelieved(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	soon := s.h.clock.Now().Add(9 * time.Minute).Unix()
	for name, assertion := range map[string]string{
		"for the issuer":               s.assertion(nil, nil),
		"for the token endpoint":       s.assertion(nil, map[string]any{"aud": []string{testIssuer + "/token"}}),
		"for both":                     s.assertion(nil, map[string]any{"aud": []string{testIssuer, testIssuer + "/token"}}),
		"nine minutes":                 s.assertion(nil, map[string]any{"exp": soon}),
		"no iat":                       s.assertion(nil, map[string]any{"iat": nil}),
		"no typ":                       s.assertion(map[string]any{"typ": nil}, nil),
		"explicit typ":                 s.assertion(map[string]any{"typ": "client-authentication+jwt"}, nil),
		"no kid, one key for this alg": s.assertion(map[string]any{"kid": nil}, nil),
		"clock half a minute behind":   s.assertion(nil, map[string]any{"exp": s.h.clock.Now().Add(-30 * time.Second).Unix()}),
		"clock half a minute ahead":    s.assertion(nil, map[string]any{"iat": s.h.clock.Now().Add(30 * time.Second).Unix()}),
	} {
		if w := s.send(assertion); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), codeInvalidGrant) {
			t.Errorf("%s: status %d: %s", name, w.Code, w.Body)
		}
	}
}

func TestAssertionsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	now := s.h.clock.Now()
	stranger := signer{s.h, s.id, testkit.NewIDPKey(t, "ES256")}
	thief := signer{s.h, s.id, &testkit.IDPKey{KID: s.key.KID, Alg: "ES256", Private: stranger.key.Private}}
	hmac := signer{s.h, s.id, &testkit.IDPKey{KID: s.key.KID, Alg: "HS256", Secret: []byte("x")}}
	none := signer{s.h, s.id, &testkit.IDPKey{KID: s.key.KID, Alg: "none"}}
	other := signer{s.h, webClient, s.key}
	set := func(name string, value any) string { return s.assertion(nil, map[string]any{name: value}) }
	for name, tt := range map[string]struct{ assertion, says string }{
		"not a JWT":             {"x", "cannot be read"},
		"foreign key":           {stranger.assertion(nil, nil), "not among"},
		"foreign key, our kid":  {thief.assertion(nil, nil), "signature"},
		"HMAC":                  {hmac.assertion(nil, nil), "algorithm"},
		"alg none":              {none.assertion(nil, nil), "algorithm"},
		"key in the header":     {s.assertion(map[string]any{"jwk": s.key.JWK()}, nil), "cannot be read"},
		"jku in the header":     {s.assertion(map[string]any{"jku": "https://evil.example/"}, nil), "cannot be read"},
		"an access token":       {s.assertion(map[string]any{"typ": "at+jwt"}, nil), "typ"},
		"an ID-JAG":             {s.assertion(map[string]any{"typ": "oauth-id-jag+jwt"}, nil), "typ"},
		"client with a secret":  {other.assertion(nil, nil), "client_secret_basic"},
		"unknown client":        {signer{s.h, "nobody", s.key}.assertion(nil, nil), "not known"},
		"sub missing":           {set("sub", nil), "no sub"},
		"iss missing":           {set("iss", nil), "iss and sub"},
		"another iss":           {set("iss", webClient), "iss and sub"},
		"aud missing":           {set("aud", nil), "aud"},
		"aud empty":             {set("aud", []string{}), "aud"},
		"another aud":           {set("aud", "https://other.example/token"), "aud"},
		"another aud beside us": {set("aud", []string{testIssuer, "https://other.example"}), "aud"},
		"aud of an endpoint":    {set("aud", testResource), "aud"},
		"aud no string":         {set("aud", 7), "aud"},
		"exp missing":           {set("exp", nil), "needs an exp"},
		"exp as text":           {set("exp", "1"), "needs an exp"},
		"exp in milliseconds":   {set("exp", now.UnixMilli()), "in seconds"},
		"expired":               {set("exp", now.Add(-time.Minute).Unix()), "expired"},
		"an hour":               {set("exp", now.Add(time.Hour).Unix()), "too long"},
		"not yet":               {set("nbf", now.Add(2*time.Minute).Unix()), "nbf"},
		"issued tomorrow":       {set("iat", now.Add(24*time.Hour).Unix()), "iat"},
		"iat as text":           {set("iat", "x"), "iat"},
		"jti missing":           {set("jti", nil), "jti"},
		"jti empty":             {set("jti", ""), "jti"},
		"jti too long":          {set("jti", strings.Repeat("j", 513)), "jti"},
	} {
		w := s.send(tt.assertion)
		s.h.wantError(w, http.StatusUnauthorized, codeInvalidClient)
		if !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: the answer does not say %q: %s", name, tt.says, w.Body)
		}
	}
}

func TestAssertionIsGoodOnce(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	once := s.assertion(nil, map[string]any{"exp": s.h.clock.Now().Add(10 * time.Minute).Unix()})
	s.h.wantError(s.send(once), http.StatusBadRequest, codeInvalidGrant)
	for range 5 { // until it has expired, and then because it has
		s.h.wantError(s.send(once), http.StatusUnauthorized, codeInvalidClient)
		if err := s.h.store.PurgeExpired(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.h.clock.Advance(3 * time.Minute)
	}
	// A forged one burns nothing.
	jti := map[string]any{"jti": "mine"}
	thief := signer{s.h, s.id, &testkit.IDPKey{KID: s.key.KID, Alg: "ES256", Private: testkit.NewIDPKey(t, "ES256").Private}}
	s.h.wantError(s.send(thief.assertion(nil, jti)), http.StatusUnauthorized, codeInvalidClient)
	s.h.wantError(s.send(s.assertion(nil, jti)), http.StatusBadRequest, codeInvalidGrant)
}

func TestChecklist41_AssertionBesideAnotherMethod(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "ES256")
	beside := func(change func(*request)) {
		t.Helper()
		q := request{method: http.MethodPost, path: "/token", form: assertionForm(s.assertion(nil, nil)), header: map[string]string{}}
		change(&q)
		s.h.wantError(s.h.do(q), http.StatusBadRequest, codeInvalidRequest)
	}
	beside(func(q *request) { q.header["Authorization"] = "Basic c2lnbmVyOng=" })
	beside(func(q *request) { q.form.Set("client_secret", "x") })
	beside(func(q *request) { q.form["client_assertion"] = append(q.form["client_assertion"], "x") })

	other := func(change func(url.Values)) {
		t.Helper()
		form := assertionForm(s.assertion(nil, nil))
		change(form)
		s.h.wantError(s.h.post("/token", form), http.StatusUnauthorized, codeInvalidClient)
	}
	other(func(v url.Values) { v.Set("client_id", webClient) })
	other(func(v url.Values) { v.Del("client_assertion_type") })
	other(func(v url.Values) {
		v.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
	})
	other(func(v url.Values) { v.Del("client_assertion") })
	// Who must sign cannot do without.
	s.h.wantError(s.h.post("/token", url.Values{"grant_type": {GrantRefresh}, "client_id": {s.id}, "refresh_token": {"x"}}), http.StatusUnauthorized, codeInvalidClient)
	s.h.wantError(s.h.post("/token", url.Values{"grant_type": {GrantRefresh}, "client_id": {s.id}, "client_secret": {"x"}, "refresh_token": {"x"}}), http.StatusUnauthorized, codeInvalidClient)
}

// awayKeys are keys of a client whose jwks_uri does not answer.
type awayKeys struct{}

func (*awayKeys) Key(context.Context, string, string) (jose.PublicKey, error) {
	return jose.PublicKey{}, &jose.Error{Reason: jose.KeysUnavailable, Detail: "away", Cause: errors.New("dial tcp 10.0.0.7: refused")}
}
func (*awayKeys) Generation() uint64 { return 0 }

func TestKeysOfAClientAway(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) {
		o.Snapshot.Clients = append(o.Snapshot.Clients, Client{ID: signingClient, RedirectURIs: []string{webURI}, Keys: &awayKeys{}})
	})
	s := signer{h, signingClient, testkit.NewIDPKey(t, "ES256")}
	w := s.send(s.assertion(nil, nil))
	h.wantError(w, http.StatusServiceUnavailable, codeUnavailable)
	if strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("the answer tells where we looked: %s", w.Body)
	}
}

func TestRegisteredClientWithKeys(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			key := testkit.NewIDPKey(t, alg)
			client := h.registered(map[string]any{"token_endpoint_auth_method": AuthPrivateKey, "token_endpoint_auth_signing_alg": alg,
				"jwks": map[string]any{"keys": []any{key.JWK()}}})
			if client.Secret != "" || client.AuthMethod != AuthPrivateKey || client.AssertionAlg != alg || !bytes.Contains(client.Keys, []byte(key.KID)) {
				t.Errorf("registered %+v", client)
			}
			s := signer{h, string(client.ClientID), key}
			h.wantError(s.send(s.assertion(nil, nil)), http.StatusBadRequest, codeInvalidGrant)
			stranger := signer{h, s.id, testkit.NewIDPKey(t, alg)}
			h.wantError(s.send(stranger.assertion(map[string]any{"kid": nil}, nil)), http.StatusUnauthorized, codeInvalidClient)
			h.wantError(h.post("/token", url.Values{"grant_type": {GrantRefresh}, "client_id": {s.id}, "refresh_token": {"x"}}), http.StatusUnauthorized, codeInvalidClient)
		})
	}
}

// A client that registered itself cannot have as many assertions remembered as it likes.
func TestAssertionsOfStrangersAreRationed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	key := testkit.NewIDPKey(t, "ES256")
	client := h.registered(map[string]any{"token_endpoint_auth_method": AuthPrivateKey, "jwks": map[string]any{"keys": []any{key.JWK()}}})
	s := signer{h, string(client.ClientID), key}
	for range rememberedPerAddress {
		h.wantError(s.send(s.assertion(nil, nil)), http.StatusBadRequest, codeInvalidGrant)
	}
	if w := s.send(s.assertion(nil, nil)); w.Code != http.StatusTooManyRequests {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRegistrationOfKeysRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	key := testkit.NewIDPKey(t, "ES256").JWK()
	private := maps.Clone(key)
	private["d"] = "AAAA"
	set := func(jwks ...any) map[string]any { return map[string]any{"keys": jwks} }
	for name, metadata := range map[string]map[string]any{
		"no keys":            {},
		"null":               {"jwks": nil},
		"no key that works":  {"jwks": set(map[string]any{"kty": "oct", "k": "AAAA"})},
		"a private key":      {"jwks": set(private)},
		"not a set":          {"jwks": key},
		"jwks_uri":           {"jwks_uri": "https://keys.example/jwks"},
		"both":               {"jwks": set(key), "jwks_uri": "https://keys.example/jwks"},
		"algorithm":          {"jwks": set(key), "token_endpoint_auth_signing_alg": "HS256"},
		"more than fits":     {"jwks": set(key, key, key, key, key, key, key, key, key, key)},
		"too deep to be one": {"jwks": strings.Repeat("[", 200) + strings.Repeat("]", 200)},
	} {
		metadata["token_endpoint_auth_method"] = AuthPrivateKey
		metadata["redirect_uris"] = []string{desktopURI}
		w := h.register(metadata)
		if h.wantError(w, http.StatusBadRequest, codeInvalidMetadata); t.Failed() {
			t.Fatalf("%s: %s", name, w.Body)
		}
	}
	// Keys of a client that does not sign are metadata that we do not know.
	if client := h.registered(map[string]any{"jwks": set(key)}); client.Keys != nil || client.AuthMethod != AuthNone {
		t.Errorf("registered %+v", client)
	}
}

func FuzzAssertion(f *testing.F) {
	key := testkit.NewIDPKey(f, "ES256")
	f.Add(testkit.MintToken(f, key, nil, map[string]any{"iss": "c", "sub": "c", "aud": testIssuer, "exp": 1e9 + 60, "jti": "j"}), "c")
	f.Add(testkit.MintToken(f, key, nil, map[string]any{"sub": []any{"c"}, "aud": map[string]any{}, "exp": 1e300}), "")
	f.Add("..", "")
	s := bareServer(f)
	f.Fuzz(func(t *testing.T, assertion, id string) {
		given, err := readCredentials(httptest.NewRequest(http.MethodPost, "/token", nil), url.Values{
			"client_id": {id}, "client_assertion_type": {assertionType}, "client_assertion": {assertion}})
		if err != nil {
			return
		}
		if id != "" && string(given.ids[0]) != id || len(given.ids) != 1 || given.method != AuthPrivateKey || given.ids[0] == "" {
			t.Errorf("read %+v of %q for %q", given, assertion, id)
		}
		_, _ = s.checkAssertionTimes(given.assertion.Claims)
		s.isAudience(given.assertion.Claims)
	})
}
