// Package loopback knows which hosts are this very machine: those with which plain http is no danger.
package loopback

import (
	"net/netip"
	"strings"
)

// Is reports whether a host name or address, without port and brackets, is this machine and no other.
func Is(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}
