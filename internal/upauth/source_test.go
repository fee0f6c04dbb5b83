package upauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

func issuerOf(a *authServer) identity.Issuer { return identity.Issuer(a.URL) }

// visit is a person whose authorization server redirects at once.
func visit(ctx context.Context, authorizationURL string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authorizationURL, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	return resp.Location()
}

// A service gets its token before the first request, uses it until shortly before its end, and gets the next one then.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options()
	o.Scopes, o.Parameters = identity.Scopes{"tools:read"}, map[string]string{"audience": "tools"}
	s := w.source(o)
	w.must(s, "one")
	w.clock.Advance(58 * time.Minute)
	w.must(s, "two")
	w.clock.Advance(90 * time.Second)
	w.must(s, "three")
	o.WithoutResource = true
	w.must(w.source(o), "four")
	as := w.as[0]
	if f := as.forms[2]; f.Has("resource") {
		t.Errorf("resource %s", f.Get("resource"))
	}
	as.forms, w.seen = as.forms[:2], w.seen[:3]
	if len(as.forms) != 2 || len(w.seen) != 3 {
		t.Fatalf("%d token requests and %d requests, want 2 and 3", len(as.forms), len(w.seen))
	}
	want := url.Values{"grant_type": {"client_credentials"}, "resource": {w.target.URL + "/mcp"}, "scope": {"tools:read"}, "audience": {"tools"}}
	if got := as.forms[0]; got.Encode() != want.Encode() {
		t.Errorf("token request %v, want %v", got, want)
	}
	if got, want := as.headers[0].Get("Authorization"), "Basic "+base64.StdEncoding.EncodeToString([]byte("svc:s3cret")); got != want {
		t.Errorf("client authentication %q", got)
	}
	for i, want := range []string{"Bearer token-1", "Bearer token-1", "Bearer token-2"} {
		if got := w.seen[i].Header.Get("Authorization"); got != want {
			t.Errorf("request %d: %q, want %q", i, got, want)
		}
	}
	for _, hidden := range []string{"token-1", "token-2", "s3cret"} {
		if strings.Contains(w.log.String(), hidden) {
			t.Errorf("the log holds %s:\n%s", hidden, w.log.String())
		}
	}
}

// Callers that come at once share one token request.
func TestOneRequestForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.source(w.options())
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() { w.must(s, fmt.Sprint(i)) })
	}
	all.Wait()
	if n := len(w.as[0].forms); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// A token that the target no longer takes is replaced once, and the request is sent again.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.source(w.options())
	w.must(s, "one")
	w.valid = func(a string) int {
		if a == "Bearer token-2" {
			return http.StatusOK
		}
		return http.StatusUnauthorized
	}
	w.must(s, "two")
	if len(w.seen) != 3 || len(w.as[0].forms) != 2 {
		t.Errorf("%d requests, %d token requests", len(w.seen), len(w.as[0].forms))
	}
	// From now on nothing is good enough: the refusal is the answer, and the token endpoint is left in peace.
	w.valid = func(string) int { return http.StatusUnauthorized }
	for range 5 {
		if _, _, err := w.post(s, "three"); err == nil || !strings.Contains(err.Error(), "the target refuses it with HTTP status 401") {
			t.Error(err)
		}
	}
	if n := len(w.as[0].forms); n != 3 {
		t.Errorf("%d token requests, want 3", n)
	}
}

// More scopes are asked for when the target says so, beside those from before, and not for ever.
func TestStepUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.header = `Bearer scope="read", resource_metadata="%s"`
	w.refuses = `Bearer error="insufficient_scope", scope="write"`
	s := w.source(w.person())
	w.must(s, "one")
	w.valid = func(a string) int {
		if a == "Bearer token-2" {
			return http.StatusOK
		}
		return http.StatusForbidden
	}
	w.must(s, "two")
	if a := w.as[0].asked; len(a) != 2 || a[0].Get("scope") != "read" || a[1].Get("scope") != "read write" {
		t.Fatalf("asked for %v", a)
	}
	w.valid = func(string) int { return http.StatusForbidden }
	for range 3 {
		if _, _, err := w.post(s, "three"); err == nil || !strings.Contains(err.Error(), `HTTP status 403, error "insufficient_scope", scopes "write"`) {
			t.Error(err)
		}
	}
	n := 0
	w.valid = func(string) int {
		n++
		w.refuses = fmt.Sprintf(`Bearer error="insufficient_scope", scope="more-%d"`, n)
		return http.StatusForbidden
	}
	if _, _, err := w.post(s, "four"); err == nil || n != 1+maxStepUps {
		t.Errorf("after %d requests: %v", n, err)
	}
	// What is not about scopes is the target's answer, as it is.
	w.refuses = ""
	w.valid = func(string) int { return http.StatusForbidden }
	if status, text, err := w.post(s, "five"); status != http.StatusForbidden || text != "answer to five" || err != nil {
		t.Errorf("status %d %s, %v", status, text, err)
	}
}

// What the administrator wrote is all that is asked for, whatever the target wants.
func TestConfiguredScopesAreAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options()
	o.Scopes = identity.Scopes{"read"}
	w.refuses, w.valid = `Bearer error="insufficient_scope", scope="admin"`, func(string) int { return http.StatusForbidden }
	if _, _, err := w.post(w.source(o), "one"); err == nil || !strings.Contains(err.Error(), `scopes "admin"`) {
		t.Error(err)
	}
	if f := w.as[0].forms; len(f) != 1 || f[0].Get("scope") != "read" {
		t.Errorf("asked for %v", f)
	}
}

// Nothing is sent, and no secret leaves, when something about the documents is not right.
func TestDocumentsThatLie(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(w *world, o *Options)
		want   string
	}{
		"resource of another origin":           {func(w *world, _ *Options) { w.prm["resource"] = "https://evil.example/mcp" }, "it is about the resource"},
		"resource beside this one":             {func(w *world, _ *Options) { w.prm["resource"] = w.target.URL + "/mc" }, "it is about the resource"},
		"another server":                       {func(w *world, _ *Options) { w.prm["authorization_servers"] = []string{w.as[1].URL} }, "and not the configured issuer"},
		"document of another issuer":           {func(w *world, _ *Options) { w.as[0].metadata["issuer"] = w.as[1].URL }, "it is the document of the issuer"},
		"issuer with a slash":                  {func(w *world, _ *Options) { w.as[0].metadata["issuer"] = w.as[0].URL + "/" }, "it is the document of the issuer"},
		"token endpoint without TLS":           {func(w *world, _ *Options) { w.as[0].metadata["token_endpoint"] = "http://as.example/token" }, "is not https"},
		"grant that is not there":              {func(w *world, _ *Options) { w.as[0].metadata["grant_types_supported"] = []string{"password"} }, "does not list client_credentials"},
		"private server that the target names": {func(w *world, o *Options) { o.Issuer, o.Client = "", Client{ID: "public"} }, "address is not allowed"},
		"document elsewhere": {func(w *world, o *Options) {
			o.Grant = AuthorizationCode("http://127.0.0.1:1/callback", visit)
			w.header = fmt.Sprintf("Bearer resource_metadata=%q", w.as[1].URL+"/.well-known/oauth-protected-resource")
		}, "address is not allowed"},
		"proofs that we cannot make": {func(w *world, o *Options) {
			o.DPoP, w.as[0].metadata["dpop_signing_alg_values_supported"] = true, []string{"RS256"}
		}, "takes proofs with"},
		"token of another kind": {func(w *world, _ *Options) {
			w.as[0].answer = func(rw http.ResponseWriter, _ url.Values, _ int) bool {
				fmt.Fprint(rw, `{"access_token":"t","token_type":"mac"}`)
				return true
			}
		}, "the token is of type"},
		"token that breaks the header": {func(w *world, _ *Options) {
			w.as[0].answer = func(rw http.ResponseWriter, _ url.Values, _ int) bool {
				fmt.Fprint(rw, `{"access_token":"t\r\nX: y","token_type":"Bearer"}`)
				return true
			}
		}, "could stand in a header"},
		"refusal": {func(w *world, _ *Options) {
			w.as[0].answer = func(rw http.ResponseWriter, _ url.Values, _ int) bool {
				rw.WriteHeader(http.StatusUnauthorized)
				fmt.Fprint(rw, `{"error":"invalid_client","error_description":"no such client"}`)
				return true
			}
		}, "check the client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.options()
			c.change(w, &o)
			s := w.source(o)
			status, _, err := w.post(s, "one")
			e, ok := errors.AsType[*Error](err)
			if !ok || !e.CredentialRefused() || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("status %d, error %v, want one with %q", status, err, c.want)
			}
			for _, r := range w.seen {
				if r.Header.Get("Authorization") != "" {
					t.Error("a request with a token was sent")
				}
			}
			if n := len(w.as[1].forms); n > 0 {
				t.Errorf("%d token requests at the other server", n)
			}
		})
	}
}

// A target that takes each token once does not make Gatehouse a burden to the authorization server.
func TestTargetThatTakesTokensOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.source(w.options())
	used := map[string]bool{}
	w.valid = func(a string) int {
		if used[a] {
			return http.StatusUnauthorized
		}
		used[a] = true
		return http.StatusOK
	}
	refused := 0
	for range 40 {
		if _, _, err := w.post(s, "one"); err != nil {
			refused++
		}
	}
	if n := len(w.as[0].forms); n != 1+refusalBurst || refused == 0 {
		t.Errorf("%d token requests, %d calls refused", n, refused)
	}
	w.clock.Advance(refusalEvery)
	w.must(s, "two")
}

// A call does not wait for a slow authorization server while the token at hand still works.
func TestSlowRenewal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.source(w.options())
	w.must(s, "one")
	release := make(chan struct{})
	w.as[0].answer = func(http.ResponseWriter, url.Values, int) bool { <-release; return false }
	w.clock.Advance(time.Hour - 30*time.Second)
	w.must(s, "two")
	if got := w.seen[1].Header.Get("Authorization"); got != "Bearer token-1" {
		t.Errorf("sent %s", got)
	}
	close(release)
	if _, err := s.renew(t.Context(), need{}); err != nil {
		t.Fatal(err)
	}
	w.must(s, "three")
	if got := w.seen[2].Header.Get("Authorization"); got != "Bearer token-2" {
		t.Errorf("sent %s", got)
	}
}

// A failure stands for a moment, so that calls do not pile up at the authorization server; then it is tried again.
func TestFailurePause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	down := true
	w.as[0].answer = func(rw http.ResponseWriter, _ url.Values, _ int) bool {
		if down {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		return down
	}
	s := w.source(w.options())
	for range 4 {
		if _, _, err := w.post(s, "one"); err == nil {
			t.Fatal("there is a token")
		}
	}
	if n := len(w.as[0].forms); n != 1 {
		t.Errorf("%d token requests", n)
	}
	down = false
	w.clock.Advance(failurePause + time.Second)
	w.must(s, "two")
	// A token that still works outlasts an authorization server that is away.
	down = true
	w.clock.Advance(time.Hour - 40*time.Second)
	w.must(s, "three")
}

// The credential of one authorization server never reaches another, whatever the target says later.
func TestServerThatChanges(t *testing.T) {
	t.Parallel()
	for _, byHand := range []bool{false, true} {
		t.Run(fmt.Sprintf("by hand=%v", byHand), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := w.person()
			if byHand {
				o.Client = Client{ID: "by-hand", Secret: secret.New("s3cret")}
			}
			s := w.source(o)
			w.must(s, "one")
			w.prm["authorization_servers"] = []string{w.as[1].URL}
			w.valid = func(string) int {
				if len(w.as[1].forms) > 0 {
					return http.StatusOK
				}
				return http.StatusUnauthorized
			}
			if byHand {
				if _, _, err := w.post(s, "two"); err == nil || !strings.Contains(err.Error(), "the target has turned to") {
					t.Errorf("error %v", err)
				}
				if len(w.as[1].forms)+len(w.as[1].asked)+w.as[1].regs > 0 {
					t.Error("the other server was asked")
				}
				return
			}
			w.must(s, "two")
			if w.as[1].regs != 1 || len(w.as[1].forms) != 1 || w.as[1].forms[0].Get("grant_type") != "authorization_code" {
				t.Errorf("%d registrations, token requests %v", w.as[1].regs, w.as[1].forms)
			}
			if id, own := w.as[1].asked[0].Get("client_id"), strings.TrimPrefix(w.as[1].URL, "http://"); !strings.HasPrefix(id, own) {
				t.Errorf("client id %s at %s", id, own)
			}
		})
	}
}

// A person's token: PKCE, resource, state; a refresh token that is used and kept.
func TestAuthorizationCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.as[0].metadata["scopes_supported"] = []string{"read", "offline_access"}
	w.prm["scopes_supported"] = []string{"read"}
	s := w.source(w.person())
	w.must(s, "one")
	w.clock.Advance(2 * time.Hour)
	w.must(s, "two")
	a := w.as[0]
	if len(a.asked) != 1 || a.regs != 1 || len(a.forms) != 2 {
		t.Fatalf("%d authorizations, %d registrations, %d token requests", len(a.asked), a.regs, len(a.forms))
	}
	q := a.asked[0]
	if q.Get("resource") != w.target.URL+"/mcp" || q.Get("code_challenge_method") != "S256" || q.Get("scope") != "read offline_access" || len(q.Get("code_challenge")) != 43 {
		t.Errorf("authorization request %v", q)
	}
	if f := a.forms[0]; f.Get("code") != "code-1" || f.Get("code_verifier") == "" || f.Get("resource") != w.target.URL+"/mcp" || f.Has("scope") {
		t.Errorf("token request %v", f)
	}
	if f := a.forms[1]; f.Get("grant_type") != "refresh_token" || f.Get("refresh_token") != "refresh-1" || f.Get("resource") != w.target.URL+"/mcp" {
		t.Errorf("refresh %v", f)
	}
}

// An authorization response is believed only when it is the answer of the server that was asked (RFC 9207).
func TestAuthorizationResponses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		redirect   func(w *world, q url.Values)
		advertised bool
		want       string // of the error; empty: it works
	}{
		"issuer named":              {func(w *world, q url.Values) { q.Set("iss", w.as[0].URL) }, true, ""},
		"issuer named unadvertised": {func(w *world, q url.Values) { q.Set("iss", w.as[0].URL) }, false, ""},
		"no issuer":                 {func(*world, url.Values) {}, false, ""},
		"issuer missing":            {func(*world, url.Values) {}, true, "does not name its issuer"},
		"another issuer":            {func(w *world, q url.Values) { q.Set("iss", w.as[1].URL) }, false, "comes from the issuer"},
		"issuer with a slash":       {func(w *world, q url.Values) { q.Set("iss", w.as[0].URL+"/") }, true, "comes from the issuer"},
		"empty issuer":              {func(_ *world, q url.Values) { q.Set("iss", "") }, false, "comes from the issuer"},
		"two issuers":               {func(w *world, q url.Values) { q["iss"] = []string{w.as[0].URL, w.as[1].URL} }, true, "more than once"},
		"another state":             {func(_ *world, q url.Values) { q.Set("state", "x") }, false, "another request"},
		"error of another issuer":   {func(w *world, q url.Values) { q.Set("error", "x"); q.Set("iss", w.as[1].URL) }, true, "comes from the issuer"},
		"error":                     {func(w *world, q url.Values) { q.Set("error", "access_denied"); q.Del("code") }, false, "access_denied"},
		"no code":                   {func(w *world, q url.Values) { q.Del("code") }, false, "has no code"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.as[0].redirect = func(q url.Values) { c.redirect(w, q) }
			w.as[0].metadata["authorization_response_iss_parameter_supported"] = c.advertised
			status, _, err := w.post(w.source(w.person()), "one")
			switch {
			case c.want == "" && (err != nil || status != http.StatusOK):
				t.Errorf("status %d, %v", status, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(w.as[0].forms) > 0):
				t.Errorf("error %v, %d token requests", err, len(w.as[0].forms))
			}
		})
	}
	w := newWorld(t)
	delete(w.as[0].metadata, "code_challenge_methods_supported")
	if _, _, err := w.post(w.source(w.person()), "one"); err == nil || len(w.as[0].asked) > 0 {
		t.Errorf("a server without PKCE was asked: %v", err)
	}
}

// A signed assertion is for the issuer, and shows its client's key.
func TestPrivateKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := w.options()
	o.Client = Client{ID: "svc", Key: &oauthclient.ClientKey{Private: key, KeyID: "k1"}}
	w.must(w.source(o), "one")
	form := w.as[0].forms[0]
	public, err := jose.NewPublicKey("k1", "ES256", &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := jose.Parse(form.Get("client_assertion"))
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.Verify(t.Context(), oneKey{public}, []string{"ES256"}); err != nil {
		t.Error(err)
	}
	if tok.Claims["aud"] != w.as[0].URL || tok.Claims["iss"] != "svc" || tok.Claims["sub"] != "svc" || form.Get("client_assertion_type") != oauthclient.AssertionType {
		t.Errorf("claims %v, form %v", tok.Claims, form)
	}
}

type oneKey struct{ jose.PublicKey }

func (k oneKey) Key(context.Context, string, string) (jose.PublicKey, error) { return k.PublicKey, nil }

func (oneKey) Generation() uint64 { return 0 }

// Tokens that are bound to a key come with a new proof each time, with the nonces that both servers ask for.
func TestDPoP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.as[0].metadata["dpop_signing_alg_values_supported"] = []string{"ES256"}
	w.as[0].answer = func(rw http.ResponseWriter, _ url.Values, n int) bool {
		if n == 1 {
			rw.Header().Set("DPoP-Nonce", "as-nonce")
			rw.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(rw, `{"error":"use_dpop_nonce"}`)
		}
		return n == 1
	}
	o := w.options()
	o.DPoP = true
	s := w.source(o)
	w.must(s, "one")
	w.must(s, "two")
	seen := map[string]bool{}
	var key string
	read := func(h http.Header, to, token, body string) {
		t.Helper()
		p, err := dpop.Read(h["Dpop"])
		if err != nil || p == nil {
			t.Fatalf("proof %v, %v", p, err)
		}
		if err := p.Check(dpop.Request{Method: "POST", URL: to, Token: token}, w.clock.Now()); err != nil {
			t.Error(err)
		}
		if body != "" && (!p.HasDigest() || p.CheckBody([]byte(body)) != nil) {
			t.Errorf("the proof does not cover %q", body)
		}
		if seen[p.ID] || key != "" && p.Key != key {
			t.Errorf("proof %s of key %s again", p.ID, p.Key)
		}
		seen[p.ID], key = true, p.Key
	}
	for _, h := range w.as[0].headers {
		read(h, w.as[0].URL+"/token", "", "")
	}
	for i, body := range []string{"one", "two"} {
		if got := w.seen[i].Header.Get("Authorization"); got != "DPoP token-2" {
			t.Errorf("Authorization: %s", got)
		}
		read(w.seen[i].Header, w.target.URL+"/mcp", "token-2", body)
	}
	if len(w.as[0].headers) != 2 {
		t.Errorf("%d token requests", len(w.as[0].headers))
	}
}

// The token goes to the target's own origin and nowhere else.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.source(w.options())
	w.must(s, "one")
	other := newWorld(t)
	transport := &http.Transport{DisableKeepAlives: true}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, other.target.URL+"/mcp", strings.NewReader("x"))
	resp, err := s.Transport(transport).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := other.seen[0].Header.Get("Authorization"); got != "" {
		t.Errorf("Authorization: %s", got)
	}
}

// A person's ID token becomes an assertion for exactly this server and target, and that a token (SEP-990).
func TestEnterpriseManaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	idp := w.as[1]
	idp.answer = func(rw http.ResponseWriter, _ url.Values, n int) bool {
		kind := idJAG
		if n > 1 {
			kind = "urn:ietf:params:oauth:token-type:access_token"
		}
		fmt.Fprintf(rw, `{"access_token":"the-id-jag","issued_token_type":%q,"token_type":"N_A"}`, kind)
		return true
	}
	o := w.options()
	o.Scopes = identity.Scopes{"read"}
	o.Grant = EnterpriseManaged(Exchange{
		TokenEndpoint: idp.URL + "/token", Issuer: issuerOf(idp), Client: Client{ID: "at-idp", Secret: secret.New("idp-secret"), AuthMethod: oauthclient.AuthPost},
		IDToken: func(context.Context) (secret.Text, error) { return secret.New("the-id-token"), nil },
	})
	w.must(w.source(o), "one")
	want := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "requested_token_type": {idJAG}, "subject_token": {"the-id-token"},
		"subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"}, "audience": {w.as[0].URL}, "resource": {w.target.URL + "/mcp"},
		"scope": {"read"}, "client_id": {"at-idp"}, "client_secret": {"idp-secret"},
	}
	if got := idp.forms[0]; got.Encode() != want.Encode() {
		t.Errorf("exchange %v", got)
	}
	if f := w.as[0].forms[0]; f.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || f.Get("assertion") != "the-id-jag" || f.Has("subject_token") {
		t.Errorf("token request %v", f)
	}
	if _, _, err := w.post(w.source(o), "two"); err == nil || !strings.Contains(err.Error(), "it issued a") {
		t.Errorf("error %v", err)
	}
}
