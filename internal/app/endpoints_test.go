package app

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const twoEndpoints = `
targets:
  demo: {demo: true}
endpoints:
  /a/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
  /b/mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
`

// Checklist 59: challenge, protected-resource metadata, authorization-server metadata, the iss of the redirect and the
// tokens say the same byte for byte. (The iss of the redirect is checked by every sign-in of these tests.)
func TestChecklist59_OneIssuerEverywhere(t *testing.T) {
	t.Parallel()
	h := openHouse(t, twoEndpoints)
	c := newClient(h, "/a/mcp")
	challenge := c.rpc("initialize", initializeParams).challenge()
	_, resource := c.getJSON(challenge["resource_metadata"])
	if resource["resource"] != c.endpoint {
		t.Errorf("metadata is about %v, the client asked %s", resource["resource"], c.endpoint)
	}
	if want := []any{h.url}; !reflect.DeepEqual(resource["authorization_servers"], want) {
		t.Errorf("authorization servers %v, want %v", resource["authorization_servers"], want)
	}
	for _, path := range []string{"/.well-known/oauth-protected-resource/a/mcp", "/a/mcp/.well-known/oauth-protected-resource"} {
		if _, doc := c.getJSON(h.url + path); !reflect.DeepEqual(doc, resource) {
			t.Errorf("%s says %v, the challenge's address %v", path, doc, resource)
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		_, as := c.getJSON(h.url + path)
		if as["issuer"] != h.url {
			t.Errorf("%s: issuer %v, want %s", path, as["issuer"], h.url)
		}
		for _, key := range []string{"authorization_endpoint", "token_endpoint", "registration_endpoint", "jwks_uri"} {
			if s, _ := as[key].(string); !strings.HasPrefix(s, h.url+"/") {
				t.Errorf("%s: %s is %v, which is not below the issuer", path, key, as[key])
			}
		}
	}
	c.register()
	c.signIn("alice")
	access, id := claims(t, c.access), claims(t, c.idToken)
	if access["iss"] != h.url || id["iss"] != h.url {
		t.Errorf("iss of the access token %v, of the ID token %v, want %s", access["iss"], id["iss"], h.url)
	}
	if access["aud"] != c.endpoint || id["aud"] != c.id {
		t.Errorf("aud of the access token %v, of the ID token %v", access["aud"], id["aud"])
	}
}

// Checklist 43: a token is good at the endpoint that it was asked for, and at no other.
func TestChecklist43_TokenOfAnotherEndpoint(t *testing.T) {
	t.Parallel()
	h := openHouse(t, twoEndpoints)
	c := connect(h, "/a/mcp")
	c.mustCall("demo___echo", `{"text":"here"}`)
	c.endpoint = h.url + "/b/mcp"
	a := c.rpc("tools/list", `{}`)
	if a.status != http.StatusUnauthorized || a.challenge()["error"] != "invalid_token" ||
		a.challenge()["resource_metadata"] != h.url+"/.well-known/oauth-protected-resource/b/mcp" {
		t.Errorf("a token for /a/mcp at /b/mcp: %s", a)
	}
	c.endpoint = h.url + "/a/mcp"
	c.mustCall("demo___echo", `{"text":"and still here"}`)
}

// An access rule keeps people out of an endpoint, whatever they ask for, and says nothing about what is behind it.
func TestAccessRule(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, `
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: {claim: groups, operator: contains_any, value: [eng]}, targets: [demo]}
`)
	h.addUser("alice", "eng")
	h.addUser("bob", "sales")
	h.start()
	connect(h, "/mcp").mustCall("demo___echo", `{"text":"in"}`)

	bob := newClient(h, "/mcp")
	bob.register()
	bob.signIn("bob")
	for _, body := range []string{bob.message("initialize", initializeParams), bob.message("tools/list", `{}`)} {
		a := bob.post(body)
		if a.status != http.StatusForbidden && a.status != http.StatusBadRequest || a.Result != nil || strings.Contains(a.body, "demo") {
			t.Errorf("bob, whom the rule does not admit, got %s", a)
		}
		if a.status == http.StatusForbidden && a.challenge()["error"] == "insufficient_scope" {
			t.Errorf("no scope helps bob, but the answer asks for one: %s", a)
		}
	}
	h.stop() // which writes what is left to write
	if records := h.auditRecords(); !strings.Contains(records, `"refused"`) {
		t.Error("the refusal is not in the audit records")
	}
}

// A call that needs more than the token has: 403 names granted ∪ needed; the client asks for that, and goes on in the
// same session. Tools are named in the configuration as clients see them, with and without prefix.
func TestStepUp(t *testing.T) {
	t.Parallel()
	for prefix, add := range map[string]string{
		"true": "demo___add", "false": "add", "false\n    prefixes: {demo: d_}": "d_add", "true\n    prefixes: {demo: \"\"}": "add",
	} {
		t.Run(add, func(t *testing.T) {
			t.Parallel()
			stepUp(t, openHouse(t, fmt.Sprintf(`
targets:
  demo: {demo: true}
endpoints:
  /mcp:
    issuers: [gatehouse]
    access: any_signed_in
    targets: [demo]
    prefix: %s
    scopes:
      default: [mcp:tools]
      tools: {%s: [demo:add]}
`, prefix, add)), add)
		})
	}
}

func stepUp(t *testing.T, h *house, add string) {
	c := connect(h, "/mcp")
	if scope := claims(t, c.access)["scope"].(string); strings.Contains(scope, "demo:add") {
		t.Fatalf("the first token has %q already", scope)
	}
	session := c.session
	c.mustCall(strings.Replace(add, "add", "echo", 1), `{"text":"needs no more"}`)
	a := c.call(add, `{"a":1,"b":2}`)
	asked := strings.Fields(a.challenge()["scope"])
	if a.status != http.StatusForbidden || a.challenge()["error"] != "insufficient_scope" {
		t.Fatalf("a call that lacks a scope: %s", a)
	}
	for _, want := range []string{"mcp:tools", "demo:add"} {
		if !slices.Contains(asked, want) {
			t.Errorf("the challenge asks for %v, without %s", asked, want)
		}
	}
	c.signIn("alice", asked...)
	if c.session = session; c.session == "" {
		t.Fatal("no session to go on with")
	}
	if text := c.mustCall(add, `{"a":1,"b":2}`); !strings.Contains(text, "3") {
		t.Errorf("1 + 2 is %s", text)
	}
}
