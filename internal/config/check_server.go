package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"gatehouse/internal/clientdoc"
	"gatehouse/internal/loopback"
	"gatehouse/internal/secret"
)

// masterKeySize is the size of a master key in bytes.
const masterKeySize = 32

// server checks where Gatehouse listens against where it says it is reached.
func (k *checker) server() {
	c := k.cfg
	local := k.listen()
	for i, p := range c.TrustedProxies {
		if p.IsValid() && p.Bits() == 0 {
			k.bad(fmt.Sprintf("trusted_proxies[%d]", i), "trusts every address, so that anybody may claim to be anybody", "Name the proxies' own addresses.")
		}
	}
	if c.BehindTLSProxy && len(c.TrustedProxies) == 0 {
		k.bad("behind_tls_proxy", "names no proxy", "Add trusted_proxies with the addresses of the proxy that terminates TLS.")
	}
	if !local && c.TLS == nil && !c.BehindTLSProxy {
		k.bad("listen", fmt.Sprintf("%s would serve plain http to other machines", c.Listen),
			"Add tls with cert_file and key_file; or, when a proxy terminates TLS, behind_tls_proxy: true and trusted_proxies; or listen on 127.0.0.1.")
	}
	k.publicURL()
	if c.TLS != nil && !k.broken("tls") {
		k.files = append(k.files, c.TLS.CertFile, c.TLS.KeyFile)
		if _, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile); err != nil {
			k.bad("tls", fmt.Sprintf("cannot use the certificate: %v", err), "Check that both files exist, are PEM, belong together, and that Gatehouse may read them.")
		}
	}
	k.clientCertificates()
}

// clientCertificates checks from whom it is learned which certificate a client has.
func (k *checker) clientCertificates() {
	c := k.cfg
	if c.TLS != nil {
		switch asked, authorities := c.TLS.ClientCertificates, c.TLS.ClientCAFile; {
		case asked && c.BehindTLSProxy:
			k.bad("tls.client_certificates", "asks the proxy for a certificate, and not the client", "Remove it, and set client_certificate_header to the header in which the proxy hands on the client's.")
		case !asked && authorities != "":
			k.bad("tls.client_ca_file", "is never used, because clients are not asked for certificates", "Set client_certificates: true, or remove it.")
		case authorities != "":
			raw, err := k.read(authorities)
			if err == nil && !x509.NewCertPool().AppendCertsFromPEM(raw) {
				err = errors.New("it holds no certificate in PEM")
			}
			if err != nil {
				k.bad("tls.client_ca_file", fmt.Sprintf("cannot use the authorities: %v", err), "Name a file with their certificates in PEM, which Gatehouse may read.")
			}
		}
	}
	switch name := c.CertHeader; {
	case name == "":
	case !validHeaderName(name):
		k.bad("client_certificate_header", fmt.Sprintf("%q is not the name of a header", name), "Write it as the proxy does: Client-Cert.")
	case ownHeader(name) || slices.Contains([]string{"Authorization", "Cookie", "Dpop", "Origin", "X-Forwarded-For"}, http.CanonicalHeaderKey(name)):
		k.bad("client_certificate_header", "is a header that means something else", "Have the proxy use another one: Client-Cert.")
	case !c.BehindTLSProxy:
		k.bad("client_certificate_header", "is believed of a proxy that terminates TLS, and there is none", "Set behind_tls_proxy and trusted_proxies; or, when Gatehouse itself serves https, tls.client_certificates: true.")
	}
}

// listen checks the address to listen on, and reports whether only this machine reaches it.
func (k *checker) listen() (local bool) {
	host, port, err := splitListen(k.cfg.Listen)
	if err != nil {
		k.bad("listen", err.Error(), "Write an IP address and a port: 127.0.0.1:8080, or :8443 for all addresses.")
		return true
	}
	if !validHost(host) {
		k.bad("listen", fmt.Sprintf("%q is a name, not an address", host), "Write an IP address, localhost, or nothing before the colon for all addresses.")
		return true
	}
	if port == 0 && k.cfg.PublicURL == "" {
		k.bad("listen", "port 0 leaves the public URL open", "Choose a port, or set public_url.")
		return true
	}
	return loopback.Is(host)
}

// validHost reports whether a host to listen on is an address; what a name stands for could change.
func validHost(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil || host == "" || host == "localhost"
}

func (k *checker) publicURL() {
	c := k.cfg
	if c.PublicURL == "" {
		if host, port, err := splitListen(c.Listen); err == nil && port != 0 && validHost(host) && !k.broken("listen") {
			k.bad("public_url", "is missing", "Say at which address clients reach Gatehouse, such as https://tools.example.com.")
		}
		return
	}
	switch u := c.PublicURL.URL(); {
	case c.TLS != nil && !c.PublicURL.isHTTPS():
		k.bad("public_url", "begins with http, but tls is set, so that https is served", "Write https.")
	case !c.PublicURL.isHTTPS() && c.BehindTLSProxy:
		k.bad("public_url", "begins with http, but clients speak https to the proxy", "Write https.")
	case !c.PublicURL.isHTTPS() && !loopback.Is(u.Hostname()):
		k.bad("public_url", "is plain http on another host than this machine; clients refuse that, and tokens could be read on the way", "Write https.")
	case c.PublicURL.isHTTPS() && c.TLS == nil && !c.BehindTLSProxy:
		k.bad("public_url", "begins with https, but nothing here speaks TLS", "Add tls with cert_file and key_file, or behind_tls_proxy: true and trusted_proxies when a proxy does.")
	}
}

// database checks where data is kept, and makes a file path absolute.
func (k *checker) database() {
	dsn := k.cfg.Database.Reveal()
	scheme, _, isURL := strings.Cut(dsn, "://")
	const hint = "Write a file path for SQLite, or postgres://user@host/database; a password is best kept out of this file: {env: NAME} or {file: path}."
	switch {
	case !isURL && strings.Contains(dsn, "host="):
		k.bad("database", "is not a file path and not a URL", hint)
	case !isURL:
		if at := k.index["database"]; at != nil && at.doc != nil && dsn != "" && !filepath.IsAbs(dsn) {
			k.cfg.Database = secret.New(filepath.Join(k.dir, dsn))
		}
	case scheme != "postgres" && scheme != "postgresql":
		k.bad("database", fmt.Sprintf("%q is not a kind of database that Gatehouse knows", scheme), hint)
	default:
		u, err := url.Parse(dsn)
		if err != nil || u.Hostname() == "" && u.Query().Get("host") == "" {
			k.bad("database", "is not a proper postgres:// address", hint)
			return
		}
		_, hasPassword := u.User.Password()
		if at := k.at("database"); hasPassword && at.kind == scalar {
			k.warn(at, "has its password in the configuration file, readable by all who may read the file", hint)
		}
	}
}

const masterKeyHint = "Make one with: openssl rand -base64 32. Keep it in a file that only Gatehouse may read, and write master_key: {file: path}; or {env: NAME}."

// masterKeys turns the text of each master key into its bytes.
func (k *checker) masterKeys() {
	if len(k.cfg.MasterKeys) == 0 {
		k.bad("master_key", "is missing", masterKeyHint)
		return
	}
	for i, text := range k.cfg.MasterKeys {
		path := "master_key"
		if k.at(path).kind == list {
			path = fmt.Sprintf("master_key[%d]", i)
		}
		raw, ok := parseMasterKey(text.Reveal())
		if !ok {
			k.bad(path, fmt.Sprintf("is not %d bytes in base64 or hex", masterKeySize), masterKeyHint)
			continue
		}
		k.cfg.MasterKeys[i] = secret.New(string(raw))
	}
}

func parseMasterKey(s string) ([]byte, bool) {
	s = strings.TrimSpace(s)
	if raw, err := hex.DecodeString(s); err == nil && len(raw) == masterKeySize {
		return raw, true
	}
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	raw, err := base64.RawStdEncoding.DecodeString(s)
	return raw, err == nil && len(raw) == masterKeySize
}

// registration checks what clients may register.
func (k *checker) registration() {
	r := k.cfg.Registration
	if r.RatePerMinute < 1 {
		k.bad("registration.rate_per_minute", "lets nobody register", "Give a number above 0, or dynamic: false.")
	}
	for i, s := range r.PrivateRedirectSchemes {
		path := fmt.Sprintf("registration.private_redirect_schemes[%d]", i)
		if !validScheme(s) {
			k.bad(path, fmt.Sprintf("%q is not a URI scheme", s), "Write the part before the colon, in lower case: cursor.")
		} else if slices.Contains(webSchemes(), s) {
			k.bad(path, fmt.Sprintf("%q is not a private-use scheme", s), "Name a scheme that one application owns.")
		}
	}
	k.documents(r.Documents)
}

// documents checks whose client ID metadata documents are read.
func (k *checker) documents(d ClientDocuments) {
	const path = "registration.documents"
	for _, list := range []struct {
		key   string
		hosts []string
	}{{path + ".hosts", d.Hosts}, {path + ".trusted_hosts", d.Trusted}} {
		if !d.Enabled && len(list.hosts) > 0 {
			k.bad(list.key, "is never used, because documents are not enabled", "Set enabled: true, or remove it.")
			continue
		}
		for i, host := range list.hosts {
			if _, err := clientdoc.CheckURL("https://" + host + "/client"); err != nil || strings.Contains(host, ":") {
				k.bad(fmt.Sprintf("%s[%d]", list.key, i), fmt.Sprintf("%q is not a public host name", host), "Write it as it stands in the client_id, without https:// and path: claude.ai")
			}
		}
	}
	if d.Hosts != nil && len(d.Hosts) == 0 {
		k.bad(path+".hosts", "is empty, so that no document is ever read", "Name hosts, or remove it to read those of every public host, or set enabled: false.")
	}
	for i, host := range d.Trusted {
		if len(d.Hosts) > 0 && !slices.Contains(d.Hosts, host) {
			k.bad(fmt.Sprintf("%s.trusted_hosts[%d]", path, i), fmt.Sprintf("%q is not among hosts, so its documents are not read", host), "Add it to hosts, or remove it here.")
		}
	}
}

func validScheme(s string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789+-.", r)) {
			return false
		}
	}
	return s != ""
}

// webSchemes are those that a browser or the system handles itself.
func webSchemes() []string {
	return []string{"about", "blob", "data", "file", "filesystem", "ftp", "http", "https", "javascript", "mailto", "vbscript", "view-source", "ws", "wss"}
}
