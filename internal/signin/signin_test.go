package signin

import (
	"context"
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
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

const (
	testIssuer   = identity.Issuer("http://gatehouse.test")
	testPassword = "correct horse battery"
)

// cheapParams keep tests fast that are not about the costs.
var cheapParams = hashParams{memory: 64, time: 1, threads: 1}

// fixture is a service with one user, alice, behind a real HTTP server.
type fixture struct {
	*Service
	clock *testkit.Clock
	users *Users
	alice store.User
	site  *httptest.Server
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx := t.Context()
	c := testkit.NewClock(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC))
	keys := testkit.Keyring(t)
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, store.Options{DSN: filepath.Join(t.TempDir(), "test.db"), Keys: keys, Now: c.Now, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })

	f := &fixture{clock: c, users: NewUsers(db, c.Now)}
	f.users.hasher = newHasher(cheapParams)
	f.alice, _, err = f.users.Add(ctx, UserSpec{
		Username: "alice", Name: "Alice Example", Email: "alice@example.com",
		Groups: []string{"eng"}, Claims: identity.Claims{"team": "tools"}, Password: secret.New(testPassword),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	f.site = httptest.NewServer(mux)
	t.Cleanup(f.site.Close)
	public, _ := url.Parse(strings.Replace(f.site.URL, "127.0.0.1", "localhost", 1))
	f.Service, err = New(Options{
		PublicURL: public, Issuer: testIssuer, Store: db, Keys: keys, Log: log, Now: c.Now,
		ClientIP: func(r *http.Request) netip.Addr {
			if from := r.Header.Get("Test-From"); from != "" {
				return netip.MustParseAddr(from)
			}
			return netip.MustParseAddr("192.0.2.1")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.hasher = f.users.hasher
	for _, r := range f.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	mux.HandleFunc("GET /go", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		start := identity.SignInStart{
			ReturnTo: q.Get("to"), LoginHint: q.Get("hint"), ClientName: q.Get("client"), Reauthenticate: q.Has("again"),
			Client: &identity.ClientFacts{Host: q.Get("unchecked"), Unchecked: q.Has("unchecked"), RedirectHost: "evil.example"},
		}
		f.Start(w, r, start)
	})
	mux.HandleFunc("GET /who", func(w http.ResponseWriter, r *http.Request) {
		who, ok := f.Current(r)
		if !ok {
			http.Error(w, "nobody", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, who.Person.Username+" "+who.SessionID+" "+who.AuthTime.Format(time.RFC3339)+" "+strings.Join(who.Methods, ","))
	})
	mux.HandleFunc("POST /end", func(w http.ResponseWriter, r *http.Request) {
		if _, err := f.End(w, r); err != nil {
			t.Error(err)
		}
	})
	return f
}

// browser is a client with cookies that follows no redirect.
type browser struct {
	t    *testing.T
	site string
	from string
	*http.Client
}

func (f *fixture) browser(t *testing.T) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{t: t, site: f.site.URL, Client: &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response that was read to the end.
type answer struct {
	*http.Response
	body string
}

func (b *browser) send(req *http.Request) answer {
	b.t.Helper()
	if b.from != "" {
		req.Header.Set("Test-From", b.from)
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

func (b *browser) get(path string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.site+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.send(req)
}

func (b *browser) post(path string, form url.Values) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.site+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.send(req)
}

var hiddenField = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// fields returns the hidden fields of a page.
func fields(body string) url.Values {
	v := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	return v
}

// signIn goes to the sign-in page and posts a password.
func (b *browser) signIn(startPath, username, password string) answer {
	b.t.Helper()
	shown := b.get(startPath)
	if shown.StatusCode == http.StatusSeeOther {
		shown = b.get(shown.Header.Get("Location"))
	}
	form := fields(shown.body)
	form.Set("username", username)
	form.Set("password", password)
	return b.post(Path, form)
}

// sessionCookie is the name of the session cookie at this site.
func (b *browser) sessionCookie() string {
	u, _ := url.Parse(b.site)
	return "gatehouse-" + u.Port()
}

// cookie returns the value of the session cookie.
func (b *browser) cookie() string {
	u, _ := url.Parse(b.site)
	for _, c := range b.Jar.Cookies(u) {
		if c.Name == b.sessionCookie() {
			return c.Value
		}
	}
	return ""
}

// withCookie returns a browser that has a session cookie of that value.
func (f *fixture) withCookie(t *testing.T, value string) *browser {
	b := f.browser(t)
	u, _ := url.Parse(b.site)
	b.Jar.SetCookies(u, []*http.Cookie{{Name: b.sessionCookie(), Value: value, Path: "/"}})
	return b
}

// regexpOptions matches what is random on a page with a passkey form.
var regexpOptions = regexp.MustCompile(`data-options="[^"]*"`)

// newFlowOnly returns a service that can do no more than seal and open flows.
func newFlowOnly(tb testing.TB) *Service {
	return &Service{flows: testkit.Keyring(tb).Box("sign-in flow")}
}
