package mcp

import (
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

// Item is one entry of a list, raw but for its name: a tool's or prompt's name, a resource's URI, a template.
type Item struct {
	Name string
	Raw  []byte
	at   span // where the name stands in Raw
}

// WithName returns the item under another name; all other bytes are untouched.
func (it Item) WithName(name string) Item {
	raw := make([]byte, 0, len(it.Raw)+len(name))
	raw = append(raw, it.Raw[:it.at.start]...)
	raw = AppendString(raw, name)
	end := len(raw)
	raw = append(raw, it.Raw[it.at.end:]...)
	return Item{Name: name, Raw: raw, at: span{it.at.start, end}}
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
		var at span
		o, isObject := s.object(2)
		ok = isObject
		for ok && s.next(&o) {
			named := string(o.key) == kind.nameMember()
			s.space()
			from := s.pos
			if ok = s.value(3); ok && named {
				at = span{from - start, s.pos - start}
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
		items = append(items, Item{Name: name, Raw: raw, at: at})
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
