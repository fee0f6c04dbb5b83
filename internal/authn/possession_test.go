package authn_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/testkit"
)

const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`

// bound puts a key into a token.
func bound(key *testkit.DPoPKey, t testing.TB, extra map[string]any) map[string]any {
	out := map[string]any{"cnf": map[string]any{"jkt": key.Thumbprint(t)}}
	for name, value := range extra {
		out[name] = value
	}
	return out
}

// withProof is a POST with a token under the scheme DPoP.
func withProof(token, proof string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://10.0.0.7:8080/mcp", strings.NewReader(ping)) // as a proxy would ask
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "DPoP "+token)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	return r
}

// proofFor is a good proof; claims are put on top.
func (h *house) proofFor(t testing.TB, key *testkit.DPoPKey, token string, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"ath": testkit.TokenHash(token)}
	for name, value := range claims {
		all[name] = value
	}
	return key.Proof(t, "POST", origin+"/mcp", h.now(), all)
}

// wantDPoPRefusal checks a refusal at which the client has to do something with a key.
func wantDPoPRefusal(t testing.TB, w *httptest.ResponseRecorder, code string, reason authn.Reason) map[string]string {
	t.Helper()
	params := wantChallenge(t, w, parseChallengeOf(t, w, "DPoP "), code)
	if w.Code != 401 || !strings.HasSuffix(params["error_description"], "("+string(reason)+")") || params["algs"] != "ES256 EdDSA PS256 RS256" ||
		params["resource_metadata"] != origin+"/.well-known/oauth-protected-resource/mcp" {
		t.Errorf("got %d %v, want %s", w.Code, params, reason)
	}
	return params
}

func TestDPoP(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules())
	key, other := testkit.NewDPoPKey(t, "ES256"), testkit.NewDPoPKey(t, "ES256")
	own := h.ownToken(t, "at+jwt", bound(key, t, nil))
	foreign := h.foreignToken(t, bound(key, t, nil))
	free := h.ownToken(t, "at+jwt", nil)
	for name, token := range map[string]string{"own": own, "foreign": foreign} {
		for range 2 { // a new proof each time
			p, w := h.ask(withProof(token, h.proofFor(t, key, token, nil)), e)
			wantPrincipal(t, p, w)
		}
		r := withProof(token, h.proofFor(t, key, token, map[string]any{"content_digest": testkit.ContentDigest(ping)}))
		p, w := h.ask(r, e)
		wantPrincipal(t, p, w)
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != ping {
			t.Errorf("%s: the body was read and is %q now, %v", name, body, err)
		}
	}
	replayed := h.proofFor(t, key, own, nil)
	if p, w := h.ask(withProof(own, replayed), e); p == nil {
		t.Fatalf("refused: %s", w.Body)
	}
	for name, c := range map[string]struct {
		token, proof string
		code         string
		reason       authn.Reason
	}{
		"no proof":              {own, "", "invalid_dpop_proof", "proof_missing"},
		"no JWT":                {own, "x", "invalid_dpop_proof", "proof_malformed"},
		"the token as proof":    {own, own, "invalid_dpop_proof", "proof_wrong_type"},
		"another key":           {own, h.proofFor(t, other, own, nil), "invalid_token", authn.WrongKey},
		"another key's token":   {foreign, h.proofFor(t, other, foreign, nil), "invalid_token", authn.WrongKey},
		"again":                 {own, replayed, "invalid_dpop_proof", "proof_replayed"},
		"for another token":     {own, h.proofFor(t, key, foreign, nil), "invalid_dpop_proof", "proof_wrong_token"},
		"for no token":          {own, h.proofFor(t, key, own, map[string]any{"ath": nil}), "invalid_dpop_proof", "proof_wrong_token"},
		"for another method":    {own, h.proofFor(t, key, own, map[string]any{"htm": "GET"}), "invalid_dpop_proof", "proof_wrong_method"},
		"for another endpoint":  {own, h.proofFor(t, key, own, map[string]any{"htu": origin + "/finance/mcp"}), "invalid_dpop_proof", "proof_wrong_url"},
		"for the inner address": {own, h.proofFor(t, key, own, map[string]any{"htu": "http://10.0.0.7:8080/mcp"}), "invalid_dpop_proof", "proof_wrong_url"},
		"old":                   {own, h.proofFor(t, key, own, map[string]any{"iat": h.now().Add(-301 * time.Second).Unix()}), "invalid_dpop_proof", "proof_wrong_time"},
		"from the future":       {own, h.proofFor(t, key, own, map[string]any{"iat": h.now().Add(301 * time.Second).Unix()}), "invalid_dpop_proof", "proof_wrong_time"},
		"for another body":      {own, h.proofFor(t, key, own, map[string]any{"content_digest": testkit.ContentDigest(ping + " ")}), "invalid_dpop_proof", "proof_wrong_body"},
		"made-up nonce":         {own, h.proofFor(t, key, own, map[string]any{"nonce": "x"}), "use_dpop_nonce", "proof_nonce_needed"},
		"unbound token":         {free, h.proofFor(t, key, free, nil), "invalid_token", authn.TokenNotBound},
		"unbound, no proof":     {free, "", "invalid_token", authn.TokenNotBound},
	} {
		_, w := h.ask(withProof(c.token, c.proof), e)
		if wantDPoPRefusal(t, w, c.code, c.reason); t.Failed() {
			t.Fatal(name)
		}
	}
	r := withProof(own, h.proofFor(t, key, own, nil))
	r.Header.Add("DPoP", h.proofFor(t, key, own, nil))
	_, w := h.ask(r, e)
	wantDPoPRefusal(t, w, "invalid_dpop_proof", "proof_repeated")
	_, w = h.ask(withProof("x.y.z", h.proofFor(t, key, own, nil)), e)
	wantDPoPRefusal(t, w, "invalid_token", authn.TokenMalformed)
}

// A bound token is worth nothing without its key: not as a bearer token, with or without a proof beside it.
func TestBoundTokenIsNoBearerToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules(h.introspecting(t)))
	key := testkit.NewDPoPKey(t, "ES256")
	for name, token := range map[string]string{
		"own": h.ownToken(t, "at+jwt", bound(key, t, nil)), "foreign": h.foreignToken(t, bound(key, t, nil)),
		"opaque": h.opaque(bound(key, t, map[string]any{"token_type": "DPoP"})),
	} {
		for range 2 { // also when it is in the cache
			_, w := h.present(token, e)
			if wantDPoPRefusal(t, w, "invalid_token", authn.TokenBound); t.Failed() {
				t.Fatal(name)
			}
		}
		r := bearer(token)
		r.Header.Set("DPoP", h.proofFor(t, key, token, nil))
		_, w := h.ask(r, e)
		wantDPoPRefusal(t, w, "invalid_token", authn.TokenBound)
		p, w := h.ask(withProof(token, h.proofFor(t, key, token, nil)), e)
		wantPrincipal(t, p, w)
	}
	for name, cnf := range map[string]any{
		"another way": map[string]any{"kid": "k"}, "no way": map[string]any{}, "no object": "k", "null": nil,
		"jkt a number": map[string]any{"jkt": 7}, "jkt empty": map[string]any{"jkt": ""}, "x5t a list": map[string]any{"jkt": "k", "x5t#S256": []string{"x"}},
	} {
		claims := map[string]any{"cnf": cnf}
		if cnf == nil {
			claims = map[string]any{"cnf": map[string]any(nil)} // null in JSON
		}
		_, w := h.present(h.ownToken(t, "at+jwt", claims), e)
		if wantRefusal(t, w, 401, "invalid_token", authn.UnknownBinding); t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestDPoPRequired(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	e.DPoPRequired = true
	key := testkit.NewDPoPKey(t, "EdDSA")
	r := bearer("")
	r.Header.Del("Authorization")
	_, w := h.ask(r, e)
	if params := parseChallengeOf(t, w, "DPoP "); params["error"] != "" || params["scope"] != "mcp:tools" || params["algs"] == "" {
		t.Errorf("first challenge %v", params)
	}
	_, w = h.present(h.ownToken(t, "at+jwt", nil), e)
	wantDPoPRefusal(t, w, "invalid_token", authn.DPoPRequired)
	token := h.ownToken(t, "at+jwt", bound(key, t, nil))
	p, w := h.ask(withProof(token, h.proofFor(t, key, token, nil)), e)
	wantPrincipal(t, p, w)
	doc := getMetadata([]*authn.Endpoint{e}, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-protected-resource/mcp", nil)).Body.String()
	if !strings.Contains(doc, `"dpop_bound_access_tokens_required":true`) {
		t.Errorf("metadata %s", doc)
	}
	// A missing scope is named in a challenge of the scheme that the client uses.
	r = withProof(token, "")
	w = httptest.NewRecorder()
	authn.WriteRefusal(w, r, e, authn.NewInsufficientScope(identity.Scopes{"mcp:tools"}, identity.Scopes{"mcp:admin"}))
	if params := parseChallengeOf(t, w, "DPoP "); w.Code != 403 || params["scope"] != "mcp:tools mcp:admin" {
		t.Errorf("%d %v", w.Code, params)
	}
}

func TestDPoPNonceAtEndpoints(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	e.NonceRequired = true
	key := testkit.NewDPoPKey(t, "ES256")
	token := h.ownToken(t, "at+jwt", bound(key, t, nil))
	_, w := h.ask(withProof(token, h.proofFor(t, key, token, nil)), e)
	wantDPoPRefusal(t, w, "use_dpop_nonce", "proof_nonce_needed")
	nonce := w.Header().Get("DPoP-Nonce")
	p, w := h.ask(withProof(token, h.proofFor(t, key, token, map[string]any{"nonce": nonce})), e)
	wantPrincipal(t, p, w)
	h.add(7 * time.Minute)
	_, w = h.ask(withProof(token, h.proofFor(t, key, token, map[string]any{"nonce": nonce})), e)
	if wantDPoPRefusal(t, w, "use_dpop_nonce", "proof_nonce_needed"); w.Header().Get("DPoP-Nonce") == nonce {
		t.Error("the same nonce again")
	}
}

// A request that lasts is checked again by its token alone; its proof is used up.
func TestRecheckAsksForNoProof(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	key := testkit.NewDPoPKey(t, "ES256")
	token := h.ownToken(t, "at+jwt", bound(key, t, nil))
	r := withProof(token, h.proofFor(t, key, token, nil))
	if p, w := h.ask(r, e); p == nil {
		t.Fatalf("refused: %s", w.Body)
	}
	if p, err := h.auth.Recheck(r, e); err != nil || p.Key.Subject != "u-alice" {
		t.Errorf("recheck: %v, %v", p, err)
	}
	if _, err := h.auth.Authenticate(r, e); err == nil {
		t.Error("the proof is good twice")
	}
	h.revoked.revoke(identity.GrantID("g-1"), h.now().Add(time.Second))
	if _, err := h.auth.Recheck(r, e); err == nil {
		t.Error("a revoked token passes")
	}
}

func TestProofTakenOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	key := testkit.NewDPoPKey(t, "ES256")
	token := h.ownToken(t, "at+jwt", bound(key, t, nil))
	proof := h.proofFor(t, key, token, nil)
	var good atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if p, _ := h.ask(withProof(token, proof), e); p != nil {
				good.Add(1)
			}
		})
	}
	wg.Wait()
	if good.Load() != 1 {
		t.Errorf("%d of 20 got in", good.Load())
	}
}

// The one who needs the body meets its trouble: a digest is no way around the limit.
func TestDigestOfABodyThatBreaksOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules())
	key := testkit.NewDPoPKey(t, "ES256")
	token := h.ownToken(t, "at+jwt", bound(key, t, nil))
	r := withProof(token, h.proofFor(t, key, token, map[string]any{"content_digest": testkit.ContentDigest("{")}))
	broken := errors.New("connection lost")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{broken}))
	p, w := h.ask(r, e)
	wantPrincipal(t, p, w)
	if body, err := io.ReadAll(r.Body); string(body) != "{" || !errors.Is(err, broken) {
		t.Errorf("the body reads %q, %v", body, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// BenchmarkDPoP is what a proof costs. That an ordinary token costs no more than before is for TestHitAllocatesNothing.
func BenchmarkDPoP(b *testing.B) {
	h := newHouse(b)
	e := h.endpoint(b, "/mcp", h.ownRules())
	key := testkit.NewDPoPKey(b, "ES256")
	token := h.ownToken(b, "at+jwt", bound(key, b, nil))
	var requests []*http.Request
	for range b.N {
		requests = append(requests, withProof(token, h.proofFor(b, key, token, map[string]any{"content_digest": testkit.ContentDigest(ping)})))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, r := range requests {
		if _, err := h.auth.Authenticate(r, e); err != nil {
			b.Fatal(err)
		}
	}
}
