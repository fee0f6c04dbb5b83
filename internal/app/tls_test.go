package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

// writePair writes tls.crt and tls.key for localhost, self-signed, and returns the certificate.
func (h *house) writePair(serial int64) *x509.Certificate {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write("tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	h.write("tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	return cert
}

// The whole way over TLS, and a new certificate without a restart.
func TestTLS(t *testing.T) {
	t.Parallel()
	settings := "public_url: $URL\ntls: {cert_file: tls.crt, key_file: tls.key}\n" + demoOnly
	h := prepareHouse(t, settings)
	h.url = strings.Replace(h.url, "http:", "https:", 1)
	h.configure(settings)
	first := h.writePair(1)
	h.addUser("alice", "eng")
	h.start()
	c := newClient(h, "/mcp")
	roots := x509.NewCertPool()
	roots.AddCert(first)
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
	c.register()
	c.signIn("alice")
	c.initialize()
	c.mustCall("demo___echo", `{"text":"over TLS"}`)
	for _, cookie := range c.browser.Client.Jar.Cookies(mustParse(t, h.url)) {
		if !strings.HasPrefix(cookie.Name, "__Host-") {
			t.Errorf("cookie %s is not bound to the host", cookie.Name)
		}
	}
	h.writePair(2)
	h.readAgain()
	if got := h.servedSerial(); got != 2 {
		t.Errorf("certificate %d is served after the reload, want 2", got)
	}
	h.write("tls.crt", "half a certifi")
	if h.readAgain() {
		t.Error("half a certificate was taken")
	}
	if got := h.servedSerial(); got != 2 {
		t.Errorf("certificate %d is served after a faulty one, want 2", got)
	}
}

func (h *house) servedSerial() int64 {
	h.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(h.url, "https://"), &tls.Config{InsecureSkipVerify: true}) // its serial is asked, not its word
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// Plain http is for this machine only, unless a proxy that terminates TLS is declared.
func TestPlainHTTPOnOtherAddresses(t *testing.T) {
	t.Parallel()
	h := prepareHouse(t, demoOnly)
	h.base = strings.Replace(h.base, "127.0.0.1", "0.0.0.0", 1)
	for name, test := range map[string]struct {
		settings string
		fault    string
	}{
		"nothing declared":     {"", "would serve plain http to other machines"},
		"http public_url":      {"public_url: http://tools.example.com\n", "would serve plain http to other machines"},
		"no proxy named":       {"behind_tls_proxy: true\npublic_url: https://tools.example.com\n", "names no proxy"},
		"every address is one": {"behind_tls_proxy: true\npublic_url: https://tools.example.com\ntrusted_proxies: [0.0.0.0/0]\n", "trusts every address"},
		"a proxy declared":     {"behind_tls_proxy: true\npublic_url: https://tools.example.com\ntrusted_proxies: [10.0.0.0/8]\n", ""},
	} {
		h.configure(test.settings + demoOnly)
		_, err := config.Load(h.file)
		if test.fault == "" && err != nil || test.fault != "" && (err == nil || !strings.Contains(err.Error(), test.fault)) {
			t.Errorf("%s: %v; want %q", name, err, test.fault)
		}
	}
}

// What a request says about its sender counts only when a declared proxy says it; past the proxy nobody gets in, since
// that would be in the clear.
func TestForwardedForFromDeclaredProxiesOnly(t *testing.T) {
	t.Parallel()
	const host = "public_url: https://tools.example.com\nbehind_tls_proxy: true\n"
	for name, test := range map[string]struct {
		proxies, forwarded, want string
		status                   int
	}{
		"from a proxy":             {"[127.0.0.1/32]", "203.0.113.9", "203.0.113.9", 401},
		"forged before a proxy":    {"[127.0.0.1/32]", "198.51.100.1, 203.0.113.9", "203.0.113.9", 401},
		"from a chain of proxies":  {"[127.0.0.1/32, 10.0.0.0/8]", "203.0.113.9, 10.1.2.3", "203.0.113.9", 401},
		"from somebody else":       {"[10.0.0.0/8]", "203.0.113.9", "127.0.0.1", 403},
		"rubbish from a proxy":     {"[127.0.0.1/32]", "nobody", "127.0.0.1", 401},
		"nothing, through a proxy": {"[127.0.0.1/32]", "", "127.0.0.1", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := prepareHouse(t, host+"trusted_proxies: "+test.proxies+"\n"+demoOnly)
			h.start()
			c := newClient(h, "/mcp")
			r := c.request(t.Context(), http.MethodPost, c.message("ping", `{}`))
			r.Host = "tools.example.com"
			if test.forwarded != "" {
				r.Header.Set("X-Forwarded-For", test.forwarded)
			}
			r.Header.Set("X-Real-Ip", "192.0.2.77")
			r.Header.Set("Forwarded", "for=192.0.2.77")
			if a, err := c.tryPost(r); err != nil || a.status != test.status {
				t.Fatalf("%s, %v", a, err)
			}
			if line := h.log.await(t, 0, `"msg":"request"`); !strings.Contains(line, `"client_ip":"`+test.want+`"`) {
				t.Errorf("want client_ip %s: %s", test.want, line)
			}
		})
	}
}

func TestForwardedForFromSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings, host string
		want           int
	}{
		"no proxy declared":    {"", "", http.StatusUnauthorized},
		"not the one declared": {"public_url: https://tools.example.com\nbehind_tls_proxy: true\ntrusted_proxies: [10.0.0.0/8]\n", "tools.example.com", http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := prepareHouse(t, test.settings+demoOnly)
			h.start()
			c := newClient(h, "/mcp")
			r := c.request(t.Context(), http.MethodPost, c.message("ping", `{}`))
			r.Host = test.host // the address's own when empty
			r.Header.Set("X-Forwarded-For", "203.0.113.9")
			if a, err := c.tryPost(r); err != nil || a.status != test.want {
				t.Errorf("%s, %v; want %d", a, err, test.want)
			}
			if line := h.log.await(t, 0, `"client_ip":`); !strings.Contains(line, `"client_ip":"127.0.0.1"`) {
				t.Errorf("a stranger chose the address in the log: %s", line)
			}
		})
	}
}
