package authserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
)

// prover is a client with a key, which keeps the last nonce it was given.
type prover struct {
	*harness
	key   *testkit.DPoPKey
	nonce string
}

func (h *harness) prover() *prover {
	h.t.Helper()
	p := &prover{harness: h, key: testkit.NewDPoPKey(h.t, "ES256")}
	p.nonce = h.server.nonces.Current()
	return p
}

func (p *prover) proof(path, method string, claims map[string]any) string {
	p.t.Helper()
	all := map[string]any{"nonce": p.nonce}
	for name, value := range claims {
		all[name] = value
	}
	return p.key.Proof(p.t, method, testIssuer+path, p.clock.Now(), all)
}

// ask posts to the token endpoint with a proof.
func (p *prover) ask(form url.Values, claims map[string]any) *httptest.ResponseRecorder {
	p.t.Helper()
	return p.askWith(form, p.proof("/token", "POST", claims))
}

func (p *prover) askWith(form url.Values, proof string) *httptest.ResponseRecorder {
	p.t.Helper()
	return p.do(request{method: http.MethodPost, path: "/token", form: form, header: map[string]string{"DPoP": proof}})
}

func (p *prover) userinfoWith(scheme, token, proof string) *httptest.ResponseRecorder {
	p.t.Helper()
	header := map[string]string{"Authorization": scheme + " " + token}
	if proof != "" {
		header["DPoP"] = proof
	}
	return p.do(request{path: "/userinfo", header: header})
}

// boundTo returns the thumbprint in an access token.
func (h *harness) boundTo(token string) string {
	h.t.Helper()
	_, claims := h.claims(token)
	c, ok := claims.Confirmation()
	if !ok {
		h.t.Fatalf("cnf %v", claims["cnf"])
	}
	return c.Key
}

func TestDPoPBoundTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.prover()
	jkt := p.key.Thumbprint(t)
	w := p.ask(codeForm(h.code(authorizeParams(map[string]string{"dpop_jkt": jkt})), nil), nil)
	tokens := h.wantTokens(w)
	if tokens.TokenType != "DPoP" || h.boundTo(tokens.AccessToken) != jkt || w.Header().Get("DPoP-Nonce") != "" {
		t.Errorf("response %+v, bound to %q, headers %v", tokens, h.boundTo(tokens.AccessToken), w.Header())
	}
	if _, id := h.claims(tokens.IDToken); id["cnf"] != nil {
		t.Errorf("ID token %v", id)
	}
	// The refresh token of a public client is bound; with the key it rotates, and its access tokens are bound too.
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), 400, "invalid_dpop_proof")
	h.wantError(h.prover().ask(refreshForm(tokens.RefreshToken, nil), nil), 400, "invalid_grant")
	again := h.wantTokens(p.ask(refreshForm(tokens.RefreshToken, nil), nil))
	if again.TokenType != "DPoP" || h.boundTo(again.AccessToken) != jkt {
		t.Errorf("refreshed %+v", again)
	}
	h.wantError(h.prover().ask(refreshForm(again.RefreshToken, nil), nil), 400, "invalid_grant")
	h.wantTokens(p.ask(refreshForm(again.RefreshToken, nil), nil)) // the stranger has ended nothing

	// Without a proof everything is as it was.
	bearer := h.tokens(authorizeParams(nil), nil)
	if bearer.TokenType != "Bearer" || h.boundTo(bearer.AccessToken) != "" {
		t.Errorf("without a proof: %+v", bearer)
	}
	// A grant without a key may get bound access tokens, by whichever key the proof has.
	if bound := h.wantTokens(p.ask(refreshForm(bearer.RefreshToken, nil), nil)); h.boundTo(bound.AccessToken) != jkt {
		t.Errorf("bound later: %+v", bound)
	}
}

// A client that authenticates may change its key: its refresh token is bound to the client (RFC 9449 §5).
func TestDPoPOfConfidentialClients(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService)
	first, second := h.prover(), h.prover()
	params := authorizeParams(map[string]string{"client_id": "keeper", "redirect_uri": webURI})
	secretPost := map[string]string{"client_id": "keeper", "client_secret": "s", "redirect_uri": webURI}
	snapshot := testSnapshot()
	snapshot.Clients = append(snapshot.Clients, Client{ID: "keeper", RedirectURIs: []string{webURI}, AuthMethod: AuthPost, Secret: secret.New("s")})
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	tokens := h.wantTokens(first.ask(codeForm(h.code(params), secretPost), nil))
	again := h.wantTokens(second.ask(refreshForm(tokens.RefreshToken, secretPost), nil))
	if h.boundTo(tokens.AccessToken) != first.key.Thumbprint(t) || h.boundTo(again.AccessToken) != second.key.Thumbprint(t) {
		t.Error("the access tokens are not bound to the keys of their proofs")
	}
}

func TestDPoPOfServicesAndDevices(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService, withDevice)
	p := h.prover()
	form := url.Values{"grant_type": {GrantClientCredentials}, "client_id": {serviceID}, "client_secret": {serviceSecret}, "resource": {testResource}}
	if tokens := h.wantTokens(p.ask(form, nil)); tokens.TokenType != "DPoP" || h.boundTo(tokens.AccessToken) != p.key.Thumbprint(t) {
		t.Errorf("service: %+v", tokens)
	}
	d := h.startDevice(url.Values{})
	poll := url.Values{"grant_type": {GrantDevice}, "client_id": {deviceClient}, "device_code": {d.DeviceCode}}
	h.wantError(p.ask(poll, nil), 400, "authorization_pending")
	h.allowDevice(d)
	h.clock.Advance(deviceInterval)
	tokens := h.wantTokens(p.ask(poll, nil))
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, map[string]string{"client_id": deviceClient})), 400, "invalid_dpop_proof")
	h.wantTokens(p.ask(refreshForm(tokens.RefreshToken, map[string]string{"client_id": deviceClient}), nil))
}

// A code that was asked for with dpop_jkt is good for that key only, and for no other way of stealing it.
func TestDPoPBoundCode(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, thief := h.prover(), h.prover()
	params := authorizeParams(map[string]string{"dpop_jkt": p.key.Thumbprint(t)})
	h.wantError(thief.ask(codeForm(h.code(params), nil), nil), 400, "invalid_grant")
	h.wantError(h.post("/token", codeForm(h.code(params), nil)), 400, "invalid_dpop_proof")
	h.wantTokens(p.ask(codeForm(h.code(params), nil), nil))
	for _, bad := range []string{"x", p.key.Thumbprint(t) + "=", p.key.Thumbprint(t)[1:], strings.Repeat("*", 43)} {
		w := h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"dpop_jkt": bad})})
		if !strings.Contains(w.Header().Get("Location"), "error=invalid_request") {
			t.Errorf("dpop_jkt %q: %d %v", bad, w.Code, w.Header())
		}
	}
	if w := h.do(request{path: "/authorize", query: with(params, "dpop_jkt", p.key.Thumbprint(t), thief.key.Thumbprint(t))}); !strings.Contains(w.Header().Get("Location"), "error=invalid_request") {
		t.Errorf("two keys: %d %v", w.Code, w.Header())
	}
}

// What is wrong with a proof is said before anything is used up.
func TestDPoPProofRefusals(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.prover()
	code := h.code(authorizeParams(nil))
	good := p.proof("/token", "POST", nil)
	for name, c := range map[string]struct {
		proof, reason string
	}{
		"no JWT":              {"x", "proof_malformed"},
		"access token":        {testkit.MintToken(t, p.key.IDPKey, map[string]any{"typ": "at+jwt"}, map[string]any{}), "proof_wrong_type"},
		"assertion":           {testkit.MintToken(t, p.key.IDPKey, map[string]any{"jwk": p.key.PublicJWK()}, map[string]any{}), "proof_wrong_type"},
		"another method":      {p.proof("/token", "GET", nil), "proof_wrong_method"},
		"another path":        {p.proof("/userinfo", "POST", nil), "proof_wrong_url"},
		"the endpoint":        {p.key.Proof(t, "POST", testResource, h.clock.Now(), map[string]any{"nonce": p.nonce}), "proof_wrong_url"},
		"old":                 {p.key.Proof(t, "POST", testIssuer+"/token", h.clock.Now().Add(-6*time.Minute), map[string]any{"nonce": p.nonce}), "proof_wrong_time"},
		"altered":             {good[:len(good)-6] + "AAAAAA", "proof_bad_signature"},
		"nonce of a resource": {p.proof("/token", "POST", map[string]any{"nonce": dpop.NewNonces(h.server.Keys, "resources", h.clock.Now).Current()}), "proof_nonce_needed"},
		"no nonce":            {p.proof("/token", "POST", map[string]any{"nonce": nil}), "proof_nonce_needed"},
	} {
		w := p.askWith(codeForm(code, nil), c.proof)
		want := "invalid_dpop_proof"
		if c.reason == "proof_nonce_needed" {
			want = "use_dpop_nonce"
		}
		h.wantError(w, 400, want)
		var body struct {
			Description string `json:"error_description"`
		}
		_ = json.Unmarshal(w.Body.Bytes(), &body)
		if !strings.HasSuffix(body.Description, "("+c.reason+")") {
			t.Errorf("%s: %q, want %s", name, body.Description, c.reason)
		}
		if nonce := w.Header().Get("DPoP-Nonce"); (nonce != "") != (want == "use_dpop_nonce") {
			t.Errorf("%s: DPoP-Nonce %q", name, nonce)
		}
	}
	h.wantTokens(p.askWith(codeForm(code, nil), good)) // nothing of that has used up the code
}

func TestDPoPNonce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.prover()
	p.nonce = ""
	code := h.code(authorizeParams(nil))
	w := p.ask(codeForm(code, nil), map[string]any{"nonce": nil})
	h.wantError(w, 400, "use_dpop_nonce")
	p.nonce = w.Header().Get("DPoP-Nonce")
	tokens := h.wantTokens(p.ask(codeForm(code, nil), nil)) // the code was not burned
	h.clock.Advance(4 * time.Minute)
	w = p.ask(refreshForm(tokens.RefreshToken, nil), nil)
	tokens = h.wantTokens(w)
	fresh := w.Header().Get("DPoP-Nonce")
	if fresh == "" || fresh == p.nonce {
		t.Errorf("an old nonce is not replaced: %q", fresh)
	}
	h.clock.Advance(3 * time.Minute)
	w = p.ask(refreshForm(tokens.RefreshToken, nil), nil)
	h.wantError(w, 400, "use_dpop_nonce")
	p.nonce = fresh
	h.wantTokens(p.ask(refreshForm(tokens.RefreshToken, nil), nil))

	optional := testSnapshot()
	optional.DPoPNonceOptional = true
	if err := h.server.Swap(optional); err != nil {
		t.Fatal(err)
	}
	h.wantTokens(p.ask(codeForm(h.code(authorizeParams(nil)), nil), map[string]any{"nonce": nil}))
	h.wantError(p.ask(codeForm("x", nil), map[string]any{"nonce": "made up"}), 400, "use_dpop_nonce")
}

// A proof is good once, on all copies together.
func TestDPoPProofIsTakenOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.prover()
	proof := p.proof("/token", "POST", nil)
	h.wantTokens(p.askWith(codeForm(h.code(authorizeParams(nil)), nil), proof))
	code := h.code(authorizeParams(nil))
	w := p.askWith(codeForm(code, nil), proof)
	if h.wantError(w, 400, "invalid_dpop_proof"); !strings.Contains(w.Body.String(), "proof_replayed") {
		t.Errorf("replay: %s", w.Body)
	}
	h.wantTokens(p.ask(codeForm(code, nil), nil)) // and it has burned no code
	second, err := New(h.server.Options)          // another copy on the same store
	if err != nil {
		t.Fatal(err)
	}
	h.server = second
	h.mount()
	h.wantError(p.askWith(codeForm(h.code(authorizeParams(nil)), nil), proof), 400, "invalid_dpop_proof")
}

// Strangers cannot have as many proofs and assertions remembered as they like; who has something of ours is not kept waiting by
// them.
func TestRememberedForStrangers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.prover()
	first := h.wantTokens(p.ask(codeForm(h.code(authorizeParams(nil)), nil), nil))
	code := h.code(authorizeParams(nil))
	at := func(n int) int { // which of n requests is the first that is told to wait
		for i := range n {
			if w := p.ask(codeForm("no code of ours", nil), nil); w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") != "" {
				return i
			}
		}
		return n
	}
	if got := at(2 * rememberedPerAddress); got != rememberedPerAddress {
		t.Errorf("the %dth request was told to wait", got)
	}
	h.wantTokens(p.ask(codeForm(code, nil), nil))
	h.wantTokens(p.ask(refreshForm(first.RefreshToken, nil), nil))
	h.clock.Advance(time.Minute)
	p.nonce = h.server.nonces.Current()
	if got := at(10); got != 10 {
		t.Errorf("a minute later the %dth request was told to wait", got)
	}
}

// Who says that it always sends proofs gets nothing without, and an endpoint that wants bound tokens gets no others.
func TestDPoPRequired(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withService)
	c := h.registered(map[string]any{"dpop_bound_access_tokens": true})
	if !c.DPoPBound || h.registered(nil).DPoPBound {
		t.Errorf("registration %+v", c)
	}
	p := h.prover()
	params, others := registeredParams(c), map[string]string{"client_id": string(c.ClientID), "redirect_uri": "http://localhost:5555/oauth/callback"}
	code := h.code(params)
	h.wantError(h.post("/token", codeForm(code, others)), 400, "invalid_dpop_proof")
	h.wantTokens(p.ask(codeForm(code, others), nil))

	required := testSnapshot()
	required.Resources[0].DPoPRequired = true
	withService(&h.server.Options)
	required.Clients = append(required.Clients, h.server.Snapshot.Clients[len(h.server.Snapshot.Clients)-1])
	bearer := h.tokens(authorizeParams(nil), nil)
	if err := h.server.Swap(required); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.post("/token", codeForm(h.code(authorizeParams(nil)), nil)), 400, "invalid_dpop_proof")
	h.wantError(h.post("/token", refreshForm(bearer.RefreshToken, nil)), 400, "invalid_dpop_proof")
	h.wantError(h.asService(nil), 400, "invalid_dpop_proof")
	h.wantTokens(p.ask(refreshForm(bearer.RefreshToken, nil), nil)) // which was not used up
	h.wantTokens(p.ask(codeForm(h.code(authorizeParams(nil)), nil), nil))
}

func TestDPoPAtUserinfo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, thief := h.prover(), h.prover()
	bound := h.wantTokens(p.ask(codeForm(h.code(authorizeParams(nil)), nil), nil)).AccessToken
	bearer := h.tokens(authorizeParams(nil), nil).AccessToken
	ath := func(token string) map[string]any { return map[string]any{"ath": testkit.TokenHash(token)} }
	good := p.proof("/userinfo", "GET", ath(bound))
	if w := p.userinfoWith("DPoP", bound, good); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "alice-id") {
		t.Fatalf("userinfo: %d %s", w.Code, w.Body)
	}
	for name, c := range map[string]struct {
		scheme, token, proof, code string
	}{
		"as bearer":                    {"Bearer", bound, "", "invalid_token"},
		"as bearer, with a proof":      {"Bearer", bound, p.proof("/userinfo", "GET", ath(bound)), "invalid_token"},
		"without a proof":              {"DPoP", bound, "", "invalid_dpop_proof"},
		"the proof again":              {"DPoP", bound, good, "invalid_dpop_proof"},
		"proof for the token endpoint": {"DPoP", bound, p.proof("/token", "GET", ath(bound)), "invalid_dpop_proof"},
		"proof without ath":            {"DPoP", bound, p.proof("/userinfo", "GET", nil), "invalid_dpop_proof"},
		"proof for another token":      {"DPoP", bound, p.proof("/userinfo", "GET", ath(bearer)), "invalid_dpop_proof"},
		"another key":                  {"DPoP", bound, thief.proof("/userinfo", "GET", ath(bound)), "invalid_token"},
		"unbound as DPoP":              {"DPoP", bearer, p.proof("/userinfo", "GET", ath(bearer)), "invalid_token"},
		"no nonce":                     {"DPoP", bound, p.proof("/userinfo", "GET", map[string]any{"ath": testkit.TokenHash(bound), "nonce": nil}), "use_dpop_nonce"},
	} {
		w := p.userinfoWith(c.scheme, c.token, c.proof)
		if h.wantError(w, 401, c.code); t.Failed() {
			t.Fatal(name)
		}
		if challenge := w.Header().Get("WWW-Authenticate"); strings.HasPrefix(challenge, "DPoP ") != (c.scheme == "DPoP") || !strings.Contains(challenge, c.code) {
			t.Errorf("%s: challenge %q", name, challenge)
		}
	}
	if w := h.userinfo(bearer); w.Code != http.StatusOK {
		t.Errorf("a bearer token: %d", w.Code)
	}
}

func TestDPoPMetadata(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var doc metadata
	if err := json.Unmarshal(h.do(request{path: "/.well-known/oauth-authorization-server"}).Body.Bytes(), &doc); err != nil || !slices.Equal(doc.DPoPAlgs, []string{"ES256", "EdDSA", "PS256", "RS256"}) {
		t.Errorf("metadata %+v, %v", doc, err)
	}
}

// What an administrator adds to a client's tokens cannot bind or unbind them.
func TestConfirmationIsNobodysToGive(t *testing.T) {
	t.Parallel()
	s := testSnapshot()
	s.Clients[0].AccessTokenClaims = map[string]any{"cnf": map[string]any{"jkt": "x"}}
	if s.Check() == nil {
		t.Error("cnf can be configured")
	}
	for _, c := range []struct {
		cnf  any
		want identity.Confirmation
		ok   bool
	}{
		{map[string]any{"jkt": "k"}, identity.Confirmation{Key: "k"}, true},
		{map[string]any{"x5t#S256": "c"}, identity.Confirmation{Certificate: "c"}, true},
		{map[string]any{"jkt": "k", "x5t#S256": "c", "kid": "x"}, identity.Confirmation{Key: "k", Certificate: "c"}, true},
		{map[string]any{"jkt": ""}, identity.Confirmation{}, false},
		{map[string]any{"jkt": 1}, identity.Confirmation{}, false},
		{map[string]any{"kid": "x"}, identity.Confirmation{}, false},
		{map[string]any{}, identity.Confirmation{}, false},
		{"k", identity.Confirmation{}, false},
		{nil, identity.Confirmation{}, false},
	} {
		if got, ok := (identity.Claims{"cnf": c.cnf}).Confirmation(); got != c.want || ok != c.ok {
			t.Errorf("%v: %+v, %v", c.cnf, got, ok)
		}
	}
	if got, ok := (identity.Claims{}).Confirmation(); got != (identity.Confirmation{}) || !ok {
		t.Errorf("without cnf: %+v, %v", got, ok)
	}
}
