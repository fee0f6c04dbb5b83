package httpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

type bodyState uint8

const (
	bodyOpen bodyState = iota
	bodyDone
	bodyBroken
)

// body is a request's body. The handler reads it; once the handler has returned, the server reads what is left.
type body struct {
	c *conn

	mu       sync.Mutex // guards what follows: a goroutine of the handler may still read after the handler has returned
	state    bodyState
	closed   bool
	expected bool    // the client sent "Expect: 100-continue" and waits for "100 Continue" before it sends the body
	answered bool    // the answer has begun, so "100 Continue" is not sent any more
	left     int64   // bytes that were not read yet, when the length is known
	chunks   *chunks // nil when the length is known
}

// chunks reads a body with the transfer coding chunked.
type chunks struct {
	io.Reader               // the decoder
	in        *bufio.Reader // what the decoder reads from
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.read(p)
}

// read is Read for the server, too, which may read a body that the handler has closed. It needs b.mu.
func (b *body) read(p []byte) (int, error) {
	switch b.state {
	case bodyDone:
		return 0, io.EOF
	case bodyBroken:
		return 0, io.ErrUnexpectedEOF
	}
	if b.expected {
		b.expected = false
		if b.answered {
			b.state = bodyBroken
			return 0, io.ErrUnexpectedEOF
		}
		_ = b.c.nc.SetWriteDeadline(time.Now().Add(b.c.s.o.StallTimeout)) // that of the answer before may be over
		if _, err := io.WriteString(b.c.nc, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			b.state = bodyBroken
			return 0, err
		}
	}
	n, err := b.some(p)
	switch {
	case errors.Is(err, io.EOF):
		b.state = bodyDone
		b.c.bodyRead()
	case err != nil:
		b.state = bodyBroken
	}
	return n, err
}

// some reads a part of the body. It returns io.EOF only at the end of the body; a connection that ends before that is
// io.ErrUnexpectedEOF.
func (b *body) some(p []byte) (int, error) {
	if b.chunks != nil {
		n, err := b.chunks.Reader.Read(p)
		if err == io.EOF {
			if err := b.skipTrailer(); err != nil {
				return n, err
			}
		}
		return n, err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.c.readSome(p)
	if b.left -= int64(n); b.left == 0 {
		return n, io.EOF
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// maxTrailer bounds what follows the last chunk; nobody here wants trailers.
const maxTrailer = 4 << 10

// skipTrailer reads to the end of the message, and gives what was read beyond it back to the connection.
func (b *body) skipTrailer() error {
	for n := 0; ; {
		line, err := b.chunks.in.ReadSlice('\n')
		if n += len(line); err != nil || n > maxTrailer || !bytes.HasSuffix(line, []byte("\r\n")) {
			return errors.New("the trailer of the request is malformed")
		}
		if len(line) == 2 {
			break
		}
		if name, value, ok := strings.Cut(string(line[:len(line)-2]), ":"); !ok || !ValidName(name) || !ValidValue(trim(value)) {
			return errors.New("the trailer of the request is malformed")
		}
	}
	rest, _ := b.chunks.in.Peek(b.chunks.in.Buffered())
	b.c.unread(rest)
	return nil
}

// Close implements io.Closer. The server itself reads what is left.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// discard reads what the handler left, and reports whether the next request begins behind it. A client that waits to
// be told to send its body has not sent it, so nothing is known about what comes next.
func (b *body) discard() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == bodyDone {
		return true
	}
	if b.state == bodyBroken || b.expected || b.chunks == nil && b.left > maxDiscard {
		return false
	}
	if b.arrived() { // it has a length, and all of it is in the buffer
		b.c.r += int(b.left)
		b.left, b.state = 0, bodyDone
		return true
	}
	_ = b.c.readTill(time.Now().Add(b.c.s.o.HeaderTimeout))
	var scrap [4 << 10]byte
	for total := 0; total <= maxDiscard; {
		n, err := b.read(scrap[:])
		total += n
		if err != nil {
			return b.state == bodyDone
		}
	}
	return false
}

// complete reports whether the whole body has arrived already. While another goroutine reads, that cannot be told, and it
// reports false.
func (b *body) complete() bool {
	if !b.mu.TryLock() {
		return false
	}
	defer b.mu.Unlock()
	return b.arrived()
}

// answer notes that the answer begins, and reports whether the connection has to end with it, because what the client
// still has to send is not waited for.
func (b *body) answer() (end bool) {
	if !b.mu.TryLock() {
		return true // another goroutine is in a read, which may take for ever
	}
	defer b.mu.Unlock()
	b.answered = true
	return b.expected || !b.arrived() && b.left > maxDiscard
}

// arrived reports whether what is left of the body is in the connection's read buffer. It needs b.mu.
func (b *body) arrived() bool {
	return b.state == bodyDone || b.chunks == nil && int64(b.c.w-b.c.r) >= b.left
}

// readSome reads from the buffer, and from the connection when that is empty.
func (c *conn) readSome(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	return c.nc.Read(p)
}

// unread puts bytes in front of what is in the buffer.
func (c *conn) unread(p []byte) {
	if len(p) == 0 {
		return
	}
	c.buf = append(append(make([]byte, 0, len(p)+max(firstBuffer, c.w-c.r)), p...), c.buf[c.r:c.w]...)
	c.r, c.w = 0, len(c.buf)
	c.buf = c.buf[:cap(c.buf)]
}

// rawReader is the connection as the reader of chunks sees it.
type rawReader struct{ c *conn }

// Read implements io.Reader.
func (r rawReader) Read(p []byte) (int, error) { return r.c.readSome(p) }
