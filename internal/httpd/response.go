package httpd

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Sizes of what is gathered before it is written.
const (
	maxPending = 4 << 10  // of a body whose length is not known yet
	maxOut     = 16 << 10 // of head and body in one write
)

// response is the http.ResponseWriter of one request. What is written is gathered in the connection's out and pending, so
// that a usual answer leaves in one write. As with every ResponseWriter, it must not be used once the handler has returned.
type response struct {
	c        *conn
	x        *exchange
	defaults *Defaults // nil for none
	status   int       // 0 until WriteHeader

	length   int64 // Content-Length as the handler set it; -1 when it did not
	written  int64 // bytes of the body so far, sent or not
	framed   bool  // the head is complete, in c.out or sent
	chunked  bool
	bodiless bool  // HEAD, 204, 304
	typed    bool  // the handler set Content-Type or Content-Encoding
	close    bool  // the connection ends with this answer
	err      error // the first error of a write
}

func (w *response) begin(c *conn, x *exchange) {
	w.c, w.x, w.length = c, x, -1
	if c.header == nil {
		c.header = make(http.Header, 8) // up to 8 entries, Go has a cheaper kind of map
	}
	clear(c.header)
}

// Peer is that of the request's RemoteAddr.
func (w *response) Peer() netip.Addr { return w.c.peer }

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.c.header }

// WriteHeader implements http.ResponseWriter. The headers count as they are now.
func (w *response) WriteHeader(status int) {
	c, r := w.c, &w.x.request
	if w.status != 0 {
		c.s.o.Log.Warn("a handler wrote its head twice", "path", r.URL.Path, "status", status)
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid status %d", status))
	}
	if status < 200 {
		w.informational(status)
		return
	}
	w.status = status
	w.close = r.Close || c.s.stopping.Load()
	w.bodiless = r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	c.out = appendStatus(c.out[:0], status)
	c.out = append(c.out, "Date: "...)
	c.out = append(c.s.appendDate(c.out, c.began), "\r\n"...)
	said := false // something of the defaults
	for name, values := range c.header {
		said = said || w.defaults != nil && slices.Contains(w.defaults.names, name)
		switch name {
		case "Connection":
			w.close = w.close || httpguts.HeaderValuesContainsToken(values, "close")
			continue
		case "Transfer-Encoding", "Trailer", "Date":
			continue // said by the server alone
		case "Content-Length":
			if n, err := strconv.ParseUint(values[0], 10, 62); err == nil && status != http.StatusNoContent {
				w.length = int64(n)
			}
			continue
		case "Content-Type", "Content-Encoding":
			w.typed = true
		}
		c.out = appendHeader(c.out, name, values)
	}
	switch {
	case said:
		c.out = w.defaults.append(c.out, c.header)
	case w.defaults != nil:
		c.out = append(c.out, w.defaults.all...)
	}
	w.close = w.x.body.answer() || w.close
}

func appendStatus(dst []byte, status int) []byte {
	if status == http.StatusOK {
		return append(dst, "HTTP/1.1 200 OK\r\n"...)
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(append(dst, ' '), http.StatusText(status)...)
	return append(dst, "\r\n"...)
}

// appendHeader writes a header. What a value holds cannot begin another one.
func appendHeader(dst []byte, name string, values []string) []byte {
	if !ValidName(name) {
		return dst
	}
	for _, v := range values {
		dst = append(append(dst, name...), ": "...)
		if !ValidValue(v) {
			v = strings.NewReplacer("\r", " ", "\n", " ").Replace(v)
		}
		dst = append(append(dst, v...), "\r\n"...)
	}
	return dst
}

// informational writes a 1xx answer, with the headers as they are now.
func (w *response) informational(status int) {
	if w.x.request.ProtoMinor == 0 || status == http.StatusSwitchingProtocols {
		return
	}
	c := w.c
	c.out = appendStatus(c.out[:0], status)
	for name, values := range c.header {
		if name != "Content-Length" && name != "Transfer-Encoding" && name != "Connection" {
			c.out = appendHeader(c.out, name, values)
		}
	}
	c.out = append(c.out, "\r\n"...)
	w.flushOut()
}

// frame completes the head with what depends on the body: its length (-1 when nobody knows it), its type if the handler set
// none, and whether the connection ends after it.
func (w *response) frame(length int64) {
	if w.framed {
		return
	}
	w.framed = true
	c := w.c
	if !w.typed && len(c.pending) > 0 {
		c.out = append(append(append(c.out, "Content-Type: "...), http.DetectContentType(c.pending)...), "\r\n"...)
	}
	switch {
	case w.status == http.StatusNoContent || w.status == http.StatusNotModified:
	case length >= 0:
		c.out = append(c.out, "Content-Length: "...)
		c.out = append(strconv.AppendInt(c.out, length, 10), "\r\n"...)
	case w.bodiless:
	case w.x.request.ProtoMinor == 0:
		w.close = true // the body runs to the end of the connection
	default:
		w.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if w.close {
		c.out = append(c.out, "Connection: close\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.status == http.StatusNoContent || w.status == http.StatusNotModified:
		return 0, http.ErrBodyNotAllowed
	case w.bodiless:
		w.written += int64(len(p))
		return len(p), nil
	case w.length >= 0 && w.written+int64(len(p)) > w.length:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.length < 0 && !w.framed && len(w.c.pending)+len(p) <= maxPending {
		w.c.pending = append(w.c.pending, p...)
		return len(p), nil
	}
	if !w.typed && w.length >= 0 && !w.framed && len(p) > 0 {
		w.typed = true
		w.c.out = append(append(append(w.c.out, "Content-Type: "...), http.DetectContentType(p)...), "\r\n"...)
	}
	w.frame(w.length)
	w.emitPending()
	w.emit(p)
	if w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// WriteParts writes a whole body that stands in several slices. A body that is larger than maxOut goes to the connection
// from where it stands, without being copied together first.
func (w *response) WriteParts(parts ...[]byte) (int, error) {
	total := 0
	for _, p := range parts {
		total += len(p)
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.length < 0 && w.written == 0 {
		w.length = int64(total)
	}
	if w.framed || w.bodiless || !w.typed || w.length != int64(total) || total <= maxOut {
		for _, p := range parts {
			if _, err := w.Write(p); err != nil {
				return 0, err
			}
		}
		return total, nil
	}
	w.written = w.length
	w.frame(w.length)
	w.writeAll(w.c.out, parts...)
	w.c.out = w.c.out[:0]
	return total, w.err
}

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

func (w *response) emitPending() {
	if len(w.c.pending) > 0 {
		w.emit(w.c.pending)
		w.c.pending = w.c.pending[:0]
	}
}

// emit appends a part of the body to c.out. If the two together are larger than maxOut, it writes both.
func (w *response) emit(p []byte) {
	if len(p) == 0 {
		return
	}
	c := w.c
	if w.chunked {
		c.out = append(strconv.AppendInt(c.out, int64(len(p)), 16), "\r\n"...)
	}
	if len(c.out)+len(p) <= maxOut {
		c.out = append(c.out, p...)
	} else {
		w.writeAll(c.out, p)
		c.out = c.out[:0]
	}
	if w.chunked {
		c.out = append(c.out, "\r\n"...)
	}
}

// Flush implements http.Flusher.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is what http.ResponseController looks for.
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.frame(w.length)
	w.emitPending()
	w.flushOut()
	return w.err
}

func (w *response) flushOut() {
	c := w.c
	if len(c.out) > 0 {
		w.writeAll(c.out)
		c.out = c.out[:0]
	}
}

// writeAll writes all parts in one system call where it can. After a failure nothing more is written, and the request's
// context ends, because its client has gone.
func (w *response) writeAll(first []byte, more ...[]byte) {
	if w.err != nil {
		return
	}
	c := w.c
	c.wrote = time.Now()
	if stall := c.s.o.StallTimeout; mustRenew(c.limit.Sub(c.wrote), stall) {
		c.limit = c.wrote.Add(stall)
		_ = c.nc.SetWriteDeadline(c.limit)
	}
	write := func() error {
		parts := append(net.Buffers{first}, more...)
		_, err := parts.WriteTo(c.nc)
		return err
	}
	switch {
	case len(more) == 0:
		_, w.err = c.nc.Write(first)
	case c.gather != nil:
		w.err = c.gather.together(write)
	default:
		w.err = write()
	}
	if w.err != nil {
		w.x.ctx.Cancel(nil)
	}
}

// BodyArrived reports whether the whole body of the request is here already.
func (w *response) BodyArrived() bool { return w.x.body.complete() }

// SetReadDeadline is what http.ResponseController looks for. There is nothing to limit once the body has arrived.
func (w *response) SetReadDeadline(t time.Time) error {
	if w.x.body.complete() {
		return nil
	}
	return w.c.readTill(t)
}

// EnableFullDuplex is what http.ResponseController looks for: reading and writing never wait for each other here.
func (w *response) EnableFullDuplex() error { return nil }

// finish completes the answer after the handler has returned, and reports whether the connection can take another
// request.
func (x *exchange) finish() bool {
	w, c := &x.response, x.response.c
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.framed {
		length := w.length
		if length < 0 && (!w.bodiless || w.written > 0) {
			length = w.written
		}
		w.frame(length)
		w.emitPending()
	}
	if w.chunked {
		c.out = append(c.out, "0\r\n\r\n"...)
	}
	w.flushOut()
	short := w.length >= 0 && w.written < w.length && !w.bodiless
	if w.err != nil || short {
		return false
	}
	if !x.body.discard() {
		c.linger()
		return false
	}
	if w.close {
		c.linger()
		return false
	}
	return true
}

var _ interface {
	http.ResponseWriter
	http.Flusher
	io.StringWriter
} = (*response)(nil)
