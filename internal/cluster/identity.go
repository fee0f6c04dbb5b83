package cluster

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"gatehouse/internal/seal"
)

// Purpose is the seal purpose of the key pairs, for one public origin: an installation that was cloned from another, master
// key and all, and serves another origin is none of its copies.
func purpose(origin string) seal.Purpose { return seal.Purpose("cluster " + origin) }

// member is one key pair by which copies know each other.
type member struct {
	name string // what a client asks the server to be, in place of a host name
	key  ed25519.PublicKey
	cert tls.Certificate
}

// membersOf derives the key pairs of a keyring, newest first. While a master key is being exchanged, some copies have one
// more than others: they meet under whichever both have.
func membersOf(keys *seal.Keyring, origin string) ([]member, error) {
	var all []member
	for _, private := range keys.Signers(purpose(origin)) {
		public, _ := private.Public().(ed25519.PublicKey)
		digest := sha256.Sum256(public)
		m := member{name: hex.EncodeToString(digest[:16]) + ".gatehouse.internal", key: public}
		// Nobody reads what stands in the certificate but its key: it is the form in which TLS takes one.
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), DNSNames: []string{m.name}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			return nil, fmt.Errorf("make the certificate for other copies: %w", err)
		}
		m.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
		all = append(all, m)
	}
	return all, nil
}

// config is that of both sides of a connection between copies. TLS itself makes the peer prove that it has the private key
// of its certificate; what is checked here is that it is ours. Nothing is resumed and nothing sent early, so that nothing
// can be replayed.
func (m *member) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{m.cert}, ServerName: m.name,
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		InsecureSkipVerify: true, // there are no authorities: VerifyConnection compares the key
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) != 1 || s.Version != tls.VersionTLS13 {
				return errStranger
			}
			if key, ok := s.PeerCertificates[0].PublicKey.(ed25519.PublicKey); !ok || !m.key.Equal(key) {
				return errStranger
			}
			return nil
		},
	}
}

var errStranger = errors.New("the other side is no copy of this Gatehouse: its key does not derive from our master key")

// serverConfig answers as the member that the client asks for.
func serverConfig(all []member) *tls.Config {
	c := all[0].config()
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		for i := range all {
			if all[i].name == hello.ServerName {
				return all[i].config(), nil
			}
		}
		return nil, errStranger
	}
	return c
}
