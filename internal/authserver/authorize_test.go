package authserver

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
)

func TestChecklist16_NoRedirectBeforeTheClientIsKnown(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, params := range map[string]url.Values{
		"no client":           authorizeParams(map[string]string{"client_id": ""}),
		"unknown client":      authorizeParams(map[string]string{"client_id": "nobody"}),
		"two clients":         with(authorizeParams(nil), "client_id", publicClient, webClient),
		"no redirect URI":     authorizeParams(map[string]string{"redirect_uri": ""}),
		"foreign redirect":    authorizeParams(map[string]string{"redirect_uri": "https://evil.example/"}),
		"two redirect URIs":   with(authorizeParams(nil), "redirect_uri", desktopURI, desktopURI),
		"another's redirect":  authorizeParams(map[string]string{"redirect_uri": webURI}),
		"query on redirect":   authorizeParams(map[string]string{"redirect_uri": desktopURI + "?x=1"}),
		"long unknown client": authorizeParams(map[string]string{"client_id": strings.Repeat("x", 8<<10)}),
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			q := request{method: method, path: "/authorize", query: params}
			if method == http.MethodPost {
				q.query, q.form = nil, params
			}
			w := h.do(q)
			if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
				t.Errorf("%s, %s: status %d, location %q, want 400 and no redirect", name, method, w.Code, w.Header().Get("Location"))
			}
			if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				t.Errorf("%s: %s, want a page", name, w.Header().Get("Content-Type"))
			}
		}
	}
	w := h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"client_id": "nobody"}), header: map[string]string{"Accept": "application/json"}})
	h.wantError(w, http.StatusBadRequest, "invalid_client")
	w = h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"client_id": "nobody"}), header: map[string]string{"Accept": "text/html,application/json;q=0.9"}})
	if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
		t.Error("a browser that also accepts JSON got no page")
	}
}

// refusal is an authorization request that the client hears is wrong, and the error code that it gets.
type refusal struct {
	params url.Values
	code   string
}

// refusedByRedirect sends requests that are refused at the client's redirect URI.
func refusedByRedirect(t *testing.T, requests map[string]refusal) {
	t.Helper()
	h := newHarness(t)
	for name, c := range requests {
		got := h.callback(h.do(request{path: "/authorize", query: c.params}), desktopURI)
		if got.Get("error") != c.code || got.Get("state") != "st" || got.Get("iss") != testIssuer || got.Has("code") {
			t.Errorf("%s: %v, want %s with state and iss", name, got, c.code)
		}
	}
}

func TestChecklist18_PKCE(t *testing.T) {
	t.Parallel()
	refusedByRedirect(t, map[string]refusal{
		"no challenge":      {authorizeParams(map[string]string{"code_challenge": ""}), "invalid_request"},
		"no method":         {authorizeParams(map[string]string{"code_challenge_method": ""}), "invalid_request"},
		"plain":             {authorizeParams(map[string]string{"code_challenge_method": "plain"}), "invalid_request"},
		"short challenge":   {authorizeParams(map[string]string{"code_challenge": "short"}), "invalid_request"},
		"strange challenge": {authorizeParams(map[string]string{"code_challenge": strings.Repeat("=", 43)}), "invalid_request"},
		"long challenge":    {authorizeParams(map[string]string{"code_challenge": strings.Repeat("a", 129)}), "invalid_request"},
	})
}

func TestChecklist19_ForeignResources(t *testing.T) {
	t.Parallel()
	refusedByRedirect(t, map[string]refusal{
		"foreign resource":   {authorizeParams(map[string]string{"resource": "https://evil.example/mcp"}), "invalid_target"},
		"other path":         {authorizeParams(map[string]string{"resource": testResource + "/x"}), "invalid_target"},
		"path case":          {authorizeParams(map[string]string{"resource": "https://gate.example/MCP"}), "invalid_target"},
		"fragment":           {authorizeParams(map[string]string{"resource": testResource + "#f"}), "invalid_target"},
		"not a URL":          {authorizeParams(map[string]string{"resource": "::"}), "invalid_target"},
		"one of two foreign": {with(authorizeParams(nil), "resource", testResource, "https://evil.example/"), "invalid_target"},
	})
}

func TestChecklist20_RepeatedParameters(t *testing.T) {
	t.Parallel()
	refusedByRedirect(t, map[string]refusal{
		"scope twice":             {with(authorizeParams(nil), "scope", "openid", "openid"), "invalid_request"},
		"unknown parameter twice": {with(authorizeParams(nil), "foo", "1", "2"), "invalid_request"},
	})
}

func TestChecklist21_ResponseTypeAndMode(t *testing.T) {
	t.Parallel()
	refusedByRedirect(t, map[string]refusal{
		"token":      {authorizeParams(map[string]string{"response_type": "token"}), "unsupported_response_type"},
		"code token": {authorizeParams(map[string]string{"response_type": "code id_token"}), "unsupported_response_type"},
		"none":       {authorizeParams(map[string]string{"response_type": ""}), "invalid_request"},
		"fragment":   {authorizeParams(map[string]string{"response_mode": "fragment"}), "invalid_request"},
	})
}

func TestRefusedByRedirect(t *testing.T) {
	t.Parallel()
	refusedByRedirect(t, map[string]refusal{
		"request object":        {authorizeParams(map[string]string{"request": "e30."}), "request_not_supported"},
		"request URI":           {authorizeParams(map[string]string{"request_uri": "urn:x"}), "request_uri_not_supported"},
		"prompt none and login": {authorizeParams(map[string]string{"prompt": "none login"}), "invalid_request"},
		"negative max_age":      {authorizeParams(map[string]string{"max_age": "-1"}), "invalid_request"},
		"huge max_age":          {authorizeParams(map[string]string{"max_age": "99999999999999999999"}), "invalid_request"},
		"long nonce":            {authorizeParams(map[string]string{"nonce": strings.Repeat("n", 513)}), "invalid_request"},
		"nonce with NUL":        {authorizeParams(map[string]string{"nonce": "a\x00b"}), "invalid_request"},
		"login_hint not UTF-8":  {authorizeParams(map[string]string{"login_hint": "\xff"}), "invalid_request"},
		"long scope":            {authorizeParams(map[string]string{"scope": strings.Repeat("s ", 2000)}), "invalid_request"},
	})
}

func TestChecklist19_ResourceSpellings(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for name, values := range map[string][]string{
		"exact": {testResource}, "slash": {testResource + "/"}, "twice": {testResource, testResource + "/"},
		"host case and port": {"HTTPS://GATE.example:443/mcp"}, "absent": nil, "empty": {""},
	} {
		tokens := h.tokens(with(authorizeParams(nil), "resource", values...), map[string]string{"resource": ""})
		if _, claims := h.claims(tokens.AccessToken); claims["aud"] != testResource {
			t.Errorf("%s: aud %v, want %s", name, claims["aud"], testResource)
		}
	}
}

func TestChecklist19_SeveralEndpoints(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) {
		o.Snapshot.Resources = append(o.Snapshot.Resources, Resource{URL: otherURL, Name: "Finance", DefaultScopes: []string{"mcp:finance"}},
			Resource{URL: "https://root.gate.example", Name: "Root"})
	})
	for name, c := range map[string]struct{ resource, aud, scope string }{
		"first":             {testResource, testResource, "openid mcp:tools"},
		"second":            {otherURL, otherURL, "openid"},
		"pathless":          {"https://root.gate.example/", "https://root.gate.example", "openid"},
		"pathless, no path": {"https://root.gate.example", "https://root.gate.example", "openid"},
		"userinfo only":     {"", testIssuer, "openid"},
	} {
		tokens := h.tokens(authorizeParams(map[string]string{"resource": c.resource, "scope": "openid mcp:tools mcp:unknown"}), map[string]string{"resource": c.resource})
		if _, claims := h.claims(tokens.AccessToken); claims["aud"] != c.aud || claims["scope"] != c.scope || tokens.Scope != c.scope {
			t.Errorf("%s: aud %v, scope %v, want %s and %s", name, claims["aud"], claims["scope"], c.aud, c.scope)
		}
	}
	got := h.callback(h.do(request{path: "/authorize", query: with(authorizeParams(nil), "resource", testResource, otherURL)}), desktopURI)
	if got.Get("error") != "invalid_target" {
		t.Errorf("two endpoints at once: %v, want invalid_target", got)
	}
	tokens := h.tokens(authorizeParams(map[string]string{"resource": otherURL, "scope": ""}), map[string]string{"resource": ""})
	if tokens.Scope != "mcp:finance" {
		t.Errorf("without a scope: %q, want the endpoint's default", tokens.Scope)
	}
}

func TestChecklist22_StateAndIssuer(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, state := range []string{"a b+c%2B&=?#", "ümläut ☃", "\x01\x02", `{"a":"<b>"}`, strings.Repeat("s", maxState), " "} {
		params := authorizeParams(map[string]string{"state": state})
		got := h.callback(h.decide(h.consentForm(params, "allow")), desktopURI)
		if got.Get("state") != state || got.Get("iss") != testIssuer || got.Get("code") == "" {
			t.Errorf("allowed with state %q: %v", state, got)
		}
		got = h.callback(h.decide(h.consentForm(params, "deny")), desktopURI)
		if got.Get("state") != state || got.Get("iss") != testIssuer || got.Get("error") != "access_denied" {
			t.Errorf("denied with state %q: %v", state, got)
		}
	}
	got := h.callback(h.decide(h.consentForm(authorizeParams(map[string]string{"state": ""}), "allow")), desktopURI)
	if got.Has("state") || got.Get("iss") != testIssuer {
		t.Errorf("without state: %v", got)
	}
	for _, state := range []string{strings.Repeat("s", maxState+1), "\xff"} {
		got := h.callback(h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"state": state})}), desktopURI)
		if got.Get("error") != "invalid_request" || got.Has("state") {
			t.Errorf("bad state: %v, want it refused and not echoed", got)
		}
	}
}

func TestChecklist23_RedirectURIIsFixedInTheTransaction(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	params := authorizeParams(map[string]string{"redirect_uri": "http://localhost:61234/oauth/callback"})
	form := h.consentForm(params, "allow")
	snapshot := testSnapshot()
	snapshot.Clients[0].RedirectURIs = []string{"http://localhost:1/elsewhere"}
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	form.Set("redirect_uri", "http://localhost:1/elsewhere") // and what the browser adds counts for nothing
	if got := h.callback(h.decide(form), "http://localhost:61234/oauth/callback?"); got.Get("code") == "" {
		t.Errorf("callback %v", got)
	}
}

func TestChecklist24_ProbesChangeNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	before := h.stored()
	for _, method := range []string{http.MethodHead, http.MethodGet, http.MethodHead, http.MethodGet} {
		w := h.do(request{method: method, path: "/authorize", query: authorizeParams(nil), header: map[string]string{"Accept": "application/json"}, session: "a"})
		if w.Code != http.StatusSeeOther {
			t.Errorf("%s: status %d", method, w.Code)
		}
		if w := h.do(request{method: method, path: w.Header().Get("Location"), session: "a"}); w.Code != http.StatusOK {
			t.Errorf("%s consent: status %d", method, w.Code)
		}
	}
	if len(h.audit.list) != 0 {
		t.Errorf("events %v, want none", h.audit.list)
	}
	if !bytes.Equal(h.stored(), before) {
		t.Error("the probes wrote something into the database")
	}
	if w := h.do(request{method: http.MethodPut, path: "/authorize"}); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: status %d", w.Code)
	}
}

func TestAuthorizeByPostFromAnotherSite(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	w := h.do(request{method: http.MethodPost, path: "/authorize", form: authorizeParams(nil), header: map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://app.example"}})
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/consent?tx=") {
		t.Errorf("status %d, location %s", w.Code, w.Header().Get("Location"))
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	open := func(params url.Values, session string) (*identity.SignInStart, url.Values, int) {
		t.Helper()
		h.signIn.change(func(f *fakeSignIn) { f.starts = nil })
		w := h.do(request{path: h.consentURL(params), session: session})
		var start *identity.SignInStart
		if len(h.signIn.starts) == 1 {
			start = &h.signIn.starts[0]
		}
		u, _ := url.Parse(w.Header().Get("Location"))
		return start, u.Query(), w.Code
	}
	start, _, _ := open(authorizeParams(map[string]string{"login_hint": "bob"}), "")
	if start == nil || start.LoginHint != "bob" || start.ClientName != "Desktop" || start.Reauthenticate || !strings.HasPrefix(start.ReturnTo, "/consent?tx=") {
		t.Errorf("nobody signed in: %+v", start)
	}
	for prompt, other := range map[string]bool{"consent": false, "select_account": true, "consent select_account": true} { // consent is asked for here, not at an identity provider
		if start, _, _ := open(authorizeParams(map[string]string{"prompt": prompt}), ""); start == nil || start.OtherAccount != other || start.Reauthenticate {
			t.Errorf("prompt=%s, nobody signed in: %+v", prompt, start)
		}
	}
	if start, _, _ := open(authorizeParams(map[string]string{"prompt": "login"}), "a"); start == nil || !start.Reauthenticate {
		t.Errorf("prompt=login: %+v, want another sign-in", start)
	}
	if start, _, _ := open(authorizeParams(map[string]string{"max_age": "59"}), "a"); start == nil || !start.Reauthenticate {
		t.Errorf("max_age=59 after 60 s: %+v, want another sign-in", start)
	}
	for _, prompt := range []string{"consent", "select_account", "create", ""} {
		if start, _, status := open(authorizeParams(map[string]string{"prompt": prompt, "max_age": "60"}), "a"); start != nil || status != http.StatusOK {
			t.Errorf("prompt=%s: %+v, status %d, want the consent page", prompt, start, status)
		}
	}
	if start, got, _ := open(authorizeParams(map[string]string{"prompt": "none"}), ""); start != nil || got.Get("error") != "login_required" || got.Get("state") != "st" {
		t.Errorf("prompt=none, nobody there: %v", got)
	}
	if _, got, _ := open(authorizeParams(map[string]string{"prompt": "none", "max_age": "1"}), "a"); got.Get("error") != "login_required" {
		t.Errorf("prompt=none, sign-in too old: %v", got)
	}
	if _, got, _ := open(authorizeParams(map[string]string{"prompt": "none"}), "a"); got.Get("error") != "consent_required" || got.Get("iss") != testIssuer {
		t.Errorf("prompt=none: %v", got)
	}
	// After signing in again the same transaction goes on to consent.
	location := h.consentURL(authorizeParams(map[string]string{"prompt": "login"}))
	h.clock.Advance(time.Second)
	h.signIn.change(func(f *fakeSignIn) {
		again := *f.sessions["a"]
		again.AuthTime = h.clock.Now()
		f.sessions["a"] = &again
	})
	if w := h.do(request{path: location, session: "a"}); w.Code != http.StatusOK {
		t.Errorf("after the second sign-in: status %d", w.Code)
	}
}

func TestSkippedConsent(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	params := func(prompt string) url.Values {
		return authorizeParams(map[string]string{"client_id": "first-party", "redirect_uri": webURI, "prompt": prompt})
	}
	for _, prompt := range []string{"", "none"} {
		location := h.consentURL(params(prompt))
		if w := h.do(request{method: http.MethodHead, path: location, session: "a"}); w.Code != http.StatusOK || w.Header().Get("Location") != "" {
			t.Errorf("HEAD issued a code: %v", w.Header())
		}
		if got := h.callback(h.do(request{path: location, session: "a"}), webURI); got.Get("code") == "" {
			t.Errorf("prompt %q: %v, want a code", prompt, got)
		}
		if w := h.do(request{path: location, session: "a"}); w.Code != http.StatusBadRequest {
			t.Errorf("the same transaction again: status %d, want 400", w.Code)
		}
	}
	if w := h.do(request{path: h.consentURL(params("consent")), session: "a"}); w.Code != http.StatusOK {
		t.Errorf("prompt=consent: status %d, want the page", w.Code)
	}
}

func TestTransactionExpires(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	location := h.consentURL(authorizeParams(nil))
	h.clock.Advance(transactionLifetime)
	if w := h.do(request{path: location, session: "a"}); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "took too long") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	for _, tx := range []string{"", "x", strings.Repeat("A", 200)} {
		if w := h.do(request{path: "/consent", query: url.Values{"tx": {tx}}, session: "a"}); w.Code != http.StatusBadRequest {
			t.Errorf("tx %q: status %d", tx, w.Code)
		}
	}
}
