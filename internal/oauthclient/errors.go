package oauthclient

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind says what an error means for whoever waits for the sign-in.
type Kind string

// The kinds.
const (
	Denied        Kind = "denied"         // the person or the IdP said no
	SignInNeeded  Kind = "sign_in_needed" // the person has to do something at the IdP first
	Temporary     Kind = "temporary"      // the IdP is away or busy: the same again later may work
	Misconfigured Kind = "misconfigured"  // an administrator has to change something, here or at the IdP
	Rejected      Kind = "rejected"       // we do not believe what came: stale, replayed or forged
)

// Reason names, in one stable word, the check that failed.
type Reason string

// The reasons.
const (
	ReasonPending          Reason = "idp_sign_in_unknown"     // begun for another provider, or tampered with
	ReasonExpired          Reason = "idp_sign_in_expired"     // the person took too long
	ReasonResponse         Reason = "idp_response_malformed"  // repeated or missing parameters
	ReasonState            Reason = "idp_state_mismatch"      // not the answer to what this browser asked
	ReasonIssMissing       Reason = "idp_iss_missing"         // the IdP advertises iss and this answer has none
	ReasonIssMismatch      Reason = "idp_iss_mismatch"        // another IdP answered
	ReasonErrorResponse    Reason = "idp_error"               // the IdP answered with an error: see Code
	ReasonDenied           Reason = "idp_access_denied"       // access_denied
	ReasonPersonRefused    Reason = "idp_person_refused"      // signed in, and outside what the administrator requires
	ReasonUnreachable      Reason = "idp_unreachable"         // no answer, or none that can be read
	ReasonDiscovery        Reason = "idp_discovery_invalid"   // the discovery document cannot be used
	ReasonGrantRefused     Reason = "idp_grant_refused"       // invalid_grant for a code or a refresh token
	ReasonClientRefused    Reason = "idp_client_refused"      // the IdP does not accept our client or its secret
	ReasonRequestRefused   Reason = "idp_request_refused"     // the IdP does not accept what we ask for
	ReasonNotOffered       Reason = "idp_not_offered"         // the IdP has no such endpoint
	ReasonTokenMissing     Reason = "id_token_missing"        // no ID token in the answer
	ReasonTokenMalformed   Reason = "id_token_malformed"      // not a compact JWS, or a claim of the wrong type
	ReasonTokenType        Reason = "id_token_type"           // another kind of token
	ReasonTokenAlgorithm   Reason = "id_token_algorithm"      // not on the allow list
	ReasonTokenSignature   Reason = "id_token_signature"      // unknown key or bad signature
	ReasonTokenIssuer      Reason = "id_token_issuer"         // iss
	ReasonTokenTenant      Reason = "id_token_tenant"         // tid is not among the declared tenants
	ReasonTokenAudience    Reason = "id_token_audience"       // aud does not hold our client id
	ReasonTokenParty       Reason = "id_token_azp"            // azp is another client
	ReasonTokenTime        Reason = "id_token_time"           // exp, iat or nbf
	ReasonTokenNonce       Reason = "id_token_nonce"          // made for another sign-in
	ReasonTokenHash        Reason = "id_token_at_hash"        // goes with another access token
	ReasonTokenAuthTime    Reason = "id_token_auth_time"      // older than the max_age that we asked for
	ReasonTokenSubject     Reason = "id_token_subject"        // missing, unusable, or another person's
	ReasonUserinfo         Reason = "idp_userinfo_invalid"    // unreadable, or about another subject
	ReasonTokenTooLarge    Reason = "idp_claims_too_large"    // more about one person than can be kept
	ReasonLogoutToken      Reason = "logout_token_invalid"    // not a logout token for us
	ReasonLogoutTokenStale Reason = "logout_token_time_wrong" // too old, or from the future
)

// Error is every error about an exchange with the IdP. Its text is for the log and never holds a token or what the
// IdP wrote in words.
type Error struct {
	Kind     Kind
	Reason   Reason
	Provider string
	Detail   string
	Hint     string // what an administrator can do
	Cause    error

	// Code is the error code that the IdP sent, with nothing but the characters of RFC 6749 §5.2.
	Code string
	// Description is what the IdP wrote for people. It may be shown to the person at the browser, escaped; it never
	// goes into a redirect.
	Description string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sign-in at %s: %s: %s", e.Provider, e.Reason, e.Detail)
	if e.Code != "" {
		fmt.Fprintf(&b, " (%s)", e.Code)
	}
	if e.Cause != nil {
		fmt.Fprintf(&b, ": %v", e.Cause)
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "; %s", e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Cause }

// KindOf returns the kind of the error inside err, or Temporary when there is none: what is not known to be final
// is not treated as final.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Temporary
}

// ReasonOf returns the reason inside err, or "" when err is about something else.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func (p *Provider) fail(k Kind, r Reason, detail string, cause error) *Error {
	return &Error{Kind: k, Reason: r, Provider: p.o.Name, Detail: detail, Cause: cause}
}

// said builds the error for an error code that the IdP sent, with the hint that goes with it.
func (p *Provider) said(k Kind, r Reason, detail, code, description string) *Error {
	e := p.fail(k, r, detail, nil)
	e.Code, e.Description = errorCode(code), displayText(description)
	e.Hint = p.preset.Hint(code + " " + description)
	return e
}

// errorCode keeps what RFC 6749 §4.1.2.1 allows in an error code.
func errorCode(s string) string {
	if len(s) > 64 {
		return "unreadable"
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return "unreadable"
		}
	}
	return s
}

// displayText bounds what others wrote and takes out what is not meant to be seen. It still has to be escaped.
func displayText(s string) string {
	const most = 500
	var b strings.Builder
	for _, r := range s {
		switch {
		case b.Len() >= most:
			b.WriteString("…")
			return b.String()
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case r == utf8.RuneError || !unicode.IsGraphic(r):
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}
