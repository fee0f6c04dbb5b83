package mcp

import (
	"bytes"
	"errors"
	"fmt"
)

// ListKind names one of the four lists.
type ListKind string

// The lists: the value is the member of the result that holds the items.
const (
	Tools     ListKind = "tools"
	Prompts   ListKind = "prompts"
	Resources ListKind = "resources"
	Templates ListKind = "resourceTemplates"
)

// Method returns the method that asks for the list.
func (k ListKind) Method() string {
	switch k {
	case Tools:
		return MethodToolsList
	case Prompts:
		return MethodPromptsList
	case Resources:
		return MethodResourcesList
	}
	return MethodTemplatesList
}

// nameMember is the member of an item by which it is called.
func (k ListKind) nameMember() string {
	switch k {
	case Resources:
		return "uri"
	case Templates:
		return "uriTemplate"
	}
	return "name"
}

// MetaName is the member of _meta that holds a target's own name of a tool or prompt, where clients see another.
const MetaName = "gatehouse/name"

// Item is one entry of a list, raw but for its name: a tool's or prompt's name, a resource's URI, a template.
type Item struct {
	Name string
	Raw  []byte
	at   span // where the name stands in Raw
	meta span // where the value of _meta stands
}

// WithName returns the item under another name; all other bytes are untouched.
func (it Item) WithName(name string) Item { return it.edited(name, nil) }

// Renamed is WithName with the old name in _meta, under MetaName.
func (it Item) Renamed(name string) Item {
	own := append(AppendString(nil, MetaName), ':')
	own = AppendString(own, it.Name)
	if it.meta.end == 0 {
		return it.edited(name, append(append([]byte(`{`), own...), '}'))
	}
	meta := it.meta.of(it.Raw)
	if len(meta) == 0 || meta[0] != '{' {
		return it.edited(name, nil)
	}
	return it.edited(name, AppendMembers(nil, meta, Change{More: own, Drop: func(key []byte) bool { return string(key) == MetaName }}))
}

// edited returns the item under another name and, unless meta is nil, with another _meta.
func (it Item) edited(name string, meta []byte) Item {
	raw := make([]byte, 0, len(it.Raw)+len(name)+len(meta)+16)
	out := Item{Name: name}
	from := int32(0)
	replace := func(at span, value []byte) span {
		raw = append(raw, it.Raw[from:at.start]...)
		from = at.end
		start := len(raw)
		raw = append(raw, value...)
		return spanOf(start, len(raw))
	}
	if meta == nil {
		meta = it.meta.of(it.Raw)
	}
	quoted := AppendString(nil, name)
	switch {
	case it.meta.end == 0:
		out.at = replace(it.at, quoted)
	case it.meta.start < it.at.start:
		out.meta = replace(it.meta, meta)
		out.at = replace(it.at, quoted)
	default:
		out.at = replace(it.at, quoted)
		out.meta = replace(it.meta, meta)
	}
	if it.meta.end == 0 && meta != nil {
		end := int32(bytes.LastIndexByte(it.Raw, '}'))
		raw = append(raw, it.Raw[from:end]...)
		raw = append(raw, `,"_meta":`...)
		from = end
		out.meta = replace(span{end, end}, meta)
	}
	raw = append(raw, it.Raw[from:]...)
	out.Raw = raw
	return out
}

// InSessions returns a tool as clients of the session era may see it: without an output schema that is not one of an
// object, because structured content is an object there (2025-11-25 server/tools, output schema). Name and order of the
// rest are untouched. It is not to be renamed.
func (it Item) InSessions() Item {
	schema, has := Lookup(it.Raw, "outputSchema")
	if kind, _ := LookupString(schema, "type"); !has || kind == "object" {
		return it
	}
	raw := AppendMembers(nil, it.Raw, Change{Drop: func(key []byte) bool { return string(key) == "outputSchema" }})
	return Item{Name: it.Name, Raw: raw}
}

// SplitList splits the result of a list method into its items, which alias it. Next is the cursor of the next page,
// empty on the last one. An item without a name is an error: such a list cannot be routed.
func SplitList(result []byte, kind ListKind) (items []Item, next string, err error) {
	var s scanner
	s.init(result, DefaultDepth)
	s.lone = true
	found := false
	o, ok := s.object(0)
	for ok && s.next(&o) {
		switch string(o.key) {
		case string(kind):
			found = true
			if items, err = splitItems(&s, kind); err != nil {
				return nil, "", err
			}
		case "nextCursor":
			s.space()
			start := s.pos
			if ok = s.value(1); ok {
				next, _ = DecodeString(result[start:s.pos])
			}
		default:
			ok = s.value(1)
		}
	}
	switch {
	case !ok || !s.end():
		return nil, "", fmt.Errorf("list result: %s", s.fault)
	case !found:
		return nil, "", fmt.Errorf("list result: no member %q", kind)
	}
	return items, next, nil
}

func splitItems(s *scanner, kind ListKind) ([]Item, error) {
	var items []Item
	var a list
	ok := s.elements(1)
	for ok && s.nextElement(&a) {
		s.space()
		start := s.pos
		var at, meta span
		o, isObject := s.object(2)
		ok = isObject
		for ok && s.next(&o) {
			named, isMeta := string(o.key) == kind.nameMember(), string(o.key) == "_meta"
			s.space()
			from := s.pos
			switch ok = s.value(3); {
			case ok && named:
				at = spanOf(from-start, s.pos-start)
			case ok && isMeta:
				meta = spanOf(from-start, s.pos-start)
			}
		}
		if !ok || s.fault != "" {
			break
		}
		raw := s.buf[start:s.pos]
		name, isString := DecodeString(at.of(raw))
		if !isString || name == "" {
			return nil, fmt.Errorf("list result: an item of %s without %s", kind, kind.nameMember())
		}
		items = append(items, Item{Name: name, Raw: raw, at: at, meta: meta})
	}
	if s.fault != "" {
		return nil, errors.New("list result: " + s.fault)
	}
	return items, nil
}

// AppendList writes the result of a list method.
func AppendList(dst []byte, kind ListKind, items []Item, next string) []byte {
	dst = append(dst, '{', '"')
	dst = append(dst, kind...)
	dst = append(dst, `":[`...)
	for i, it := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, it.Raw...)
	}
	dst = append(dst, ']')
	if next != "" {
		dst = append(dst, `,"nextCursor":`...)
		dst = AppendString(dst, next)
	}
	return append(dst, '}')
}
