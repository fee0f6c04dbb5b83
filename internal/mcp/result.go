package mcp

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
)

// The values of resultType (2026-07-28 basic). Extensions define more.
const (
	ResultComplete      = "complete"
	ResultInputRequired = "input_required"
)

// Result is the result in a response, and where those of its members stand that a gateway looks at.
type Result struct {
	Valid bool // it is an object, and resultType, if there is one, a string that is not empty
	Raw   []byte
	Type  string // empty when absent, as in older revisions

	// Lent is the buffer that Raw is part of, nil when it was not lent. Release gives it back, for the next answer to be read
	// into. It may be called once, when nobody uses any part of the buffer any more; if it is never called, the garbage
	// collector takes the buffer.
	Lent interface{ Release() }

	at resultPlaces
}

// member is where a member of a result stands: its key begins at key, its value at value.
type member struct{ key, value, end int32 }

// resultPlaces says where the members stand; valid is false for what is no object.
type resultPlaces struct {
	valid                                                                bool
	kind, meta, ttl, cacheScope, requestState, inputRequests, structured member
}

// place returns where a member is to be noted, nil for those that do not matter to a gateway.
func (p *resultPlaces) place(key []byte) *member {
	switch string(key) {
	case "resultType":
		return &p.kind
	case "_meta":
		return &p.meta
	case "ttlMs":
		return &p.ttl
	case "cacheScope":
		return &p.cacheScope
	case "requestState":
		return &p.requestState
	case "inputRequests":
		return &p.inputRequests
	case "structuredContent":
		return &p.structured
	}
	return nil
}

// result checks a result, which begins at base, and notes where its members stand. A result that is not an object is checked,
// and nothing is noted.
func (d *decoder) result(p *resultPlaces, base, depth int) bool {
	if d.s.peek() != '{' {
		return d.s.value(depth)
	}
	o, ok := d.s.object(depth)
	for ok && d.s.next(&o) {
		at := p.place(o.key)
		key := d.s.keyAt
		d.s.space()
		value := d.s.pos
		if ok = d.s.value(depth + 1); ok && at != nil {
			*at = member{int32(key - base), int32(value - base), int32(d.s.pos - base)}
		}
	}
	p.valid = true
	return ok && d.s.fault == ""
}

// Outcome puts the message's result with its members into r. Those of a message that Decode has not read are looked for.
func (m *Message) Outcome(r *Result) {
	if m.members.valid {
		r.set(m.Result, &m.members)
	} else {
		r.parse(m.Result)
	}
}

func (r *Result) set(raw []byte, at *resultPlaces) {
	*r = Result{Valid: at.valid, Raw: raw, at: *at}
	if kind := r.of(at.kind); r.Valid && kind != nil {
		r.Type, _ = DecodeString(kind)
		r.Valid = r.Type != ""
	}
}

// of returns a member, nil when it is absent.
func (r *Result) of(m member) []byte {
	if m.end == 0 {
		return nil
	}
	return r.Raw[m.value:m.end]
}

// Meta returns _meta. Like the members below it is raw JSON, nil when absent.
func (r *Result) Meta() []byte { return r.of(r.at.meta) }

// TTL returns ttlMs.
func (r *Result) TTL() []byte { return r.of(r.at.ttl) }

// RequestState returns requestState.
func (r *Result) RequestState() []byte { return r.of(r.at.requestState) }

// InputRequests returns inputRequests.
func (r *Result) InputRequests() []byte { return r.of(r.at.inputRequests) }

// Structured returns structuredContent.
func (r *Result) Structured() []byte { return r.of(r.at.structured) }

// ParseResult finds the members of a result that is not at hand as a message's.
func ParseResult(raw []byte) *Result {
	r := &Result{}
	r.parse(raw)
	return r
}

func (r *Result) parse(raw []byte) {
	var (
		d  decoder
		at resultPlaces
	)
	d.s.init(raw, DefaultDepth)
	d.s.lone = true
	if !d.result(&at, 0, 0) || !d.s.end() {
		at = resultPlaces{}
	}
	r.set(raw, &at)
}

// Part names a member of a result that can be left out.
type Part uint8

// The members.
const (
	PartMeta    Part = 1 << iota
	PartCaching      // ttlMs and cacheScope
	PartRequestState
	PartStructured
)

// Without returns the result without some members, in pieces, as AppendWithout does.
func (r *Result) Without(parts Part) [][]byte { return r.AppendWithout(nil, parts, nil) }

// What stands between the pieces of a result.
var opening, comma, closing = []byte("{"), []byte(","), []byte("}")

// AppendWithout appends the result in pieces that make it when they are written one after the other: without some members,
// and with more behind, raw JSON without braces, which may be nil. All other members are untouched, and nothing is copied.
func (r *Result) AppendWithout(pieces [][]byte, parts Part, more []byte) [][]byte {
	var dropped [5]member
	n := 0
	for _, m := range [...]struct {
		part Part
		at   member
	}{{PartMeta, r.at.meta}, {PartCaching, r.at.ttl}, {PartCaching, r.at.cacheScope}, {PartRequestState, r.at.requestState}, {PartStructured, r.at.structured}} {
		if parts&m.part != 0 && m.at.end != 0 {
			dropped[n] = m.at
			n++
		}
	}
	slices.SortFunc(dropped[:n], func(a, b member) int { return cmp.Compare(a.key, b.key) })
	first := len(pieces)
	pieces = append(pieces, opening)
	add := func(piece []byte) {
		if piece = trimmed(piece); len(piece) == 0 {
			return
		}
		if len(pieces) > first+1 {
			pieces = append(pieces, comma)
		}
		pieces = append(pieces, piece)
	}
	from, end := int32(bytes.IndexByte(r.Raw, '{'))+1, int32(bytes.LastIndexByte(r.Raw, '}'))
	for _, m := range dropped[:n] {
		add(r.Raw[from:m.key])
		from = m.end
	}
	add(r.Raw[from:end])
	add(more)
	return append(pieces, closing)
}

// trimmed returns a piece without the commas and the white space around it.
func trimmed(piece []byte) []byte {
	around := func(c byte) bool { return c == ',' || c <= ' ' }
	for len(piece) > 0 && around(piece[0]) {
		piece = piece[1:]
	}
	for len(piece) > 0 && around(piece[len(piece)-1]) {
		piece = piece[:len(piece)-1]
	}
	return piece
}

// AppendResultMeta writes _meta of a result with our own serverInfo in place of anybody else's.
func (r *Result) AppendResultMeta(dst, serverInfo []byte) []byte {
	more := append([]byte(`"`+MetaServerInfo+`":`), serverInfo...)
	return AppendMembers(dst, r.Meta(), Change{More: more, Drop: func(key []byte) bool { return string(key) == MetaServerInfo }})
}

// Change says how an object is written anew: members that are left out, and members that come behind, raw JSON without
// braces.
type Change struct {
	Drop func(key []byte) bool
	More []byte
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
