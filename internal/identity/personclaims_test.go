package identity

import (
	"testing"
)

func TestClaimsOf(t *testing.T) {
	t.Parallel()
	holds := func(p Person, claim string, op Operator, typ ClaimType, value string) bool {
		t.Helper()
		r, err := NewRule(ClaimRule{Claim: claim, Type: typ, Operator: op, Values: []string{value}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Mismatch(ClaimsOf("https://gw.example", p)) == nil
	}
	p := Person{
		Key: PersonKey{Issuer: "https://gw.example", Subject: "u1"}, Username: "alice", Email: "alice@acme.example", EmailVerified: true,
		Groups: []string{"admins"}, Provider: "okta", Claims: Claims{"department": "it", "sub": "u2", "groups": []any{"forged"}, "idp": "other", "preferred_username": "root"},
	}
	unverified := p
	unverified.EmailVerified = false
	unknown := p
	unknown.GroupsUnknown = true
	for name, ok := range map[string]bool{
		"groups":                       holds(p, "groups", OpContains, TypeStringArray, "admins"),
		"sub":                          holds(p, "sub", OpEquals, TypeString, "u1"),
		"iss":                          holds(p, "iss", OpEquals, TypeString, "https://gw.example"),
		"idp":                          holds(p, "idp", OpEquals, TypeString, "okta"),
		"department":                   holds(p, "department", OpEquals, TypeString, "it"),
		"email":                        holds(p, "email", OpEquals, TypeString, "alice@acme.example"),
		"username":                     holds(p, "preferred_username", OpEquals, TypeString, "alice"),
		"no forged group":              !holds(p, "groups", OpContains, TypeStringArray, "forged"),
		"no other subject":             !holds(p, "sub", OpEquals, TypeString, "u2"),
		"no address that is unproved":  !holds(unverified, "email", OpEquals, TypeString, "alice@acme.example"),
		"no groups when not all known": !holds(unknown, "groups", OpContains, TypeStringArray, "admins"),
		"nobody is in no group":        !holds(Person{}, "groups", OpContains, TypeStringArray, "admins"),
	} {
		if !ok {
			t.Error(name)
		}
	}
}
