package app

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/internal/testkit"
)

// A client that is named by the URL of its document, through everything: sign-in, tokens, calls, refresh, the account page,
// the settings as they change, and the deny list.
func TestClientWithADocument(t *testing.T) {
	t.Parallel()
	const id = "https://client.example/oauth.json"
	internet := testkit.NewInternet(t)
	var fetches atomic.Int32
	h := prepareHouse(t, twoDoors)
	c := newClient(h, "/mcp")
	internet.Serve(t, "client.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"client_id": id, "client_name": "By document", "redirect_uris": []string{"http://127.0.0.1/callback"}})
	}))
	h.documents = internet.Client()
	h.addUser("alice", "eng")
	h.start()

	c.id = id
	c.signIn("alice")
	c.initialize()
	if text := c.mustCall("demo___whoami", "{}"); !strings.Contains(text, id) {
		t.Errorf("whoami says %s", text)
	}
	if status, doc := c.refreshTokens(); status != http.StatusOK {
		t.Errorf("refresh: %d %v", status, doc)
	}
	c.browser.Open(h.url+"/account").MustShow(t, "<strong>By document</strong>", "of <code>client.example</code>")
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want one", n)
	}

	advertised := func() bool {
		_, body := h.bodyOf("/.well-known/oauth-authorization-server")
		return strings.Contains(body, `"client_id_metadata_document_supported":true`)
	}
	for _, tt := range []struct {
		settings           string
		advertised, served bool
	}{
		{"registration: {documents: {enabled: false}}\n", false, false},
		{"registration: {documents: {hosts: [other.example]}}\n", true, false},
		{"registration: {documents: {hosts: [client.example], trusted_hosts: [client.example]}}\n", true, true},
	} {
		if !h.reload(tt.settings + twoDoors) {
			t.Fatalf("%s: not reloaded", tt.settings)
		}
		status, _ := c.refreshTokens()
		if advertised() != tt.advertised || (status == http.StatusOK) != tt.served {
			t.Errorf("%s: advertised %v, refresh %d", tt.settings, advertised(), status)
		}
	}
	h.admin(func(ctx context.Context, a *Admin) error { return a.RevokeClient(ctx, id) })
	if status, doc := c.refreshTokens(); status != http.StatusUnauthorized || doc["error"] != "invalid_client" {
		t.Errorf("after it was revoked: %d %v", status, doc)
	}
}

// A host that is trusted is asked before the sign-in, so that its page can say who wants it.
func TestTrustedHostIsAskedFirst(t *testing.T) {
	t.Parallel()
	const id = "https://client.example/oauth.json"
	internet := testkit.NewInternet(t)
	internet.Serve(t, "client.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"client_id": id, "client_name": "By document", "redirect_uris": []string{"http://127.0.0.1/callback"}})
	}))
	h := prepareHouse(t, "registration: {documents: {trusted_hosts: [client.example]}}\n"+twoDoors)
	h.documents = internet.Client()
	h.start()
	c := newClient(h, "/mcp")
	c.id = id
	stranger := testkit.NewBrowser(t).Open(c.authorizeURL(strings.Repeat("v", 43), "mcp:tools"))
	stranger.MustShow(t, "to continue to <strong>By document</strong>")
}

// Without anything plugged in, what leads inside is not reached.
func TestDocumentsStayBehindTheFence(t *testing.T) {
	t.Parallel()
	h := openHouse(t, twoDoors)
	c := newClient(h, "/mcp")
	c.browser.Password(c.browser.Open(h.url+"/account"), "alice", alicePassword)
	for _, id := range []string{"https://localhost/c", "https://127.0.0.1/c", "https://[::1]/c", "http://client.example/c", "https://sub.localhost/c"} {
		c.id = id
		if p := c.browser.Open(c.authorizeURL(strings.Repeat("v", 43), "mcp:tools")); p.Status < 400 || !strings.HasPrefix(p.URL.String(), h.url) {
			t.Errorf("%s: %s", id, p)
		}
	}
}
