package testkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// CA is a certificate authority with a root and an intermediate, for servers with every kind of certificate.
type CA struct {
	t            testing.TB
	root, middle *x509.Certificate
	rootKey, key *ecdsa.PrivateKey
}

// NewCA makes an authority.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t}
	ca.rootKey, ca.key = ca.newKey(), ca.newKey()
	ca.root = ca.sign(authority("root of the tests"), nil, &ca.rootKey.PublicKey, ca.rootKey)
	ca.middle = ca.sign(authority("intermediate of the tests"), ca.root, &ca.key.PublicKey, ca.rootKey)
	return ca
}

func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
}

// Pool trusts the root.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.root)
	return pool
}

// RootPEM is the root, for programs that read it from a file (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS).
func (ca *CA) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw})
}

// Root is the certificate of the authority.
func (ca *CA) Root() *x509.Certificate { return ca.root }

// Issue makes a good certificate with its chain.
func (ca *CA) Issue(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return ca.IssueWith(func(c *x509.Certificate) { c.DNSNames = names })
}

// IssueWith makes a certificate for gw.test with its chain, after the template was changed.
func (ca *CA) IssueWith(change func(*x509.Certificate)) tls.Certificate {
	template := leaf("gw.test")
	change(template)
	key := ca.newKey()
	c := ca.sign(template, ca.middle, &key.PublicKey, ca.key)
	return tls.Certificate{Certificate: [][]byte{c.Raw, ca.middle.Raw}, PrivateKey: key}
}

// WithoutIntermediate makes a good certificate and leaves out what leads to the root.
func (ca *CA) WithoutIntermediate(name string) tls.Certificate {
	c := ca.Issue(ca.t, name)
	c.Certificate = c.Certificate[:1]
	return c
}

// SelfSigned makes a certificate that vouches for itself.
func (ca *CA) SelfSigned(name string) tls.Certificate {
	key := ca.newKey()
	template := leaf(name)
	template.Subject.CommonName = name
	c := ca.sign(template, nil, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key}
}

// PEM encodes a chain and its key.
func (ca *CA) PEM(c tls.Certificate) (chain, key []byte) {
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		ca.t.Fatalf("encode key: %v", err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func leaf(name string) *x509.Certificate {
	return &x509.Certificate{
		DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}
}

func (ca *CA) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatalf("make key: %v", err)
	}
	return key
}

// sign makes a certificate; without a parent it signs itself.
func (ca *CA) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey, by *ecdsa.PrivateKey) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		ca.t.Fatalf("choose serial number: %v", err)
	}
	template.SerialNumber = serial
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		ca.t.Fatalf("sign certificate: %v", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatalf("read certificate: %v", err)
	}
	return c
}
