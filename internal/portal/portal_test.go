package portal

import (
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/page"
	"gatehouse/internal/secret"
	"gatehouse/internal/signin"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

const (
	testIssuer   = identity.Issuer("http://gatehouse.test")
	testPassword = "correct horse battery"
)

// fixture is the portal and the sign-in pages behind a real HTTP server, with the users alice and bob.
type fixture struct {
	store *store.Store
	now   time.Time
	alice store.User
	bob   store.User
	site  *httptest.Server
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{now: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)}
	now := func() time.Time { return f.now }
	log := slog.New(slog.DiscardHandler)
	keys := testkit.Keyring(t)
	var err error
	f.store, err = store.Open(t.Context(), store.Options{DSN: filepath.Join(t.TempDir(), "test.db"), Keys: keys, Now: now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	f.alice, f.bob = f.addUser(t, "alice"), f.addUser(t, "bob")

	mux := http.NewServeMux()
	f.site = httptest.NewServer(mux)
	t.Cleanup(f.site.Close)
	public, _ := url.Parse(strings.Replace(f.site.URL, "127.0.0.1", "localhost", 1))
	in, err := signin.New(signin.Options{
		PublicURL: public, Issuer: testIssuer, Store: f.store, Keys: keys, Log: log, Now: now,
		ClientIP: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") },
	})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Options{
		SignIn: in, Store: f.store, Log: log, Now: now,
		Endpoints: []Endpoint{{URL: public.String() + "/mcp", Targets: []string{"everything", "github"}}, {URL: public.String() + "/finance/mcp"}},
		Guides: []Guide{
			{Client: "Kiro", Where: "~/.kiro/settings/mcp.json", Text: "{\n  \"mcpServers\": {\n    \"gatehouse\": { \"url\": \"" + public.String() + "/mcp\" }\n  }\n}"},
			{Client: "Cursor", Where: "~/.cursor/mcp.json", Text: "{}", Link: "cursor://anysphere.cursor-deeplink/mcp/install?name=gatehouse"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range in.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	for _, r := range p.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.Handle("GET "+page.StaticPrefix, page.Static())
	return f
}

func (f *fixture) addUser(t *testing.T, name string) store.User {
	u, _, err := signin.NewUsers(f.store, func() time.Time { return f.now }).Add(t.Context(), signin.UserSpec{
		Username: name, Name: strings.ToUpper(name[:1]) + name[1:] + " Example", Email: name + "@example.com",
		Groups: []string{"eng", "sre"}, Password: secret.New(testPassword),
	})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func (f *fixture) addGrant(t *testing.T, id string, u store.User, clientName string) {
	t.Helper()
	f.addGrantTo(t, id, u, "client-1", clientName)
}

func (f *fixture) addGrantTo(t *testing.T, id string, u store.User, client identity.ClientID, clientName string) {
	t.Helper()
	err := f.store.CreateGrant(t.Context(), store.Grant{
		ID: identity.GrantID(id), Person: identity.PersonKey{Issuer: testIssuer, Subject: u.ID}, Client: client, ClientName: clientName,
		Resource: "http://localhost:8080/mcp", Scopes: identity.Scopes{"mcp:tools", "offline_access"},
		CreatedAt: f.now, AuthTime: f.now, LastUsed: f.now, Expires: f.now.Add(time.Hour),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) grants(t *testing.T, u store.User) int {
	g, err := f.store.Grants(t.Context(), identity.PersonKey{Issuer: testIssuer, Subject: u.ID})
	if err != nil {
		t.Fatal(err)
	}
	return len(g)
}

// browser keeps cookies and follows redirects.
type browser struct {
	t    *testing.T
	site string
	*http.Client
}

func (f *fixture) browser(t *testing.T) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{t, f.site.URL, &http.Client{Jar: jar}}
}

type answer struct {
	*http.Response
	body string
}

func (b *browser) send(method, path string, form url.Values) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.site+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp, string(body)}
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

func field(body, name string) string {
	for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
		if m[1] == name {
			return html.UnescapeString(m[2])
		}
	}
	return ""
}

// signIn opens the account page by way of the sign-in page.
func (b *browser) signIn(name string) answer {
	b.t.Helper()
	shown := b.send("GET", AccountPath, nil)
	got := b.send("POST", signin.Path, url.Values{
		"csrf": {field(shown.body, "csrf")}, "flow": {field(shown.body, "flow")}, "username": {name}, "password": {testPassword},
	})
	if got.StatusCode != 200 || got.Request.URL.Path != AccountPath {
		b.t.Fatalf("sign-in: %d at %s", got.StatusCode, got.Request.URL)
	}
	return got
}

// submit posts a form of the account page.
func (b *browser) submit(path string, form url.Values) answer {
	b.t.Helper()
	form.Set("csrf", field(b.send("GET", AccountPath, nil).body, "csrf"))
	return b.send("POST", AccountPath+path, form)
}

func TestHome(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	got := b.send("GET", "/", nil)
	for _, want := range []string{"/mcp</code>", "/finance/mcp</code>", "take mcp-remote, below", "~/.kiro/settings/mcp.json", `href="cursor://`, ">Sign in<"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the home page lacks %s", want)
		}
	}
	if strings.Contains(got.body, "Leads to") {
		t.Error("the home page tells strangers what is behind the endpoints")
	}
	if got := b.send("GET", "/account/password", nil); got.StatusCode != 200 || got.Request.URL.Path != signin.Path {
		t.Errorf("a form's address: %d at %s", got.StatusCode, got.Request.URL)
	}
	if got := b.send("GET", "/nonsense", nil); got.StatusCode != 404 {
		t.Errorf("unknown path: %d", got.StatusCode)
	}
	b.signIn("alice")
	if got := b.send("GET", "/", nil); !strings.Contains(got.body, ">alice</a>") || !strings.Contains(got.body, "Leads to") {
		t.Error("the home page does not show who is signed in, or what is behind the endpoints")
	}
}

// A client that describes itself may be called anything; where its description lies is what a person can go by.
func TestAccountShowsTheHostOfADocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.addGrantTo(t, "g1", f.alice, "https://evil.example/oauth.json", "Claude")
	got := f.browser(t).signIn("alice")
	if want := `<strong>Claude</strong> <small class="muted">of <code>evil.example</code>`; !strings.Contains(got.body, want) {
		t.Errorf("the account page lacks %s:\n%s", want, got.body)
	}
}

func TestAccountShowsOwnClientsAndDisconnects(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.addGrant(t, "g1", f.alice, "Kiro")
	f.addGrant(t, "g2", f.alice, "")
	f.addGrant(t, "g3", f.bob, "client of bob")
	b := f.browser(t)
	got := b.signIn("alice")
	for _, want := range []string{"<strong>Kiro</strong>", "<strong>client-1</strong>", "mcp:tools", "23 November 2026"} {
		if !strings.Contains(got.body, want) {
			t.Errorf("the account page lacks %s", want)
		}
	}
	if strings.Contains(got.body, "client of bob") { // no token holds spaces
		t.Error("the account page shows what is not alice's")
	}
	if got := b.submit("/clients/disconnect", url.Values{"grant": {"g1"}}); !strings.Contains(got.body, "is disconnected") || strings.Contains(got.body, "<strong>Kiro") {
		t.Errorf("disconnect: %d", got.StatusCode)
	}
	if !f.store.Revoked(identity.PersonKey{Issuer: testIssuer, Subject: f.alice.ID}, "g1", "client-1", f.now) {
		t.Error("the tokens of the grant are still good")
	}
	// Somebody else's grant cannot be ended, and the answer does not tell whether it exists.
	for _, id := range []string{"g3", "nonsense", ""} {
		if got := b.submit("/clients/disconnect", url.Values{"grant": {id}}); got.StatusCode != 200 {
			t.Errorf("grant %q: %d", id, got.StatusCode)
		}
	}
	if f.grants(t, f.bob) != 1 || f.grants(t, f.alice) != 1 {
		t.Error("the wrong grants were ended")
	}
}

func TestChecklist5_ClientNamesAreEscapedOnTheAccountPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.addGrant(t, "g1", f.alice, `"><script>alert(1)</script>`)
	if got := f.browser(t).signIn("alice"); strings.Contains(got.body, "<script>") {
		t.Error("a client's name is not escaped")
	}
}

func TestChecklist26_AccountFormsNeedTheirToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.addGrant(t, "g1", f.alice, "Kiro")
	alice, bob := f.browser(t), f.browser(t)
	alice.signIn("alice")
	bobs := field(bob.signIn("bob").body, "csrf")
	for _, r := range (&Portal{}).Routes() {
		path, isPost := strings.CutPrefix(r.Pattern, "POST ")
		if !isPost {
			continue
		}
		for _, token := range []string{"", "AAAA", bobs} {
			if got := alice.send("POST", path, url.Values{"csrf": {token}, "grant": {"g1"}}); got.StatusCode != 403 {
				t.Errorf("%s with token %q: %d", path, token, got.StatusCode)
			}
		}
		if got := f.browser(t).send("POST", path, url.Values{"grant": {"g1"}}); got.Request.URL.Path != signin.Path {
			t.Errorf("%s by nobody: %d at %s", path, got.StatusCode, got.Request.URL)
		}
	}
	if f.grants(t, f.alice) != 1 || alice.send("GET", AccountPath, nil).Request.URL.Path != AccountPath {
		t.Error("something was changed")
	}
}

func TestChecklist27_AccountHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.browser(t).signIn("alice").Header
	csp := h.Get("Content-Security-Policy")
	if !strings.Contains(csp, "form-action 'self'") || !strings.Contains(csp, "frame-ancestors 'none'") || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.addGrant(t, "g1", f.alice, "Kiro")
	b, other := f.browser(t), f.browser(t)
	b.signIn("alice")
	other.signIn("alice")
	const chosen = "staple weather orange"
	for _, tt := range []struct {
		old, chosen, repeat string
		status              int
		text                string
	}{
		{"wrong", chosen, chosen, 403, "current password is wrong"},
		{testPassword, chosen, "other", 422, "passwords differ"},
		{testPassword, "short", "short", 422, "too short"},
		{testPassword, testPassword, testPassword, 422, "is the old one"},
		{testPassword, chosen, chosen, 200, "password was changed"},
	} {
		got := b.submit("/password", url.Values{"password": {tt.old}, "new_password": {tt.chosen}, "repeat_password": {tt.repeat}})
		if got.StatusCode != tt.status || !strings.Contains(got.body, tt.text) {
			t.Errorf("%+v: %d", tt, got.StatusCode)
		}
	}
	if b.send("GET", AccountPath, nil).Request.URL.Path != AccountPath {
		t.Error("the browser that changed the password was signed out")
	}
	if other.send("GET", AccountPath, nil).Request.URL.Path != signin.Path || f.grants(t, f.alice) != 0 {
		t.Error("the old password still leads somewhere")
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.addGrant(t, "g1", f.alice, "Kiro")
	b, other := f.browser(t), f.browser(t)
	b.signIn("alice")
	other.signIn("alice")
	if got := b.submit("/signout", url.Values{}); got.Request.URL.Path != "/" {
		t.Errorf("sign-out leads to %s", got.Request.URL)
	}
	if b.send("GET", AccountPath, nil).Request.URL.Path != signin.Path {
		t.Error("still signed in")
	}
	if other.send("GET", AccountPath, nil).Request.URL.Path != AccountPath || f.grants(t, f.alice) != 1 {
		t.Error("signing out at one browser ended more")
	}
	b.signIn("alice")
	b.submit("/signout-everywhere", url.Values{})
	if other.send("GET", AccountPath, nil).Request.URL.Path != signin.Path || f.grants(t, f.alice) != 0 {
		t.Error("signing out everywhere left something")
	}
}

func TestPasskeysNeedARecentSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	if got := b.signIn("alice"); !strings.Contains(got.body, `data-passkey="create"`) {
		t.Error("no passkey is offered right after signing in")
	}
	if got := b.submit("/passkeys/add", url.Values{"ceremony": {"x"}, "response": {"{}"}}); got.StatusCode != 422 {
		t.Errorf("a passkey that is none: %d", got.StatusCode)
	}
	f.now = f.now.Add(recent)
	if got := b.send("GET", AccountPath, nil); strings.Contains(got.body, `data-passkey="create"`) {
		t.Error("a passkey is offered long after signing in")
	}
	for _, path := range []string{"/passkeys/add", "/passkeys/remove", "/confirm"} {
		if got := b.submit(path, url.Values{"passkey": {"AAAA"}}); got.Request.URL.Path != signin.Path || !strings.Contains(got.body, "Confirm it is you") {
			t.Errorf("%s: %d at %s", path, got.StatusCode, got.Request.URL)
		}
	}
}
