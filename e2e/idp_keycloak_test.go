//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	keycloakRealm    = "acme"        // made from idp/keycloak.json
	keycloakAudience = "api://tools" // what its client scope mcp:tools puts into aud
	keycloakAdmin    = "a secret of the administrator"
)

// keycloak is one running Keycloak. Starting it takes long, so its tests share it: each registers clients and makes
// persons of its own.
type keycloak struct {
	origin  string
	service *service
	token   string // of the administrator
	expires time.Time
}

// startKeycloak runs Keycloak as in production, with a database in memory, and makes the realm.
func startKeycloak(t *testing.T) *keycloak {
	t.Helper()
	home := install(t, "keycloak")
	port := freePort(t)
	k := &keycloak{origin: fmt.Sprintf("http://localhost:%d", port)}
	cmd := exec.Command(filepath.Join(home, "bin", "kc.sh"), "start", "--optimized", "--cache=local",
		"--http-enabled=true", "--http-host=127.0.0.1", fmt.Sprintf("--http-port=%d", port), "--hostname="+k.origin)
	cmd.Env = append(os.Environ(), "KC_BOOTSTRAP_ADMIN_USERNAME=admin", "KC_BOOTSTRAP_ADMIN_PASSWORD="+keycloakAdmin,
		"JAVA_OPTS_KC_HEAP=-Xms128m -Xmx768m", "JAVA_OPTS_APPEND=-XX:TieredStopAtLevel=1") // compiles little: it lives a minute
	k.service = startService(t, cmd, k.origin+"/realms/master/.well-known/openid-configuration", 3*time.Minute)
	var setup struct {
		Realm        json.RawMessage   `json:"realm"`
		ClientScopes []json.RawMessage `json:"clientScopes"` // not part of the realm: then it would lack Keycloak's own ones
		Clients      []json.RawMessage `json:"clients"`
	}
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join("idp", "keycloak.json"))), &setup); err != nil {
		t.Fatalf("idp/keycloak.json: %v", err)
	}
	k.do(t, http.MethodPost, "", setup.Realm, nil)
	for _, s := range setup.ClientScopes {
		k.do(t, http.MethodPost, "/client-scopes", s, nil)
	}
	for _, c := range setup.Clients {
		k.do(t, http.MethodPost, "/clients", c, nil)
	}
	k.person(t, username, "eng", "mcp-user")
	return k
}

// do calls the admin API: path is below the realm, or empty for the list of realms.
func (k *keycloak) do(t *testing.T, method, path string, body, answer any) http.Header {
	t.Helper()
	if time.Now().After(k.expires) {
		form := url.Values{"grant_type": {"password"}, "client_id": {"admin-cli"}, "username": {"admin"}, "password": {keycloakAdmin}}
		k.token = tokenFrom(t, k.origin+"/realms/master/protocol/openid-connect/token", "", "", form)
		k.expires = time.Now().Add(30 * time.Second) // it lives for a minute
	}
	target := k.origin + "/admin/realms"
	if path != "" {
		target += "/" + keycloakRealm + path
	}
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, target, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+k.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("Keycloak: %s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		t.Fatalf("Keycloak: %s %s: %s %v\n%s", method, target, resp.Status, err, text)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			t.Fatalf("Keycloak: %s %s: %v", method, target, err)
		}
	}
	return resp.Header
}

// person makes a user with a group and realm roles, and returns its id.
func (k *keycloak) person(t *testing.T, name, group string, roles ...string) string {
	t.Helper()
	made := k.do(t, http.MethodPost, "/users", map[string]any{
		"username": name, "enabled": true, "firstName": strings.ToUpper(name[:1]) + name[1:], "lastName": "Doe",
		"email": name + "@example.com", "emailVerified": true, "groups": []string{"/" + group},
		"credentials": []map[string]any{{"type": "password", "value": password, "temporary": false}},
	}, nil)
	id := made.Get("Location")[strings.LastIndex(made.Get("Location"), "/")+1:]
	var known []map[string]any
	k.do(t, http.MethodGet, "/roles", nil, &known)
	known = slices.DeleteFunc(known, func(r map[string]any) bool { return !slices.Contains(roles, fmt.Sprint(r["name"])) })
	if len(known) != len(roles) {
		t.Fatalf("Keycloak knows the roles %v of %v", known, roles)
	}
	k.do(t, http.MethodPost, "/users/"+id+"/role-mappings/realm", known, nil)
	return id
}

// disable locks a person out.
func (k *keycloak) disable(t *testing.T, id string) {
	t.Helper()
	k.do(t, http.MethodPut, "/users/"+id, map[string]any{"enabled": false}, nil)
}

// client registers a client as an administrator does.
func (k *keycloak) client(t *testing.T, id string, more map[string]any) {
	t.Helper()
	c := map[string]any{
		"clientId": id, "standardFlowEnabled": true, "directAccessGrantsEnabled": false,
		"defaultClientScopes": []string{"basic", "profile", "email", "roles", "groups"}, "optionalClientScopes": []string{"mcp:tools", "offline_access"},
	}
	maps.Copy(c, more)
	k.do(t, http.MethodPost, "/clients", c, nil)
}

// assistant registers a public client for mcp-remote, whose access tokens live for a time.
func (k *keycloak) assistant(t *testing.T, at place, lifetime time.Duration) *idp {
	t.Helper()
	p := k.idp()
	p.assistant = fmt.Sprintf("mcp-remote-%d", at.callback)
	k.client(t, p.assistant, map[string]any{
		"name": "Assistant on a laptop", "publicClient": true, "redirectUris": []string{fmt.Sprintf("http://localhost:%d/oauth/callback", at.callback)},
		"attributes": map[string]any{"pkce.code.challenge.method": "S256", "access.token.lifespan": fmt.Sprint(int(lifetime.Seconds()))},
	})
	return p
}

// application registers Gatehouse as a confidential client.
func (k *keycloak) application(t *testing.T, at place) *idp {
	t.Helper()
	return k.applicationLike(t, at, nil)
}

// applicationLike does the same, with differences.
func (k *keycloak) applicationLike(t *testing.T, at place, differences map[string]any) *idp {
	t.Helper()
	p := k.idp()
	p.webClient, p.webSecret = fmt.Sprintf("gatehouse-%d", at.housePort), "a secret of the web client"
	c := map[string]any{
		"name": "Gatehouse", "secret": p.webSecret, "redirectUris": []string{at.house + "/oauth/callback/" + p.name},
		"attributes": map[string]any{
			"pkce.code.challenge.method": "S256",
			"backchannel.logout.url":     at.house + "/oauth/backchannel-logout/" + p.name, "backchannel.logout.session.required": "true",
		},
	}
	maps.Copy(c, differences)
	k.client(t, p.webClient, c)
	return p
}

func (k *keycloak) idp() *idp {
	return &idp{
		name: "keycloak", label: "Keycloak", preset: "keycloak", origin: k.origin, discovery: k.issuer() + "/.well-known/openid-configuration",
		scopes: `["mcp:tools"]`, audience: keycloakAudience,
		pages: func(person string) []formPage {
			return []formPage{{Fields: map[string]string{"username": person, "password": password}}}
		},
	}
}

// serviceToken is one of a service account, which has no name in it: its client lacks the scope profile.
func (k *keycloak) serviceToken(t *testing.T) string {
	t.Helper()
	return tokenFrom(t, k.issuer()+"/protocol/openid-connect/token", "service", "a secret of the service", url.Values{"grant_type": {"client_credentials"}})
}

func (k *keycloak) issuer() string { return k.origin + "/realms/" + keycloakRealm }

// place is where Gatehouse and the assistant are: Keycloak is there already.
func (k *keycloak) place(t *testing.T) place {
	t.Helper()
	at := newPlace(t)
	at.idp = k.origin
	return at
}

// Everything about Keycloak, which is started once.
func TestKeycloak(t *testing.T) {
	k := startKeycloak(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *keycloak)
	}{
		{"direct", keycloakDirect},
		{"direct, registers itself", keycloakRegistration},
		{"direct, claim rules", keycloakClaimRules},
		{"direct, person removed", keycloakRemovedDirect},
		{"direct, key rotation under load", keycloakRotation},
		{"enterprise", keycloakEnterprise},
		{"enterprise, with a key instead of a secret", keycloakAssertion},
		{"enterprise, person removed", keycloakRemoved},
		{"enterprise, person removed, without offline access", keycloakRemovedOnline},
		{"enterprise, person signed out at Keycloak", keycloakSignedOut},
		{"enterprise, mistakes", keycloakMistakes},
		{"enterprise, no offline access", keycloakOfflineForbidden},
		{"enterprise, secret replaced", keycloakSecretReplaced},
		{"enterprise, sign-out here and there", keycloakSignOut},
		{"enterprise, two clients refresh at once", keycloakTogether},
		{"enterprise, two clients refresh at once at two copies", keycloakCopies},
		{"enterprise, beside Dex", keycloakBesideDex},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, k) })
	}
}
