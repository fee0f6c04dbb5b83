package identity_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"gatehouse/internal/identity"
)

func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"", " ", "a", "a b", "  a  b a ", "mcp:tools offline_access", "a\tb", "é \xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scopes := identity.ParseScopes(s)
		if !reflect.DeepEqual(identity.ParseScopes(scopes.String()), scopes) {
			t.Errorf("%q: %q does not survive its own text", s, scopes)
		}
		seen := map[string]bool{}
		for _, v := range scopes {
			if v == "" || seen[v] || strings.Contains(v, " ") {
				t.Errorf("%q: bad value %q", s, v)
			}
			seen[v] = true
		}
		for w := range strings.SplitSeq(s, " ") {
			if w != "" && !scopes.Has(w) {
				t.Errorf("%q: %q is lost", s, w)
			}
		}
	})
}

func TestScopes(t *testing.T) {
	t.Parallel()
	s := identity.ParseScopes("b a b c")
	if s.String() != "b a c" {
		t.Errorf("parsed to %q", s)
	}
	for name, ok := range map[string]bool{
		"has":                s.Has("a") && !s.Has("A") && !s.Has(""),
		"has all":            s.HasAll(identity.Scopes{"c", "a"}) && s.HasAll(nil) && !s.HasAll(identity.Scopes{"a", "d"}),
		"has any":            s.HasAny(identity.Scopes{"d", "a"}) && !s.HasAny(nil) && !s.HasAny(identity.Scopes{"d"}),
		"union":              s.Union(identity.Scopes{"d", "a"}, identity.Scopes{"e", "d"}).String() == "b a c d e",
		"intersect":          s.Intersect(identity.Scopes{"c", "d", "b"}).String() == "b c",
		"intersect nothing":  s.Intersect(nil) == nil,
		"union with nothing": identity.Scopes(nil).Union(nil) == nil,
	} {
		if !ok {
			t.Error(name)
		}
	}
	if s.Union(identity.Scopes{"z"}); s.String() != "b a c" {
		t.Error("a union changed its operand")
	}
}

func TestUnionDoesNotShareMemory(t *testing.T) {
	t.Parallel()
	s := append(make(identity.Scopes, 0, 8), "a")
	x, y := s.Union(identity.Scopes{"x"}), s.Union(identity.Scopes{"y"})
	if x.String() != "a x" || y.String() != "a y" {
		t.Errorf("%q and %q", x, y)
	}
}

func TestValidScope(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]bool{
		"mcp:tools": true, "https://example/x.read": true, "!": true, "~": true, "[]": true,
		"": false, "a b": false, `a"b`: false, `a\b`: false, "a\x00": false, "é": false, "\x7f": false,
	} {
		if got := identity.ValidScope(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func claims(t *testing.T, text string) identity.Claims {
	t.Helper()
	var c identity.Claims
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestClaimRules(t *testing.T) {
	t.Parallel()
	c := claims(t, `{"cid":"0oa","groups":["eng","sre"],"one":"eng","empty":[],"mixed":["eng",1],"n":1,"no":null,"obj":{"eng":true}}`)
	const (
		str = identity.TypeString
		arr = identity.TypeStringArray
		eq  = identity.OpEquals
		in  = identity.OpContains
		any = identity.OpContainsAny
	)
	for name, tc := range map[string]struct {
		rule  identity.ClaimRule
		valid bool
		match bool
	}{
		"equals":                   {identity.ClaimRule{Claim: "cid", Type: str, Operator: eq, Values: []string{"0oa"}}, true, true},
		"equals another":           {identity.ClaimRule{Claim: "cid", Type: str, Operator: eq, Values: []string{"0OA"}}, true, false},
		"equals on a list":         {identity.ClaimRule{Claim: "groups", Type: str, Operator: eq, Values: []string{"eng"}}, true, false},
		"equals on a number":       {identity.ClaimRule{Claim: "n", Type: str, Operator: eq, Values: []string{"1"}}, true, false},
		"equals on nothing":        {identity.ClaimRule{Claim: "gone", Type: str, Operator: eq, Values: []string{""}}, true, false},
		"equals on null":           {identity.ClaimRule{Claim: "no", Type: str, Operator: eq, Values: []string{""}}, true, false},
		"contains":                 {identity.ClaimRule{Claim: "groups", Type: arr, Operator: in, Values: []string{"sre"}}, true, true},
		"contains not":             {identity.ClaimRule{Claim: "groups", Type: arr, Operator: in, Values: []string{"ops"}}, true, false},
		"contains on a string":     {identity.ClaimRule{Claim: "one", Type: arr, Operator: in, Values: []string{"eng"}}, true, false},
		"contains on an empty one": {identity.ClaimRule{Claim: "empty", Type: arr, Operator: in, Values: []string{""}}, true, false},
		"contains on a mixed list": {identity.ClaimRule{Claim: "mixed", Type: arr, Operator: in, Values: []string{"eng"}}, true, false},
		"contains on an object":    {identity.ClaimRule{Claim: "obj", Type: arr, Operator: in, Values: []string{"eng"}}, true, false},
		"any":                      {identity.ClaimRule{Claim: "groups", Type: arr, Operator: any, Values: []string{"ops", "sre"}}, true, true},
		"any not":                  {identity.ClaimRule{Claim: "groups", Type: arr, Operator: any, Values: []string{"ops", "hr"}}, true, false},

		"nothing":             {identity.ClaimRule{}, false, false},
		"no claim":            {identity.ClaimRule{Type: str, Operator: eq, Values: []string{"0oa"}}, false, false},
		"no value":            {identity.ClaimRule{Claim: "groups", Type: arr, Operator: any}, false, false},
		"two for equals":      {identity.ClaimRule{Claim: "cid", Type: str, Operator: eq, Values: []string{"0oa", "x"}}, false, false},
		"two for contains":    {identity.ClaimRule{Claim: "groups", Type: arr, Operator: in, Values: []string{"eng", "x"}}, false, false},
		"string contains":     {identity.ClaimRule{Claim: "cid", Type: str, Operator: in, Values: []string{"0oa"}}, false, false},
		"array equals":        {identity.ClaimRule{Claim: "groups", Type: arr, Operator: eq, Values: []string{"eng"}}, false, false},
		"unknown type":        {identity.ClaimRule{Claim: "cid", Type: "number", Operator: eq, Values: []string{"0oa"}}, false, false},
		"unknown operator":    {identity.ClaimRule{Claim: "groups", Type: arr, Operator: "like", Values: []string{"eng"}}, false, false},
		"no operator":         {identity.ClaimRule{Claim: "groups", Type: arr, Values: []string{"eng"}}, false, false},
		"AgentCore's capital": {identity.ClaimRule{Claim: "groups", Type: "STRING_ARRAY", Operator: "CONTAINS", Values: []string{"eng"}}, false, false},
	} {
		if err := tc.rule.Validate(); (err == nil) != tc.valid {
			t.Errorf("%s: Validate: %v", name, err)
		}
		rule, err := identity.NewRule(tc.rule)
		if (err == nil) != tc.valid {
			t.Errorf("%s: NewRule: %v", name, err)
		}
		if got := rule.Match(c); got != tc.match {
			t.Errorf("%s: Match is %v", name, got)
		}
		if rule.Match(nil) {
			t.Errorf("%s: matches nobody's claims", name)
		}
	}
}

func TestClaimValues(t *testing.T) {
	t.Parallel()
	c := claims(t, `{"s":"x","l":["a","b"],"m":["a",1],"e":[],"n":1}`)
	c["native"] = []string{"c"}
	for name, want := range map[string][]string{"s": {"x"}, "l": {"a", "b"}, "e": {}, "native": {"c"}} {
		if got, ok := c.Strings(name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
	for _, name := range []string{"m", "n", "gone"} {
		if got, ok := c.Strings(name); ok {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, ok := c.String("l"); ok {
		t.Error("a list is a string")
	}
}

func TestPersonKey(t *testing.T) {
	t.Parallel()
	a, b := identity.PersonKey{Issuer: "https://a", Subject: "b/c"}, identity.PersonKey{Issuer: "https://a/b", Subject: "c"}
	if a.String() == b.String() {
		t.Error("two persons share a key")
	}
	if a.IsZero() || !(identity.PersonKey{}).IsZero() || (identity.PersonKey{Subject: "x"}).IsZero() {
		t.Error("IsZero is wrong")
	}
}
