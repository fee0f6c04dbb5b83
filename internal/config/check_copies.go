package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// copies checks how this copy reaches the others, and they it.
func (k *checker) copies() {
	c := k.cfg.Copies
	if c == nil {
		return
	}
	if dsn := k.cfg.Database.Reveal(); !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		k.bad("copies", "needs a database that copies share, and SQLite is a file of one", "Set database to a postgres:// address; or remove copies when there is one Gatehouse only.")
	}
	const where = "Write an IP address and a port that only other copies can reach: 10.0.0.12:7443, or :7443 for all addresses."
	switch host, port, err := splitListen(c.Listen); {
	case err != nil:
		k.bad("copies.listen", err.Error(), where)
	case !validHost(host):
		k.bad("copies.listen", fmt.Sprintf("%q is a name, not an address", host), where)
	case port == 0:
		k.bad("copies.listen", "port 0 lets nobody find this copy", where)
	case c.Listen == k.cfg.Listen:
		k.bad("copies.listen", "is where clients are served", "Choose another port.")
	}
	const reach = "Write host and port as other copies see them: 10.0.0.12:7443, or {env: NAME} where each copy has another."
	switch host, port, err := splitListen(c.Address.Reveal()); {
	case c.Address.IsZero():
		k.bad("copies.address", "is missing, and listen does not name an address", reach)
	case err != nil || port == 0 || unspecified(host) || strings.ContainsAny(host, "@/ "):
		k.bad("copies.address", "is not a host and port at which something can be reached", reach)
	}
}

// unspecified reports whether a host to listen on stands for all addresses.
func unspecified(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}
