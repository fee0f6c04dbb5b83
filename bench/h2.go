package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 speaks HTTP/2 on one connection of the load generator, one call after the other: each client of a gateway has a
// connection of its own. Like the HTTP/1.1 beside it, it does no more than is needed, so that the generator takes little
// of its core.
type h2 struct {
	conn    *tls.Conn
	frames  *http2.Framer
	out     bytes.Buffer // frames to be sent, in one write
	head    bytes.Buffer // what the encoder has written
	encoder *hpack.Encoder
	stream  uint32
	room    int // bytes of body that the server takes on this connection
	body    []byte
}

// Windows of what the server may send before it hears from us: a whole answer fits.
const (
	streamWindow     = 1 << 20
	connectionWindow = 1 << 26
)

func newH2(conn *tls.Conn) (*h2, error) {
	h := &h2{conn: conn, stream: 1, room: 65535}
	h.encoder = hpack.NewEncoder(&h.head)
	h.frames = http2.NewFramer(&h.out, conn)
	h.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.frames.SetReuseFrames()
	h.out.WriteString(http2.ClientPreface)
	_ = h.frames.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: streamWindow})
	_ = h.frames.WriteWindowUpdate(0, connectionWindow-65535)
	return h, h.flush()
}

func (h *h2) flush() error {
	if h.out.Len() == 0 {
		return nil
	}
	_, err := h.conn.Write(h.out.Bytes())
	h.out.Reset()
	if err != nil {
		return fmt.Errorf("send over HTTP/2: %w", err)
	}
	return nil
}

// do sends a request that is written as HTTP/1.1, and reads its answer.
func (h *h2) do(request []byte) (reply, error) {
	head, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
	h.encode(head)
	id := h.stream
	h.stream += 2
	if h.room -= len(body); h.room < 0 {
		return reply{}, fmt.Errorf("the server takes no more on this HTTP/2 connection")
	}
	_ = h.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.head.Bytes(), EndHeaders: true})
	_ = h.frames.WriteData(id, true, body)
	if err := h.flush(); err != nil {
		return reply{}, err
	}
	return h.read(id)
}

// encode turns a head of HTTP/1.1 into header fields of HTTP/2.
func (h *h2) encode(head []byte) {
	h.head.Reset()
	field := func(name, value string) {
		_ = h.encoder.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: name == "authorization"})
	}
	for i := 0; len(head) > 0; i++ {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		if i == 0 {
			parts := bytes.Fields(line)
			field(":method", string(parts[0]))
			field(":scheme", "https")
			field(":path", string(parts[1]))
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		if string(name) == "Host" {
			field(":authority", string(value))
			continue
		}
		field(string(bytes.ToLower(name)), string(value))
	}
}

func (h *h2) read(id uint32) (reply, error) {
	var r reply
	h.body = h.body[:0]
	for {
		frame, err := h.frames.ReadFrame()
		if err != nil {
			return r, fmt.Errorf("read an HTTP/2 frame: %w", err)
		}
		done := false
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if r.status, err = strconv.Atoi(f.PseudoValue("status")); err != nil {
				return r, fmt.Errorf("status %q", f.PseudoValue("status"))
			}
			for _, field := range f.RegularFields() {
				if field.Name == "mcp-session-id" {
					r.session = field.Value
				}
			}
			done = f.StreamEnded() && f.StreamID == id
		case *http2.DataFrame:
			if f.StreamID != id {
				return r, fmt.Errorf("data of stream %d came during stream %d", f.StreamID, id)
			}
			h.body = append(h.body, f.Data()...)
			done = f.StreamEnded()
		default:
			if err := h.other(frame, &r); err != nil {
				return r, err
			}
		}
		if done {
			break
		}
	}
	if n := len(h.body); n > 0 { // it goes with the next request
		_ = h.frames.WriteWindowUpdate(0, uint32(n))
	}
	r.body = h.body
	return r, nil
}

// other deals with frames that belong to no answer.
func (h *h2) other(frame http2.Frame, r *reply) error {
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			_ = h.frames.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = h.frames.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if f.StreamID == 0 {
			h.room += int(f.Increment)
		}
	case *http2.GoAwayFrame:
		r.closing = true
	case *http2.RSTStreamFrame:
		return fmt.Errorf("the server reset stream %d: %s", f.StreamID, f.ErrCode)
	}
	return nil
}
