package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// TLSFiles name a certificate chain and its key, both PEM, and what is asked of clients.
type TLSFiles struct {
	Cert, Key string

	AskClients bool   // for a certificate; they may have none
	ClientCAs  string // PEM; with it, a client's certificate must come from one of these authorities. Without: from anybody
}

const certificateCheck = 30 * time.Second

// certificates holds the pair that is in use. A pair is taken only when it is whole: a half-written file, or a key that
// does not belong to the certificate, changes nothing.
type certificates struct {
	files   TLSFiles
	current atomic.Pointer[certificate]
}

type certificate struct {
	pair    tls.Certificate
	certPEM []byte
	casPEM  []byte      // nil without ClientCAs
	config  *tls.Config // for connections that begin now
}

func loadCertificates(files TLSFiles) (*certificates, error) {
	c := &certificates{files: files}
	_, err := c.reload()
	return c, err
}

// reload reports whether the files held another pair than the one in use.
func (c *certificates) reload() (changed bool, err error) {
	certPEM, err := os.ReadFile(c.files.Cert)
	if err != nil {
		return false, fmt.Errorf("read TLS certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(c.files.Key)
	if err != nil {
		return false, fmt.Errorf("read TLS key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return false, fmt.Errorf("load TLS pair %s and %s: %w; the certificate comes first in its file, followed by its chain, and the key belongs to it", c.files.Cert, c.files.Key, err)
	}
	next := &certificate{pair: pair, certPEM: certPEM, config: newTLSConfig(c.files.AskClients)}
	next.config.Certificates = []tls.Certificate{pair}
	if c.files.ClientCAs != "" {
		next.casPEM, err = os.ReadFile(c.files.ClientCAs)
		if err != nil {
			return false, fmt.Errorf("read the authorities of clients: %w", err)
		}
		next.config.ClientCAs, next.config.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !next.config.ClientCAs.AppendCertsFromPEM(next.casPEM) {
			return false, fmt.Errorf("read the authorities of clients: %s holds no certificate in PEM", c.files.ClientCAs)
		}
	}
	old := c.current.Load()
	if old != nil && bytes.Equal(old.certPEM, certPEM) && bytes.Equal(old.casPEM, next.casPEM) {
		return false, nil
	}
	c.current.Store(next)
	return true, nil
}

// newTLSConfig is what all connections have in common. A client that is asked shows its certificate and proves that it
// has its key, or shows none.
func newTLSConfig(askClients bool) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	if askClients {
		config.ClientAuth = tls.RequestClientCert
	}
	return config
}

// forClient is the GetConfigForClient hook of tls.Config. Session tickets stay those of the config that it hangs on.
func (c *certificates) forClient(*tls.ClientHelloInfo) (*tls.Config, error) {
	return c.current.Load().config, nil
}

// watch takes over changed files until ctx is done.
func (c *certificates) watch(ctx context.Context, log *slog.Logger) {
	ticker := time.NewTicker(certificateCheck)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		changed, err := c.reload()
		switch {
		case err != nil:
			log.WarnContext(ctx, "TLS files not reloaded, the ones in use stay", "error", err)
		case changed:
			log.InfoContext(ctx, "TLS files reloaded", "not_after", c.current.Load().pair.Leaf.NotAfter)
		}
	}
}
