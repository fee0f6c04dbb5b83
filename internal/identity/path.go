package identity

import (
	"errors"
	"strings"
)

// maxPath bounds a claim path in a rule.
const maxPath = 256

// wildcard is the path segment that stands for every member of an object or list.
const wildcard = "*"

// checkPath reports a claim path that can never find anything. A path is a claim's name, or names joined by dots that
// lead into objects: realm_access.roles, resource_access.*.roles. Names may contain dots and colons themselves:
//
//   - a claim whose whole name is the path is taken first: cognito:groups, https://acme.example/roles
//   - else, at each step, the longest name that is there is taken
//   - * stands for every member of an object or list; it cannot come first
func checkPath(path string) error {
	switch {
	case path == "":
		return errors.New("claim is empty; name the claim to look at, such as groups")
	case len(path) > maxPath:
		return errors.New("claim is longer than any claim's name")
	case path == wildcard || strings.HasPrefix(path, wildcard+"."):
		return errors.New("claim begins with *; name the claim first, as in resource_access.*.roles")
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("claim has a control character in it")
	}
	return nil
}

// each calls yield with every value that a path finds, until it returns false. A value that is null is not there. It
// reports whether it went to the end.
func (c Claims) each(path string, yield func(any) bool) bool {
	if v, ok := c[path]; ok {
		return v == nil || yield(v)
	}
	return eachMember(c, path, yield)
}

// Find returns what a path finds, up to a few values.
func (c Claims) Find(path string) []any {
	var all []any
	c.each(path, func(v any) bool {
		all = append(all, v)
		return len(all) < 8
	})
	return all
}

// eachMember takes the longest name that m has, short of the whole path.
func eachMember(m map[string]any, path string, yield func(any) bool) bool {
	for end := strings.LastIndexByte(path, '.'); end >= 0; end = strings.LastIndexByte(path[:end], '.') {
		if v, ok := m[path[:end]]; ok {
			return eachIn(v, path[end+1:], yield)
		}
	}
	return true
}

// eachIn goes on into a value with the rest of a path.
func eachIn(v any, rest string, yield func(any) bool) bool {
	if rest != wildcard && !strings.HasPrefix(rest, wildcard+".") {
		m, isObject := v.(map[string]any)
		if !isObject {
			return true
		}
		if v, ok := m[rest]; ok {
			return v == nil || yield(v)
		}
		return eachMember(m, rest, yield)
	}
	rest = strings.TrimPrefix(rest[1:], ".")
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			if !eachBelow(item, rest, yield) {
				return false
			}
		}
	case []any:
		for _, item := range v {
			if !eachBelow(item, rest, yield) {
				return false
			}
		}
	}
	return true
}

func eachBelow(v any, rest string, yield func(any) bool) bool {
	if rest != "" {
		return eachIn(v, rest, yield)
	}
	return v == nil || yield(v)
}

// moved returns the claim that a path leads into when the issuer took it out of the token because it grew too long
// (OpenID Connect Core §5.6.2). Nobody knows then what it would say.
func (c Claims) moved(path string) (string, bool) {
	names, _ := c["_claim_names"].(map[string]any)
	if len(names) == 0 {
		return "", false
	}
	for end := len(path); end >= 0; end = strings.LastIndexByte(path[:end], '.') {
		name := path[:end]
		if _, here := c[name]; here {
			return "", false
		}
		if _, gone := names[name]; gone {
			return name, true
		}
	}
	return "", false
}
