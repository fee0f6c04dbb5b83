package dpop_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/dpop"
	"gatehouse/internal/testkit"
)

const resource = "https://tools.example/finance/mcp"

var start = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func read(t testing.TB, proof string) *dpop.Proof {
	t.Helper()
	p, err := dpop.Read([]string{proof})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantReason(t *testing.T, name string, err error, want dpop.Reason) {
	t.Helper()
	if dpop.ReasonOf(err) != want {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	key := testkit.NewDPoPKey(t, "ES256")
	for _, alg := range dpop.Algorithms() {
		k := testkit.NewDPoPKey(t, alg)
		if p := read(t, k.Proof(t, "POST", resource, start, nil)); p.Key != k.Thumbprint(t) || !p.IssuedAt.Equal(start) || p.HasDigest() {
			t.Errorf("%s: %+v", alg, p)
		}
	}
	for _, none := range [][]string{nil, {}, {""}} {
		if p, err := dpop.Read(none); p != nil || err != nil {
			t.Errorf("%q: %v, %v", none, p, err)
		}
	}
	proof := func(claims map[string]any) []string { return []string{key.Proof(t, "POST", resource, start, claims)} }
	for name, c := range map[string]struct {
		header []string
		want   dpop.Reason
	}{
		"two headers":         {append(proof(nil), proof(nil)...), dpop.Repeated},
		"two in one":          {[]string{proof(nil)[0] + ", " + proof(nil)[0]}, dpop.Malformed},
		"no JWT":              {[]string{"x"}, dpop.Malformed},
		"access token":        {[]string{testkit.MintToken(t, key.IDPKey, map[string]any{"typ": "at+jwt"}, map[string]any{})}, dpop.WrongType},
		"algorithm":           {[]string{testkit.NewDPoPKey(t, "ES384").Proof(t, "POST", resource, start, nil)}, dpop.AlgRefused},
		"no jwk":              {[]string{testkit.MintToken(t, key.IDPKey, map[string]any{"typ": "dpop+jwt"}, map[string]any{})}, dpop.KeyRefused},
		"signature":           {[]string{proof(nil)[0][:len(proof(nil)[0])-6] + "AAAAAA"}, dpop.BadSignature},
		"no jti":              {proof(map[string]any{"jti": nil}), dpop.Malformed},
		"short jti":           {proof(map[string]any{"jti": "1234567"}), dpop.Malformed},
		"endless jti":         {proof(map[string]any{"jti": strings.Repeat("x", 513)}), dpop.Malformed},
		"jti a number":        {proof(map[string]any{"jti": 123456789}), dpop.Malformed},
		"no htm":              {proof(map[string]any{"htm": nil}), dpop.Malformed},
		"htm a list":          {proof(map[string]any{"htm": []string{"POST"}}), dpop.Malformed},
		"no htu":              {proof(map[string]any{"htu": nil}), dpop.Malformed},
		"no iat":              {proof(map[string]any{"iat": nil}), dpop.Malformed},
		"iat a text":          {proof(map[string]any{"iat": "now"}), dpop.Malformed},
		"iat in milliseconds": {proof(map[string]any{"iat": start.UnixMilli()}), dpop.Malformed},
		"iat out of this age": {proof(map[string]any{"iat": 1e300}), dpop.Malformed},
		"ath a number":        {proof(map[string]any{"ath": 1}), dpop.Malformed},
		"nonce null":          {[]string{testkit.SignRaw(t, key.IDPKey, headOf(t, key), []byte(`{"jti":"12345678","htm":"POST","htu":"x","iat":1,"nonce":null}`))}, dpop.Malformed},
		"empty digest":        {proof(map[string]any{"content_digest": ""}), dpop.Malformed},
	} {
		p, err := dpop.Read(c.header)
		if wantReason(t, name, err, c.want); p != nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// headOf is the header of the key's proofs.
func headOf(t testing.TB, key *testkit.DPoPKey) []byte {
	t.Helper()
	jwk := key.PublicJWK()
	return []byte(fmt.Sprintf(`{"typ":"dpop+jwt","alg":%q,"jwk":{"kty":"EC","crv":"P-256","x":%q,"y":%q}}`, key.Alg, jwk["x"], jwk["y"]))
}

func TestCheck(t *testing.T) {
	t.Parallel()
	key := testkit.NewDPoPKey(t, "ES256")
	for name, c := range map[string]struct {
		method, htu string
		at          time.Duration
		claims      map[string]any
		want        dpop.Reason
	}{
		"good":               {"POST", resource, 0, nil, ""},
		"query and fragment": {"POST", resource + "?a=b#c", 0, nil, ""},
		"case and port":      {"POST", "HTTPS://Tools.Example:443/finance/mcp", 0, nil, ""},
		"five minutes old":   {"POST", resource, -dpop.Window, nil, ""},
		"five minutes ahead": {"POST", resource, dpop.Window, nil, ""},
		"another method":     {"GET", resource, 0, nil, dpop.WrongMethod},
		"method in lower":    {"post", resource, 0, nil, dpop.WrongMethod},
		"another path":       {"POST", "https://tools.example/mcp", 0, nil, dpop.WrongURL},
		"case of the path":   {"POST", "https://tools.example/Finance/mcp", 0, nil, dpop.WrongURL},
		"slash at the end":   {"POST", resource + "/", 0, nil, dpop.WrongURL},
		"dots":               {"POST", "https://tools.example/x/../finance/mcp", 0, nil, dpop.WrongURL},
		"escapes":            {"POST", "https://tools.example/finance%2Fmcp", 0, nil, dpop.WrongURL},
		"another host":       {"POST", "https://tools.example.evil/finance/mcp", 0, nil, dpop.WrongURL},
		"user name":          {"POST", "https://tools.example@evil.example/finance/mcp", 0, nil, dpop.WrongURL},
		"own user name":      {"POST", "https://me@tools.example/finance/mcp", 0, nil, dpop.WrongURL},
		"another port":       {"POST", "https://tools.example:8443/finance/mcp", 0, nil, dpop.WrongURL},
		"plain http":         {"POST", "http://tools.example/finance/mcp", 0, nil, dpop.WrongURL},
		"no scheme":          {"POST", "//tools.example/finance/mcp", 0, nil, dpop.WrongURL},
		"path alone":         {"POST", "/finance/mcp", 0, nil, dpop.WrongURL},
		"backslash":          {"POST", `https://tools.example\finance\mcp`, 0, nil, dpop.WrongURL},
		"too old":            {"POST", resource, -dpop.Window - time.Second, nil, dpop.WrongTime},
		"too far ahead":      {"POST", resource, dpop.Window + time.Second, nil, dpop.WrongTime},
		"without a token":    {"POST", resource, 0, map[string]any{"ath": nil}, dpop.WrongToken},
		"for another token":  {"POST", resource, 0, map[string]any{"ath": testkit.TokenHash("another")}, dpop.WrongToken},
		"the token itself":   {"POST", resource, 0, map[string]any{"ath": "token"}, dpop.WrongToken},
	} {
		claims := map[string]any{"ath": testkit.TokenHash("token")}
		for k, v := range c.claims {
			claims[k] = v
		}
		p := read(t, key.Proof(t, c.method, c.htu, start.Add(c.at), claims))
		wantReason(t, name, p.Check(dpop.Request{Method: "POST", URL: resource, Token: "token"}, start), c.want)
	}
	p := read(t, key.Proof(t, "POST", "https://tools.example", start, nil))
	wantReason(t, "an empty path, and no token", p.Check(dpop.Request{Method: "POST", URL: "https://tools.example/"}, start), "")
}

func TestCheckBody(t *testing.T) {
	t.Parallel()
	key := testkit.NewDPoPKey(t, "ES256")
	const body = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	good := testkit.ContentDigest(body)
	// The example of the MCP extension uses the form of RFC 9530; this one is RFC 9530 §B.1's own.
	const rfc, rfcBody = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:", "{\"hello\": \"world\"}\n"
	for digest, want := range map[string]dpop.Reason{
		good:                                          "",
		"md5=:AAAA:, " + good:                         "",
		good + ",sha-512=:AAAA:":                      "",
		testkit.ContentDigest(body + " "):             dpop.WrongBody,
		"sha-256=" + good[9:len(good)-1]:              dpop.WrongBody,
		strings.TrimPrefix(good, "sha-256="):          dpop.WrongBody,
		strings.Replace(good, ":", "", 1):             dpop.WrongBody,
		"sha-256=:":                                   dpop.WrongBody,
		strings.ToUpper(good):                         dpop.WrongBody,
		good + ", " + good:                            dpop.WrongBody,
		"sha-512=:AAAA:":                              dpop.WrongBody,
		"sha-256=::":                                  dpop.WrongBody,
		"sha-256=:" + strings.Repeat("A", 2000) + ":": dpop.WrongBody,
		rfc: dpop.WrongBody,
	} {
		p := read(t, key.Proof(t, "POST", resource, start, map[string]any{"content_digest": digest}))
		if !p.HasDigest() {
			t.Errorf("%q: not seen", digest)
		}
		wantReason(t, digest, p.CheckBody([]byte(body)), want)
	}
	p := read(t, key.Proof(t, "POST", resource, start, map[string]any{"content_digest": rfc}))
	wantReason(t, "RFC 9530", p.CheckBody([]byte(rfcBody)), "")
	p = read(t, key.Proof(t, "POST", resource, start, nil))
	wantReason(t, "none", p.CheckBody([]byte("anything")), "")
}

func TestNonces(t *testing.T) {
	t.Parallel()
	key, clock := testkit.NewDPoPKey(t, "ES256"), testkit.NewClock(start.Add(30*time.Second))
	here := dpop.NewNonces(testkit.Keyring(t, 1), "token", clock.Now)
	other := dpop.NewNonces(testkit.Keyring(t, 1), "token", clock.Now) // another copy
	rotated := dpop.NewNonces(testkit.Keyring(t, 2, 1), "token", clock.Now)
	elsewhere := dpop.NewNonces(testkit.Keyring(t, 1), "resource", clock.Now)
	foreign := dpop.NewNonces(testkit.Keyring(t, 3), "token", clock.Now)
	with := func(nonce any) *dpop.Proof {
		return read(t, key.Proof(t, "POST", resource, start, map[string]any{"nonce": nonce}))
	}
	p := with(here.Current())
	for name, n := range map[string]*dpop.Nonces{"here": here, "another copy": other, "after a rotation of keys": rotated} {
		wantReason(t, name, n.Check(p, true), "")
	}
	wantReason(t, "another place", elsewhere.Check(p, false), dpop.NonceNeeded)
	wantReason(t, "another installation", foreign.Check(p, false), dpop.NonceNeeded)
	wantReason(t, "none, where none is needed", here.Check(with(nil), false), "")
	wantReason(t, "none", here.Check(with(nil), true), dpop.NonceNeeded)
	for _, text := range []string{"x", here.Current() + "A", here.Current() + "=", here.Current()[:10], "B" + here.Current()[1:], "\n" + here.Current()} {
		wantReason(t, text, here.Check(with(text), false), dpop.NonceNeeded)
	}
	if here.Ageing(p) || here.Ageing(with(nil)) {
		t.Error("a fresh nonce is ageing")
	}
	clock.Advance(3 * time.Minute)
	if !here.Ageing(p) || here.Current() != other.Current() {
		t.Error("an old nonce is not ageing, or copies hand out different ones")
	}
	clock.Advance(2 * time.Minute)
	wantReason(t, "nearly six minutes old", here.Check(p, true), "")
	clock.Advance(31 * time.Second)
	wantReason(t, "six minutes old", here.Check(p, true), dpop.NonceNeeded)
	ahead := with(here.Current())
	clock.Advance(-3 * time.Minute)
	wantReason(t, "from the future", here.Check(ahead, true), dpop.NonceNeeded)
}

func TestSeen(t *testing.T) {
	t.Parallel()
	key, other := testkit.NewDPoPKey(t, "ES256"), testkit.NewDPoPKey(t, "ES256")
	seen := dpop.NewSeen(0)
	p := read(t, key.Proof(t, "POST", resource, start, map[string]any{"jti": "the same jti"}))
	wantReason(t, "first", seen.Use(p, start), "")
	wantReason(t, "second", seen.Use(p, start), dpop.Replayed)
	wantReason(t, "as late as it is accepted", seen.Use(p, start.Add(dpop.Window)), dpop.Replayed)
	wantReason(t, "of another key", seen.Use(read(t, other.Proof(t, "POST", resource, start, map[string]any{"jti": "the same jti"})), start), "")
	ahead := read(t, key.Proof(t, "POST", resource, start.Add(dpop.Window), nil))
	wantReason(t, "ahead", seen.Use(ahead, start), "")
	wantReason(t, "ahead, ten minutes later", seen.Use(ahead, start.Add(2*dpop.Window)), dpop.Replayed)

	wantReason(t, "after the clock was set back", seen.Use(p, start), dpop.WrongTime) // it is forgotten
	now := start.Add(2 * dpop.Window)

	var first atomic.Int64
	var wg sync.WaitGroup
	race := read(t, key.Proof(t, "POST", resource, now, nil))
	for range 50 {
		wg.Go(func() {
			if seen.Use(race, now) == nil {
				first.Add(1)
			}
		})
	}
	wg.Wait()
	if first.Load() != 1 {
		t.Errorf("%d of 50 at once were the first", first.Load())
	}
}

// What has to be forgotten for want of room is not accepted any more; what is fresh always is, or the trouble is ours.
func TestSeenInBoundedMemory(t *testing.T) {
	t.Parallel()
	seen := dpop.NewSeen(10)
	proof := func(i int, at time.Time) *dpop.Proof {
		return &dpop.Proof{Key: "k", ID: fmt.Sprint("jti ", i), IssuedAt: at}
	}
	old := start.Add(-4 * time.Minute)
	for i := range 5 {
		wantReason(t, "old", seen.Use(proof(i, old), start), "")
	}
	for i := range 10 {
		wantReason(t, "fresh", seen.Use(proof(100+i, start), start), "")
	}
	wantReason(t, "an old one again", seen.Use(proof(0, old), start), dpop.WrongTime)
	wantReason(t, "another old one", seen.Use(proof(50, old), start), dpop.WrongTime)
	wantReason(t, "a fresh one again", seen.Use(proof(100, start), start), dpop.Replayed)
	wantReason(t, "a fresh one, when all that is remembered is fresh", seen.Use(proof(200, start), start), dpop.TooManyProofs)
	later := start.Add(2 * time.Minute)
	wantReason(t, "a fresh one, later", seen.Use(proof(201, later), later), "")
	wantReason(t, "one that was forgotten", seen.Use(proof(100, start), later), dpop.WrongTime)
	much := start.Add(time.Hour)
	for i := range 10 {
		wantReason(t, "an hour later", seen.Use(proof(300+i, much), much), "")
	}
}

func TestValidKey(t *testing.T) {
	t.Parallel()
	good := testkit.NewDPoPKey(t, "ES256").Thumbprint(t)
	for text, want := range map[string]bool{good: true, "": false, good + "A": false, good + "=": false, good[1:]: false, "+" + good[1:]: false, good[:42] + "\n": false} {
		if dpop.ValidKey(text) != want {
			t.Errorf("%q: %v", text, !want)
		}
	}
}

func FuzzProof(f *testing.F) {
	key := testkit.NewDPoPKey(f, "ES256")
	f.Add(resource, "POST", testkit.ContentDigest("x"), "n", int64(1e9))
	f.Add("https://tools.example:443/finance/mcp", "POST", "sha-256=:", "", int64(0))
	f.Add("https://u@tools.example/finance/mcp#", "post", ",=,", "\xff", int64(-1))
	f.Fuzz(func(t *testing.T, htu, htm, digest, nonce string, iat int64) {
		p, err := dpop.Read([]string{key.Proof(t, htm, htu, time.Unix(iat, 0), map[string]any{"content_digest": digest, "nonce": nonce})})
		if err != nil {
			if dpop.ReasonOf(err) == "" {
				t.Errorf("error without a reason: %v", err)
			}
			return
		}
		if err := p.Check(dpop.Request{Method: "POST", URL: resource}, time.Unix(1e9, 0)); err == nil {
			bare, _, _ := strings.Cut(htu, "#")
			bare, _, _ = strings.Cut(bare, "?")
			if bare = strings.Replace(strings.ToLower(bare), ":443/", "/", 1); bare != resource || htm != "POST" {
				t.Errorf("%q %q is taken for POST %s", htm, htu, resource)
			}
		}
		if p.CheckBody([]byte("x")) == nil && !strings.Contains(digest, testkit.ContentDigest("x")) {
			t.Errorf("%q is taken for the digest of x", digest)
		}
	})
}
