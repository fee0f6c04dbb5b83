package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

// Outcome is what one check of an explanation came to.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "failed"
	Skipped Outcome = "skipped" // it could not be done, or says nothing
)

// Check is one check of a token. Expected and Found are for administrators: they show claims, never the token. What
// stems from the token is quoted, so that it cannot play tricks on a terminal.
type Check struct {
	Name     string
	Outcome  Outcome
	Expected string
	Found    string
}

// Cause is what probably lies behind a refusal, and what to do about it.
type Cause struct{ What, Cure string }

// Explanation says check by check why an endpoint accepts or refuses a token. Checks go on after the first that fails.
type Explanation struct {
	Endpoint   *Endpoint
	Authorizer string   // whose rules the checks are: of several, the one that came furthest
	Refusal    *Refusal // nil: accepted
	Checks     []Check
	Causes     []Cause // the likeliest first
}

// ExplainOptions are what an explanation depends on beside the token and the endpoint.
type ExplainOptions struct {
	Now         time.Time
	Revocations Revocations // nil: not known here
	Shown       Shown
}

// Explain checks a token as Authenticate does and says what it found. A word Bearer or DPoP before the token and white
// space around it are overlooked.
func Explain(ctx context.Context, token string, e *Endpoint, o ExplainOptions) *Explanation {
	token = strings.TrimSpace(token)
	if scheme, rest, ok := strings.Cut(token, " "); ok && isScheme(strings.TrimSuffix(scheme, ":")) {
		token = strings.TrimSpace(rest)
	}
	x := &explainer{now: o.Now, token: token, e: e, failed: map[string]bool{}}
	x.out.Endpoint = e
	v, refusal := verify(ctx, token, e, o.Now)
	if refusal == nil {
		refusal = revoked(v.judge(e).principal, o.Revocations, o.Now)
	}
	x.out.Refusal = refusal
	if x.read(ctx) {
		x.choose(ctx)
		x.checks(ctx)
		if binding := x.checkBinding(o.Shown); refusal == nil {
			refusal = binding
		}
		x.out.Refusal = refusal
		x.revocation(v, o.Revocations)
	}
	if refusal == nil {
		x.service(v.judge(e).principal)
	}
	if refusal != nil {
		x.out.Causes = x.causes()
	}
	return &x.out
}

func isScheme(word string) bool {
	return strings.EqualFold(word, schemeBearer) || strings.EqualFold(word, schemeDPoP)
}

// revoked applies the last check, where it is known.
func revoked(p *identity.Principal, r Revocations, now time.Time) *Refusal {
	switch {
	case r == nil:
		return nil
	case !r.Current(now):
		return unavailable(RevocationsUnknown, "access cannot be checked at the moment; try again shortly", errors.New("the list of revocations is too old"))
	case r.Revoked(p.Key, p.Grant, p.Client, p.IssuedAt):
		return invalidToken(stepScope, TokenRevoked, "the access token was revoked; sign in again", nil)
	}
	return nil
}

// explainer gathers an explanation.
type explainer struct {
	now   time.Time
	token string
	e     *Endpoint
	out   Explanation

	t         *jose.Token // nil when it cannot be read
	readErr   error
	v         *verified   // what could be read of it
	z         *Authorizer // whose rules are looked at
	issuerOK  bool
	opaque    bool // introspection vouches for it
	signature error
	mismatch  *identity.Mismatch // the first claim rule that does not hold
	failed    map[string]bool    // checks by name
}

func (x *explainer) check(name string, ok bool, expected, found string) {
	outcome := Passed
	if !ok {
		outcome = Failed
		x.failed[name] = true
	}
	x.out.Checks = append(x.out.Checks, Check{name, outcome, expected, found})
}

func (x *explainer) skip(name, why string) {
	x.out.Checks = append(x.out.Checks, Check{Name: name, Outcome: Skipped, Found: why})
}

// read takes the token apart, or has its issuer do it.
func (x *explainer) read(ctx context.Context) bool {
	const want = "a signed JWT"
	x.t, x.readErr = jose.Parse(x.token)
	if x.readErr == nil {
		h := x.t.Header
		x.check("format", true, want, fmt.Sprintf("a signed JWT: alg %q, kid %q, typ %q", h.Alg, h.Kid, h.Typ))
		return true
	}
	i := slices.IndexFunc(x.e.Authorizers, func(z *Authorizer) bool { return z.Introspection != nil })
	if i < 0 || !looksOpaque(x.token) || jose.ReasonOf(x.readErr) != jose.Malformed {
		x.check("format", false, want, x.readErr.Error())
		return false
	}
	x.z, x.opaque = x.e.Authorizers[i], true
	x.check("format", true, "a token that its issuer can be asked about", "an opaque token")
	answer, err := x.z.Introspection.ask(ctx, x.token)
	switch {
	case err != nil:
		x.check("introspection", false, "an answer of the issuer", err.Error())
		return false
	case answer.claims == nil:
		x.check("introspection", false, "active: true", "active: false")
		return false
	}
	x.check("introspection", true, "active: true", "active: true")
	claims, refusal := x.z.introspectedClaims(ctx, answer)
	if refusal != nil {
		x.check("introspection", false, "an access token of this issuer", causeOf(refusal).Error())
		return false
	}
	x.t = &jose.Token{Claims: claims}
	return true
}

// choose picks the rules to look at: of those for the issuer the ones that come furthest, else the first ones.
func (x *explainer) choose(ctx context.Context) {
	x.v = &verified{header: x.t.Header, claims: x.t.Claims, client: clientOf(x.t.Claims), scopes: scopesOf(x.t.Claims)}
	x.v.audience, _ = x.t.Claims.Strings("aud")
	iss, _ := x.t.Claims.String("iss")
	sub, _ := x.t.Claims.String("sub")
	x.v.key = identity.PersonKey{Issuer: identity.Issuer(iss), Subject: sub}
	if x.opaque {
		x.issuerOK = true
		return
	}
	furthest := -1
	for _, z := range x.e.Authorizers {
		if d, ok := z.Keys.(discovered); ok && z.issuer() == "" {
			_ = d.Load(ctx) // an issuer that stays unknown shows in the checks
		}
		if !z.accepts(identity.Issuer(iss)) {
			continue
		}
		step := stepUnavailable + 1
		v, refusal := verifyWith(ctx, &x.t.Signed, issuerKeys{z.Keys, z.algorithms()}, x.now)
		if refusal == nil {
			refusal = z.judge(v, x.e)
		}
		if refusal != nil {
			step = refusal.step
		}
		if step > furthest {
			x.z, x.issuerOK, furthest = z, true, step
		}
	}
	if x.z == nil && len(x.e.Authorizers) > 0 {
		x.z = x.likeliest(iss)
	}
}

// likeliest guesses for which rules a token of an unknown issuer was meant: those with an issuer on the same host, else
// the first of another issuer than Gatehouse, else the first.
func (x *explainer) likeliest(iss string) *Authorizer {
	for _, z := range x.e.Authorizers {
		if sameVendor(string(z.issuer()), iss) {
			return z
		}
	}
	for _, z := range x.e.Authorizers {
		if !z.Own {
			return z
		}
	}
	return x.e.Authorizers[0]
}

func (x *explainer) checks(ctx context.Context) {
	if x.z == nil {
		x.check("issuer", false, "an authorizer at the endpoint", "none")
		return
	}
	x.out.Authorizer = x.z.Name
	x.checkIssuer()
	x.checkSignature(ctx)
	x.checkType()
	x.checkTimes()
	x.checkAudience()
	x.checkClient()
	for _, rule := range x.z.CustomClaims {
		m := rule.Mismatch(x.t.Claims)
		if m == nil {
			x.check("claims", true, rule.String(), "")
			continue
		}
		x.check("claims", false, m.Expected, m.Found)
		if x.mismatch == nil {
			x.mismatch = m
		}
	}
	x.checkScopes()
}

func (x *explainer) checkIssuer() {
	var accepted []string
	for _, z := range x.e.Authorizers {
		name := string(z.issuer())
		if name == "" {
			name = "(" + z.Name + ": unknown, its metadata cannot be read)"
		}
		if !slices.Contains(accepted, name) {
			accepted = append(accepted, name)
		}
	}
	x.check("issuer", x.issuerOK, strings.Join(accepted, " or "), show(x.t.Claims, "iss"))
}

func (x *explainer) checkSignature(ctx context.Context) {
	if x.opaque {
		x.skip("signature", "introspection vouches for the token")
		return
	}
	x.signature = x.t.Verify(ctx, x.z.Keys, x.z.algorithms())
	expected := "a key of the issuer, with " + strings.Join(x.z.algorithms(), ", ")
	switch {
	case x.signature == nil:
		x.check("signature", true, expected, fmt.Sprintf("key %q, %s", x.t.Header.Kid, x.t.Header.Alg))
	case !x.issuerOK && jose.ReasonOf(x.signature) != jose.AlgRefused:
		x.skip("signature", "not known, because the issuer is another one")
	default:
		x.check("signature", false, expected, x.signature.Error())
	}
}

func (x *explainer) checkType() {
	expected := "an access token"
	refusal := refuseOtherTypes(x.t)
	switch {
	case refusal != nil:
		x.check("type", false, expected, causeOf(refusal).Error())
	case x.ours() && !x.t.Header.IsType("at+jwt"):
		x.check("type", false, expected+" (typ at+jwt)", fmt.Sprintf("typ %q", x.t.Header.Typ))
	default:
		x.check("type", true, expected, "nothing that says otherwise")
	}
	sub := x.v.key.Subject
	x.check("subject", sub != "" && !strings.Contains(sub, "\x00"), "a sub claim", show(x.t.Claims, "sub"))
}

// ours reports whether the token claims to be Gatehouse's own.
func (x *explainer) ours() bool {
	_, own := x.z.Keys.(*jose.SigningKeys)
	return own && x.issuerOK
}

func (x *explainer) checkTimes() {
	refusal := x.v.readTimes(x.now)
	expected := "valid at " + x.now.UTC().Format(time.RFC3339)
	var found []string
	for _, name := range []string{"iat", "nbf", "exp"} {
		at, ok := x.t.Claims.Time(name)
		switch {
		case ok:
			found = append(found, name+" "+at.UTC().Format(time.RFC3339))
		case x.t.Claims[name] != nil:
			found = append(found, name+" "+show(x.t.Claims, name))
		}
	}
	x.check("time", refusal == nil, expected, strings.Join(found, ", "))
	if refusal == nil && !x.opaque {
		x.check("lifetime", x.v.lifetime <= x.z.longest(), "at most "+x.z.longest().String(), about(x.v.lifetime).String())
	}
}

func (x *explainer) checkAudience() {
	if x.z.NoAudience {
		x.skip("audience", "not looked at: the authorizer has no allowed_audience")
		return
	}
	x.check("audience", x.z.audienceOK(x.v, x.e), strings.Join(x.z.audience(x.e), " or "), show(x.t.Claims, "aud"))
}

func (x *explainer) checkClient() {
	if len(x.z.AllowedClients) == 0 {
		x.skip("client", "not looked at: any client may use the token")
		return
	}
	accepted := make([]string, len(x.z.AllowedClients))
	for i, c := range x.z.AllowedClients {
		accepted[i] = string(c)
	}
	found := "none of client_id, azp, cid, appid"
	if x.v.client != "" {
		found = fmt.Sprintf("%q", x.v.client)
	}
	x.check("client", slices.Contains(x.z.AllowedClients, x.v.client), strings.Join(accepted, " or "), found)
}

func (x *explainer) checkScopes() {
	found := "none"
	if len(x.v.scopes) > 0 {
		found = fmt.Sprintf("%q", x.v.scopes.String())
	}
	switch {
	case len(x.z.AllowedScopes) > 0:
		x.check("scopes", x.v.scopes.HasAny(x.z.AllowedScopes), "one of "+x.z.AllowedScopes.String(), found)
	case x.z.Own && len(x.e.DefaultScopes) > 0:
		x.check("scopes", x.v.scopes.HasAll(x.e.DefaultScopes), "all of "+x.e.DefaultScopes.String(), found)
	default:
		x.skip("scopes", "none are needed")
	}
}

func (x *explainer) revocation(v *verified, r Revocations) {
	switch refusal := x.out.Refusal; {
	case r == nil:
		x.skip("revocation", "not known here")
	case v == nil:
		x.skip("revocation", "not looked at, because the token is refused anyway")
	case refusal != nil && refusal.Reason == RevocationsUnknown:
		x.check("revocation", false, "a current list", "a list that is too old")
	default:
		found, ended := "not revoked", refusal != nil && refusal.Reason == TokenRevoked
		if ended {
			found = "grant, person or client was revoked after the token was issued"
		}
		x.check("revocation", !ended, "not revoked", found)
	}
}

// service says what a token of a service needs beside being good.
func (x *explainer) service(p *identity.Principal) {
	if p.Service {
		x.skip("service", fmt.Sprintf("a client that acts as itself is let in only where services names it: {%s: [%s]}", p.Authorizer, p.Client.Short()))
	}
}

// show quotes a claim.
func show(c identity.Claims, name string) string {
	switch v := c[name].(type) {
	case nil:
		return "absent"
	case string:
		return fmt.Sprintf("%.200q", v)
	case float64:
		return fmt.Sprint(v)
	case []any:
		return fmt.Sprintf("%.200q", v)
	default:
		return fmt.Sprintf("%.200q", fmt.Sprint(v))
	}
}
