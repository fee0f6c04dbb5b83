package authserver

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const maxRedirectURI = 512

// matchRedirect finds the registered URI that allows this one. The comparison is of strings (RFC 9700 §2.1), except
// that the port is free when both are http on the same loopback host (RFC 8252 §7.3).
func matchRedirect(registered []string, asked string) bool {
	if slices.Contains(registered, asked) {
		return true
	}
	host, rest, ok := splitLoopback(asked)
	if !ok {
		return false
	}
	return slices.ContainsFunc(registered, func(uri string) bool {
		h, r, ok := splitLoopback(uri)
		return ok && h == host && r == rest
	})
}

// splitLoopback splits http://HOST[:PORT]REST when HOST is one of the three spellings of loopback. These are not
// interchangeable: who listens on one of them need not own the others.
func splitLoopback(uri string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(uri, "http://")
	if !ok || strings.ContainsAny(uri, "#\\") {
		return "", "", false
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		rest, found := strings.CutPrefix(after, host)
		if !found {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			digits := len(port) - len(strings.TrimLeft(port, "0123456789"))
			if n, err := strconv.Atoi(port[:digits]); err != nil || n < 1 || n > 65535 {
				return "", "", false
			}
			rest = port[digits:]
		}
		if rest == "" || rest[0] == '/' || rest[0] == '?' {
			return host, rest, true
		}
	}
	return "", "", false
}

// checkRedirect says what is wrong with a redirect URI that a client wants to register (checklist 1), if anything.
func checkRedirect(uri string, schemes []string) error {
	if len(uri) > maxRedirectURI {
		return fmt.Errorf("a redirect URI is longer than %d characters", maxRedirectURI)
	}
	for _, c := range []byte(uri) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`\"<>^{|}*`, c) >= 0 {
			return fmt.Errorf("a redirect URI has a character that is not allowed there, or a wildcard")
		}
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || !u.IsAbs():
		return fmt.Errorf("a redirect URI is not an absolute URI")
	case strings.Contains(uri, "#"):
		return fmt.Errorf("a redirect URI has a fragment")
	case u.User != nil:
		return fmt.Errorf("a redirect URI has a user name")
	}
	switch {
	case strings.HasPrefix(uri, "https://"):
		return checkPublicHost(u)
	case strings.HasPrefix(uri, "http://"):
		if _, _, ok := splitLoopback(uri); !ok {
			return fmt.Errorf("a redirect URI is http but not on localhost, 127.0.0.1 or [::1]")
		}
		return nil
	case !slices.Contains(schemes, u.Scheme) || !strings.HasPrefix(uri, u.Scheme+":"):
		return fmt.Errorf("a redirect URI has a scheme that is not allowed here")
	}
	return nil
}

// checkPublicHost refuses hosts that are addresses of private networks, in any spelling that a browser takes for one.
func checkPublicHost(u *url.URL) error {
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.Zone() != "" || !isPublic(addr) {
			return fmt.Errorf("a redirect URI names a private address")
		}
		return nil
	}
	if host == "" || strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return fmt.Errorf("a redirect URI has no proper host name")
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	last := strings.ToLower(labels[len(labels)-1])
	if strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x") {
		return nil
	}
	// What ends in a number is an IPv4 address to a browser (WHATWG URL §3.5); only the plain form is accepted.
	addr, err := netip.ParseAddr(host)
	if err != nil || !isPublic(addr) {
		return fmt.Errorf("a redirect URI names a private address")
	}
	return nil
}

func isPublic(addr netip.Addr) bool {
	addr = addr.Unmap()
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr)
}

// withParams adds response parameters to a redirect URI, keeping its own query as it is.
func withParams(uri string, params url.Values) string {
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
	}
	return uri + separator + params.Encode()
}

// redirectHost is what the consent page shows of a redirect URI: where the person's browser goes next.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return uri
	case u.Scheme != "http" && u.Scheme != "https":
		return u.Scheme + ":" // an application on this device
	}
	return u.Host
}
