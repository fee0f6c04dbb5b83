package authserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/seal"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

const (
	testIssuer   = "https://gate.example"
	testResource = "https://gate.example/mcp"
	otherURL     = "https://gate.example/finance/mcp"
	webClient    = "web-app"
	webSecret    = "s3cret/with+signs:and%"
	publicClient = "desktop"
	desktopURI   = "http://localhost:3334/oauth/callback"
	webURI       = "https://app.example/callback"
	verifier     = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

func challenge() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// fakeSignIn is a sign-in back end in memory. The browser session is the value of the cookie "session".
type fakeSignIn struct {
	mu       sync.Mutex // guards all below
	sessions map[string]*identity.SignedIn
	persons  map[identity.PersonKey]identity.Person
	down     error
	starts   []identity.SignInStart

	elsewhere string // what End returns
}

func (f *fakeSignIn) Current(r *http.Request) (*identity.SignedIn, bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return nil, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	who, ok := f.sessions[cookie.Value]
	return who, ok
}

func (f *fakeSignIn) Start(w http.ResponseWriter, _ *http.Request, o identity.SignInStart) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.starts = append(f.starts, o)
	w.Header().Set("Location", "/signin")
	w.WriteHeader(http.StatusSeeOther)
}

func (f *fakeSignIn) Person(_ context.Context, key identity.PersonKey) (identity.Person, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	person, ok := f.persons[key]
	if f.down != nil {
		return identity.Person{}, f.down
	}
	if !ok {
		return identity.Person{}, identity.ErrGone
	}
	return person, nil
}

func (f *fakeSignIn) End(_ http.ResponseWriter, r *http.Request) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cookie, err := r.Cookie("session"); err == nil {
		delete(f.sessions, cookie.Value)
	}
	return f.elsewhere, nil
}

func (f *fakeSignIn) change(change func(*fakeSignIn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// keyStore keeps signing keys in memory.
type keyStore struct {
	mu   sync.Mutex // guards keys
	keys []jose.StoredKey
}

func (k *keyStore) Keys(context.Context) ([]jose.StoredKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]jose.StoredKey(nil), k.keys...), nil
}

func (k *keyStore) AddKey(_ context.Context, key jose.StoredKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append(k.keys, key)
	return nil
}

func (k *keyStore) UpdateKey(context.Context, jose.StoredKey) error { return nil }

// events is an audit log that tests read.
type events struct {
	mu   sync.Mutex // guards all below
	list []audit.Event
	err  error
}

func (e *events) Record(_ context.Context, event audit.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.list = append(e.list, event)
	}
	return e.err
}

func (e *events) of(kind audit.Kind) []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []audit.Event
	for _, event := range e.list {
		if event.Kind == kind {
			out = append(out, event)
		}
	}
	return out
}

// harness is a server on a real store, with a person who is signed in.
type harness struct {
	t      *testing.T
	server *Server
	mux    http.Handler
	clock  *testkit.Clock
	signIn *fakeSignIn
	audit  *events
	store  *store.Store
	log    *bytes.Buffer
	alice  identity.Person
}

func testSnapshot() Snapshot {
	return Snapshot{
		Clients: []Client{
			{ID: publicClient, Name: "Desktop", RedirectURIs: []string{desktopURI}, PostLogoutRedirectURIs: []string{"https://app.example/bye"}},
			{ID: webClient, Name: "Web App", RedirectURIs: []string{webURI}, AuthMethod: AuthBasic, Secret: secret.New(webSecret)},
			{ID: "poster", RedirectURIs: []string{webURI}, AuthMethod: AuthPost, Secret: secret.New("posted"), GrantTypes: []string{GrantCode}},
			{ID: "first-party", Name: "Portal", RedirectURIs: []string{webURI}, SkipConsent: true},
			{ID: "walkthrough", RedirectURIs: []string{desktopURI}, Audience: "api://default", AccessTokenClaims: map[string]any{"cid": "walkthrough"},
				Lifetimes: Lifetimes{Access: 10 * time.Minute, ID: 20 * time.Minute, Refresh: 48 * time.Hour, RefreshIdle: 24 * time.Hour}},
		},
		Resources: []Resource{{URL: testResource, Name: "Tools", DefaultScopes: identity.Scopes{"mcp:tools"}, Scopes: identity.Scopes{"mcp:admin"}}},
	}
}

func newHarness(t *testing.T, adjust ...func(*Options)) *harness {
	t.Helper()
	h := &harness{t: t, clock: testkit.NewClock(time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)), audit: &events{}, log: &bytes.Buffer{}}
	keys := testkit.Keyring(t, 7)
	var err error
	log := slog.New(slog.NewTextHandler(&lockedWriter{w: h.log}, nil))
	h.store, err = store.Open(t.Context(), store.Options{DSN: filepath.Join(t.TempDir(), "test.db"), Keys: keys, Now: h.clock.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.store.Close() })
	signing, err := jose.NewSigningKeys(jose.SigningOptions{Store: &keyStore{}, Box: keys.Box("signing keys"), Now: h.clock.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := signing.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.alice = identity.Person{
		Key: identity.PersonKey{Issuer: testIssuer, Subject: "alice-id"}, Username: "alice", Name: "Alice Doe", Email: "alice@acme.example",
		EmailVerified: true, Groups: []string{"eng"}, Claims: identity.Claims{"department": "R&D", "sub": "evil", "scope": "evil", "groups": []string{"evil"}},
	}
	h.signIn = &fakeSignIn{
		sessions: map[string]*identity.SignedIn{"a": {Person: h.alice, SessionID: "session-a", AuthTime: h.clock.Now().Add(-time.Minute), Methods: []string{"pwd"}}},
		persons:  map[identity.PersonKey]identity.Person{h.alice.Key: h.alice},
	}
	o := Options{
		Issuer: testIssuer, Store: h.store, Signing: signing, SignIn: h.signIn, Keys: keys, Snapshot: testSnapshot(),
		Audit: h.audit, Log: log, Now: h.clock.Now,
	}
	for _, a := range adjust {
		a(&o)
	}
	if h.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	h.mount()
	return h
}

// mount builds the mux as app does.
func (h *harness) mount() {
	mux := http.NewServeMux()
	for _, route := range append(h.server.APIRoutes(), h.server.BrowserRoutes()...) {
		mux.Handle(route.Pattern, route.Handler)
	}
	h.mux = web.WithRequestID(mux)
}

type lockedWriter struct {
	mu sync.Mutex // guards w
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// request is one request of a test; the zero value is GET without a cookie.
type request struct {
	method, path string
	query, form  url.Values
	header       map[string]string
	session      string
	body         string
	certificate  *x509.Certificate // of the client
}

func (h *harness) do(q request) *httptest.ResponseRecorder {
	h.t.Helper()
	if q.method == "" {
		q.method = http.MethodGet
	}
	target := q.path
	if q.query != nil {
		target += "?" + q.query.Encode()
	}
	body := q.body
	if q.form != nil {
		body = q.form.Encode()
	}
	r := httptest.NewRequest(q.method, testIssuer+target, strings.NewReader(body))
	if q.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range q.header {
		r.Header.Set(name, value)
	}
	if q.session != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: q.session})
	}
	if q.certificate != nil {
		r.TLS.PeerCertificates = []*x509.Certificate{q.certificate}
	}
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	return w
}

func (h *harness) post(path string, form url.Values) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodPost, path: path, form: form})
}

// authorizeParams are those of a good request of the public client; others replace or, when empty, remove.
func authorizeParams(others map[string]string) url.Values {
	v := url.Values{
		"response_type": {"code"}, "client_id": {publicClient}, "redirect_uri": {desktopURI}, "state": {"st"},
		"scope": {"openid profile email offline_access mcp:tools"}, "code_challenge": {challenge()}, "code_challenge_method": {"S256"},
		"resource": {testResource}, "nonce": {"n-1"},
	}
	for name, value := range others {
		if v.Set(name, value); value == "" {
			v.Del(name)
		}
	}
	return v
}

// consentURL sends an authorization request and returns where it leads, which must be the consent page.
func (h *harness) consentURL(params url.Values) string {
	h.t.Helper()
	w := h.do(request{path: "/authorize", query: params})
	location := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(location, "/consent?tx=") {
		h.t.Fatalf("authorize: status %d, location %q, want the consent page; body %s", w.Code, location, w.Body)
	}
	return location
}

var hiddenField = regexp.MustCompile(`name="(tx|token|client_id|post_logout_redirect_uri|state)" value="([^"]*)"`)

func hiddenFields(body string) url.Values {
	out := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
		out.Set(m[1], m[2])
	}
	return out
}

// consentForm opens the consent page and returns its form, filled in with the decision.
func (h *harness) consentForm(params url.Values, decision string) url.Values {
	h.t.Helper()
	w := h.do(request{path: h.consentURL(params), session: "a"})
	if w.Code != http.StatusOK {
		h.t.Fatalf("consent page: status %d: %s", w.Code, w.Body)
	}
	form := hiddenFields(w.Body.String())
	form.Set("decision", decision)
	return form
}

func (h *harness) decide(form url.Values) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodPost, path: "/consent", form: form, session: "a", header: map[string]string{"Sec-Fetch-Site": "same-origin"}})
}

// callback is the query that a redirect response carries to the client.
func (h *harness) callback(w *httptest.ResponseRecorder, redirectURI string) url.Values {
	h.t.Helper()
	location := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(location, redirectURI) {
		h.t.Fatalf("status %d, location %q, want a redirect to %s; body %s", w.Code, location, redirectURI, w.Body)
	}
	u, err := url.Parse(location)
	if err != nil {
		h.t.Fatal(err)
	}
	return u.Query()
}

// code signs in, consents and returns the code.
func (h *harness) code(params url.Values) string {
	h.t.Helper()
	got := h.callback(h.decide(h.consentForm(params, "allow")), params.Get("redirect_uri"))
	if got.Get("code") == "" {
		h.t.Fatalf("no code in %v", got)
	}
	return got.Get("code")
}

func codeForm(code string, others map[string]string) url.Values {
	v := url.Values{"grant_type": {GrantCode}, "client_id": {publicClient}, "code": {code}, "code_verifier": {verifier}, "redirect_uri": {desktopURI}, "resource": {testResource}}
	for name, value := range others {
		if v.Set(name, value); value == "" {
			v.Del(name)
		}
	}
	return v
}

// tokens signs in and redeems the code.
func (h *harness) tokens(params url.Values, others map[string]string) *tokenResponse {
	h.t.Helper()
	return h.wantTokens(h.post("/token", codeForm(h.code(params), others)))
}

func (h *harness) wantTokens(w *httptest.ResponseRecorder) *tokenResponse {
	h.t.Helper()
	if w.Code != http.StatusOK {
		h.t.Fatalf("token: status %d: %s", w.Code, w.Body)
	}
	var out tokenResponse
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		h.t.Fatal(err)
	}
	return &out
}

func refreshForm(token string, others map[string]string) url.Values {
	v := url.Values{"grant_type": {GrantRefresh}, "client_id": {publicClient}, "refresh_token": {token}}
	for name, value := range others {
		v.Set(name, value)
	}
	return v
}

// wantError checks a JSON error and what goes with every one of them.
func (h *harness) wantError(w *httptest.ResponseRecorder, status int, code string) {
	h.t.Helper()
	var body struct{ Error string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		h.t.Errorf("the error is not JSON: %v: %s", err, w.Body)
	}
	if w.Code != status || body.Error != code {
		h.t.Errorf("status %d, error %q, want %d %q: %s", w.Code, body.Error, status, code, w.Body)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		h.t.Errorf("headers %v, want JSON that is not stored", w.Header())
	}
}

// claims verifies a token against the published keys and returns header and claims.
func (h *harness) claims(token string) (jose.Header, identity.Claims) {
	h.t.Helper()
	keys, err := jose.ParseKeySet(h.do(request{path: "/.well-known/jwks.json"}).Body.Bytes())
	if err != nil {
		h.t.Fatal(err)
	}
	header, claims, err := jose.Verify(h.t.Context(), token, keys, []string{"ES256"})
	if err != nil {
		h.t.Fatal(err)
	}
	return header, claims
}

func with(v url.Values, name string, values ...string) url.Values {
	out := maps.Clone(v)
	out[name] = values
	return out
}

func otherKeys(t *testing.T) *seal.Keyring {
	t.Helper()
	return testkit.Keyring(t, 8)
}

// rotatedKeys has a new master key and still knows the one of the other tests.
func rotatedKeys(t *testing.T) *seal.Keyring {
	t.Helper()
	return testkit.Keyring(t, 9, 7)
}

func (h *harness) userinfo(token string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{path: "/userinfo", header: map[string]string{"Authorization": "Bearer " + token}})
}

// stored returns what is in the database.
func (h *harness) stored() []byte {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "copy.db")
	if err := h.store.Backup(h.t.Context(), path); err != nil {
		h.t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	return raw
}
