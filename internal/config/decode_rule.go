package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"gatehouse/internal/identity"
)

// claimRule is identity.ClaimRule as the file writes it.
type claimRule struct {
	Claim    string             `yaml:"claim,required" doc:"The claim to look at, such as groups, or a path to it, such as realm_access.roles."`
	Type     identity.ClaimType `yaml:"type" enum:"string,string_array,number,bool,keys" doc:"Type that the claim must have. Without it: what operator and value are mostly used with."`
	Operator identity.Operator  `yaml:"operator,required" enum:"equals,not_equals,contains,contains_any,contains_all,starts_with,matches,exists" doc:"How to compare, such as equals for text and contains_any for lists."`
	Values   ruleValues         `yaml:"value" doc:"Text, number, true or false; for contains_any and contains_all a list."`
}

// ruleGroup is a group of rules as the file writes it: exactly one of the three.
type ruleGroup struct {
	AnyOf []*identity.Rule `yaml:"any_of" doc:"Rules of which one must hold."`
	AllOf []*identity.Rule `yaml:"all_of" doc:"Rules that must all hold."`
	Not   *identity.Rule   `yaml:"not" doc:"A rule that must not hold."`
}

// ruleValues are the values of a rule, and what they look like in the file.
type ruleValues struct {
	texts []string
	kind  identity.ClaimType // string, number or bool
}

const ruleHint = `"Claim rules" in docs/config.md says which operator goes with which type, and what a path to a claim looks like.`

// rule reads one claim rule or a group of them.
func (d *decoder) rule(n *node, into *identity.Rule) {
	before := len(d.faults)
	var made *identity.Rule
	var err error
	if isGroup(n) {
		made, err = d.ruleGroup(n)
	} else {
		made, err = d.claimRule(n)
	}
	switch {
	case len(d.faults) > before:
	case err != nil:
		d.fault(n, err.Error(), ruleHint)
	default:
		*into = *made
	}
}

// isGroup also recognizes a group whose key is misspelt, so that the right guess is made.
func isGroup(n *node) bool {
	if n.get("claim") != nil || n.get("operator") != nil {
		return n.get("any_of") != nil || n.get("all_of") != nil || n.get("not") != nil
	}
	return slices.ContainsFunc(n.entries, func(e entry) bool {
		return closest(e.key, []string{"any_of", "all_of", "not"}) != ""
	})
}

func (d *decoder) claimRule(n *node) (*identity.Rule, error) {
	var raw claimRule
	before := len(d.faults)
	d.structure(n, reflect.ValueOf(&raw).Elem())
	value := n.get("value")
	if value == nil && n.kind == mapping && raw.Operator != identity.OpExists {
		d.fault(n.missing(join(n.path, "value")), "is missing", "One value, or for contains_any and contains_all a list.")
	}
	if len(d.faults) > before {
		return nil, nil
	}
	rule := identity.ClaimRule{Claim: raw.Claim, Type: raw.Type, Operator: raw.Operator, Values: raw.Values.texts}
	written := raw.Values.kind
	equality := rule.Operator == identity.OpEquals || rule.Operator == identity.OpNotEquals
	switch {
	case rule.Operator == identity.OpExists && value != nil && written != identity.TypeBool:
		d.fault(value, "is not true or false", "Leave it out, or write false: the claim must not be there.")
	case rule.Operator == identity.OpExists:
	case rule.Type == "" && equality:
		rule.Type = written
	case rule.Type == "":
		rule.Type = rule.Operator.DefaultType()
	}
	wanted := identity.TypeString
	if rule.Type == identity.TypeNumber || rule.Type == identity.TypeBool {
		wanted = rule.Type
	}
	if value != nil && rule.Operator != identity.OpExists && len(d.faults) == before && len(rule.Values) > 0 && written != wanted {
		d.fault(value, fmt.Sprintf("is a %s, and the claim is compared with a %s", written, wanted), "Text goes in quotes when it looks like something else; numbers, true and false stand without.")
	}
	if len(d.faults) > before {
		return nil, nil
	}
	return identity.NewRule(rule)
}

func (d *decoder) ruleGroup(n *node) (*identity.Rule, error) {
	var raw ruleGroup
	before := len(d.faults)
	d.structure(n, reflect.ValueOf(&raw).Elem())
	if len(d.faults) > before {
		return nil, nil
	}
	if len(n.entries) > 1 {
		d.fault(n, "has more than one of any_of, all_of and not", "Write all_of, with the others in its list.")
		return nil, nil
	}
	switch e := n.entries[0]; {
	case len(raw.AnyOf) > 0:
		return identity.AnyOf(raw.AnyOf...)
	case len(raw.AllOf) > 0:
		return identity.AllOf(raw.AllOf...)
	case raw.Not != nil:
		return identity.Not(raw.Not)
	default:
		d.fault(e.value, "names no rule", "Write at least one: {claim: groups, operator: contains_any, value: [eng]}.")
		return nil, nil
	}
}

func (d *decoder) ruleValues(n *node, into *ruleValues) {
	items := []*node{n}
	if n.kind == list {
		items = n.items
	}
	for _, item := range items {
		text, kind := ruleValue(item)
		switch {
		case kind == "":
			d.fault(item, "is "+item.what()+", not a value to compare with", "Write text, a number, true or false.")
			return
		case into.kind != "" && kind != into.kind:
			d.fault(item, fmt.Sprintf("is a %s beside a %s", kind, into.kind), "Text goes in quotes when it looks like something else.")
			return
		}
		into.kind = kind
		into.texts = append(into.texts, text)
	}
}

// ruleValue returns the kind "" for what is no value.
func ruleValue(n *node) (string, identity.ClaimType) {
	if n.kind != scalar {
		return "", ""
	}
	switch v := n.value.(type) {
	case string:
		return v, identity.TypeString
	case bool:
		return strconv.FormatBool(v), identity.TypeBool
	case int64:
		return strconv.FormatInt(v, 10), identity.TypeNumber
	case uint64:
		return strconv.FormatUint(v, 10), identity.TypeNumber
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), identity.TypeNumber
	}
	return "", ""
}

func (d *decoder) access(n *node, into *Access) {
	const hint = "Write any_signed_in, or a claim rule such as {claim: groups, operator: contains_any, value: [eng]}."
	switch {
	case n.kind == mapping:
		into.Rule = &identity.Rule{}
		d.rule(n, into.Rule)
	case n.kind == scalar && n.value == "any_signed_in":
		into.AnySignedIn = true
	case n.kind == scalar && n.value == "anonymous_for_tests":
		into.Anonymous = true
	default:
		d.fault(n, "is not an access rule", hint)
	}
}

// refusedInGroup explains a condition that stands beside a group.
func refusedInGroup(key string) (message, hint string) {
	if key != "claim" && key != "operator" && key != "value" && key != "type" {
		return "", ""
	}
	return "stands beside a group of rules", "Put the condition into the list; where both must hold: all_of: [{claim: …}, {any_of: […]}]."
}
