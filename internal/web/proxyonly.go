package web

import "net/http"

// ProxyOnly refuses peers that are not declared proxies. It guards plain http behind a proxy that terminates TLS: who
// reaches this server past the proxy would send tokens in the clear.
func ProxyOnly(p Proxies) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !p.has(peerIP(r)) {
				Note(r.Context(), "detail", "the peer is not among trusted_proxies, and behind_tls_proxy is set")
				WriteError(w, r, &Error{Status: http.StatusForbidden, Code: "proxy_required", Message: "this server is reached through its proxy only"})
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}
