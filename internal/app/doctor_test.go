package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/doctor"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

// behindProxy is a house whose public URL is https://gw.test, behind a proxy on this machine that terminates TLS.
const behindProxy = `public_url: https://gw.test
behind_tls_proxy: true
trusted_proxies: [127.0.0.1/32]
allowed_origins: ["https://app.example"]
clients:
  - {client_id: web, redirect_uris: ["https://app.example/callback"]}
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}
`

// front is what stands between clients and Gatehouse.
type front struct {
	handler func(gatehouse http.Handler) http.Handler // nil: passes everything on
	cert    func(*testkit.CA) tls.Certificate         // nil: a good one for gw.test
	server  func(*httptest.Server)                    // changes it before it starts
	plain   bool                                      // speaks plain http
	dial    error                                     // nobody gets through
	setup   func(*doctor.Setup)
}

// proxy passes everything on to Gatehouse as a good proxy does.
func proxy(h *house) *httputil.ReverseProxy {
	backend := mustParse(h.t, "http://"+h.config().Listen)
	return &httputil.ReverseProxy{
		FlushInterval: -1, ErrorLog: log.New(nowhere{}, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(backend)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// examine has the doctor look at a house through a front.
func (h *house) examine(t *testing.T, ca *testkit.CA, f front) []doctor.Finding {
	t.Helper()
	var handler http.Handler = proxy(h)
	if f.handler != nil {
		handler = f.handler(handler)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(nowhere{}, "", 0)
	if f.server != nil {
		f.server(server)
	}
	if f.plain {
		server.Start()
	} else {
		cert := ca.Issue(t, "gw.test")
		if f.cert != nil {
			cert = f.cert(ca)
		}
		if server.TLS == nil {
			server.TLS = &tls.Config{}
		}
		server.TLS.Certificates = []tls.Certificate{cert}
		server.StartTLS()
	}
	t.Cleanup(server.Close)
	c := h.config()
	s := doctorSetup(c, DoctorOptions{File: h.file, RootCAs: ca.Pool(), Version: "test"})
	s.Timeout, s.Hold = 5*time.Second, 2*time.Second
	s.Client = throughDial(ca.Pool(), server.Listener.Addr().String(), f.dial)
	if f.setup != nil {
		f.setup(&s)
	}
	found, err := doctor.Run(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// throughDial is a client for which every name leads to one address.
func throughDial(roots *x509.CertPool, to string, fails error) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableCompression: true, ExpectContinueTimeout: 2 * time.Second, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if fails != nil {
				return nil, fails
			}
			return new(net.Dialer).DialContext(ctx, network, to)
		},
	}}
}

// wants compares the first thing that is wrong with what was expected to be: its code, and a part of its fix.
func wants(t *testing.T, found []doctor.Finding, status doctor.Status, code doctor.Code, fix string) {
	t.Helper()
	for _, f := range found {
		switch {
		case f.Status == doctor.OK || f.Status == doctor.Skip:
		case f.Status != status || f.Code != code:
			t.Errorf("first finding %+v, want %s %s", f, status, code)
			return
		case !strings.Contains(f.Fix, fix) || fix == "" || f.Found == "" || f.Expected == "" || f.Check == "" || f.About == "":
			t.Errorf("%+v, want a fix with %q", f, fix)
			return
		default:
			return
		}
	}
	t.Errorf("nothing is wrong; want %s: %+v", code, found)
}

// TestDoctorFindsNothing: a set-up that works, behind a proxy and without one.
func TestDoctorFindsNothing(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	h := openHouse(t, behindProxy)
	found := h.examine(t, ca, front{})
	for _, f := range found {
		if f.Status != doctor.OK {
			t.Errorf("%+v", f)
		}
	}
	if n := doctor.Count(found, doctor.OK); n < 24 {
		t.Errorf("only %d checks", n)
	}
	for name, settings := range map[string]string{"direct": demoOnly, "keys required": dpopSettings} {
		direct := openHouse(t, settings)
		found, err := Doctor(t.Context(), direct.config(), DoctorOptions{File: direct.file})
		if err != nil || doctor.Count(found, doctor.Fail)+doctor.Count(found, doctor.Warn)+doctor.Count(found, doctor.Skip) > 0 {
			t.Errorf("%s: %v, %+v", name, err, found)
		}
	}
}

// TestDoctorKnowsOtherDoors: endpoints that demand proofs, and those that ask for nothing.
func TestDoctorKnowsOtherDoors(t *testing.T) {
	t.Parallel()
	h := openHouse(t, `
targets:
  demo: {demo: true}
endpoints:
  /mcp: {issuers: [gatehouse], access: any_signed_in, dpop: required, targets: [demo]}
  /open: {issuers: [], access: anonymous_for_tests, targets: [demo]}
`)
	found, err := Doctor(t.Context(), h.config(), DoctorOptions{File: h.file})
	if err != nil || doctor.Count(found, doctor.Fail)+doctor.Count(found, doctor.Warn) > 0 || doctor.Count(found, doctor.Skip) != 1 {
		t.Errorf("%v, %+v", err, found)
	}
}

// only lets a middleware see requests for which is says so.
func only(is func(*http.Request) bool, then http.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if is(r) {
				then(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func always(*http.Request) bool { return true }

func at(prefix string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, prefix) }
}

func says(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func redirects(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// changing lets a front change requests before they go on.
func changing(change func(*http.Request)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			change(r)
			next.ServeHTTP(w, r)
		})
	}
}

// answering lets a front change answers, which it holds back until they are whole when hold is set.
func answering(hold bool, change func(h http.Header, body []byte) []byte) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !hold {
				next.ServeHTTP(&changedHeader{ResponseWriter: w, change: change}, r)
				return
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			body := change(rec.Header(), rec.Body.Bytes())
			for name, values := range rec.Header() {
				if name != "Content-Length" {
					w.Header()[name] = values
				}
			}
			w.WriteHeader(rec.Code)
			_, _ = w.Write(body)
		})
	}
}

type changedHeader struct {
	http.ResponseWriter
	change func(http.Header, []byte) []byte
}

func (c *changedHeader) WriteHeader(status int) {
	c.change(c.Header(), nil)
	c.ResponseWriter.WriteHeader(status)
}

func (c *changedHeader) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// brokenFronts are set-ups in which something between client and Gatehouse is wrong.
func brokenFronts() map[string]struct {
	front
	status doctor.Status
	code   doctor.Code
	fix    string
} {
	type row = struct {
		front
		status doctor.Status
		code   doctor.Code
		fix    string
	}
	fail := func(code doctor.Code, fix string, f front) row { return row{f, doctor.Fail, code, fix} }
	warn := func(code doctor.Code, fix string, f front) row { return row{f, doctor.Warn, code, fix} }
	handler := func(h func(http.Handler) http.Handler) front { return front{handler: h} }
	cert := func(change func(*x509.Certificate)) front {
		return front{cert: func(ca *testkit.CA) tls.Certificate { return ca.IssueWith(change) }}
	}
	return map[string]row{
		// the way
		"no such name":     fail(doctor.NameUnknown, "add gw.test to the DNS", front{dial: &net.DNSError{Err: "no such host", Name: "gw.test", IsNotFound: true}}),
		"silent DNS":       fail(doctor.NameServerSilent, "name servers", front{dial: &net.DNSError{Err: "server misbehaving", Name: "gw.test", IsTemporary: true}}),
		"nothing listens":  fail(doctor.NothingListens, "start the server", front{dial: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}),
		"firewall":         fail(doctor.NoAnswerInTime, "firewalls", front{dial: context.DeadlineExceeded}),
		"no route":         fail(doctor.NoRoute, "network of this machine", front{dial: &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}}),
		"metadata address": fail(doctor.AddressFenced, "the DNS", front{dial: fmt.Errorf("dial: %w", web.ErrFenced)}),
		"breaks off":       fail(doctor.ConnectionBroken, "log of the server", front{dial: errors.New("EOF")}),
		"plain http":       fail(doctor.TLSMissing, "switch on TLS", front{plain: true}),
		"wrong name":       fail(doctor.CertificateWrongName, "a certificate for gw.test", cert(func(c *x509.Certificate) { c.DNSNames = []string{"other.test"} })),
		"common name only": fail(doctor.CertificateWrongName, "a certificate for gw.test", cert(func(c *x509.Certificate) { c.DNSNames = nil; c.Subject.CommonName = "gw.test" })),
		"expired":          fail(doctor.CertificateExpired, "renew it", cert(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })),
		"not valid yet":    fail(doctor.CertificateNotYet, "clock of this machine", cert(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })),
		"expires soon":     warn(doctor.CertificateExpires, "renew it", cert(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(72 * time.Hour) })),
		"self-signed":      fail(doctor.CertificateSelfSigned, "public authority", front{cert: func(ca *testkit.CA) tls.Certificate { return ca.SelfSigned("gw.test") }}),
		"chain cut off":    fail(doctor.CertificateChain, "fullchain.pem", front{cert: func(ca *testkit.CA) tls.Certificate { return ca.WithoutIntermediate("gw.test") }}),
		"old TLS": fail(doctor.TLSTooOld, "TLS 1.2", front{server: func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
		}}),
		"client wanted": fail(doctor.TLSRefused, "certificate", front{server: func(s *httptest.Server) {
			s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}
		}}),
		"clock off":         fail(doctor.ClockSkew, "NTP", handler(dated(10*time.Minute))),
		"clock a bit off":   warn(doctor.ClockSkew, "NTP", handler(dated(-25*time.Second))),
		"http in the front": fail(doctor.RedirectScheme, "http://", handler(only(always, redirects("http://gw.test/mcp")))),
		"slash added":       fail(doctor.RedirectSlash, "slash", handler(only(at("/mcp"), redirects("/mcp/")))),
		"www":               fail(doctor.RedirectHost, "name to which it redirects", handler(only(always, redirects("https://www.gw.test/mcp")))),
		"sign-in page":      fail(doctor.ProxySignsIn, "oauth2-proxy", handler(only(always, redirects("https://sso.test/login")))),
		"sign-in here":      fail(doctor.ProxySignsIn, "take the sign-in in front", handler(only(always, redirects("/oauth2/start")))),
		"elsewhere":         fail(doctor.Redirected, "without a redirect", handler(only(at("/mcp"), redirects("/home")))),
		// who answers
		"404 of the proxy":    fail(doctor.PathNotForwarded, "/mcp", handler(only(at("/mcp"), says(404, "text/html", "<html>nginx")))),
		"WAF":                 fail(doctor.ForbiddenInFront, "WAF", handler(only(always, says(403, "text/html", "<html>Request blocked")))),
		"busy":                fail(doctor.RateLimited, "rate limit", handler(only(always, says(429, "text/plain", "slow down")))),
		"proxy finds nothing": fail(doctor.ProxyCannotReach, "listen", handler(only(always, says(502, "text/html", "<html>Bad Gateway")))),
		"another site":        fail(doctor.NotGatehouse, "public_url", handler(only(always, says(200, "text/html", "<!doctype html><title>Welcome to nginx!</title>")))),
		"password in front": fail(doctor.ProxySignsIn, "auth_basic", handler(only(always, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
		}))),
		"GET refused":           fail(doctor.MethodFiltered, "GET, POST", handler(only(func(r *http.Request) bool { return r.Method == "GET" && r.Header.Get("Gatehouse-Doctor") == "" }, says(405, "text/plain", "")))),
		"path stripped":         fail(doctor.PathRewritten, "StripPrefix", handler(func(next http.Handler) http.Handler { return http.StripPrefix("/mcp", next) })),
		"path added":            fail(doctor.PathRewritten, "proxy_pass", handler(changing(func(r *http.Request) { r.URL.Path = "/tools" + r.URL.Path }))),
		"Host replaced":         fail(doctor.HostRewritten, "proxy_set_header Host", handler(changing(func(r *http.Request) { r.Host = "gatehouse:8080" }))),
		"challenge dropped":     fail(doctor.ChallengeDropped, "WWW-Authenticate", handler(answering(false, func(h http.Header, b []byte) []byte { h.Del("Www-Authenticate"); return b }))),
		"challenge rewritten":   fail(doctor.ChallengeElsewhere, "public_url", handler(answering(false, replaceHeader("Www-Authenticate", "gw.test", "internal.test")))),
		"question removed":      warn(doctor.DoctorUnanswered, "removes the header", handler(changing(func(r *http.Request) { r.Header.Del("Gatehouse-Doctor") }))),
		"nobody is named":       warn(doctor.ForwardedForMissing, "X-Forwarded-For", handler(anonymous)),
		"authorization dropped": fail(doctor.AuthorizationDropped, "pass Authorization", handler(changing(func(r *http.Request) { r.Header.Del("Authorization") }))),
		"authorization changed": fail(doctor.AuthorizationReplaced, "credential that the proxy adds", handler(changing(func(r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				r.SetBasicAuth("proxy", "secret")
			}
		}))),
		"token checked":    fail(doctor.TokenCheckedInFront, "JWT authorizer", handler(only(func(r *http.Request) bool { return r.Header.Get("Authorization") != "" }, says(401, "application/json", `{"message":"Unauthorized"}`)))),
		"POST refused":     fail(doctor.PostNotForwarded, "pass POST", handler(only(method("POST"), says(405, "text/plain", "")))),
		"DELETE refused":   warn(doctor.MethodFiltered, "DELETE", handler(only(method("DELETE"), says(405, "text/plain", "")))),
		"OPTIONS refused":  fail(doctor.PreflightBlocked, "OPTIONS", handler(only(method("OPTIONS"), says(403, "text/plain", "")))),
		"OPTIONS answered": fail(doctor.PreflightBlocked, "no CORS headers itself", handler(only(method("OPTIONS"), func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Access-Control-Allow-Origin", "*") }))),
		"short headers":    warn(doctor.HeaderLimit, "large_client_header_buffers", handler(only(func(r *http.Request) bool { return len(r.Header.Get("Authorization")) > 8000 }, says(400, "text/html", "<html><title>400 Request Header Or Cookie Too Large</title>")))),
		"short bodies":     warn(doctor.BodyLimit, "client_max_body_size", handler(only(func(r *http.Request) bool { return r.ContentLength > 1<<20 }, says(413, "text/html", "<html>too large")))),
		// streams
		"buffered":   fail(doctor.EventsBuffered, "proxy_buffering off", front{handler: answering(true, func(_ http.Header, b []byte) []byte { return b }), setup: func(s *doctor.Setup) { s.Hold = 300 * time.Millisecond }}),
		"compressed": warn(doctor.EventsCompressed, "gzip_types", handler(compressing)),
		"media type": fail(doctor.EventsChanged, "Content-Type", handler(answering(false, replaceHeader("Content-Type", "text/event-stream", "text/plain")))),
		// metadata
		"well-known missing":   fail(doctor.MetadataMissing, "oauth-protected-resource", handler(only(at("/.well-known/"), says(404, "text/plain", "no")))),
		"well-known guarded":   fail(doctor.MetadataGuarded, "without a sign-in", handler(only(at("/.well-known/"), says(401, "text/plain", "no")))),
		"well-known redirects": fail(doctor.MetadataRedirected, "without a redirect", handler(only(at("/.well-known/"), redirects("/elsewhere")))),
		"catch-all page":       fail(doctor.MetadataMissing, "oauth-protected-resource", handler(only(at("/.well-known/"), says(200, "text/html", "<html>app")))),
		"metadata as text":     fail(doctor.MetadataMediaType, "Content-Type", handler(answering(false, replaceHeader("Content-Type", "application/json", "text/plain")))),
		"metadata rewritten":   fail(doctor.ResourceDiffers, "public_url", handler(rewriting("/.well-known/oauth-protected-resource", "gw.test", "internal.test"))),
		"no JSON":              fail(doctor.MetadataUnreadable, "see what answers", handler(only(at("/.well-known/"), says(200, "application/json", "{")))),
		"no issuer":            fail(doctor.IssuerAbsent, "findings", handler(only(at("/.well-known/oauth-protected"), says(200, "application/json", `{"resource":"https://gw.test/mcp"}`)))),
		"no scopes":            fail(doctor.ScopesAbsent, "Kiro", handler(only(at("/.well-known/oauth-protected"), says(200, "application/json", `{"resource":"https://gw.test/mcp","authorization_servers":["https://gw.test"]}`)))),
		"another issuer":       fail(doctor.IssuerDiffers, "another installation", handler(rewriting("/.well-known/oauth-protected-resource", `["https://gw.test"]`, `["https://old.test"]`))),
		"slash at the issuer":  fail(doctor.IssuerDiffers, "clients refuse", handler(rewriting("/.well-known/o", `"issuer":"https://gw.test"`, `"issuer":"https://gw.test/"`))),
		"old copy in a cache":  warn(doctor.MetadataDiffers, "cache", handler(rewriting("/.well-known/openid-configuration", `"S256"`, `"S256","plain"`))),
		"endpoints elsewhere":  fail(doctor.EndpointElsewhere, "rewrites the document", handler(rewriting("/.well-known/o", "https://gw.test/token", "https://internal.test/token"))),
		"PKCE removed":         fail(doctor.PKCEAbsent, "clients refuse", handler(rewriting("/.well-known/o", `"S256"`, `"plain"`))),
		"keys not forwarded":   fail(doctor.MetadataMissing, "let the proxy send it", handler(only(at("/.well-known/jwks.json"), says(404, "text/plain", "")))),
		"keys of nobody":       fail(doctor.KeysUnusable, "sign with such a key", handler(only(at("/.well-known/jwks.json"), says(200, "application/json", `{"keys":[]}`)))),
		"/token lost":          fail(doctor.PostNotForwarded, "POST /token", handler(only(at("/token"), says(404, "text/html", "<html>no")))),
		"/register lost":       fail(doctor.PostNotForwarded, "POST /register", handler(only(at("/register"), says(404, "text/html", "<html>no")))),
		"/authorize lost":      fail(doctor.PathNotForwarded, "/authorize", handler(only(at("/authorize"), says(404, "text/html", "<html>no")))),
		"redirects rewritten":  fail(doctor.IssuerDiffers, "Location", handler(answering(false, replaceHeader("Location", "iss=https%3A%2F%2Fgw.test", "iss=https%3A%2F%2Fgw.test%2F")))),
		// another one runs than this file says
		"other client":       fail(doctor.ClientUnknown, "configuration not reloaded", front{setup: func(s *doctor.Setup) { s.Clients[0].ID = "new" }}),
		"other redirect URI": fail(doctor.RedirectURIRefused, "redirect_uris", front{setup: func(s *doctor.Setup) { s.Clients[0].RedirectURIs[0] = "https://app.example/new" }}),
		"other endpoint":     fail(doctor.EndpointUnknown, "has this file been loaded", front{setup: func(s *doctor.Setup) { s.Endpoints[0].Path = "/new" }}),
		"other file":         warn(doctor.ConfigNotLoaded, "configuration not reloaded", front{setup: func(s *doctor.Setup) { s.Config = "00" }}),
	}
}

func dated(off time.Duration) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&changedHeader{w, func(h http.Header, b []byte) []byte {
				h.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
				return b
			}}, r)
		})
	}
}

func method(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == name }
}

func replaceHeader(name, old, with string) func(http.Header, []byte) []byte {
	return func(h http.Header, body []byte) []byte {
		if h.Get(name) != "" {
			h.Set(name, strings.ReplaceAll(h.Get(name), old, with))
		}
		return body
	}
}

// rewriting replaces text in the bodies below a path.
func rewriting(prefix, old, with string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		changed := answering(true, func(_ http.Header, body []byte) []byte { return []byte(strings.ReplaceAll(string(body), old, with)) })(next)
		return only(at(prefix), changed.ServeHTTP)(next)
	}
}

// anonymous is a proxy that does not say for whom it asks.
func anonymous(next http.Handler) http.Handler {
	inner := next.(*httputil.ReverseProxy)
	quiet := *inner
	quiet.Rewrite = func(r *httputil.ProxyRequest) {
		inner.Rewrite(r)
		r.Out.Header.Del("X-Forwarded-For")
	}
	return &quiet
}

// compressing is a proxy that says that it compresses; what it sends is never read.
func compressing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		zip := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
		next.ServeHTTP(&changedHeader{w, func(h http.Header, b []byte) []byte {
			if zip {
				h.Set("Content-Encoding", "gzip")
			}
			return b
		}}, r)
	})
}

// TestDoctorSeesFronts: of everything that can be wrong between a client and Gatehouse the doctor names the right thing
// first, with its fix.
func TestDoctorSeesFronts(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	h := openHouse(t, behindProxy)
	t.Run("fronts", func(t *testing.T) { // the house stands until all are done
		for name, row := range brokenFronts() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				wants(t, h.examine(t, ca, row.front), row.status, row.code, row.fix)
			})
		}
	})
}

// TestDoctorAnswersNobodyElse: a question that is not sealed under the master key is served as if it were none.
func TestDoctorAnswersNobodyElse(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly)
	for _, sealed := range []string{"", "x", strings.Repeat("A", 4000)} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/mcp", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Gatehouse-Doctor", sealed)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%.10q: status %d", sealed, res.StatusCode)
		}
	}
	other := prepareHouse(t, demoOnly)
	s := doctorSetup(h.config(), DoctorOptions{})
	s.State.Keys = doctorSetup(other.config(), DoctorOptions{}).State.Keys // the same master key
	other.write("master.key", strings.Repeat("ab", 32))
	s.State.Keys = doctorSetup(other.config(), DoctorOptions{}).State.Keys
	found, err := doctor.Run(t.Context(), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	codes := ""
	for _, f := range found {
		codes += string(f.Code) + " "
	}
	if !strings.Contains(codes, string(doctor.DoctorUnanswered)) || !strings.Contains(codes, string(doctor.DatabaseKey)) {
		t.Errorf("another master key: %s", codes)
	}
}
