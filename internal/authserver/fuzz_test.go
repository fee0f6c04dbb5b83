package authserver

import (
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/testkit"
)

// bareServer has the keys and settings, which is all that the parsers need.
func bareServer(f *testing.F) *Server {
	f.Helper()
	keys := testkit.Keyring(f)
	s := &Server{
		Options:   Options{Issuer: testIssuer, Keys: keys, Now: func() time.Time { return time.Unix(1e9, 0) }},
		clientIDs: keys.MAC("registered client id"), transactions: keys.Box("authorization transaction"),
	}
	if err := s.Swap(testSnapshot()); err != nil {
		f.Fatal(err)
	}
	return s
}

func FuzzClientID(f *testing.F) {
	s := bareServer(f)
	id, err := s.sealClientID(&clientRecord{Name: "Fuzz", RedirectURIs: []string{"https://app.example/"}, AuthMethod: AuthNone, Nonce: "n"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(id), string(id) + "=", string(id)[:20], "dcr1.", "dcr1..", "dcr1.e30.AAAA", "web-app", "", "dcr1.\n."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		client, err := s.openClientID(identity.ClientID(text))
		if (err == nil) != (text == string(id)) {
			t.Errorf("%q opens: %v", text, err)
		}
		if err == nil && client.ID != id {
			t.Errorf("client %+v", client)
		}
	})
}

func FuzzTransaction(f *testing.F) {
	s := bareServer(f)
	sealed, err := s.sealTransaction(&transaction{Client: "c", RedirectURI: "https://app.example/", State: "s"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{sealed, sealed + "A", sealed[:30], "", "AAAA", sealed + "="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// What opens is what was sealed, whatever the text looks like.
		if got, err := s.openTransaction(text); err == nil && (got.Client != "c" || got.RedirectURI != "https://app.example/" || got.State != "s" || got.ID == "") {
			t.Errorf("%q opens as %+v", text, got)
		}
	})
}

func FuzzRedirect(f *testing.F) {
	for _, seed := range []string{"http://localhost:1/cb", "http://127.0.0.1/", "http://[::1]:80?x", "https://app.example/cb", "http://localhost.evil/", "http://localhost:1@evil/",
		"cursor://x", "http://localhost\\@evil/", "http:localhost/", "https://0x7f.1/", "https://[::ffff:127.0.0.1]/"} {
		f.Add(seed)
	}
	registered := []string{"http://localhost:3334/cb", "http://127.0.0.1/", "http://[::1]/x?y", "https://app.example/cb"}
	f.Fuzz(func(t *testing.T, uri string) {
		if matchRedirect(registered, uri) && !slices.Contains(registered, uri) {
			u, err := url.Parse(uri)
			if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || !slices.Contains([]string{"localhost", "127.0.0.1", "::1"}, u.Hostname()) {
				t.Errorf("%q matches: %+v, %v", uri, u, err)
			}
		}
		if checkRedirect(uri, []string{"cursor"}) == nil {
			u, err := url.Parse(uri)
			if err != nil || u.User != nil || strings.ContainsAny(uri, "*#\\ \n") || !slices.Contains([]string{"https", "http", "cursor"}, u.Scheme) {
				t.Errorf("%q may be registered: %+v, %v", uri, u, err)
			}
			if u.Scheme == "http" && !isLoopback(uri) {
				t.Errorf("%q may be registered", uri)
			}
			if location, err := url.Parse(withParams(uri, url.Values{"code": {"c"}, "iss": {testIssuer}})); err != nil || location.Host != u.Host || location.Query().Get("code") != "c" && u.Query().Get("code") == "" {
				t.Errorf("%q with parameters leads to %v, %v", uri, location, err)
			}
		}
	})
}

func FuzzResource(f *testing.F) {
	s := bareServer(f)
	for _, seed := range []string{testResource, testResource + "/", "HTTPS://GATE.EXAMPLE:443/mcp", "https://gate.example/mcp%2f", "https://gate.example/%6dcp", "https://gate.example@evil/mcp", "//gate.example/mcp", "", "https://gate.example:0443/mcp"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.current.Load().findResource([]string{text})
		if err != nil || text == "" {
			return
		}
		u, err := url.Parse(text)
		if err != nil || got.URL != testResource || !strings.EqualFold(u.Hostname(), "gate.example") || strings.TrimRight(u.Path, "/") != "/mcp" || u.User != nil {
			t.Errorf("%q names %q: %+v", text, got.URL, u)
		}
	})
}

func FuzzForm(f *testing.F) {
	for _, seed := range []string{"a=1&b=2", "a=1&a=2", "%zz", "a=%00", "=&=", "a;b", strings.Repeat("a", 100), "resource=1&resource=2", "a=1&A=2"} {
		f.Add(seed, "application/x-www-form-urlencoded", "Basic d2ViLWFwcDp4")
	}
	f.Add("a=1", "text/plain", "Basic ")
	f.Add("client_id=x&client_secret=y", "application/x-www-form-urlencoded; charset=utf-8", "basic OnNlY3JldA==")
	f.Add("client_id=web-app", "application/x-www-form-urlencoded", "Basic d2ViLWFwcDolMkY=")
	f.Fuzz(func(t *testing.T, body, contentType, authorization string) {
		r := httptest.NewRequest("POST", "/token", strings.NewReader(body))
		r.Header["Content-Type"], r.Header["Authorization"] = []string{contentType}, []string{authorization}
		form, err := readForm(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		if checkRepeated(form) == nil {
			for name, values := range form {
				if len(values) != 1 && name != "resource" {
					t.Errorf("%q occurs %d times", name, len(values))
				}
			}
		}
		given, err := readCredentials(r, form)
		if err != nil {
			return
		}
		if len(given.ids) == 0 || given.ids[0] == "" || (given.method == AuthNone) != (len(given.secrets) == 0) {
			t.Errorf("credentials %+v", given)
		}
	})
}

func FuzzBasic(f *testing.F) {
	for _, seed := range []string{"a:b", "a:", ":b", "", "a", "a%3Ab:c%25", "a+b:c d", "%zz:%zz", "a:b:c"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(seed)))
	}
	f.Add("!")
	f.Fuzz(func(t *testing.T, encoded string) {
		got, err := parseBasic(encoded)
		if err != nil {
			return
		}
		if slices.Contains(got.ids, "") || (got.method == AuthNone) != (len(got.secrets) == 0) {
			t.Errorf("credentials %+v", got)
		}
	})
}

func FuzzRegistration(f *testing.F) {
	s := bareServer(f)
	for _, seed := range []string{`{"redirect_uris":["https://app.example/"]}`, `{"client_name":"\u202e","redirect_uris":["http://localhost/cb"],"grant_types":["x"]}`, `{}`, `[`, `{"a":1,"a":2}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/register", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		asked, err := readRegistration(httptest.NewRecorder(), r)
		if err != nil {
			return
		}
		record, err := s.checkRegistration(asked)
		if err != nil {
			return
		}
		id, err := s.sealClientID(record)
		if err != nil {
			return
		}
		client, err := s.openClientID(id)
		if err != nil || len(id) > maxClientID || client.Name != record.Name || !slices.Equal(client.RedirectURIs, record.RedirectURIs) || len(client.RedirectURIs) == 0 {
			t.Errorf("%+v came back as %+v, %v", record, client, err)
		}
	})
}
