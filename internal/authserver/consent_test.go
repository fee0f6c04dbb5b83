package authserver

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

func TestChecklist25_ConsentPage(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Snapshot.RedirectSchemes = []string{"cursor"} })
	registered := h.registered(nil)
	app := h.registered(map[string]any{"redirect_uris": []string{"cursor://anysphere.cursor-mcp/callback"}, "client_name": "Editor"})
	remote := h.registered(map[string]any{"redirect_uris": []string{"https://app.example/cb"}, "client_name": "Remote"})
	for name, c := range map[string]struct {
		params       url.Values
		shows, hides []string
	}{
		"registered, loopback": {
			registeredParams(registered),
			[]string{"MCP CLI Proxy", "unverified", "localhost:5555", testResource, "Tools", "mcp:tools", "Alice Doe", "alice", "program on this device", "e-mail", "90 days"},
			[]string{"verified</span>"},
		},
		"registered, remote": {
			authorizeParams(map[string]string{"client_id": string(remote.ClientID), "redirect_uri": "https://app.example/cb"}),
			[]string{"Remote", "unverified", "app.example", testResource},
			[]string{"program on this device"},
		},
		"registered, application": {
			authorizeParams(map[string]string{"client_id": string(app.ClientID), "redirect_uri": "cursor://anysphere.cursor-mcp/callback"}),
			[]string{"Editor", "unverified", "application on this device that opens <code>cursor:</code>"},
			[]string{"program on this device"},
		},
		"static, loopback": {authorizeParams(nil), []string{"Desktop", ">verified<", "localhost:3334", "program on this device"}, []string{"unverified"}},
		"static, remote": {
			authorizeParams(map[string]string{"client_id": webClient, "redirect_uri": webURI}),
			[]string{"Web App", ">verified<", "app.example"},
			[]string{"unverified", "program on this device"},
		},
	} {
		for round := range 2 { // asked for every time
			w := h.do(request{path: h.consentURL(c.params), session: "a"})
			body := strings.ReplaceAll(w.Body.String(), `badge warning">unverified</span>`, "unverified")
			for _, text := range c.shows {
				if !strings.Contains(body, text) {
					t.Errorf("%s, round %d: the page does not show %q:\n%s", name, round, text, body)
				}
			}
			for _, text := range c.hides {
				if strings.Contains(body, text) {
					t.Errorf("%s, round %d: the page shows %q:\n%s", name, round, text, body)
				}
			}
			if w := h.decide(h.consentForm(c.params, "allow")); w.Code != http.StatusSeeOther {
				t.Errorf("%s: status %d", name, w.Code)
			}
		}
	}
}

func TestChecklist26_ConsentNeedsTheForm(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.signIn.change(func(f *fakeSignIn) {
		second, bob := *f.sessions["a"], *f.sessions["a"]
		second.SessionID = "session-b"
		bob.Person.Key.Subject = "bob-id"
		f.sessions["b"], f.sessions["bob"] = &second, &bob
	})
	form := h.consentForm(authorizeParams(nil), "allow")
	other := h.consentForm(authorizeParams(nil), "allow")
	same := map[string]string{"Sec-Fetch-Site": "same-origin"}
	for name, q := range map[string]request{
		"no token":           {form: with(form, "token"), session: "a", header: same},
		"another form's":     {form: with(form, "token", other.Get("token")), session: "a", header: same},
		"another session":    {form: form, session: "b", header: same},
		"another person":     {form: form, session: "bob", header: same},
		"cross-site":         {form: form, session: "a", header: map[string]string{"Sec-Fetch-Site": "cross-site"}},
		"same-site":          {form: form, session: "a", header: map[string]string{"Sec-Fetch-Site": "same-site"}},
		"foreign origin":     {form: form, session: "a", header: map[string]string{"Origin": "https://evil.example"}},
		"null origin alone":  {form: form, session: "a", header: map[string]string{"Origin": "null"}},
		"null and crosssite": {form: form, session: "a", header: map[string]string{"Origin": "null", "Sec-Fetch-Site": "cross-site"}},
	} {
		q.method, q.path = http.MethodPost, "/consent"
		if w := h.do(q); w.Code != http.StatusForbidden || w.Header().Get("Location") != "" {
			t.Errorf("%s: status %d, location %q, want 403", name, w.Code, w.Header().Get("Location"))
		}
	}
	if w := h.do(request{path: "/consent", query: form, session: "a"}); w.Code != http.StatusOK || w.Header().Get("Location") != "" {
		t.Errorf("the form by GET: status %d, location %q, want the page again", w.Code, w.Header().Get("Location"))
	}
	if w := h.do(request{method: http.MethodPost, path: "/consent", form: form}); w.Header().Get("Location") != "/signin" {
		t.Errorf("signed out meanwhile: location %q, want the sign-in", w.Header().Get("Location"))
	}
	if w := h.do(request{method: http.MethodPost, path: "/consent", form: with(form, "decision", "maybe"), session: "a", header: same}); w.Code != http.StatusBadRequest {
		t.Errorf("no decision: status %d", w.Code)
	}
	if len(h.audit.list) != 0 {
		t.Errorf("events %v, want none", h.audit.list)
	}
	// A browser under no-referrer says Origin: null, and where the form comes from.
	w := h.do(request{method: http.MethodPost, path: "/consent", form: form, session: "a", header: map[string]string{"Origin": "null", "Sec-Fetch-Site": "same-origin"}})
	if got := h.callback(w, desktopURI); got.Get("code") == "" {
		t.Errorf("Origin: null from here: %v", got)
	}
}

func TestConsentIsGivenOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	form := h.consentForm(authorizeParams(nil), "allow")
	var wg sync.WaitGroup
	codes := make(chan string, 20)
	for range 20 {
		wg.Go(func() {
			u, _ := url.Parse(h.decide(form).Header().Get("Location"))
			if code := u.Query().Get("code"); code != "" {
				codes <- code
			}
		})
	}
	wg.Wait()
	if len(codes) != 1 {
		t.Errorf("%d codes for one consent", len(codes))
	}
	form.Set("decision", "deny")
	if w := h.decide(form); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "answered already") {
		t.Errorf("afterwards: status %d: %s", w.Code, w.Body)
	}
}

func TestChecklist27_28_PageHeaders(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	consent := h.do(request{path: h.consentURL(authorizeParams(nil)), session: "a"})
	signout := h.do(request{path: "/signout", session: "a"})
	failure := h.do(request{path: "/authorize"})
	for name, header := range map[string]http.Header{"consent": consent.Header(), "signout": signout.Header(), "error": failure.Header()} {
		policy := header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
			header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", name, header)
		}
		if strings.Contains(policy, "form-action") && name != "error" {
			t.Errorf("%s: %s would block the way back to the client", name, policy)
		}
	}
	if strings.Contains(consent.Body.String(), "<script") {
		t.Error("the consent page has a script")
	}
	answer := h.decide(h.consentForm(authorizeParams(nil), "allow"))
	if answer.Header().Get("Cache-Control") != "no-store" || answer.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("the redirect with the code: headers %v", answer.Header())
	}
}

func TestChecklist30_ConsentIsNeverRemembered(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.tokens(authorizeParams(nil), nil)
	for _, site := range []string{"none", "cross-site", "same-origin", ""} {
		header := map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Referer": "https://evil.example/"}
		w := h.do(request{path: "/authorize", query: authorizeParams(nil), session: "a", header: header})
		w = h.do(request{path: w.Header().Get("Location"), session: "a", header: header})
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `value="allow"`) {
			t.Errorf("Sec-Fetch-Site %q: status %d, want the consent page", site, w.Code)
		}
	}
}

func TestNotYou(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	form := h.consentForm(authorizeParams(nil), "switch")
	location := "/consent?tx=" + form.Get("tx")
	if w := h.decide(form); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/signin" {
		t.Fatalf("status %d, location %q", w.Code, w.Header().Get("Location"))
	}
	if last := h.signIn.starts[len(h.signIn.starts)-1]; last.ReturnTo != location || !last.OtherAccount {
		t.Errorf("the sign-in was started with %+v", last)
	}
	if w := h.do(request{path: location, session: "a"}); w.Header().Get("Location") != "/signin" {
		t.Errorf("still signed in: status %d", w.Code)
	}
	h.signIn.change(func(f *fakeSignIn) {
		f.sessions["bob"] = &identity.SignedIn{Person: identity.Person{Key: identity.PersonKey{Issuer: testIssuer, Subject: "bob-id"}, Username: "bob"}, SessionID: "session-bob", AuthTime: h.clock.Now()}
	})
	if w := h.do(request{path: location, session: "bob"}); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "<strong>bob</strong>") {
		t.Errorf("after signing in as bob: status %d", w.Code)
	}
}

func TestChecklist64_ConsentAndDenyAreRecorded(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.registered(nil)
	params := registeredParams(c)
	h.decide(h.consentForm(params, "deny"))
	others := map[string]string{"client_id": string(c.ClientID), "redirect_uri": params.Get("redirect_uri")}
	code := h.code(params)
	tokens := h.wantTokens(h.post("/token", codeForm(code, others)))
	refreshed := h.wantTokens(h.post("/token", refreshForm(tokens.RefreshToken, others)))
	h.post("/revoke", url.Values{"client_id": {string(c.ClientID)}, "token": {refreshed.RefreshToken}})
	h.post("/token", codeForm(code, others))

	var kinds []audit.Kind
	secrets := []string{code, verifier, tokens.AccessToken, tokens.IDToken, tokens.RefreshToken, refreshed.AccessToken, refreshed.RefreshToken}
	for _, e := range h.audit.list {
		kinds = append(kinds, e.Kind)
		if e.Client != c.ClientID || e.Time.IsZero() || e.RequestID == "" || !e.Address.IsValid() {
			t.Errorf("event without client, time, request or address: %+v", e)
		}
		if e.Kind != audit.KindRegistration && e.Person != h.alice.Key {
			t.Errorf("event without the person: %+v", e)
		}
		for _, secret := range secrets {
			if strings.Contains(strings.Join([]string{e.Reason, e.Name, e.Outcome, string(e.Grant), e.Endpoint, e.Method}, " "), secret) {
				t.Errorf("event with a secret: %+v", e)
			}
		}
	}
	want := []audit.Kind{audit.KindRegistration, audit.KindDeny, audit.KindConsent, audit.KindIssue, audit.KindRefresh, audit.KindRevoke, audit.KindReuse}
	if !slices.Equal(kinds, want) {
		t.Errorf("events %v, want %v", kinds, want)
	}
	for _, secret := range secrets {
		if strings.Contains(h.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

func TestAuditFailureStopsConsent(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	form := h.consentForm(authorizeParams(nil), "allow")
	h.audit.err = audit.ErrUnavailable
	if w := h.decide(form); w.Code != http.StatusServiceUnavailable || w.Header().Get("Location") != "" {
		t.Errorf("status %d, location %q", w.Code, w.Header().Get("Location"))
	}
}

// leaving is a back end whose person is signed out everywhere between two looks at one request.
type leaving struct {
	*fakeSignIn
	looks atomic.Int32
}

func (l *leaving) Current(r *http.Request) (*identity.SignedIn, bool) {
	if l.looks.Add(1) > 1 {
		return nil, false
	}
	return l.fakeSignIn.Current(r)
}

func TestNoCodeOutlivesTheSession(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	form := h.consentForm(authorizeParams(nil), "allow")
	h.server.SignIn = &leaving{fakeSignIn: h.signIn}
	got := h.callback(h.decide(form), desktopURI)
	if got.Get("code") != "" || got.Get("error") != "access_denied" {
		t.Errorf("answer %v", got)
	}
	id := h.audit.of(audit.KindConsent)[0].Grant
	err := h.store.CreateGrant(t.Context(), store.Grant{ID: id, Person: h.alice.Key, Client: publicClient, CreatedAt: h.clock.Now().Add(time.Second)}, nil)
	if !errors.Is(err, store.ErrRevoked) {
		t.Errorf("the code could still become a grant: %v", err)
	}
}

func TestConsentPageNamesTheAudienceOfAClient(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	snapshot := testSnapshot()
	snapshot.Resources = append(snapshot.Resources, Resource{URL: otherURL})
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	w := h.do(request{path: h.consentURL(authorizeParams(map[string]string{"client_id": "walkthrough", "resource": ""})), session: "a"})
	if body := w.Body.String(); !strings.Contains(body, "api://default") || strings.Contains(body, "It asks to know who you are") {
		t.Error("the page does not say what the tokens open")
	}
}
