package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxRuleDepth bounds how deep groups of rules may be nested.
const maxRuleDepth = 8

type ruleKind uint8

const (
	noRule ruleKind = iota // the zero Rule: nobody said what it should ask
	oneClaim
	anyOf
	allOf
	negated
)

// Rule is a condition on claims: one claim rule, or a group of rules. It is made by NewRule, AnyOf, AllOf and Not, and
// immutable. A claim that is absent satisfies nothing but a Not of its rule, and exists with the value false. What
// cannot be known (a claim of another type, or one that the issuer moved out of the token) satisfies neither a rule
// nor a Not of it. A nil or zero Rule holds for nobody.
type Rule struct {
	kind  ruleKind
	leaf  leaf
	parts []*Rule
	depth int
}

// NewRule makes a rule about one claim.
func NewRule(r ClaimRule) (*Rule, error) {
	l, err := r.compile()
	if err != nil {
		return nil, err
	}
	return &Rule{kind: oneClaim, leaf: l}, nil
}

// AnyOf makes a rule that holds when one of its parts does.
func AnyOf(parts ...*Rule) (*Rule, error) { return group(anyOf, parts) }

// AllOf makes a rule that holds when all of its parts do.
func AllOf(parts ...*Rule) (*Rule, error) { return group(allOf, parts) }

// Not makes a rule that holds when the other one is known not to.
func Not(r *Rule) (*Rule, error) { return group(negated, []*Rule{r}) }

func group(kind ruleKind, parts []*Rule) (*Rule, error) {
	g := &Rule{kind: kind, parts: parts, depth: 1}
	if len(parts) == 0 {
		return nil, errors.New("a group of rules is empty")
	}
	for _, p := range parts {
		if err := p.Validate(); err != nil {
			return nil, err
		}
		g.depth = max(g.depth, p.depth+1)
	}
	if g.depth > maxRuleDepth {
		return nil, fmt.Errorf("rules are nested more than %d groups deep", maxRuleDepth)
	}
	return g, nil
}

// Validate reports a rule that says nothing.
func (r *Rule) Validate() error {
	if r == nil || r.kind == noRule {
		return errors.New("the claim rule is empty")
	}
	return nil
}

// Claims lists the paths of the claims that the rule looks at, in its own order.
func (r *Rule) Claims() []string {
	if r == nil {
		return nil
	}
	if r.kind == oneClaim {
		return []string{r.leaf.rule.Claim}
	}
	var out []string
	for _, p := range r.parts {
		out = append(out, p.Claims()...)
	}
	return out
}

// Match reports whether the claims satisfy the rule.
func (r *Rule) Match(c Claims) bool { return r.ask(c) == holds }

func (r *Rule) ask(c Claims) outcome {
	if r == nil {
		return unknown
	}
	switch r.kind {
	case oneClaim:
		return r.leaf.ask(c)
	case anyOf, allOf:
		decisive, result := holds, fails
		if r.kind == allOf {
			decisive, result = fails, holds
		}
		for _, p := range r.parts {
			switch p.ask(c) {
			case decisive:
				return decisive
			case unknown:
				result = unknown
			}
		}
		return result
	case negated:
		switch r.parts[0].ask(c) {
		case holds:
			return fails
		case fails:
			return holds
		}
	}
	return unknown
}

// String shows the rule in one line.
func (r *Rule) String() string {
	if r == nil || r.kind == noRule {
		return "nobody"
	}
	if r.kind == oneClaim {
		return r.leaf.rule.String()
	}
	texts := make([]string, len(r.parts))
	for i, p := range r.parts {
		texts[i] = p.String()
	}
	list := "(" + strings.Join(texts, "; ") + ")"
	switch r.kind {
	case anyOf:
		return "any of " + list
	case allOf:
		return "all of " + list
	}
	return "not " + list
}

// Mismatch is the part of a rule that claims do not satisfy. It is for logs and for administrators.
type Mismatch struct {
	Expected string    // the part of the rule
	Found    string    // what the claims say instead
	Moved    string    // the claim that decides, when its issuer moved it out of the token (OpenID Connect Core §5.6.2)
	Rule     ClaimRule // the part, when it is about one claim; else zero
}

// Mismatch returns the smallest part of the rule that decides against the claims, or nil when they satisfy the rule.
func (r *Rule) Mismatch(c Claims) *Mismatch {
	if r.Match(c) {
		return nil
	}
	if r != nil && r.kind == allOf {
		for _, p := range r.parts {
			if m := p.Mismatch(c); m != nil {
				return m
			}
		}
	}
	m := &Mismatch{Expected: r.String()}
	if r != nil && r.kind == oneClaim {
		m.Rule = r.leaf.rule
	}
	paths := r.claims(nil)
	found := make([]string, len(paths))
	for i, path := range paths {
		found[i] = c.show(path)
		if len(paths) > 1 {
			found[i] = path + " " + found[i]
		}
		if name, moved := c.moved(path); moved {
			m.Moved = name
		}
	}
	m.Found = strings.Join(found, ", ")
	return m
}

// claims lists the paths that a rule looks at, each once.
func (r *Rule) claims(out []string) []string {
	if r == nil {
		return out
	}
	for _, p := range r.parts {
		out = p.claims(out)
	}
	if r.kind == oneClaim {
		for _, known := range out {
			if known == r.leaf.rule.Claim {
				return out
			}
		}
		out = append(out, r.leaf.rule.Claim)
	}
	return out
}

// maxShown bounds how much of a claim is shown.
const maxShown = 200

// show writes what a path finds, for people.
func (c Claims) show(path string) string {
	all := c.Find(path)
	if len(all) == 0 {
		if _, moved := c.moved(path); moved {
			return "not in the token (_claim_names)"
		}
		return "absent"
	}
	var shown any = all
	if len(all) == 1 {
		shown = all[0]
	}
	text, err := json.Marshal(shown)
	if err != nil {
		return "unreadable"
	}
	if len(text) > maxShown {
		return strings.ToValidUTF8(string(text[:maxShown]), "") + "…"
	}
	return string(text)
}
