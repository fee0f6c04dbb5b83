package oauthclient

import (
	"context"
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// result verifies the ID token of a token response and reads who the person is.
func (p *Provider) result(ctx context.Context, m Metadata, t tokens, want expectation) (*Result, error) {
	claims, err := p.verifyIDToken(ctx, t, want)
	if err != nil {
		return nil, err
	}
	merged := claims
	if p.wantsUserinfo(m) {
		if merged, err = p.withUserinfo(ctx, m, t.AccessToken, claims); err != nil {
			return nil, err
		}
	}
	for _, name := range signInClaims() {
		if v, known := want.known[name]; known && merged[name] == nil {
			merged = maps.Clone(merged)
			merged[name] = v
		}
	}
	person, groupsUnknown, err := p.person(claims, merged)
	if err != nil {
		return nil, err
	}
	iss, _ := claims.String("iss")
	r := &Result{
		Issuer: identity.Issuer(iss), Person: person, GroupsUnknown: groupsUnknown, IDTokenClaims: claims,
		IDToken: secret.New(t.IDToken), RefreshToken: secret.New(t.RefreshToken), AccessTokenExpiry: t.expiry(p.o.Now()),
	}
	r.Subject, _ = claims.String("sub")
	r.SessionID, _ = claims.String("sid")
	r.AuthTime, _ = timeClaim(claims, "auth_time")
	r.Methods, _ = claims.Strings("amr")
	return r, nil
}

// signInClaims are the protocol's claims about how a person signed in, on which an administrator may have a rule. An ID
// token of a refresh need not repeat them (OpenID Connect Core §12.2).
func signInClaims() []string { return []string{"acr", "amr"} }

// wantsUserinfo is about where the claims of the scopes profile and email are: in userinfo, says the specification, when
// there is an access token (OpenID Connect Core §5.4). The presets know which IdPs put them into the ID token all the same.
func (p *Provider) wantsUserinfo(m Metadata) bool {
	return p.needsUserinfo() || p.preset.Name == "" && m.UserinfoEndpoint != ""
}

func (p *Provider) needsUserinfo() bool { return p.o.UserInfo || p.preset.UserInfo }

// withUserinfo adds what the userinfo endpoint says to the claims of the ID token, which win. It must speak of the same
// subject (OpenID Connect Core §5.3.2).
func (p *Provider) withUserinfo(ctx context.Context, m Metadata, accessToken string, claims identity.Claims) (identity.Claims, error) {
	if accessToken == "" {
		return nil, p.fail(Misconfigured, ReasonUserinfo, "there is no access token to ask userinfo with", nil)
	}
	a, err := p.get(ctx, m.UserinfoEndpoint, accessToken)
	switch {
	case err != nil:
		return nil, p.fail(Temporary, ReasonUnreachable, "ask the userinfo endpoint", err)
	case a.status >= 500 || a.status == 429:
		return nil, p.fail(Temporary, ReasonUnreachable, fmt.Sprintf("the userinfo endpoint answered with status %d", a.status), nil)
	case a.status != 200 || !a.isJSON():
		e := p.fail(Misconfigured, ReasonUserinfo, fmt.Sprintf("the userinfo endpoint answered with status %d and %.64q", a.status, a.kind), nil)
		e.Hint = "signed or encrypted userinfo is not read: let the IdP answer in plain JSON"
		return nil, e
	}
	var info identity.Claims
	if err := json.Unmarshal(a.body, &info); err != nil {
		return nil, p.fail(Rejected, ReasonUserinfo, "read userinfo", err)
	}
	if sub, _ := info.String("sub"); sub == "" || sub != claims["sub"] {
		return nil, p.fail(Rejected, ReasonUserinfo, "userinfo is about another subject", nil)
	}
	if claims["email"] != nil && info["email"] != claims["email"] {
		delete(info, "email_verified") // it speaks of another address
	}
	merged := personal(info)
	maps.Copy(merged, claims)
	return merged, nil
}
