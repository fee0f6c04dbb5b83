package mcp

import (
	"bytes"
	"slices"
)

// Renaming says under which names clients see what a target calls otherwise. A nil function leaves names as they are.
type Renaming struct {
	URI  func(uri string) string // of a resource
	Task func(id string) string
}

// Apply returns a result, the params of a message, or an item of a list, with other names: the URIs of contents, resource
// links and embedded resources wherever the protocol has them, of the views of MCP Apps (_meta.ui.resourceUri) and of
// skills, and the ids of tasks. All other bytes are untouched; structured content and arguments are nobody's business.
// raw has been checked before.
func (r Renaming) Apply(raw []byte) []byte {
	out, _ := r.apply(raw)
	return out
}

// ApplyTo is Apply for a result whose members are known. They are looked for again only when something was renamed.
func (r Renaming) ApplyTo(result *Result) *Result {
	if raw, changed := r.apply(result.Raw); changed {
		return ParseResult(raw)
	}
	return result
}

func (r Renaming) apply(raw []byte) (out []byte, changed bool) {
	if !r.concerns(raw) {
		return raw, false
	}
	u := names{Renaming: r}
	u.s.init(raw, DefaultDepth)
	u.s.lone = true
	u.object(0, u.resultMember)
	if len(u.changes) == 0 || u.s.fault != "" {
		return raw, false
	}
	slices.SortFunc(u.changes, func(a, b renamed) int { return int(a.at.start - b.at.start) })
	dst := make([]byte, 0, len(raw)+64*len(u.changes))
	from := int32(0)
	for _, c := range u.changes {
		dst = append(dst, raw[from:c.at.start]...)
		dst = AppendString(dst, c.name)
		from = c.at.end
	}
	return append(dst, raw[from:]...), true
}

// concerns reports whether there may be anything to rename. Whoever writes keys with escapes has them read all the same.
func (r Renaming) concerns(raw []byte) bool {
	return r.URI != nil && bytes.Contains(raw, []byte(`ri"`)) || r.Task != nil && bytes.Contains(raw, []byte(`askId"`)) ||
		(r.URI != nil || r.Task != nil) && bytes.Contains(raw, []byte(`\u`))
}

// names walks a result to where names stand.
type names struct {
	Renaming
	s       scanner
	changes []renamed
}

type renamed struct {
	at   span
	name string
}

// visit says what to do with the value of a member; it moves past it.
type visit func(key string, depth int)

func (u *names) object(depth int, member visit) {
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
func (u *names) each(depth int, element func(depth int)) {
	if u.s.peek() != '[' {
		element(depth)
		return
	}
	var a list
	ok := u.s.elements(depth)
	for ok && u.s.nextElement(&a) {
		element(depth + 1)
		ok = u.s.fault == ""
	}
}

// text moves past a value and returns where it stands.
func (u *names) text(depth int) span {
	u.s.space()
	start := u.s.pos
	u.s.value(depth)
	return spanOf(start, u.s.pos)
}

func (u *names) change(at span, public func(string) string) {
	if public == nil {
		return
	}
	if own, ok := DecodeString(at.of(u.s.buf)); ok {
		if name := public(own); name != own {
			u.changes = append(u.changes, renamed{at, name})
		}
	}
}

func (u *names) resultMember(key string, depth int) {
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
	case "taskId":
		u.change(u.text(depth), u.Task)
	case "task", "tasks": // of 2025-11-25
		u.each(depth, func(depth int) { u.object(depth, u.taskMember) })
	case "skill", "skills":
		u.each(depth, func(depth int) { u.object(depth, u.skillMember) })
	case "resources": // of a directory
		u.each(depth, func(depth int) { u.object(depth, u.contentsMember) })
	case "_meta":
		u.object(depth, u.metaMember)
	default:
		u.s.value(depth)
	}
}

// block is one block of content. Which of its members is a URI is known at its end.
func (u *names) block(depth int) {
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
		u.change(uri, u.URI)
	}
}

func (u *names) taskMember(key string, depth int) {
	if key == "taskId" {
		u.change(u.text(depth), u.Task)
		return
	}
	u.s.value(depth)
}

func (u *names) skillMember(key string, depth int) {
	switch key {
	case "uri":
		u.change(u.text(depth), u.URI)
	case "resources": // its files
		u.each(depth, func(depth int) { u.object(depth, u.contentsMember) })
	default:
		u.s.value(depth)
	}
}

func (u *names) contentsMember(key string, depth int) {
	if key == "uri" {
		u.change(u.text(depth), u.URI)
		return
	}
	u.s.value(depth)
}

func (u *names) metaMember(key string, depth int) {
	switch key {
	case "ui":
		u.object(depth, func(key string, depth int) {
			if key == "resourceUri" {
				u.change(u.text(depth), u.URI)
				return
			}
			u.s.value(depth)
		})
	case MetaRelatedTask:
		u.object(depth, u.taskMember)
	case "ui/resourceUri": // before the extension was final
		u.change(u.text(depth), u.URI)
	default:
		u.s.value(depth)
	}
}
