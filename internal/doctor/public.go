package doctor

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"gatehouse/internal/loopback"
)

// installation walks from the name of the public URL to the metadata of every endpoint.
func (p *probe) installation(ctx context.Context, s *Setup) []Finding {
	r := &report{about: "public_url"}
	running := p.local(ctx, s, r)
	if s.CertFile != "" && !running {
		r.certificateFile(s)
	}
	first := p.get(ctx, s.PublicURL+s.Endpoints[0].Path)
	if s.BeforeStart && !running {
		r.beforeStart(first, s)
		return r.all
	}
	if !r.connection(first, "public_url", s.Now()) {
		return r.all
	}
	if !running && !s.listensElsewhere() {
		r.skip("endpoints", "Gatehouse does not run; start it, or give --before-start for what can be known without it")
		return r.all
	}
	r.clock(first, s.PublicURL)
	all := r.all
	var own string // what the metadata of an endpoint of our own names as issuer
	for _, e := range s.Endpoints {
		one := &report{about: "endpoint " + e.Path}
		if issuer := p.endpoint(ctx, s, e, one); e.Own && own == "" {
			own = issuer
		}
		all = append(all, one.all...)
	}
	as := &report{about: "authorization server"}
	p.ownServer(ctx, s, own, as)
	return append(all, as.all...)
}

// listensElsewhere reports whether the address to listen on says nothing about whether Gatehouse runs.
func (s *Setup) listensElsewhere() bool {
	_, port, err := net.SplitHostPort(s.Listen)
	return err != nil || port == "0"
}

// local asks the Gatehouse on this machine whether it is ready.
func (p *probe) local(ctx context.Context, s *Setup, r *report) (running bool) {
	if s.listensElsewhere() {
		r.skip("running", "listen names no fixed port")
		return false
	}
	host, port, _ := net.SplitHostPort(s.Listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if s.CertFile != "" {
		scheme = "https"
	}
	// The certificate is made for the public name, and is looked at there.
	here := &probe{now: p.now, timeout: p.timeout, client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}}
	a := here.get(ctx, scheme+"://"+net.JoinHostPort(host, port)+"/readyz?verbose")
	switch {
	case a.err != nil && s.BeforeStart:
		r.ok("running", "not yet, %s is free", s.Listen)
		return false
	case a.err != nil:
		r.fail("running", trouble{NotRunning, "nothing answers on " + s.Listen + ": " + cause(a.err), "Gatehouse",
			"start it: gatehouse serve -c FILE; for what can be known without it, give --before-start"})
		return false
	case a.status != http.StatusOK && a.status != http.StatusServiceUnavailable || a.header.Get("X-Request-Id") == "":
		r.fail("running", trouble{PortTaken, "another program answers on " + s.Listen + ": " + a.looks(), "Gatehouse",
			"choose another port in listen, or stop that program"})
		return false
	}
	r.ready(a)
	return true
}

// ready reads the list of parts that /readyz?verbose gives to callers on the same machine.
func (r *report) ready(a answer) {
	lines := bufio.NewScanner(bytes.NewReader(a.body))
	good := true
	for lines.Scan() {
		name, state, ok := strings.Cut(lines.Text(), ": ")
		word, detail, _ := strings.Cut(state, " ")
		if !ok || word == "ok" {
			continue
		}
		good = false
		t := trouble{PartNotReady, clip(fmt.Sprintf("%s is %s: %s", name, word, detail), 200), name + " ok", "see the findings about it below, and the log"}
		if word == "down" {
			r.fail("running", t)
		} else {
			r.warn("running", t)
		}
	}
	if good {
		r.ok("running", "and ready")
	}
}

// beforeStart says of the public URL what can be known while nothing serves it.
func (r *report) beforeStart(a answer, s *Setup) {
	at, err := url.Parse(a.url)
	if err != nil {
		return
	}
	if a.err == nil {
		if len(a.connected.addresses) > 0 {
			r.ok("name", "%s is %s", at.Hostname(), strings.Join(a.connected.addresses, ", "))
		}
		if a.tls != nil || !loopback.Is(at.Hostname()) {
			r.certificate(a, s.Now())
		}
		r.clock(a, s.PublicURL)
		return
	}
	came, t := way(a.err, at, "public_url")
	if len(a.connected.addresses) > 0 {
		r.ok("name", "%s is %s", at.Hostname(), strings.Join(a.connected.addresses, ", "))
	}
	switch {
	case came == stageConnection && !s.BehindProxy:
		r.skip("connection", "nothing serves "+s.PublicURL+" yet")
	case came == stageConnection:
		r.warn("connection", t)
	default:
		r.fail(came.check(), t)
	}
}

// certificateFile looks at the certificate that Gatehouse is going to serve, as a client will.
func (r *report) certificateFile(s *Setup) {
	raw, err := os.ReadFile(s.CertFile)
	if err != nil {
		r.fail("certificate file", trouble{CertificateInvalid, cause(err), "a readable file", "correct tls.cert_file, or let this user read it"})
		return
	}
	chain := parseChain(raw)
	if len(chain) == 0 {
		r.fail("certificate file", trouble{CertificateInvalid, s.CertFile + " holds no certificate", "a chain in PEM", "correct tls.cert_file"})
		return
	}
	rest := x509.NewCertPool()
	for _, c := range chain[1:] {
		rest.AddCert(c)
	}
	at, err := url.Parse(s.PublicURL)
	if err != nil {
		return
	}
	_, err = chain[0].Verify(x509.VerifyOptions{DNSName: at.Hostname(), Intermediates: rest, Roots: s.RootCAs, CurrentTime: s.Now()})
	if err == nil {
		r.certificate(answer{tls: &tls.ConnectionState{PeerCertificates: chain, Version: tls.VersionTLS13}}, s.Now())
		return
	}
	t, ok := certificateTrouble(err, at.Hostname())
	if !ok {
		t = trouble{CertificateInvalid, clip(err.Error(), 200), "a certificate that clients accept", "get another certificate"}
	}
	r.fail("certificate file", t)
}

func parseChain(raw []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return out
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
}
