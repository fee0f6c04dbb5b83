package config

import (
	"fmt"

	"gatehouse/internal/loopback"
)

// anonymous checks an endpoint that asks nobody who they are. It exists for test suites that cannot send a token, so it
// is refused wherever anything but a program on this machine could reach it.
func (k *checker) anonymous(path string, e *Endpoint) {
	c, at := k.cfg, path+".access"
	const what = "anonymous_for_tests lets in whoever asks"
	const hint = "Write any_signed_in or a claim rule; or test on one machine: listen on 127.0.0.1, public_url on localhost, and no proxy."
	if host, _, err := splitListen(c.Listen); err != nil || !loopback.Is(host) {
		k.bad(at, fmt.Sprintf("%s, and listen (%s) is not a loopback address", what, c.Listen), hint)
	}
	if c.PublicURL == "" || !loopback.Is(c.PublicURL.URL().Hostname()) {
		k.bad(at, fmt.Sprintf("%s, and public_url (%s) is not on a loopback host", what, c.PublicURL), hint)
	}
	if c.BehindTLSProxy || len(c.TrustedProxies) > 0 {
		k.bad(at, what+", and requests of others come through a proxy (behind_tls_proxy, trusted_proxies)", hint)
	}
	if len(e.Issuers) > 0 {
		k.bad(path+".issuers", "names whose tokens are accepted, but anonymous_for_tests looks at no token", "Write issuers: [].")
	}
	if s := e.Scopes; len(s.Default)+len(s.Advertised)+len(s.Tools)+len(s.Methods) > 0 {
		k.bad(path+".scopes", "asks for scopes that nobody has without a token", "Remove it.")
	}
	k.doubtful(at, "lets every program on this machine use the targets of this endpoint", "Keep it to tests.")
}
