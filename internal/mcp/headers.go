package mcp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
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

// HeaderParam is a parameter of a tool that is copied into a header: an x-mcp-header annotation of its schema
// (2026-07-28 server/tools, x-mcp-header).
type HeaderParam struct {
	Header string   // with its prefix
	Path   []string // through the arguments
}

// Bounds of a schema's annotations.
const (
	maxHeaderParams     = 64
	maxHeaderParamDepth = 16
)

// HeaderParams finds the annotations of a tool as it stands in a list. The error says why an annotation is not valid:
// such a tool must not be used.
func HeaderParams(tool []byte) ([]HeaderParam, error) {
	if !bytes.Contains(tool, []byte("x-mcp-header")) {
		return nil, nil
	}
	schema, _ := Lookup(tool, "inputSchema")
	return headerParams(schema, nil, nil)
}

func headerParams(schema []byte, path []string, found []HeaderParam) ([]HeaderParam, error) {
	properties, ok := Lookup(schema, "properties")
	if !ok {
		return found, nil
	}
	if len(path) >= maxHeaderParamDepth {
		return nil, fmt.Errorf("x-mcp-header: properties nest more than %d deep", maxHeaderParamDepth)
	}
	var err error
	EachMember(properties, func(key, _, property []byte) {
		if err != nil {
			return
		}
		at := append(slices.Clone(path), string(key))
		if note, annotated := Lookup(property, "x-mcp-header"); annotated {
			if found, err = addHeaderParam(found, at, note, property); err != nil {
				return
			}
		}
		found, err = headerParams(property, at, found)
	})
	return found, err
}

func addHeaderParam(found []HeaderParam, path []string, note, property []byte) ([]HeaderParam, error) {
	name, ok := DecodeString(note)
	if !ok || !isToken(name) {
		return nil, fmt.Errorf("x-mcp-header of %s: not a header name", strings.Join(path, "."))
	}
	switch kind, _ := LookupString(property, "type"); kind {
	case "string", "integer", "boolean":
	default:
		return nil, fmt.Errorf("x-mcp-header of %s: its type is none of string, integer and boolean", strings.Join(path, "."))
	}
	for _, other := range found {
		if strings.EqualFold(other.Header, HeaderParamPrefix+name) {
			return nil, fmt.Errorf("x-mcp-header %s stands twice", name)
		}
	}
	if len(found) == maxHeaderParams {
		return nil, fmt.Errorf("x-mcp-header: more than %d", maxHeaderParams)
	}
	return append(found, HeaderParam{Header: HeaderParamPrefix + name, Path: path}), nil
}

// isToken reports whether s may be part of a header's name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= 128
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
	want, present := p.Text(arguments)
	if !present || len(values) != 1 {
		return !present && len(values) == 0
	}
	said, ok := DecodeHeader(values[0])
	if !ok {
		return false
	}
	if n, isInt := safeInteger(string(p.value(arguments))); isInt {
		m, ok := safeInteger(said)
		return ok && m == n
	}
	plain, _ := DecodeHeader(want)
	return said == plain
}

// safeInteger reads a number that is an integer which every JSON parser keeps, in any spelling.
func safeInteger(s string) (int64, bool) {
	if s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
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
