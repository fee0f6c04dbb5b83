//go:build e2e

package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What an administrator gets wrong at Keycloak or in Gatehouse's file: doctor names it before anybody signs in.
func keycloakMistakes(t *testing.T, k *keycloak) {
	for name, m := range map[string]struct {
		there map[string]any // what is wrong with the client at Keycloak
		here  func(p *idp)   // what is wrong with the provider in Gatehouse's file
		code  string         // of doctor's finding
		says  []string
	}{
		"nothing":             {code: "", says: []string{"client and redirect URI are registered", "the provider takes it"}},
		"wrong secret":        {here: func(p *idp) { p.webSecret = "another secret" }, code: "client_secret_refused", says: []string{"Invalid client credentials", "tab Credentials"}},
		"unknown client":      {here: func(p *idp) { p.webClient = "nobody" }, code: "provider_client_unknown", says: []string{"Client not found"}},
		"no such realm":       {here: func(p *idp) { p.discovery = strings.Replace(p.discovery, "/acme/", "/acne/", 1) }, code: "metadata_missing", says: []string{"Realm does not exist", "/realms/NAME/"}},
		"scope that it lacks": {here: func(p *idp) { p.settings = "      scopes: [profile, offline_access, nonsense]" }, code: "sign_in_refused", says: []string{"Invalid scopes", "set scopes"}},
		"other redirect URI":  {there: map[string]any{"redirectUris": []string{"http://localhost:1/oauth/callback/keycloak"}}, code: "redirect_uri_unregistered", says: []string{"byte for byte"}},
		"standard flow off":   {there: map[string]any{"standardFlowEnabled": false}, code: "sign_in_refused", says: []string{"Standard flow is disabled"}},
		"client disabled":     {there: map[string]any{"enabled": false}, code: "sign_in_refused", says: []string{"open this in a browser"}},
	} {
		t.Run(name, func(t *testing.T) {
			at := k.place(t)
			p := k.applicationLike(t, at, m.there)
			if m.here != nil {
				m.here(p)
			}
			h := startEnterprise(t, at, enterprise{providers: map[string]string{p.name: p.settings}}, p)
			said, err := h.try("", "doctor", "-c", filepath.Join(h.dir, "gatehouse.yaml"))
			if (err == nil) != (m.code == "") {
				t.Errorf("doctor ends with %v", err)
			}
			for _, want := range append(m.says, m.code) {
				if !strings.Contains(said, want) {
					t.Errorf("doctor does not say %q:\n%s", want, said)
				}
			}
		})
	}
}

// A person without Keycloak's role offline_access: the page has a code, the log says what to do.
func keycloakOfflineForbidden(t *testing.T, k *keycloak) {
	id := k.person(t, "frank", "eng")
	var roles []map[string]any
	k.do(t, http.MethodGet, "/users/"+id+"/role-mappings/realm", nil, &roles)
	k.do(t, http.MethodDelete, "/users/"+id+"/role-mappings/realm", roles, nil)
	at := k.place(t)
	p := k.application(t, at)
	h := startEnterprise(t, at, enterprise{}, p)
	shown := walk(t, "keycloak-offline-forbidden", at.house+"/account", at.house, append([]formPage{{Press: p.name}}, p.pages("frank")...))
	if shown.ended.Path == "/account" || !strings.Contains(shown.last(), "Keycloak writes: “Offline tokens not allowed for the user or client”. It is not your fault") {
		t.Errorf("the sign-in ends at %s:\n%s", shown.ended, shown.last())
	}
	h.logged(t, "give the person the realm role offline_access")
}

// The secret is replaced at Keycloak while people are at work: that ends nobody, and is loud.
func keycloakSecretReplaced(t *testing.T, k *keycloak) {
	at := k.place(t)
	p := k.application(t, at)
	h := startEnterprise(t, at, enterprise{signIn: "  idp_recheck: 1s", rest: houseClients(at, "laptop")}, p)
	laptop := houseClient(at, "laptop")
	token := laptop.signIn(t, p.through(username))
	var found []map[string]any
	k.do(t, http.MethodGet, "/clients?clientId="+p.webClient, nil, &found)
	id, _ := found[0]["id"].(string)
	k.do(t, http.MethodPut, "/clients/"+id, map[string]any{"secret": "the next secret"}, nil)
	<-time.After(1100 * time.Millisecond) // until Keycloak's word is old, by the real clock of another process
	token, refused := laptop.refresh(t, token)
	if refused != nil {
		t.Fatalf("a new secret at Keycloak ended somebody: %v", refused)
	}
	h.logged(t, `"msg":"identity provider does not accept Gatehouse: people cannot be checked until this is mended"`)
	if status := newCaller(t, at.house+"/mcp").initialize(token.AccessToken); status != http.StatusOK {
		t.Errorf("a good token gets %d", status)
	}
}
