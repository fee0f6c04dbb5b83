package httpd

import (
	"net/textproto"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// FuzzField compares what is taken for a name or a value with what net/http takes.
func FuzzField(f *testing.F) {
	for _, s := range []string{"", "a", "Content-Type", "mcp-session-id", "mCP-nAME", "x y", "X\x7f", "tab\tin", "\x00", "ünï", strings.Repeat("v", 20) + "\r", "12345678\t", "1234567\n", "a_b-c|~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := ValidName(s), httpguts.ValidHeaderFieldName(s); got != want {
			t.Errorf("name %q: %t, want %t", s, got, want)
		}
		if got, want := ValidValue(s), httpguts.ValidHeaderFieldValue(s); got != want {
			t.Errorf("value %q: %t, want %t", s, got, want)
		}
		if got, want := trim(s), strings.Trim(s, " \t"); got != want {
			t.Errorf("trimmed %q: %q, want %q", s, got, want)
		}
		want := ""
		if httpguts.ValidHeaderFieldName(s) {
			want = textproto.CanonicalMIMEHeaderKey(s)
		}
		if got := canonical(s); got != want {
			t.Errorf("canonical %q: %q, want %q", s, got, want)
		}
	})
}
