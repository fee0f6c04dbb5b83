package oauthclient

import (
	"context"
	"crypto/subtle"
	"net/url"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

// Result is what the IdP vouches for.
type Result struct {
	Issuer  identity.Issuer // iss of the ID token
	Subject string          // sub of the ID token: what the IdP calls the person, which need not be the key
	// Person holds the key by the preset's rule, names, the e-mail address when it is verified, groups, and in Claims
	// everything else that was said about the person; claims that belong to the protocol are left out.
	Person identity.Person
	// GroupsUnknown means that the IdP did not list the person's groups though there are some, or in no form that we
	// know: rules on groups must then deny.
	GroupsUnknown bool

	IDTokenClaims     identity.Claims // nil when a refresh brought no ID token
	IDToken           secret.Text     // as a hint for EndSessionURL
	RefreshToken      secret.Text     // empty when there is none, or when a refresh keeps the old one
	AccessTokenExpiry time.Time       // zero when the IdP does not say
	SessionID         string          // sid: the session at the IdP, as in logout tokens
	AuthTime          time.Time       // zero when the IdP does not say
	Methods           []string        // amr
}

const (
	maxCode = 8 << 10
	skew    = time.Minute // how far clocks may be apart
)

// Finish takes the parameters with which the browser came back. The pending sign-in must be the one of this very
// browser, and must not be accepted a second time: that is the caller's to see to.
func (p *Provider) Finish(ctx context.Context, pending Pending, query url.Values) (*Result, error) {
	if err := p.checkPending(pending); err != nil {
		return nil, err
	}
	code, err := p.checkResponse(pending, query)
	if err != nil {
		return nil, err
	}
	m, err := p.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	if m.Issuer != pending.Issuer {
		return nil, p.fail(Rejected, ReasonPending, "the sign-in was begun at another issuer", nil)
	}
	tokens, err := p.redeem(ctx, m, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {pending.RedirectURI}, "code_verifier": {pending.Verifier},
	})
	if err != nil {
		return nil, err
	}
	if tokens.IDToken == "" {
		e := p.fail(Misconfigured, ReasonTokenMissing, "the token endpoint gave no ID token", nil)
		e.Hint = "allow the application at the IdP the scope openid"
		return nil, e
	}
	return p.result(ctx, m, tokens, expectation{nonce: pending.Nonce, maxAge: pending.MaxAge})
}

func (p *Provider) checkPending(s Pending) error {
	switch {
	case s.Provider != p.o.Name || s.RedirectURI != p.o.RedirectURI || s.State == "" || s.Nonce == "" || s.Verifier == "":
		return p.fail(Rejected, ReasonPending, "the sign-in was not begun here", nil)
	case !p.o.Now().Before(s.Expires):
		return p.fail(Rejected, ReasonExpired, "the person took longer than "+PendingLifetime.String(), nil)
	}
	return nil
}

// checkResponse returns the code of an authorization response that answers this request, from this IdP (RFC 6749
// §4.1.2, RFC 9207 §2.4). What an error response says is believed only after the same checks.
func (p *Provider) checkResponse(s Pending, query url.Values) (string, error) {
	for _, name := range []string{"state", "iss", "code", "error", "error_description"} {
		if len(query[name]) > 1 {
			return "", p.fail(Rejected, ReasonResponse, "the parameter "+name+" is repeated", nil)
		}
	}
	if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(s.State)) != 1 {
		return "", p.fail(Rejected, ReasonState, "state is not that of this browser's sign-in", nil)
	}
	switch iss := identity.Issuer(query.Get("iss")); {
	case query.Has("iss") && !p.mayAnswer(s, iss):
		return "", p.fail(Rejected, ReasonIssMismatch, "the answer names another issuer than the one that was asked", nil)
	case !query.Has("iss") && s.IssRequired:
		return "", p.fail(Rejected, ReasonIssMissing, "the IdP advertises iss in its answers, and this one has none", nil)
	}
	code := query.Get("code")
	switch {
	case query.Has("error") && query.Has("code"):
		return "", p.fail(Rejected, ReasonResponse, "the answer has both code and error", nil)
	case query.Has("error"):
		return "", p.errorResponse(query.Get("error"), query.Get("error_description"))
	case code == "" || len(code) > maxCode:
		return "", p.fail(Rejected, ReasonResponse, "the answer has no usable code", nil)
	}
	return code, nil
}

// mayAnswer compares iss exactly. For several tenants of Entra it must be one of theirs, and the ID token decides.
func (p *Provider) mayAnswer(s Pending, iss identity.Issuer) bool {
	if p.template != "" {
		return p.Issues(iss)
	}
	return iss == s.Issuer
}

// errorResponse sorts the error codes of RFC 6749 §4.1.2.1 and OpenID Connect Core §3.1.2.6.
func (p *Provider) errorResponse(code, description string) error {
	switch code {
	case "access_denied":
		return p.said(Denied, ReasonDenied, "the IdP or the person refused", code, description)
	case "login_required", "interaction_required", "consent_required", "account_selection_required":
		return p.said(SignInNeeded, ReasonErrorResponse, "the IdP wants to see the person", code, description)
	case "server_error", "temporarily_unavailable":
		return p.said(Temporary, ReasonErrorResponse, "the IdP is in trouble", code, description)
	case "unauthorized_client", "invalid_client":
		return p.said(Misconfigured, ReasonClientRefused, "the IdP refused the application", code, description)
	}
	return p.said(Misconfigured, ReasonRequestRefused, "the IdP refused the request", code, description)
}
