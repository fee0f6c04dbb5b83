package identity

import (
	"slices"
	"strings"
)

// Scopes is a list of OAuth scope values in the order in which they were first named, without repeats.
type Scopes []string

// ParseScopes splits the space-separated form of RFC 6749 §3.3.
func ParseScopes(s string) Scopes {
	var out Scopes
	for f := range strings.SplitSeq(s, " ") {
		if f != "" && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// String returns the space-separated form of RFC 6749 §3.3.
func (s Scopes) String() string { return strings.Join(s, " ") }

// Has reports whether scope is among s.
func (s Scopes) Has(scope string) bool { return slices.Contains(s, scope) }

// HasAll reports whether every value of needed is among s.
func (s Scopes) HasAll(needed Scopes) bool {
	for _, n := range needed {
		if !s.Has(n) {
			return false
		}
	}
	return true
}

// HasAny reports whether at least one value of wanted is among s.
func (s Scopes) HasAny(wanted Scopes) bool {
	return slices.ContainsFunc(wanted, s.Has)
}

// Union returns s followed by what others adds to it.
func (s Scopes) Union(others ...Scopes) Scopes {
	out := slices.Clone(s)
	for _, o := range others {
		for _, v := range o {
			if !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return out
}

// Intersect returns the values of s that are also in other, in the order of s.
func (s Scopes) Intersect(other Scopes) Scopes {
	var out Scopes
	for _, v := range s {
		if other.Has(v) {
			out = append(out, v)
		}
	}
	return out
}

// ValidScope reports whether v is a scope-token of RFC 6749 §3.3.
func ValidScope(v string) bool {
	if v == "" {
		return false
	}
	for _, c := range []byte(v) {
		if c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
