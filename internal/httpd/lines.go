package httpd

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Lines reads the heads of the messages that come over one connection, one after another (RFC 9112 §5). It is strict where
// parsers differ: lines end with CR LF, names are tokens without space before the colon, nothing is folded.
//
// Most clients send nearly the same head with every request. Lines therefore remembers the last head line by line: a line
// that comes again, byte for byte, is not parsed and not allocated again, and the new head gets the strings of the old one.
// The zero value is ready.
type Lines struct {
	head     Head   // the last head; callers get a copy of its Header
	last     []line // the header lines of that head, in order
	distinct bool   // no header name stands in last twice
	kept     int    // upper bound of the bytes that are remembered
}

// Head is the head of a message, read.
type Head struct {
	First  string      // the first line: request line or status line
	Hosts  []string    // the values of Host
	Header http.Header // all other headers
}

// line is one header line.
type line struct {
	text  string // all of it
	colon int    // where the colon stands in text
	name  string
	value []string // one value; its capacity is 1, so that an append by the caller makes a copy
}

// Bounds of what is remembered. Usual heads are far below.
const (
	maxLines = 64
	maxKept  = 16 << 10
)

// Parse reads a head, without the empty line that ends it. Headers may be set and deleted, as always, but their values not
// be written over: later heads have them too. The error quotes the line that is malformed.
func (l *Lines) Parse(head []byte) (Head, error) {
	first, rest, more := bytes.Cut(head, crlf)
	if l.head.First != string(first) {
		l.head.First = string(first)
		l.kept += len(first)
	}
	same := 0
	for more && same < len(l.last) {
		behind, further, ok := cutLine(rest, l.last[same].text)
		if !ok {
			break
		}
		rest, more = behind, further
		same++
	}
	if more || same < len(l.last) || l.head.Header == nil {
		if err := l.renew(same, string(rest), more); err != nil {
			*l = Lines{}
			return Head{}, err
		}
	}
	out := l.head
	if len(l.last) > maxLines || l.kept > maxKept {
		*l = Lines{}
	} else {
		out.Header = maps.Clone(out.Header)
	}
	return out, nil
}

var crlf = []byte("\r\n")

// cutLine takes a line off the front of a head, if it is the one that is expected.
func cutLine(head []byte, expected string) (rest []byte, more, ok bool) {
	n := len(expected)
	switch {
	case len(head) < n || string(head[:n]) != expected:
		return head, true, false
	case len(head) == n:
		return nil, false, true
	case len(head) > n+1 && head[n] == '\r' && head[n+1] == '\n':
		return head[n+2:], true, true
	}
	return head, true, false
}

// renew reads the lines from the i-th on, and puts those that changed into l.last. While each changed line has the name of the
// line that stood there before, only its value in the header changes; else the header is put together anew. New strings are
// parts of rest, and new values are parts of one slice, to save allocations.
func (l *Lines) renew(i int, rest string, more bool) error {
	values := make([]string, 0, max(len(l.last), 8)-i)
	l.kept += len(rest) + 16*cap(values)
	sameNames := l.distinct // so far, only values differ from the last head
	for ; more; i++ {
		var text string
		text, rest, more = strings.Cut(rest, "\r\n")
		if i == len(l.last) {
			l.last, sameNames = append(l.last, line{}), false
		}
		here := &l.last[i]
		if here.text == text && text != "" {
			continue
		}
		name := here.name
		value, ok := here.read(text)
		if !ok {
			return fmt.Errorf("one of its headers is %.64q", text)
		}
		n := len(values)
		values = append(values, value)
		here.value = values[n : n+1 : n+1]
		if sameNames = sameNames && here.name == name; sameNames {
			l.put(name, here.value)
		}
	}
	if i < len(l.last) {
		l.last, sameNames = slices.Delete(l.last, i, len(l.last)), false
	}
	if !sameNames {
		l.collect()
	}
	return nil
}

// read replaces l by another line and returns its value. The new line often has the same name, which is then kept.
func (l *line) read(text string) (value string, ok bool) {
	if l.name != "" && strings.HasPrefix(text, l.text[:l.colon+1]) {
		l.text, value = text, trim(text[l.colon+1:])
		return value, ValidValue(value)
	}
	l.text, l.colon = text, strings.IndexByte(text, ':')
	l.name, value, ok = parseLine(text)
	return value, ok
}

// put sets the values of one header.
func (l *Lines) put(name string, value []string) {
	if name == "Host" {
		l.head.Hosts = value
		return
	}
	l.head.Header[name] = value
}

// collect makes the header anew from all lines.
func (l *Lines) collect() {
	l.head.Hosts, l.head.Header, l.distinct = nil, make(http.Header, len(l.last)), true
	for i := range l.last {
		name, value := l.last[i].name, l.last[i].value
		had := l.head.Header[name]
		if name == "Host" {
			had = l.head.Hosts
		}
		if had != nil {
			value, l.distinct = append(had, value...), false
		}
		l.put(name, value)
	}
	if !l.distinct {
		for name, value := range l.head.Header {
			l.head.Header[name] = slices.Clip(value)
		}
	}
}
