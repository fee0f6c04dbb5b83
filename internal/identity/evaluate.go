package identity

import (
	"encoding/json"
	"slices"
	"strings"
)

// outcome is what a condition says about claims. What cannot be known is neither: a claim that its issuer moved out of
// the token, or one of another type than the rule expects. Neither a rule nor its negation holds then.
type outcome uint8

const (
	unknown outcome = iota
	fails
	holds
)

func outcomeOf(ok bool) outcome {
	if ok {
		return holds
	}
	return fails
}

// ask looks at each value that the path finds. Where * finds several, one that compares suffices, but for not_equals
// none of them may be the value; the members of several lists count as one list.
func (l *leaf) ask(c Claims) outcome {
	r := &l.rule
	if v, ok := c[r.Claim]; ok && v != nil && r.Operator != OpContainsAll { // the usual case, without a closure
		return l.compare(v)
	}
	if _, moved := c.moved(r.Claim); moved {
		return unknown
	}
	switch r.Operator {
	case OpExists:
		return outcomeOf(c.exists(r.Claim) == l.truth)
	case OpContainsAll:
		return l.containsAll(c)
	}
	result := fails
	c.each(r.Claim, func(v any) bool {
		switch one := l.compare(v); {
		case r.Operator == OpNotEquals && one == fails, r.Operator != OpNotEquals && one == holds:
			result = one
			return false
		case one == unknown:
			result = unknown
		case result != unknown:
			result = one
		}
		return true
	})
	return result
}

func (c Claims) exists(path string) bool {
	return !c.each(path, func(any) bool { return false })
}

// compare looks at one value that is there.
func (l *leaf) compare(v any) outcome {
	r := &l.rule
	if r.Operator == OpExists {
		return outcomeOf(l.truth)
	}
	switch r.Type {
	case TypeString:
		if s, ok := v.(string); ok {
			return outcomeOf(l.accepts(s))
		}
	case TypeNumber:
		if n, ok := numberOf(v); ok {
			return outcomeOf((n == l.number) == (r.Operator == OpEquals))
		}
	case TypeBool:
		if b, ok := v.(bool); ok {
			return outcomeOf((b == l.truth) == (r.Operator == OpEquals))
		}
	case TypeStringArray, TypeKeys, "":
		if s, ok := v.(string); ok && r.Type == "" {
			return outcomeOf(l.accepts(s))
		}
		if isMembers(v, r.Type) {
			return outcomeOf(anyMember(v, l.accepts))
		}
	}
	return unknown
}

// accepts compares one string.
func (l *leaf) accepts(s string) bool {
	values := l.rule.Values
	switch l.rule.Operator {
	case OpNotEquals:
		return s != values[0]
	case OpStartsWith:
		return strings.HasPrefix(s, values[0])
	case OpMatches:
		return l.pattern.MatchString(s)
	}
	return slices.Contains(values, s)
}

func (l *leaf) containsAll(c Claims) outcome {
	if !c.exists(l.rule.Claim) {
		return fails
	}
	strange := false
	for _, want := range l.rule.Values {
		found := false
		c.each(l.rule.Claim, func(v any) bool {
			if !isMembers(v, l.rule.Type) {
				strange = true
				return true
			}
			found = anyMember(v, func(s string) bool { return s == want })
			return !found
		})
		switch {
		case !found && strange:
			return unknown
		case !found:
			return fails
		}
	}
	return holds
}

func numberOf(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	}
	return 0, false
}

// isMembers reports whether v has strings for members in the way of the type.
func isMembers(v any, t ClaimType) bool {
	switch v := v.(type) {
	case map[string]any:
		return t == TypeKeys
	case []string:
		return t != TypeKeys
	case []any:
		return t != TypeKeys && !slices.ContainsFunc(v, func(e any) bool { _, ok := e.(string); return !ok })
	}
	return false
}

// anyMember reports whether one of the members satisfies f.
func anyMember(v any, f func(string) bool) bool {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			if f(k) {
				return true
			}
		}
	case []string:
		return slices.ContainsFunc(v, f)
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok && f(s) {
				return true
			}
		}
	}
	return false
}
