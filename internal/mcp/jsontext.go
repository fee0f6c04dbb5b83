package mcp

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// DefaultDepth is how deeply messages may nest.
const DefaultDepth = 64

// Valid reports whether raw is one strictly valid JSON value: what Decode asks of the whole message.
func Valid(raw []byte) bool {
	var s scanner
	s.init(raw, DefaultDepth)
	return s.value(0) && s.end()
}

// Lookup returns the raw value of one member of an object, nil when raw is no object or has no such member.
// Keys match exactly; raw has been checked before, or else counts as having no members after its first fault.
func Lookup(raw []byte, name string) (value []byte, ok bool) {
	var s scanner
	s.init(raw, DefaultDepth)
	s.lone = true
	o, ok := s.object(0)
	for ok && s.next(&o) {
		found := string(o.key) == name
		s.space()
		start := s.pos
		if ok = s.value(1); ok && found {
			return raw[start:s.pos], true
		}
	}
	return nil, false
}

// EachMember calls f with each member of an object: its key, decoded, its whole text and its value. It reports false
// when raw is no valid object; f may have been called until then.
func EachMember(raw []byte, f func(key, member, value []byte)) bool {
	var s scanner
	s.init(raw, DefaultDepth)
	s.lone = true
	o, ok := s.object(0)
	end := s.pos // of the member before
	for ok && s.next(&o) {
		s.space()
		start := s.pos
		if ok = s.value(1); ok {
			f(o.key, bytes.TrimLeft(raw[end:s.pos], ", \t\r\n"), raw[start:s.pos])
		}
		end = s.pos
	}
	return ok && s.end()
}

// EachElement calls f with each element of an array. It reports false when raw is no valid array; f may have been called
// until then.
func EachElement(raw []byte, f func(value []byte)) bool {
	var s scanner
	s.init(raw, DefaultDepth)
	s.lone = true
	var a list
	ok := s.elements(0)
	for ok && s.nextElement(&a) {
		s.space()
		start := s.pos
		if ok = s.value(1); ok {
			f(raw[start:s.pos])
		}
	}
	return ok && s.end()
}

// Strings returns the elements of an array of strings; false when it is anything else.
func Strings(raw []byte) ([]string, bool) {
	all, texts := []string{}, true
	ok := EachElement(raw, func(value []byte) {
		text, ok := DecodeString(value)
		all, texts = append(all, text), texts && ok
	})
	return all, ok && texts
}

// LookupString returns a member that is a string.
func LookupString(raw []byte, name string) (string, bool) {
	v, ok := Lookup(raw, name)
	if !ok {
		return "", false
	}
	return DecodeString(v)
}

// DecodeString returns the value of a raw JSON string that has been checked before.
func DecodeString(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return "", false
	}
	body := raw[1 : len(raw)-1]
	if bytes.IndexByte(body, '\\') >= 0 {
		return string(appendUnescaped(nil, body)), true
	}
	return intern(body), true
}

// appendUnescaped decodes the inside of a string that has been checked.
func appendUnescaped(dst, body []byte) []byte {
	for i := 0; i < len(body); {
		c := body[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		if i+1 >= len(body) {
			return dst
		}
		i += 2
		switch body[i-1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			if r := surrogatePair(body[i-2:]); r >= 0 {
				dst = utf8.AppendRune(dst, r)
				i += 10
				continue
			}
			r, _ := hex4(body[i:]) // a lone surrogate becomes U+FFFD
			dst = utf8.AppendRune(dst, r)
			i = min(i+4, len(body))
		default:
			dst = append(dst, body[i-1])
		}
	}
	return dst
}

// AppendString writes s as a JSON string; bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	if standsAsIs(s) {
		return append(append(dst, s...), '"')
	}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c == '\n':
			dst = append(dst, '\\', 'n')
			i++
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
		}
	}
	return append(dst, '"')
}

// standsAsIs reports whether AppendString has nothing to escape in s: only ASCII, and of that no quote, backslash or control
// character.
func standsAsIs(s string) bool {
	if len(s) < 8 {
		for _, c := range []byte(s) {
			if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
				return false
			}
		}
		return true
	}
	odd := uint64(0)
	for i := 0; i < len(s); i += 8 {
		at := min(i, len(s)-8) // the last eight bytes may overlap those before
		x := binary.LittleEndian.Uint64([]byte(s[at : at+8]))
		odd |= special(x) | (x + eachLow) // 1 more than DEL has the high bit
	}
	return odd&eachHigh == 0
}

// parseInt reads a raw JSON integer that fits 64 bits; 1.0 and 1e3 are not integers here.
func parseInt(raw []byte) (int64, bool) {
	if len(raw) == 0 || len(raw) > 20 {
		return 0, false
	}
	if n, ok := parseDigits(raw); ok { // nearly always
		return n, true
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	return n, err == nil && raw[0] != '+'
}

// parseDigits is parseInt for digits alone, of which eighteen always fit.
func parseDigits(raw []byte) (n int64, ok bool) {
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, len(raw) <= 18
}
