package authn

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/vendor"
)

// causes looks for what is behind each failed check, in the order of the checks: what fails first usually explains the
// rest. There is always at least one.
func (x *explainer) causes() []Cause {
	var out []Cause
	add := func(c Cause) {
		if c != (Cause{}) && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	for _, one := range []struct {
		check string
		cause func() Cause
	}{
		{"format", x.unreadable}, {"introspection", x.notIntrospected}, {"signature", x.algorithmCause}, {"type", x.typeCause},
		{"issuer", x.issuerCause}, {"signature", x.signatureCause}, {"subject", x.subjectCause}, {"time", x.timeCause},
		{"lifetime", x.lifetimeCause}, {"audience", x.audienceCause}, {"client", x.clientCause}, {"claims", x.claimCause},
		{"scopes", x.scopeCause}, {"certificate", x.bindingCause}, {"binding", x.bindingCause}, {"revocation", x.revocationCause},
	} {
		if x.failed[one.check] {
			add(one.cause())
		}
		if one.check == "issuer" && x.failed["issuer"] && x.z != nil && !sameVendor(string(x.z.issuer()), string(x.v.key.Issuer)) {
			break // how the token of a stranger differs from these rules explains nothing
		}
	}
	if len(out) == 0 {
		add(Cause{x.out.Refusal.Description, "Compare what was expected and found above."})
	}
	return out
}

// unreadable tells by its looks what somebody took for an access token.
func (x *explainer) unreadable() Cause {
	token := x.token
	dots := strings.Count(token, ".")
	begins := func(prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(token, p) })
	}
	const whole = "Copy the token again, as one line."
	switch jose.ReasonOf(x.readErr) {
	case jose.TooLarge:
		return Cause{"the token is longer than any that is read here, usually because it carries hundreds of groups", "Have the issuer put fewer groups into it, or use application roles."}
	case jose.HeaderRefused:
		return Cause{"the token's header brings its own key or demands an extension", "Keys come from the issuer's metadata only. If the issuer really signs so, it cannot be used here; if not, the token is forged."}
	}
	switch {
	case token == "":
		return Cause{"there is no token", "Give the access token on standard input or with --token-file."}
	case begins("{"):
		return Cause{"this is the whole answer of the token endpoint", "Give only the value of access_token in it."}
	case strings.ContainsAny(token, " \t\r\n\"'"):
		return Cause{"there are blanks, line breaks or quotes in the token", whole}
	case begins("ey") && dots == 4:
		return Cause{"this is an encrypted token (JWE), which only its issuer can read; Auth0 gives one out when no audience is asked for",
			"At Auth0: register an API and have the client ask for its audience. Elsewhere: turn off encryption of access tokens for this API."}
	case begins("ey") && dots < 2:
		return Cause{"the token is cut off: a JWT has three parts", whole}
	case begins("ey"):
		return Cause{"the token was damaged or cut off on its way", whole}
	case begins("ya29."):
		return Cause{"this is an access token of Google, which only Google can read", "Google issues no JWTs for other people's servers: let people sign in through Gatehouse (issuers: [gatehouse]) with Google behind it."}
	case begins("gho_", "ghp_", "ghu_", "ghs_", "ghr_", "github_pat_"):
		return Cause{"this is a token of GitHub, for GitHub's own interfaces", "Sign in to Gatehouse; a token for a target belongs in the target's headers."}
	case begins("sk-", "xoxb-", "xoxp-", "AKIA", "glpat-"):
		return Cause{"this is an API key of another service", "Sign in to Gatehouse; a key for a target belongs in the target's headers."}
	}
	return x.opaqueCause()
}

// opaqueCause knows which issuers give out opaque tokens, and why.
func (x *explainer) opaqueCause() Cause {
	for _, z := range x.e.Authorizers {
		switch iss := string(z.issuer()); vendor.Of(iss) {
		case vendor.Okta:
			if !strings.Contains(iss, "/oauth2/") {
				return Cause{"Okta's org authorization server gives out tokens that only Okta can read", "Create a custom authorization server at Okta (…/oauth2/default), and use its discovery URL here and in the client."}
			}
		case vendor.Auth0:
			return Cause{"Auth0 gives out opaque tokens when no audience is asked for", "Register an API at Auth0, name its identifier in allowed_audience, and have the client ask for that audience (or set a default audience in the tenant)."}
		case vendor.Zitadel:
			return Cause{"Zitadel gives out opaque tokens unless the application's token type is JWT", "Set the application's token type to JWT (Token Settings), or set introspection at the authorizer."}
		case vendor.Google:
			return Cause{"access tokens of Google can only be read by Google", "Let people sign in through Gatehouse (issuers: [gatehouse]) with Google behind it."}
		}
	}
	return Cause{"this is an opaque token: only its issuer can read it", "Have the issuer give out JWTs for this API, or set introspection at the authorizer. If it came from Gatehouse, it is a refresh token or a code: give the access token."}
}

func (x *explainer) notIntrospected() Cause {
	if x.out.Refusal != nil && x.out.Refusal.Reason == IntrospectionFailed {
		return Cause{"the issuer could not be asked about the token", "Check url, client_id and client_secret of introspection, and that the issuer lets this client introspect."}
	}
	return Cause{"the issuer does not know the token, or has ended it", "Sign in again. If it is fresh: it may be of another issuer, or the client may not be allowed to introspect it."}
}

// algorithmCause comes before the issuer: what nobody may sign with needs no issuer.
func (x *explainer) algorithmCause() Cause {
	if jose.ReasonOf(x.signature) != jose.AlgRefused {
		return Cause{}
	}
	switch alg := x.t.Header.Alg; {
	case strings.EqualFold(alg, "none") || alg == "":
		return Cause{"the token is not signed", "Never accept it. Find out who made it."}
	case strings.HasPrefix(alg, "HS"):
		return Cause{"the token is signed with a shared secret (" + alg + ") instead of a key pair; Authentik does that when the provider has no signing key",
			"Give the provider a signing key (RS256 or ES256) at the issuer."}
	default:
		return Cause{fmt.Sprintf("the issuer signs with %.32q, which is not accepted", alg), "Have it sign with one of " + strings.Join(x.z.algorithms(), ", ") + "."}
	}
}

func (x *explainer) typeCause() Cause {
	c := x.t.Claims
	typ, _ := c.String("typ")
	use, _ := c.String("token_use")
	header := strings.ToLower(strings.TrimPrefix(strings.ToLower(x.t.Header.Typ), "application/"))
	_, codeHash := c["c_hash"]
	const access = "Give the access token: access_token in the answer of the token endpoint, not id_token."
	switch {
	case strings.EqualFold(typ, "ID") || use == "id" || codeHash || x.ours() && (header == "jwt" || header == ""):
		return Cause{"this is an ID token", access}
	case strings.EqualFold(typ, "Refresh") || strings.EqualFold(typ, "Offline") || use == "refresh":
		return Cause{"this is a refresh token", "Give the access token that was issued with it."}
	case strings.EqualFold(typ, "Logout") || header == "logout+jwt":
		return Cause{"this is a logout token of a back-channel logout", access}
	case header == "oauth-id-jag+jwt":
		return Cause{"this is an identity assertion grant (ID-JAG), which is exchanged for an access token", "Send it to the token endpoint; what comes back is the access token."}
	case header == "dpop+jwt":
		return Cause{"this is a DPoP proof", "Give the access token that it belongs to."}
	case header == "jwt" || header == "at+jwt" || header == "":
		return Cause{"the token says that it is for another use", access}
	}
	return Cause{fmt.Sprintf("this is a JWT of another kind (typ %.64q)", x.t.Header.Typ), access}
}

func (x *explainer) subjectCause() Cause {
	return Cause{"the token names no person or service (sub)", "Let the issuer put sub into access tokens; at Keycloak that is the client scope basic."}
}

// timeCause tells an old token from a clock that is wrong.
func (x *explainer) timeCause() Cause {
	c := x.t.Claims
	for _, name := range []string{"exp", "iat", "nbf"} {
		if n, ok := c[name].(float64); ok && n > 1e11 {
			return Cause{name + " counts milliseconds; JWTs count seconds", "Mend whatever makes these tokens (RFC 7519 §2)."}
		}
		if _, ok := c.Time(name); !ok && c[name] != nil {
			return Cause{name + " is not a number of seconds", "Mend whatever makes these tokens (RFC 7519 §2)."}
		}
	}
	expires, ok := c.Time("exp")
	issued, _ := c.Time("iat")
	switch ago := x.now.Sub(expires); {
	case !ok:
		return Cause{"the token never expires", "Give access tokens a lifetime at the issuer."}
	case ago >= 0 && ago <= 5*time.Minute:
		return Cause{fmt.Sprintf("the token expired %s ago", about(ago)), "The client should have renewed it. If it was fresh, the clocks of issuer and Gatehouse differ: check NTP on both."}
	case ago > 0:
		return Cause{fmt.Sprintf("the token expired %s ago", about(ago)), "Get a new one: sign in again, or find out why the client does not use its refresh token (offline_access)."}
	}
	ahead := issued.Sub(x.now)
	if nbf, ok := c.Time("nbf"); ok && nbf.Sub(x.now) > ahead {
		ahead = nbf.Sub(x.now)
	}
	return Cause{fmt.Sprintf("clock skew: the token is valid only in %s, by the clock here", about(ahead)), "Set the clocks of issuer and Gatehouse by NTP; a minute of difference is tolerated."}
}

func about(d time.Duration) time.Duration {
	if d > time.Hour {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

func (x *explainer) lifetimeCause() Cause {
	return Cause{"the token lives longer than an access token should", "Shorten the lifetime of access tokens at the issuer; an hour is usual, " + x.z.longest().String() + " the most."}
}

func (x *explainer) clientCause() Cause {
	switch {
	case x.v.client == "":
		return Cause{"the token does not say which client it was issued to", "Remove allowed_clients and set allowed_audience, or have the issuer add client_id or azp."}
	case strings.HasPrefix(string(x.v.client), "dcr1."):
		return Cause{"the client registered itself, and allowed_clients names others", "Remove allowed_clients for clients that register themselves, or give the client a static client_id."}
	}
	return Cause{"the person signed in through another client than the ones that are accepted", fmt.Sprintf("Add %.100q to allowed_clients if that client is meant, or give the MCP client the right client_id.", x.v.client)}
}

// claimCause compares what the first failing rule wants with what there is.
func (x *explainer) claimCause() Cause {
	m := x.mismatch
	c := x.t.Claims
	if m.Moved != "" {
		return Cause{"the person is in so many groups that the issuer left them out (groups overage)", "At Entra: emit only groups assigned to the application, or use app roles and a rule on roles."}
	}
	if m.Rule.Claim == "" {
		return Cause{"none of the alternatives of a claim rule holds", "Compare the rule with what was found, above."}
	}
	found := c.Find(m.Rule.Claim)
	if len(found) == 0 {
		return x.absentClaim(m.Rule)
	}
	texts, ok := identity.Claims{"v": found[0]}.Strings("v")
	list, _ := found[0].([]any)
	isArray := m.Rule.Type == identity.TypeStringArray
	switch _, isMap := found[0].(map[string]any); {
	case isMap && m.Rule.Type != identity.TypeKeys:
		return Cause{fmt.Sprintf("%s is an object, not a %s", m.Rule.Claim, m.Rule.Type), "Where names are keys, as in Zitadel's roles: type: keys. Else name the member: " + m.Rule.Claim + ".name."}
	case ok && isArray && list == nil:
		return Cause{m.Rule.Claim + " is text, not a list", "Compare with equals or matches, or have the issuer send a list (a multivalued mapper)."}
	case ok && list != nil && m.Rule.Type == identity.TypeString:
		return Cause{m.Rule.Claim + " is a list, not text", "Use contains or contains_any."}
	case !ok && m.Rule.Type == identity.TypeString:
		return Cause{m.Rule.Claim + " is not text", "Write the value without quotes, or set type to number or bool."}
	}
	for _, want := range m.Rule.Values {
		for _, have := range texts {
			switch {
			case strings.EqualFold(want, have):
				return Cause{fmt.Sprintf("%q and %q differ in case only", want, have), "Values are compared exactly: write it as the issuer does."}
			case strings.TrimPrefix(have, "/") == want:
				return Cause{"Keycloak sends groups with their full path: " + have, "Write the value with the slash, or turn off the full group path in the mapper."}
			}
		}
	}
	if len(texts) > 0 && isGUID(texts[0]) && len(m.Rule.Values) > 0 && !isGUID(m.Rule.Values[0]) {
		return Cause{m.Rule.Claim + " holds object ids, as Entra sends them, and the rule has names", "Write the groups' object ids, or use app roles and a rule on roles."}
	}
	return Cause{"the person does not have what the claim rule asks for", "If the person should: change groups or attributes at the issuer, and sign in again; tokens keep what was true when they were issued."}
}

// absentClaim looks for the claim under the names that other issuers use.
func (x *explainer) absentClaim(rule identity.ClaimRule) Cause {
	for name := range x.t.Claims {
		if strings.EqualFold(name, rule.Claim) || strings.HasSuffix(name, "/"+rule.Claim) {
			return Cause{fmt.Sprintf("the token has no %s, but it has %.100q", rule.Claim, name), "Write the claim's name as it is in the token."}
		}
	}
	for _, other := range []string{"groups", "roles", "cognito:groups", "realm_access.roles", "permissions", "urn:zitadel:iam:org:project:roles"} {
		if other != rule.Claim && len(x.t.Claims.Find(other)) > 0 && slices.Contains([]string{"groups", "roles", "group", "role", "permissions"}, rule.Claim) {
			return Cause{fmt.Sprintf("the token has no %s, but it has %s", rule.Claim, other), "Write claim: " + other + " if that is meant."}
		}
	}
	cure := "Have the issuer put it into access tokens, not only into ID tokens"
	switch vendor.Of(string(x.z.issuer())) {
	case vendor.Okta:
		cure = "At Okta: Security, API, the authorization server, Claims: add it to the access token"
	case vendor.Keycloak:
		cure = "At Keycloak: add a mapper to the client scope, with “Add to access token” on"
	case vendor.Entra:
		cure = "At Entra: App registrations, Token configuration: add the groups claim to access tokens, or use app roles"
	case vendor.Auth0:
		cure = "At Auth0: add it in a post-login Action with api.accessToken.setCustomClaim, under a URL as its name"
	}
	return Cause{"the token has no claim " + rule.Claim, cure + "; then sign in again."}
}

func (x *explainer) scopeCause() Cause {
	want := x.z.AllowedScopes
	if len(want) == 0 {
		want = x.e.DefaultScopes
	}
	if _, roles := x.t.Claims["roles"]; roles && len(x.v.scopes) == 0 && vendor.Of(string(x.z.issuer())) == vendor.Entra {
		return Cause{"the token was issued to an application by itself, not to a person: it has roles and no scopes", "Sign a person in, or accept the application with custom_claims on roles in place of allowed_scopes."}
	}
	for _, w := range want {
		for _, have := range x.v.scopes {
			if strings.HasSuffix(w, "/"+have) || strings.HasSuffix(have, "/"+w) {
				return Cause{fmt.Sprintf("the scope is %s in the token and %s in the rules: clients ask by the long name, and some issuers write the short one", have, w),
					fmt.Sprintf("Write the one of the token in allowed_scopes, and the other in advertised_scopes: {%s: %s}.", have, w)}
			}
		}
	}
	return Cause{"the client did not ask for the scope, or the person or issuer did not grant it", "Have the client ask for " + x.z.advertised(want).String() + "; at the issuer, allow that scope for the client."}
}

func (x *explainer) revocationCause() Cause {
	if x.out.Refusal.Reason == RevocationsUnknown {
		return Cause{"nobody knows at the moment who was revoked", "Make the database reachable."}
	}
	return Cause{"access was ended: by an administrator, by the person, or because a code or refresh token was used twice", "Sign in again; a disabled user must be enabled first."}
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", c) {
			return false
		}
	}
	return true
}
