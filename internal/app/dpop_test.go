package app

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

const dpopSettings = `
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
  /vault/mcp: {issuers: [gatehouse], access: any_signed_in, dpop: required, targets: [demo]}
`

// connectWithKey is connect for a client that binds its tokens to a key.
func connectWithKey(h *house, path string) *client {
	h.t.Helper()
	c := newClient(h, path)
	c.key = testkit.NewDPoPKey(h.t, "ES256")
	c.register()
	c.signIn("alice")
	c.initialize()
	return c
}

// A client with a key works throughout: calls, a stream that outlives many checks, refresh, a second endpoint. Somebody
// who has its token and its requests, but not the key, gets nothing.
func TestDPoPThroughout(t *testing.T) {
	t.Parallel()
	h := openHouse(t, dpopSettings)
	c := connectWithKey(h, "/mcp")
	c.mustCall("demo___whoami", `{}`)

	stream, stop := context.WithCancel(t.Context())
	defer stop()
	get := c.request(stream, http.MethodGet, "")
	resp, err := c.http.Do(get)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("open a stream: %v, %v", resp, err)
	}
	defer resp.Body.Close()

	used := c.request(t.Context(), http.MethodPost, c.message("tools/call", `{"name":"demo___whoami","arguments":{}}`))
	again := used.Clone(t.Context())
	again.Body, _ = used.GetBody()
	if a, err := c.tryPost(used); err != nil || a.status != http.StatusOK {
		t.Fatalf("call: %v, %v", a, err)
	}
	if a, err := c.tryPost(again); err != nil || a.status != http.StatusUnauthorized || !strings.Contains(a.body, "proof_replayed") {
		t.Errorf("the same request again: %v, %v", a, err)
	}
	other := c.request(t.Context(), http.MethodPost, c.message("tools/list", `{}`))
	other.Body = http.NoBody
	other.ContentLength = 0
	if a, err := c.tryPost(other); err != nil || a.status != http.StatusUnauthorized || !strings.Contains(a.body, "proof_wrong_body") {
		t.Errorf("the proof with another body: %v, %v", a, err)
	}
	thief := newClient(h, "/mcp")
	thief.access, thief.session, thief.id, thief.refresh = c.access, c.session, c.id, c.refresh
	if a := thief.rpc("tools/list", `{}`); a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "DPoP ") || !strings.Contains(a.body, "token_bound") {
		t.Errorf("the token without its key: %s", a)
	}
	thief.key = testkit.NewDPoPKey(t, "ES256")
	if a := thief.rpc("tools/list", `{}`); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "wrong_key") {
		t.Errorf("the token with another key: %s", a)
	}
	if status, doc := thief.refreshTokens(); status != http.StatusBadRequest || doc["error"] != "invalid_grant" {
		t.Errorf("the refresh token with another key: %d %v", status, doc)
	}
	if status, doc := c.refreshTokens(); status != http.StatusOK || doc["token_type"] != "DPoP" {
		t.Errorf("refresh: %d %v", status, doc)
	}
	c.mustCall("demo___whoami", `{}`)
	connectWithKey(h, "/vault/mcp").mustCall("demo___whoami", `{}`)
	for _, secret := range []string{c.access, used.Header.Get("DPoP"), c.refresh} {
		if strings.Contains(h.log.String(), secret) || strings.Contains(h.auditRecords(), secret) {
			t.Error("a token or a proof is in the log")
		}
	}
}

// An endpoint that asks for bound tokens lets nobody else in, from the metadata to the call.
func TestDPoPRequiredEndpoint(t *testing.T) {
	t.Parallel()
	h := openHouse(t, dpopSettings)
	c := newClient(h, "/vault/mcp")
	c.register()
	a := c.rpc("initialize", initializeParams)
	if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), `DPoP algs="ES256`) {
		t.Errorf("the first challenge: %s", a)
	}
	_, doc := c.getJSON(h.url + "/.well-known/oauth-protected-resource/vault/mcp")
	if doc["dpop_bound_access_tokens_required"] != true {
		t.Errorf("metadata %v", doc)
	}
	p := c.browser.Password(c.browser.Open(c.authorizeURL(strings.Repeat("v", 43), "mcp:tools")), "alice", alicePassword)
	last := c.browser.Submit(p, "allow", nil)
	form := url.Values{"grant_type": {"authorization_code"}, "code": {last.URL.Query().Get("code")}, "redirect_uri": {c.redirect}, "code_verifier": {strings.Repeat("v", 43)}}
	if status, doc := c.token(form); status != http.StatusBadRequest || doc["error"] != "invalid_dpop_proof" {
		t.Errorf("a bearer token for it: %d %v", status, doc)
	}
	// A bearer token from before the setting is refused as well.
	if !h.reload(strings.Replace(dpopSettings, "dpop: required, ", "", 1)) {
		t.Fatal("not reloaded")
	}
	old := connect(h, "/vault/mcp")
	if !h.reload(dpopSettings) {
		t.Fatal("not reloaded")
	}
	if a := old.rpc("tools/list", `{}`); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "dpop_required") {
		t.Errorf("an old bearer token: %s", a)
	}
	if status, doc := old.refreshTokens(); status != http.StatusBadRequest || doc["error"] != "invalid_dpop_proof" {
		t.Errorf("its refresh: %d %v", status, doc)
	}
	old.key = testkit.NewDPoPKey(t, "ES256")
	if status, doc := old.refreshTokens(); status != http.StatusOK {
		t.Errorf("its refresh with a key: %d %v", status, doc)
	}
	old.session = ""
	old.initialize()
}

// With nonces everywhere a client that does as it is told gets through.
func TestDPoPNoncesEverywhere(t *testing.T) {
	t.Parallel()
	h := openHouse(t, dpopSettings+"dpop: {nonce: everywhere}\n")
	c := newClient(h, "/mcp")
	c.key = testkit.NewDPoPKey(t, "ES256")
	c.register()
	c.signIn("alice")
	a := c.rpc("initialize", initializeParams)
	nonce := a.header.Get("DPoP-Nonce")
	if a.status != http.StatusUnauthorized || a.challenge()["error"] != "use_dpop_nonce" || nonce == "" || nonce == c.nonce {
		t.Fatalf("without a nonce: %s", a)
	}
	r := c.request(t.Context(), http.MethodPost, c.message("initialize", initializeParams))
	body, _ := r.GetBody()
	raw := make([]byte, 4096)
	n, _ := body.Read(raw)
	r.Header.Set("DPoP", c.key.Proof(t, http.MethodPost, c.endpoint, time.Now(), map[string]any{
		"ath": testkit.TokenHash(c.access), "nonce": nonce, "content_digest": testkit.ContentDigest(string(raw[:n])),
	}))
	if a, err := c.tryPost(r); err != nil || a.status != http.StatusOK {
		t.Errorf("with the nonce: %v, %v", a, err)
	}
}
