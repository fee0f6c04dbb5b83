package oauthclient

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/internal/identity"
)

// person reads who it is from verified claims and everything that was merged into them.
func (p *Provider) person(idToken, claims identity.Claims) (identity.Person, bool, error) {
	key, err := p.key(idToken)
	if err != nil {
		return identity.Person{}, false, err
	}
	if err := p.admit(claims); err != nil {
		return identity.Person{}, false, err
	}
	groups, known := p.groups(claims)
	if !known {
		p.o.Log.Warn("groups unknown", "provider", p.o.Name, "claim", p.groupsClaim(), "hint", p.preset.GroupsHint)
	}
	email := p.email(claims)
	return identity.Person{
		Key: key, Username: text(claims, "preferred_username", "cognito:username", "upn"), Name: text(claims, "name"),
		Email: email, EmailVerified: email != "", Groups: groups, Claims: personal(claims),
	}, !known, nil
}

// admit refuses people outside what the administrator requires.
func (p *Provider) admit(claims identity.Claims) error {
	if p.o.Require == nil {
		return nil
	}
	if m := p.o.Require.Mismatch(claims); m != nil {
		return p.fail(Denied, ReasonPersonRefused, "the person does not meet what is required: "+m.Expected, nil)
	}
	return nil
}

// key names the person for good. Entra's tid needs no place of its own in it: the issuer, which was checked, holds it.
func (p *Provider) key(c identity.Claims) (identity.PersonKey, error) {
	iss, _ := c.String("iss")
	sub, _ := c.String("sub")
	if p.preset.UserKey == KeyTenantObject {
		tid, _ := c.String("tid")
		sub, _ = c.String("oid")
		if tid == "" || !strings.Contains(iss, "/"+tid+"/") || !usableSubject(sub) {
			e := p.fail(Misconfigured, ReasonTokenSubject, "tid or oid is missing, or does not go with iss", nil)
			e.Hint = "ask for the scope profile, which brings oid"
			return identity.PersonKey{}, e
		}
	}
	return identity.PersonKey{Issuer: identity.Issuer(iss), Subject: sub}, nil
}

// email returns the address only when the IdP has verified it. Some write the flag as a string.
func (p *Provider) email(c identity.Claims) string {
	verified := c["email_verified"] == true || c["email_verified"] == "true"
	if address := text(c, "email"); verified && p.preset.EmailTrust != EmailNever && strings.Contains(address, "@") {
		return address
	}
	return ""
}

// text returns the first of the claims that is a string fit for showing.
func text(c identity.Claims, names ...string) string {
	for _, name := range names {
		if s, _ := c.String(name); s != "" && len(s) <= 254 && displayText(s) == s {
			return s
		}
	}
	return ""
}

// personal leaves out what belongs to the protocol, but for what rules may be about: how the person signed in, and the
// names of claims that the IdP moved elsewhere, which a rule must not take for absent. What an IdP calls idp is not our
// claim of that name.
func personal(c identity.Claims) identity.Claims {
	out := identity.Claims{}
	for name, value := range c {
		if !identity.ProtocolClaim(name) || name == "_claim_names" || name == identity.ProviderClaim || slices.Contains(signInClaims(), name) {
			out[name] = value
		}
	}
	return out
}

func (p *Provider) groupsClaim() string {
	if p.o.GroupsClaim != "" {
		return p.o.GroupsClaim
	}
	return p.preset.GroupsClaim
}

// groups returns the person's groups, in order. They are not known when the IdP points elsewhere instead of listing them
// (OpenID Connect Core §5.6.2; Entra's overage, which is also written hasgroups) or when the claim has a form without
// names in it.
func (p *Provider) groups(c identity.Claims) (groups []string, known bool) {
	path := p.groupsClaim()
	if path == "" {
		return nil, true
	}
	values, moved := c.Lookup(path)
	if moved || c["hasgroups"] == true && path == "groups" {
		return nil, false
	}
	for _, v := range values {
		names, ok := namesIn(v)
		if !ok {
			return nil, false
		}
		groups = append(groups, names...)
	}
	slices.Sort(groups)
	return slices.Compact(groups), true
}

// namesIn reads groups from a string, a list of strings or an object's names.
func namesIn(v any) ([]string, bool) {
	if object, ok := v.(map[string]any); ok {
		return slices.Collect(maps.Keys(object)), true
	}
	return identity.Claims{"": v}.Strings("")
}
