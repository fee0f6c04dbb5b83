package web

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// Fence is the rule on which addresses an outgoing request may reach. It is checked when dialling, on the address
// itself, so that neither a name that changes its address nor a redirect gets around it.
type Fence uint8

const (
	// FencePublic is for URLs that clients or targets supply: https to public unicast addresses only.
	FencePublic Fence = iota + 1
	// FenceAdmin is for URLs that the administrator wrote: private and loopback addresses too, but never the
	// link-local ones, where clouds keep the machine's credentials.
	FenceAdmin
)

// ErrFenced means that a fence refused an address or a URL.
var ErrFenced = errors.New("address is not allowed")

// control is the Control hook of net.Dialer: it sees the address after name resolution, before any packet is sent.
func (f Fence) control(network, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || (network != "tcp4" && network != "tcp6") {
		return fmt.Errorf("%w: %s %s", ErrFenced, network, address)
	}
	return f.check(ap.Addr())
}

func (f Fence) check(a netip.Addr) error {
	a = a.WithZone("")
	allowed := false
	switch f {
	case FencePublic:
		allowed = isPublic(a)
	case FenceAdmin:
		allowed = !isMetadata(a) && !a.IsUnspecified() && !a.IsMulticast()
	}
	if !allowed {
		return fmt.Errorf("%w: %s", ErrFenced, a)
	}
	return nil
}

// isPublic reports whether a is globally reachable unicast: the IANA special-purpose registries (RFC 6890) leave it
// out, and it carries no IPv4 address inside, which could name a place that is not.
func isPublic(a netip.Addr) bool {
	if a.Is4In6() || !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	if a.Is4() {
		return !within(a, specialIPv4()) && !isMetadata(a)
	}
	return netip.MustParsePrefix("2000::/3").Contains(a) && !within(a, specialIPv6()) && !isMetadata(a)
}

// isMetadata reports whether a is where a cloud answers with the machine's credentials: the link-local ranges and the
// fixed addresses of AWS, Google, Alibaba, Oracle and Azure, also when written as an IPv6 form of an IPv4 address.
func isMetadata(a netip.Addr) bool {
	a = embeddedIPv4(a)
	return a.IsLinkLocalUnicast() || within(a, []string{"fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "192.0.0.192/32", "168.63.129.16/32"})
}

// embeddedIPv4 returns the IPv4 address inside an IPv4-mapped, IPv4-compatible, NAT64 (RFC 6052, RFC 8215) or 6to4
// (RFC 3056) address, and every other address as it is.
func embeddedIPv4(a netip.Addr) netip.Addr {
	if a.Is4() || a.Is4In6() {
		return a.Unmap()
	}
	b := a.As16()
	switch {
	case within(a, []string{"64:ff9b::/96", "64:ff9b:1::/48", "::/96"}) && !a.IsLoopback() && !a.IsUnspecified():
		return netip.AddrFrom4([4]byte(b[12:]))
	case within(a, []string{"2002::/16"}):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

func specialIPv4() []string {
	return []string{
		"0.0.0.0/8",       // this network
		"100.64.0.0/10",   // carrier-grade NAT
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"240.0.0.0/4",     // reserved, broadcast
	}
}

// specialIPv6 lists what lies inside 2000::/3; everything outside is not public to begin with, NAT64 included.
func specialIPv6() []string {
	return []string{
		"2001::/23",     // protocol assignments, Teredo among them
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4
		"3fff::/20",     // documentation
	}
}

func within(a netip.Addr, prefixes []string) bool {
	for _, p := range prefixes {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}
