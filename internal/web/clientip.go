package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"gatehouse/internal/httpd"
)

// Proxies are the reverse proxies that the administrator declared. Only they are believed when they say for whom a
// request comes.
type Proxies []netip.Prefix

func (p Proxies) has(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(prefix netip.Prefix) bool { return prefix.Contains(a) })
}

// WithClientIP works out the client's address once per request, for ClientIP. X-Forwarded-For counts only when the
// peer is a declared proxy, and is walked from the right up to the first address that is not one. Forwarded,
// X-Real-IP, X-Forwarded-Host and X-Forwarded-Proto are never read.
func WithClientIP(p Proxies) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if f := factsOf(r.Context()); f != nil {
				f.client = peerOf(w, r)
				if p.has(f.client) {
					f.client = p.client(f.client, r.Header["X-Forwarded-For"])
					if ids := r.Header[requestIDHeader]; len(ids) > 0 && ids[0] != "" {
						Note(r.Context(), "proxy_request_id", clip(ids[0], 64))
					}
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// client walks the chain of addresses from the nearest to the farthest, as long as they are proxies.
func (p Proxies) client(peer netip.Addr, forwarded []string) netip.Addr {
	client := peer
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && p.has(client); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break // a proxy that names no address: its own is the last one known for sure
		}
		client = hop.Unmap().WithZone("")
	}
	return client
}

// ClientIP returns the address of the client that sent r. It is invalid when the peer has none.
func ClientIP(r *http.Request) netip.Addr {
	if f := factsOf(r.Context()); f != nil && f.client.IsValid() {
		return f.client
	}
	return peerIP(r)
}

func peerIP(r *http.Request) netip.Addr { return httpd.Peer(r.RemoteAddr) }

// peerOf is peerIP where the server itself is at hand, which has it for all requests of a connection.
func peerOf(w http.ResponseWriter, r *http.Request) netip.Addr {
	if server, ok := w.(interface{ Peer() netip.Addr }); ok {
		return server.Peer()
	}
	return peerIP(r)
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
