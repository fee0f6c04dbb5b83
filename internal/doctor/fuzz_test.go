package doctor

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode"
)

// FuzzReading: whatever a server answers, the doctor reads it without harm, and what goes into a finding is short and
// printable.
func FuzzReading(f *testing.F) {
	for _, seed := range []struct{ header, body, location string }{
		{`Bearer resource_metadata="https://x/.well-known/oauth-protected-resource/mcp", scope="a b"`, `{"error":"x","error_description":"y (z)","request_id":"r"}`, "/login?a=b"},
		{`Basic realm="x"`, "<!doctype html><title>\x1b[31mSign in\x00</title>", "https://y/signin/oauth/error?authError=ChVyZWRpcmVjdF91cmlfbWlzbWF0Y2g"},
		{"bearer", `{"error":1}`, "://"},
		{"Bearer \xff\xfe=\"", "(((((", "?error=redirect_mismatch&error_description=%zz"},
		{"", "", ""},
	} {
		f.Add(seed.header, seed.body, seed.location)
	}
	f.Fuzz(func(t *testing.T, header, body, location string) {
		a := answer{url: "https://gw.test/mcp", status: http.StatusFound, header: http.Header{"Www-Authenticate": {header}, "Location": {location}, "Content-Type": {header}}, body: []byte(body)}
		params, _ := a.challenge("Bearer")
		said, _ := a.refusal()
		_ = said.reason()
		r := &report{about: "x"}
		s := &Setup{PublicURL: "https://gw.test", Listen: "127.0.0.1:8080", Endpoints: []Endpoint{{Path: "/mcp", Own: true}}}
		r.challenge(a, s, s.Endpoints[0], nil)
		a.status = http.StatusUnauthorized
		r.challenge(a, s, s.Endpoints[0], &Seen{Path: body, Host: header})
		a.status = http.StatusOK
		r.discovery(a, Provider{DiscoveryURL: "https://idp.test/.well-known/openid-configuration", Leads: []string{"/mcp"}})
		r.keys(a.body, nil)
		if at, err := url.Parse(location); err == nil {
			t := trial{at: at, redirectURI: "https://gw.test/oauth/callback/x", hint: func(string) string { return "" }}
			r.verdict("x", page(a, words(at)), t)
			r.verdict("x", cameHome(at, a), t)
		}
		for _, finding := range r.all {
			for what, text := range map[string]string{"found": finding.Found, "expected": finding.Expected, "fix": finding.Fix} {
				if len(text) > 1200 {
					t.Errorf("%s of %s has %d bytes", what, finding.Check, len(text))
				}
				if i := strings.IndexFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }); i >= 0 {
					t.Errorf("%s of %s is not printable at %d: %q", what, finding.Check, i, text)
				}
			}
		}
		for name := range params {
			if strings.ContainsAny(name, " =\"") {
				t.Errorf("a parameter is called %q", name)
			}
		}
	})
}
