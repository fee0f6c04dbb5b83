package mcp

import (
	"bytes"
	"slices"
)

// MapURIs returns a result, or an item of a list, with other URIs of resources: those of contents, resource links and
// embedded resources wherever the protocol has them, and of the views of MCP Apps (_meta.ui.resourceUri). All other
// bytes are untouched; structured content and arguments are nobody's business. raw has been checked before.
func MapURIs(raw []byte, public func(uri string) string) []byte {
	// Whoever writes keys with escapes has them read all the same.
	if !bytes.Contains(raw, []byte(`ri"`)) && !bytes.Contains(raw, []byte(`\u`)) {
		return raw
	}
	u := uris{public: public}
	u.s.init(raw, DefaultDepth)
	u.s.lone = true
	u.object(0, u.resultMember)
	if len(u.changes) == 0 || u.s.fault != "" {
		return raw
	}
	slices.SortFunc(u.changes, func(a, b uriChange) int { return a.at.start - b.at.start })
	dst := make([]byte, 0, len(raw)+64*len(u.changes))
	from := 0
	for _, c := range u.changes {
		dst = append(dst, raw[from:c.at.start]...)
		dst = AppendString(dst, c.uri)
		from = c.at.end
	}
	return append(dst, raw[from:]...)
}

// uris walks a result to where URIs stand.
type uris struct {
	s       scanner
	public  func(uri string) string
	changes []uriChange
}

type uriChange struct {
	at  span
	uri string
}

// member says what to do with the value of a member; it moves past it.
type uriMember func(key string, depth int)

func (u *uris) object(depth int, member uriMember) {
	if u.s.peek() != '{' {
		u.s.value(depth)
		return
	}
	o, ok := u.s.object(depth)
	for ok && u.s.next(&o) {
		member(string(o.key), depth+1)
		ok = u.s.fault == ""
	}
}

// each visits the elements of an array, or a value that stands in place of one.
func (u *uris) each(depth int, visit func(depth int)) {
	if u.s.peek() != '[' {
		visit(depth)
		return
	}
	var a list
	ok := u.s.elements(depth)
	for ok && u.s.nextElement(&a) {
		visit(depth + 1)
		ok = u.s.fault == ""
	}
}

// text moves past a value and returns where it stands.
func (u *uris) text(depth int) span {
	u.s.space()
	start := u.s.pos
	u.s.value(depth)
	return span{start, u.s.pos}
}

func (u *uris) change(at span) {
	if uri, ok := DecodeString(at.of(u.s.buf)); ok {
		if public := u.public(uri); public != uri {
			u.changes = append(u.changes, uriChange{at, public})
		}
	}
}

func (u *uris) resultMember(key string, depth int) {
	switch key {
	case "content":
		u.each(depth, u.block)
	case "contents":
		u.each(depth, func(depth int) { u.object(depth, u.contentsMember) })
	case "messages": // of a prompt, or of a request for sampling
		u.each(depth, func(depth int) { u.object(depth, u.resultMember) })
	case "result", "params": // of a task, and of what a server asks
		u.object(depth, u.resultMember)
	case "inputRequests":
		u.object(depth, func(_ string, depth int) { u.object(depth, u.resultMember) })
	case "_meta":
		u.object(depth, u.metaMember)
	default:
		u.s.value(depth)
	}
}

// block is one block of content. Which of its members is a URI is known at its end.
func (u *uris) block(depth int) {
	var uri span
	kind := ""
	u.object(depth, func(key string, depth int) {
		switch key {
		case "type":
			kind, _ = DecodeString(u.text(depth).of(u.s.buf))
		case "uri":
			uri = u.text(depth)
		case "resource":
			u.object(depth, u.contentsMember)
		case "content": // of the result of a tool, in sampling
			u.each(depth, u.block)
		default:
			u.s.value(depth)
		}
	})
	if kind == "resource_link" && uri.end != 0 {
		u.change(uri)
	}
}

func (u *uris) contentsMember(key string, depth int) {
	if key == "uri" {
		u.change(u.text(depth))
		return
	}
	u.s.value(depth)
}

func (u *uris) metaMember(key string, depth int) {
	switch key {
	case "ui":
		u.object(depth, func(key string, depth int) {
			if key == "resourceUri" {
				u.change(u.text(depth))
				return
			}
			u.s.value(depth)
		})
	case "ui/resourceUri": // before the extension was final
		u.change(u.text(depth))
	default:
		u.s.value(depth)
	}
}
