package policy

import (
	"slices"
	"testing"

	"gatehouse/internal/identity"
)

func principal(scopes string, groups ...any) *identity.Principal {
	return &identity.Principal{
		Key:    identity.PersonKey{Issuer: "https://idp.example", Subject: "ada"},
		Scopes: identity.ParseScopes(scopes),
		Claims: identity.Claims{"groups": groups},
	}
}

func engineers(t testing.TB) *identity.Rule {
	t.Helper()
	r, err := identity.NewRule(identity.ClaimRule{Claim: "groups", Type: identity.TypeStringArray, Operator: identity.OpContainsAny, Values: []string{"eng", "sre"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// service is a client that comes as itself.
func service(client identity.ClientID, authorizer string, groups ...any) *identity.Principal {
	p := principal("", groups...)
	p.Key, p.Client, p.Authorizer, p.Service = identity.PersonKey{Issuer: "https://gate.example", Subject: "service:" + string(client)}, client, authorizer, true
	return p
}

// withCI admits one service.
func withCI(o Options) Options {
	o.Access.Services = map[string][]identity.ClientID{"gatehouse": {"ci"}}
	return o
}

func TestDecide(t *testing.T) {
	t.Parallel()
	requires := []Requirement{
		{Method: "tools/call", Scopes: identity.Scopes{"mcp:call"}},
		{Target: "git", Method: "tools/call", Name: "delete", Scopes: identity.Scopes{"mcp:admin"}},
		{Target: "vault", Scopes: identity.Scopes{"vault"}},
		{Name: "note://secret", Scopes: identity.Scopes{"secret"}},
	}
	open := Options{Access: Access{AnySignedIn: true}, Requires: requires}
	closed := Options{Access: Access{Rule: engineers(t)}, Requires: requires}
	for _, tc := range []struct {
		name    string
		options Options
		q       Question
		allow   bool
		reason  string
		missing identity.Scopes
	}{
		{"anybody", open, Question{Principal: principal(""), Method: "tools/list"}, true, ReasonAllowed, nil},
		{"nobody", open, Question{Method: "tools/list"}, false, ReasonNobody, nil},
		{"no subject", open, Question{Principal: &identity.Principal{Key: identity.PersonKey{Issuer: "x"}}}, false, ReasonNobody, nil},
		{"no issuer", open, Question{Principal: &identity.Principal{Key: identity.PersonKey{Subject: "x"}}}, false, ReasonNobody, nil},
		{"rule matches", closed, Question{Principal: principal("", "sre"), Method: "tools/list"}, true, ReasonAllowed, nil},
		{"rule does not match", closed, Question{Principal: principal("mcp:call", "hr"), Method: "tools/call"}, false, ReasonAccessRule, nil},
		{"method scope missing", open, Question{Principal: principal(""), Target: "git", Method: "tools/call", Name: "log"}, false, ReasonMissingScopes, identity.Scopes{"mcp:call"}},
		{"method scope there", open, Question{Principal: principal("mcp:call"), Target: "git", Method: "tools/call", Name: "log"}, true, ReasonAllowed, nil},
		{"tool adds to method", open, Question{Principal: principal("mcp:call"), Target: "git", Method: "tools/call", Name: "delete"}, false, ReasonMissingScopes, identity.Scopes{"mcp:call", "mcp:admin"}},
		{"tool with all", open, Question{Principal: principal("mcp:admin mcp:call"), Target: "git", Method: "tools/call", Name: "delete"}, true, ReasonAllowed, nil},
		{"same tool name elsewhere", open, Question{Principal: principal("mcp:call"), Target: "hub", Method: "tools/call", Name: "delete"}, true, ReasonAllowed, nil},
		{"whole target", open, Question{Principal: principal(""), Target: "vault", Method: "prompts/get", Name: "x"}, false, ReasonMissingScopes, identity.Scopes{"vault"}},
		{"name anywhere", open, Question{Principal: principal(""), Target: "notes", Method: "resources/read", Name: "note://secret"}, false, ReasonMissingScopes, identity.Scopes{"secret"}},
		{"service at an open endpoint", open, Question{Principal: service("ci", "gatehouse", "eng"), Method: "tools/list"}, false, ReasonService, nil},
		{"service whose groups match", closed, Question{Principal: service("ci", "gatehouse", "eng"), Method: "tools/list"}, false, ReasonService, nil},
		{"service that is named", withCI(open), Question{Principal: service("ci", "gatehouse"), Method: "tools/list"}, true, ReasonAllowed, nil},
		{"service that is named, and matches", withCI(closed), Question{Principal: service("ci", "gatehouse", "sre"), Method: "tools/list"}, true, ReasonAllowed, nil},
		{"service that is named, and does not match", withCI(closed), Question{Principal: service("ci", "gatehouse", "hr"), Method: "tools/list"}, false, ReasonAccessRule, nil},
		{"service that is named, without the scope", withCI(open), Question{Principal: service("ci", "gatehouse"), Target: "git", Method: "tools/call", Name: "log"}, false, ReasonMissingScopes, identity.Scopes{"mcp:call"}},
		{"another service", withCI(open), Question{Principal: service("cd", "gatehouse"), Method: "tools/list"}, false, ReasonService, nil},
		{"service of that name elsewhere", withCI(open), Question{Principal: service("ci", "okta"), Method: "tools/list"}, false, ReasonService, nil},
		{"access comes before scopes", closed, Question{Principal: principal(""), Target: "vault", Method: "prompts/get"}, false, ReasonAccessRule, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := New(tc.options)
			if err != nil {
				t.Fatal(err)
			}
			d := p.Decide(&tc.q)
			if d.Allow != tc.allow || d.Reason != tc.reason {
				t.Errorf("got %+v, want allow=%v reason=%q", d, tc.allow, tc.reason)
			}
			if len(d.MissingScopes) != len(tc.missing) || !tc.missing.HasAll(d.MissingScopes) {
				t.Errorf("missing scopes %v, want %v", d.MissingScopes, tc.missing)
			}
			// Lists are written once for all who see them. That holds as long as nothing but the principal decides.
			if want := d.Allow || d.MissingScopes != nil; p.Sees(tc.q.Principal) != want {
				t.Errorf("sees what is there: %t, want %t", !want, want)
			}
		})
	}
}

func TestNoPolicyMeansNoAccess(t *testing.T) {
	t.Parallel()
	q := &Question{Principal: principal("everything", "eng"), Method: "tools/list"}
	for name, p := range map[string]*Policy{"nil": nil, "zero": {}} {
		if d := p.Decide(q); d.Allow || d.MissingScopes != nil {
			t.Errorf("%s policy: %+v", name, d)
		}
		if p.Sees(q.Principal) {
			t.Errorf("%s policy: somebody sees what is there", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"no access":    {},
		"both":         {Access: Access{AnySignedIn: true, Rule: engineers(t)}},
		"empty rule":   {Access: Access{Rule: &identity.Rule{}}},
		"broken scope": {Access: Access{AnySignedIn: true}, Requires: []Requirement{{Method: "tools/call", Scopes: identity.Scopes{"a b"}}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	p, err := New(Options{Access: Access{Rule: engineers(t)}, Requires: []Requirement{{Method: "tools/call", Scopes: identity.Scopes{"mcp:call"}}}})
	if err != nil {
		t.Fatal(err)
	}
	who := principal("mcp:call")
	who.Claims["groups"] = []string{"eng"}
	q := &Question{Principal: who, Target: "git", Method: "tools/call", Name: "log"}
	if n := testing.AllocsPerRun(100, func() {
		if !p.Decide(q).Allow {
			t.Fatal("denied")
		}
	}); n != 0 {
		t.Errorf("%v allocations a decision", n)
	}
}

// A decision's scopes are shared with the policy: nothing that a caller appends may reach the next question.
func TestMissingScopesAreNotWidened(t *testing.T) {
	t.Parallel()
	p, err := New(Options{Access: Access{AnySignedIn: true}, Requires: []Requirement{{Method: "tools/call", Scopes: identity.Scopes{"a"}}}})
	if err != nil {
		t.Fatal(err)
	}
	q := &Question{Principal: principal(""), Method: "tools/call"}
	_ = append(p.Decide(q).MissingScopes, "b")
	if got := p.Decide(q).MissingScopes; !slices.Equal(got, identity.Scopes{"a"}) {
		t.Errorf("missing scopes %v", got)
	}
}

// A rule that was written for the public name of a thing holds as one that was written for its own name does.
func TestAlias(t *testing.T) {
	t.Parallel()
	p, err := New(Options{Access: Access{AnySignedIn: true}, Requires: []Requirement{
		{Target: "files", Method: "tools/call", Name: "read_9f2", Scopes: identity.Scopes{"a"}},
		{Target: "files", Method: "tools/call", Name: "files/read", Scopes: identity.Scopes{"b"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Principal: &identity.Principal{Key: identity.PersonKey{Issuer: "i", Subject: "s"}}, Target: "files", Method: "tools/call", Name: "files/read", Alias: "read_9f2"}
	if d := p.Decide(&q); d.Allow || len(d.MissingScopes) != 2 {
		t.Errorf("%+v", d)
	}
	q.Alias = ""
	if d := p.Decide(&q); d.Allow || len(d.MissingScopes) != 1 {
		t.Errorf("%+v", d)
	}
}
