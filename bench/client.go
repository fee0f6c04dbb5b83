package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// connection is one keep-alive connection of the load generator. It speaks HTTP/1.1 by hand so that it takes little of
// the core that it shares with the MCP server.
type connection struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
	body []byte
	out  []byte
	h2   *h2 // nil for HTTP/1.1
}

// reply is one HTTP answer. Its body is valid until the next one.
type reply struct {
	status  int
	body    []byte
	session string
	closing bool
}

func dial(addr string) (*connection, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return &connection{addr: addr, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}, nil
}

// dial connects as this subject is spoken to.
func (s *subject) dial() (*connection, error) {
	c, err := dial(s.addr)
	if err != nil || s.tls == nil {
		return c, err
	}
	secure := tls.Client(c.conn, s.tls)
	c.conn = secure
	if err := secure.Handshake(); err != nil {
		c.close()
		return nil, fmt.Errorf("TLS with %s: %w", s.addr, err)
	}
	s.handshakes.Add(1)
	if secure.ConnectionState().DidResume {
		s.resumed.Add(1)
	}
	if secure.ConnectionState().NegotiatedProtocol == "h2" {
		c.h2, err = newH2(secure)
	} else {
		c.in = bufio.NewReaderSize(secure, 64<<10)
	}
	return c, err
}

func (c *connection) close() { _ = c.conn.Close() }

// do sends one request and reads its answer. Each, unless nil, gets the data of events as they come.
func (c *connection) do(request []byte, each func(data []byte)) (reply, error) {
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return reply{}, err
	}
	if c.h2 != nil {
		return c.h2.do(request)
	}
	if _, err := c.conn.Write(request); err != nil {
		return reply{}, fmt.Errorf("send a request: %w", err)
	}
	return c.read(each)
}

func (c *connection) read(each func(data []byte)) (reply, error) {
	var r reply
	length, chunked := -1, false
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return r, fmt.Errorf("read an answer's head: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if first {
			if len(line) < 12 {
				return r, fmt.Errorf("status line %q", line)
			}
			if r.status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return r, fmt.Errorf("status line %q", line)
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return r, fmt.Errorf("content length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Mcp-Session-Id")):
			r.session = string(value)
		case bytes.EqualFold(name, []byte("Connection")):
			r.closing = bytes.EqualFold(value, []byte("close"))
		}
	}
	c.body = c.body[:0]
	var err error
	switch {
	case chunked:
		err = c.readChunks(each)
	case length > 0:
		c.body = append(c.body, make([]byte, length)...)
		_, err = io.ReadFull(c.in, c.body)
	case length < 0 && r.status != 202 && r.status != 204:
		err = errors.New("the answer has no length")
	}
	r.body = c.body
	return r, err
}

func (c *connection) readChunks(each func(data []byte)) error {
	seen := 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("read a chunk's size: %w", err)
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 32)
		if err != nil {
			return fmt.Errorf("chunk size %q", line)
		}
		at := len(c.body)
		c.body = append(c.body, make([]byte, size+2)...)
		if _, err := io.ReadFull(c.in, c.body[at:]); err != nil {
			return fmt.Errorf("read a chunk: %w", err)
		}
		c.body = c.body[:at+int(size)]
		if size == 0 {
			return nil
		}
		for each != nil {
			end := bytes.Index(c.body[seen:], []byte("\n\n"))
			if end < 0 {
				break
			}
			if _, data, ok := bytes.Cut(c.body[seen:seen+end], []byte("data: ")); ok {
				each(data)
			}
			seen += end + 2
		}
	}
}

func containsAny(b []byte, texts ...string) bool {
	for _, t := range texts {
		if bytes.Contains(b, []byte(t)) {
			return true
		}
	}
	return false
}

// person is one caller: a token, and a session where there are sessions.
type person struct {
	token   string
	session string
}

// call is one kind of request: which tool, how large, of which era.
type call struct {
	tool      string
	text      int // bytes of text in the arguments
	stateless bool
	copies    int // how often the text stands in an answer; 0 means once
}

// append writes a call as an HTTP request. The nonce comes back at both ends of the result.
func (k call) append(dst []byte, s *subject, p *person, id int64) []byte {
	params := fmt.Sprintf(`"params":{"name":"%s%s","arguments":{"nonce":"%016x"`, s.prefix, k.tool, id)
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":%d,"method":"tools/call",%s`, id, params)
	if k.text > 0 {
		fmt.Fprintf(&b, `,"text":"%016x`, id)
		b.Write(filler[:k.text-32])
		fmt.Fprintf(&b, `%016x"`, id)
	}
	b.WriteByte('}')
	meta := ""
	if k.tool == "progress" {
		meta = `"progressToken":` + strconv.FormatInt(id, 10)
	}
	if k.stateless {
		if meta != "" {
			meta += ","
		}
		meta += `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"}`
	}
	if meta != "" {
		b.WriteString(`,"_meta":{` + meta + `}`)
	}
	b.WriteString("}}")
	dst = p.head(dst, s, k, b.Len())
	return append(dst, b.Bytes()...)
}

var filler = bytes.Repeat([]byte("Please look up what the northern region sold. "), largeText/40)

// head writes the head of a POST.
func (p *person) head(dst []byte, s *subject, k call, length int) []byte {
	dst = append(dst, "POST "...)
	dst = append(dst, s.path(k.stateless)...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, s.addr...)
	dst = append(dst, "\r\nAuthorization: Bearer "...)
	dst = append(dst, p.token...)
	dst = append(dst, "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nUser-Agent: bench/1\r\n"...)
	if k.stateless {
		dst = append(dst, "Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: "...)
		dst = append(append(dst, s.prefix...), k.tool...)
		dst = append(dst, "\r\n"...)
	} else if p.session != "" {
		dst = append(dst, "Mcp-Protocol-Version: 2025-11-25\r\nMcp-Session-Id: "...)
		dst = append(append(dst, p.session...), "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(length), 10)
	return append(dst, "\r\n\r\n"...)
}

// check looks whether an answer is the one to this call, and whole.
func (k call) check(r reply, id int64) error {
	if r.status != 200 {
		return fmt.Errorf("status %d: %.300s", r.status, r.body)
	}
	want := 0
	switch k.tool {
	case "text":
		want = largeText * 9 / 10
	case "rows":
		want = largeText
	case "echo":
		want = k.text
	}
	nonce := fmt.Appendf(nil, "%016x", id)
	switch {
	case !bytes.Contains(r.body, fmt.Appendf(nil, `"id":%d,`, id)):
		return fmt.Errorf("the answer has another id than %d: %.300s", id, r.body)
	case len(r.body) < want:
		return fmt.Errorf("the answer has %d bytes, of at least %d", len(r.body), want)
	case bytes.Count(r.body, nonce) != 2*max(1, k.copies):
		return fmt.Errorf("the answer is not whole, or another's: %.300s", r.body)
	}
	return nil
}
