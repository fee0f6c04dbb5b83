//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity"
)

// A static public client, as an administrator sets it up for mcp-remote.
func keycloakDirect(t *testing.T, k *keycloak) {
	at := k.place(t)
	p := k.assistant(t, at, time.Hour)
	startDirect(t, at, p, direct{authorizer: fmt.Sprintf("    allowed_clients: [%s]", p.assistant)})
	home := t.TempDir()
	r := chromiumDirect(t, "keycloak-direct", at, p, home, username)
	claims := identity.Claims(whoami(t, r))
	audience, _ := claims.Strings("aud")
	if claims["preferred_username"] != username || claims["iss"] != k.issuer() || !slices.Contains(audience, keycloakAudience) {
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
		t.Error("Keycloak did not rotate the refresh token")
	}
}

// Clients may register themselves where an administrator has opened Keycloak's policies to them.
func keycloakRegistration(t *testing.T, k *keycloak) {
	const policies = "org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy"
	var known []map[string]any
	k.do(t, http.MethodGet, "/components?type="+policies, nil, &known)
	for _, policy := range known {
		if policy["subType"] != "anonymous" {
			continue
		}
		switch policy["providerId"] {
		case "trusted-hosts": // of the registering machine, of redirect_uris and of mcp-remote's client_uri
			policy["config"] = map[string]any{
				"trusted-hosts": []string{"127.0.0.1", "localhost", "github.com"}, "host-sending-registration-request-must-match": []string{"true"},
				"client-uris-must-match": []string{"true"},
			}
		case "allowed-client-templates":
			policy["config"] = map[string]any{"allow-default-scopes": []string{"true"}, "allowed-client-scopes": []string{"mcp:tools", "offline_access"}}
		default:
			continue
		}
		k.do(t, http.MethodPut, fmt.Sprintf("/components/%s", policy["id"]), policy, nil)
	}
	at, p := k.place(t), k.idp()
	p.pages = func(person string) []formPage {
		return append(k.idp().pages(person), formPage{Press: "Yes"}) // Keycloak asks what such a client may do
	}
	h := startDirect(t, at, p, direct{})
	r := chromiumDirect(t, "keycloak-registration", at, p, t.TempDir(), username)
	if claims := whoami(t, r); claims["iss"] != k.issuer() || claims["aud"] != keycloakAudience { // and no name: the scopes that it registered replace the usual ones
		t.Errorf("whoami knows %v", claims)
	}
	if status := newCaller(t, at.house+"/mcp").initialize(k.serviceToken(t)); status != http.StatusForbidden {
		t.Errorf("a service account that nobody named gets %d, want 403", status)
	}
	h.logged(t, "access_denied")
}

// Rules about claims inside objects, as Keycloak has them: alice gets in, bob does not.
func keycloakClaimRules(t *testing.T, k *keycloak) {
	k.person(t, "bob", "sales")
	at := k.place(t)
	p := k.assistant(t, at, time.Hour)
	h := startDirect(t, at, p, direct{authorizer: `
    custom_claims:
      - {claim: realm_access.roles, type: string_array, operator: contains, value: mcp-user}
      - {claim: groups, type: string_array, operator: contains_any, value: [eng, ops]}
`})
	client := p.directClient(t, at)
	c := newCaller(t, at.house+"/mcp")
	if status := c.initialize(client.signIn(t, p.pages(username)).AccessToken); status != http.StatusOK {
		t.Errorf("alice, who has the role and the group, gets %d", status)
	}
	if status := c.initialize(client.signIn(t, p.pages("bob")).AccessToken); status != http.StatusUnauthorized {
		t.Errorf("bob, who has neither, gets %d, want 401", status)
	}
	h.logged(t, `"auth_refused":"claim_mismatch"`)
}

// Whoever is disabled at Keycloak is out when the access token ends, and cannot get another.
func keycloakRemovedDirect(t *testing.T, k *keycloak) {
	const lifetime = 4 * time.Second // short enough to wait for
	id := k.person(t, "carol", "eng")
	at := k.place(t)
	p := k.assistant(t, at, lifetime)
	h := startDirect(t, at, p, direct{})
	client := p.directClient(t, at)
	token := client.signIn(t, p.pages("carol"))
	c := newCaller(t, at.house+"/mcp")
	if status := c.initialize(token.AccessToken); status != http.StatusOK {
		t.Fatalf("initialize: %d", status)
	}
	r := remoteDirect(t, at, p, t.TempDir(), "carol")
	r.tool("demo___whoami", map[string]any{})
	k.disable(t, id)

	if _, refused := client.refresh(t, token); refused == nil || refused.ErrorCode != "invalid_grant" {
		t.Errorf("Keycloak refreshes the token of a disabled person: %v", refused)
	}
	for out := time.After(lifetime + 2*time.Second); ; {
		if status, _ := c.whoami(token.AccessToken, "carol"); status == http.StatusUnauthorized {
			break
		}
		select {
		case <-time.After(200 * time.Millisecond): // the clocks of two processes: there is no event to wait for
		case <-out:
			t.Fatalf("a disabled person still gets in %s after the token was issued for %s", lifetime+2*time.Second, lifetime)
		}
	}
	h.logged(t, `"auth_refused":"token_expired"`)

	r.begin("tools/call", map[string]any{"name": "demo___whoami", "arguments": map[string]any{}})
	if shown := browse(t, r.nextAuthorizeURL(2), p.pages("carol")); !strings.Contains(shown.last(), "disabled") {
		t.Errorf("Keycloak lets a disabled person in:\n%s", shown.last())
	}
}

// Keycloak gets a new key while calls are in flight: nobody notices.
func keycloakRotation(t *testing.T, k *keycloak) {
	at, p := k.place(t), k.idp()
	startDirect(t, at, p, direct{services: "service"})
	fresh := func() string { return k.serviceToken(t) }
	old := fresh()
	load := startLoad(t, at.house+"/mcp", "service", old)
	load.untilEach(2)
	k.do(t, http.MethodPost, "/components", map[string]any{
		"name": "next", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
		"config": map[string]any{"priority": []string{"200"}, "enabled": []string{"true"}, "active": []string{"true"}, "keySize": []string{"2048"}},
	}, nil)
	token := fresh()
	if keyID(t, old) == keyID(t, token) {
		t.Fatal("Keycloak did not rotate its key")
	}
	load.use(token)
	load.untilEach(2)
	load.use(old) // of a key that is still published
	load.untilEach(1)
	load.stop()
}
