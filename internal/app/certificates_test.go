package app

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// certifiedEndpoint takes tokens of an issuer that binds them to certificates.
func certifiedEndpoint(idp *testkit.IDP) string {
	return `
authorizers:
  - {name: mesh, discovery_url: ` + idp.DiscoveryURL() + `, allowed_audience: ["api://default"]}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [mesh], access: any_signed_in, targets: [demo]}
`
}

// certifiedToken is one that the issuer has bound to a certificate.
func certifiedToken(t *testing.T, idp *testkit.IDP, cert tls.Certificate) string {
	t.Helper()
	sum := sha256.Sum256(cert.Certificate[0])
	return idp.Mint(t, idp.Claims(time.Now(), map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}))
}

// withCertificate has a client show one, whatever it is asked for.
func (c *client) withCertificate(roots *x509.CertPool, cert *tls.Certificate) {
	config := &tls.Config{RootCAs: roots}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: config}
	c.t.Cleanup(transport.CloseIdleConnections)
	c.http.Transport = transport
}

// A token that its issuer bound to a certificate works on connections with that certificate, and on no others; the
// administrator learns why from the log and from explain.
func TestCertificateBoundTokensOverTLS(t *testing.T) {
	t.Parallel()
	idp, ca := testkit.NewIDP(t, ""), testkit.NewCA(t)
	settings := "public_url: $URL\ntls: {cert_file: tls.crt, key_file: tls.key, client_certificates: true}\n" + certifiedEndpoint(idp)
	h := prepareHouse(t, settings)
	h.url = strings.Replace(h.url, "http:", "https:", 1)
	h.configure(settings)
	roots := x509.NewCertPool()
	roots.AddCert(h.writePair(1))
	h.start()
	cert, other := ca.Issue(t, "client"), ca.SelfSigned("thief")
	c := newClient(h, "/mcp")
	c.access = certifiedToken(t, idp, cert)
	c.withCertificate(roots, &cert)
	c.initialize()
	c.mustCall("demo___whoami", `{}`)
	_, doc := c.getJSON(h.url + "/.well-known/oauth-protected-resource/mcp")
	if doc["tls_client_certificate_bound_access_tokens"] != true {
		t.Errorf("metadata %v", doc)
	}
	for reason, shown := range map[string]*tls.Certificate{"certificate_missing": nil, "wrong_certificate": &other} {
		thief := newClient(h, "/mcp")
		thief.access, thief.session = c.access, c.session
		thief.withCertificate(roots, shown)
		r := thief.request(t.Context(), http.MethodPost, thief.message("tools/list", `{}`))
		r.Header.Set("Client-Cert", ":"+base64.StdEncoding.EncodeToString(cert.Certificate[0])+":") // for which there is no setting
		a, err := thief.tryPost(r)
		if err != nil || a.status != http.StatusUnauthorized || a.challenge()["error"] != "invalid_token" || !strings.Contains(a.body, "("+reason+")") {
			t.Errorf("%s: %v, %v", reason, a, err)
		}
	}
	free := newClient(h, "/mcp")
	free.withCertificate(roots, nil)
	free.access = idp.Mint(t, idp.Claims(time.Now(), nil))
	free.initialize()

	// A service of our own whose tokens are bound to its certificate.
	h.write("secret", "the secret of robot")
	own := settings + `clients:
  - {client_id: robot, grant_types: [client_credentials], token_endpoint_auth_method: client_secret_post, client_secret: {file: secret}, scopes: [mcp:tools], tls_client_certificate_bound_access_tokens: true}
`
	own = strings.Replace(own, "endpoints:\n", "endpoints:\n  /ci/mcp: {issuers: [gatehouse], access: any_signed_in, services: {gatehouse: [robot]}, targets: [demo]}\n", 1)
	if !h.reload(own) {
		t.Fatal("not reloaded")
	}
	robot := newClient(h, "/ci/mcp")
	robot.id = "robot"
	form := url.Values{"grant_type": {"client_credentials"}, "client_secret": {"the secret of robot"}, "resource": {robot.endpoint}}
	robot.withCertificate(roots, nil)
	if status, doc := robot.token(form); status != http.StatusBadRequest || doc["error"] != "invalid_request" {
		t.Errorf("a token without a certificate: %d %v", status, doc)
	}
	robot.withCertificate(roots, &other)
	if status, doc := robot.token(form); status != http.StatusOK {
		t.Fatalf("token: %d %v", status, doc)
	}
	robot.initialize()
	if got := robot.mustCall("demo___whoami", `{}`); !strings.Contains(got, "service:robot") {
		t.Errorf("whoami said %s", got)
	}
	robot.withCertificate(roots, &cert)
	if a := robot.rpc("tools/list", `{}`); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "wrong_certificate") {
		t.Errorf("the service's token with another certificate: %s", a)
	}

	blind := strings.Replace(settings, ", client_certificates: true", "", 1)
	if h.reload(blind) {
		t.Error("clients are asked, or not, without a restart")
	}
	h.stop()
	h.configure(blind)
	h.start()
	c.session = ""
	if a := c.rpc("initialize", initializeParams); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "certificate_missing") {
		t.Errorf("where nobody asks for certificates: %s", a)
	}
	if line := h.log.await(t, 0, "neither tls.client_certificates nor client_certificate_header is set"); !strings.Contains(line, "certificate_missing") {
		t.Errorf("log: %s", line)
	}
	x, err := h.explain("/mcp", c.access)
	if err != nil || x.Refusal == nil || string(x.Refusal.Reason) != "certificate_missing" || !strings.Contains(x.Causes[0].Cure, "tls.client_certificates: true") {
		t.Errorf("explain: %+v, %v", x, err)
	}
}

// certifying is a proxy that terminates TLS and says which certificate the client has shown.
func certifying(h *house, write func(out http.Header, der []byte)) *httptest.Server {
	proxy := proxy(h)
	rewrite := proxy.Rewrite
	proxy.Rewrite = func(r *httputil.ProxyRequest) {
		rewrite(r)
		r.Out.Host = "gw.test"
		var der []byte
		if chain := r.In.TLS.PeerCertificates; len(chain) > 0 {
			der = chain[0].Raw
		}
		write(r.Out.Header, der)
	}
	s := httptest.NewUnstartedServer(proxy)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	h.t.Cleanup(s.Close)
	return s
}

// Behind a proxy that terminates TLS, the proxy's word about the certificate counts, and only that.
func TestCertificateBoundTokensBehindProxy(t *testing.T) {
	t.Parallel()
	idp, ca := testkit.NewIDP(t, ""), testkit.NewCA(t)
	settings := "public_url: https://gw.test\nbehind_tls_proxy: true\ntrusted_proxies: [127.0.0.1/32]\nclient_certificate_header: Client-Cert\n" + certifiedEndpoint(idp)
	h := openHouse(t, settings)
	cert, other := ca.Issue(t, "client"), ca.Issue(t, "client")
	sequence := func(der []byte) string { return ":" + base64.StdEncoding.EncodeToString(der) + ":" }
	good := certifying(h, func(out http.Header, der []byte) {
		out.Del("Client-Cert")
		if der != nil {
			out.Set("Client-Cert", sequence(der))
		}
	})
	careless := certifying(h, func(out http.Header, der []byte) {
		if der != nil {
			out.Add("Client-Cert", sequence(der))
		}
	})
	for name, c := range map[string]struct {
		proxy  *httptest.Server
		shown  *tls.Certificate
		forged string
		want   string // in the answer
	}{
		"the client":                       {good, &cert, "", "protocolVersion"},
		"nobody":                           {good, nil, "", "certificate_missing"},
		"another":                          {good, &other, "", "wrong_certificate"},
		"another, forged":                  {good, &other, sequence(cert.Certificate[0]), "wrong_certificate"},
		"nobody, forged":                   {good, nil, sequence(cert.Certificate[0]), "certificate_missing"},
		"another, forged, careless proxy":  {careless, &other, sequence(cert.Certificate[0]), "certificate_unreadable"},
		"the client, forged, careless too": {careless, &cert, sequence(cert.Certificate[0]), "certificate_unreadable"},
	} {
		one := newClient(h, "/mcp")
		one.endpoint, one.access = c.proxy.URL+"/mcp", certifiedToken(t, idp, cert)
		roots := x509.NewCertPool()
		roots.AddCert(c.proxy.Certificate())
		one.withCertificate(roots, c.shown)
		r := one.request(t.Context(), http.MethodPost, one.message("initialize", initializeParams))
		if c.forged != "" {
			r.Header.Set("Client-Cert", c.forged)
		}
		if a, err := one.tryPost(r); err != nil || !strings.Contains(a.body, c.want) {
			t.Errorf("%s: %v, %v; want %s", name, a, err, c.want)
		}
	}

	// The header is a setting that a reload changes.
	one := newClient(h, "/mcp")
	one.endpoint, one.access = good.URL+"/mcp", certifiedToken(t, idp, cert)
	roots := x509.NewCertPool()
	roots.AddCert(good.Certificate())
	one.withCertificate(roots, &cert)
	if !h.reload(strings.Replace(settings, "client_certificate_header: Client-Cert\n", "", 1)) {
		t.Fatal("not reloaded")
	}
	if a := one.rpc("initialize", initializeParams); a.status != http.StatusUnauthorized || !strings.Contains(a.body, "certificate_missing") {
		t.Errorf("without the setting: %s", a)
	}
}

// TestDoctorTriesClientCertificates: whether a client can make up the certificate that it has.
func TestDoctorTriesClientCertificates(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	h := openHouse(t, "client_certificate_header: X-Client-Cert\n"+behindProxy)
	setting := func(value string) func(http.Handler) http.Handler {
		return changing(func(r *http.Request) {
			r.Header.Del("X-Client-Cert")
			if value != "" {
				r.Header.Set("X-Client-Cert", value)
			}
		})
	}
	found := h.examine(t, ca, front{handler: setting("")})
	said := ""
	for _, f := range found {
		if f.Check == "client certificate" {
			said += f.Found
		}
		if f.Status != "ok" {
			t.Errorf("%+v", f)
		}
	}
	if !strings.Contains(said, "does not arrive") {
		t.Errorf("nothing was said about certificates: %+v", found)
	}
	wants(t, h.examine(t, ca, front{}), "fail", "certificate_forgeable", "proxy_set_header X-Client-Cert")
	wants(t, h.examine(t, ca, front{handler: setting("CN=somebody")}), "fail", "certificate_header", "RFC 9440")
}
