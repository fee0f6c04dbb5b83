package mcp

import (
	"bytes"
	"strconv"
)

// The values of resultType (2026-07-28 basic). Extensions define more.
const (
	ResultComplete      = "complete"
	ResultInputRequired = "input_required"
)

// Result is a result whose members of the stateless era were found; all are raw JSON, nil when absent.
type Result struct {
	Raw           []byte
	Type          string // empty when absent, as in older revisions
	Meta          []byte
	TTL           []byte
	CacheScope    []byte
	RequestState  []byte
	InputRequests []byte
	Structured    []byte
}

// ParseResult finds the members of a result that has been checked before. A result that is no object is refused.
func ParseResult(raw []byte) (Result, bool) {
	r := Result{Raw: raw}
	valid := true
	ok := EachMember(raw, func(key, _, value []byte) {
		switch string(key) {
		case "resultType":
			r.Type, valid = DecodeString(value)
		case "_meta":
			r.Meta = value
		case "ttlMs":
			r.TTL = value
		case "cacheScope":
			r.CacheScope = value
		case "requestState":
			r.RequestState = value
		case "inputRequests":
			r.InputRequests = value
		case "structuredContent":
			r.Structured = value
		}
	})
	return r, ok && valid
}

// Change says how an object is written anew: members that are left out, and members that come behind, raw JSON without
// braces.
type Change struct {
	Drop func(key []byte) bool
	More []byte
}

// Append writes the result with a change applied; all other members are untouched.
func (r *Result) Append(dst []byte, c Change) []byte {
	if raw := r.Raw; c.Drop == nil && len(c.More) > 0 && len(bytes.TrimSpace(raw[1:len(raw)-1])) > 0 { // only something behind
		dst = append(append(dst, raw[:len(raw)-1]...), ',')
		return append(append(dst, c.More...), '}')
	}
	return AppendMembers(dst, r.Raw, c)
}

// AppendResultMeta writes _meta of a result with our own serverInfo in place of anybody else's.
func (r *Result) AppendResultMeta(dst, serverInfo []byte) []byte {
	more := append([]byte(`"`+MetaServerInfo+`":`), serverInfo...)
	return AppendMembers(dst, r.Meta, Change{More: more, Drop: func(key []byte) bool { return string(key) == MetaServerInfo }})
}

// AppendMembers writes an object with a change applied; all other members are untouched.
func AppendMembers(dst, raw []byte, c Change) []byte {
	start := len(dst)
	dst = append(dst, '{')
	add := func(member []byte) {
		if len(dst) > start+1 {
			dst = append(dst, ',')
		}
		dst = append(dst, member...)
	}
	EachMember(raw, func(key, member, _ []byte) {
		if c.Drop == nil || !c.Drop(key) {
			add(member)
		}
	})
	if len(c.More) > 0 {
		add(c.More)
	}
	return append(dst, '}')
}

// Milliseconds reads ttlMs; zero when it is absent or not a number that makes sense.
func Milliseconds(raw []byte) int64 {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// IsToolError reports whether a result of tools/call says that the tool failed.
func IsToolError(result []byte) bool {
	v, _ := Lookup(result, "isError")
	return string(v) == "true"
}
