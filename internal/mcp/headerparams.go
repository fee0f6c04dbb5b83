package mcp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

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
	maxAnnotatedSchema  = 256 << 10 // bytes
)

const headerNote = "x-mcp-header"

// HeaderParams finds the annotations of a tool as it stands in a list. The error says why an annotation is not valid:
// such a tool must not be used.
func HeaderParams(tool []byte) ([]HeaderParam, error) {
	if !bytes.Contains(tool, []byte(headerNote)) && !bytes.Contains(tool, []byte(`\u`)) { // a name may be written with escapes
		return nil, nil
	}
	schema, _ := Lookup(tool, "inputSchema")
	w := headerWalk{}
	if len(schema) > maxAnnotatedSchema && bytes.Contains(schema, []byte(headerNote)) {
		return nil, fmt.Errorf("x-mcp-header in a schema of more than %d bytes", maxAnnotatedSchema)
	}
	w.schema(schema, nil, false)
	return w.found, w.err
}

// headerWalk goes through a schema. An annotation is valid only where nothing but properties leads to; one at any other
// place makes the whole tool invalid, also when nobody would ever look there.
type headerWalk struct {
	found []HeaderParam
	err   error
}

// schema looks at one schema. Its path is nil when it is the root, or when no chain of properties leads to it: then
// astray is true.
func (w *headerWalk) schema(raw []byte, path []string, astray bool) {
	if w.err == nil && len(path) > maxHeaderParamDepth {
		w.err = fmt.Errorf("x-mcp-header: properties nest more than %d deep", maxHeaderParamDepth)
	}
	if w.err != nil {
		return
	}
	EachMember(raw, func(key, _, value []byte) {
		switch k := string(key); k {
		case headerNote:
			w.note(value, raw, path, astray)
		case "properties":
			EachMember(value, func(name, _, property []byte) {
				w.schema(property, append(slices.Clone(path), string(name)), astray)
			})
		case "const", "enum", "default", "examples": // data, in which a member of that name means nothing
		case "patternProperties", "$defs", "definitions", "dependentSchemas": // schemas by name
			EachMember(value, func(_, _, sub []byte) { w.schema(sub, nil, true) })
		default:
			w.anywhere(value)
		}
	})
}

// anywhere looks at the value of a keyword: a schema, a list of schemas, or neither.
func (w *headerWalk) anywhere(value []byte) {
	if len(value) == 0 || value[0] != '[' {
		w.schema(value, nil, true)
		return
	}
	EachElement(value, w.anywhere)
}

// note takes an annotation of the schema that raw is.
func (w *headerWalk) note(value, raw []byte, path []string, astray bool) {
	if w.err != nil {
		return
	}
	at := strings.Join(path, ".")
	name, ok := DecodeString(value)
	kind, _ := LookupString(raw, "type")
	switch {
	case astray || len(path) == 0:
		w.err = fmt.Errorf("x-mcp-header at a place that no chain of properties leads to")
	case !ok || !isToken(name):
		w.err = fmt.Errorf("x-mcp-header of %s: not a header name", at)
	case kind != "string" && kind != "integer" && kind != "boolean":
		w.err = fmt.Errorf("x-mcp-header of %s: its type is none of string, integer and boolean", at)
	case slices.ContainsFunc(w.found, func(o HeaderParam) bool { return strings.EqualFold(o.Header, HeaderParamPrefix+name) }):
		w.err = fmt.Errorf("x-mcp-header %s stands twice", name)
	case len(w.found) == maxHeaderParams:
		w.err = fmt.Errorf("x-mcp-header: more than %d", maxHeaderParams)
	default:
		w.found = append(w.found, HeaderParam{Header: HeaderParamPrefix + name, Path: path})
	}
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
