package signin

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

func TestSignInComesBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	to := "/authorize?client_id=a&state=x%2By"
	got := b.signIn("/go?"+url.Values{"to": {to}, "client": {"Kiro"}}.Encode(), "Alice", testPassword)
	if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != to {
		t.Fatalf("got %d to %q, want 303 to %q", got.StatusCode, got.Header.Get("Location"), to)
	}
	if who := b.get("/who").body; !strings.HasPrefix(who, "alice ") || !strings.HasSuffix(who, " pwd") {
		t.Errorf("who = %q", who)
	}
	// Somebody who is signed in is not asked again.
	if again := b.get(b.get("/go?to=/x").Header.Get("Location")); again.Header.Get("Location") != "/x" {
		t.Errorf("second start: %d to %q", again.StatusCode, again.Header.Get("Location"))
	}
}

func TestSignInPageNamesClientAndHint(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	got := b.get(b.get("/go?" + url.Values{"to": {"/x"}, "client": {"Kiro"}, "hint": {"bob"}}.Encode()).Header.Get("Location"))
	for _, want := range []string{`to continue to <strong>Kiro</strong>`, `value="bob"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("page lacks %s", want)
		}
	}
}

// A client that nobody knows yet is named by a host that it chose itself: the page says so, and offers the way back.
func TestUncheckedClientIsShownAsSuch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	start := url.Values{"to": {"/consent?tx=abc"}, "client": {"bank.example"}}
	page := b.get(b.get("/go?" + start.Encode()).Header.Get("Location")).body
	if strings.Contains(page, "not checked yet") || strings.Contains(page, "cancel-form") {
		t.Error("a client that is known is shown as one that is not")
	}
	start.Set("unchecked", "bank.example")
	page = b.get(b.get("/go?" + start.Encode()).Header.Get("Location")).body
	for _, want := range []string{"not checked yet", "says that it is of <code>bank.example</code>", "<code>evil.example</code>", `name="tx" value="abc"`, "signin-form"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
}

func TestChecklist5_ClientNameIsEscaped(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	evil := `"><script>alert(1)</script><img src=https://evil.example/x>`
	got := b.get(b.get("/go?" + url.Values{"to": {"/x"}, "client": {evil}, "hint": {evil}}.Encode()).Header.Get("Location"))
	if strings.Contains(got.body, "<script>") || strings.Contains(got.body, "<img src=https") {
		t.Error("the page carries what a client calls itself unescaped")
	}
}

func TestChecklist26_FormNeedsBrowserTokenAndOrigin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	good := func(b *browser) url.Values {
		v := fields(b.get(Path).body)
		v.Set("username", "alice")
		v.Set("password", testPassword)
		return v
	}
	tests := map[string]func(b *browser) answer{
		"no token":                    func(b *browser) answer { v := good(b); v.Del("csrf"); return b.post(Path, v) },
		"token of another browser":    func(b *browser) answer { v := good(f.browser(t)); good(b); return b.post(Path, v) },
		"no cookie":                   func(b *browser) answer { v := good(b); b.Jar = nil; return b.post(Path, v) },
		"sent by another site":        func(b *browser) answer { return b.postFrom(good(b), "Sec-Fetch-Site", "cross-site") },
		"sent by a sibling site":      func(b *browser) answer { return b.postFrom(good(b), "Sec-Fetch-Site", "same-site") },
		"older browser, other origin": func(b *browser) answer { return b.postFrom(good(b), "Origin", "https://evil.example") },
		"origin null":                 func(b *browser) answer { return b.postFrom(good(b), "Origin", "null") },
		"too large": func(b *browser) answer {
			v := good(b)
			v.Set("padding", strings.Repeat("x", maxFormBytes))
			return b.post(Path, v)
		},
	}
	for name, send := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := f.browser(t)
			got := send(b)
			if got.StatusCode != http.StatusForbidden || !strings.Contains(got.body, "open for too long") {
				t.Errorf("got %d, want the form again with 403", got.StatusCode)
			}
			if b.Jar != nil && b.get("/who").StatusCode != http.StatusUnauthorized {
				t.Error("the browser was signed in")
			}
		})
	}
	t.Run("origin null of our own page", func(t *testing.T) { // under a referrer policy of no-referrer
		t.Parallel()
		b := f.browser(t)
		if got := b.postFrom(good(b), "Origin", "null", "Sec-Fetch-Site", "same-origin"); got.StatusCode != http.StatusSeeOther {
			t.Errorf("got %d, want 303", got.StatusCode)
		}
	})
}

func (b *browser) postFrom(form url.Values, headers ...string) answer {
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.site+Path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return b.send(req)
}

func TestChecklist27_PageHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	h := f.browser(t).get(Path).Header
	csp := h.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "script-src 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("content policy %q lacks %s", csp, want)
		}
	}
	if strings.Contains(csp, "form-action") { // the redirects after this form end at a client
		t.Errorf("content policy %q restricts form-action", csp)
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", h)
	}
}

func TestReturnToIsLocal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, to := range []string{
		"", "x", "//evil.example", `/\evil.example`, `\\evil.example`, "https://evil.example", "/\t/evil.example", "/\n/evil",
		"/a\\b", "javascript:alert(1)", " /x", "/\x00", "/ok\r\nLocation: //evil",
	} {
		if got := f.browser(t).get("/go?" + url.Values{"to": {to}}.Encode()); got.StatusCode != http.StatusInternalServerError {
			t.Errorf("start with %q: %d to %q", to, got.StatusCode, got.Header.Get("Location"))
		}
	}
	// What is in the address cannot be chosen, and neither can what is in the form.
	for _, flow := range []string{"https://evil.example", "//evil.example", "%2F%2Fevil.example", "AAAA", strings.Repeat("A", 4000)} {
		b := f.browser(t)
		v := fields(b.get(Path + "?next=//evil.example&flow=" + flow).body)
		v.Set("flow", flow)
		v.Set("next", "//evil.example")
		v.Set("username", "alice")
		v.Set("password", testPassword)
		if got := b.post(Path, v); got.Header.Get("Location") != home {
			t.Errorf("flow %q leads to %q", flow, got.Header.Get("Location"))
		}
	}
}

func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "/authorize?x=1", "//evil", `/\evil`, "/%2f/evil", "/./", "/..//evil", "/\t//evil", "http://a", ""} {
		f.Add(s)
	}
	base, _ := url.Parse("https://gatehouse.test/signin")
	f.Fuzz(func(t *testing.T, p string) {
		if !localPath(p) {
			return
		}
		u, err := base.Parse(strings.ReplaceAll(p, `\`, "/")) // as browsers read it
		if err == nil && (u.Host != "gatehouse.test" || u.Scheme != "https") {
			t.Errorf("%q leads to %s", p, u)
		}
	})
}

func FuzzFlow(f *testing.F) {
	fx := newFlowOnly(f)
	f.Add("")
	f.Add("AAAA")
	f.Add(fx.flows.SealString([]byte(`{"ReturnTo":"//evil"}`), nil))
	f.Add(fx.flows.SealString([]byte(`{"ReturnTo":7}`), nil))
	f.Fuzz(func(t *testing.T, sealed string) {
		if got := fx.openFlow(sealed).ReturnTo; !localPath(got) {
			t.Errorf("flow %q leads to %q", sealed, got)
		}
	})
}

func TestChecklist31_NewSessionAtEachSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	b.signIn(Path, "alice", testPassword)
	first := b.cookie()
	firstID := strings.Fields(b.get("/who").body)[1]

	f.clock.Advance(time.Minute)
	got := b.signIn("/go?to=/back&again", "alice", testPassword)
	if got.Header.Get("Location") != "/back" {
		t.Fatalf("sign-in again: %d", got.StatusCode)
	}
	if b.cookie() == first || strings.Fields(b.get("/who").body)[1] == firstID {
		t.Error("the session survived a new sign-in")
	}
	if got := f.withCookie(t, first).get("/who"); got.StatusCode != http.StatusUnauthorized {
		t.Error("the old cookie still works")
	}
	// A cookie that somebody planted before is not taken over.
	planted := strings.Repeat("A", 43)
	victim := f.withCookie(t, planted)
	victim.signIn(Path, "alice", testPassword)
	if victim.cookie() == planted {
		t.Error("a planted cookie became a session")
	}
	// Nor is anybody signed in by two cookies of the same name.
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, f.site.URL+"/who", nil)
	req.Header.Set("Cookie", victim.sessionCookie()+"="+planted+"; "+victim.sessionCookie()+"="+victim.cookie())
	if got := f.browser(t).send(req); got.StatusCode != http.StatusUnauthorized {
		t.Error("an ambiguous cookie was accepted")
	}
}

func TestReauthenticateAsksAndRenews(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	b.signIn(Path, "alice", testPassword)
	before := strings.Fields(b.get("/who").body)[2]
	f.clock.Advance(time.Hour)
	shown := b.get(b.get("/go?to=/back&again").Header.Get("Location"))
	if shown.StatusCode != http.StatusOK || !strings.Contains(shown.body, "Confirm it is you") || !strings.Contains(shown.body, `value="alice"`) {
		t.Fatalf("the page does not ask again: %d", shown.StatusCode)
	}
	v := fields(shown.body)
	v.Set("username", "alice")
	v.Set("password", "not the password")
	if got := b.post(Path, v); got.StatusCode != http.StatusUnauthorized || strings.Fields(b.get("/who").body)[2] != before {
		t.Error("a wrong password renewed the sign-in")
	}
	v.Set("password", testPassword)
	b.post(Path, v)
	if strings.Fields(b.get("/who").body)[2] == before {
		t.Error("the time of the sign-in was not renewed")
	}
}

func TestBrowserSessionExpires(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	idle, absolute := f.browser(t), f.browser(t)
	idle.signIn(Path, "alice", testPassword)
	absolute.signIn(Path, "alice", testPassword)
	for range 15 { // 15 × 11 h 30 min is a little more than 7 days
		f.clock.Advance(DefaultIdle - 30*time.Minute)
		if f.clock.Now().Sub(f.alice.CreatedAt) < DefaultAbsolute && absolute.get("/who").StatusCode != http.StatusOK {
			t.Fatalf("a session in use ended after %s", f.clock.Now().Sub(f.alice.CreatedAt))
		}
		if f.clock.Now().Sub(f.alice.CreatedAt) > DefaultIdle && idle.get("/who").StatusCode != http.StatusUnauthorized {
			t.Fatal("an idle session went on")
		}
	}
	if absolute.get("/who").StatusCode != http.StatusUnauthorized {
		t.Error("a session outlived its absolute lifetime")
	}
}

func TestChecklist62_SessionCookieIsStoredHashed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	b.signIn(Path, "alice", testPassword)
	token, err := base64.RawURLEncoding.DecodeString(b.cookie())
	if err != nil || len(token) != 32 {
		t.Fatal(err, len(token))
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := f.Store.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(stored, tokenHash(token)) || bytes.Contains(stored, token) || bytes.Contains(stored, []byte(b.cookie())) {
		t.Errorf("the database does not hold the cookie's hash alone: %v", err)
	}
}

func TestEndSignsOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	b.signIn(Path, "alice", testPassword)
	cookie := b.cookie()
	b.post("/end", nil)
	if b.cookie() != "" || f.withCookie(t, cookie).get("/who").StatusCode != http.StatusUnauthorized {
		t.Error("the session survived signing out")
	}
}

func TestSessionCookie(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	got := b.signIn(Path, "alice", testPassword).Header.Get("Set-Cookie")
	for _, want := range []string{b.sessionCookie() + "=", "Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"} {
		if !strings.Contains(got, want) {
			t.Errorf("cookie %q lacks %s", got, want)
		}
	}
	if n := cookieNamesFor(&url.URL{Scheme: "https", Host: "a.example"}); n.session != "__Host-gatehouse" || !n.secure {
		t.Errorf("over https: %+v", n)
	}
}

func TestChecklist32_NoUserEnumeration(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, _, err := f.users.Add(t.Context(), UserSpec{Username: "mallory", Password: secret.New(testPassword)}); err != nil {
		t.Fatal(err)
	}
	if err := f.users.Disable(t.Context(), "mallory"); err != nil {
		t.Fatal(err)
	}
	strip := func(a answer, name string) string {
		body := strings.ReplaceAll(a.body, name, "NAME")
		for _, field := range []string{"csrf", "flow", "ceremony"} {
			body = strings.ReplaceAll(body, fields(a.body).Get(field), field)
		}
		return regexpOptions.ReplaceAllString(body, "")
	}
	var reference string
	for _, try := range []struct{ name, password string }{
		{"alice", "wrong password"}, {"nobody", "wrong password"}, {"mallory", testPassword}, {"mallory", "wrong password"},
		{"ali\x01ce", "wrong password"}, {"alice", ""}, {"alice", strings.Repeat("x", MaxPasswordBytes+1)},
	} {
		got := f.browser(t).signIn(Path, try.name, try.password)
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, wrongText) {
			t.Errorf("%q: %d", try.name, got.StatusCode)
		}
		if try.name == "ali\x01ce" {
			continue
		}
		if page := strip(got, try.name); reference == "" {
			reference = page
		} else if page != reference {
			t.Errorf("%q gets another page than alice", try.name)
		}
	}
}

func TestChecklist44_DisabledUserIsOutAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	b.signIn(Path, "alice", testPassword)
	if err := f.users.Disable(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if got := b.get("/who"); got.StatusCode != http.StatusUnauthorized {
		t.Error("a disabled person is still signed in")
	}
	if got := b.signIn(Path, "alice", testPassword); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a disabled person can sign in: %d", got.StatusCode)
	}
	if err := f.users.Enable(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	if got := b.get("/who"); got.StatusCode != http.StatusUnauthorized {
		t.Error("enabling revived an old session")
	}
	if got := b.signIn(Path, "alice", testPassword); got.StatusCode != http.StatusSeeOther {
		t.Errorf("an enabled person cannot sign in: %d", got.StatusCode)
	}
}

func TestStoreAwayIs503(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	b := f.browser(t)
	v := fields(b.get(Path).body)
	v.Set("username", "alice")
	v.Set("password", testPassword)
	_ = f.Store.Close()
	if got := b.post(Path, v); got.StatusCode != http.StatusServiceUnavailable || strings.Contains(got.body, "sql") {
		t.Errorf("got %d", got.StatusCode)
	}
}

func TestPasswordChangeWinsAgainstASignInUnderWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, nil)
	user, err := f.checkCredentials(r, "alice", testPassword) // the old password was right a moment ago
	if err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(time.Millisecond)
	if _, err := f.users.SetPassword(t.Context(), "alice", secret.New("another good passphrase")); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if err := f.finish(w, r, identity.SignInStart{ReturnTo: home}, user, []string{"pwd"}); err != nil || w.Code != http.StatusUnauthorized {
		t.Errorf("finish: %d, %v", w.Code, err)
	}
	if all, err := f.Store.BrowserSessions(t.Context(), f.alice.ID); err != nil || len(all) > 0 {
		t.Errorf("%d sessions outlive the old password, %v", len(all), err)
	}
}

// audited gives the fixture an audit log, and returns what reads its lines.
func (f *fixture) audited(t *testing.T) (read func() string) {
	t.Helper()
	dir := t.TempDir()
	log, err := audit.Open(audit.Options{Dir: dir, Now: f.clock.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f.Audit = log
	return func() string {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // Run writes what is left, then returns
		if err := log.Run(ctx); err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
		return all.String()
	}
}

func TestAFloodOfAttemptsDoesNotFillTheDisk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	read := f.audited(t)
	b := f.browser(t)
	v := fields(b.get(Path).body)
	v.Set("username", "alice")
	v.Set("password", "wrong password")
	ceremony := fields(b.get(Path).body)
	ceremony.Set("ceremony", "none")
	for range 100 {
		b.post(Path, v)
		b.post(PasskeyPath, ceremony)
	}
	lines := read()
	if n := strings.Count(lines, `"too_many_attempts"`); n != 1 {
		t.Errorf("%d records of attempts that came too fast, want one for the address", n)
	}
	if n := strings.Count(lines, "\n"); n > 1+2*pairRate.burst {
		t.Errorf("200 attempts wrote %d records", n)
	}
}

func TestNoSignInThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "audit")
	log, err := audit.Open(audit.Options{Dir: dir, Now: f.clock.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f.Audit = log
	if err := os.RemoveAll(dir); err != nil { // a disk that is gone
		t.Fatal(err)
	}
	_ = log.Record(t.Context(), audit.Event{Kind: audit.KindStarted})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if log.Run(ctx) == nil {
		t.Fatal("the log found a disk")
	}
	b := f.browser(t)
	if got := b.signIn(Path, "alice", testPassword); got.StatusCode != http.StatusServiceUnavailable || b.get("/who").StatusCode != http.StatusUnauthorized {
		t.Errorf("got %d", got.StatusCode)
	}
}
