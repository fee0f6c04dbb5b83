package authserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
)

const deviceClient = "tv"

// withDevice has a static client for devices that has no redirect URI.
func withDevice(o *Options) {
	o.Snapshot.Clients = append(o.Snapshot.Clients, Client{ID: deviceClient, Name: "Television", GrantTypes: []string{GrantDevice, GrantRefresh}})
}

func (h *harness) startDevice(form url.Values) *deviceResponse {
	h.t.Helper()
	if form.Get("client_id") == "" {
		form.Set("client_id", deviceClient)
	}
	w := h.post("/device_authorization", form)
	var out deviceResponse
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		h.t.Fatalf("device authorization: status %d, %v: %s", w.Code, w.Header(), w.Body)
	}
	return &out
}

func (h *harness) pollDevice(d *deviceResponse, others map[string]string) *httptest.ResponseRecorder {
	h.t.Helper()
	v := url.Values{"grant_type": {GrantDevice}, "client_id": {deviceClient}, "device_code": {d.DeviceCode}}
	for name, value := range others {
		v.Set(name, value)
	}
	return h.post("/token", v)
}

// typeIn opens the page with a code, as somebody signed in.
func (h *harness) typeIn(code, session string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodPost, path: "/device", form: url.Values{"user_code": {code}}, session: session, header: map[string]string{"Sec-Fetch-Site": "same-origin"}})
}

var deviceField = regexp.MustCompile(`name="(user_code|token)" value="([^"]*)"`)

// deviceForm types the code in and returns the form that is shown, filled in.
func (h *harness) deviceForm(d *deviceResponse, decision string) url.Values {
	h.t.Helper()
	w := h.typeIn(d.UserCode, "a")
	if w.Code != http.StatusOK {
		h.t.Fatalf("device page: status %d: %s", w.Code, w.Body)
	}
	form := url.Values{"decision": {decision}, "same": {"yes"}}
	for _, m := range deviceField.FindAllStringSubmatch(w.Body.String(), -1) {
		form.Set(m[1], m[2])
	}
	return form
}

func (h *harness) decideOnDevice(form url.Values) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodPost, path: "/device", form: form, session: "a", header: map[string]string{"Sec-Fetch-Site": "same-origin"}})
}

func (h *harness) allowDevice(d *deviceResponse) {
	h.t.Helper()
	if w := h.decideOnDevice(h.deviceForm(d, "allow")); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "connected") {
		h.t.Fatalf("allow: status %d: %s", w.Code, w.Body)
	}
}

func TestDeviceSignsIn(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	d := h.startDevice(url.Values{"scope": {"openid email mcp:tools offline_access"}, "resource": {testResource + "/"}})
	if d.URI != testIssuer+"/device" || d.Complete != d.URI+"?user_code="+d.UserCode || d.ExpiresIn != 600 || d.Interval != 5 ||
		!regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(d.UserCode) || len(d.DeviceCode) < 40 {
		t.Errorf("response %+v", d)
	}
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "authorization_pending")
	if w := h.typeIn(d.UserCode, ""); w.Code != http.StatusSeeOther || len(h.signIn.starts) != 1 || h.signIn.starts[0].ReturnTo != "/device?user_code="+d.UserCode {
		t.Errorf("nobody signed in: status %d, %+v", w.Code, h.signIn.starts)
	}
	h.allowDevice(d)
	tokens := h.wantTokens(h.pollDevice(d, map[string]string{"resource": testResource}))
	_, claims := h.claims(tokens.AccessToken)
	_, id := h.claims(tokens.IDToken)
	if claims["sub"] != "alice-id" || claims["aud"] != testResource || claims["client_id"] != deviceClient || claims["scope"] != "openid email mcp:tools offline_access" ||
		tokens.RefreshToken == "" || id["aud"] != deviceClient || id["nonce"] != nil {
		t.Errorf("claims %v, ID token %v, refresh %q", claims, id, tokens.RefreshToken)
	}
	again := h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, map[string]string{"client_id": deviceClient})))
	if again.AccessToken == "" {
		t.Error("no refresh")
	}
	grants, err := h.store.Grants(t.Context(), h.alice.Key)
	if err != nil || len(grants) != 1 || grants[0].ClientName != "Television" {
		t.Errorf("grants %+v, %v", grants, err)
	}
	for kind, want := range map[audit.Kind]int{audit.KindDevice: 1, audit.KindConsent: 1, audit.KindIssue: 1, audit.KindRefresh: 1} {
		if got := h.audit.of(kind); len(got) != want {
			t.Errorf("%d events %s, want %d", len(got), kind, want)
		}
	}
	if got := h.audit.of(audit.KindConsent)[0]; got.Method != "device" || got.Person != h.alice.Key {
		t.Errorf("consent event %+v", got)
	}
}

func TestDeviceCodeIsTakenOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	d := h.startDevice(url.Values{})
	h.allowDevice(d)
	tokens := h.wantTokens(h.pollDevice(d, nil))
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "invalid_grant")
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, map[string]string{"client_id": deviceClient})), http.StatusBadRequest, "invalid_grant")
	if got := h.audit.of(audit.KindReuse); len(got) != 1 || got[0].Reason != "device code" {
		t.Errorf("reuse events %+v", got)
	}

	d = h.startDevice(url.Values{})
	h.allowDevice(d)
	var mu sync.Mutex
	good := 0
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w := h.pollDevice(d, nil); w.Code == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				good++
			}
		})
	}
	wg.Wait()
	if good > 1 {
		t.Errorf("%d devices got tokens for one code", good)
	}
}

func TestDevicePollingAnswers(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	d := h.startDevice(url.Values{})
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "authorization_pending")
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "slow_down")
	h.clock.Advance(5 * time.Second)
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "slow_down") // ten seconds are asked for by now
	h.clock.Advance(15 * time.Second)
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "authorization_pending")

	denied := h.startDevice(url.Values{})
	if w := h.decideOnDevice(h.deviceForm(denied, "deny")); w.Code != http.StatusOK {
		t.Errorf("deny: status %d: %s", w.Code, w.Body)
	}
	h.wantError(h.pollDevice(denied, nil), http.StatusBadRequest, "access_denied")
	h.wantError(h.pollDevice(denied, nil), http.StatusBadRequest, "access_denied")
	if got := h.audit.of(audit.KindDeny); len(got) != 1 || got[0].Method != "device" {
		t.Errorf("deny events %+v", got)
	}

	form := h.deviceForm(d, "allow")
	h.clock.Advance(deviceLifetime)
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "expired_token")
	if w := h.decideOnDevice(form); w.Code != http.StatusConflict {
		t.Errorf("allowed after it expired: status %d", w.Code)
	}
	if w := h.typeIn(d.UserCode, "a"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("typed in after it expired: status %d", w.Code)
	}

	late := h.startDevice(url.Values{})
	h.allowDevice(late)
	h.clock.Advance(deviceRedeem)
	h.wantError(h.pollDevice(late, nil), http.StatusBadRequest, "expired_token")

	h.wantError(h.post("/token", url.Values{"grant_type": {GrantDevice}, "client_id": {deviceClient}}), http.StatusBadRequest, "invalid_request")
	h.wantError(h.pollDevice(&deviceResponse{DeviceCode: "x"}, nil), http.StatusBadRequest, "invalid_grant")
}

// A device code is good for its own client and resource, and is no authorization code; nor the other way round.
func TestDeviceCodeIsBound(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice, func(o *Options) {
		o.Snapshot.Clients = append(o.Snapshot.Clients, Client{ID: "tv2", RedirectURIs: []string{desktopURI}, GrantTypes: []string{GrantDevice, GrantCode}})
	})
	d := h.startDevice(url.Values{})
	h.wantError(h.pollDevice(d, map[string]string{"client_id": "tv2"}), http.StatusBadRequest, "invalid_grant")
	h.allowDevice(d)
	h.wantError(h.post("/token", codeForm(d.DeviceCode, map[string]string{"client_id": "tv2"})), http.StatusBadRequest, "invalid_grant")
	h.wantError(h.pollDevice(d, map[string]string{"client_id": publicClient}), http.StatusBadRequest, "unauthorized_client")
	h.wantError(h.pollDevice(d, map[string]string{"client_id": "tv2"}), http.StatusBadRequest, "invalid_grant")
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "invalid_grant") // what did not fit has ended it

	d = h.startDevice(url.Values{})
	h.allowDevice(d)
	h.wantError(h.pollDevice(d, map[string]string{"resource": otherURL}), http.StatusBadRequest, "invalid_target")

	code := h.code(authorizeParams(map[string]string{"client_id": "tv2"}))
	h.wantError(h.pollDevice(&deviceResponse{DeviceCode: code}, map[string]string{"client_id": "tv2"}), http.StatusBadRequest, "invalid_grant")
	h.wantTokens(h.post("/token", codeForm(code, map[string]string{"client_id": "tv2"}))) // and has not burned it
}

func TestDeviceAuthorizationRefusals(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	for name, c := range map[string]struct {
		form   url.Values
		status int
		code   string
	}{
		"no client":            {url.Values{}, 401, "invalid_client"},
		"unknown client":       {url.Values{"client_id": {"x"}}, 401, "invalid_client"},
		"not for this client":  {url.Values{"client_id": {publicClient}}, 400, "unauthorized_client"},
		"no secret":            {url.Values{"client_id": {webClient}}, 401, "invalid_client"},
		"foreign resource":     {url.Values{"client_id": {deviceClient}, "resource": {"https://evil.example/mcp"}}, 400, "invalid_target"},
		"repeated":             {url.Values{"client_id": {deviceClient}, "scope": {"a", "b"}}, 400, "invalid_request"},
		"endless scope":        {url.Values{"client_id": {deviceClient}, "scope": {strings.Repeat("s", maxScope+1)}}, 400, "invalid_request"},
		"authenticates in two": {url.Values{"client_id": {deviceClient}, "client_secret": {"s"}}, 401, "invalid_client"},
	} {
		w := h.post("/device_authorization", c.form)
		if h.wantError(w, c.status, c.code); t.Failed() {
			t.Fatal(name)
		}
	}
	if w := h.do(request{path: "/device_authorization"}); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", w.Code)
	}
	for range devicesPerAddress {
		h.startDevice(url.Values{})
	}
	if w := h.post("/device_authorization", url.Values{"client_id": {deviceClient}}); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("without bound: status %d", w.Code)
	}
}

func TestDeviceGrantOfRegisteredClients(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var meta metadata
	document := h.do(request{path: "/.well-known/oauth-authorization-server"})
	if err := json.Unmarshal(document.Body.Bytes(), &meta); err != nil || meta.DeviceEndpoint != testIssuer+"/device_authorization" || !slices.Contains(meta.GrantTypes, GrantDevice) {
		t.Errorf("metadata %+v, %v", meta, err)
	}
	// As mcp-remote registers with --device-code.
	c := h.registered(map[string]any{"grant_types": []string{GrantDevice, GrantRefresh}})
	if !slices.Equal(c.GrantTypes, []string{GrantRefresh, GrantDevice}) || len(c.ResponseTypes) != 0 || len(c.RedirectURIs) != 1 {
		t.Errorf("registration %+v", c)
	}
	id := map[string]string{"client_id": string(c.ClientID)}
	d := h.startDevice(url.Values{"client_id": {string(c.ClientID)}, "scope": {"mcp:tools offline_access"}, "resource": {testResource}})
	body := h.typeIn(d.UserCode, "a").Body.String()
	for _, want := range []string{"MCP CLI Proxy", "unverified", "Nobody has verified this application", d.UserCode, testResource, "mcp:tools", "alice", "192.0.2.1", "Did somebody send you", "90 days"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not show %q:\n%s", want, body)
		}
	}
	h.allowDevice(d)
	h.wantTokens(h.pollDevice(d, id))

	if none := h.registered(map[string]any{"grant_types": []string{GrantDevice}, "redirect_uris": nil, "response_types": nil}); none.RedirectURIs == nil || len(none.GrantTypes) != 1 {
		t.Errorf("without redirect URIs: %+v", none)
	}
	if w := h.do(request{path: "/authorize", query: registeredParams(c)}); !strings.Contains(w.Header().Get("Location"), "error=unauthorized_client") {
		t.Errorf("a device without a browser is sent to one: %d %v", w.Code, w.Header())
	}
	code := h.registered(nil)
	h.wantError(h.post("/device_authorization", url.Values{"client_id": {string(code.ClientID)}}), http.StatusBadRequest, "unauthorized_client")

	// Who was allowed is no longer, once the administrator turned it off.
	waiting := h.startDevice(url.Values{"client_id": {string(c.ClientID)}})
	closed := testSnapshot()
	closed.NoDevices = true
	if err := h.server.Swap(closed); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.pollDevice(waiting, id), http.StatusBadRequest, "unauthorized_client")
	h.wantError(h.post("/device_authorization", url.Values{"client_id": {string(c.ClientID)}}), http.StatusBadRequest, "unauthorized_client")
	if w := h.typeIn(waiting.UserCode, "a"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("its page is still shown: status %d", w.Code)
	}
	h.wantError(h.register(map[string]any{"redirect_uris": []string{"https://app.example/"}, "grant_types": []string{GrantDevice}}), http.StatusBadRequest, "invalid_client_metadata")
	if document := h.do(request{path: "/.well-known/oauth-authorization-server"}); strings.Contains(document.Body.String(), "device") {
		t.Errorf("metadata offers what is turned off: %s", document.Body)
	}
}

func TestChecklist8_RevokedClientOnADevice(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	waiting, allowed := h.startDevice(url.Values{}), h.startDevice(url.Values{})
	form := h.deviceForm(waiting, "allow")
	h.allowDevice(allowed)
	if err := h.store.RevokeClient(t.Context(), deviceClient, "test"); err != nil {
		t.Fatal(err)
	}
	if w := h.typeIn(waiting.UserCode, "a"); w.Code != http.StatusUnprocessableEntity {
		t.Errorf("its page is still shown: status %d", w.Code)
	}
	if w := h.decideOnDevice(form); w.Code != http.StatusConflict {
		t.Errorf("it can still be allowed: status %d", w.Code)
	}
	h.wantError(h.pollDevice(waiting, nil), http.StatusUnauthorized, "invalid_client")
	h.wantError(h.pollDevice(allowed, nil), http.StatusUnauthorized, "invalid_client")
}

// TestChecklist26_DeviceNeedsTheForm: the decision needs the form of this device, this browser and this person, from this
// site, with the box that says that the codes are the same.
func TestChecklist26_DeviceNeedsTheForm(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	h.signIn.change(func(f *fakeSignIn) {
		second, bob := *f.sessions["a"], *f.sessions["a"]
		second.SessionID = "session-b"
		bob.Person.Key.Subject = "bob-id"
		f.sessions["b"], f.sessions["bob"] = &second, &bob
	})
	d, other := h.startDevice(url.Values{}), h.startDevice(url.Values{})
	form := h.deviceForm(d, "allow")
	same := map[string]string{"Sec-Fetch-Site": "same-origin"}
	for name, c := range map[string]struct {
		form    url.Values
		session string
		header  map[string]string
		status  int
	}{
		"no token":          {with(form, "token"), "a", same, 403},
		"token of another":  {with(form, "user_code", other.UserCode), "a", same, 403},
		"another spelling":  {with(form, "user_code", strings.ReplaceAll(d.UserCode, "-", "")), "a", same, 403},
		"another browser":   {form, "b", same, 403},
		"another person":    {form, "bob", same, 403},
		"another site":      {form, "a", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, 403},
		"hidden origin":     {form, "a", map[string]string{"Origin": "null"}, 403},
		"box not ticked":    {with(form, "same"), "a", same, 422},
		"no such decision":  {with(form, "decision", "maybe"), "a", same, 400},
		"repeated decision": {with(form, "decision", "deny", "allow"), "a", same, 400},
	} {
		w := h.do(request{method: http.MethodPost, path: "/device", form: c.form, session: c.session, header: c.header})
		if w.Code != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, w.Code, c.status, w.Body)
		}
	}
	if w := h.do(request{path: "/device", query: form, session: "a"}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "device-allow") {
		t.Errorf("a decision by GET: status %d", w.Code)
	}
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "authorization_pending")
	if w := h.decideOnDevice(form); w.Code != http.StatusOK {
		t.Errorf("the good form: status %d", w.Code)
	}
	if w := h.decideOnDevice(form); w.Code != http.StatusConflict {
		t.Errorf("the form twice: status %d", w.Code)
	}
	h.wantTokens(h.pollDevice(d, nil))
	switched := h.deviceForm(other, "switch")
	if w := h.decideOnDevice(switched); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/signin" {
		t.Errorf("sign in as somebody else: status %d, %v", w.Code, w.Header())
	}
	if last := h.signIn.starts[len(h.signIn.starts)-1]; last.ReturnTo != "/device?user_code="+other.UserCode || !last.OtherAccount {
		t.Errorf("the sign-in was started with %+v", last)
	}
}

// The link with the code in it shows the code, and asks all the same.
func TestDeviceLinkOnlyShowsTheCode(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	d := h.startDevice(url.Values{})
	h.clock.Advance(3 * time.Minute)
	r := httptest.NewRequest(http.MethodGet, d.Complete, nil)
	r.RemoteAddr = "198.51.100.7:1"
	r.AddCookie(&http.Cookie{Name: "session", Value: "a"})
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r)
	for _, want := range []string{d.UserCode, "3 minutes ago", "192.0.2.1", "another network address", "198.51.100.7", `type="checkbox" name="same"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page does not show %q:\n%s", want, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "checked") {
		t.Error("the box is ticked already")
	}
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "authorization_pending")
	if w := h.do(request{path: "/device", session: "a"}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "Type in the code") {
		t.Errorf("the page for typing in: %d %s", w.Code, w.Body)
	}
	for _, text := range []string{"javascript:alert(1)", "//evil.example", "a b&c"} { // nothing of it gets into the address to come back to
		h.do(request{path: "/device", query: url.Values{"user_code": {text}}})
		if last := h.signIn.starts[len(h.signIn.starts)-1]; last.ReturnTo != "/device" {
			t.Errorf("%q: come back to %q", text, last.ReturnTo)
		}
	}
}

// TestUserCodesCannotBeGuessed: a person has a few attempts, and right ones do not count.
func TestUserCodesCannotBeGuessed(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	h.signIn.change(func(f *fakeSignIn) {
		bob := *f.sessions["a"]
		bob.Person.Key.Subject = "bob-id"
		f.sessions["bob"] = &bob
	})
	d := h.startDevice(url.Values{})
	for range 3 * guessBurst {
		if w := h.typeIn(strings.ToLower(d.UserCode), "a"); w.Code != http.StatusOK {
			t.Fatalf("the right code: status %d", w.Code)
		}
	}
	for range guessBurst {
		if w := h.typeIn("BBBB-BBBB", "a"); w.Code != http.StatusUnprocessableEntity || strings.Contains(w.Body.String(), "Television") {
			t.Fatalf("a wrong code: status %d", w.Code)
		}
	}
	for _, code := range []string{"BBBB-BBBC", d.UserCode} { // by now even the right one says nothing
		if w := h.typeIn(code, "a"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "Television") {
			t.Errorf("%s after too many: status %d", code, w.Code)
		}
	}
	if w := h.do(request{path: "/device", query: url.Values{"user_code": {d.UserCode}}, session: "a"}); w.Code != http.StatusTooManyRequests {
		t.Errorf("by GET: status %d", w.Code)
	}
	if w := h.typeIn(d.UserCode, "bob"); w.Code != http.StatusOK {
		t.Errorf("somebody else at the same address: status %d", w.Code)
	}
	if got := h.audit.of(audit.KindDeviceGuess); len(got) != guessBurst || got[0].Person != h.alice.Key {
		t.Errorf("%d guesses on record", len(got))
	}
	h.clock.Advance(guessEvery)
	if w := h.typeIn(d.UserCode, "a"); w.Code != http.StatusOK {
		t.Errorf("after a while: status %d", w.Code)
	}
	last := 0
	for i := range 6 * guessBurst { // many persons at one address
		who := fmt.Sprint("p", i)
		h.signIn.change(func(f *fakeSignIn) {
			p := *f.sessions["a"]
			p.Person.Key.Subject = who
			f.sessions[who] = &p
		})
		if last = h.typeIn("CCCC-CCCC", who).Code; i < guessBurst && last != http.StatusUnprocessableEntity {
			t.Fatalf("guess %d from one address: status %d", i, last)
		}
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("guesses of many persons at one address have no end: status %d", last)
	}
}

// TestChecklist44_SessionEndsWhileADeviceIsAllowed: what ended the session did not see the code.
func TestChecklist44_SessionEndsWhileADeviceIsAllowed(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	d := h.startDevice(url.Values{})
	h.server.SignIn = &endsAfter{fakeSignIn: h.signIn, calls: 2}
	form := h.deviceForm(d, "allow")
	if w := h.decideOnDevice(form); w.Code != http.StatusBadRequest {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	h.wantError(h.pollDevice(d, nil), http.StatusBadRequest, "invalid_grant")

	h.server.SignIn = h.signIn
	gone := h.startDevice(url.Values{})
	h.allowDevice(gone)
	h.signIn.change(func(f *fakeSignIn) { f.persons = map[identity.PersonKey]identity.Person{} })
	h.wantError(h.pollDevice(gone, nil), http.StatusBadRequest, "invalid_grant")
}

// endsAfter is a sign-in whose session ends after it was looked at so often.
type endsAfter struct {
	*fakeSignIn
	mu    sync.Mutex // guards calls
	calls int
}

func (e *endsAfter) Current(r *http.Request) (*identity.SignedIn, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.calls--; e.calls < 0 {
		return nil, false
	}
	return e.fakeSignIn.Current(r)
}

// TestChecklist62_DeviceCodesAreNotStored: neither code can be read in the database.
func TestChecklist62_DeviceCodesAreNotStored(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	waiting, allowed := h.startDevice(url.Values{}), h.startDevice(url.Values{})
	h.allowDevice(allowed)
	raw := string(h.stored())
	for _, d := range []*deviceResponse{waiting, allowed} {
		for _, secret := range []string{d.DeviceCode, d.UserCode, strings.ReplaceAll(d.UserCode, "-", "")} {
			if strings.Contains(raw, secret) || strings.Contains(h.log.String(), secret) {
				t.Errorf("%q is in the database or the log", secret)
			}
		}
	}
}

func TestDeviceSurvivesRotationOfTheMasterKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withDevice)
	d := h.startDevice(url.Values{})
	o := h.server.Options
	o.Keys = rotatedKeys(t)
	var err error
	if h.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	h.mount()
	h.allowDevice(d)
	h.wantTokens(h.pollDevice(d, nil))
}

func FuzzUserCode(f *testing.F) {
	for _, seed := range []string{"WDJB-MJHT", "wdjbmjht", " w d j b - m j h t ", "WDJB–MJHT", "WDJB-MJH", "AEIO-UAEI", "", "\xff", "WDJB-MJHT\x00", "ＷＤＪＢ-MJHT", "ŞſK"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		code, ok := readUserCode(text)
		if !ok {
			return
		}
		if len(code) != userCodeLength || strings.Trim(code, userCodeAlphabet) != "" {
			t.Errorf("%q reads as %q", text, code)
		}
		if again, ok := readUserCode(showUserCode(code)); !ok || again != code {
			t.Errorf("%q reads as %q, which reads as %q", text, code, again)
		}
		if got := deviceURL(text); got != "/device?user_code="+showUserCode(code) {
			t.Errorf("%q leads to %q", text, got)
		}
	})
}

func TestUserCodesAreRandom(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		code := newUserCode()
		if got, ok := readUserCode(code); !ok || got != code || seen[code] {
			t.Fatalf("%q reads as %q, %v; seen %v", code, got, ok, seen[code])
		}
		seen[code] = true
		for _, c := range code {
			letters[c]++
		}
	}
	for _, c := range userCodeAlphabet { // 800 of each are expected; 5 standard deviations are 140
		if n := letters[c]; n < 650 || n > 950 {
			t.Errorf("%d of 16,000 letters are %c", n, c)
		}
	}
}
