package upauth

import (
	"net/http"
	"strings"
	"testing"
)

func TestReadChallenge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		values []string
		scheme string
		want   string // metadata|scopes|error
	}{
		"one":                  {[]string{`Bearer resource_metadata="https://a.example/m", scope="x y", error="invalid_token"`}, "Bearer", "https://a.example/m|x y|invalid_token"},
		"any case":             {[]string{`bEARER Resource_Metadata="https://a.example/m"`}, "Bearer", "https://a.example/m||"},
		"tokens, spaces":       {[]string{`Bearer scope = x ,error=invalid_token`}, "Bearer", "|x|invalid_token"},
		"several in one value": {[]string{`Basic realm="a, b", Bearer scope="x", DPoP algs="ES256"`}, "Bearer", "|x|"},
		"several values":       {[]string{`Negotiate abc==`, `Bearer scope="x"`}, "Bearer", "|x|"},
		"token68 in a list":    {[]string{`Negotiate abc/+==, Bearer scope="x"`}, "Bearer", "|x|"},
		"own scheme first":     {[]string{`Bearer error="invalid_token", scope="x"`, `DPoP error="use_dpop_nonce"`}, "DPoP", "|x|use_dpop_nonce"},
		"escapes":              {[]string{`Bearer error="a\"b\\c"`}, "Bearer", `||a"b\c`},
		"nothing but a scheme": {[]string{`Bearer`}, "Bearer", "||"},
		"another scheme":       {[]string{`Basic scope="x"`}, "Bearer", "||"},
		"no end":               {[]string{`Bearer error="invalid_token", scope="x`}, "Bearer", "||invalid_token"},
		"first of two":         {[]string{`Bearer scope="x", scope="y"`}, "Bearer", "|x|"},
		"no scopes":            {[]string{"Bearer scope=\"a\tb \x7f\""}, "Bearer", "||"},
		"too long":             {[]string{`Bearer scope="` + strings.Repeat("x", maxChallenge) + `"`}, "Bearer", "||"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := readChallenge(http.Header{"Www-Authenticate": c.values}, c.scheme)
			if s := got.metadata + "|" + got.scopes.String() + "|" + got.code; s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

// What is read of a challenge was in it, and reading ends.
func FuzzParseChallenges(f *testing.F) {
	f.Add(`Bearer resource_metadata="https://a.example/m", scope="x y", DPoP algs="ES256"`)
	f.Add(`Negotiate abc==, Basic realm="\"", Bearer`)
	f.Add("a=b,,c d=\"\\")
	f.Fuzz(func(t *testing.T, value string) {
		for _, a := range parseChallenges([]string{value}) {
			if a.scheme == "" || !strings.Contains(strings.ToLower(value), a.scheme) {
				t.Fatalf("scheme %q of %q", a.scheme, value)
			}
			for name := range a.params {
				if name == "" || !strings.Contains(strings.ToLower(value), name) {
					t.Fatalf("parameter %q of %q", name, value)
				}
			}
		}
	})
}
