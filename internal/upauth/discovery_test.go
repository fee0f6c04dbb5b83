package upauth

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
)

// Where a target says what it is: in its challenge, at its own well-known URL, at that of its origin, or nowhere.
func TestWhereTheTargetSaysIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		at, header string
		origin     bool // the document is about the whole origin
		configured bool // the issuer is
	}{
		"challenge":         {at: "/somewhere/else.json", header: `Bearer resource_metadata="%s"`},
		"path":              {at: "/.well-known/oauth-protected-resource/mcp", header: "Bearer"},
		"origin":            {at: "/.well-known/oauth-protected-resource", header: "Bearer", origin: true},
		"origin, one of it": {at: "/.well-known/oauth-protected-resource", header: "Bearer"},
		"nowhere":           {header: "Bearer", configured: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.prmAt, w.header = c.at, c.header
			want := w.target.URL + "/mcp"
			if c.origin {
				want = w.target.URL
				w.prm["resource"] = want
			}
			o := w.person()
			if c.configured {
				o.Issuer = issuerOf(w.as[0])
			}
			w.must(w.source(o), "one")
			if got := w.as[0].asked[0].Get("resource"); got != want {
				t.Errorf("resource %s, want %s", got, want)
			}
		})
	}
	// Nobody says where tokens come from: the target's own refusal has to do.
	w := newWorld(t)
	w.prmAt, w.header = "", "Bearer"
	if _, _, err := w.post(w.source(w.person()), "one"); err == nil {
		t.Error("there is a token")
	}
}

func TestMetadataURLs(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string][]string{
		"https://as.example":        {"https://as.example/.well-known/oauth-authorization-server", "https://as.example/.well-known/openid-configuration"},
		"https://as.example/":       {"https://as.example/.well-known/oauth-authorization-server", "https://as.example/.well-known/openid-configuration"},
		"https://as.example/a/b%20": {"https://as.example/.well-known/oauth-authorization-server/a/b%20", "https://as.example/.well-known/openid-configuration/a/b%20", "https://as.example/a/b%20/.well-known/openid-configuration"},
	} {
		u, err := url.Parse(issuer)
		if err != nil {
			t.Fatal(err)
		}
		if got := metadataURLs(u); !slices.Equal(got, want) {
			t.Errorf("%s: %q", issuer, got)
		}
	}
}

// How Gatehouse becomes a client, and how it shows that it is: by its document where that is taken, else registered with
// the best method that the server has.
func TestBecomingAClient(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		document bool
		methods  []string
		want     string // what the token request shows
	}{
		"document": {document: true, methods: []string{"none"}, want: "https://gatehouse.example/client.json / "},
		"basic":    {methods: []string{"client_secret_post", "client_secret_basic"}, want: " / basic"},
		"default":  {want: " / basic"},
		"post":     {methods: []string{"none", "client_secret_post"}, want: "id / registered-secret"},
		"public":   {methods: []string{"none"}, want: "id / "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			as := w.as[0]
			as.metadata["client_id_metadata_document_supported"] = c.document
			as.metadata["token_endpoint_auth_methods_supported"] = c.methods
			o := w.person()
			o.Document = "https://gatehouse.example/client.json"
			w.must(w.source(o), "one")
			id, secret := as.forms[0].Get("client_id"), as.forms[0].Get("client_secret")
			if registered := as.asked[0].Get("client_id"); id == registered && !c.document {
				id = "id"
			}
			if _, _, ok := (&http.Request{Header: as.headers[0]}).BasicAuth(); ok {
				secret = "basic"
			}
			if got := fmt.Sprintf("%s / %s", id, secret); got != c.want || (as.regs == 0) != c.document {
				t.Errorf("showed %q after %d registrations, want %q", got, as.regs, c.want)
			}
		})
	}
}
