package identity

import "maps"

// ClaimsOf returns what a claim rule about people sees of somebody who is signed in at a browser: what an access token
// of Gatehouse would say about them, whatever its scopes. E-mail addresses that nobody verified are left out.
func ClaimsOf(own Issuer, p Person) Claims {
	c := Claims{}
	for name, value := range p.Claims {
		if !ReservedClaim(name) {
			c[name] = value
		}
	}
	groups := make([]any, len(p.Groups))
	for i, g := range p.Groups {
		groups[i] = g
	}
	known := Claims{"iss": string(own), "sub": p.Key.Subject, "groups": groups}
	for name, value := range map[string]string{"preferred_username": p.Username, "name": p.Name, ProviderClaim: p.Provider} {
		if value != "" {
			known[name] = value
		}
	}
	if p.Email != "" && p.EmailVerified {
		known["email"], known["email_verified"] = p.Email, true
	}
	if p.GroupsUnknown { // as an issuer says it (OpenID Connect Core §5.6.2)
		delete(known, "groups")
		known["_claim_names"] = map[string]any{"groups": "idp"}
	}
	maps.Copy(c, known)
	return c
}
