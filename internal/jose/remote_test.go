package jose_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

func newClock() *testkit.Clock {
	return testkit.NewClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func remote(t testing.TB, idp *testkit.IDP, c *testkit.Clock) *jose.RemoteKeys {
	t.Helper()
	keys, err := jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: idp.DiscoveryURL(), Client: idp.Client(), Now: c.Now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func verify(t testing.TB, keys jose.KeySource, token string) jose.Reason {
	t.Helper()
	_, _, err := jose.Verify(context.Background(), token, keys, nil)
	if err != nil && jose.ReasonOf(err) == "" {
		t.Fatalf("error without a reason: %v", err)
	}
	return jose.ReasonOf(err)
}

func forged(t testing.TB, idp *testkit.IDP) string {
	t.Helper()
	return testkit.MintToken(t, testkit.NewIDPKey(t, "ES256"), nil, idp.Claims(time.Now(), nil))
}

func wantFetches(t testing.TB, idp *testkit.IDP, most int) {
	t.Helper()
	if _, n := idp.Fetches(); n > most {
		t.Errorf("key set fetched %d times, want at most %d", n, most)
	}
}

// TestChecklist54_JWKSFlood sends 500 forged tokens, then rotates the issuer's key.
func TestChecklist54_JWKSFlood(t *testing.T) {
	t.Parallel()
	idp, c := testkit.NewIDP(t, ""), newClock()
	keys := remote(t, idp, c)
	good := idp.Mint(t, idp.Claims(c.Now(), nil))
	if r := verify(t, keys, good); r != "" {
		t.Fatal(r)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 10 {
				if r := verify(t, keys, forged(t, idp)); r != jose.UnknownKey {
					t.Errorf("forged token: %q", r)
				}
			}
		})
	}
	wg.Wait()
	wantFetches(t, idp, 2)
	if r := verify(t, keys, good); r != "" {
		t.Errorf("the good token after the flood: %q", r)
	}

	idp.AddKey(t, "ES256")
	rotated := idp.Mint(t, idp.Claims(c.Now(), nil))
	c.Advance(11 * time.Second)
	if r := verify(t, keys, rotated); r != "" {
		t.Errorf("the new key after the flood: %q", r)
	}

	for range 100 { // for 100 s of flood
		c.Advance(time.Second)
		verify(t, keys, forged(t, idp))
	}
	wantFetches(t, idp, 14)
}

func TestRotationVerifiesAtOnce(t *testing.T) {
	t.Parallel()
	idp, c := testkit.NewIDP(t, ""), newClock()
	keys := remote(t, idp, c)
	old := idp.Mint(t, idp.Claims(c.Now(), nil))
	if r := verify(t, keys, old); r != "" {
		t.Fatal(r)
	}
	generation := keys.Generation()
	idp.AddKey(t, "RS256")
	if r := verify(t, keys, idp.Mint(t, idp.Claims(c.Now(), nil))); r != "" {
		t.Errorf("token of the new key: %q", r)
	}
	if keys.Generation() != generation {
		t.Error("an added key changed the generation")
	}
	c.Advance(time.Minute)
	idp.Rotate(t, "ES256")
	if r := verify(t, keys, idp.Mint(t, idp.Claims(c.Now(), nil))); r != "" {
		t.Errorf("token of the third key: %q", r)
	}
	if keys.Generation() == generation {
		t.Error("a withdrawn key did not change the generation")
	}
	if r := verify(t, keys, old); r != jose.UnknownKey {
		t.Errorf("token of a withdrawn key: %q", r)
	}
}

func TestFetchesThatMustNotHappen(t *testing.T) {
	t.Parallel()
	idp, c := testkit.NewIDP(t, ""), newClock()
	keys := remote(t, idp, c)
	good := idp.Mint(t, idp.Claims(c.Now(), nil))
	stranger := testkit.NewIDPKey(t, "ES256")
	stranger.KID = idp.Newest().KID
	for range 20 {
		verify(t, keys, good)
		if r := verify(t, keys, testkit.MintToken(t, stranger, nil, idp.Claims(c.Now(), nil))); r != jose.BadSignature {
			t.Errorf("bad signature: %q", r)
		}
		if r := verify(t, keys, testkit.MintToken(t, idp.Newest(), map[string]any{"kid": idp.Newest().KID, "alg": "RS256"}, nil)); r != jose.Malformed && r != jose.UnknownKey {
			t.Errorf("wrong algorithm: %q", r)
		}
		c.Advance(time.Minute)
	}
	wantFetches(t, idp, 1)

	one := forged(t, idp)
	for range 29 { // the same unknown key again and again
		verify(t, keys, one)
		c.Advance(time.Second)
	}
	wantFetches(t, idp, 2)
}

func TestSingleFlight(t *testing.T) {
	t.Parallel()
	idp, c := testkit.NewIDP(t, ""), newClock()
	keys := remote(t, idp, c)
	good := idp.Mint(t, idp.Claims(c.Now(), nil))
	waiting := idp.Hold()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if i%5 == 0 { // some clients leave: the rest are still served
				cancel()
			}
			defer cancel()
			_, _, err := jose.Verify(ctx, good, keys, nil)
			if err != nil && jose.ReasonOf(err) != jose.KeysUnavailable || err != nil && i%5 != 0 {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	<-waiting
	idp.Release()
	wg.Wait()
	wantFetches(t, idp, 1)
}

// TestChecklist55_IssuerDown: known keys serve on for a day; what is signed with others stays out, and is not called
// bad: the issuer may have a new key.
func TestChecklist55_IssuerDown(t *testing.T) {
	t.Parallel()
	idp, c := testkit.NewIDP(t, ""), newClock()
	keys := remote(t, idp, c)
	good := idp.Mint(t, idp.Claims(c.Now(), nil))
	idp.SetDown(true)
	for range 50 {
		if r := verify(t, keys, good); r != jose.KeysUnavailable {
			t.Fatalf("without any keys: %q", r)
		}
	}
	if discoveries, _ := idp.Fetches(); discoveries > 2 {
		t.Errorf("asked %d times while down, want at most 2", discoveries)
	}
	idp.SetDown(false)
	c.Advance(11 * time.Second)
	if r := verify(t, keys, good); r != "" {
		t.Fatalf("when it is back: %q", r)
	}
	idp.SetDown(true)
	c.Advance(23 * time.Hour)
	if r := verify(t, keys, good); r != "" {
		t.Errorf("down for 23 h: %q", r)
	}
	idp.Rotate(t, "ES256")
	rotated := idp.Mint(t, idp.Claims(c.Now(), nil))
	if r := verify(t, keys, rotated); r != jose.KeysUnavailable {
		t.Errorf("unknown key while down: %q", r)
	}
	if r := verify(t, keys, good); r != "" {
		t.Errorf("after a failed fetch: %q", r)
	}
	idp.SetDown(false)
	c.Advance(11 * time.Second)
	if r := verify(t, keys, rotated); r != "" {
		t.Errorf("the new key, when it is back: %q", r)
	}
	idp.SetDown(true)
	c.Advance(25 * time.Hour)
	if r := verify(t, keys, rotated); r != jose.KeysUnavailable {
		t.Errorf("down for 25 h: %q", r)
	}
}

func TestRubbishKeepsLastGoodSet(t *testing.T) {
	t.Parallel()
	idp, c := testkit.NewIDP(t, ""), newClock()
	keys := remote(t, idp, c)
	good := idp.Mint(t, idp.Claims(c.Now(), nil))
	if r := verify(t, keys, good); r != "" {
		t.Fatal(r)
	}
	for _, rubbish := range []string{"<html>", `{"keys":[]}`, `{"keys":[` + strings.Repeat(" ", 256<<10) + `]}`} {
		idp.SetKeySet([]byte(rubbish))
		c.Advance(time.Minute)
		verify(t, keys, forged(t, idp))
		if r := verify(t, keys, good); r != "" {
			t.Errorf("after %.20q: %q", rubbish, r)
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		path     string
		url      func(*testkit.IDP) string
		document map[string]any
		pinned   func(*testkit.IDP) string
		issuer   string // appended to the origin
		fails    bool
	}{
		"plain":                         {issuer: ""},
		"path":                          {path: "/realms/acme", issuer: "/realms/acme"},
		"RFC 8414":                      {path: "/oauth2/default", url: (*testkit.IDP).OAuthDiscoveryURL, issuer: "/oauth2/default"},
		"RFC 8414, appended as at Okta": {path: "/o", url: func(p *testkit.IDP) string { return p.Issuer() + "/.well-known/oauth-authorization-server" }, issuer: "/o"},
		"trailing slash as at Auth0":    {document: map[string]any{"issuer": "ORIGIN/"}, issuer: "/"},
		"another path":                  {path: "/a", document: map[string]any{"issuer": "ORIGIN/b"}, fails: true},
		"another host":                  {document: map[string]any{"issuer": "https://evil.example"}, fails: true},
		"issuer missing":                {document: map[string]any{"issuer": nil}, fails: true},
		"other case":                    {path: "/a", document: map[string]any{"issuer": "ORIGIN/A"}, fails: true},
		"pinned, as for Entra v1":       {path: "/t", document: map[string]any{"issuer": "ORIGIN/sts/t/"}, pinned: func(p *testkit.IDP) string { return p.URL() + "/sts/t/" }, issuer: "/sts/t/"},
		"pinned, document differs":      {pinned: func(p *testkit.IDP) string { return p.URL() + "/" }, fails: true},
		"jwks_uri missing":              {document: map[string]any{"jwks_uri": nil}, fails: true},
		"jwks_uri plain http":           {document: map[string]any{"jwks_uri": "http://keys.example/"}, fails: true},
		"jwks_uri of a file":            {document: map[string]any{"jwks_uri": "file:///etc/passwd"}, fails: true},
		"jwks_uri with credentials":     {document: map[string]any{"jwks_uri": "https://u:p@keys.example/"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			idp, c := testkit.NewIDP(t, tt.path), newClock()
			if issuer, ok := tt.document["issuer"].(string); ok {
				tt.document["issuer"] = strings.Replace(issuer, "ORIGIN", idp.URL(), 1)
			}
			idp.SetDocument(tt.document)
			o := jose.RemoteOptions{DiscoveryURL: idp.DiscoveryURL(), Client: idp.Client(), Now: c.Now, Log: quiet()}
			if tt.url != nil {
				o.DiscoveryURL = tt.url(idp)
			}
			if tt.pinned != nil {
				o.Issuer = identity.Issuer(tt.pinned(idp))
			}
			keys, err := jose.NewRemoteKeys(o)
			if err != nil {
				t.Fatal(err)
			}
			err = keys.Load(t.Context())
			if tt.fails {
				if jose.ReasonOf(err) != jose.KeysUnavailable {
					t.Errorf("got %v, want keys unavailable", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := identity.Issuer(idp.URL() + tt.issuer)
			if keys.Issuer() != want || !keys.Issues(want) || keys.Issues(want+"x") || keys.Issues(want+"/") {
				t.Errorf("issuer %q, want %q and no other", keys.Issuer(), want)
			}
		})
	}
}

func TestIssuerBeforeDiscovery(t *testing.T) {
	t.Parallel()
	idp := testkit.NewIDP(t, "/realms/acme")
	keys := remote(t, idp, newClock())
	iss := identity.Issuer(idp.Issuer())
	if keys.Issuer() != "" || !keys.Issues(iss) || !keys.Issues(iss+"/") || keys.Issues("https://evil.example") {
		t.Error("before discovery both spellings of the URL's issuer are possible, and nothing else")
	}
}

func TestRemoteOptionsRefused(t *testing.T) {
	t.Parallel()
	for _, o := range []jose.RemoteOptions{
		{},
		{DiscoveryURL: "https://a.example/.well-known/openid-configuration", JWKSURL: "https://a.example/keys"},
		{JWKSURL: "https://a.example/keys"},
		{DiscoveryURL: "https://a.example/"},
		{DiscoveryURL: "https://a.example/.well-known/openid-configurations"},
		{DiscoveryURL: "https://a.example/.well-known/openid-configuration?x=1"},
		{DiscoveryURL: "http://a.example/.well-known/openid-configuration"},
		{DiscoveryURL: "http://127.0.0.1.evil.example/.well-known/openid-configuration"},
		{DiscoveryURL: "http://localhost.evil.example/.well-known/openid-configuration"},
		{DiscoveryURL: "https://u:p@a.example/.well-known/openid-configuration"},
		{DiscoveryURL: "https:///.well-known/openid-configuration"},
	} {
		o.Client, o.Now, o.Log = http.DefaultClient, time.Now, quiet()
		if _, err := jose.NewRemoteKeys(o); err == nil {
			t.Errorf("accepted %q %q", o.DiscoveryURL, o.JWKSURL)
		}
	}
	if _, err := jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: "https://a.example/.well-known/openid-configuration"}); err == nil {
		t.Error("accepted without client, clock and log")
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	idp := testkit.NewIDP(t, "")
	var other *httptest.Server
	mux := http.NewServeMux()
	mux.Handle("/same", http.RedirectHandler("/keys", http.StatusFound))
	mux.HandleFunc("/other", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, idp.JWKSURL(), http.StatusFound)
	})
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	mux.Handle("/keys", idp)
	other = httptest.NewServer(mux)
	t.Cleanup(other.Close)
	for path, ok := range map[string]bool{"/same": true, "/other": false, "/round": false} {
		keys, err := jose.NewRemoteKeys(jose.RemoteOptions{JWKSURL: other.URL + path, Issuer: "https://a.example", Client: other.Client(), Now: time.Now, Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.Load(t.Context()); (err == nil) != ok {
			t.Errorf("%s: %v, want ok %v", path, err, ok)
		}
	}
	strict := *other.Client()
	strict.CheckRedirect = func(*http.Request, []*http.Request) error { return fmt.Errorf("no redirects here") }
	keys, err := jose.NewRemoteKeys(jose.RemoteOptions{JWKSURL: other.URL + "/same", Issuer: "https://a.example", Client: &strict, Now: time.Now, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Load(t.Context()); err == nil {
		t.Error("a client that follows no redirects was made to follow one")
	}
}

// inProcess answers without the network, for synctest.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

func TestRunRefreshes(t *testing.T) {
	t.Parallel()
	for header, every := range map[string]time.Duration{
		"":                               10 * time.Minute,
		"public, max-age=1800":           30 * time.Minute,
		"max-age=5":                      time.Minute,
		"max-age=86400, must-revalidate": time.Hour,
		"no-store":                       time.Minute,
		`max-age="rubbish"`:              10 * time.Minute,
		"private, MAX-AGE=\"120\"":       2 * time.Minute,
	} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			idp := testkit.NewIDP(t, "")
			idp.SetCacheControl(header)
			synctest.Test(t, func(t *testing.T) {
				keys, err := jose.NewRemoteKeys(jose.RemoteOptions{DiscoveryURL: idp.DiscoveryURL(), Client: &http.Client{Transport: inProcess{idp}}, Now: time.Now, Log: quiet()})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- keys.Run(ctx) }()
				expect := func(discoveries, sets int) {
					t.Helper()
					synctest.Wait()
					if d, n := idp.Fetches(); d != discoveries || n != sets {
						t.Errorf("%d discoveries and %d key sets, want %d and %d", d, n, discoveries, sets)
					}
				}
				expect(1, 1)
				time.Sleep(every - time.Second)
				expect(1, 1)
				old := idp.Mint(t, idp.Claims(time.Now(), nil))
				idp.Rotate(t, "ES256")
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if _, n := idp.Fetches(); n != 2 {
					t.Errorf("%d key sets after %s, want 2", n, every)
				}
				if r := verify(t, keys, idp.Mint(t, idp.Claims(time.Now(), nil))); r != "" {
					t.Errorf("token of the new key: %q", r)
				}
				if _, n := idp.Fetches(); n != 2 {
					t.Error("the new key was not there after the refresh")
				}
				idp.SetDown(true)
				time.Sleep(every + 10*time.Minute)
				idp.SetDown(false)
				if r := verify(t, keys, old); r != jose.UnknownKey {
					t.Errorf("token of the old key: %q", r)
				}
				time.Sleep(time.Minute + time.Second) // a failed refresh is tried again soon
				before, _ := idp.Fetches()
				if r := verify(t, keys, idp.Mint(t, idp.Claims(time.Now(), nil))); r != "" || before == 0 {
					t.Errorf("after the outage: %q", r)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
