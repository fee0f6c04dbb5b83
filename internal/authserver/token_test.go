package authserver

import (
	"bytes"
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
)

func TestTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	signedIn := h.clock.Now().Add(-time.Minute)
	tokens := h.tokens(authorizeParams(nil), nil)
	if tokens.TokenType != "Bearer" || tokens.ExpiresIn != 3590 || tokens.Scope != "openid profile email offline_access mcp:tools" {
		t.Errorf("response %+v", tokens)
	}
	header, access := h.claims(tokens.AccessToken)
	if header.Typ != "at+jwt" || header.Alg != "ES256" || header.Kid == "" {
		t.Errorf("header %+v", header)
	}
	now := float64(h.clock.Now().Unix())
	for name, want := range map[string]any{
		"iss": testIssuer, "sub": "alice-id", "aud": testResource, "client_id": publicClient, "scope": tokens.Scope, "iat": now, "exp": now + 3600,
		"auth_time": float64(signedIn.Unix()), "preferred_username": "alice", "name": "Alice Doe", "email": "alice@acme.example",
		"email_verified": true, "department": "R&D",
	} {
		if access[name] != want {
			t.Errorf("access token: %s is %v, want %v", name, access[name], want)
		}
	}
	if groups, _ := access.Strings("groups"); !slices.Equal(groups, []string{"eng"}) || access["jti"] == nil || access["gid"] == nil || access["nonce"] != nil {
		t.Errorf("access token %v", access)
	}
	header, id := h.claims(tokens.IDToken)
	if header.Typ != "JWT" {
		t.Errorf("ID token header %+v", header)
	}
	for name, want := range map[string]any{
		"iss": testIssuer, "sub": "alice-id", "aud": publicClient, "azp": publicClient, "nonce": "n-1", "sid": "session-a", "iat": now, "exp": now + 3600,
		"auth_time": float64(signedIn.Unix()), "name": "Alice Doe", "preferred_username": "alice", "email": "alice@acme.example", "department": "R&D",
	} {
		if id[name] != want {
			t.Errorf("ID token: %s is %v, want %v", name, id[name], want)
		}
	}
	if amr, _ := id.Strings("amr"); !slices.Equal(amr, []string{"pwd"}) || id["at_hash"] == nil || id["scope"] != nil {
		t.Errorf("ID token %v", id)
	}
}

func TestTokensByScopeAndClient(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(map[string]string{"scope": "mcp:tools", "nonce": ""}), nil)
	_, claims := h.claims(tokens.AccessToken)
	if tokens.IDToken != "" || claims["email"] != nil || claims["name"] != nil || claims["preferred_username"] != "alice" {
		t.Errorf("without openid: ID token %q, claims %v", tokens.IDToken, claims)
	}
	tokens = h.tokens(authorizeParams(map[string]string{"client_id": "walkthrough", "scope": "openid profile email offline_access"}), map[string]string{"client_id": "walkthrough"})
	_, claims = h.claims(tokens.AccessToken)
	_, id := h.claims(tokens.IDToken)
	now := float64(h.clock.Now().Unix())
	if claims["aud"] != "api://default" || claims["cid"] != "walkthrough" || claims["exp"] != now+600 || tokens.ExpiresIn != 590 || id["exp"] != now+1200 || id["cid"] != nil {
		t.Errorf("walkthrough: access %v, ID %v", claims, id)
	}
	snapshot := testSnapshot()
	snapshot.Clients[0].Scopes = identity.Scopes{"openid", "mcp:tools"}
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[string]string{"openid email mcp:admin mcp:tools": "openid mcp:tools", "mcp:admin": "mcp:tools", "": "mcp:tools"} {
		if tokens := h.tokens(authorizeParams(map[string]string{"scope": asked}), nil); tokens.Scope != want {
			t.Errorf("a client with a limit asks for %q and gets %q, want %q", asked, tokens.Scope, want)
		}
	}
	poster := authorizeParams(map[string]string{"client_id": "poster", "redirect_uri": webURI})
	tokens = h.tokens(poster, map[string]string{"client_id": "poster", "client_secret": "posted", "redirect_uri": webURI})
	if tokens.RefreshToken != "" {
		t.Error("a client without the refresh grant got a refresh token")
	}
	h.wantError(h.post("/token", refreshForm("x", map[string]string{"client_id": "poster", "client_secret": "posted"})), http.StatusBadRequest, "unauthorized_client")
}

func TestScopesOfAStaticClient(t *testing.T) {
	t.Parallel()
	resource := &Resource{DefaultScopes: identity.Scopes{"mcp:tools"}, Scopes: identity.Scopes{"mcp:tools", "mcp:admin"}}
	for asked, want := range map[string]string{
		"openid mcp:admin": "openid", "mcp:admin": "mcp:tools", "": "mcp:tools", "openid profile mcp:tools": "openid mcp:tools",
	} {
		got := (&settings{}).grantable(&Client{Scopes: identity.Scopes{"openid", "mcp:tools"}}, resource, asked)
		if got.String() != want {
			t.Errorf("%q: granted %q, want %q", asked, got, want)
		}
	}
}

func TestChecklist36_CodeOnceAndForAMinute(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	code := h.code(authorizeParams(nil))
	h.clock.Advance(codeLifetime)
	h.wantError(h.post("/token", codeForm(code, nil)), http.StatusBadRequest, "invalid_grant")

	code = h.code(authorizeParams(nil))
	h.clock.Advance(codeLifetime - time.Second)
	tokens := h.wantTokens(h.post("/token", codeForm(code, nil)))
	if w := h.userinfo(tokens.AccessToken); w.Code != http.StatusOK {
		t.Fatalf("userinfo: status %d", w.Code)
	}
	h.wantError(h.post("/token", codeForm(code, nil)), http.StatusBadRequest, "invalid_grant")
	if w := h.userinfo(tokens.AccessToken); w.Code != http.StatusUnauthorized {
		t.Errorf("the access token lives on after its code was used twice: status %d", w.Code)
	}
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant")
	_, claims := h.claims(tokens.AccessToken)
	grant, _ := claims.String("gid")
	if !h.store.Revoked(h.alice.Key, identity.GrantID(grant), publicClient, h.clock.Now()) {
		t.Error("the grant is not among the revoked at once")
	}
	if got := h.audit.of(audit.KindReuse); len(got) != 1 || string(got[0].Grant) != grant {
		t.Errorf("reuse events %v", got)
	}
}

func TestChecklist36_CodeRedeemedByManyAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	code := h.code(authorizeParams(nil))
	var mu sync.Mutex
	var good []string
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w := h.post("/token", codeForm(code, nil)); w.Code == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				good = append(good, h.wantTokens(w).AccessToken)
			}
		})
	}
	wg.Wait()
	if len(good) > 1 {
		t.Errorf("%d token responses for one code", len(good))
	}
	for _, token := range good {
		if w := h.userinfo(token); w.Code != http.StatusUnauthorized {
			t.Errorf("tokens live on after their code was used again: status %d", w.Code)
		}
	}
}

func TestChecklist37_MismatchBurnsTheCode(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, c := range map[string]struct {
		others map[string]string
		code   string
	}{
		"wrong verifier":     {map[string]string{"code_verifier": strings.Repeat("a", 43)}, "invalid_grant"},
		"no verifier":        {map[string]string{"code_verifier": ""}, "invalid_grant"},
		"challenge itself":   {map[string]string{"code_verifier": challenge()}, "invalid_grant"},
		"short verifier":     {map[string]string{"code_verifier": "x"}, "invalid_grant"},
		"other client":       {map[string]string{"client_id": "walkthrough"}, "invalid_grant"},
		"other redirect URI": {map[string]string{"redirect_uri": "http://localhost:3335/oauth/callback"}, "invalid_grant"},
		"other resource":     {map[string]string{"resource": otherURL}, "invalid_target"},
	} {
		code := h.code(authorizeParams(nil))
		h.wantError(h.post("/token", codeForm(code, c.others)), http.StatusBadRequest, c.code)
		h.wantError(h.post("/token", codeForm(code, nil)), http.StatusBadRequest, "invalid_grant")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	// OAuth 2.1 clients do not repeat the redirect URI, and resource may be left out or spelled otherwise.
	h.tokens(authorizeParams(nil), map[string]string{"redirect_uri": "", "resource": ""})
	h.tokens(authorizeParams(nil), map[string]string{"resource": testResource + "/"})
	// A client that does not authenticate burns nothing.
	params := authorizeParams(map[string]string{"client_id": "poster", "redirect_uri": webURI})
	others := map[string]string{"client_id": "poster", "redirect_uri": webURI, "client_secret": "wrong"}
	code := h.code(params)
	h.wantError(h.post("/token", codeForm(code, others)), http.StatusUnauthorized, "invalid_client")
	others["client_secret"] = "posted"
	h.wantTokens(h.post("/token", codeForm(code, others)))
}

func TestChecklist38_RefreshRotates(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	first := h.tokens(authorizeParams(nil), nil)
	h.clock.Advance(time.Hour)
	second := h.wantTokens(h.post("/token", refreshForm(first.RefreshToken, nil)))
	if second.RefreshToken == first.RefreshToken || second.Scope != first.Scope || second.AccessToken == first.AccessToken {
		t.Errorf("second response %+v", second)
	}
	_, before := h.claims(first.IDToken)
	_, after := h.claims(second.IDToken)
	if after["nonce"] != nil || after["auth_time"] != before["auth_time"] || after["sub"] != before["sub"] || after["aud"] != before["aud"] {
		t.Errorf("ID token after a refresh %v, before %v", after, before)
	}
	h.clock.Advance(refreshGrace - time.Second)
	if again := h.wantTokens(h.post("/token", refreshForm(first.RefreshToken, nil))); again.RefreshToken != second.RefreshToken {
		t.Error("the old token within the grace time gave another successor")
	}
	third := h.wantTokens(h.post("/token", refreshForm(second.RefreshToken, nil)))
	h.clock.Advance(refreshGrace + time.Second)
	h.wantError(h.post("/token", refreshForm(first.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant")
	h.wantError(h.post("/token", refreshForm(third.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant")
	if got := h.audit.of(audit.KindReuse); len(got) != 1 || got[0].Client != publicClient || got[0].Person != h.alice.Key {
		t.Errorf("reuse events %+v", got)
	}
	_, claims := h.claims(third.AccessToken)
	grant, _ := claims.String("gid")
	if !h.store.Revoked(h.alice.Key, identity.GrantID(grant), publicClient, h.clock.Now()) {
		t.Error("the family's access tokens live on")
	}
}

func TestChecklist38_OneSuccessorForAHundred(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	var mu sync.Mutex
	successors := map[string]int{}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			w := h.post("/token", refreshForm(tokens.RefreshToken, nil))
			mu.Lock()
			defer mu.Unlock()
			if w.Code != http.StatusOK {
				t.Errorf("status %d: %s", w.Code, w.Body)
				return
			}
			successors[h.wantTokens(w).RefreshToken]++
		})
	}
	wg.Wait()
	if len(successors) != 1 {
		t.Errorf("%d successors: want one for all", len(successors))
	}
	for token := range successors {
		h.wantTokens(h.post("/token", refreshForm(token, nil)))
	}
}

func TestChecklist39_RefreshCannotWiden(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.signIn.change(func(f *fakeSignIn) {})
	tokens := h.tokens(authorizeParams(map[string]string{"scope": "openid mcp:tools"}), nil)
	refresh := func(others map[string]string) *httptest.ResponseRecorder {
		return h.post("/token", refreshForm(tokens.RefreshToken, others))
	}
	for _, scope := range []string{"openid mcp:tools mcp:admin", "email", "unknown"} {
		h.wantError(refresh(map[string]string{"scope": scope}), http.StatusBadRequest, "invalid_scope")
	}
	for _, resource := range []string{otherURL, testResource + "/x", "x"} {
		h.wantError(refresh(map[string]string{"resource": resource}), http.StatusBadRequest, "invalid_target")
	}
	narrow := h.wantTokens(refresh(map[string]string{"scope": "mcp:tools", "resource": testResource + "/"}))
	if _, claims := h.claims(narrow.AccessToken); claims["scope"] != "mcp:tools" || narrow.Scope != "mcp:tools" || narrow.IDToken != "" {
		t.Errorf("narrower: %+v", narrow)
	}
	tokens = narrow
	if wide := h.wantTokens(refresh(map[string]string{"scope": "openid mcp:tools"})); wide.Scope != "openid mcp:tools" {
		t.Errorf("back to what was granted: %q", wide.Scope)
	}
}

func TestRefreshFollowsTheScopesOfAStaticClient(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(map[string]string{"scope": "openid mcp:tools mcp:admin"}), nil)
	snapshot := testSnapshot()
	snapshot.Clients[0].Scopes = identity.Scopes{"openid", "mcp:tools"}
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, map[string]string{"scope": "mcp:admin"})), http.StatusBadRequest, "invalid_scope")
	if got := h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, nil))); got.Scope != "openid mcp:tools" {
		t.Errorf("scope %q after an administrator narrowed the client", got.Scope)
	}
}

func TestChecklist40_DeadRefreshTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	dead := func(name, token, client string) {
		t.Helper()
		h.wantError(h.post("/token", refreshForm(token, map[string]string{"client_id": client})), http.StatusBadRequest, "invalid_grant")
		if t.Failed() {
			t.Fatal(name)
		}
	}
	dead("unknown", "unknown", publicClient)
	dead("not text", "\x00\xff", publicClient)
	dead("another's", h.tokens(authorizeParams(nil), nil).RefreshToken, "walkthrough")

	walkthrough := map[string]string{"client_id": "walkthrough"}
	params := authorizeParams(walkthrough)
	idle := h.tokens(params, walkthrough)
	h.clock.Advance(24 * time.Hour)
	dead("idle", idle.RefreshToken, "walkthrough")

	used := h.tokens(authorizeParams(map[string]string{"client_id": "walkthrough", "max_age": ""}), walkthrough)
	for range 2 {
		h.clock.Advance(20 * time.Hour)
		used = h.wantTokens(h.post("/token", refreshForm(used.RefreshToken, walkthrough)))
	}
	h.clock.Advance(8 * time.Hour)
	dead("absolute", used.RefreshToken, "walkthrough")

	revoked := h.tokens(authorizeParams(nil), nil)
	if err := h.store.RevokePerson(t.Context(), h.alice.Key, "test"); err != nil {
		t.Fatal(err)
	}
	dead("revoked", revoked.RefreshToken, publicClient)
	h.wantError(h.post("/token", url.Values{"grant_type": {GrantRefresh}, "client_id": {publicClient}}), http.StatusBadRequest, "invalid_request")
}

func TestChecklist41_BasicCredentials(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	params := authorizeParams(map[string]string{"client_id": webClient, "redirect_uri": webURI})
	for name, credentials := range map[string][2]string{"raw": {webClient, webSecret}, "form-encoded": {url.QueryEscape(webClient), url.QueryEscape(webSecret)}} {
		r := httptest.NewRequest(http.MethodPost, testIssuer+"/token", strings.NewReader(codeForm(h.code(params), map[string]string{"client_id": "", "redirect_uri": webURI}).Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(credentials[0], credentials[1])
		w := httptest.NewRecorder()
		h.mux.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", name, w.Code, w.Body)
		}
	}
	both := codeForm("x", map[string]string{"client_id": webClient, "client_secret": webSecret})
	w := h.do(request{method: http.MethodPost, path: "/token", form: both, header: map[string]string{"Authorization": "Basic d2ViLWFwcDp4"}})
	h.wantError(w, http.StatusBadRequest, "invalid_request")
	w = h.do(request{method: http.MethodPost, path: "/token", form: both, header: map[string]string{"Authorization": "Basic !"}})
	h.wantError(w, http.StatusBadRequest, "invalid_request")
	w = h.do(request{method: http.MethodPost, path: "/token", form: codeForm("x", nil), header: map[string]string{"Authorization": "Basic !"}})
	h.wantError(w, http.StatusUnauthorized, "invalid_client")
	// mcp-remote sends the --header values of the target here too; they are not credentials of the client.
	w = h.do(request{method: http.MethodPost, path: "/token", form: codeForm("x", nil), header: map[string]string{"Authorization": "Bearer something"}})
	h.wantError(w, http.StatusBadRequest, "invalid_grant")
}

func TestChecklist42_TokenErrors(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	good := codeForm("x", nil)
	for name, c := range map[string]struct {
		q      request
		status int
		code   string
	}{
		"GET":                  {request{method: http.MethodGet}, http.StatusMethodNotAllowed, "invalid_request"},
		"JSON":                 {request{method: http.MethodPost, body: `{}`, header: map[string]string{"Content-Type": "application/json"}}, http.StatusUnsupportedMediaType, "invalid_request"},
		"no type":              {request{method: http.MethodPost, body: good.Encode()}, http.StatusUnsupportedMediaType, "invalid_request"},
		"broken form":          {request{method: http.MethodPost, body: "a=%zz", header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, http.StatusBadRequest, "invalid_request"},
		"huge form":            {request{method: http.MethodPost, form: with(good, "x", strings.Repeat("x", maxForm))}, http.StatusRequestEntityTooLarge, "invalid_request"},
		"repeated":             {request{method: http.MethodPost, form: with(good, "code", "a", "b")}, http.StatusBadRequest, "invalid_request"},
		"repeated client":      {request{method: http.MethodPost, form: with(good, "client_id", publicClient, publicClient)}, http.StatusBadRequest, "invalid_request"},
		"parameters in query":  {request{method: http.MethodPost, query: good, form: url.Values{}}, http.StatusUnauthorized, "invalid_client"},
		"no grant type":        {request{method: http.MethodPost, form: with(good, "grant_type")}, http.StatusBadRequest, "invalid_request"},
		"unknown grant type":   {request{method: http.MethodPost, form: with(good, "grant_type", "password")}, http.StatusBadRequest, "unsupported_grant_type"},
		"no code":              {request{method: http.MethodPost, form: with(good, "code", "")}, http.StatusBadRequest, "invalid_request"},
		"unknown code":         {request{method: http.MethodPost, form: good}, http.StatusBadRequest, "invalid_grant"},
		"unknown client":       {request{method: http.MethodPost, form: with(good, "client_id", "nobody")}, http.StatusUnauthorized, "invalid_client"},
		"client with NUL":      {request{method: http.MethodPost, form: with(good, "client_id", "a\x00")}, http.StatusUnauthorized, "invalid_client"},
		"client not UTF-8":     {request{method: http.MethodPost, form: with(good, "client_id", "\xff")}, http.StatusUnauthorized, "invalid_client"},
		"code with odd bytes":  {request{method: http.MethodPost, form: with(good, "code", "\x00\xff")}, http.StatusBadRequest, "invalid_grant"},
		"code too many params": {request{method: http.MethodPost, form: with(good, "extra", "ignored")}, http.StatusBadRequest, "invalid_grant"},
	} {
		c.q.path = "/token"
		h.wantError(h.do(c.q), c.status, c.code)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	w := h.post("/token", codeForm(h.code(authorizeParams(nil)), nil))
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("good answer: headers %v", w.Header())
	}
}

func TestChecklist44_PersonsAsTheyAreNow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	h.signIn.change(func(f *fakeSignIn) {
		lowered := f.persons[h.alice.Key]
		lowered.Groups, lowered.Claims = []string{"guest"}, identity.Claims{"department": "none"}
		f.persons[h.alice.Key] = lowered
	})
	tokens = h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, nil)))
	_, claims := h.claims(tokens.AccessToken)
	if groups, _ := claims.Strings("groups"); !slices.Equal(groups, []string{"guest"}) || claims["department"] != "none" {
		t.Errorf("claims after a refresh %v", claims)
	}
	// A back end that does not answer costs nobody their refresh token.
	h.signIn.change(func(f *fakeSignIn) { f.down = errors.New("the directory is away") })
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusServiceUnavailable, "temporarily_unavailable")
	h.clock.Advance(10 * time.Minute)
	h.signIn.change(func(f *fakeSignIn) { f.down = nil })
	tokens = h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, nil)))

	code := h.code(authorizeParams(nil))
	h.signIn.change(func(f *fakeSignIn) { delete(f.persons, h.alice.Key) })
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant")
	h.wantError(h.post("/token", codeForm(code, nil)), http.StatusBadRequest, "invalid_grant")
	if w := h.userinfo(tokens.AccessToken); w.Code != http.StatusUnauthorized {
		t.Errorf("userinfo: status %d", w.Code)
	}
	h.signIn.change(func(f *fakeSignIn) { f.persons[h.alice.Key] = h.alice })
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant") // stays dead
}

func TestEndpointRemoved(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	snapshot := testSnapshot()
	snapshot.Resources[0].URL = otherURL
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusBadRequest, "invalid_grant")
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	tokens := h.tokens(authorizeParams(nil), nil)
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, nil)), http.StatusServiceUnavailable, "temporarily_unavailable")
	w := h.do(request{path: "/authorize", query: authorizeParams(nil)})
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Something went wrong") || w.Header().Get("Retry-After") == "" {
		t.Errorf("authorize: status %d: %s", w.Code, w.Body)
	}
}

func TestAuditFailureStopsTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	code := h.code(authorizeParams(nil))
	h.audit.err = audit.ErrUnavailable
	h.wantError(h.post("/token", codeForm(code, nil)), http.StatusServiceUnavailable, "temporarily_unavailable")
}

// The store's own test shows that it keeps no secret besides what it is given; here it is given hashes.
func TestChecklist62_TheStoreIsGivenHashes(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	code := h.code(authorizeParams(map[string]string{"scope": "openid offline_access"}))
	first := h.wantTokens(h.post("/token", codeForm(code, nil)))
	second := h.wantTokens(h.post("/token", refreshForm(first.RefreshToken, nil)))
	stored := h.stored()
	if !bytes.Contains(stored, []byte(publicClient)) {
		t.Fatal("the copy lacks what must be in it")
	}
	for name, secret := range map[string]string{
		"code": code, "first refresh token": first.RefreshToken, "second refresh token": second.RefreshToken,
		"access token": first.AccessToken, "ID token": first.IDToken, "verifier": verifier,
	} {
		if bytes.Contains(stored, []byte(secret)) {
			t.Errorf("the %s is in the database", name)
		}
	}
}
