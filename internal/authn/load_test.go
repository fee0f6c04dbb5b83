package authn_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func jwks(t testing.TB, keys ...*testkit.IDPKey) []byte {
	t.Helper()
	var set []any
	for _, k := range keys {
		set = append(set, k.JWK())
	}
	raw, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestTogether has everything at once: hits, misses, refusals, revocations, reloads and rotations, for -race.
func TestTogether(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	endpoints := []*authn.Endpoint{
		h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules()),
		h.endpoint(t, "/mcp", h.foreignRules(), h.ownRules()),
		h.endpoint(t, "/finance/mcp", h.ownRules()),
	}
	good := []string{h.ownToken(t, "at+jwt", nil), h.foreignToken(t, nil)}
	bad := []string{h.ownToken(t, "JWT", nil), "x", h.foreignToken(t, map[string]any{"aud": "y"})}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 100 {
				if p, w := h.present(good[(i+n)%2], endpoints[n%2]); p == nil {
					t.Errorf("good token refused: %s", w.Body)
				}
				if p, _ := h.present(bad[(i+n)%3], endpoints[n%3]); p != nil {
					t.Error("bad token accepted")
				}
				switch {
				case n%10 == 3:
					h.revoked.revoke(identity.GrantID("another"), h.now())
				case n%25 == 7 && i == 0:
					h.idp.AddKey(t, "ES256")
				}
				h.present(h.ownToken(t, "at+jwt", map[string]any{"jti": [2]int{i, n}}), endpoints[0])
			}
		})
	}
	wg.Wait()
}

// For an hour the issuer is away: people who are signed in work on, with tokens that were seen and with fresh ones of a known
// key. What nobody can verify stays out, however often it is tried, and gets in when the issuer is back.
func TestIssuerAwayForAnHour(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules())
	lasting := func() string { return h.foreignToken(t, map[string]any{"exp": h.now().Add(2 * time.Hour).Unix()}) }
	signedIn := lasting()
	p, w := h.present(signedIn, e)
	wantPrincipal(t, p, w)
	fresh := lasting()
	next := h.idp.Rotate(t, "ES256") // while nobody can see it
	h.idp.SetDown(true)
	unknown := testkit.MintToken(t, next, nil, h.idp.Claims(h.now(), map[string]any{"exp": h.now().Add(3 * time.Hour).Unix()}))
	_, before := h.idp.Fetches()
	for minute := range 60 {
		h.add(time.Minute)
		for _, token := range []string{signedIn, fresh} {
			p, w := h.present(token, e)
			wantPrincipal(t, p, w)
		}
		for i := range 4 {
			stranger := testkit.NewIDPKey(t, "ES256")
			stranger.KID = fmt.Sprintf("forged-%d-%d", minute, i)
			p, w := h.present(testkit.MintToken(t, stranger, nil, h.idp.Claims(h.now(), nil)), e)
			if p != nil {
				t.Fatal("a forged token got in")
			}
			wantRefusal(t, w, http.StatusServiceUnavailable, "temporarily_unavailable", authn.Reason(jose.KeysUnavailable))
		}
		p, w := h.present(unknown, e)
		if p != nil {
			t.Fatal("a token got in whose key nobody has")
		}
		wantRefusal(t, w, http.StatusServiceUnavailable, "temporarily_unavailable", authn.Reason(jose.KeysUnavailable))
	}
	if _, n := h.idp.Fetches(); n-before > 60*2 {
		t.Errorf("%d fetches at 60 moments, want at most two at each", n-before)
	}
	h.idp.SetDown(false)
	h.add(11 * time.Second)
	p, w = h.present(unknown, e)
	wantPrincipal(t, p, w)
}

func FuzzAuthorizationHeader(f *testing.F) {
	h := newHouse(f)
	e := h.endpoint(f, "/mcp", h.ownRules(), h.foreignRules())
	good := h.ownToken(f, "at+jwt", nil)
	f.Add("Bearer "+good, "", "")
	f.Add("Bearer ", "access_token=x", "application/x-www-form-urlencoded")
	f.Add("bEaReR a.b.c", "a=%zz;access_token=1", "multipart/form-data")
	f.Add("Basic eDp5", "", "text/plain; charset=\"")
	f.Add("Bearer eyJhbGciOiJub25lIn0.e30.", "", "")
	f.Fuzz(func(t *testing.T, header, query, contentType string) {
		r := httptest.NewRequest("POST", "http://localhost/mcp", nil)
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", header)
		p, w := h.ask(r, e)
		if p != nil {
			if !strings.EqualFold(strings.Join(strings.Fields(header), " "), "bearer "+good) {
				t.Errorf("accepted %q", header)
			}
			return
		}
		if params := parseChallenge(t, w); params["resource_metadata"] != e.MetadataURL() {
			t.Errorf("challenge %v", params)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	h := newHouse(f)
	f.Add("mcp:tools", "insufficient_scope", "the token lacks a scope", "scope")
	f.Add(`a"b c\d`, `x", error="y`, "line\r\nSet-Cookie: a=b", `q"`)
	f.Add("offline_access", "", "\x00ü", "")
	f.Fuzz(func(t *testing.T, scope, code, description, reason string) {
		e := h.endpoint(t, "/mcp", h.ownRules())
		e.DefaultScopes = strings.Split(scope, " ")
		for _, reason := range []authn.Reason{authn.Reason(reason), authn.InsufficientScope} {
			w := httptest.NewRecorder()
			authn.WriteRefusal(w, bearer(""), e, &authn.Refusal{Status: 401, Code: code, Reason: reason, Description: description, Scopes: strings.Split(scope, " ")})
			header := w.Header().Get("WWW-Authenticate")
			for _, c := range []byte(header) {
				if c < 0x20 || c > 0x7e || c == '\\' {
					t.Fatalf("challenge %q", header)
				}
			}
			for name := range parseChallenge(t, w) {
				if !slices.Contains([]string{"resource_metadata", "scope", "error", "error_description"}, name) {
					t.Errorf("challenge %q has %s", header, name)
				}
			}
		}
	})
}

func BenchmarkHit(b *testing.B) {
	h := newHouse(b)
	for name, n := range map[string]int{"1 authorizer": 1, "20 authorizers": 20} {
		b.Run(name, func(b *testing.B) {
			var authorizers []*authn.Authorizer
			for range n - 1 {
				authorizers = append(authorizers, &authn.Authorizer{Issuer: "https://x.example", Keys: h.own, AllowedAudience: []string{"x"}})
			}
			e := h.endpoint(b, "/mcp", append(authorizers, h.ownRules())...)
			r := bearer(h.ownToken(b, "at+jwt", map[string]any{"groups": []string{"eng", "sre"}, "name": "Alice", "email": "alice@acme.example"}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.auth.Authenticate(r, e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHitParallel(b *testing.B) {
	h := newHouse(b)
	e := h.endpoint(b, "/mcp", h.ownRules())
	token := h.ownToken(b, "at+jwt", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		r := bearer(token)
		for pb.Next() {
			if _, err := h.auth.Authenticate(r, e); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkMiss verifies each time: the endpoint's rules refuse the token after everything else was good.
func BenchmarkMiss(b *testing.B) {
	h := newHouse(b)
	for _, alg := range []string{"RS256", "ES256"} {
		b.Run(alg, func(b *testing.B) {
			h.idp.AddKey(b, alg)
			e := h.endpoint(b, "/mcp", h.foreignRules(func(z *authn.Authorizer) { z.AllowedAudience = []string{"api://other"} }))
			r := bearer(h.foreignToken(b, nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.auth.Authenticate(r, e); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func BenchmarkRefuse(b *testing.B) {
	h := newHouse(b)
	e := h.endpoint(b, "/mcp", h.ownRules(), h.foreignRules())
	for name, token := range map[string]string{
		"malformed":  "x.y.z",
		"forged kid": testkit.MintToken(b, testkit.NewIDPKey(b, "ES256"), nil, h.idp.Claims(h.now(), nil)),
	} {
		b.Run(name, func(b *testing.B) {
			r := bearer(token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.auth.Authenticate(r, e); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

// TestHitAllocatesNothing is not parallel: it counts what the whole process allocates.
func TestHitAllocatesNothing(t *testing.T) {
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules(), h.ownRules())
	for name, claims := range map[string]map[string]any{"a short token": nil, "a long token": {"groups": strings.Repeat("x", 8<<10)}} {
		r := bearer(h.ownToken(t, "at+jwt", claims))
		if n := testing.AllocsPerRun(100, func() {
			if _, err := h.auth.Authenticate(r, e); err != nil {
				t.Error(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations for a cached token, want none", name, n)
		}
	}
}
