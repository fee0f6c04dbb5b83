package authn

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

const clockSkew = time.Minute

// verified is a token whose signature, type and times are good, with all that the rules look at. It stays in the cache and is
// shared by requests: only verdict and used ever change.
type verified struct {
	header     jose.Header
	claims     identity.Claims
	keys       jose.KeySource // under which it was verified …
	generation uint64         // … and in which state of theirs
	via        *Introspector  // who vouches for it instead of a signature; nil for JWTs …
	recheck    time.Time      // … and until when; zero for JWTs

	key      identity.PersonKey
	client   identity.ClientID
	scopes   identity.Scopes
	audience []string
	issued   time.Time // zero when the token does not say
	expires  time.Time
	lifetime time.Duration

	confirmation identity.Confirmation // what its holder has to prove besides

	verdict atomic.Pointer[verdict]
	used    atomic.Bool // since the cache's hand last came by
}

// verdict is what the rules of one endpoint say about a token: a principal or a refusal. It stays true for as long as the
// endpoint exists, because an endpoint never changes: a reload makes a new one.
type verdict struct {
	endpoint  *Endpoint
	principal *identity.Principal
	refusal   *Refusal
}

// readToken takes from the claims what the rules need, and refuses what is no access token or not valid now.
func readToken(t *jose.Token, now time.Time) (*verified, *Refusal) {
	if refusal := refuseOtherTypes(t); refusal != nil {
		return nil, refusal
	}
	v := &verified{header: t.Header, claims: t.Claims}
	iss, _ := t.Claims.String("iss")
	sub, _ := t.Claims.String("sub")
	if sub == "" || strings.Contains(sub, "\x00") {
		return nil, invalidToken(stepType, NoSubject, "the access token names no subject", nil)
	}
	v.key = identity.PersonKey{Issuer: identity.Issuer(iss), Subject: sub}
	if _, present := t.Claims["aud"]; present {
		var ok bool
		if v.audience, ok = t.Claims.Strings("aud"); !ok {
			return nil, invalidToken(stepType, ClaimMalformed, "the aud claim of the access token is neither a string nor a list of strings", nil)
		}
	}
	var ok bool
	if v.confirmation, ok = t.Claims.Confirmation(); !ok {
		return nil, invalidToken(stepType, UnknownBinding, "the access token is bound to its holder in a way that is not known here", errUnknownBinding)
	}
	v.client = clientOf(t.Claims)
	v.scopes = scopesOf(t.Claims)
	if refusal := v.readTimes(now); refusal != nil {
		return nil, refusal
	}
	return v, nil
}

// readTimes checks exp, nbf and iat (RFC 7519 §4.1). The skew is for clocks that run behind the issuer's; an expired
// token gets none.
func (v *verified) readTimes(now time.Time) *Refusal {
	for _, name := range []string{"exp", "nbf", "iat"} {
		if _, ok := v.claims.Time(name); !ok && v.claims[name] != nil {
			return invalidToken(stepTime, ClaimMalformed, "the "+name+" claim of the access token is no number of seconds", nil)
		}
	}
	expires, ok := v.claims.Time("exp")
	if !ok {
		return invalidToken(stepTime, NoExpiry, "the access token has no expiry", nil)
	}
	issued, hasIssued := v.claims.Time("iat")
	notBefore, hasNotBefore := v.claims.Time("nbf")
	latest := now.Add(clockSkew)
	switch {
	case !now.Before(expires):
		return expired(expires)
	case hasIssued && issued.After(latest) || hasNotBefore && notBefore.After(latest):
		return invalidToken(stepTime, TokenNotYetValid, "the access token is not valid yet",
			fmt.Errorf("iat %s, nbf %s, our clock %s; is one of the clocks wrong?", issued.UTC(), notBefore.UTC(), now.UTC()))
	}
	v.expires, v.issued, v.lifetime = expires, issued, expires.Sub(now)
	if hasIssued {
		v.lifetime = expires.Sub(issued)
	}
	return nil
}

func expired(at time.Time) *Refusal {
	return invalidToken(stepTime, TokenExpired, "the access token has expired", fmt.Errorf("expired at %s", at.UTC()))
}

// refuseOtherTypes refuses JWTs that are not access tokens, above all ID tokens. What tells them apart is the header's typ,
// Cognito's claim token_use, Keycloak's claim typ, and the claim c_hash, which only ID tokens have (OpenID Connect Core
// §3.3.2.11). The claim at_hash does not: Dex puts it into access tokens, too.
func refuseOtherTypes(t *jose.Token) *Refusal {
	if use, present := t.Claims["token_use"]; present && use != "access" {
		return wrongType(fmt.Sprintf("token_use %.32v", use), use)
	}
	if typ, ok := t.Claims.String("typ"); ok {
		switch strings.ToLower(typ) {
		case "id", "refresh", "offline", "logout":
			return wrongType(fmt.Sprintf("typ claim %.32q", typ), typ)
		}
	}
	if _, present := t.Claims["c_hash"]; present {
		return wrongType("claim c_hash", "id")
	}
	for _, typ := range []string{"", "jwt", "at+jwt", "okta-internal-at+jwt"} {
		if t.Header.IsType(typ) {
			return nil
		}
	}
	return wrongType(fmt.Sprintf("typ header %.32q", t.Header.Typ), strings.TrimSuffix(strings.ToLower(t.Header.Typ), "+jwt"))
}

func wrongType(found string, kind any) *Refusal {
	cause := fmt.Errorf("%s", found)
	word, _ := kind.(string)
	switch strings.ToLower(word) {
	case "id":
		return invalidToken(stepType, IDTokenUsed, "this is an ID token; use the access token", cause)
	case "refresh", "offline":
		return invalidToken(stepType, RefreshTokenUsed, "this is a refresh token; use the access token", cause)
	case "logout":
		return invalidToken(stepType, LogoutTokenUsed, "this is a logout token; use the access token", cause)
	}
	return invalidToken(stepType, WrongTokenType, "this JWT is not an access token", cause)
}

// isForeignService reports whether another issuer gave the token to a client for itself (client credentials), with no person
// behind it. There is no common mark for that. It looks for a subject that is the client (RFC 9068 §2.2; Okta, Cognito,
// PingOne), for the claims gty (Auth0) and idtyp (Entra), for a sub that is the oid without any scp (Entra again), and for the
// name or the clientHost that Keycloak gives to service accounts.
func isForeignService(v *verified) bool {
	text := func(name string) string { s, _ := v.claims.String(name); return s }
	client, sub := string(v.client), v.key.Subject
	_, scp := v.claims["scp"]
	_, host := v.claims["clientHost"]
	return client != "" && (sub == client || sub == client+"@clients") ||
		text("gty") == "client-credentials" || text("idtyp") == "app" ||
		text("oid") == sub && text("tid") != "" && !scp ||
		host || strings.HasPrefix(text("preferred_username"), "service-account-")
}

// clientOf returns the client that a token was issued to. Issuers use different claims for it; only the first one that is
// present counts.
func clientOf(c identity.Claims) identity.ClientID {
	for _, name := range []string{"client_id", "azp", "cid", "appid"} {
		if _, present := c[name]; present {
			id, _ := c.String(name)
			return identity.ClientID(id)
		}
	}
	return ""
}

// scopesOf reads scope or scp, as a list or in one string.
func scopesOf(c identity.Claims) identity.Scopes {
	for _, name := range []string{"scope", "scp"} {
		if _, present := c[name]; !present {
			continue
		}
		values, _ := c.Strings(name)
		return identity.ParseScopes(strings.Join(values, " "))
	}
	return nil
}

// due reports whether the token has to be verified again.
func (v *verified) due(now time.Time) bool {
	return v.generation != v.keys.Generation() || v.via != nil && !now.Before(v.recheck)
}

// judge returns what the endpoint's rules say about the token. The verdict of the endpoint that asked last is remembered.
func (v *verified) judge(e *Endpoint) *verdict {
	if d := v.verdict.Load(); d != nil && d.endpoint == e {
		return d
	}
	d := &verdict{endpoint: e, refusal: invalidToken(stepIssuer, UnknownIssuer, "the issuer of the access token is not accepted here", nil)}
	for _, z := range e.Authorizers {
		if z.Keys != v.keys || !z.accepts(v.key.Issuer) || v.via != nil && z.Introspection != v.via {
			continue
		}
		refusal := z.judge(v, e)
		if refusal == nil {
			d.principal, d.refusal = v.principal(z), nil
			break
		}
		refusal.Cause = fmt.Errorf("authorizer %s: %w", z.Name, causeOf(refusal))
		d.refusal = further(d.refusal, refusal)
	}
	v.verdict.Store(d)
	return d
}

func causeOf(r *Refusal) error {
	if r.Cause != nil {
		return r.Cause
	}
	return fmt.Errorf("%s", r.Description)
}

// further returns the refusal that came at the later step of the checks, because it tells more; either may be nil.
func further(a, b *Refusal) *Refusal {
	if a == nil || b != nil && b.step > a.step {
		return b
	}
	return a
}

// ours reports whether Gatehouse issued the token, whichever rule set is about to judge it.
func (v *verified) ours() bool {
	_, own := v.keys.(*jose.SigningKeys)
	return own
}

func (v *verified) principal(z *Authorizer) *identity.Principal {
	p := &identity.Principal{
		Key: v.key, Client: v.client, Scopes: v.scopes, Claims: v.claims,
		Authorizer: z.Name, IssuedAt: v.issued, Expires: v.expires,
	}
	if v.ours() {
		grant, _ := v.claims.String(identity.GrantClaim)
		p.Grant, p.Service = identity.GrantID(grant), v.key.IsService()
		return p
	}
	p.Service = isForeignService(v)
	return p
}
