package authserver

import (
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

// withCertificateBound has clients whose tokens are bound to their certificates.
func withCertificateBound(o *Options) {
	o.Snapshot.Certificates = true
	o.Snapshot.Clients = append(o.Snapshot.Clients,
		Client{ID: "keeper", RedirectURIs: []string{webURI}, AuthMethod: AuthPost, Secret: secret.New("s"), CertificateBound: true},
		Client{ID: "robot", GrantTypes: []string{GrantClientCredentials}, AuthMethod: AuthPost, Secret: secret.New("s"), Scopes: identity.Scopes{"mcp:tools"}, CertificateBound: true})
}

// confirmed is what an access token is bound to.
func (h *harness) confirmed(token string) identity.Confirmation {
	h.t.Helper()
	_, claims := h.claims(token)
	c, ok := claims.Confirmation()
	if !ok {
		h.t.Fatalf("cnf %v", claims["cnf"])
	}
	return c
}

// TestCertificateBoundTokens: a client that is registered for it gets tokens for its certificate and no others, in every
// grant; they are good with that certificate at userinfo, too.
func TestCertificateBoundTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withCertificateBound)
	ca := testkit.NewCA(t)
	certificate := func() *x509.Certificate {
		c, err := x509.ParseCertificate(ca.Issue(t, "client").Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	cert, other := certificate(), certificate()
	ask := func(form url.Values, cert *x509.Certificate) *httptest.ResponseRecorder {
		return h.do(request{method: http.MethodPost, path: "/token", form: form, certificate: cert})
	}
	wantReason := func(w *httptest.ResponseRecorder, code, reason string) {
		t.Helper()
		h.wantError(w, 400, code)
		if !strings.Contains(w.Body.String(), "("+reason+")") {
			t.Errorf("%s, want %s", w.Body, reason)
		}
	}
	robot := url.Values{"grant_type": {GrantClientCredentials}, "client_id": {"robot"}, "client_secret": {"s"}, "resource": {testResource}}
	service := h.wantTokens(ask(robot, cert))
	if got := h.confirmed(service.AccessToken); got != (identity.Confirmation{Certificate: web.Thumbprint(cert.Raw)}) || service.TokenType != "Bearer" {
		t.Errorf("bound to %+v, %s", got, service.TokenType)
	}
	wantReason(ask(robot, nil), "invalid_request", "certificate_missing")

	post := map[string]string{"client_id": "keeper", "client_secret": "s", "redirect_uri": webURI}
	params := authorizeParams(map[string]string{"client_id": "keeper", "redirect_uri": webURI})
	code := codeForm(h.code(params), post)
	wantReason(ask(code, nil), "invalid_request", "certificate_missing")
	tokens := h.wantTokens(ask(code, cert)) // the code was not used up
	for c, reason := range map[*x509.Certificate]string{nil: "certificate_missing", other: "wrong_certificate"} {
		w := h.do(request{path: "/userinfo", header: map[string]string{"Authorization": "Bearer " + tokens.AccessToken}, certificate: c})
		if h.wantError(w, 401, "invalid_token"); !strings.Contains(w.Body.String(), "("+reason+")") || !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("userinfo: %v %s, want %s", w.Header(), w.Body, reason)
		}
	}
	if w := h.do(request{path: "/userinfo", header: map[string]string{"Authorization": "Bearer " + tokens.AccessToken}, certificate: cert}); w.Code != 200 {
		t.Errorf("userinfo with the certificate: %d %s", w.Code, w.Body)
	}
	refresh := refreshForm(tokens.RefreshToken, map[string]string{"client_id": "keeper", "client_secret": "s"})
	wantReason(ask(refresh, nil), "invalid_request", "certificate_missing")
	again := h.wantTokens(ask(refresh, other)) // with a new certificate: the client has authenticated
	if got := h.confirmed(again.AccessToken); got.Certificate != web.Thumbprint(other.Raw) {
		t.Errorf("refreshed: bound to %+v", got)
	}

	// With a proof a token is bound to both.
	p := h.prover()
	both := h.wantTokens(h.do(request{method: http.MethodPost, path: "/token", form: robot, certificate: cert, header: map[string]string{"DPoP": p.proof("/token", "POST", nil)}}))
	if got := h.confirmed(both.AccessToken); got != (identity.Confirmation{Key: p.key.Thumbprint(t), Certificate: web.Thumbprint(cert.Raw)}) || both.TokenType != "DPoP" {
		t.Errorf("bound to %+v, %s", got, both.TokenType)
	}
	// Others' tokens are bound to none, whatever they show.
	if w := ask(codeForm(h.code(authorizeParams(nil)), nil), cert); h.confirmed(h.wantTokens(w).AccessToken) != (identity.Confirmation{}) {
		t.Error("bound without being asked")
	}
}

func (h *harness) metadata() map[string]any {
	h.t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(h.do(request{path: "/.well-known/oauth-authorization-server"}).Body.Bytes(), &doc); err != nil {
		h.t.Fatal(err)
	}
	return doc
}

// TestCertificateBoundSettings: what the metadata says, and clients that could not be held to it.
func TestCertificateBoundSettings(t *testing.T) {
	t.Parallel()
	h := newHarness(t, withCertificateBound)
	if doc := h.metadata(); doc["tls_client_certificate_bound_access_tokens"] != true {
		t.Errorf("metadata %v", doc)
	}
	snapshot := testSnapshot()
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	if doc := h.metadata(); doc["tls_client_certificate_bound_access_tokens"] != nil {
		t.Errorf("metadata where clients cannot show certificates: %v", doc)
	}
	snapshot.Certificates = true
	snapshot.Clients = append(snapshot.Clients, Client{ID: "public", RedirectURIs: []string{webURI}, CertificateBound: true})
	if err := snapshot.Check(); err == nil || !strings.Contains(err.Error(), "does not authenticate") {
		t.Errorf("a public client: %v", err)
	}
	o := Options{}
	withCertificateBound(&o)
	snapshot.Clients = o.Snapshot.Clients
	snapshot.Certificates = false
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	w := h.do(request{method: http.MethodPost, path: "/token", certificate: &x509.Certificate{Raw: []byte("x")}, form: url.Values{
		"grant_type": {GrantClientCredentials}, "client_id": {"robot"}, "client_secret": {"s"}, "resource": {testResource},
	}})
	if h.wantError(w, 400, "invalid_request"); !strings.Contains(w.Body.String(), "(certificate_missing)") {
		t.Errorf("where clients cannot show certificates: %s", w.Body)
	}
}
