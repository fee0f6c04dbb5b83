package web

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// showCertificate answers with the certificate that the client has proved itself with, in base64.
var showCertificate = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	der, err := ClientCertificate(r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = w.Write([]byte(r.Proto + " " + base64.StdEncoding.EncodeToString(der)))
})

// TestClientCertificates: clients that have a certificate show it, in both versions of HTTP and on resumed connections;
// the others are served too; and with authorities, only theirs count, which can change while it runs.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files, _ := writePair(t, dir, "tls", 1)
	ca, others := testkit.NewCA(t), testkit.NewCA(t)
	asClient := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	own, selfSigned, foreign := ca.IssueWith(asClient), ca.SelfSigned("anybody"), others.IssueWith(asClient)
	ask := func(s *Server, cert *tls.Certificate, proto string, sessions tls.ClientSessionCache) (answer string, resumed bool) {
		t.Helper()
		config := &tls.Config{InsecureSkipVerify: true, ClientSessionCache: sessions} // the server's certificate is not what this is about
		if cert != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: proto == "HTTP/2.0"}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr().String())
		if err != nil {
			return "refused", false
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		_, _ = body.ReadFrom(resp.Body)
		return body.String(), resp.TLS.DidResume
	}
	shows := func(cert *tls.Certificate) string { return base64.StdEncoding.EncodeToString(cert.Certificate[0]) }
	files.AskClients = true
	anybody, _ := start(t, ServerOptions{Linger: time.Millisecond, TLS: &files, Handler: showCertificate})
	limited := files
	limited.ClientCAs = filepath.Join(dir, "clients.pem")
	writeAuthority(t, limited.ClientCAs, ca)
	authorities, _ := start(t, ServerOptions{Linger: time.Millisecond, TLS: &limited, Handler: showCertificate})
	unasked := files
	unasked.AskClients = false
	nobody, _ := start(t, ServerOptions{Linger: time.Millisecond, TLS: &unasked, Handler: showCertificate})
	for name, c := range map[string]struct {
		s    *Server
		cert *tls.Certificate
		want string
	}{
		"none":                   {anybody, nil, ""},
		"of an authority":        {anybody, &own, shows(&own)},
		"self-signed":            {anybody, &selfSigned, shows(&selfSigned)},
		"none, with authorities": {authorities, nil, ""},
		"of the authority":       {authorities, &own, shows(&own)},
		"of another authority":   {authorities, &foreign, "refused"},
		"of no authority":        {authorities, &selfSigned, "refused"},
		"nobody asks":            {nobody, &own, ""},
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			want := proto + " " + c.want
			if c.want == "refused" {
				want = c.want
			}
			sessions := tls.NewLRUClientSessionCache(1)
			for i := range 2 {
				got, resumed := ask(c.s, c.cert, proto, sessions)
				if got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
				if i == 1 && got != "refused" && !resumed {
					t.Errorf("%s, %s: the session was not resumed", name, proto)
				}
			}
		}
	}
	writeAuthority(t, limited.ClientCAs, others)
	if err := authorities.ReloadTLS(); err != nil {
		t.Fatal(err)
	}
	for cert, want := range map[*tls.Certificate]string{&own: "refused", &foreign: "HTTP/1.1 " + shows(&foreign)} {
		if got, _ := ask(authorities, cert, "HTTP/1.1", nil); got != want {
			t.Errorf("after the authorities have changed: %q, want %q", got, want)
		}
	}
	if err := os.WriteFile(limited.ClientCAs, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := authorities.ReloadTLS(); err == nil || !strings.Contains(err.Error(), limited.ClientCAs) {
		t.Errorf("authorities without a certificate: %v", err)
	}
	if got, _ := ask(authorities, &foreign, "HTTP/1.1", nil); got != "HTTP/1.1 "+shows(&foreign) {
		t.Errorf("after authorities that are none: %q", got)
	}
}

func writeAuthority(t *testing.T, path string, ca *testkit.CA) {
	t.Helper()
	if err := os.WriteFile(path, ca.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestClientCertificateHeader: what a proxy says, in the forms that proxies write, and from nobody else.
func TestClientCertificateHeader(t *testing.T) {
	t.Parallel()
	ca := testkit.NewCA(t)
	cert := ca.Issue(t, "client")
	der := cert.Certificate[0]
	chain, _ := ca.PEM(cert)
	sequence := ":" + base64.StdEncoding.EncodeToString(der) + ":"
	nginx := strings.ReplaceAll(url.QueryEscape(string(chain)), "+", "%20")
	aws := strings.NewReplacer("%2B", "+", "%2F", "/", "%3D", "=").Replace(nginx)
	for name, c := range map[string]struct {
		peer  string
		lines []string
		want  []byte
		fails bool
	}{
		"RFC 9440":                    {"10.0.0.1", []string{sequence}, der, false},
		"with white space":            {"10.0.0.1", []string{" \t" + sequence + " "}, der, false},
		"nginx":                       {"10.0.0.1", []string{nginx}, der, false},
		"AWS, with the chain":         {"10.0.0.1", []string{aws}, der, false},
		"none":                        {"10.0.0.1", nil, nil, false},
		"empty":                       {"10.0.0.1", []string{""}, nil, false},
		"from a stranger":             {"192.0.2.1", []string{sequence}, nil, false},
		"from a stranger, unreadable": {"192.0.2.1", []string{"x"}, nil, false},
		"twice":                       {"10.0.0.1", []string{sequence, sequence}, nil, true},
		"an empty one and another":    {"10.0.0.1", []string{"", sequence}, nil, true},
		"a list":                      {"10.0.0.1", []string{sequence + ", " + sequence}, nil, true},
		"with parameters":             {"10.0.0.1", []string{sequence + ";a=1"}, nil, true},
		"no end":                      {"10.0.0.1", []string{strings.TrimSuffix(sequence, ":")}, nil, true},
		"one colon":                   {"10.0.0.1", []string{":"}, nil, true},
		"nothing between":             {"10.0.0.1", []string{"::"}, nil, true},
		"not base64":                  {"10.0.0.1", []string{":-_-_:"}, nil, true},
		"loose bits":                  {"10.0.0.1", []string{":QR==:"}, nil, true},
		"bare base64":                 {"10.0.0.1", []string{strings.Trim(sequence, ":")}, nil, true},
		"a fingerprint":               {"10.0.0.1", []string{"Hash=468ed33be74eee6556d90c0149c1309e9ba61d6425303443c0748a02dd8de688"}, nil, true},
		"bad escape":                  {"10.0.0.1", []string{"%zz"}, nil, true},
		"something before":            {"10.0.0.1", []string{"x" + nginx}, nil, true},
		"a key":                       {"10.0.0.1", []string{url.PathEscape(strings.ReplaceAll(string(chain), "CERTIFICATE", "PRIVATE KEY"))}, nil, true},
		"cut off":                     {"10.0.0.1", []string{nginx[:len(nginx)/3]}, nil, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer + ":4711"
		r.Header["Client-Cert"] = c.lines
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{ca.Root()}} // the proxy's own, if anybody's
		var got []byte
		var err error
		WithClientCertificate("client-cert", Proxies{netip.MustParsePrefix("10.0.0.0/8")})(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got, err = ClientCertificate(r)
		})).ServeHTTP(httptest.NewRecorder(), r)
		if !bytes.Equal(got, c.want) || (err != nil) != c.fails {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if err != nil && len(c.lines) == 1 && len(c.lines[0]) > 20 && strings.Contains(err.Error(), c.lines[0][:20]) {
			t.Errorf("%s: the error repeats the header: %v", name, err)
		}
	}
}

func FuzzClientCertificateHeader(f *testing.F) {
	f.Add(":TUlJ:")
	f.Add("-----BEGIN%20CERTIFICATE-----%0ATUlJ%0A-----END%20CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, text string) {
		der, err := certificateOf([]string{text})
		if err != nil && der != nil {
			t.Error("both a certificate and an error")
		}
		if err == nil && der == nil && strings.Trim(text, " \t") != "" {
			t.Errorf("%q passes for no certificate", text)
		}
		if der == nil {
			return
		}
		again, err := certificateOf([]string{":" + base64.StdEncoding.EncodeToString(der) + ":"})
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%q: not the same as a byte sequence: %v", text, err)
		}
		encoded := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		if again, err = certificateOf([]string{encoded}); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%q: not the same as PEM: %v", text, err)
		}
	})
}
