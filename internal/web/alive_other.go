//go:build !unix

package web

import "net"

// alive is for systems on which an idle connection cannot be looked at: none is used a second time.
func alive(net.Conn) bool { return false }
