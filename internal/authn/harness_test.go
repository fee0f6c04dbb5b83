package authn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

const (
	origin = "https://tools.acme.example"
	ownIss = identity.Issuer(origin)
)

// house is one installation: its clock, its own keys, one foreign provider, and what was revoked.
type house struct {
	mu      sync.Mutex // guards clock and rows
	clock   time.Time
	rows    []jose.StoredKey
	own     *jose.SigningKeys
	idp     *testkit.IDP
	foreign *jose.RemoteKeys
	revoked *revokedList
	auth    *authn.Authenticator
	log     bytes.Buffer
	nonces  *dpop.Nonces
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{clock: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), revoked: &revokedList{}, idp: testkit.NewIDP(t, "/oauth2/default")}
	ring := testkit.Keyring(t)
	var err error
	quiet := slog.New(slog.DiscardHandler)
	h.own, err = jose.NewSigningKeys(jose.SigningOptions{Store: h, Box: ring.Box("signing keys"), Now: h.now, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.own.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.foreign = h.remote(t, h.idp)
	h.nonces = dpop.NewNonces(ring, "endpoints", h.now)
	h.auth, err = authn.New(authn.Options{Revocations: h.revoked, Nonces: h.nonces, Now: h.now, Log: slog.New(slog.NewTextHandler(&h.log, nil)), CacheSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clock
}

func (h *house) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock = h.clock.Add(d)
}

func (h *house) Keys(context.Context) ([]jose.StoredKey, error) { return h.rows, nil }

func (h *house) AddKey(_ context.Context, k jose.StoredKey) error {
	h.rows = append(h.rows, k)
	return nil
}

func (h *house) UpdateKey(_ context.Context, k jose.StoredKey) error {
	for i := range h.rows {
		if h.rows[i].KID == k.KID {
			h.rows[i] = k
			return nil
		}
	}
	return errors.New("no such key")
}

func (h *house) remote(t testing.TB, idp *testkit.IDP) *jose.RemoteKeys {
	t.Helper()
	keys, err := jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: idp.DiscoveryURL(), Client: idp.Client(), Now: h.now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// ownRules is the rule set for the house's own tokens.
func (h *house) ownRules() *authn.Authorizer {
	return &authn.Authorizer{Name: "gatehouse", Own: true, Issuer: ownIss, Keys: h.own}
}

// foreignRules is the plainest rule set for the foreign provider, as changed by the caller.
func (h *house) foreignRules(change ...func(*authn.Authorizer)) *authn.Authorizer {
	z := &authn.Authorizer{Name: "okta", Keys: h.foreign, AllowedAudience: []string{"api://default"}}
	for _, c := range change {
		c(z)
	}
	return z
}

func (h *house) endpoint(t testing.TB, path string, authorizers ...*authn.Authorizer) *authn.Endpoint {
	t.Helper()
	e := &authn.Endpoint{Path: path, Resource: origin + path, Name: "Tools", Authorizers: authorizers, DefaultScopes: identity.Scopes{"mcp:tools"}}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	return e
}

// ownToken mints as the authorization server does; nil removes a claim.
func (h *house) ownToken(t testing.TB, typ string, extra map[string]any) string {
	t.Helper()
	now := h.now()
	claims := map[string]any{
		"iss": string(ownIss), "sub": "u-alice", "aud": []string{origin + "/mcp"}, "client_id": "c-1", "scope": "mcp:tools",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "j-1", "gid": "g-1",
	}
	for name, v := range extra {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	token, err := h.own.Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (h *house) foreignToken(t testing.TB, extra map[string]any) string {
	t.Helper()
	return h.idp.Mint(t, h.idp.Claims(h.now(), extra))
}

// ask sends a request through Authenticate and WriteRefusal. What the log would get must not hold a piece of a token.
func (h *house) ask(r *http.Request, e *authn.Endpoint) (*identity.Principal, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	p, err := h.auth.Authenticate(r, e)
	if err != nil {
		for part := range strings.FieldsFuncSeq(r.Header.Get("Authorization"), func(c rune) bool { return c == ' ' || c == '.' }) {
			if len(part) >= 16 && strings.Contains(err.Error(), part[:16]) {
				panic("a token in the log: " + err.Error())
			}
		}
		authn.WriteRefusal(w, r, e, err)
	}
	return p, w
}

func (h *house) present(token string, e *authn.Endpoint) (*identity.Principal, *httptest.ResponseRecorder) {
	return h.ask(bearer(token), e)
}

func bearer(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost/mcp", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func wantPrincipal(t testing.TB, p *identity.Principal, w *httptest.ResponseRecorder) {
	t.Helper()
	if p == nil {
		t.Fatalf("refused: %d %s", w.Code, w.Body)
	}
}

// wantRefusal checks status, reason, and that header and body say the same and nothing more than they should.
func wantRefusal(t testing.TB, w *httptest.ResponseRecorder, status int, code string, reason authn.Reason) map[string]string {
	t.Helper()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if w.Code != status || !strings.HasSuffix(body.Description, "("+string(reason)+")") {
		t.Errorf("got %d %s, want %d %s", w.Code, body.Description, status, reason)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", w.Header())
	}
	if status == http.StatusServiceUnavailable {
		if w.Header().Get("Retry-After") == "" || w.Header().Get("WWW-Authenticate") != "" {
			t.Errorf("headers %v", w.Header())
		}
		return nil
	}
	return wantChallenge(t, w, parseChallenge(t, w), code)
}

// wantChallenge checks that challenge and body say the same.
func wantChallenge(t testing.TB, w *httptest.ResponseRecorder, params map[string]string, code string) map[string]string {
	t.Helper()
	var body struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	if params["error"] != code || code != "" && (body.Error != code || params["error_description"] != body.Description) {
		t.Errorf("challenge %q and body %s, want error %q", w.Header().Get("WWW-Authenticate"), w.Body, code)
	}
	return params
}

// challengeParam is the expression that mcp-remote 0.15.1 reads a challenge with.
var challengeParam = regexp.MustCompile(`(\w+)=(?:"([^"]*)"|([\w-]+))`)

func parseChallenge(t testing.TB, w *httptest.ResponseRecorder) map[string]string {
	t.Helper()
	return parseChallengeOf(t, w, "Bearer ")
}

func parseChallengeOf(t testing.TB, w *httptest.ResponseRecorder, scheme string) map[string]string {
	t.Helper()
	headers := w.Header().Values("WWW-Authenticate")
	if len(headers) != 1 || !strings.HasPrefix(headers[0], scheme) {
		t.Fatalf("challenges %q, want one for %s", headers, scheme)
	}
	params := map[string]string{}
	rest := headers[0][len(scheme):]
	for _, m := range challengeParam.FindAllStringSubmatch(rest, -1) {
		if _, twice := params[m[1]]; twice {
			t.Errorf("%s twice in %q", m[1], headers[0])
		}
		params[m[1]] = m[2]
	}
	if left := strings.Trim(challengeParam.ReplaceAllString(rest, ""), ", "); left != "" || strings.Contains(rest, `\`) {
		t.Errorf("challenge %q does not read cleanly", headers[0])
	}
	return params
}

// revokedList is Revocations for tests.
type revokedList struct {
	mu     sync.Mutex // guards what follows
	stale  bool
	before map[any]time.Time // by PersonKey, GrantID or ClientID
}

func (l *revokedList) revoke(what any, before time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.before == nil {
		l.before = map[any]time.Time{}
	}
	l.before[what] = before
}

func (l *revokedList) setStale(stale bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = stale
}

func (l *revokedList) Revoked(key identity.PersonKey, grant identity.GrantID, client identity.ClientID, issued time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.before) == 0 {
		return false
	}
	return issued.Before(l.before[key]) || issued.Before(l.before[grant]) || issued.Before(l.before[client])
}

func (l *revokedList) Current(time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.stale
}
