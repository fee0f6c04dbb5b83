package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"gatehouse/internal/httpd"
)

// longAgo makes reads and writes that are under way fail.
var longAgo = time.Unix(1, 0)

// answer is a response with its body, in one allocation.
type answer struct {
	http.Response
	body wireBody
}

// exchange sends the request that stands in c.out, and reads the head of its answer.
func (c *wireConn) exchange(w *wire, h *wireHost, req *http.Request) (resp *http.Response, err error) {
	ctx := req.Context()
	watching := c.watch(ctx)
	defer func() {
		if err != nil {
			watching.stop()
		}
	}()
	c.unsent, c.sent, c.cut = c.out, false, nil
	switch _, err := c.in.Peek(1); { // calls c.Read, which sends the request
	case err != nil && !c.sent:
		return nil, fmt.Errorf("send the request: %w", err)
	case err != nil:
		return nil, errors.Join(c.cut, fmt.Errorf("the connection ended without an answer: %w", unexpected(err)))
	}
	a := &answer{body: wireBody{w: w, h: h, c: c, ctx: ctx, watch: watching, left: -1}}
	var head httpd.Head
	if err := c.readHead(req, &a.Response, &head); err != nil {
		return nil, errors.Join(c.cut, fmt.Errorf("read the answer: %w", err))
	}
	if err := a.body.frame(&a.Response, &head); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	a.body.keepAlive = a.body.keepAlive && c.cut == nil
	a.Body = &a.body
	if a.body.left == 0 && a.body.chunks == nil {
		a.body.finish(nil)
		a.Body = http.NoBody
	}
	return &a.Response, nil
}

// appendHTTP appends the whole request as it goes over the wire, head and body.
func appendHTTP(dst []byte, req *http.Request) ([]byte, error) {
	if head := writtenHead(req); head != nil {
		dst = append(dst, head...)
	} else {
		var err error
		if dst, err = appendHead(dst, req); err != nil {
			return dst, err
		}
	}
	if req.Body == nil || req.Body == http.NoBody {
		return append(dst, "\r\n"...), nil
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, req.ContentLength, 10)
	dst = append(dst, "\r\n\r\n"...)
	at := len(dst)
	for int64(len(dst)-at) < req.ContentLength {
		dst = slices.Grow(dst, int(req.ContentLength)-(len(dst)-at))
		n, err := req.Body.Read(dst[len(dst) : at+int(req.ContentLength)])
		dst = dst[:len(dst)+n]
		if err != nil && int64(len(dst)-at) < req.ContentLength {
			return dst, fmt.Errorf("send a request: read its body: %w", err)
		}
	}
	return dst, nil
}

// maxInterim is how many answers with a status of 1xx may come before the answer. Usual servers send one at most.
const maxInterim = 100

// readHead reads the head of the answer, behind any 1xx ones (RFC 9112 §2 to §6).
func (c *wireConn) readHead(req *http.Request, resp *http.Response, head *httpd.Head) error {
	for range maxInterim + 1 {
		if err := c.head(resp, head); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return errors.New("the server changes the protocol, which nobody asked for")
		}
		if resp.StatusCode >= 200 {
			resp.Request = req
			return nil
		}
	}
	return fmt.Errorf("it comes behind more than %d provisional ones", maxInterim)
}

// head reads one head.
func (c *wireConn) head(resp *http.Response, head *httpd.Head) error {
	// Nearly always the whole head came with the first read, and stands in the buffer.
	if b, err := c.in.Peek(c.in.Buffered()); err == nil {
		if n, err := parseHead(&c.lines, b, resp, head); n > 0 || err != nil {
			_, _ = c.in.Discard(n)
			return err
		}
	}
	var text []byte
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return unexpected(err)
		}
		if len(text)+len(line) > maxResponseHeader {
			return fmt.Errorf("its head is longer than %d bytes", maxResponseHeader)
		}
		if string(line) == "\r\n" && (bytes.HasSuffix(text, line) || len(text) == 0) {
			n, err := parseHead(&c.lines, append(text, line...), resp, head)
			if n == 0 && err == nil {
				err = errors.New("it begins with an empty line")
			}
			return err
		}
		text = append(text, line...)
		if err == nil && !bytes.HasSuffix(text, []byte("\r\n")) { // its end would be waited for in vain
			return errors.New("a line of its head does not end with CR LF")
		}
	}
}

// parseHead reads status line and headers into resp and head. It returns how many bytes they take, or 0 when they have not all
// come.
func parseHead(lines *httpd.Lines, buf []byte, resp *http.Response, head *httpd.Head) (n int, err error) {
	if n, err = lines.Read(buf, head); n == 0 || err != nil {
		return 0, err
	}
	line := head.First
	if len(line) < 12 || line[:7] != "HTTP/1." || line[8] != ' ' || len(line) > 12 && line[12] != ' ' || !httpd.ValidValue(line) {
		return 0, fmt.Errorf("its status line is %.64q", line)
	}
	status, err := strconv.Atoi(line[9:12])
	if err != nil || status < 100 || line[7] != '0' && line[7] != '1' {
		return 0, fmt.Errorf("its status line is %.64q", line)
	}
	resp.Status, resp.StatusCode = line[9:], status
	resp.Proto, resp.ProtoMajor, resp.ProtoMinor = line[:8], 1, int(line[7]-'0')
	resp.Header, resp.ContentLength = head.Header, -1
	return n, nil
}

// frame finds out how long the body is (RFC 9112 §6.3). An answer that gives its length in two ways is refused: a proxy in
// between might go by the other one.
func (b *wireBody) frame(resp *http.Response, head *httpd.Head) error {
	b.keepAlive = resp.ProtoMinor == 1
	if httpguts.HeaderValuesContainsToken(head.Connection, "close") {
		b.keepAlive, resp.Close = false, true
	}
	lengths, codings := head.Lengths, head.Codings
	switch {
	case len(codings) > 0 && (len(lengths) > 0 || resp.ProtoMinor == 0):
		return errors.New("it says its length in two ways")
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return fmt.Errorf("its transfer coding is %.64q", codings)
	}
	for i, l := range lengths {
		n, err := strconv.ParseUint(l, 10, 62)
		if err != nil || i > 0 && int64(n) != b.left {
			return fmt.Errorf("its content length is %.64q", lengths)
		}
		b.left = int64(n)
	}
	switch {
	case resp.Request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified:
		b.left = 0
	case len(codings) == 1:
		resp.TransferEncoding = codings
		b.chunks = httputil.NewChunkedReader(b.c.in)
	case b.left < 0:
		b.keepAlive = false
	}
	if b.chunks == nil {
		resp.ContentLength = b.left
	}
	return nil
}

// skipTrailer reads what follows the last chunk; nobody here wants trailers.
func (c *wireConn) skipTrailer() error {
	for n := 0; ; {
		line, err := c.in.ReadSlice('\n')
		if n += len(line); err != nil || n > maxResponseHeader {
			return fmt.Errorf("read the end of the answer: %w", unexpected(err))
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return nil
		}
	}
}

func unexpected(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
