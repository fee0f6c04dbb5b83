package authserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

// grantTo gives a documented client a grant, without the person's pages.
func (d *docHarness) grantTo(client string) (refresh string) {
	d.t.Helper()
	code := newToken()
	err := d.store.SaveCode(d.t.Context(), store.Code{
		Hash: hash(code), Grant: identity.GrantID(newToken()), Person: d.alice.Key, Client: identity.ClientID(client), RedirectURI: docURI,
		Challenge: challenge(), Resource: testResource, Scopes: identity.Scopes{"mcp:tools"}, AuthTime: d.clock.Now(),
		Expires: d.clock.Now().Add(time.Minute), SessionID: "session-a",
	})
	if err != nil {
		d.t.Fatal(err)
	}
	mine := map[string]string{"client_id": client, "redirect_uri": docURI}
	return d.wantTokens(d.post("/token", codeForm(code, mine))).RefreshToken
}

func (d *docHarness) stranger(i int) *httptest.ResponseRecorder {
	d.t.Helper()
	return d.post("/token", refreshForm("none", map[string]string{"client_id": fmt.Sprintf("https://client.example/%d", i)}))
}

// Programs that show nothing of ours cannot make us fetch more than a few documents a minute, and they do not starve
// clients that hold our tokens.
func TestChecklist13_StrangersAtTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t, func(o *Options) { o.Limits.APIDocuments, o.Limits.APIDocumentsPerAddress = 3, 3 })
	refresh := d.grantTo(docClient)
	before := len(d.sites.fetched())
	for i := range 100 {
		d.publish(fmt.Sprintf("https://client.example/%d", i), nil)
		w := d.stranger(i)
		if want := map[bool]int{true: http.StatusBadRequest, false: http.StatusTooManyRequests}[i < 3]; w.Code != want {
			t.Fatalf("stranger %d: status %d: %s", i, w.Code, w.Body)
		}
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if got := len(d.sites.fetched()) - before; got != 3 {
		t.Errorf("strangers caused %d fetches", got)
	}
	d.clock.Advance(2 * time.Hour) // the client's document is old by now
	for i := range 4 {
		d.stranger(1000 + i)
	}
	mine := map[string]string{"client_id": docClient}
	tokens := d.wantTokens(d.post("/token", refreshForm(refresh, mine)))

	// Another copy, which knows nothing yet: what the request carries speaks for it.
	fresh := newDocHarness(t, func(o *Options) { o.Limits.APIDocuments, o.Limits.APIDocumentsPerAddress = 1, 1; o.Store = d.store })
	fresh.stranger(1)
	if w := fresh.stranger(2); w.Code != http.StatusTooManyRequests {
		t.Fatalf("status %d", w.Code)
	}
	fresh.clock.Advance(2 * time.Hour)
	fresh.stranger(3)
	w := fresh.post("/token", refreshForm(tokens.RefreshToken, mine))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	// Somebody else's token speaks for nobody.
	other := fresh.post("/token", refreshForm(tokens.RefreshToken, map[string]string{"client_id": "https://client.example/other"}))
	if other.Code != http.StatusTooManyRequests {
		t.Errorf("a token of another client: status %d: %s", other.Code, other.Body)
	}
}

func TestChecklist13_WhatSpeaksForAClient(t *testing.T) {
	t.Parallel()
	for name, form := range map[string]func(d *docHarness) url.Values{
		"code": func(d *docHarness) url.Values {
			code := newToken()
			if err := d.store.SaveCode(d.t.Context(), store.Code{Hash: hash(code), Grant: "g", Person: d.alice.Key, Client: docClient, RedirectURI: docURI,
				Challenge: challenge(), Expires: d.clock.Now().Add(time.Minute)}); err != nil {
				d.t.Fatal(err)
			}
			return codeForm(code, map[string]string{"client_id": docClient, "redirect_uri": docURI, "resource": ""})
		},
		"revocation": func(d *docHarness) url.Values {
			return url.Values{"client_id": {docClient}, "token": {d.grantTo(docClient)}}
		},
	} {
		d := newDocHarness(t)
		values := form(d)
		poor := newDocHarness(t, func(o *Options) { o.Store = d.store; o.Limits.APIDocuments, o.Limits.APIDocumentsPerAddress = 1, 1 })
		poor.stranger(1)
		if w := poor.stranger(2); w.Code != http.StatusTooManyRequests {
			t.Fatalf("%s: the budget is not spent: %d", name, w.Code)
		}
		path := "/token"
		if values.Has("token") {
			path = "/revoke"
		}
		if w := poor.post(path, values); w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", name, w.Code, w.Body)
		}
	}
}

// What was fetched for a person who was asked about a client is fetched again for it, whoever else comes.
func TestChecklist13_ClientsThatPeopleKnow(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t, func(o *Options) { o.Limits.APIDocuments, o.Limits.APIDocumentsPerAddress = 1, 1 })
	d.publish(docClient, map[string]any{"grant_types": []string{GrantDevice, GrantCode}})
	d.authorize(ask(nil), "a")
	d.clock.Advance(25 * time.Hour)
	for i := range 3 {
		d.stranger(i)
	}
	if w := d.post("/device_authorization", url.Values{"client_id": {docClient}}); w.Code != http.StatusOK {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// A person can open so many applications a minute; who has opened more waits, and nobody else does.
func TestChecklist13_OnePersonsBudget(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t, func(o *Options) { o.Limits.DocumentsPerPerson = 3 })
	d.signIn.change(func(f *fakeSignIn) {
		bob := d.alice
		bob.Key.Subject, bob.Username = "bob-id", "bob"
		f.sessions["b"] = &identity.SignedIn{Person: bob, SessionID: "session-b", AuthTime: d.clock.Now()}
	})
	open := func(i int, session string) *httptest.ResponseRecorder {
		t.Helper()
		at := fmt.Sprintf("https://client.example/%d", i)
		d.publish(at, nil)
		return d.authorize(ask(map[string]string{"client_id": at}), session)
	}
	for i := range 5 {
		w := open(i, "a")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusTooManyRequests}[i < 3]; w.Code != want || w.Header().Get("Location") != "" {
			t.Errorf("%d: status %d, location %q", i, w.Code, w.Header().Get("Location"))
		}
	}
	if w := open(0, "a"); w.Code != http.StatusOK {
		t.Errorf("what was read before: status %d", w.Code)
	}
	if w := open(4, "b"); w.Code != http.StatusOK {
		t.Errorf("another person: status %d", w.Code)
	}
	d.clock.Advance(20 * time.Second)
	if w := open(5, "a"); w.Code != http.StatusOK {
		t.Errorf("after a while: status %d", w.Code)
	}
}

// While a client's host is away, tokens are refreshed on what it said within a day. A document that is gone ends that.
func TestDocumentHostAway(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	refresh := d.grantTo(docClient)
	mine := map[string]string{"client_id": docClient}
	d.sites.leave(true)
	d.clock.Advance(20 * time.Hour)
	refresh = d.wantTokens(d.post("/token", refreshForm(refresh, mine))).RefreshToken
	d.refusedWithPage("a new sign-in", d.authorize(ask(nil), "a"), http.StatusServiceUnavailable, "could not be reached")
	d.clock.Advance(5 * time.Hour)
	w := d.post("/token", refreshForm(refresh, mine))
	d.wantError(w, http.StatusServiceUnavailable, codeUnavailable) // come again: not a reason to forget the token
	if w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "192.0.2.7") {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	d.sites.leave(false)
	d.clock.Advance(time.Minute)
	refresh = d.wantTokens(d.post("/token", refreshForm(refresh, mine))).RefreshToken
	d.sites.mu.Lock()
	delete(d.sites.pages, docClient)
	d.sites.mu.Unlock()
	d.clock.Advance(2 * time.Hour)
	d.wantError(d.post("/token", refreshForm(refresh, mine)), http.StatusUnauthorized, codeInvalidClient)
	if strings.Contains(d.log.String(), "authorization server request failed") {
		t.Errorf("the trouble of another host is logged as ours:\n%s", d.log)
	}
}

// docSigner publishes a document with keys and returns who signs with the first.
func docSigner(t *testing.T, d *docHarness, inline bool) signer {
	t.Helper()
	key := testkit.NewIDPKey(t, "RS256")
	changes := map[string]any{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"}}
	if inline {
		changes["jwks"] = map[string]any{"keys": []any{key.JWK()}}
	} else {
		changes["token_endpoint_auth_signing_alg"], changes["jwks_uri"] = "RS256", "https://keys.example/jwks.json"
		d.sites.serve("https://keys.example/jwks.json", map[string]any{"keys": []any{key.JWK()}})
	}
	d.publish(docClient, changes)
	return signer{d.harness, docClient, key}
}

func TestChecklist14_DocumentedClientSigns(t *testing.T) {
	t.Parallel()
	for _, inline := range []bool{true, false} {
		d := newDocHarness(t)
		s := docSigner(t, d, inline)
		form := hiddenFields(d.authorize(ask(nil), "a").Body.String())
		form.Set("decision", "allow")
		redeem := codeForm(d.callback(d.decide(form), docURI).Get("code"), map[string]string{"client_id": docClient, "redirect_uri": docURI})
		bare := d.post("/token", redeem)
		d.wantError(bare, http.StatusUnauthorized, codeInvalidClient) // PKCE alone does not do for who has keys
		redeem.Set("client_assertion_type", assertionType)
		redeem.Set("client_assertion", s.assertion(nil, nil))
		tokens := d.wantTokens(d.post("/token", redeem))

		stranger := signer{d.harness, docClient, testkit.NewIDPKey(t, "RS256")}
		d.wantError(stranger.send(stranger.assertion(nil, nil)), http.StatusUnauthorized, codeInvalidClient)
		refresh := refreshForm(tokens.RefreshToken, map[string]string{"client_id": docClient, "client_assertion_type": assertionType, "client_assertion": s.assertion(nil, nil)})
		d.wantTokens(d.post("/token", refresh))
	}
}

// The client rotates its keys: the new one works as soon as it signs, and forged key ids cause a fetch in half a minute.
func TestChecklist14_KeysOfADocumentRotate(t *testing.T) {
	t.Parallel()
	const keysAt = "https://keys.example/jwks.json"
	d := newDocHarness(t)
	s := docSigner(t, d, false)
	d.authorize(ask(nil), "a")
	d.wantError(s.send(s.assertion(nil, nil)), http.StatusBadRequest, codeInvalidGrant)
	d.wantFetches(docClient, keysAt)

	next := signer{d.harness, docClient, testkit.NewIDPKey(t, "RS256")}
	d.sites.serve(keysAt, map[string]any{"keys": []any{next.key.JWK()}})
	d.clock.Advance(31 * time.Second)
	d.wantError(next.send(next.assertion(nil, nil)), http.StatusBadRequest, codeInvalidGrant)
	d.wantError(s.send(s.assertion(nil, nil)), http.StatusUnauthorized, codeInvalidClient)
	for range 50 {
		forger := signer{d.harness, docClient, testkit.NewIDPKey(t, "ES256")}
		d.wantError(forger.send(forger.assertion(nil, nil)), http.StatusUnauthorized, codeInvalidClient)
	}
	d.wantFetches(docClient, keysAt, keysAt)

	d.clock.Advance(2 * time.Hour)
	d.sites.leave(true)
	d.wantError(next.send(next.assertion(nil, nil)), http.StatusBadRequest, codeInvalidGrant) // on the keys of two hours ago
	d.clock.Advance(24 * time.Hour)
	d.wantError(next.send(next.assertion(nil, nil)), http.StatusServiceUnavailable, codeUnavailable)
}

// A document whose keys lie where we may not go, or are none.
func TestChecklist14_KeysUnderTheSameFence(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	s := docSigner(t, d, false)
	d.sites.serve("https://keys.example/jwks.json", json.RawMessage(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	d.authorize(ask(nil), "a")
	d.wantError(s.send(s.assertion(nil, nil)), http.StatusServiceUnavailable, codeUnavailable)
	for i, at := range []string{"https://169.254.169.254/jwks", "http://keys.example/jwks", "https://keys.example:22/jwks", "file:///etc/passwd", "https://localhost/jwks"} {
		id := fmt.Sprintf("https://client.example/%d", i)
		d.publish(id, map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": at})
		d.refusedWithPage(at, d.authorize(ask(map[string]string{"client_id": id}), "a"), http.StatusBadRequest, "jwks_uri")
	}
	for _, at := range d.sites.fetched() {
		if !strings.HasPrefix(at, "https://client.example/") && !strings.HasPrefix(at, "https://keys.example/jwks.json") {
			t.Errorf("fetched %s", at)
		}
	}
}

func TestDocumentedDevice(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	d.publish(docClient, map[string]any{"grant_types": []string{GrantDevice, GrantRefresh}})
	w := d.post("/device_authorization", url.Values{"client_id": {docClient}})
	var device deviceResponse
	if err := json.Unmarshal(w.Body.Bytes(), &device); err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	page := d.do(request{path: "/device", query: url.Values{"user_code": {device.UserCode}}, session: "a"}).Body.String()
	for _, text := range []string{"Claude", "unverified", "client.example"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not show %q:\n%s", text, page)
		}
	}
	d.refusedWithPage("the code grant", d.authorize(ask(nil), "a"), http.StatusBadRequest, "authorization code")
}
