package jose_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/jose"
	"gatehouse/internal/testkit"
)

func TestParseProof(t *testing.T) {
	t.Parallel()
	for _, alg := range jose.DefaultAlgorithms() {
		key := testkit.NewDPoPKey(t, alg)
		p, err := jose.ParseProof(key.Proof(t, "POST", "https://x/", time.Now(), nil), "dpop+jwt", nil)
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		if p.Thumbprint != key.Thumbprint(t) || p.Claims["htm"] != "POST" || p.Header.Alg != alg {
			t.Errorf("%s: %+v, want thumbprint %s", alg, p, key.Thumbprint(t))
		}
	}
}

// The example of RFC 9449 §4.1, with the thumbprint of §6.1.
func TestParseProofOfTheRFC(t *testing.T) {
	t.Parallel()
	const proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5Ijoi" +
		"OVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6" +
		"Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	p, err := jose.ParseProof(proof, "dpop+jwt", nil)
	if err != nil || p.Thumbprint != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" || p.Claims["jti"] != "-BwC3ESc6acc2lTc" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestParseProofRefuses(t *testing.T) {
	t.Parallel()
	key, other := testkit.NewDPoPKey(t, "ES256"), testkit.NewDPoPKey(t, "ES256")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	hmac := &testkit.IDPKey{Alg: "HS256", Secret: []byte("secret")}
	rsaKey := testkit.NewDPoPKey(t, "RS256")
	huge := rsaKey.PublicJWK()
	huge["n"] = base64.RawURLEncoding.EncodeToString(new(big.Int).Lsh(big.NewInt(1), 5000).Bytes())
	claims := map[string]any{"jti": "12345678"}
	jwk := func(changes map[string]any) map[string]any {
		out := key.PublicJWK()
		for name, value := range changes {
			if out[name] = value; value == nil {
				delete(out, name)
			}
		}
		return map[string]any{"typ": "dpop+jwt", "kid": nil, "jwk": out}
	}
	mint := func(key *testkit.IDPKey, header map[string]any) string {
		return testkit.MintToken(t, key, header, claims)
	}
	for name, c := range map[string]struct {
		proof string
		want  jose.Reason
	}{
		"nothing":               {"", jose.Malformed},
		"no JWT":                {"a.b.c", jose.Malformed},
		"too long":              {strings.Repeat("a", jose.MaxProof+1), jose.TooLarge},
		"a token":               {testkit.MintToken(t, key.IDPKey, map[string]any{"typ": "at+jwt"}, claims), jose.TypeRefused},
		"an ID token with jwk":  {mint(key.IDPKey, map[string]any{"jwk": key.PublicJWK()}), jose.TypeRefused},
		"no typ":                {mint(key.IDPKey, map[string]any{"typ": nil, "jwk": key.PublicJWK()}), jose.TypeRefused},
		"no jwk":                {mint(key.IDPKey, map[string]any{"typ": "dpop+jwt"}), jose.KeyRefused},
		"jwk null":              {testkit.SignRaw(t, key.IDPKey, []byte(`{"typ":"dpop+jwt","alg":"ES256","jwk":null}`), []byte(`{}`)), jose.KeyRefused},
		"jwk a string":          {mint(key.IDPKey, map[string]any{"typ": "dpop+jwt", "jwk": "x"}), jose.KeyRefused},
		"two jwk":               {testkit.SignRaw(t, key.IDPKey, []byte(`{"typ":"dpop+jwt","alg":"ES256","jwk":{},"jwk":{}}`), []byte(`{}`)), jose.Malformed},
		"key of another":        {mint(other.IDPKey, jwk(nil)), jose.BadSignature},
		"private part":          {mint(key.IDPKey, jwk(map[string]any{"d": "AAAA"})), jose.KeyRefused},
		"private part, null":    {mint(key.IDPKey, jwk(map[string]any{"k": map[string]any{}})), jose.KeyRefused},
		"certificate":           {mint(key.IDPKey, jwk(map[string]any{"x5c": []string{"AAAA"}})), jose.KeyRefused},
		"certificate elsewhere": {mint(key.IDPKey, jwk(map[string]any{"x5u": "https://evil.example"})), jose.KeyRefused},
		"symmetric":             {mint(hmac, map[string]any{"typ": "dpop+jwt", "jwk": map[string]any{"kty": "oct", "k": "c2VjcmV0"}}), jose.AlgRefused},
		"symmetric, said ES256": {mint(key.IDPKey, map[string]any{"typ": "dpop+jwt", "jwk": map[string]any{"kty": "oct", "k": "c2VjcmV0"}}), jose.KeyRefused},
		"none":                  {mint(&testkit.IDPKey{Alg: "none"}, jwk(nil)), jose.AlgRefused},
		"another algorithm":     {mint(testkit.NewIDPKey(t, "ES384"), jwk(nil)), jose.AlgRefused},
		"alg of another key":    {mint(key.IDPKey, map[string]any{"typ": "dpop+jwt", "alg": "EdDSA", "jwk": key.PublicJWK()}), jose.KeyRefused},
		"alg in jwk differs":    {mint(key.IDPKey, jwk(map[string]any{"alg": "ES384"})), jose.KeyRefused},
		"for encryption":        {mint(key.IDPKey, jwk(map[string]any{"use": "enc"})), jose.KeyRefused},
		"not on the curve":      {mint(key.IDPKey, jwk(map[string]any{"x": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})), jose.KeyRefused},
		"weak RSA":              {mint(&testkit.IDPKey{Alg: "RS256", Private: small}, map[string]any{"typ": "dpop+jwt", "jwk": (&testkit.DPoPKey{IDPKey: &testkit.IDPKey{Alg: "RS256", Private: small}}).PublicJWK()}), jose.KeyRefused},
		"huge RSA":              {mint(rsaKey.IDPKey, map[string]any{"typ": "dpop+jwt", "jwk": huge}), jose.KeyRefused},
		"bloated key":           {mint(key.IDPKey, jwk(map[string]any{"note": strings.Repeat("x", 2100)})), jose.KeyRefused},
		"jku beside":            {mint(key.IDPKey, map[string]any{"typ": "dpop+jwt", "jwk": key.PublicJWK(), "jku": "https://evil.example"}), jose.HeaderRefused},
		"crit":                  {mint(key.IDPKey, map[string]any{"typ": "dpop+jwt", "jwk": key.PublicJWK(), "crit": []string{"b64"}}), jose.HeaderRefused},
	} {
		p, err := jose.ParseProof(c.proof, "dpop+jwt", nil)
		if err == nil || jose.ReasonOf(err) != c.want {
			t.Errorf("%s: %+v, %v, want %s", name, p, err, c.want)
		}
	}
	// And no proof is a token, whosever keys are asked.
	proof := key.Proof(t, "POST", "https://x/", time.Now(), nil)
	if _, _, err := jose.Verify(t.Context(), proof, keySet(t, key.IDPKey), nil); jose.ReasonOf(err) != jose.HeaderRefused {
		t.Errorf("a proof verifies as a token: %v", err)
	}
}

func FuzzParseProof(f *testing.F) {
	key := testkit.NewDPoPKey(f, "ES256")
	good := key.Proof(f, "POST", "https://x/", time.Unix(1e9, 0), nil)
	f.Add(good)
	f.Add(testkit.NewDPoPKey(f, "EdDSA").Proof(f, "GET", "https://x/", time.Unix(1e9, 0), nil))
	f.Add("eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7fX0.e30.AA")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := jose.ParseProof(text, "dpop+jwt", nil)
		switch {
		case err != nil:
			if jose.ReasonOf(err) == "" {
				t.Errorf("error without a reason: %v", err)
			}
		case len(p.Thumbprint) != 43 || p.Claims == nil || !p.Header.IsType("dpop+jwt"):
			t.Errorf("%q reads as %+v", text, p)
		}
		if _, err := jose.Parse(text); err == nil && p != nil {
			t.Errorf("%q is both a token and a proof", text)
		}
	})
}
