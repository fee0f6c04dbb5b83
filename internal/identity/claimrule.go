package identity

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ClaimType is the type that a rule expects of a claim.
type ClaimType string

// Operator is how a rule compares.
type Operator string

// The types. The first two are AgentCore's.
const (
	TypeString      ClaimType = "string"
	TypeStringArray ClaimType = "string_array" // a list of strings
	TypeNumber      ClaimType = "number"
	TypeBool        ClaimType = "bool"
	TypeKeys        ClaimType = "keys" // an object; its keys are looked at like a list of strings
)

// The operators. The first three are AgentCore's, with AgentCore's meaning.
const (
	OpEquals      Operator = "equals"       // string, number, bool: the claim is the value
	OpContains    Operator = "contains"     // string_array, keys: the value is among the claim's members
	OpContainsAny Operator = "contains_any" // string_array, keys: one of the values is among the claim's members
	OpContainsAll Operator = "contains_all" // string_array, keys: all of the values are among the claim's members
	OpNotEquals   Operator = "not_equals"   // string, number, bool: the claim is there and is another value
	OpStartsWith  Operator = "starts_with"  // string: the claim begins with the value; string_array, keys: a member does
	OpMatches     Operator = "matches"      // the same with a regular expression (RE2), which must match from end to end
	OpExists      Operator = "exists"       // of any type: the claim is there, or with the value false it is not
)

const (
	maxPattern = 1024
	maxExact   = 1<<53 - 1 // JSON numbers up to here are exact (RFC 8259 §6)
)

// ClaimRule is one condition on one claim: the leaf of a Rule.
type ClaimRule struct {
	Claim    string    // a path; see checkPath for what it finds
	Type     ClaimType // may be empty for starts_with and matches: a string or a list of strings
	Operator Operator
	Values   []string // several for contains_any and contains_all, none or one for exists, else exactly one
}

// DefaultType is what an operator compares when nobody says more; "" when that is more than one type.
func (o Operator) DefaultType() ClaimType {
	switch o {
	case OpEquals, OpNotEquals:
		return TypeString
	case OpContains, OpContainsAny, OpContainsAll:
		return TypeStringArray
	}
	return ""
}

// suits reports whether an operator compares claims of the type.
func (o Operator) suits(t ClaimType) bool {
	switch o {
	case OpEquals, OpNotEquals:
		return t == TypeString || t == TypeNumber || t == TypeBool
	case OpContains, OpContainsAny, OpContainsAll:
		return t == TypeStringArray || t == TypeKeys
	case OpStartsWith, OpMatches:
		return t == "" || t == TypeString || t == TypeStringArray || t == TypeKeys
	case OpExists:
		return t == ""
	}
	return false
}

func (o Operator) takesList() bool { return o == OpContainsAny || o == OpContainsAll }

// String shows the rule in one line.
func (r ClaimRule) String() string {
	s := r.Claim + " " + string(r.Operator)
	switch {
	case r.Operator == OpExists && (len(r.Values) == 0 || r.Values[0] == "true"):
		return s
	case r.Operator == OpExists, r.Type == TypeNumber, r.Type == TypeBool:
		return s + " " + strings.Join(r.Values, " ")
	case r.Type == TypeKeys:
		s = r.Claim + " (keys) " + string(r.Operator)
	}
	if r.Operator.takesList() {
		return s + " " + fmt.Sprintf("%q", r.Values)
	}
	return s + " " + strconv.Quote(strings.Join(r.Values, " "))
}

// Validate reports a rule that could never be meant, such as contains on a string.
func (r ClaimRule) Validate() error {
	_, err := r.compile()
	return err
}

// leaf is a rule that is ready to be asked.
type leaf struct {
	rule    ClaimRule
	number  float64
	truth   bool
	pattern *regexp.Regexp
}

func (r ClaimRule) compile() (leaf, error) {
	l := leaf{rule: r}
	if err := checkPath(r.Claim); err != nil {
		return leaf{}, fmt.Errorf("claim rule: %w", err)
	}
	err := r.checkForm()
	if err == nil {
		err = l.readValue()
	}
	if err != nil {
		return leaf{}, fmt.Errorf("claim rule on %q: %w", r.Claim, err)
	}
	return l, nil
}

// checkForm checks how type, operator and number of values go together.
func (r ClaimRule) checkForm() error {
	switch {
	case r.Operator == OpExists && r.Type != "":
		return errors.New("exists looks at no type; leave the type out")
	case r.Operator == OpExists && len(r.Values) == 0:
		return nil
	case r.Type != r.Operator.DefaultType() && !slices.Contains([]ClaimType{TypeString, TypeStringArray, TypeNumber, TypeBool, TypeKeys}, r.Type):
		return fmt.Errorf("type %q is not string, string_array, number, bool or keys", r.Type)
	case !r.Operator.suits(r.Type):
		return fmt.Errorf("a %s cannot be compared with %q", cmp.Or(r.Type, "claim"), r.Operator)
	case len(r.Values) == 0:
		return errors.New("value is missing")
	case len(r.Values) > 1 && !r.Operator.takesList():
		return fmt.Errorf("%s takes one value, not %d", r.Operator, len(r.Values))
	}
	return nil
}

// readValue reads the value as what it stands for.
func (l *leaf) readValue() (err error) {
	r := l.rule
	switch {
	case r.Operator == OpExists && len(r.Values) == 0:
		l.truth = true
	case r.Operator == OpExists, r.Type == TypeBool:
		if r.Values[0] != "true" && r.Values[0] != "false" {
			return fmt.Errorf("value %.64q is neither true nor false", r.Values[0])
		}
		l.truth = r.Values[0] == "true"
	case r.Type == TypeNumber:
		l.number, err = strconv.ParseFloat(r.Values[0], 64)
		if err != nil || !(math.Abs(l.number) <= maxExact) {
			return fmt.Errorf("value %.64q is not a number that JSON can carry exactly", r.Values[0])
		}
	case r.Operator == OpStartsWith && r.Values[0] == "":
		return errors.New("value is empty: everything starts with it")
	case r.Operator == OpMatches:
		l.pattern, err = anchored(r.Values[0])
	}
	return err
}

// anchored compiles an expression that has to match from end to end: an expression that is found somewhere inside
// lets in more than its author thinks of.
func anchored(expr string) (*regexp.Regexp, error) {
	if len(expr) > maxPattern {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxPattern)
	}
	if _, err := regexp.Compile(expr); err != nil { // by itself, or a stray parenthesis could undo the anchors
		return nil, fmt.Errorf("the expression is not RE2: %w", err)
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}
