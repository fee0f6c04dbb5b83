package testkit

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
)

// What the introspection endpoint of an IDP wants to see as client id and client secret.
const (
	IntrospectionClient = "gatehouse:introspection"
	IntrospectionSecret = "s3cret%+/ü"
)

// IntrospectionURL is where tokens may be asked about (RFC 7662).
func (p *IDP) IntrospectionURL() string { return p.Issuer() + "/introspect" }

// Opaque gives out a token that only the provider can read: Introspection answers with the claims, beside active.
func (p *IDP) Opaque(claims map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	token := "opq_" + rand.Text()
	p.opaque[token] = maps.Clone(claims)
	return token
}

// RevokeOpaque ends a token of Opaque.
func (p *IDP) RevokeOpaque(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.opaque, token)
}

// Introspections counts the questions about tokens.
func (p *IDP) Introspections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches["introspection"]
}

// introspect answers a question about a token; mu is held.
func (p *IDP) introspect(r *http.Request) (int, []byte) {
	id, secret, basic := r.BasicAuth()
	if basic {
		id, secret = unescapeForm(id), unescapeForm(secret)
	} else {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	if r.Method != http.MethodPost || id != IntrospectionClient || secret != IntrospectionSecret {
		return http.StatusUnauthorized, []byte(`{"error":"invalid_client"}`)
	}
	answer := map[string]any{"active": false}
	if claims, ok := p.opaque[r.PostFormValue("token")]; ok && r.URL.RawQuery == "" {
		answer = maps.Clone(claims)
		answer["active"] = true
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // claims are set by tests
	}
	return http.StatusOK, body
}

// unescapeForm undoes the encoding of RFC 6749 §2.3.1; what is not encoded so is no credential.
func unescapeForm(s string) string {
	plain, err := url.QueryUnescape(s)
	if err != nil {
		return ""
	}
	return plain
}
