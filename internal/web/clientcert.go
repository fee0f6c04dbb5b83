package web

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

type certificateKey struct{}

// WithClientCertificate has ClientCertificate look into a header that declared proxies set after a TLS handshake in which
// the client proved that it has the certificate's key. From any other peer the header counts for nothing. Such a proxy
// must remove what a client itself put there (RFC 9440 §4).
func WithClientCertificate(header string, p Proxies) Middleware {
	header = http.CanonicalHeaderKey(header)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var lines []string
			if p.has(peerIP(r)) {
				lines = r.Header[header]
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), certificateKey{}, lines)))
		})
	}
}

// ClientCertificate returns the certificate, in DER, whose key the client has proved to hold: that of the TLS connection,
// or with WithClientCertificate the one that the proxy names. It is nil when there is none. An error means that what the
// proxy wrote cannot be read. Nobody has looked at who issued the certificate unless TLSFiles or the proxy say so.
func ClientCertificate(r *http.Request) ([]byte, error) {
	if lines, behindProxy := r.Context().Value(certificateKey{}).([]string); behindProxy {
		return certificateOf(lines)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, nil
	}
	return r.TLS.PeerCertificates[0].Raw, nil
}

// Thumbprint is what tokens name a certificate by: x5t#S256 (RFC 8705 §3.1).
func Thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// certificateOf reads a header in one of the two forms that proxies write: a byte sequence, as RFC 9440 §2.2 has it, or
// PEM with percent-encoding (nginx's $ssl_client_escaped_cert, and AWS's load balancers), of which the first certificate
// counts. They cannot be taken for one another.
func certificateOf(lines []string) ([]byte, error) {
	if len(lines) > 1 {
		return nil, errors.New("the header with the client's certificate came more than once: does the proxy remove what clients send?")
	}
	text := strings.Trim(strings.Join(lines, ""), " \t")
	if text == "" {
		return nil, nil
	}
	if inner, ok := strings.CutPrefix(text, ":"); ok {
		der, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(inner, ":"))
		if err != nil || !strings.HasSuffix(inner, ":") || len(der) == 0 {
			return nil, errors.New("the header with the client's certificate begins like a byte sequence, and is none (RFC 9440)")
		}
		return der, nil
	}
	plain, err := url.PathUnescape(text)
	if err != nil {
		return nil, fmt.Errorf("the header with the client's certificate: %w", err)
	}
	const begin = "-----BEGIN CERTIFICATE-----"
	block, _ := pem.Decode([]byte(plain))
	if !strings.HasPrefix(plain, begin) || block == nil || len(block.Bytes) == 0 || block.Type != "CERTIFICATE" {
		return nil, errors.New("the header with the client's certificate holds neither a byte sequence (RFC 9440) nor PEM with percent-encoding")
	}
	return block.Bytes, nil
}
