package mcp

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Copies of body values in headers (2026-07-28 basic/transports/streamable-http, request metadata). A value that does
// not fit a header is written in base64 between two marks.
const (
	encodedPrefix = "=?base64?"
	encodedSuffix = "?="
	maxHeader     = 8 << 10

	// HeaderParamPrefix begins the name of a header that copies an argument of a tool.
	HeaderParamPrefix = "Mcp-Param-"
)

// EncodeHeader writes a value for a header.
func EncodeHeader(s string) string {
	if headerText(s) && strings.Trim(s, " \t") == s && !marked(s) {
		return s
	}
	return encodedPrefix + base64.StdEncoding.EncodeToString([]byte(s)) + encodedSuffix
}

// DecodeHeader reads a value that EncodeHeader wrote. A value without both marks is taken as it is; one with
// characters that a header may not have, or with bad base64 between the marks, is refused.
func DecodeHeader(v string) (string, bool) {
	if len(v) > maxHeader || !headerText(v) {
		return "", false
	}
	if !marked(v) {
		return v, true
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(v[len(encodedPrefix) : len(v)-len(encodedSuffix)])
	if err != nil || !utf8.Valid(raw) {
		return "", false
	}
	return string(raw), true
}

func marked(v string) bool {
	return len(v) >= len(encodedPrefix)+len(encodedSuffix) && strings.HasPrefix(v, encodedPrefix) && strings.HasSuffix(v, encodedSuffix)
}

// headerText reports whether v has only visible ASCII characters, spaces and tabs.
func headerText(v string) bool {
	for _, c := range []byte(v) {
		if c != '\t' && (c < 0x20 || c > 0x7e) {
			return false
		}
	}
	return true
}

// value returns the argument that the header copies; nil when it is absent or null.
func (p HeaderParam) value(arguments []byte) []byte {
	for _, step := range p.Path {
		v, ok := Lookup(arguments, step)
		if !ok {
			return nil
		}
		arguments = v
	}
	if string(arguments) == "null" {
		return nil
	}
	return arguments
}

// Text returns what the header says about these arguments; false when it must be absent.
func (p HeaderParam) Text(arguments []byte) (string, bool) {
	v := p.value(arguments)
	if v == nil {
		return "", false
	}
	if s, ok := DecodeString(v); ok {
		return EncodeHeader(s), true
	}
	if n, ok := safeInteger(string(v)); ok {
		return strconv.FormatInt(n, 10), true
	}
	return string(v), string(v) == "true" || string(v) == "false"
}

// Agrees compares a header with the arguments. Values are all values of the header.
func (p HeaderParam) Agrees(values []string, arguments []byte) bool {
	_, present := p.Text(arguments)
	if !present || len(values) != 1 {
		return !present && len(values) == 0
	}
	said, ok := DecodeHeader(values[0])
	if !ok {
		return false
	}
	v := p.value(arguments)
	if text, ok := DecodeString(v); ok {
		return said == text
	}
	if n, isInt := safeInteger(string(v)); isInt {
		m, ok := safeInteger(said)
		return ok && m == n
	}
	return said == string(v)
}

// safeInteger reads a number that is an integer which every JSON parser keeps, in any spelling.
func safeInteger(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return 0, false
	}
	const limit = 1<<53 - 1
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, n >= -limit && n <= limit
	}
	f, err := strconv.ParseFloat(s, 64)
	n := int64(f)
	return n, err == nil && f >= -limit && f <= limit && float64(n) == f
}
