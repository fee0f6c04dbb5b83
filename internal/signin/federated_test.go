package signin

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/testkit"
)

// branch is a company's identity provider and several copies of Gatehouse on one database.
type branch struct {
	t     testing.TB
	clock *testkit.Clock
	idp   *testkit.UpstreamIDP
	file  string // of the database
	log   *syncBuffer
}

// syncBuffer is a log that tests can wait for.
type syncBuffer struct {
	mu    sync.Mutex // guards text
	text  bytes.Buffer
	wrote *sync.Cond
}

func newSyncBuffer() *syncBuffer {
	b := &syncBuffer{}
	b.wrote = sync.NewCond(&b.mu)
	return b
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.wrote.Broadcast()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// await returns when the log has the text.
func (b *syncBuffer) await(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !strings.Contains(b.text.String(), text) {
		b.wrote.Wait()
	}
}

func newBranch(t testing.TB) *branch {
	b := &branch{t: t, clock: testkit.NewClock(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)), idp: testkit.NewUpstreamIDP(t, ""),
		file: filepath.Join(t.TempDir(), "test.db"), log: newSyncBuffer()}
	b.idp.Configure(func(c *testkit.UpstreamConfig) {
		c.Now, c.RedirectURI = b.clock.Now, "https://gate.example/oauth/callback/okta"
	})
	return b
}

// copy is one Gatehouse. before is called when it is about to ask for tokens.
func (b *branch) copy(before func(*http.Request)) *Service {
	b.t.Helper()
	keys := testkit.Keyring(b.t, 1)
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := store.Open(b.t.Context(), store.Options{DSN: b.file, Keys: keys, Now: b.clock.Now, Log: log})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = db.Close() })
	p, err := oauthclient.New(oauthclient.Options{
		Name: "okta", DiscoveryURL: b.idp.DiscoveryURL(), ClientID: "gatehouse", ClientSecret: secret.New("s3cret+/&="),
		RedirectURI: "https://gate.example/oauth/callback/okta", Client: &http.Client{Transport: tap{before}}, Now: b.clock.Now, Log: log,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	public, _ := url.Parse("https://gate.example")
	s, err := New(Options{
		PublicURL: public, Issuer: testIssuer, Store: db, Keys: keys, Log: log, Now: b.clock.Now,
		ClientIP: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.1") }, Settings: Settings{NoUsers: true, Providers: []Provider{{Provider: p, Label: "Okta of Acme"}}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// tap lets a test know of requests for tokens before they are sent.
type tap struct{ before func(*http.Request) }

func (t tap) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.before != nil && strings.HasSuffix(r.URL.Path, "/token") {
		t.before(r)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// visit sends a request to one of the pages.
func visit(t testing.TB, s *Service, r *http.Request, jar map[string]*http.Cookie) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	for _, route := range s.Routes() {
		mux.Handle(route.Pattern, route.Handler)
	}
	for _, c := range jar {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if jar[c.Name] = c; c.MaxAge < 0 {
			delete(jar, c.Name)
		}
	}
	return w
}

// signIn walks through the pages of a copy and returns who came in.
func (b *branch) signIn(s *Service) identity.PersonKey {
	b.t.Helper()
	jar := map[string]*http.Cookie{}
	w := visit(b.t, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+Path, nil), jar)
	form := fields(w.Body.String())
	form.Set("provider", "okta")
	r := httptest.NewRequest(http.MethodPost, "https://gate.example"+ProviderPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	w = visit(b.t, s, r, jar)
	if w.Code != http.StatusSeeOther {
		b.t.Fatalf("leave: %d %s", w.Code, w.Body)
	}
	back := b.idp.Visit(b.t, w.Header().Get("Location"))
	w = visit(b.t, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+CallbackPath+"okta?"+back.Encode(), nil), jar)
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != home {
		b.t.Fatalf("callback: %d %s", w.Code, w.Body)
	}
	r = httptest.NewRequest(http.MethodGet, "https://gate.example/", nil)
	for _, c := range jar {
		r.AddCookie(c)
	}
	who, ok := s.Current(r)
	if !ok {
		b.t.Fatal("nobody is signed in")
	}
	return who.Person.Key
}

func (b *branch) refreshes() int {
	n := 0
	for _, r := range b.idp.Requests("token") {
		if r.Params.Get("grant_type") == "refresh_token" {
			n++
		}
	}
	return n
}

// The cookie of a sign-in under way: __Host-, Secure, HttpOnly, Lax, ten minutes, gone after the callback.
func TestChecklist29_StateCookie(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.copy(nil)
	jar := map[string]*http.Cookie{}
	w := visit(t, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+Path, nil), jar)
	for name := range jar {
		if strings.Contains(name, "-idp-") {
			t.Errorf("%s is set before the person has agreed", name)
		}
	}
	form := fields(w.Body.String())
	form.Set("provider", "okta")
	post := func(site string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "https://gate.example"+ProviderPath, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", site)
		return visit(t, s, r, jar)
	}
	if w := post("cross-site"); w.Code != http.StatusForbidden {
		t.Errorf("a form of another site: %d", w.Code)
	}
	w = post("same-origin")
	var cookie *http.Cookie
	for _, c := range w.Result().Cookies() {
		if strings.HasPrefix(c.Name, "__Host-gatehouse-idp-") {
			cookie = c
		}
	}
	if cookie == nil || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" || cookie.MaxAge != 600 {
		t.Fatalf("cookie %+v", cookie)
	}
	if h := w.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("headers %v", h)
	}
	back := b.idp.Visit(t, w.Header().Get("Location"))
	visit(t, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+CallbackPath+"okta?"+back.Encode(), nil), jar)
	if jar[cookie.Name] != nil || jar["__Host-gatehouse"] == nil {
		t.Errorf("cookies after the callback: %v", jar)
	}
	// The same address again, with the cookie that the browser has dropped.
	jar[cookie.Name] = cookie
	w = visit(t, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+CallbackPath+"okta?"+back.Encode(), nil), jar)
	if w.Code != http.StatusBadRequest {
		t.Errorf("a second time: %d", w.Code)
	}
}

// Browsers can be sent away only so often from one address: each time writes a row.
func TestLeavingIsThrottled(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.copy(nil)
	jar := map[string]*http.Cookie{}
	form := fields(visit(t, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+Path, nil), jar).Body.String())
	form.Set("provider", "okta")
	var last int
	for range 31 {
		r := httptest.NewRequest(http.MethodPost, "https://gate.example"+ProviderPath, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		last = visit(t, s, r, map[string]*http.Cookie{"__Host-gatehouse-form": jar["__Host-gatehouse-form"]}).Code
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("the 31st time: %d", last)
	}
}

// Two copies check the same person at the same time: one asks, the other waits for its answer.
func TestVouchingOnceForAllCopies(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	asking, goOn := make(chan struct{}), make(chan struct{})
	second := b.copy(nil)
	key := b.signIn(second)
	b.clock.Advance(time.Hour)
	slow := b.copy(func(*http.Request) {
		close(asking)
		<-goOn
	})
	results := make(chan error, 2)
	go func() {
		_, err := slow.Person(context.Background(), key)
		results <- err
	}()
	<-asking
	go func() {
		_, err := second.Person(context.Background(), key)
		results <- err
	}()
	b.log.await("another copy asks the identity provider")
	if n := b.refreshes(); n != 0 {
		t.Errorf("%d refreshes while the first one is under way", n)
	}
	close(goOn)
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := b.refreshes(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// A copy that stops between the provider's answer and the database loses the new refresh token. The person is not left
// in the dark: they have to sign in again, and log and reason say why.
func TestVouchingAfterACrash(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.copy(nil)
	key := b.signIn(s)
	b.clock.Advance(time.Hour)
	b.crash(s, key.Subject)
	if _, err := s.Person(t.Context(), key); err != nil {
		t.Errorf("while the lease of the copy that crashed still runs: %v", err)
	}
	b.clock.Advance(leaseLife)
	_, err := s.Person(t.Context(), key)
	var gone *identity.Gone
	if !errors.As(err, &gone) || !strings.Contains(gone.Reason, "was lost when a copy of Gatehouse stopped while asking: sign in again") {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(b.log.String(), "interrupted=true") {
		t.Errorf("the log does not say why:\n%s", b.log)
	}
	if again := b.signIn(s); again != key {
		t.Errorf("the person is %v after signing in again, %v before", again, key)
	}
	if _, err := s.Person(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// Where the provider takes the old token once more, as many do for a while, nobody notices.
func TestVouchingAfterACrashWithoutRotation(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.NoRotation = true })
	s := b.copy(nil)
	key := b.signIn(s)
	b.clock.Advance(time.Hour)
	b.crash(s, key.Subject)
	b.clock.Advance(leaseLife)
	if _, err := s.Person(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(time.Hour)
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = true })
	var gone *identity.Gone
	if _, err := s.Person(t.Context(), key); !errors.As(err, &gone) || strings.Contains(gone.Reason, "was lost") {
		t.Errorf("the crash is still blamed: %v", err)
	}
}

// crash does what a copy does that takes the lease, redeems, and is gone.
func (b *branch) crash(s *Service, id string) {
	b.t.Helper()
	f, taken, err := s.Store.LeaseFederated(b.t.Context(), store.FederatedLease{
		ID: id, Lease: "of the copy that crashes", Since: b.clock.Now().Add(-DefaultRecheck), Until: b.clock.Now().Add(leaseLife),
	})
	if err != nil || !taken {
		b.t.Fatalf("lease: %v %v", taken, err)
	}
	token, err := s.refresh.Open(f.Sealed, []byte(f.ID))
	if err != nil {
		b.t.Fatal(err)
	}
	_, outcome, err := s.settings.Load().provider("okta").Refresh(b.t.Context(), secret.New(string(token)), oauthclient.RefreshOptions{
		Person: identity.PersonKey{Issuer: f.Issuer, Subject: f.Subject},
	})
	if outcome != oauthclient.OutcomeRenewed {
		b.t.Fatalf("%s %v", outcome, err)
	}
}

// A database that does not take the rotated token at first gets it later.
func TestVouchingWhenTheDatabaseFails(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.copy(nil)
	key := b.signIn(s)
	db, err := sql.Open("sqlite", b.file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	execute := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	execute(`CREATE TRIGGER full BEFORE UPDATE ON federated_people WHEN NEW.lease = '' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
	b.clock.Advance(time.Hour)
	for range 2 {
		if _, err := s.Person(t.Context(), key); err == nil || errors.Is(err, identity.ErrGone) {
			t.Fatalf("with a database that takes nothing: %v", err)
		}
	}
	execute(`DROP TRIGGER full`)
	if _, err := s.Person(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(time.Hour)
	if _, err := s.Person(t.Context(), key); err != nil {
		t.Errorf("the next check: %v", err)
	}
	if n := b.refreshes(); n != 2 {
		t.Errorf("the provider was asked %d times, want once for each hour", n)
	}
}

// A person of whom the provider says more than can be kept gets nothing on what was known before, and keeps nobody else from
// being asked about.
func TestVouchingForSomebodyTooLarge(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.copy(nil)
	settings := *s.settings.Load()
	settings.Providers[0].Claims = []string{"biography"}
	if err := s.Swap(settings); err != nil {
		t.Fatal(err)
	}
	say := func(subject, biography string) {
		b.idp.Configure(func(c *testkit.UpstreamConfig) {
			c.Subject, c.Person = subject, map[string]any{"biography": biography}
		})
	}
	say("mallory", "short")
	mallory := b.signIn(s)
	say("bob", "short")
	bob := b.signIn(s)
	b.clock.Advance(time.Hour)
	say("mallory", strings.Repeat("once upon a time ", 300))
	if p, err := s.Person(t.Context(), mallory); err == nil || errors.Is(err, identity.ErrGone) {
		t.Errorf("the old claims still count: %+v %v", p, err)
	}
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = true })
	if _, err := s.Person(t.Context(), bob); !errors.Is(err, identity.ErrGone) {
		t.Errorf("bob, who was removed: %v", err)
	}
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Disabled = false })
	say("mallory", "short again")
	if _, err := s.Person(t.Context(), mallory); err != nil {
		t.Error(err)
	}
}

// Sealed refresh tokens open at their own row only (checklist 62).
func TestChecklist62_RefreshTokenIsBoundToItsRow(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	s := b.copy(nil)
	alice := b.signIn(s)
	b.idp.Configure(func(c *testkit.UpstreamConfig) { c.Subject = "mallory" })
	mallory := b.signIn(s)
	db, err := sql.Open("sqlite", b.file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `UPDATE federated_people SET sealed = (SELECT sealed FROM federated_people WHERE id = ?) WHERE id = ?`, alice.Subject, mallory.Subject); err != nil {
		t.Fatal(err)
	}
	b.clock.Advance(time.Hour)
	if _, err := s.Person(t.Context(), mallory); err != nil {
		t.Errorf("the provider's last word holds for eight hours: %v", err)
	}
	if n := b.refreshes(); n != 0 {
		t.Error("another person's refresh token was redeemed")
	}
	b.clock.Advance(VouchLife)
	if _, err := s.Person(t.Context(), mallory); !errors.Is(err, identity.ErrGone) {
		t.Errorf("after eight hours: %v", err)
	}
}

// Stopping waits for a question that is under way, and stores what the database did not take before.
func TestCloseLosesNoRefreshToken(t *testing.T) {
	t.Parallel()
	b := newBranch(t)
	key := b.signIn(b.copy(nil))
	b.clock.Advance(time.Hour)
	asking, goOn := make(chan struct{}), make(chan struct{})
	s := b.copy(func(*http.Request) {
		close(asking)
		<-goOn
	})
	answered := make(chan error, 1)
	go func() {
		_, err := s.Person(context.Background(), key)
		answered <- err
	}()
	<-asking
	gaveUp, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(gaveUp); !errors.Is(err, context.Canceled) {
		t.Errorf("stopping did not wait: %v", err)
	}
	close(goOn)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Error(err)
	}

	other := b.copy(nil)
	db, err := sql.Open("sqlite", b.file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	execute := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	execute(`CREATE TRIGGER full BEFORE UPDATE ON federated_people WHEN NEW.lease = '' BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
	b.clock.Advance(time.Hour)
	if _, err := other.Person(t.Context(), key); err == nil {
		t.Fatal("a database that takes nothing was no trouble")
	}
	execute(`DROP TRIGGER full`)
	if err := other.Close(t.Context()); err != nil {
		t.Error(err)
	}
	b.clock.Advance(time.Hour)
	if _, err := b.copy(nil).Person(t.Context(), key); err != nil {
		t.Errorf("the next copy: %v", err)
	}
}

// Whatever comes back instead of the provider's answer signs nobody in, and breaks nothing.
func FuzzCallback(f *testing.F) {
	b := newBranch(f)
	s := b.copy(nil)
	jar := map[string]*http.Cookie{}
	form := fields(visit(f, s, httptest.NewRequest(http.MethodGet, "https://gate.example"+Path, nil), jar).Body.String())
	form.Set("provider", "okta")
	r := httptest.NewRequest(http.MethodPost, "https://gate.example"+ProviderPath, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	to, err := url.Parse(visit(f, s, r, jar).Header().Get("Location"))
	if err != nil {
		f.Fatal(err)
	}
	state := to.Query().Get("state")
	f.Add("code=x&state=" + state)
	f.Add("error=access_denied&error_description=%3Cscript%3E&state=" + state)
	f.Add("state=" + state + "&state=" + state)
	f.Add("state=%00%ff;&code=\x00")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest(http.MethodGet, "https://gate.example"+CallbackPath+"okta", nil)
		r.URL.RawQuery = query
		before := maps.Clone(jar)
		w := visit(t, s, r, before)
		if w.Code < 400 || w.Code == http.StatusInternalServerError || before["__Host-gatehouse"] != nil {
			t.Errorf("%q: status %d, cookies %v", query, w.Code, before)
		}
	})
}
