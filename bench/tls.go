package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// secureKind is one line of the table of TLS and HTTP/2.
type secureKind struct {
	name  string
	front string // what is spoken in front: empty for plain HTTP, else the protocol in the handshake
	path  string // which target: see config
	call  call
	share int // of plan.calls, in percent

	fresh  bool // a new connection for each call
	resume bool // which resumes a session
}

var (
	small = call{tool: "echo", text: smallText}
	large = call{tool: "text"}
)

var secureKinds = []secureKind{
	{name: "tls", front: "http/1.1", path: "/mcp", call: small, share: 100},
	{name: "h2", front: "h2", path: "/mcp", call: small, share: 100},
	{name: "to-tls", path: "/tls", call: small, share: 100},
	{name: "to-h2", path: "/h2", call: small, share: 50},
	{name: "tls-to-tls", front: "http/1.1", path: "/tls", call: small, share: 100},
	{name: "tls-text-100k", front: "http/1.1", path: "/mcp", call: large, share: 20},
	{name: "h2-text-100k", front: "h2", path: "/mcp", call: large, share: 20},
	{name: "to-tls-text-100k", path: "/tls", call: large, share: 20},
	{name: "to-h2-text-100k", path: "/h2", call: large, share: 10},
	{name: "tls-full", front: "http/1.1", path: "/mcp", call: small, share: 10, fresh: true},
	{name: "tls-resumed", front: "http/1.1", path: "/mcp", call: small, share: 10, fresh: true, resume: true},
	{name: "to-tls-closing", path: "/once", call: small, share: 10},
}

func secureKindNames() string {
	return namesOf(secureKinds, func(k secureKind) string { return k.name })
}

// wantedSecure are the kinds that --only and --quick leave.
func (p plan) wantedSecure() []secureKind {
	switch {
	case p.only == "" && p.quick:
		return secureKinds[:5] // small calls
	case p.only == "" || p.only == "tls-all":
		return secureKinds
	}
	for _, k := range secureKinds {
		if k.name == p.only {
			return []secureKind{k}
		}
	}
	return nil
}

// secureHouse is what TLS needs beside the house: servers with TLS, Gatehouse with and without TLS in front of them, and
// nginx with both.
type secureHouse struct {
	h                *house
	roots            *x509.CertPool
	cert             tls.Certificate
	tls1, tls2, once *stub       // HTTP/1.1, HTTP/2, a connection for each call
	plain, secure    *subject    // Gatehouse without and with TLS in front
	nginx            [2]*subject // the same of nginx
}

func (s *secureHouse) close() {
	for _, one := range []*subject{s.plain, s.secure, s.nginx[0]} {
		if one != nil && one.process != nil {
			one.process.stop()
		}
	}
	for _, one := range []*stub{s.tls1, s.tls2, s.once} {
		if one != nil {
			one.close()
		}
	}
}

func newSecureHouse(h *house) (*secureHouse, error) {
	s := &secureHouse{h: h}
	fail := func(err error) (*secureHouse, error) { s.close(); return nil, err }
	if err := s.certify(); err != nil {
		return fail(err)
	}
	serve := func(next ...string) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{s.cert}, NextProtos: next, MinVersion: tls.VersionTLS13}
	}
	s.tls1, s.tls2, s.once = &stub{tls: serve("http/1.1")}, &stub{tls: serve("h2")}, &stub{tls: serve("http/1.1"), once: true}
	for _, one := range []*stub{s.tls1, s.tls2, s.once} {
		if err := one.start(); err != nil {
			return fail(err)
		}
	}
	var err error
	if s.plain, err = s.startGatehouse(false); err != nil {
		return fail(err)
	}
	if s.secure, err = s.startGatehouse(true); err != nil {
		return fail(err)
	}
	if err := s.startNginx(); err != nil {
		return fail(err)
	}
	return s, nil
}

// certify makes an authority and one certificate, which everybody here uses, and writes them as PEM.
func (s *secureHouse) certify() error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the authority's key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the servers' key: %w", err)
	}
	now := time.Now()
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return fmt.Errorf("make the authority: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return fmt.Errorf("make the servers' certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write the servers' key: %w", err)
	}
	certPEM, keyPEM := toPEM("CERTIFICATE", der), toPEM("PRIVATE KEY", keyDER)
	for name, content := range map[string][]byte{"ca.pem": toPEM("CERTIFICATE", caDER), "cert.pem": certPEM, "key.pem": keyPEM} {
		if err := os.WriteFile(filepath.Join(s.h.dir, name), content, 0o600); err != nil {
			return err
		}
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(toPEM("CERTIFICATE", caDER))
	s.cert, err = tls.X509KeyPair(certPEM, keyPEM)
	return err
}

func toPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// config of a Gatehouse with one endpoint for each kind of target. SSL_CERT_FILE makes it know the authority.
func (s *secureHouse) config(addr string, secure bool) string {
	scheme, files := "http", ""
	if secure {
		scheme, files = "https", fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", filepath.Join(s.h.dir, "cert.pem"), filepath.Join(s.h.dir, "key.pem"))
	}
	var b strings.Builder
	fmt.Fprintf(&b, `listen: %s
public_url: %s://%s
%sstate_dir: %s
master_key: {env: BENCH_MASTER_KEY}
sign_in: {users: false}
authorizers:
  - {name: bench, discovery_url: "%s/.well-known/openid-configuration", allowed_audience: [%q], allowed_clients: [bench]}
targets:
  plain: {url: "http://%s/"}
  tls: {url: "https://%s/"}
  h2: {url: "https://%s/"}
  once: {url: "https://%s/"}
endpoints:
`, addr, scheme, addr, files, filepath.Join(s.h.dir, "state-"+scheme), s.h.issuer.url, audience, s.h.session.addr(), s.tls1.addr(), s.tls2.addr(), s.once.addr())
	for path, target := range map[string]string{"/mcp": "plain", "/tls": "tls", "/h2": "h2", "/once": "once"} {
		fmt.Fprintf(&b, "  %s: {issuers: [bench], access: {claim: groups, operator: contains_any, value: [engineering]}, targets: [%s], prefix: false}\n", path, target)
	}
	return b.String()
}

func (s *secureHouse) startGatehouse(secure bool) (*subject, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := s.h.runGatehouse(fmt.Sprintf("gatehouse-tls-%t.yaml", secure), s.config(addr, secure), "SSL_CERT_FILE="+filepath.Join(s.h.dir, "ca.pem"))
	if err != nil {
		return nil, err
	}
	out := &subject{name: "gatehouse", addr: addr, process: p}
	first := *out
	if first.paths[0] = "/mcp"; secure {
		s.spoken(&first, "http/1.1", false)
	}
	if err := first.ready(&person{token: s.h.issuer.token("first", "")}); err != nil {
		p.stop()
		return nil, fmt.Errorf("%w\n%s", err, p.log.String())
	}
	return out, nil
}

//go:embed nginx-tls.conf
var nginxTLSConf string

func (s *secureHouse) startNginx() error {
	plain, err := freeAddress()
	if err != nil {
		return err
	}
	secure, err := freeAddress()
	if err != nil {
		return err
	}
	conf := strings.NewReplacer("DIR", s.h.dir, "listen PLAIN", "listen "+plain, "listen TLS", "listen "+secure, "SESSION", s.h.session.addr(),
		"SECURE", s.tls1.addr(), "ONCE", s.once.addr()).Replace(nginxTLSConf)
	p, err := s.h.runNginx("nginx-tls.conf", conf)
	if err != nil {
		return err
	}
	s.nginx = [2]*subject{{name: "nginx", addr: plain, process: p}, {name: "nginx", addr: secure, process: p}}
	one := *s.nginx[0]
	one.paths[0] = "/tls"
	return one.ready(&person{token: "none"})
}

// spoken makes a subject one that is spoken to over TLS. Both sides agree on X25519 and AES-128-GCM with every subject, so
// that all do the same arithmetic.
func (s *secureHouse) spoken(to *subject, protocol string, resume bool) {
	to.handshakes, to.resumed = &atomic.Int64{}, &atomic.Int64{}
	to.tls = &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", NextProtos: []string{protocol}, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519}}
	if resume {
		to.tls.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
}

// serveTLS serves one connection of a server with TLS.
func (s *stub) serveTLS(conn net.Conn) {
	secure := tls.Server(conn, s.tls)
	if secure.Handshake() != nil {
		return
	}
	state := secure.ConnectionState()
	if state.DidResume {
		s.resumed.Add(1)
	}
	if state.NegotiatedProtocol == "h2" {
		one := &oneConnection{secure, make(chan struct{})}
		server := &http.Server{Handler: http.HandlerFunc(s.serveHTTP2), ReadHeaderTimeout: 10 * time.Second}
		server.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(one.done)
			}
		}
		_ = server.Serve(one)
		return
	}
	s.serve(secure)
}

// oneConnection is a listener with one connection. It ends with it.
type oneConnection struct {
	net.Conn
	done chan struct{}
}

func (o *oneConnection) Accept() (net.Conn, error) {
	if c := o.Conn; c != nil {
		o.Conn = nil
		return c, nil
	}
	<-o.done
	return nil, net.ErrClosed
}

func (o *oneConnection) Close() error   { return nil }
func (o *oneConnection) Addr() net.Addr { return &net.TCPAddr{} }

// serveHTTP2 answers over HTTP/2 what is answered over HTTP/1.1.
func (s *stub) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	head, content, _ := bytes.Cut(s.answer(nil, body), []byte("\r\n\r\n"))
	switch {
	case bytes.HasPrefix(head, []byte("HTTP/1.1 202")):
		w.WriteHeader(http.StatusAccepted)
		return
	case bytes.HasPrefix(head, []byte("HTTP/1.1 400")):
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	_, _ = w.Write(content)
}
