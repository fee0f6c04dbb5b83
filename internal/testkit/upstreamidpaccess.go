package testkit

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"strings"
	"testing"
	"time"
)

// AccessRequest is what an MCP client asked its provider for.
type AccessRequest struct {
	ClientID string
	Scope    string
	Audience string         // the API that was asked for, in the vendor's own way; empty for none
	Resource string         // RFC 8707
	Claims   map[string]any // on top of the vendor's; nil removes one
	Header   map[string]any
	Key      *IDPKey // instead of the newest
}

// Names that the vendors' fakes use.
const (
	EntraAPI      = "6731de76-14a6-49ae-97bc-6eba6914391e" // client id of the API's app registration
	EntraGraph    = "00000003-0000-0000-c000-000000000000"
	ZitadelRoles  = "urn:zitadel:iam:org:project:roles"
	ZitadelAPI    = "200000000000000002" // id of the project
	OktaAudience  = "api://default"
	personalGroup = "5ac2e5a4-0000-4000-8000-000000000009"
)

// AccessToken is what the vendor would give out for the request: a JWT of its shape, or a token that only it can read.
// The shapes follow documentation and general knowledge; no live tenant issued any.
func (u *UpstreamIDP) AccessToken(t testing.TB, r AccessRequest) string {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.accessToken(t, r)
}

// accessToken is AccessToken; mu is held.
func (u *UpstreamIDP) accessToken(t testing.TB, r AccessRequest) string {
	now := u.c.Now()
	claims := map[string]any{"iss": u.Issuer(), "sub": u.c.Subject, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
	header := map[string]any{}
	shape := accessShapes()[u.name]
	if shape == nil || !shape(claims, header, r) {
		return opaqueToken(u.name)
	}
	put(claims, r.Claims)
	maps.Copy(header, r.Header)
	key := u.keys[len(u.keys)-1]
	if r.Key != nil {
		key = r.Key
	}
	return MintToken(t, key, header, claims)
}

// opaqueToken looks as those of the vendor do.
func opaqueToken(vendor string) string {
	switch vendor {
	case "google":
		return "ya29." + rand.Text() + rand.Text()
	case "auth0": // encrypted to Auth0 itself
		head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"dir","enc":"A256GCM","iss":"https://acme.eu.auth0.com/"}`))
		return head + ".." + rand.Text() + "." + rand.Text() + "." + rand.Text()
	}
	return rand.Text()
}

// accessShapes fill in claims and header; false means that the token is opaque.
func accessShapes() map[string]func(claims, header map[string]any, r AccessRequest) bool {
	return map[string]func(claims, header map[string]any, r AccessRequest) bool{
		"okta": func(c, _ map[string]any, r AccessRequest) bool {
			put(c, map[string]any{"ver": 1, "jti": "AT.1", "aud": OktaAudience, "cid": r.ClientID, "uid": "00u1", "scp": strings.Fields(r.Scope), "sub": "alice@acme.example", "groups": []string{"Everyone", "eng"}})
			return true
		},
		"entra": func(c, h map[string]any, r AccessRequest) bool {
			put(c, map[string]any{"ver": "2.0", "aud": EntraAPI, "azp": r.ClientID, "azpacr": "0", "scp": r.Scope, "tid": EntraTenant, "oid": "0a1b2c3d-0000-4000-8000-000000000001",
				"roles": []string{"Mcp.User"}, "groups": []string{personalGroup}, "preferred_username": "alice@acme.example", "sub": "pairwise-of-the-api"})
			if r.Audience == EntraGraph { // what comes without a scope of the API; its signature is made for Graph
				put(c, map[string]any{"aud": EntraGraph, "iss": "https://sts.windows.net/" + EntraTenant + "/", "ver": "1.0", "azp": nil, "appid": r.ClientID})
				h["nonce"] = "hashed-before-it-was-signed"
			}
			return true
		},
		"cognito": func(c, h map[string]any, r AccessRequest) bool {
			put(c, map[string]any{"client_id": r.ClientID, "token_use": "access", "version": 2, "scope": r.Scope, "cognito:groups": []string{"eng"}, "username": "alice", "jti": "j"})
			if r.Resource != "" { // resource binding
				c["aud"] = r.Resource
			}
			h["typ"] = nil
			return true
		},
		"auth0": func(c, _ map[string]any, r AccessRequest) bool {
			put(c, map[string]any{"aud": []string{r.Audience, strings.TrimSuffix(c["iss"].(string), "/") + "/userinfo"}, "azp": r.ClientID, "scope": r.Scope,
				"permissions": []string{"mcp:tools"}, "https://acme.example/groups": []string{"eng"}})
			return r.Audience != ""
		},
		"keycloak": func(c, _ map[string]any, r AccessRequest) bool {
			put(c, map[string]any{"typ": "Bearer", "azp": r.ClientID, "aud": "account", "scope": r.Scope, "acr": "1", "sid": "s", "groups": []string{"/eng"},
				"realm_access": map[string]any{"roles": []string{"offline_access", "mcp"}}, "resource_access": map[string]any{"account": map[string]any{"roles": []string{"manage-account"}}}})
			if r.Audience != "" { // an audience mapper
				c["aud"] = []string{r.Audience, "account"}
			}
			return true
		},
		"pingone": func(c, h map[string]any, r AccessRequest) bool { // unverified
			put(c, map[string]any{"aud": []string{"https://api.pingone.eu"}, "client_id": r.ClientID, "scope": r.Scope, "env": "6f1b2c3d-env", "org": "o"})
			if r.Audience != "" { // a custom resource
				c["aud"] = []string{r.Audience}
			}
			h["typ"] = nil
			return true
		},
		"dex": func(c, h map[string]any, r AccessRequest) bool { // an ID token by another name, which has the hash of a token
			put(c, map[string]any{"aud": r.ClientID, "at_hash": rand.Text()[:22], "groups": []string{"eng"}, "email": "alice@acme.example", "email_verified": true})
			if r.Audience != "" { // scope audience:server:client_id:…
				put(c, map[string]any{"aud": []string{r.Audience, r.ClientID}, "azp": r.ClientID})
			}
			h["typ"] = nil
			return true
		},
		"authentik": func(c, _ map[string]any, r AccessRequest) bool {
			put(c, map[string]any{"aud": r.ClientID, "azp": r.ClientID, "scope": r.Scope, "acr": "goauthentik.io/providers/oauth2/default", "uid": "x", "groups": []string{"eng"}})
			return true
		},
		"zitadel": func(c, _ map[string]any, r AccessRequest) bool { // only with the token type JWT
			put(c, map[string]any{"aud": []string{r.ClientID, ZitadelAPI}, "client_id": r.ClientID, "jti": "V2_1", ZitadelRoles: map[string]any{"mcp": map[string]any{"200000000000000003": "acme.example"}}})
			return r.Audience == ZitadelAPI
		},
	}
}
