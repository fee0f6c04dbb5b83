package jose_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

var everyAlgorithm = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func keySet(t testing.TB, keys ...*testkit.IDPKey) *jose.KeySet {
	t.Helper()
	var jwks []any
	for _, k := range keys {
		jwks = append(jwks, k.JWK())
	}
	return parseSet(t, jwks...)
}

func parseSet(t testing.TB, jwks ...any) *jose.KeySet {
	t.Helper()
	raw, err := json.Marshal(map[string]any{"keys": jwks})
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseKeySet(raw)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestVerifyEachAlgorithm(t *testing.T) {
	t.Parallel()
	for _, alg := range everyAlgorithm {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			key := testkit.NewIDPKey(t, alg)
			token := testkit.MintToken(t, key, map[string]any{"typ": "application/AT+jwt"}, map[string]any{"sub": "alice"})
			header, claims, err := jose.Verify(t.Context(), token, keySet(t, key), everyAlgorithm)
			if err != nil {
				t.Fatal(err)
			}
			if header.Alg != alg || header.Kid != key.KID || !header.IsType("at+jwt") || claims["sub"] != "alice" {
				t.Errorf("header %+v, claims %v", header, claims)
			}
			_, _, err = jose.Verify(t.Context(), token, keySet(t, key), nil)
			want := jose.AlgRefused
			if slices.Contains(jose.DefaultAlgorithms(), alg) {
				want = ""
			}
			if jose.ReasonOf(err) != want {
				t.Errorf("with the default list: %v, want %q", err, want)
			}
		})
	}
}

// TestChecklist46_VerifyRefuses holds the parts of the item that are about the token itself; authn has the claims.
func TestChecklist46_VerifyRefuses(t *testing.T) {
	t.Parallel()
	es, rs := testkit.NewIDPKey(t, "ES256"), testkit.NewIDPKey(t, "RS256")
	set := keySet(t, es, rs)
	public, err := x509.MarshalPKIXPublicKey(rs.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	with := func(header map[string]any) string {
		return testkit.MintToken(t, es, header, map[string]any{"sub": "alice"})
	}
	raw := func(header, payload string) string {
		return testkit.SignRaw(t, es, []byte(header), []byte(payload))
	}
	head := `{"alg":"ES256","kid":"` + es.KID + `"}`
	good := with(nil)
	parts := strings.Split(good, ".")
	stranger := testkit.NewIDPKey(t, "ES256")
	stranger.KID = es.KID

	for name, tt := range map[string]struct {
		token string
		want  jose.Reason
	}{
		"empty":                      {"", jose.Malformed},
		"opaque":                     {"gho_abcdefgh", jose.Malformed},
		"two parts":                  {parts[0] + "." + parts[1], jose.Malformed},
		"four parts":                 {good + ".AA", jose.Malformed},
		"five parts, encrypted":      {"e30.e30.e30.e30.e30", jose.Malformed},
		"empty signature":            {parts[0] + "." + parts[1] + ".", jose.BadSignature},
		"JSON serialisation":         {`{"payload":"e30","signatures":[]}`, jose.Malformed},
		"line break":                 {parts[0] + ".\n" + parts[1] + "." + parts[2], jose.Malformed},
		"padding":                    {good + "==", jose.Malformed},
		"standard base64 characters": {parts[0] + "." + parts[1] + "+/." + parts[2], jose.Malformed},
		"header is a list":           {raw(`["ES256"]`, `{}`), jose.Malformed},
		"header names alg twice":     {raw(`{"alg":"ES256","alg":"none"}`, `{}`), jose.Malformed},
		"header is null":             {raw(`null`, `{}`), jose.Malformed},
		"header has deep duplicate":  {raw(`{"alg":"ES256","x":{"a":1,"\u0061":2}}`, `{}`), jose.Malformed},
		"alg is a number":            {raw(`{"alg":256}`, `{}`), jose.Malformed},
		"alg is null":                {raw(`{"alg":null}`, `{}`), jose.AlgRefused},
		"kid is a list":              {raw(`{"alg":"ES256","kid":["a"]}`, `{}`), jose.Malformed},
		"escaped jku":                {raw(`{"alg":"ES256","\u006aku":null}`, `{}`), jose.HeaderRefused},
		"payload is a list":          {raw(head, `[]`), jose.Malformed},
		"payload is null":            {raw(head, `null`), jose.Malformed},
		"payload names aud twice":    {raw(head, `{"aud":"a","aud":"b"}`), jose.Malformed},
		"payload has deep duplicate": {raw(head, `{"act":{"sub":"a","sub":"b"}}`), jose.Malformed},
		"payload has trailing data":  {raw(head, `{}{}`), jose.Malformed},
		"payload is not UTF-8":       {raw(head, "{\"sub\":\"\xff\"}"), jose.Malformed},
		"payload has half a pair":    {raw(head, `{"sub":"\ud800"}`), jose.Malformed},
		"payload is too deep":        {raw(head, `{"a":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`), jose.Malformed},
		"payload has a huge number":  {raw(head, `{"exp":1e999}`), jose.Malformed},
		"payload is empty":           {raw(head, ` `), jose.Malformed},
		"too large":                  {good + strings.Repeat("A", jose.MaxToken), jose.TooLarge},
		"jku":                        {with(map[string]any{"jku": "https://evil.example/keys"}), jose.HeaderRefused},
		"x5u":                        {with(map[string]any{"x5u": "https://evil.example/cert"}), jose.HeaderRefused},
		"jwk":                        {with(map[string]any{"jwk": stranger.JWK()}), jose.HeaderRefused},
		"x5c":                        {with(map[string]any{"x5c": []string{"AA"}}), jose.HeaderRefused},
		"crit":                       {with(map[string]any{"crit": []string{"exp"}}), jose.HeaderRefused},
		"b64":                        {with(map[string]any{"b64": false}), jose.HeaderRefused},
		"long kid":                   {with(map[string]any{"kid": strings.Repeat("k", 257)}), jose.HeaderRefused},
		"alg is missing":             {with(map[string]any{"alg": nil}), jose.AlgRefused},
		"alg in other case":          {with(map[string]any{"alg": "es256"}), jose.AlgRefused},
		"none":                       {testkit.MintToken(t, &testkit.IDPKey{KID: es.KID, Alg: "none"}, nil, map[string]any{}), jose.AlgRefused},
		"HS256 with the public key":  {testkit.MintToken(t, &testkit.IDPKey{KID: rs.KID, Alg: "HS256", Secret: public}, nil, map[string]any{}), jose.AlgRefused},
		"kid is a path":              {with(map[string]any{"kid": "../../../../dev/null"}), jose.UnknownKey},
		"kid is SQL":                 {with(map[string]any{"kid": "x' UNION SELECT 'key"}), jose.UnknownKey},
		"alg of another key type":    {with(map[string]any{"alg": "RS256"}), jose.UnknownKey},
		"kid of another key type":    {with(map[string]any{"kid": rs.KID}), jose.UnknownKey},
		"alg beside the key's":       {testkit.MintToken(t, rs, map[string]any{"alg": "PS256"}, map[string]any{}), jose.UnknownKey},
		"another key's signature":    {testkit.MintToken(t, stranger, nil, map[string]any{}), jose.BadSignature},
		"payload exchanged":          {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"eve"}`)) + "." + parts[2], jose.BadSignature},
		"signature cut":              {good[:len(good)-6], jose.BadSignature},
		"signature of zeros":         {parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)), jose.BadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, claims, err := jose.Verify(t.Context(), tt.token, set, nil)
			if got := jose.ReasonOf(err); got != tt.want || claims != nil {
				t.Errorf("got %v and claims %v, want %s", err, claims, tt.want)
			}
			if err != nil && len(parts[2]) > 0 && strings.Contains(err.Error(), parts[2]) {
				t.Error("the error quotes the token")
			}
		})
	}
}

func TestTokenWithoutKid(t *testing.T) {
	t.Parallel()
	es, rs, other := testkit.NewIDPKey(t, "ES256"), testkit.NewIDPKey(t, "RS256"), testkit.NewIDPKey(t, "ES256")
	token := testkit.MintToken(t, es, map[string]any{"kid": nil}, map[string]any{"sub": "alice"})
	if _, _, err := jose.Verify(t.Context(), token, keySet(t, rs, es), nil); err != nil {
		t.Errorf("the only key for the algorithm: %v", err)
	}
	if _, _, err := jose.Verify(t.Context(), token, keySet(t, other, es), nil); jose.ReasonOf(err) != jose.UnknownKey {
		t.Errorf("two keys for the algorithm: %v, want unknown key", err)
	}
}

func TestParseDoesNotNeedTheKey(t *testing.T) {
	t.Parallel()
	key := testkit.NewIDPKey(t, "ES256")
	parsed, err := jose.Parse(testkit.MintToken(t, key, nil, map[string]any{"iss": "https://a.example"}))
	if err != nil || parsed.Header.Kid != key.KID || parsed.Claims["iss"] != "https://a.example" {
		t.Errorf("got %+v %v", parsed, err)
	}
}

// TestIssuer holds what Read finds without the claims against the claims.
func TestIssuer(t *testing.T) {
	t.Parallel()
	key := testkit.NewIDPKey(t, "ES256")
	for payload, want := range map[string]identity.Issuer{
		`{}`: "", `{"iss":"a"}`: "a", `{"x":{"iss":"b"}, "iss" : "a" }`: "a", `{"\u0069ss":"\u0061\n"}`: "a\n", `{"iss":1}`: "", `{"iss":null}`: "", `{"iss":["a"]}`: "", `{"ISS":"a"}`: "",
	} {
		token := testkit.SignRaw(t, key, []byte(` {"alg":"ES256"} `), []byte(" "+payload+"\n"))
		read, err := jose.Read(token)
		if err != nil || read.Issuer != want {
			t.Errorf("%s: read %+v %v, want %q", payload, read, err, want)
		}
		parsed, err := jose.Parse(token)
		if err != nil {
			t.Fatal(err)
		}
		if iss, _ := parsed.Claims.String("iss"); iss != string(want) || parsed.Issuer != want {
			t.Errorf("%s: the claims have %q, want %q", payload, iss, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	key := testkit.NewIDPKey(f, "ES256")
	set := keySet(f, key)
	good := testkit.MintToken(f, key, nil, map[string]any{"sub": "alice"})
	f.Add(good)
	f.Add("e30.e30.AA")
	f.Add(testkit.SignRaw(f, testkit.NewIDPKey(f, "ES256"), []byte(`{"alg":"ES256"}`), []byte(`{"\u0069ss":"a\ud83d\ude00","n":[1e3,null,{}]}`)))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(string(bytes.Repeat([]byte("."), 100)))
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := jose.Parse(token)
		if err != nil {
			if jose.ReasonOf(err) == "" {
				t.Errorf("error without a reason: %v", err)
			}
			return
		}
		if strings.Count(token, ".") != 2 || parsed.Claims == nil {
			t.Errorf("read %q as a token", token)
		}
		if iss, _ := parsed.Claims.String("iss"); iss != string(parsed.Issuer) {
			t.Errorf("%q: the issuer is %q, the claims have %q", token, parsed.Issuer, iss)
		}
		if err := parsed.Verify(context.Background(), set, nil); err == nil && token != good {
			t.Errorf("verified a token that was never signed: %q", token)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			key := testkit.NewIDPKey(b, alg)
			set := keySet(b, key)
			token := testkit.MintToken(b, key, nil, map[string]any{
				"iss": "https://idp.example", "sub": "alice", "aud": "api://default", "client_id": "client-1", "scope": "openid mcp:tools",
				"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"eng", "sre"},
			})
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := jose.Verify(b.Context(), token, set, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRead(b *testing.B) {
	key := testkit.NewIDPKey(b, "ES256")
	token := testkit.MintToken(b, key, nil, map[string]any{
		"iss": "https://idp.example", "sub": "alice", "aud": "api://default", "client_id": "client-1", "scope": "openid mcp:tools",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"eng", "sre"},
	})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := jose.Read(token); err != nil {
			b.Fatal(err)
		}
	}
}
