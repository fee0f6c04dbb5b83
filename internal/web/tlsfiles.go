package web

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// TLSFiles name a certificate chain and its key, both PEM.
type TLSFiles struct{ Cert, Key string }

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
	old := c.current.Load()
	if old != nil && bytes.Equal(old.certPEM, certPEM) {
		return false, nil
	}
	c.current.Store(&certificate{pair: pair, certPEM: certPEM})
	return true, nil
}

// get is the GetCertificate hook of tls.Config.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &c.current.Load().pair, nil
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
