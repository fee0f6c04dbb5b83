package identity_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"gatehouse/internal/identity"
)

// leafOf reads a rule as the tests write it: claim, operator, type when it is not the operator's own, values.
func leafOf(t testing.TB, claim, op, kind string, values ...string) *identity.Rule {
	t.Helper()
	r := identity.ClaimRule{Claim: claim, Operator: identity.Operator(op), Type: identity.ClaimType(kind), Values: values}
	if kind == "" {
		r.Type = r.Operator.DefaultType()
	}
	rule, err := identity.NewRule(r)
	if err != nil {
		t.Fatalf("%v: %v", r, err)
	}
	return rule
}

func tree(t testing.TB, rule *identity.Rule, err error) *identity.Rule {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return rule
}

// vendors holds claims in the shapes that real issuers give them.
const vendors = `{
	"sub": "alice", "level": 3, "ratio": 0.5, "mfa": true, "nothing": null, "empty": [], "mixed": ["eng", 1],
	"groups": ["/eng/platform", "/staff"],
	"cognito:groups": ["eng"],
	"https://acme.example/roles": ["admin"],
	"https://acme.example/app": {"roles": ["editor"]},
	"realm_access": {"roles": ["x", "y"]},
	"resource_access": {"gw": {"roles": ["reader"]}, "my.client": {"roles": ["writer", "z"]}, "account": {}, "odd": {"roles": "text"}},
	"realm_access.shadow": "exact", "realm": {"a.b": {"c": "deep"}, "a": {"b": {"c": "other"}}},
	"urn:zitadel:iam:org:project:roles": {"admin": {"ORGID": "acme.com"}, "viewer": {"ORGID": "acme.com"}},
	"orgs": [{"name": "acme", "tier": 2}, {"name": "globex", "tier": 7}],
	"_claim_names": {"overage": "src1", "sub": "src1"}
}`

func TestRuleOperators(t *testing.T) {
	t.Parallel()
	c := claims(t, vendors)
	for _, tc := range []struct {
		claim, op, kind string
		values          []string
		match, opposite bool // what the rule and what Not of it say
	}{
		{"sub", "equals", "", []string{"alice"}, true, false},
		{"sub", "not_equals", "", []string{"alice"}, false, true},
		{"sub", "not_equals", "", []string{"bob"}, true, false},
		{"gone", "not_equals", "", []string{"bob"}, false, true},
		{"nothing", "not_equals", "", []string{"bob"}, false, true},
		{"groups", "not_equals", "", []string{"bob"}, false, false}, // another type: nobody knows
		{"groups", "equals", "", []string{"/staff"}, false, false},
		{"sub", "starts_with", "", []string{"ali"}, true, false},
		{"sub", "starts_with", "", []string{"lice"}, false, true},
		{"groups", "starts_with", "string_array", []string{"/eng/"}, true, false},
		{"groups", "starts_with", "", []string{"/eng/"}, true, false},
		{"groups", "starts_with", "string", []string{"/eng/"}, false, false},
		{"groups", "matches", "", []string{"/s.*"}, true, false},
		{"level", "starts_with", "", []string{"3"}, false, false},
		{"sub", "matches", "", []string{"a.*e"}, true, false},
		{"sub", "matches", "", []string{"lic"}, false, true}, // from end to end
		{"sub", "matches", "", []string{"alice|bob"}, true, false},
		{"sub", "matches", "", []string{"al|ice"}, false, true},
		{"sub", "matches", "", []string{"(?i)ALICE"}, true, false},
		{"groups", "matches", "string_array", []string{"/eng/[a-z]+"}, true, false},
		{"level", "equals", "number", []string{"3"}, true, false},
		{"level", "equals", "number", []string{"3.0"}, true, false},
		{"level", "not_equals", "number", []string{"4"}, true, false},
		{"ratio", "equals", "number", []string{"0.5"}, true, false},
		{"sub", "equals", "number", []string{"3"}, false, false},
		{"level", "equals", "string", []string{"3"}, false, false},
		{"mfa", "equals", "bool", []string{"true"}, true, false},
		{"mfa", "not_equals", "bool", []string{"true"}, false, true},
		{"sub", "equals", "bool", []string{"true"}, false, false},
		{"sub", "exists", "", nil, true, false},
		{"sub", "exists", "", []string{"false"}, false, true},
		{"gone", "exists", "", nil, false, true},
		{"gone", "exists", "", []string{"false"}, true, false},
		{"nothing", "exists", "", nil, false, true},
		{"empty", "exists", "", nil, true, false},
		{"overage", "exists", "", nil, false, false},
		{"overage", "exists", "", []string{"false"}, false, false},
		{"overage", "contains", "", []string{"eng"}, false, false},
		{"overage.roles", "contains", "", []string{"eng"}, false, false},
		{"mixed", "contains", "", []string{"eng"}, false, false},
		{"empty", "contains", "", []string{"eng"}, false, true},
		{"realm_access.roles", "contains_all", "", []string{"y", "x"}, true, false},
		{"realm_access.roles", "contains_all", "", []string{"y", "z"}, false, true},
		{"gone", "contains_all", "", []string{"y"}, false, true},
		{"mixed", "contains_all", "", []string{"eng"}, false, false},
		{"cognito:groups", "contains", "", []string{"eng"}, true, false},
		{"https://acme.example/roles", "contains", "", []string{"admin"}, true, false},
		{"https://acme.example/app.roles", "contains", "", []string{"editor"}, true, false},
		{"realm_access.shadow", "equals", "", []string{"exact"}, true, false},
		{"realm.a.b.c", "equals", "", []string{"deep"}, true, false}, // the longest name that is there
		{"realm.a.c", "exists", "", nil, false, true},
		{"sub.roles", "exists", "", nil, false, true},
		{"resource_access.gw.roles", "contains", "", []string{"reader"}, true, false},
		{"resource_access.my.client.roles", "contains", "", []string{"writer"}, true, false},
		{"resource_access.*.roles", "contains", "", []string{"writer"}, true, false},
		{"resource_access.*.roles", "contains_any", "", []string{"n", "reader"}, true, false},
		{"resource_access.*.roles", "contains_all", "", []string{"reader", "writer"}, true, false},
		{"resource_access.*.roles", "contains", "", []string{"nobody"}, false, false}, // one of them is text
		{"orgs.*.name", "equals", "", []string{"globex"}, true, false},
		{"orgs.*.name", "not_equals", "", []string{"globex"}, false, true},
		{"orgs.*.name", "not_equals", "", []string{"initech"}, true, false},
		{"orgs.*.tier", "equals", "number", []string{"7"}, true, false},
		{"orgs.name", "exists", "", nil, false, true},
		{"groups.*", "equals", "", []string{"/staff"}, true, false},
		{"urn:zitadel:iam:org:project:roles", "contains", "keys", []string{"admin"}, true, false},
		{"urn:zitadel:iam:org:project:roles", "contains_all", "keys", []string{"admin", "viewer"}, true, false},
		{"urn:zitadel:iam:org:project:roles", "contains", "keys", []string{"owner"}, false, true},
		{"urn:zitadel:iam:org:project:roles", "contains", "", []string{"admin"}, false, false},
		{"groups", "contains", "keys", []string{"/staff"}, false, false},
	} {
		rule := leafOf(t, tc.claim, tc.op, tc.kind, tc.values...)
		not, err := identity.Not(rule)
		not = tree(t, not, err)
		if got, opposite := rule.Match(c), not.Match(c); got != tc.match || opposite != tc.opposite {
			t.Errorf("%s: %v and %v, want %v and %v", rule, got, opposite, tc.match, tc.opposite)
		}
		for _, r := range []*identity.Rule{rule, not} {
			if m := r.Mismatch(c); (m == nil) != r.Match(c) {
				t.Errorf("%s: mismatch %+v", r, m)
			}
		}
	}
}

func TestRuleNumbersOfTheOtherDecoder(t *testing.T) {
	t.Parallel()
	if !leafOf(t, "n", "equals", "number", "3").Match(identity.Claims{"n": json.Number("3")}) {
		t.Error("json.Number does not compare")
	}
}

func TestRuleRefuses(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]identity.ClaimRule{
		"wildcard first":      {Claim: "*.roles", Type: "string", Operator: "equals", Values: []string{"x"}},
		"wildcard alone":      {Claim: "*", Type: "string", Operator: "equals", Values: []string{"x"}},
		"control character":   {Claim: "a\x00b", Type: "string", Operator: "equals", Values: []string{"x"}},
		"endless path":        {Claim: strings.Repeat("a.", 200), Type: "string", Operator: "equals", Values: []string{"x"}},
		"empty prefix":        {Claim: "a", Type: "string", Operator: "starts_with", Values: []string{""}},
		"broken expression":   {Claim: "a", Type: "string", Operator: "matches", Values: []string{"("}},
		"undone anchors":      {Claim: "a", Type: "string", Operator: "matches", Values: []string{"a)|(?:b"}},
		"look-ahead":          {Claim: "a", Type: "string", Operator: "matches", Values: []string{"(?=a)"}},
		"endless expression":  {Claim: "a", Type: "string", Operator: "matches", Values: []string{strings.Repeat("a", 1025)}},
		"no number":           {Claim: "a", Type: "number", Operator: "equals", Values: []string{"x"}},
		"not a number":        {Claim: "a", Type: "number", Operator: "equals", Values: []string{"NaN"}},
		"inexact number":      {Claim: "a", Type: "number", Operator: "equals", Values: []string{"9007199254740993"}},
		"number starts with":  {Claim: "a", Type: "number", Operator: "starts_with", Values: []string{"1"}},
		"no truth value":      {Claim: "a", Type: "bool", Operator: "equals", Values: []string{"yes"}},
		"exists maybe":        {Claim: "a", Operator: "exists", Values: []string{"maybe"}},
		"exists of a type":    {Claim: "a", Type: "string", Operator: "exists"},
		"exists twice":        {Claim: "a", Operator: "exists", Values: []string{"true", "false"}},
		"two expressions":     {Claim: "a", Type: "string", Operator: "matches", Values: []string{"a", "b"}},
		"keys equal":          {Claim: "a", Type: "keys", Operator: "equals", Values: []string{"a"}},
		"no type":             {Claim: "a", Operator: "equals", Values: []string{"a"}},
		"contains_all of two": {Claim: "a", Type: "string", Operator: "contains_all", Values: []string{"a"}},
	} {
		if rule, err := identity.NewRule(r); err == nil || rule.Match(identity.Claims{"a": "x"}) {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestRuleGroups(t *testing.T) {
	t.Parallel()
	yes := leafOf(t, "sub", "equals", "", "alice")
	no := leafOf(t, "sub", "equals", "", "bob")
	who := leafOf(t, "groups", "contains", "", "eng") // moved away below
	c := identity.Claims{"sub": "alice", "_claim_names": map[string]any{"groups": "src1"}}
	all := func(r ...*identity.Rule) *identity.Rule { g, err := identity.AllOf(r...); return tree(t, g, err) }
	any := func(r ...*identity.Rule) *identity.Rule { g, err := identity.AnyOf(r...); return tree(t, g, err) }
	not := func(r *identity.Rule) *identity.Rule { g, err := identity.Not(r); return tree(t, g, err) }
	for _, tc := range []struct {
		rule                  *identity.Rule
		match                 bool
		expected, found, gone string
	}{
		{all(yes, yes), true, "", "", ""},
		{all(yes, no, who), false, `sub equals "bob"`, `"alice"`, ""},
		{all(yes, who), false, `groups contains "eng"`, "not in the token (_claim_names)", "groups"},
		{any(no, yes), true, "", "", ""},
		{any(who, yes), true, "", "", ""},
		{any(no, who), false, `any of (sub equals "bob"; groups contains "eng")`, `sub "alice", groups not in the token (_claim_names)`, "groups"},
		{any(no, no), false, `any of (sub equals "bob"; sub equals "bob")`, `"alice"`, ""},
		{not(no), true, "", "", ""},
		{not(yes), false, `not (sub equals "alice")`, `"alice"`, ""},
		{not(who), false, `not (groups contains "eng")`, "not in the token (_claim_names)", "groups"},
		{not(all(yes, who)), false, `not (all of (sub equals "alice"; groups contains "eng"))`, `sub "alice", groups not in the token (_claim_names)`, "groups"},
		{not(all(no, who)), true, "", "", ""},
		{not(any(no, who)), false, `not (any of (sub equals "bob"; groups contains "eng"))`, `sub "alice", groups not in the token (_claim_names)`, "groups"},
		{not(not(yes)), true, "", "", ""},
		{all(yes, any(no, all(yes, not(no)))), true, "", "", ""},
		{nil, false, "nobody", "", ""},
		{&identity.Rule{}, false, "nobody", "", ""},
	} {
		if got := tc.rule.Match(c); got != tc.match {
			t.Errorf("%s: %v", tc.rule, got)
		}
		m := tc.rule.Mismatch(c)
		if m == nil {
			m = &identity.Mismatch{}
		}
		if m.Expected != tc.expected || m.Found != tc.found || m.Moved != tc.gone {
			t.Errorf("%s: %+v", tc.rule, m)
		}
	}
}

func TestRuleGroupsRefuse(t *testing.T) {
	t.Parallel()
	deep := leafOf(t, "sub", "exists", "")
	var err error
	for depth := 1; err == nil; depth++ {
		var deeper *identity.Rule
		if deeper, err = identity.Not(deep); err == nil {
			deep = deeper
		}
		if depth > 20 {
			t.Fatal("nested without end")
		}
	}
	for name, make := range map[string]func() (*identity.Rule, error){
		"any of nothing": func() (*identity.Rule, error) { return identity.AnyOf() },
		"all of nothing": func() (*identity.Rule, error) { return identity.AllOf() },
		"not nothing":    func() (*identity.Rule, error) { return identity.Not(nil) },
		"any of zero":    func() (*identity.Rule, error) { return identity.AnyOf(deep, &identity.Rule{}) },
		"too deep":       func() (*identity.Rule, error) { return identity.AllOf(deep) },
	} {
		if rule, err := make(); err == nil || rule.Match(identity.Claims{"sub": "x"}) {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestMismatchIsBounded(t *testing.T) {
	t.Parallel()
	long := make([]any, 5000)
	for i := range long {
		long[i] = fmt.Sprintf("gruppe-ü-%d", i)
	}
	m := leafOf(t, "groups", "contains", "", "eng").Mismatch(identity.Claims{"groups": long})
	if m == nil || len(m.Found) > 250 || !strings.HasSuffix(m.Found, "…") {
		t.Errorf("%+v", m)
	}
}

// FuzzClaimPath: any path on any claims ends, and a name that is there in full is always found.
func FuzzClaimPath(f *testing.F) {
	for _, path := range []string{
		"sub", "realm_access.roles", "resource_access.*.roles", "a..b", ".", "..", "*", "a.*", "a.*.*.b", "https://acme.example/roles",
		"cognito:groups", "realm.a.b.c", ".sub", "sub.", "orgs.*.name", "groups.*", "\x00", "ü.ö", strings.Repeat("*.", 100),
	} {
		f.Add(path, vendors)
	}
	f.Add("a.b", `{"a.b": null, "a": {"b": 1}}`)
	f.Fuzz(func(t *testing.T, path, text string) {
		var c identity.Claims
		if json.Unmarshal([]byte(text), &c) != nil {
			return
		}
		exists, err := identity.NewRule(identity.ClaimRule{Claim: path, Operator: identity.OpExists})
		if err != nil {
			return
		}
		absent := leafOf(t, path, "exists", "", "false")
		if exists.Match(c) && absent.Match(c) {
			t.Errorf("%q is there and is not", path)
		}
		if v, ok := c[path]; ok && exists.Match(c) != (v != nil) {
			t.Errorf("%q is not found", path)
		}
		for _, kind := range []string{"string_array", "keys"} {
			rule := leafOf(t, path, "contains_all", kind, "x", "y")
			if rule.Match(c) && !exists.Match(c) {
				t.Errorf("%s holds for what is not there", rule)
			}
			rule.Mismatch(c)
		}
	})
}

// TestRuleAllocatesNothing is not parallel: it counts what the whole process allocates.
func TestRuleAllocatesNothing(t *testing.T) {
	c := claims(t, vendors)
	for _, rule := range usualRules(t) {
		if n := testing.AllocsPerRun(100, func() { rule.Match(c) }); n > 0 {
			t.Errorf("%s: %v allocations", rule, n)
		}
	}
}

func BenchmarkRule(b *testing.B) {
	c := claims(&testing.T{}, vendors)
	for _, rule := range usualRules(b) {
		b.Run(rule.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rule.Match(c)
			}
		})
	}
}

func usualRules(t testing.TB) []*identity.Rule {
	t.Helper()
	groups := leafOf(t, "cognito:groups", "contains_any", "", "sre", "eng")
	sub := leafOf(t, "sub", "equals", "", "alice")
	both, err := identity.AllOf(groups, sub)
	return []*identity.Rule{
		sub, groups, tree(t, both, err),
		leafOf(t, "sub", "matches", "", "[a-z]+"),
		leafOf(t, "level", "equals", "number", "3"),
		leafOf(t, "realm_access.roles", "contains", "", "x"),
		leafOf(t, "urn:zitadel:iam:org:project:roles", "contains", "keys", "admin"),
		leafOf(t, "gone", "exists", "", "false"),
	}
}
