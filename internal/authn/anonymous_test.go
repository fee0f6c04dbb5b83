package authn_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
)

// An anonymous endpoint lets in programs on the same machine, whatever token they send, and nobody else.
func TestAnonymousIsLocal(t *testing.T) {
	t.Parallel()
	a, err := authn.New(authn.Options{Revocations: &revokedList{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	e := &authn.Endpoint{Path: "/mcp", Resource: "http://localhost:8080/mcp", Anonymous: true}
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, from, header string
		in                 bool
	}{
		{"IPv4", "127.0.0.1:1000", "", true},
		{"IPv6", "[::1]:1000", "", true},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:1000", "", true},
		{"a token that nobody knows", "127.0.0.1:1000", "Authorization", true},
		{"another machine", "192.0.2.1:1000", "", false},
		{"no address", "", "", false},
		{"a proxy, X-Forwarded-For", "127.0.0.1:1000", "X-Forwarded-For", false},
		{"a proxy, X-Forwarded-Host", "127.0.0.1:1000", "X-Forwarded-Host", false},
		{"a proxy, Forwarded", "127.0.0.1:1000", "Forwarded", false},
		{"a proxy, Via", "127.0.0.1:1000", "Via", false},
		{"a proxy, X-Real-IP", "127.0.0.1:1000", "X-Real-IP", false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
		r.RemoteAddr = c.from
		if c.header != "" {
			r.Header.Set(c.header, "Bearer whatever")
		}
		p, err := a.Authenticate(r, e)
		if in := err == nil; in != c.in {
			t.Errorf("%s: let in %v, want %v (%v)", c.name, in, c.in, err)
		}
		if c.in && (p.Key != identity.PersonKey{Issuer: "urn:gatehouse:anonymous", Subject: "anonymous"} || len(p.Scopes) > 0) {
			t.Errorf("%s: principal %+v", c.name, p)
		}
		if refusal, ok := errors.AsType[*authn.Refusal](err); !c.in && (!ok || refusal.Reason != authn.NotLocal) {
			t.Errorf("%s: %v, want %s", c.name, err, authn.NotLocal)
		}
	}
}

// Where no token is looked at, no client is sent to fetch one.
func TestAnonymousHasNoMetadata(t *testing.T) {
	t.Parallel()
	e := &authn.Endpoint{Path: "/mcp", Resource: "http://localhost:8080/mcp", Anonymous: true}
	h := authn.MetadataHandler(func() []*authn.Endpoint { return []*authn.Endpoint{e} })
	for _, path := range []string{"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp", "/mcp/.well-known/oauth-protected-resource"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/mcp", nil)
	authn.WriteRefusal(w, r, e, &authn.Refusal{Status: http.StatusForbidden, Reason: authn.NotLocal})
	if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusForbidden || got != "" {
		t.Errorf("%d, challenge %q", w.Code, got)
	}
	e.Authorizers = []*authn.Authorizer{{Name: "a"}}
	if e.Validate() == nil {
		t.Error("an anonymous endpoint with authorizers was accepted")
	}
}
