//go:build unix

package web

import (
	"crypto/tls"
	"net"
	"syscall"
)

// probe looks at an idle connection. One that cannot be looked at has none.
type probe struct {
	raw  syscall.RawConn
	look func(fd uintptr)
	open bool // what look found
}

func newProbe(conn net.Conn) *probe {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	s, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	p := &probe{raw: raw}
	p.look = func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.open = n < 0 && (err == syscall.EAGAIN || err == syscall.EWOULDBLOCK)
	}
	return p
}

// alive reports whether the connection is still open. Anything that the server sent unasked, its good-bye above all,
// makes it useless.
func (p *probe) alive() bool {
	if p == nil {
		return false
	}
	p.open = false
	return p.raw.Control(p.look) == nil && p.open
}
