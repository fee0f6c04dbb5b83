package testkit

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// IDP is an identity provider as a resource server sees it: a real HTTP server with a discovery document and a key set,
// and the private keys to mint tokens of any shape. Its tokens are made without the code that they are to test.
type IDP struct {
	server *httptest.Server
	path   string
	origin string // what it calls itself; set before it is used

	mu           sync.Mutex // guards what follows
	keys         []*IDPKey
	down         bool
	held         chan struct{} // answers wait until it is closed
	waiting      chan struct{} // tells that one does
	document     map[string]any
	keySet       []byte
	cacheControl string
	fetches      map[string]int
	opaque       map[string]map[string]any // tokens that only the provider can read
}

// NewIDP starts a provider with one ES256 key; it stops with the test. The path becomes part of the issuer, such as
// /realms/acme; it may be empty.
func NewIDP(t testing.TB, path string) *IDP {
	p := &IDP{path: path, fetches: map[string]int{}, opaque: map[string]map[string]any{}}
	p.server = httptest.NewServer(p)
	p.origin = p.server.URL
	t.Cleanup(func() {
		p.Release()
		p.server.Close()
	})
	p.AddKey(t, "ES256")
	return p
}

// URL is the origin of the provider.
func (p *IDP) URL() string { return p.origin }

// Issuer is what the provider calls itself.
func (p *IDP) Issuer() string { return p.origin + p.path }

// DiscoveryURL is the OpenID Connect discovery document.
func (p *IDP) DiscoveryURL() string { return p.Issuer() + "/.well-known/openid-configuration" }

// OAuthDiscoveryURL is the RFC 8414 document, with the well-known part before the path.
func (p *IDP) OAuthDiscoveryURL() string {
	return p.origin + "/.well-known/oauth-authorization-server" + p.path
}

// JWKSURL is the key set.
func (p *IDP) JWKSURL() string { return p.Issuer() + "/keys" }

// Client reaches the provider.
func (p *IDP) Client() *http.Client { return p.server.Client() }

// Claims is a good access token for alice, an hour long from now, with the given claims on top; nil removes one.
func (p *IDP) Claims(now time.Time, extra map[string]any) map[string]any {
	c := map[string]any{
		"iss": p.Issuer(), "sub": "alice", "aud": "api://default", "client_id": "client-1",
		"scope": "openid mcp:tools", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for name, value := range extra {
		if value == nil {
			delete(c, name)
		} else {
			c[name] = value
		}
	}
	return c
}

// Mint signs claims with the newest key. MintToken signs with any key and header.
func (p *IDP) Mint(t testing.TB, claims map[string]any) string {
	t.Helper()
	return MintToken(t, p.Newest(), nil, claims)
}

// AddKey publishes one more key and returns it; it signs from now on.
func (p *IDP) AddKey(t testing.TB, alg string) *IDPKey {
	t.Helper()
	k := NewIDPKey(t, alg)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = append(p.keys, k)
	return k
}

// Rotate publishes a new key and withdraws all others.
func (p *IDP) Rotate(t testing.TB, alg string) *IDPKey {
	t.Helper()
	k := NewIDPKey(t, alg)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []*IDPKey{k}
	return k
}

// Newest is the key that signs.
func (p *IDP) Newest() *IDPKey {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1]
}

// SetDown makes every answer a 503.
func (p *IDP) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Hold makes answers wait until Release. A value arrives on the channel when the first one waits.
func (p *IDP) Hold() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.waiting = make(chan struct{}), make(chan struct{}, 1)
	return p.waiting
}

// Release ends Hold.
func (p *IDP) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		close(p.held)
		p.held = nil
	}
}

// SetDocument changes members of the discovery document; nil restores it.
func (p *IDP) SetDocument(members map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.document = members
}

// SetKeySet serves these bytes as key set; nil restores it.
func (p *IDP) SetKeySet(raw []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keySet = raw
}

// SetCacheControl sets that header on the key set.
func (p *IDP) SetCacheControl(value string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cacheControl = value
}

// Fetches counts how often the discovery documents and the key set were asked for.
func (p *IDP) Fetches() (discovery, keys int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches["discovery"], p.fetches["keys"]
}

// ServeHTTP answers as the provider. Tests that live in a synctest bubble call it without the network.
func (p *IDP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	what := ""
	switch {
	case r.URL.Path == p.path+"/keys":
		what = "keys"
	case r.URL.Path == p.path+"/introspect":
		what = "introspection"
	case strings.Contains(r.URL.Path, "/.well-known/"):
		what = "discovery"
	default:
		http.NotFound(w, r)
		return
	}
	p.mu.Lock()
	p.fetches[what]++
	down, held, waiting, status, body := p.down, p.held, p.waiting, http.StatusOK, []byte(nil)
	if what == "introspection" {
		status, body = p.introspect(r)
	} else {
		body = p.answer(what)
	}
	cacheControl := p.cacheControl
	p.mu.Unlock()
	if held != nil {
		select {
		case waiting <- struct{}{}:
		default:
		}
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	if down {
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if what == "keys" && cacheControl != "" {
		w.Header().Set("Cache-Control", cacheControl)
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// answer renders a document; mu is held.
func (p *IDP) answer(what string) []byte {
	var doc any
	if what == "keys" {
		if p.keySet != nil {
			return p.keySet
		}
		set := []any{}
		for _, k := range p.keys {
			set = append(set, k.JWK())
		}
		doc = map[string]any{"keys": set}
	} else {
		members := map[string]any{
			"issuer": p.Issuer(), "jwks_uri": p.JWKSURL(),
			"authorization_endpoint": p.Issuer() + "/authorize", "token_endpoint": p.Issuer() + "/token",
			"introspection_endpoint":   p.IntrospectionURL(),
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": slices.Sorted(maps.Keys(p.algorithms())),
		}
		maps.Copy(members, p.document)
		doc = members
	}
	body, err := json.Marshal(doc)
	if err != nil {
		panic(err) // members are set by tests
	}
	return body
}

func (p *IDP) algorithms() map[string]bool {
	out := map[string]bool{}
	for _, k := range p.keys {
		out[k.Alg] = true
	}
	return out
}
