package mcp

import "strings"

// NameSeparator stands between a target's name and the name of its tool or prompt.
const NameSeparator = "___"

// PrefixedName joins a target's name and a name that the target gave.
func PrefixedName(target, name string) string { return target + NameSeparator + name }

// SplitName undoes PrefixedName. The first separator counts, which is why ValidTargetName forbids it in targets.
func SplitName(s string) (target, name string, ok bool) {
	target, name, ok = strings.Cut(s, NameSeparator)
	return target, name, ok && target != "" && name != ""
}

// ValidTargetName reports whether a target may be called s: letters, digits, dot, dash and underscore, beginning and
// ending with a letter or digit, without the separator, at most 48 characters, so that prefixed names stay legal
// tool names and can be split again (server/tools, tool names).
func ValidTargetName(s string) bool {
	if s == "" || len(s) > 48 || strings.Contains(s, NameSeparator) {
		return false
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(s)-1 && (c == '.' || c == '-' || c == '_')
		if !alnum && !inner {
			return false
		}
	}
	return true
}
