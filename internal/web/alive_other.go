//go:build !unix

package web

import "net"

// alive is for systems on which an idle connection cannot be looked at: none is used again after a rest.
func alive(net.Conn) bool { return false }
