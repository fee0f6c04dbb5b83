package identity

import (
	"fmt"
	"slices"
)

// Claims are the members of a token or of a person's record, as decoded from JSON: string, bool, float64 or
// json.Number, nil, []any, map[string]any.
type Claims map[string]any

// String returns the claim's value when it is a string.
func (c Claims) String(name string) (string, bool) {
	s, ok := c[name].(string)
	return s, ok
}

// Strings returns the claim's value as a list: a string counts as a list of one, a list must hold strings only.
func (c Claims) Strings(name string) ([]string, bool) {
	switch v := c[name].(type) {
	case string:
		return []string{v}, true
	case []string:
		return v, true
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

// ClaimType is the type that a rule expects of a claim.
type ClaimType string

// Operator is how a rule compares.
type Operator string

// The types and operators, in AgentCore's terms.
const (
	TypeString      ClaimType = "string"
	TypeStringArray ClaimType = "string_array"

	OpEquals      Operator = "equals"       // string: the claim is the value
	OpContains    Operator = "contains"     // string_array: the value is among the claim's members
	OpContainsAny Operator = "contains_any" // string_array: one of the values is among the claim's members
)

// ClaimRule is one condition on one claim. A claim that is absent or of another type never matches.
type ClaimRule struct {
	Claim    string
	Type     ClaimType
	Operator Operator
	Values   []string // exactly one for equals and contains, at least one for contains_any
}

// Validate reports a rule that could never be meant, such as contains on a string.
func (r ClaimRule) Validate() error {
	switch {
	case r.Claim == "":
		return fmt.Errorf("claim rule: claim is empty; name the claim to look at, such as groups")
	case r.Type == TypeString && r.Operator != OpEquals:
		return fmt.Errorf("claim rule on %q: a string can only be compared with equals, not %q", r.Claim, r.Operator)
	case r.Type == TypeStringArray && r.Operator != OpContains && r.Operator != OpContainsAny:
		return fmt.Errorf("claim rule on %q: a string_array can be compared with contains or contains_any, not %q", r.Claim, r.Operator)
	case r.Type != TypeString && r.Type != TypeStringArray:
		return fmt.Errorf("claim rule on %q: type %q is not string or string_array", r.Claim, r.Type)
	case len(r.Values) == 0:
		return fmt.Errorf("claim rule on %q: value is missing", r.Claim)
	case len(r.Values) > 1 && r.Operator != OpContainsAny:
		return fmt.Errorf("claim rule on %q: %s takes one value, not %d", r.Claim, r.Operator, len(r.Values))
	}
	return nil
}

// Match reports whether the claims satisfy the rule. A rule that is not valid matches nothing.
func (r ClaimRule) Match(c Claims) bool {
	if r.Validate() != nil {
		return false
	}
	switch r.Type {
	case TypeString:
		s, ok := c.String(r.Claim)
		return ok && s == r.Values[0]
	case TypeStringArray:
		if _, isString := c[r.Claim].(string); isString {
			return false
		}
		have, ok := c.Strings(r.Claim)
		return ok && slices.ContainsFunc(r.Values, func(v string) bool { return slices.Contains(have, v) })
	}
	return false
}
