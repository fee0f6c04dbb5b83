package config

import (
	"fmt"

	"gatehouse/internal/loopback"
)

// metrics checks where metrics are served, and to whom.
func (k *checker) metrics() {
	m := k.cfg.Metrics
	if m == nil {
		return
	}
	const where = "Write an IP address and a port of its own: 127.0.0.1:9464, or 10.0.0.12:9464 for a scraper elsewhere."
	switch host, port, err := splitListen(m.Listen); {
	case err != nil:
		k.bad("metrics.listen", err.Error(), where)
	case !validHost(host):
		k.bad("metrics.listen", fmt.Sprintf("%q is a name, not an address", host), where)
	case port == 0:
		k.bad("metrics.listen", "port 0 lets no scraper find it", where)
	case sameAddress(m.Listen, k.cfg.Listen):
		k.bad("metrics.listen", "is where clients are served, who must not see metrics", where)
	case k.cfg.Copies != nil && sameAddress(m.Listen, k.cfg.Copies.Listen):
		k.bad("metrics.listen", "is where other copies are served", where)
	case !loopback.Is(host) && m.Token.IsZero():
		k.doubtful("metrics.listen", fmt.Sprintf("%s shows metrics to every machine that reaches it: endpoints, targets, how much they are used", m.Listen),
			"Set token, from a file or the environment; or listen on 127.0.0.1; or see that only the scraper gets there.")
	}
}

// sameAddress reports whether two listeners would be in each other's way.
func sameAddress(a, b string) bool {
	hostA, portA, errA := splitListen(a)
	hostB, portB, errB := splitListen(b)
	return errA == nil && errB == nil && portA == portB && (hostA == hostB || unspecified(hostA) || unspecified(hostB))
}
