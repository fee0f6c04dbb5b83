package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of what the tools return.
const (
	smallText = 1 << 10
	largeText = 100 << 10
	progress  = 20
)

// stub is an MCP server that costs as little as possible, so that what is measured is the gateway. It speaks HTTP/1.1 by
// hand, has no state, and serves one era.
type stub struct {
	listener  net.Listener
	stateless bool
	once      bool          // each connection ends with its first answer
	tools     int           // how many a list has, beside those that are called
	gap       time.Duration // between progress events

	connections atomic.Int64 // accepted so far
	resumed     atomic.Int64 // of them, those that resumed a TLS session
	calls       atomic.Int64 // tools/call so far

	text, rows []byte // the large results, with room for a nonce at both ends

	mu   sync.Mutex // guards open
	open map[net.Conn]bool

	tls *tls.Config // nil for plain HTTP
}

func startStub(stateless bool, tools int) (*stub, error) {
	s := &stub{stateless: stateless, tools: tools}
	return s, s.start()
}

func (s *stub) start() (err error) {
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("start the MCP server: %w", err)
	}
	s.gap, s.text, s.rows, s.open = 5*time.Millisecond, prose(largeText), rows(largeText), map[net.Conn]bool{}
	go s.accept(s.listener)
	return nil
}

func (s *stub) addr() string { return s.listener.Addr().String() }

func (s *stub) close() { _ = s.listener.Close() }

func (s *stub) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.connections.Add(1)
		s.mu.Lock()
		s.open[conn] = true
		s.mu.Unlock()
		go func() {
			defer func() {
				_ = conn.Close()
				s.mu.Lock()
				delete(s.open, conn)
				s.mu.Unlock()
			}()
			if s.tls != nil {
				s.serveTLS(conn)
			} else {
				s.serve(conn)
			}
		}()
	}
}

func (s *stub) serve(conn net.Conn) {
	in := bufio.NewReaderSize(conn, 16<<10)
	var body, out []byte
	for {
		method, length, err := readHead(in)
		if err != nil {
			return
		}
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		if method != "POST" {
			out = append(out[:0], "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"...)
		} else if bytes.Contains(body, []byte(`"name":"progress"`)) {
			if s.stream(conn, body) != nil {
				return
			}
			continue
		} else {
			out = s.answer(out[:0], body)
		}
		if s.once {
			out = bytes.Replace(out, []byte("\r\n"), []byte("\r\nConnection: close\r\n"), 1)
		}
		if _, err := conn.Write(out); err != nil || s.once {
			return
		}
	}
}

// readHead reads a request's head and returns what matters of it.
func readHead(in *bufio.Reader) (method string, length int, err error) {
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", 0, err
		}
		switch {
		case first:
			m, _, _ := bytes.Cut(line, []byte(" "))
			method = string(m)
		case len(line) <= 2:
			return method, length, nil
		case len(line) > 15 && bytes.EqualFold(line[:15], []byte("content-length:")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err != nil {
				return "", 0, err
			}
		}
	}
}

// field returns the raw value of a member that is a string or a number and stands there once.
func field(body []byte, name string) []byte {
	i := bytes.Index(body, []byte(`"`+name+`":`))
	if i < 0 {
		return nil
	}
	rest := body[i+len(name)+3:]
	end := bytes.IndexAny(rest, ",}")
	if len(rest) > 0 && rest[0] == '"' {
		end = bytes.IndexByte(rest[1:], '"') + 2
	}
	return rest[:end]
}

func (s *stub) answer(out, body []byte) []byte {
	id, method := field(body, "id"), string(field(body, "method"))
	switch {
	case id == nil:
		return append(out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"...)
	case method == `"server/discover"` && !s.stateless:
		return append(out, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"...)
	}
	var result []byte
	switch method {
	case `"initialize"`:
		result = []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"stub","version":"1"}}`)
	case `"server/discover"`:
		result = []byte(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete","ttlMs":3600000,"cacheScope":"public"}`)
	case `"tools/list"`:
		result = s.list()
	case `"tools/call"`:
		s.calls.Add(1)
		return s.call(out, id, body)
	default:
		result = []byte("{}")
	}
	return appendAnswer(out, id, result)
}

func appendAnswer(out, id []byte, parts ...[]byte) []byte {
	n := len(`{"jsonrpc":"2.0","id":,"result":}`) + len(id)
	for _, p := range parts {
		n += len(p)
	}
	out = append(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(n), 10)
	out = append(out, "\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":"...)
	out = append(append(out, id...), `,"result":`...)
	for _, p := range parts {
		out = append(out, p...)
	}
	return append(out, '}')
}

// call answers a tool. Each result carries the nonce of its call at both ends.
func (s *stub) call(out, id, body []byte) []byte {
	kind := []byte(nil)
	if s.stateless {
		kind = []byte(`"resultType":"complete",`)
	}
	nonce := bytes.Trim(field(body, "nonce"), `"`)
	switch string(field(body, "name")) {
	case `"text"`:
		return appendAnswer(out, id, []byte("{"), kind, []byte(`"content":[{"type":"text","text":"`), nonce, s.text, nonce, []byte(`"}]}`))
	case `"rows"`:
		return appendAnswer(out, id, []byte("{"), kind, []byte(`"content":[],"structuredContent":{"first":"`), nonce, []byte(`","rows":`), s.rows,
			[]byte(`,"last":"`), nonce, []byte(`"}}`))
	}
	return appendAnswer(out, id, []byte("{"), kind, []byte(`"content":[{"type":"text","text":`), field(body, "text"), []byte(`}]}`))
}

// list has the tools that are called, and as many others as were asked for.
func (s *stub) list() []byte {
	var b strings.Builder
	b.WriteString("{")
	if s.stateless {
		b.WriteString(`"resultType":"complete","ttlMs":3600000,"cacheScope":"public",`)
	}
	b.WriteString(`"tools":[`)
	for i, name := range []string{"echo", "text", "rows", "progress"} {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"name":%q,"description":"Returns %s.","inputSchema":{"type":"object","properties":{"nonce":{"type":"string"},"text":{"type":"string"}}}}`, name, name)
	}
	for i := range s.tools {
		fmt.Fprintf(&b, `,{"name":"tool_%03d","description":"Looks up record %d in the ledger of the department and returns it with its history.",`+
			`"inputSchema":{"type":"object","properties":{"record":{"type":"string","description":"Number of the record"},"history":{"type":"boolean"}},"required":["record"]}}`, i, i)
	}
	b.WriteString("]}")
	return []byte(b.String())
}

// stream sends progress events, each with the time at which it was sent, then the result.
func (s *stub) stream(conn net.Conn, body []byte) error {
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	token := field(body, "progressToken")
	for i := range progress {
		time.Sleep(s.gap)
		event := fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":%s,\"progress\":%d,\"sent\":%d}}\n\n",
			token, i+1, time.Since(epoch).Nanoseconds())
		if err := writeChunk(conn, event); err != nil {
			return err
		}
	}
	kind := ""
	if s.stateless {
		kind = `"resultType":"complete",`
	}
	nonce := bytes.Trim(field(body, "nonce"), `"`)
	return writeChunk(conn, fmt.Sprintf("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{%s\"content\":[{\"type\":\"text\",\"text\":\"%s%s\"}]}}\n\n",
		field(body, "id"), kind, nonce, nonce), "0\r\n\r\n")
}

func writeChunk(conn net.Conn, data string, after ...string) error {
	_, err := fmt.Fprintf(conn, "%x\r\n%s\r\n%s", len(data), data, strings.Join(after, ""))
	return err
}

// epoch is what event times count from: server and client are one process.
var epoch = time.Now()

// prose is text as tools return it, as the inside of a JSON string: mostly plain, now and then an escape.
func prose(n int) []byte {
	const sentence = `The quarterly figures of the northern region rose by four per cent, mainly because of \"new\" contracts.\n`
	return bytes.Repeat([]byte(sentence), n/len(sentence)+1)[:n/len(sentence)*len(sentence)]
}

// rows is a table as tools return it.
func rows(n int) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := 0; b.Len() < n; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"Customer %d","city":"Trondheim","balance":%d.%02d,"active":%t,"tags":["north","b2b"]}`, i, i, i*37, i%100, i%3 != 0)
	}
	b.WriteByte(']')
	return b.Bytes()
}
