package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"gatehouse/internal/loopback"
)

// HostCheck answers 421 (RFC 9110 §15.5.20) when the Host header names none of hosts. It closes DNS rebinding: a page
// whose name was pointed at this address sends its own name. Ports are not compared, since a mapping may change them.
func HostCheck(hosts []string) Middleware {
	allowed := make(map[string]bool, 2*len(hosts)) // as they are, which is what nearly all requests have, and by their names
	for _, h := range hosts {
		allowed[h], allowed[hostname(h)] = true, true
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !allowed[r.Host] && !allowed[hostname(r.Host)] {
				Note(r.Context(), "detail", fmt.Sprintf("host %q is not served here; set public_url to the address that clients use", clip(r.Host, 128)))
				WriteError(w, r, &Error{Status: http.StatusMisdirectedRequest, Code: "host_not_served", Message: "this host name is not served here"})
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// hostname returns the host of "host", "host:port", "[::1]:port" or "::1", in lower case without a final dot.
func hostname(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	return strings.TrimSuffix(strings.ToLower(s), ".")
}

// OwnHosts lists the hosts under which this installation is reached: that of its public URL, and those of the address that it
// listens on.
func OwnHosts(publicURL *url.URL, listen string) []string {
	hosts := []string{publicURL.Host}
	if host, _, err := net.SplitHostPort(listen); err == nil {
		hosts = append(hosts, listenHosts(host)...)
	}
	return hosts
}

// OwnOrigins lists the web origins of this installation's own pages.
func OwnOrigins(publicURL *url.URL, listen string) []string {
	origins := []string{publicURL.Scheme + "://" + publicURL.Host}
	host, port, err := net.SplitHostPort(listen)
	if err != nil || !loopback.Is(host) {
		return origins
	}
	for _, h := range listenHosts(host) {
		origins = append(origins, publicURL.Scheme+"://"+net.JoinHostPort(h, port))
	}
	return origins
}

// listenHosts returns the names that reach a listener on host: all names of the loopback for a loopback address,
// nothing for "any address", whose names only public_url tells.
func listenHosts(host string) []string {
	addr, err := netip.ParseAddr(host)
	switch {
	case loopback.Is(host):
		return []string{"localhost", "127.0.0.1", "::1"}
	case host == "" || err == nil && addr.IsUnspecified():
		return nil
	}
	return []string{host}
}
