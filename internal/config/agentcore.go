package config

import (
	"fmt"
	"reflect"
	"strings"

	"gatehouse/internal/identity"
)

// AgentCoreConfiguration is AgentCore's authorizerConfiguration.
type AgentCoreConfiguration struct {
	CustomJWTAuthorizer *AgentCoreJWT `yaml:"customJWTAuthorizer,required" doc:"The one kind of authorizer that has a discovery URL."`
}

// AgentCoreJWT is AgentCore's CustomJWTAuthorizerConfiguration, field by field.
type AgentCoreJWT struct {
	DiscoveryURL           string              `yaml:"discoveryUrl,required" doc:"As discovery_url."`
	AllowedAudience        []string            `yaml:"allowedAudience" doc:"As allowed_audience."`
	AllowedClients         []identity.ClientID `yaml:"allowedClients" doc:"As allowed_clients."`
	AllowedScopes          identity.Scopes     `yaml:"allowedScopes" doc:"As allowed_scopes."`
	AdvertisedScopeMapping map[string]string   `yaml:"advertisedScopeMapping" doc:"As advertised_scopes."`
	CustomClaims           []AgentCoreClaim    `yaml:"customClaims" doc:"As custom_claims."`
}

// AgentCoreClaim is one of AgentCore's custom claims.
type AgentCoreClaim struct {
	Name  string         `yaml:"inboundTokenClaimName,required" doc:"The claim to look at."`
	Type  string         `yaml:"inboundTokenClaimValueType,required" enum:"STRING,STRING_ARRAY" doc:"Its type."`
	Match AgentCoreMatch `yaml:"authorizingClaimMatchValue,required" doc:"What it must match."`
}

// AgentCoreMatch is the comparison of a custom claim.
type AgentCoreMatch struct {
	Operator string         `yaml:"claimMatchOperator,required" enum:"EQUALS,CONTAINS,CONTAINS_ANY" doc:"How to compare."`
	Value    AgentCoreValue `yaml:"claimMatchValue,required" doc:"What to compare with: exactly one of the two."`
}

// AgentCoreValue is a union: exactly one member is set.
type AgentCoreValue struct {
	String string   `yaml:"matchValueString" doc:"One value."`
	List   []string `yaml:"matchValueStringList" doc:"Several values."`
}

// refusedKey explains keys that are known elsewhere or later, but mean nothing here.
func refusedKey(t reflect.Type, key string) (message, hint string) {
	switch {
	case t == reflect.TypeFor[ruleGroup]():
		return refusedInGroup(key)
	case t != reflect.TypeFor[AgentCoreJWT]():
		return "", ""
	}
	switch key {
	case "privateEndpoint", "privateEndpointOverrides":
		return "is about VPC endpoints inside AWS, which Gatehouse does not have", "Remove it. Gatehouse reaches a private identity provider over the network it runs in: make sure that the host of discoveryUrl resolves there."
	case "allowedWorkloadConfiguration":
		return "is about AWS workload identities, which Gatehouse does not have", "Remove it, and name the callers with allowedClients or a custom claim."
	}
	return "", ""
}

// agentCore translates an authorizer that is written in AgentCore's words.
func (d *decoder) agentCore(n *node, a *Authorizer) {
	source, at := d.agentCoreSource(n, a)
	if source == nil {
		if n.get("discovery_url") == nil && !d.broken(n.path) {
			d.fault(n, "has no discovery_url", "Give the metadata URL of the issuer, or one of authorizerConfiguration, customJWTAuthorizer, agentcore_file.")
		}
		return
	}
	for _, own := range []string{"discovery_url", "allowed_audience", "allowed_clients", "allowed_scopes", "custom_claims", "advertised_scopes"} {
		if other := n.get(own); other != nil {
			d.fault(other, "stands beside an AgentCore configuration that says the same in other words", "Keep one of the two.")
		}
	}
	a.DiscoveryURL, a.AllowedAudience, a.AllowedClients = source.DiscoveryURL, source.AllowedAudience, source.AllowedClients
	a.AllowedScopes, a.AdvertisedScopes = source.AllowedScopes, source.AdvertisedScopeMapping
	a.CustomClaims = nil
	claims := at.get("customClaims")
	for i, c := range source.CustomClaims {
		if claims != nil && i < len(claims.items) && !d.broken(claims.items[i].path) {
			a.CustomClaims = append(a.CustomClaims, d.agentCoreRules(claims.items[i], c)...)
		}
	}
	for own, theirs := range map[string]string{
		"discovery_url": "discoveryUrl", "allowed_audience": "allowedAudience", "allowed_clients": "allowedClients",
		"allowed_scopes": "allowedScopes", "custom_claims": "customClaims", "advertised_scopes": "advertisedScopeMapping",
	} {
		if v := at.get(theirs); v != nil {
			d.alias(join(n.path, own), v)
		}
	}
}

// alias lets the checks find AgentCore's words under our own path.
func (d *decoder) alias(path string, n *node) {
	d.index[path] = n
	for i, item := range n.items {
		d.alias(fmt.Sprintf("%s[%d]", path, i), item)
	}
	for _, e := range n.entries {
		d.alias(join(path, e.key), e.value)
	}
}

// agentCoreSource finds the AgentCore part of an authorizer and its place, and takes it out of a. Nil means none.
func (d *decoder) agentCoreSource(n *node, a *Authorizer) (*AgentCoreJWT, *node) {
	config, jwt, file := a.Configuration, a.CustomJWTAuthorizer, a.AgentCoreFile
	a.Configuration, a.CustomJWTAuthorizer, a.AgentCoreFile = nil, nil, ""
	given := 0
	for _, key := range []string{"authorizerConfiguration", "customJWTAuthorizer", "agentcore_file"} {
		if n.get(key) != nil {
			given++
		}
	}
	switch {
	case given > 1:
		d.fault(n, "has more than one AgentCore configuration", "Keep one of authorizerConfiguration, customJWTAuthorizer, agentcore_file.")
	case jwt != nil:
		return jwt, n.get("customJWTAuthorizer")
	case config != nil && config.CustomJWTAuthorizer != nil:
		return config.CustomJWTAuthorizer, n.get("authorizerConfiguration").get("customJWTAuthorizer")
	case file != "":
		return d.agentCoreFile(n.get("agentcore_file"), file)
	}
	return nil, nil
}

// agentCoreFile reads AgentCore's JSON: a whole gateway, its authorizerConfiguration, or its customJWTAuthorizer.
func (d *decoder) agentCoreFile(at *node, file string) (*AgentCoreJWT, *node) {
	data, err := d.read(file)
	if err != nil {
		d.fault(at, fmt.Sprintf("cannot read %s: %v", file, err), "Check that the file exists and that Gatehouse may read it.")
		return nil, nil
	}
	root := parseDocument(file, at.path, data, d.report)
	if root == nil {
		return nil, nil
	}
	if t := root.get("authorizerType"); t != nil && t.value != "CUSTOM_JWT" {
		d.fault(t, "is not CUSTOM_JWT", "Only gateways that check JWTs have an authorizer to move.")
		return nil, nil
	}
	for _, key := range []string{"authorizerConfiguration", "customJWTAuthorizer"} {
		if inner := root.get(key); inner != nil {
			root = inner
		}
	}
	jwt := &AgentCoreJWT{}
	d.structure(root, reflect.ValueOf(jwt).Elem())
	return jwt, root
}

func (d *decoder) agentCoreRules(n *node, c AgentCoreClaim) []*identity.Rule {
	var out []*identity.Rule
	for _, one := range d.agentCoreClaim(n, c) {
		rule, err := identity.NewRule(one)
		if err != nil {
			d.fault(n, err.Error(), "Compare with the gateway that it was copied from.")
			return nil
		}
		out = append(out, rule)
	}
	return out
}

// agentCoreClaim translates one custom claim. AgentCore's documents disagree on some combinations of type, operator
// and value; where they do, the narrower reading is taken and said.
func (d *decoder) agentCoreClaim(n *node, c AgentCoreClaim) []identity.ClaimRule {
	values := c.Match.Value.List
	switch {
	case c.Match.Value.String != "" && values != nil:
		d.fault(n, "has both matchValueString and matchValueStringList", "Keep one of the two.")
		return nil
	case c.Match.Value.String != "":
		values = []string{c.Match.Value.String}
	case len(values) == 0:
		d.fault(n, "has no value to match", "Set matchValueString or matchValueStringList.")
		return nil
	}
	if c.Type == "STRING" {
		return d.agentCoreString(n, c, values)
	}
	rule := identity.ClaimRule{Claim: c.Name, Type: identity.TypeStringArray, Operator: identity.OpContainsAny, Values: values}
	switch c.Match.Operator {
	case "CONTAINS_ANY":
		return []identity.ClaimRule{rule}
	case "EQUALS":
		d.fault(n, "compares a STRING_ARRAY with EQUALS", "Use CONTAINS with one value, or CONTAINS_ANY with several.")
		return nil
	}
	if len(values) > 1 {
		d.warn(n, "CONTAINS with several values is read as: the array holds all of them", "Use CONTAINS_ANY when one of them suffices.")
	}
	rules := make([]identity.ClaimRule, 0, len(values))
	for _, v := range values {
		rules = append(rules, identity.ClaimRule{Claim: c.Name, Type: identity.TypeStringArray, Operator: identity.OpContains, Values: []string{v}})
	}
	return rules
}

func (d *decoder) agentCoreString(n *node, c AgentCoreClaim, values []string) []identity.ClaimRule {
	if len(values) > 1 {
		d.fault(n, fmt.Sprintf("compares a STRING with %d values", len(values)), "Give one value. For several, write one authorizer for each: "+strings.Join(values, ", ")+".")
		return nil
	}
	if c.Match.Operator != "EQUALS" {
		d.warn(n, c.Match.Operator+" on a STRING is read as EQUALS: no part of a string is ever matched", "Write EQUALS.")
	}
	return []identity.ClaimRule{{Claim: c.Name, Type: identity.TypeString, Operator: identity.OpEquals, Values: values}}
}
