package oauthclient

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

// expectation is what an ID token must match beyond what holds for every one.
type expectation struct {
	nonce  string // empty on a refresh, where an ID token need not repeat it (OpenID Connect Core §12.2)
	maxAge *int64
	known  identity.Claims // on a refresh: what the IdP said before
}

// verifyIDToken checks an ID token in full (OpenID Connect Core §3.1.3.7).
func (p *Provider) verifyIDToken(ctx context.Context, t tokens, want expectation) (identity.Claims, error) {
	header, claims, err := p.verifySignature(ctx, t.IDToken)
	if err != nil {
		return nil, err
	}
	if header.Typ != "" && !header.IsType("jwt") || claims["events"] != nil || !oneOf(claims["typ"], "ID") || !oneOf(claims["token_use"], "id") {
		return nil, p.fail(Rejected, ReasonTokenType, "it is no ID token", nil)
	}
	if err := p.checkIssuerAndAudience(claims); err != nil {
		return nil, err
	}
	if err := p.checkTimes(claims, want); err != nil {
		return nil, err
	}
	if nonce, _ := claims.String("nonce"); want.nonce != "" && subtle.ConstantTimeCompare([]byte(nonce), []byte(want.nonce)) != 1 {
		return nil, p.fail(Rejected, ReasonTokenNonce, "it was made for another sign-in", nil)
	}
	if hash, present := claims["at_hash"]; present && hash != tokenHash(header.Alg, t.AccessToken) {
		return nil, p.fail(Rejected, ReasonTokenHash, "it goes with another access token", nil)
	}
	if sub, _ := claims.String("sub"); !usableSubject(sub) {
		return nil, p.fail(Rejected, ReasonTokenSubject, "sub is missing or unusable", nil)
	}
	return claims, nil
}

// oneOf reports whether a claim is absent or has the value.
func oneOf(claim any, want string) bool { return claim == nil || claim == want }

// usableSubject bounds a subject as OpenID Connect Core §2 does, and keeps it apart from what joins it to its issuer.
func usableSubject(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

func (p *Provider) verifySignature(ctx context.Context, token string) (jose.Header, identity.Claims, error) {
	header, claims, err := jose.Verify(ctx, token, p.keys, p.o.Algorithms)
	if err := p.signature(header, err); err != nil {
		return header, nil, err
	}
	return header, claims, nil
}

// signature says what it means that a signature does not verify.
func (p *Provider) signature(header jose.Header, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	switch jose.ReasonOf(err) {
	case "":
		e = p.fail(Temporary, ReasonUnreachable, "get the IdP's keys", err)
	case jose.KeysUnavailable:
		e = p.fail(Temporary, ReasonUnreachable, "get the IdP's keys", err)
	case jose.AlgRefused:
		e = p.fail(Misconfigured, ReasonTokenAlgorithm, "it is signed in a way that is not allowed", err)
		e.Hint = "let the IdP sign ID tokens with RS256 or ES256"
		if hint := p.preset.Hint(header.Alg); hint != "" {
			e.Hint = hint
		}
	case jose.UnknownKey, jose.BadSignature:
		e = p.fail(Rejected, ReasonTokenSignature, "the signature does not hold", err)
	default:
		e = p.fail(Rejected, ReasonTokenMalformed, "it cannot be read", err)
	}
	return e
}

func (p *Provider) checkIssuer(claims identity.Claims) error {
	iss, _ := claims.String("iss")
	want := p.keys.Issuer()
	if p.template != "" {
		tid, _ := claims.String("tid")
		if !slices.Contains(p.o.Tenants, tid) {
			e := p.fail(Denied, ReasonTokenTenant, fmt.Sprintf("tenant %.64q is not on the list", tid), nil)
			e.Hint = "add the tenant's id to the list if its people may sign in"
			return e
		}
		want = p.tenantIssuer(tid)
	}
	if iss == "" || identity.Issuer(iss) != want {
		return p.fail(Rejected, ReasonTokenIssuer, fmt.Sprintf("iss is %.200q, want %q", iss, want), nil)
	}
	return nil
}

func (p *Provider) checkIssuerAndAudience(claims identity.Claims) error {
	if err := p.checkIssuer(claims); err != nil {
		return err
	}
	audiences, ok := claims.Strings("aud")
	if !ok || !slices.Contains(audiences, string(p.o.ClientID)) {
		return p.fail(Rejected, ReasonTokenAudience, fmt.Sprintf("aud is %.200q, want our client id", strings.Join(audiences, " ")), nil)
	}
	party, present := claims["azp"]
	if present && party != string(p.o.ClientID) || !present && len(audiences) > 1 {
		return p.fail(Rejected, ReasonTokenParty, "azp does not name us", nil)
	}
	return nil
}

func (p *Provider) checkTimes(claims identity.Claims, want expectation) error {
	now := p.o.Now()
	bad := func(detail string) error {
		e := p.fail(Rejected, ReasonTokenTime, detail, nil)
		e.Hint = "compare this machine's clock with the IdP's"
		return e
	}
	exp, ok := timeClaim(claims, "exp")
	if !ok || !now.Before(exp.Add(skew)) {
		return bad("exp is missing or past")
	}
	iat, ok := timeClaim(claims, "iat")
	if !ok || iat.After(now.Add(skew)) {
		return bad("iat is missing or in the future")
	}
	if nbf, ok := timeClaim(claims, "nbf"); claims["nbf"] != nil && (!ok || nbf.After(now.Add(skew))) {
		return bad("nbf is in the future")
	}
	if want.maxAge != nil {
		at, ok := timeClaim(claims, "auth_time")
		if !ok || now.Sub(at) > time.Duration(*want.maxAge)*time.Second+skew {
			return p.fail(SignInNeeded, ReasonTokenAuthTime, "auth_time is missing or longer ago than was asked for", nil)
		}
	}
	return nil
}

// timeClaim reads a NumericDate (RFC 7519 §2).
func timeClaim(claims identity.Claims, name string) (time.Time, bool) {
	seconds, ok := claims[name].(float64)
	if !ok || seconds < 0 || seconds > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// tokenHash is the left half of the access token's hash, by the hash of the signature algorithm (OpenID Connect Core
// §3.1.3.6; SHA-512 for Ed25519).
func tokenHash(alg, accessToken string) string {
	var sum []byte
	switch {
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(accessToken))
		sum = h[:]
	case strings.HasSuffix(alg, "512"), alg == "EdDSA":
		h := sha512.Sum512([]byte(accessToken))
		sum = h[:]
	default:
		h := sha256.Sum256([]byte(accessToken))
		sum = h[:]
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}
