//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"gatehouse/internal/identity"
)

// startDex runs Dex with two persons in its own password database, and a client of each kind.
func startDex(t *testing.T, at place) (*idp, *service) {
	t.Helper()
	binary := install(t, "dex")
	p := &idp{
		name: "dex", label: "Dex", preset: "dex", origin: at.idp, discovery: at.idp + "/dex/.well-known/openid-configuration",
		scopes: `["openid","profile","email","groups"]`, // Dex insists on openid
		// The access tokens name the client as their audience, and nothing else says who it was.
		assistant: "mcp-remote", audience: "mcp-remote",
		webClient: "gatehouse", webSecret: "a secret of the web client",
		pages: func(person string) []formPage {
			return []formPage{{Fields: map[string]string{"login": person + "@example.com", "password": password}, Press: "Login"}, {Press: "Grant Access"}}
		},
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost) // Dex refuses less
	if err != nil {
		t.Fatal(err)
	}
	person := func(name, group string) map[string]any {
		return map[string]any{"email": name + "@example.com", "hash": string(hash), "username": name, "preferredUsername": name, "userID": "id-of-" + name, "groups": []string{group}}
	}
	config, err := json.Marshal(map[string]any{
		"issuer": at.idp + "/dex", "storage": map[string]any{"type": "memory"}, "web": map[string]any{"http": fmt.Sprintf("127.0.0.1:%d", at.idpPort)},
		"expiry":           map[string]any{"idTokens": "1h"},
		"enablePasswordDB": true, "staticPasswords": []any{person(username, "eng"), person("bob", "sales")},
		"staticClients": []map[string]any{
			{"id": p.assistant, "name": "Assistant on a laptop", "public": true, "redirectURIs": []string{fmt.Sprintf("http://localhost:%d/oauth/callback", at.callback)}},
			{"id": p.webClient, "name": "Gatehouse", "secret": p.webSecret, "redirectURIs": []string{at.house + "/oauth/callback/" + p.name}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "dex.yaml") // JSON is YAML too
	writeFile(t, path, string(config))
	return p, startService(t, exec.Command(binary, "serve", path), p.discovery, time.Minute)
}

// Dex in direct mode. Its access tokens are ID tokens in all but one claim.
func TestDex(t *testing.T) {
	at := newPlace(t)
	p, _ := startDex(t, at)
	h := startDirect(t, at, p, direct{advertised: true, authorizer: `
    custom_claims:
      - {claim: groups, type: string_array, operator: contains, value: eng}
`})
	home := t.TempDir()
	r := chromiumDirect(t, "dex-direct", at, p, home, username)
	claims := identity.Claims(whoami(t, r))
	audience, _ := claims.Strings("aud")
	if claims["preferred_username"] != username || claims["iss"] != at.idp+"/dex" || !slices.Equal(audience, []string{p.audience}) {
		t.Errorf("whoami knows %v", claims)
	}
	r.close()
	before := expireStoredToken(t, home)
	again := startRemote(t, home, p.remoteArgs(at, "/mcp")...)
	again.finishInitialize(again.beginInitialize())
	again.tool("demo___whoami", map[string]any{})
	if again.askedForSignIn() {
		t.Error("an expired access token led to a sign-in instead of a refresh at the IdP")
	}
	if after := storedTokens(t, home); after["refresh_token"] == before["refresh_token"] {
		t.Error("Dex did not rotate the refresh token")
	}
	again.close()

	client := p.directClient(t, at)
	c := newCaller(t, at.house+"/mcp")
	tokens := client.signIn(t, p.pages(username))
	if status := c.initialize(tokens.AccessToken); status != http.StatusOK {
		t.Errorf("alice's access token gets %d", status)
	}
	if status := c.initialize(fmt.Sprint(tokens.Extra("id_token"))); status != http.StatusUnauthorized {
		t.Errorf("alice's ID token gets %d, want 401", status)
	}
	h.logged(t, `"auth_refused":"id_token_used"`)
	if status := c.initialize(client.signIn(t, p.pages("bob")).AccessToken); status != http.StatusUnauthorized {
		t.Errorf("bob, who is in no group that gets in, gets %d, want 401", status)
	}
	h.logged(t, `"auth_refused":"claim_mismatch"`)
}

// What an administrator gets wrong, as doctor names it.
func TestDexMistakes(t *testing.T) {
	at := newPlace(t)
	right, _ := startDex(t, at)
	for name, m := range map[string]struct {
		change func(p *idp)
		code   string
	}{
		"wrong secret":     {func(p *idp) { p.webSecret = "another secret" }, "client_secret_refused"},
		"unknown client":   {func(p *idp) { p.webClient = "nobody" }, "provider_client_unknown"},
		"no such path":     {func(p *idp) { p.discovery = strings.Replace(p.discovery, "/dex/", "/", 1) }, "metadata_missing"},
		"redirect URI":     {func(p *idp) { p.name = "other" }, "redirect_uri_unregistered"},
		"another client":   {func(p *idp) { p.webClient, p.webSecret = p.assistant, "x" }, "redirect_uri_unregistered"},
		"nothing is amiss": {func(*idp) {}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := *right
			m.change(&p)
			h := startEnterprise(t, at, enterprise{}, &p)
			said, err := h.try("", "doctor", "-c", filepath.Join(h.dir, "gatehouse.yaml"))
			if (err == nil) != (m.code == "") || !strings.Contains(said, m.code) {
				t.Errorf("doctor ends with %v, want %q:\n%s", err, m.code, said)
			}
		})
	}
}

func TestDexTogether(t *testing.T) {
	at := newPlace(t)
	p, _ := startDex(t, at)
	refreshTogether(t, at, p, 1)
}

func TestDexEnterprise(t *testing.T) {
	at := newPlace(t)
	p, _ := startDex(t, at)
	enterpriseSignIn(t, at, p, "eng")
}
