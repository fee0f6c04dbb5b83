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
	head     Head   // the last head
	shared   bool   // its Header has been given away, and must not change any more
	last     []line // the header lines of that head, in order
	distinct bool   // no header name stands in last twice
	kept     int    // bytes of head.First and of the texts in last
}

// Head is the head of a message, read.
type Head struct {
	First  string      // the first line: request line or status line
	Hosts  []string    // the values of Host
	Header http.Header // all other headers

	Lengths, Codings, Connection, Expect []string // the values of Content-Length, Transfer-Encoding and so on, which Header has, too
}

// line is one header line.
type line struct {
	text   string   // all of it, with CR LF
	prefix string   // text up to the colon, with it
	name   string   // as in http.Header
	value  []string // one value; its capacity is 1, so that an append by the caller makes a copy
}

// Bounds of what is remembered. Usual heads are far below. There may be twice maxKept in memory, because the head that renew
// read last stays whole: names are parts of it.
const (
	maxLines = 64
	maxKept  = 16 << 10
)

// Parse reads the head that buf begins with. It returns how many bytes that takes, with the empty line at its end, or 0 when
// that line is not there yet. Headers may be set and deleted, as always, but their values not be written over: later heads
// have them too. The error quotes the line that is malformed.
func (l *Lines) Parse(buf []byte) (head Head, n int, err error) {
	n, err = l.next(buf, &head)
	if l.head.Header != nil { // it is remembered
		head.Header = maps.Clone(head.Header)
	}
	return head, n, err
}

// Read is Parse, into head, for a caller that changes no Header: heads that have the same lines share one.
func (l *Lines) Read(buf []byte, head *Head) (n int, err error) {
	n, err = l.next(buf, head)
	l.shared = l.head.Header != nil
	return n, err
}

// next remembers the head that buf begins with, and puts it into head. It forgets all when the head is faulty or large.
func (l *Lines) next(buf []byte, head *Head) (n int, err error) {
	if n, err = l.update(buf); n == 0 && err == nil {
		n, err = l.renew(buf)
	}
	if err != nil {
		*l = Lines{}
	}
	if n == 0 || err != nil {
		return 0, err
	}
	*head = l.head
	if len(l.last) > maxLines || l.kept > maxKept {
		*l = Lines{}
	}
	return n, nil
}

// update reads a head that has the header names of the last one, in its order, and at most eight other values. It returns 0
// and changes nothing when buf begins with no such head.
func (l *Lines) update(buf []byte) (n int, err error) {
	end := bytes.IndexByte(buf, '\r')
	if !l.distinct || end < 0 || !begins(buf[end:], "\r\n") {
		return 0, nil
	}
	n = end + 2
	var lines [8]*line
	var texts [8][]byte
	changed := 0
	for i := range l.last {
		here, rest := &l.last[i], buf[n:]
		if begins(rest, here.text) {
			n += len(here.text)
			continue
		}
		size := bytes.IndexByte(rest, '\n') + 1
		if changed == len(lines) || !begins(rest[:size], here.prefix) || !bytes.HasSuffix(rest[:size], []byte("\r\n")) {
			return 0, nil
		}
		lines[changed], texts[changed] = here, rest[:size]
		changed++
		n += size
	}
	if !begins(buf[n:], "\r\n") {
		return 0, nil
	}
	if first := buf[:end]; string(first) != l.head.First {
		l.kept += len(first) - len(l.head.First)
		l.head.First = string(first)
	}
	if changed > 0 && l.shared {
		l.head.Header, l.shared = maps.Clone(l.head.Header), false
	}
	values := make([]string, changed)
	for i, here := range lines[:changed] {
		l.kept += len(texts[i]) - len(here.text)
		here.text = string(texts[i])
		if !here.read(values[i : i+1 : i+1]) {
			return 0, malformed(here.text)
		}
		l.put(here.name, here.value)
	}
	return n + 2, nil
}

// renew reads any head. Its lines are parts of one string and the values of usual ones parts of one slice, to save allocations.
func (l *Lines) renew(buf []byte) (n int, err error) {
	end := bytes.Index(buf, []byte("\r\n\r\n"))
	if end < 0 {
		return 0, nil
	}
	first, rest, _ := strings.Cut(string(buf[:end+2]), "\r\n")
	usual := min(strings.Count(rest, "\n"), maxLines) // no more room is made before it is clear that they are lines
	*l = Lines{head: Head{First: first, Header: make(http.Header, usual)}, last: make([]line, 0, usual), distinct: true, kept: end}
	values := make([]string, 0, usual)
	for i := 0; rest != ""; i++ {
		l.last, values = append(l.last, line{}), append(values, "")
		here, size := &l.last[i], strings.IndexByte(rest, '\n')+1
		here.text, rest = rest[:size], rest[size:]
		here.prefix = here.text[:strings.IndexByte(here.text, ':')+1]
		here.name = canonical(strings.TrimSuffix(here.prefix, ":"))
		if here.name == "" || !strings.HasSuffix(here.text, "\r\n") || !here.read(values[i:i+1:i+1]) {
			return 0, malformed(here.text)
		}
		l.add(here.name, here.value)
	}
	if !l.distinct {
		for name, value := range l.head.Header {
			l.head.Header[name] = slices.Clip(value)
		}
	}
	return end + 4, nil
}

// begins is strings.HasPrefix for bytes.
func begins(b []byte, with string) bool { return len(b) >= len(with) && string(b[:len(with)]) == with }

func malformed(line string) error {
	return fmt.Errorf("one of its headers is %.64q", strings.TrimSuffix(line, "\r\n"))
}

// read sets the line's value from its text; room is what the value is put in. It reports whether that is a value.
func (l *line) read(room []string) bool {
	room[0] = trim(l.text[len(l.prefix) : len(l.text)-2])
	l.value = room
	return ValidValue(room[0])
}

// add puts a header that may be there already.
func (l *Lines) add(name string, value []string) {
	had := l.head.Header[name]
	if name == "Host" {
		had = l.head.Hosts
	}
	if had != nil {
		value, l.distinct = append(had, value...), false
	}
	l.put(name, value)
}

// put sets the values of one header.
func (l *Lines) put(name string, value []string) {
	switch h := &l.head; name {
	case "Host":
		h.Hosts = value
		return
	case "Content-Length":
		h.Lengths = value
	case "Transfer-Encoding":
		h.Codings = value
	case "Connection":
		h.Connection = value
	case "Expect":
		h.Expect = value
	}
	l.head.Header[name] = value
}
