package authn_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"gatehouse/internal/authn"
	"gatehouse/internal/identity"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

// certified puts a certificate into a token, and whatever else it is bound to.
func certified(der []byte, more map[string]any) map[string]any {
	sum := sha256.Sum256(der)
	cnf := map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	maps.Copy(cnf, more)
	return map[string]any{"cnf": cnf}
}

// on puts a request on a TLS connection whose client has proved itself with a certificate; without one, with none.
func on(r *http.Request, chain ...*x509.Certificate) *http.Request {
	r.TLS = &tls.ConnectionState{PeerCertificates: chain}
	return r
}

func parsed(t testing.TB, cert tls.Certificate) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCertificateBound: a token that is bound to a certificate is good with that one only, whoever issued it (RFC 8705 §3).
func TestCertificateBound(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.ownRules(), h.foreignRules())
	e.Certificates = true
	ca := testkit.NewCA(t)
	cert, other := parsed(t, ca.Issue(t, "client")), parsed(t, ca.Issue(t, "client"))
	key := testkit.NewDPoPKey(t, "ES256")
	both := h.foreignToken(t, certified(cert.Raw, map[string]any{"jkt": key.Thumbprint(t)}))
	free := h.foreignToken(t, nil)
	for _, token := range []string{h.ownToken(t, "at+jwt", certified(cert.Raw, nil)), h.foreignToken(t, certified(cert.Raw, nil))} {
		for range 2 { // the second time it is remembered
			p, w := h.ask(on(bearer(token), cert, ca.Root()), e)
			wantPrincipal(t, p, w)
		}
		for reason, r := range map[authn.Reason]*http.Request{
			authn.CertificateMissing: on(bearer(token)),
			authn.WrongCertificate:   on(bearer(token), other, cert), // only the first is the client's
		} {
			_, w := h.ask(r, e)
			wantRefusal(t, w, 401, "invalid_token", reason)
		}
		_, w := h.ask(bearer(token), e) // plain http
		wantRefusal(t, w, 401, "invalid_token", authn.CertificateMissing)
	}
	for range 2 {
		p, w := h.ask(on(bearer(free), other), e)
		wantPrincipal(t, p, w)
	}

	// A token that is bound to both needs both.
	p, w := h.ask(on(withProof(both, h.proofFor(t, key, both, nil)), cert), e)
	wantPrincipal(t, p, w)
	_, w = h.ask(withProof(both, h.proofFor(t, key, both, nil)), e)
	wantDPoPRefusal(t, w, "invalid_token", authn.CertificateMissing)
	_, w = h.ask(on(withProof(both, h.proofFor(t, key, both, nil)), other), e)
	wantDPoPRefusal(t, w, "invalid_token", authn.WrongCertificate)
	_, w = h.ask(on(bearer(both), cert), e)
	wantDPoPRefusal(t, w, "invalid_token", authn.TokenBound)

	// A certificate does not make up for a proof.
	token := h.foreignToken(t, certified(cert.Raw, nil))
	_, w = h.ask(on(withProof(token, h.proofFor(t, key, token, nil)), cert), e)
	wantDPoPRefusal(t, w, "invalid_token", authn.TokenNotBound)
	strict := *e
	strict.DPoPRequired = true
	_, w = h.ask(on(bearer(token), cert), &strict)
	wantDPoPRefusal(t, w, "invalid_token", authn.DPoPRequired)

	// Where clients are not asked for certificates, there is none.
	blind := *e
	blind.Certificates = false
	_, w = h.ask(on(bearer(token), cert), &blind)
	wantRefusal(t, w, 401, "invalid_token", authn.CertificateMissing)
	for e, want := range map[*authn.Endpoint]any{e: true, &blind: nil} {
		w := httptest.NewRecorder()
		authn.MetadataHandler(func() []*authn.Endpoint { return []*authn.Endpoint{e} }).ServeHTTP(w, httptest.NewRequest(http.MethodGet, e.MetadataURL(), nil))
		var doc map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc["tls_client_certificate_bound_access_tokens"] != want {
			t.Errorf("metadata %s, %v", w.Body, err)
		}
	}
}

// TestCertificateOfProxy: the proxy says with which certificate the client came; nobody else does.
func TestCertificateOfProxy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules())
	e.Certificates = true
	cert := testkit.NewCA(t).Issue(t, "client").Certificate[0]
	token := h.foreignToken(t, certified(cert, nil))
	header := ":" + base64.StdEncoding.EncodeToString(cert) + ":"
	for name, c := range map[string]struct {
		peer, header string
		reason       authn.Reason
	}{
		"the proxy":            {"10.0.0.1:1", header, ""},
		"the proxy, without":   {"10.0.0.1:1", "", authn.CertificateMissing},
		"the proxy, other":     {"10.0.0.1:1", ":QUJD:", authn.WrongCertificate},
		"the proxy, something": {"10.0.0.1:1", "CN=client", authn.CertificateUnreadable},
		"a stranger":           {"192.0.2.1:1", header, authn.CertificateMissing},
	} {
		r := bearer(token)
		r.RemoteAddr = c.peer
		if c.header != "" {
			r.Header.Set("Client-Cert", c.header)
		}
		var p *identity.Principal
		var w *httptest.ResponseRecorder
		web.WithClientCertificate("Client-Cert", web.Proxies{netip.MustParsePrefix("10.0.0.0/8")})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			p, w = h.ask(r, e)
		})).ServeHTTP(nil, r)
		if c.reason == "" {
			wantPrincipal(t, p, w)
		} else if wantRefusal(t, w, 401, "invalid_token", c.reason); t.Failed() {
			t.Fatal(name)
		}
	}
}

// TestExplainCertificate: what is wrong between a token and a certificate, in the words of the refusal.
func TestExplainCertificate(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := h.endpoint(t, "/mcp", h.foreignRules())
	e.Certificates = true
	blind := h.endpoint(t, "/mcp", h.foreignRules())
	ca := testkit.NewCA(t)
	cert, other := ca.Issue(t, "client").Certificate[0], ca.Issue(t, "client").Certificate[0]
	key := testkit.NewDPoPKey(t, "ES256")
	token := h.foreignToken(t, certified(cert, nil))
	both := h.foreignToken(t, certified(cert, map[string]any{"jkt": key.Thumbprint(t)}))
	for name, c := range map[string]struct {
		e      *authn.Endpoint
		token  string
		how    authn.Shown
		reason authn.Reason
		says   string
	}{
		"alone":               {e, token, authn.Shown{}, "", "only where the client has shown that certificate"},
		"with it":             {e, token, authn.Shown{Certificate: cert}, "", "the client certificate"},
		"with another":        {e, token, authn.Shown{Certificate: other}, authn.WrongCertificate, "a new certificate"},
		"where nobody asks":   {blind, token, authn.Shown{Certificate: cert}, authn.CertificateMissing, "clients cannot show any here"},
		"nobody asks, alone":  {blind, token, authn.Shown{}, authn.CertificateMissing, "clients cannot show any here"},
		"both":                {e, both, authn.Shown{Certificate: cert, Proof: h.proofFor(t, key, both, nil)}, "", "a proof with the key"},
		"both, other":         {e, both, authn.Shown{Certificate: other, Proof: h.proofFor(t, key, both, nil)}, authn.WrongCertificate, "a new certificate"},
		"a proof for nothing": {e, token, authn.Shown{Certificate: cert, Proof: h.proofFor(t, key, token, nil)}, authn.TokenNotBound, "without a proof"},
	} {
		x := authn.Explain(t.Context(), c.token, c.e, authn.ExplainOptions{Now: h.now(), Revocations: h.revoked, Shown: c.how})
		var reason authn.Reason
		var said string
		if x.Refusal != nil {
			reason, said = x.Refusal.Reason, x.Causes[0].What
		}
		for _, check := range x.Checks {
			said += " " + check.Found
		}
		if reason != c.reason || !strings.Contains(said, c.says) {
			t.Errorf("%s: %q, want %q; says %q, want %q", name, reason, c.reason, said, c.says)
		}
	}
}
