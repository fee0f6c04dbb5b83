//go:build unix

package web

import (
	"io"
	"net"
	"os"
	"syscall"
)

// raw is the socket of a connection, for two things that net.Conn cannot do: look whether something has come without reading
// it (alive), and send a request without trying to read at once (swap). It is used by one exchange at a time.
type raw struct {
	conn syscall.RawConn
	look func(fd uintptr)      // doLook, as a value that is made once
	turn func(fd uintptr) bool // doTurn, likewise

	quiet bool // what doLook found: the connection is open, and nothing has come

	// Arguments and results of the swap under way.
	begun bool   // doTurn has been called for the first time
	out   []byte // what is left to be sent
	in    []byte // where the answer goes
	n     int    // how many bytes of it have come
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

// alive reports whether an idle connection is still open and the server has sent nothing. Most often, what a server sends on
// an idle connection is its end.
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

// swap sends a request, waits for its answer, and reads the beginning of that into in; n is how much. Of a request that does
// not fit into the socket's buffer it sends a part, and returns at once what is left. First it looks whether the connection is
// still good, as alive does: errUseless says that it is not, and that nothing was sent.
//
// The point is to save a system call: net.Conn.Read, called right after a Write, would try to read before anything can have
// come. Here, all happens within one RawConn.Read, which calls doTurn (a turn), waits until the socket is readable, and calls
// doTurn again. No wake-up is lost between the turns: RawConn.Read resets its readiness before the first turn, so whatever
// comes later wakes it, and whatever came earlier is seen by the look. The socket is not closed during a turn, and nobody
// else writes, because one exchange has the connection to itself.
func (r *raw) swap(out, in []byte) (n int, left []byte, err error) {
	r.begun, r.out, r.in, r.n, r.err = false, out, in, 0, nil
	if err = r.conn.Read(r.turn); err == nil {
		err = r.err
	}
	n, left = r.n, r.out
	r.out, r.in = nil, nil
	return n, left, err
}

// doTurn looks and sends at the first turn, and reads at the later ones. When it reports false, RawConn.Read waits until there
// is something to read, and calls it again.
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
