package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"gatehouse/internal/loopback"
	"gatehouse/internal/web"
)

// stage is how far the way to a server leads.
type stage int

const (
	stageName stage = iota
	stageConnection
	stageTLS
)

// check names what is looked at on that stage.
func (s stage) check() string { return []string{"name", "connection", "certificate"}[s] }

const ownCA = "for an authority of your own give clients its certificate (NODE_EXTRA_CA_CERTS for mcp-remote, SSL_CERT_FILE for Gatehouse and this command)"

// way says why a server cannot be reached. setting is where its address was written down.
func way(err error, at *url.URL, setting string) (stage, trouble) {
	host := at.Hostname()
	if t, ok := certificateTrouble(err, host); ok {
		return stageTLS, t
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return stageName, trouble{NameUnknown, "there is no host " + host, "a name that leads to an address",
				"add " + host + " to the DNS, or correct " + setting}
		}
		return stageName, trouble{NameServerSilent, "the name server did not say what " + host + " is: " + dns.Err, "an address",
			"look at the name servers of this machine (/etc/resolv.conf)"}
	}
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, web.ErrFenced):
		return stageConnection, trouble{AddressFenced, host + " leads to an address that is never called: " + cause(err), "an address that is neither link-local nor a cloud's metadata service",
			"correct " + setting + " or the DNS"}
	case errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record):
		return stageTLS, trouble{TLSMissing, "plain http is spoken on the port of https", "TLS",
			"switch on TLS at " + at.Host + " (tls, or the proxy's certificate), or correct the scheme or port in " + setting}
	case errors.Is(err, syscall.ECONNREFUSED):
		return stageConnection, trouble{NothingListens, "nothing listens on " + hostPort(at), "a server", "start the server, or correct the port in " + setting}
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return stageConnection, trouble{NoAnswerInTime, "no answer in time from " + hostPort(at), "an answer within seconds",
			"look at firewalls, routes and security groups between this machine and " + host}
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return stageConnection, trouble{NoRoute, "no route to " + hostPort(at), "a way there", "look at the network of this machine, or correct " + setting}
	case strings.Contains(err.Error(), "unsupported protocol version") || strings.Contains(err.Error(), "protocol version not supported"):
		return stageTLS, trouble{TLSTooOld, "the server speaks only versions of TLS that clients refuse", "TLS 1.2 or 1.3",
			"allow TLS 1.2 and 1.3 at " + at.Host}
	case strings.Contains(err.Error(), "remote error: tls:"):
		return stageTLS, trouble{TLSRefused, "the server breaks the TLS handshake off: " + cause(err), "a handshake with TLS 1.2 or newer",
			"look at the certificate for " + host + " and the TLS versions of the server"}
	}
	return stageConnection, trouble{ConnectionBroken, "no answer: " + cause(err), "an answer", "look at the log of the server at " + at.Host}
}

// certificateTrouble explains a certificate that clients refuse.
func certificateTrouble(err error, host string) (trouble, bool) {
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return trouble{CertificateWrongName, fmt.Sprintf("the certificate is for %s", names(name.Certificate)), "a certificate for " + host,
			"get a certificate for " + host + ", or let the server choose it by name (SNI)"}, true
	case errors.As(err, &unknown) && unknown.Cert != nil && unknown.Cert.Subject.String() == unknown.Cert.Issuer.String():
		return trouble{CertificateSelfSigned, "the certificate is signed by itself", "one of an authority that clients trust",
			"get one of a public authority (such as Let's Encrypt); " + ownCA}, true
	case errors.As(err, &unknown):
		by := ""
		if unknown.Cert != nil {
			by = ": it ends at " + clip(unknown.Cert.Issuer.String(), 80)
		}
		return trouble{CertificateChain, "the certificate's chain leads to no trusted authority" + by, "the whole chain, up to an authority that clients trust",
			"serve the intermediate certificates too (fullchain.pem, not cert.pem); " + ownCA}, true
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		c := invalid.Cert
		if time.Now().Before(c.NotBefore) {
			return trouble{CertificateNotYet, "the certificate is not valid before " + c.NotBefore.UTC().Format(time.RFC3339), "one that is valid now", "set the clock of this machine, or wait"}, true
		}
		return trouble{CertificateExpired, "the certificate expired on " + c.NotAfter.UTC().Format(time.DateOnly), "one that is valid now",
			"renew it, and let the server read it again (Gatehouse does so by itself; nginx -s reload)"}, true
	case errors.As(err, &invalid):
		return trouble{CertificateInvalid, "the certificate is not valid: " + invalid.Error(), "one that clients accept", "get another certificate"}, true
	}
	return trouble{}, false
}

func names(c *x509.Certificate) string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name at all (only a common name, which nobody reads any more)"
	}
	return clip(strings.Join(all[:min(len(all), 5)], ", "), 200)
}

// cause is the innermost text of an error, without the address that the finding shows anyway.
func cause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return clip(err.Error(), 200)
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
}

// expirySoon is when a certificate that is still good deserves a warning.
const expirySoon = 14 * 24 * time.Hour

// connection says how the way to a server went: name, connection, certificate. It reports whether there was an answer.
func (r *report) connection(a answer, setting string, now time.Time) (reached bool) {
	at, err := url.Parse(a.url)
	if err != nil {
		r.fail("name", trouble{NameUnknown, clip(err.Error(), 120), "a URL", "correct " + setting})
		return false
	}
	ended, t := stageTLS+1, trouble{}
	if a.err != nil {
		ended, t = way(a.err, at, setting)
	}
	if len(a.connected.addresses) > 0 {
		r.ok("name", "%s is %s", at.Hostname(), strings.Join(a.connected.addresses, ", "))
	}
	if a.connected.remote != "" {
		r.ok("connection", "to %s", a.connected.remote)
	}
	if a.err != nil {
		r.fail(ended.check(), t)
		return false
	}
	if a.tls != nil || !loopback.Is(at.Hostname()) {
		r.certificate(a, now)
	}
	return true
}

func (r *report) certificate(a answer, now time.Time) {
	if a.tls == nil || len(a.tls.PeerCertificates) == 0 {
		r.fail("certificate", trouble{TLSMissing, "plain http", "https: clients refuse anything else off this machine, and tokens could be read on the way", "serve https, and write it in the setting"})
		return
	}
	c := a.tls.PeerCertificates[0]
	days := int(c.NotAfter.Sub(now).Hours() / 24)
	if c.NotAfter.Sub(now) < expirySoon {
		r.warn("certificate", trouble{CertificateExpires, fmt.Sprintf("expires on %s, in %d days", c.NotAfter.UTC().Format(time.DateOnly), days), "more than two weeks left",
			"renew it, and see why that did not happen by itself"})
		return
	}
	r.ok("certificate", "for %s, until %s, %s", names(c), c.NotAfter.UTC().Format(time.DateOnly), tls.VersionName(a.tls.Version))
}

// How far clocks may be apart: tokens are refused from a minute on.
const (
	skewWarn = 10 * time.Second
	skewFail = time.Minute
)

// clock compares the clock of a server with ours.
func (r *report) clock(a answer, whose string) {
	if !a.dated {
		r.skip("clock", "the answer has no Date header")
		return
	}
	apart := a.skew.Round(time.Second).Abs()
	direction := "ahead of"
	if a.skew < 0 {
		direction = "behind"
	}
	t := trouble{ClockSkew, fmt.Sprintf("the clock of %s is %s %s that of this machine", whose, apart, direction), "less than " + skewWarn.String() + " apart",
		"set both clocks by NTP (timedatectl set-ntp true): tokens count as expired or not yet valid otherwise"}
	switch {
	case apart > skewFail:
		r.fail("clock", t)
	case apart > skewWarn:
		r.warn("clock", t)
	default:
		r.ok("clock", "%s apart", apart)
	}
}
