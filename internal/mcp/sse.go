package mcp

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// ErrEventTooLarge means that one server-sent event exceeded the reader's bound.
var ErrEventTooLarge = errors.New("server-sent event is too large")

// Event is one server-sent event. Its slices are valid until the next call of Next.
type Event struct {
	Type  string        // empty means "message"
	ID    string        // the last event id in force, empty when none was ever sent
	Data  []byte        // data lines joined with line feeds; empty for an event that only sets id or retry
	Retry time.Duration // 0 when absent
}

// SSEReader reads server-sent events from a stream, one at a time (HTML standard, §9.2 server-sent events). Lines end
// with CR, LF or CRLF.
type SSEReader struct {
	r      io.Reader
	max    int
	buf    []byte
	start  int  // unread bytes are buf[start:]
	sawCR  bool // a line feed that comes next belongs to the line before
	began  bool // a byte order mark may stand only at the very beginning
	lastID string
	data   []byte
	err    error
}

// NewSSEReader reads from r events of at most maxEvent bytes.
func NewSSEReader(r io.Reader, maxEvent int) *SSEReader {
	return &SSEReader{r: r, max: maxEvent, buf: make([]byte, 0, 4096)}
}

// Next returns the next event that has data, an id or a retry time. At the end of the stream it returns io.EOF, and
// an event that was not finished by then is dropped, as the standard has it.
func (s *SSEReader) Next() (Event, error) {
	var e Event
	s.data = s.data[:0]
	hasData, any := false, false
	for {
		line, err := s.line()
		if err != nil {
			return Event{}, err
		}
		if len(line) == 0 {
			if any {
				e.ID, e.Data = s.lastID, s.data
				return e, nil
			}
			continue
		}
		field, value, _ := bytes.Cut(line, []byte{':'})
		value = bytes.TrimPrefix(value, []byte{' '})
		switch string(field) {
		case "data":
			if len(s.data)+len(value) >= s.max {
				s.err = ErrEventTooLarge
				return Event{}, s.err
			}
			if hasData {
				s.data = append(s.data, '\n')
			}
			s.data = append(s.data, value...)
			hasData, any = true, true
		case "event":
			e.Type = string(value)
		case "id":
			if bytes.IndexByte(value, 0) < 0 {
				s.lastID, any = string(value), true
			}
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				e.Retry, any = time.Duration(ms)*time.Millisecond, true
			}
		}
	}
}

// line returns the next line without its end; it is valid until the next call.
func (s *SSEReader) line() ([]byte, error) {
	scanned := 0 // bytes of the pending part that hold no line end
	for {
		if s.sawCR && s.start < len(s.buf) {
			if s.buf[s.start] == '\n' {
				s.start++
			}
			s.sawCR = false
		}
		pending := s.buf[s.start:]
		if i := lineEnd(pending[scanned:]); i >= 0 {
			line := pending[:scanned+i]
			s.sawCR = pending[scanned+i] == '\r'
			s.start += len(line) + 1
			if !s.began {
				s.began = true
				line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
			}
			return line, nil
		}
		scanned = len(pending)
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
}

func lineEnd(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// fill reads more bytes behind the pending ones.
func (s *SSEReader) fill() error {
	if s.err != nil {
		return s.err
	}
	if s.start > 0 {
		s.buf = s.buf[:copy(s.buf, s.buf[s.start:])]
		s.start = 0
	}
	if len(s.buf) > s.max+len("data: ") {
		s.err = ErrEventTooLarge
		return s.err
	}
	if len(s.buf) == cap(s.buf) {
		s.buf = append(s.buf, 0)[:len(s.buf)]
	}
	for range 100 {
		n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+n]
		s.err = err
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	s.err = io.ErrNoProgress
	return s.err
}

// AppendEvent writes one server-sent event; an empty id is left out. Line ends inside data become further data lines,
// which JSON does not mind.
func AppendEvent(dst []byte, id string, data []byte) []byte {
	if id != "" {
		dst = append(dst, "id: "...)
		dst = append(dst, id...)
		dst = append(dst, '\n')
	}
	for {
		dst = append(dst, "data: "...)
		i := lineEnd(data)
		if i < 0 {
			dst = append(dst, data...)
			return append(dst, '\n', '\n')
		}
		dst = append(dst, data[:i]...)
		dst = append(dst, '\n')
		if data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n' {
			i++
		}
		data = data[i+1:]
	}
}

// AppendTypedEvent writes one server-sent event of a type, without an id.
func AppendTypedEvent(dst []byte, kind string, data []byte) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, kind...)
	return AppendEvent(append(dst, '\n'), "", data)
}

// AppendComment writes a comment, which keeps a quiet stream alive.
func AppendComment(dst []byte, text string) []byte {
	dst = append(dst, ": "...)
	dst = append(dst, text...)
	return append(dst, '\n', '\n')
}

// AppendPriming writes the event without data that opens a resumable stream (2025-11-25 basic/transports): its id is
// where to resume, retry is how long to wait before it.
func AppendPriming(dst []byte, id string, retry time.Duration) []byte {
	dst = append(dst, "id: "...)
	dst = append(dst, id...)
	if retry > 0 {
		dst = append(dst, "\nretry: "...)
		dst = strconv.AppendInt(dst, retry.Milliseconds(), 10)
	}
	return append(dst, "\ndata: \n\n"...)
}
