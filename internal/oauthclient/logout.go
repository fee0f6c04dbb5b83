package oauthclient

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// Logout is what a logout token says: end the sessions of a subject, or one session, at this issuer.
type Logout struct {
	Issuer      identity.Issuer
	Subject     string // sub, as in Result.Subject; may be empty
	SessionID   string // sid, as in Result.SessionID; may be empty
	ID          string // jti: accept each once, until ReplayUntil
	ReplayUntil time.Time
}

const (
	logoutEvent  = "http://schemas.openid.net/event/backchannel-logout"
	logoutMaxAge = 5 * time.Minute
)

// VerifyLogoutToken checks the token that an IdP posts when somebody signs out there (OpenID Connect Back-Channel
// Logout §2.4 and §2.6). Whether its jti was seen before is the caller's to know.
func (p *Provider) VerifyLogoutToken(ctx context.Context, token string) (*Logout, error) {
	header, claims, err := p.verifySignature(ctx, token)
	if err != nil {
		return nil, err
	}
	untyped := header.Typ == "" || header.IsType("jwt")
	if !header.IsType("logout+jwt") && !(untyped && p.preset.UntypedLogout) {
		return nil, p.fail(Rejected, ReasonLogoutToken, fmt.Sprintf("typ is %.32q, want logout+jwt", header.Typ), nil)
	}
	if err := p.checkIssuerAndAudience(claims); err != nil {
		return nil, err
	}
	events, _ := claims["events"].(map[string]any)
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return nil, p.fail(Rejected, ReasonLogoutToken, "events has no back-channel logout", nil)
	}
	if _, present := claims["nonce"]; present {
		return nil, p.fail(Rejected, ReasonLogoutToken, "it has a nonce, which ID tokens have", nil)
	}
	iss, _ := claims.String("iss")
	l := &Logout{Issuer: identity.Issuer(iss)}
	l.Subject, _ = claims.String("sub")
	l.SessionID, _ = claims.String("sid")
	l.ID, _ = claims.String("jti")
	switch {
	case claims["sub"] != nil && !usableSubject(l.Subject), claims["sid"] != nil && !usableSubject(l.SessionID), l.Subject == "" && l.SessionID == "":
		return nil, p.fail(Rejected, ReasonLogoutToken, "it names neither a subject nor a session", nil)
	case !usableSubject(l.ID):
		return nil, p.fail(Rejected, ReasonLogoutToken, "jti is missing or unusable", nil)
	}
	if err := p.checkLogoutTimes(l, claims); err != nil {
		return nil, err
	}
	return l, nil
}

// checkLogoutTimes bounds how long a token can be replayed. exp is not demanded: the first final text of the
// specification had none, and IdPs follow it.
func (p *Provider) checkLogoutTimes(l *Logout, claims identity.Claims) error {
	now := p.o.Now()
	iat, ok := timeClaim(claims, "iat")
	if !ok || iat.After(now.Add(skew)) || now.Sub(iat) > logoutMaxAge {
		return p.fail(Rejected, ReasonLogoutTokenStale, "iat is missing, too long ago or in the future", nil)
	}
	exp, ok := timeClaim(claims, "exp")
	if claims["exp"] != nil && (!ok || !now.Before(exp.Add(skew))) {
		return p.fail(Rejected, ReasonLogoutTokenStale, "exp is past", nil)
	}
	l.ReplayUntil = iat.Add(logoutMaxAge + skew)
	return nil
}

// EndSession is a request to end the person's session at the IdP as well (OpenID Connect RP-Initiated Logout §2).
type EndSession struct {
	IDTokenHint secret.Text // may be empty; it becomes part of the URL
	ReturnTo    string      // registered at the IdP; may be empty
	State       string
}

// EndSessionURL returns where to send the browser, or "" when the IdP offers no such thing.
func (p *Provider) EndSessionURL(ctx context.Context, o EndSession) (string, error) {
	m, err := p.Metadata(ctx)
	if err != nil || m.EndSessionEndpoint == "" {
		return "", err
	}
	to, err := url.Parse(m.EndSessionEndpoint)
	if err != nil {
		return "", p.fail(Misconfigured, ReasonDiscovery, "the discovery document's end_session_endpoint", err)
	}
	q := to.Query()
	q.Set("client_id", string(p.o.ClientID))
	returnParam := "post_logout_redirect_uri"
	if p.preset.LogoutRedirectParam != "" {
		returnParam = p.preset.LogoutRedirectParam
	}
	for name, value := range map[string]string{returnParam: o.ReturnTo, "state": o.State, "id_token_hint": o.IDTokenHint.Reveal()} {
		if value != "" {
			q.Set(name, value)
		}
	}
	to.RawQuery = q.Encode()
	return to.String(), nil
}

// Revoke tells the IdP that a refresh token is no longer needed (RFC 7009). An IdP without the endpoint is an error with
// ReasonNotOffered; the caller forgets the token in any case.
func (p *Provider) Revoke(ctx context.Context, token secret.Text) error {
	m, err := p.Metadata(ctx)
	if err != nil {
		return err
	}
	if m.RevocationEndpoint == "" {
		return p.fail(Misconfigured, ReasonNotOffered, "the IdP has no revocation endpoint", nil)
	}
	form, header := url.Values{"token": {token.Reveal()}, "token_type_hint": {"refresh_token"}}, http.Header{}
	if err := p.authenticate(m, form, header); err != nil {
		return err
	}
	a, err := p.post(ctx, m.RevocationEndpoint, form, header)
	switch {
	case err != nil:
		return p.fail(Temporary, ReasonUnreachable, "ask the revocation endpoint", err)
	case slices.Contains([]int{http.StatusOK, http.StatusNoContent}, a.status):
		return nil
	}
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(a.body, &said) // without a code the status says enough
	kind := Misconfigured
	if a.status >= 500 || a.status == http.StatusTooManyRequests {
		kind = Temporary
	}
	return p.said(kind, ReasonRequestRefused, fmt.Sprintf("the revocation endpoint answered with status %d", a.status), said.Code, said.Description)
}
