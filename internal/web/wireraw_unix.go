//go:build unix

package web

import (
	"io"
	"net"
	"os"
	"syscall"
)

// raw is the descriptor of a connection, for what net.Conn cannot do. A connection that has none is used once.
type raw struct {
	conn syscall.RawConn
	look func(fd uintptr)      // finds out whether it is quiet
	turn func(fd uintptr) bool // of swap

	quiet bool

	// For the turns of swap.
	begun bool   // the first turn has been
	out   []byte // what is left to be sent
	in    []byte
	n     int // how much has come
	err   error
}

func newRaw(conn net.Conn) *raw {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = wrapped.NetConn()
	}
	s, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	r := &raw{conn: rc}
	r.look, r.turn = r.doLook, r.doTurn
	return r
}

// alive reports whether an idle connection is still open. Anything that the server sent unasked, its good-bye above all,
// makes it useless.
func (r *raw) alive() bool {
	if r == nil {
		return false
	}
	r.quiet = false
	return r.conn.Control(r.look) == nil && r.quiet
}

func (r *raw) doLook(fd uintptr) {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	r.quiet = n < 0 && wouldBlock(err)
}

// swap sends a request and waits for its answer, of which it reads the beginning. Of a request that does not fit it sends
// a part, and returns what is left of it at once. The connection is looked at first, as alive does: errUseless says that it
// is useless, and that nothing was sent.
//
// It does so in one go, because net.Conn would look for the answer as soon as the request is out, a system call that finds
// nothing. That nothing is missed meanwhile: RawConn.Read forgets what it knows of the connection before the first turn,
// so that whatever comes from then on wakes it, and what came before is seen by the look. The descriptor is not closed
// during a turn, and nobody else writes, for one exchange has the connection to itself.
func (r *raw) swap(out, in []byte) (n int, left []byte, err error) {
	r.begun, r.out, r.in, r.n, r.err = false, out, in, 0, nil
	if err = r.conn.Read(r.turn); err == nil {
		err = r.err
	}
	n, left = r.n, r.out
	r.out, r.in = nil, nil
	return n, left, err
}

// doTurn sends at the first turn and reads at the others. When it reports false, RawConn.Read waits until there is
// something to be read.
func (r *raw) doTurn(fd uintptr) (done bool) {
	if r.begun {
		return r.receive(int(fd))
	}
	r.begun = true
	if r.doLook(fd); !r.quiet {
		r.err = errUseless
		return true
	}
	n, err := uninterrupted(syscall.Write, int(fd), r.out)
	switch {
	case n > 0:
		r.out = r.out[n:]
	case !wouldBlock(err):
		r.err = os.NewSyscallError("write", err)
	}
	return r.err != nil || len(r.out) > 0
}

func (r *raw) receive(fd int) (done bool) {
	n, err := uninterrupted(syscall.Read, fd, r.in)
	switch {
	case n > 0:
		r.n = n
	case n == 0:
		r.err = io.EOF
	case wouldBlock(err):
		return false
	default:
		r.err = os.NewSyscallError("read", err)
	}
	return true
}

// uninterrupted repeats what a signal interrupted.
func uninterrupted(do func(fd int, p []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		n, err := do(fd, p)
		if err != syscall.EINTR { //nolint:errorlint // the number itself, which nothing wraps
			return n, err
		}
	}
}

func wouldBlock(err error) bool {
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK //nolint:errorlint // the number itself, which nothing wraps
}
