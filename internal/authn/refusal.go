package authn

import (
	"fmt"
	"net/http"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

// Reason says in one stable word why a request was refused. The ones about reading and verifying a token are jose's, those
// about a proof of possession dpop's.
type Reason string

// The reasons.
const (
	TokenMissing          Reason = "token_missing"          // no Authorization header
	SchemeUnsupported     Reason = "scheme_unsupported"     // an Authorization header that is neither Bearer nor DPoP
	HeaderRepeated        Reason = "header_repeated"        // more than one Authorization header
	TokenInQuery          Reason = "token_in_query"         // access_token in the URL
	TokenInBody           Reason = "token_in_body"          // a form body, the place of RFC 6750 §2.2
	TokenMalformed        Reason = "token_malformed"        // not a JWT
	UnknownIssuer         Reason = "unknown_issuer"         // no authorizer of the endpoint takes tokens of this issuer
	IDTokenUsed           Reason = "id_token_used"          // an ID token is for the client, not for us
	RefreshTokenUsed      Reason = "refresh_token_used"     // a refresh token is for the authorization server
	LogoutTokenUsed       Reason = "logout_token_used"      // a logout token is for the client
	WrongTokenType        Reason = "wrong_token_type"       // some other JWT
	ClaimMalformed        Reason = "claim_malformed"        // a claim that RFC 7519 or RFC 9068 defines has another type
	NoExpiry              Reason = "no_expiry"              // exp is missing
	NoSubject             Reason = "no_subject"             // sub is missing
	TokenExpired          Reason = "token_expired"          //
	TokenNotYetValid      Reason = "token_not_yet_valid"    // nbf or iat is in the future
	LifetimeTooLong       Reason = "lifetime_too_long"      // longer than the authorizer allows
	WrongAudience         Reason = "wrong_audience"         // issued for something else
	WrongClient           Reason = "wrong_client"           // not an allowed client
	ClaimMismatch         Reason = "claim_mismatch"         // a claim rule does not hold
	GroupsUnknown         Reason = "groups_unknown"         // the token points elsewhere for the claim that a rule needs
	InsufficientScope     Reason = "insufficient_scope"     // a good token without the scopes
	TokenRevoked          Reason = "token_revoked"          // grant, person or client was revoked after it was issued
	RevocationsUnknown    Reason = "revocations_unknown"    // the list of revocations is too old to be trusted
	TokenInactive         Reason = "token_inactive"         // introspection: the issuer says so
	IntrospectionFailed   Reason = "introspection_failed"   // introspection: the issuer cannot be asked
	NotLocal              Reason = "not_local"              // an anonymous endpoint, and a request from elsewhere
	UnknownBinding        Reason = "unknown_binding"        // cnf names no way to prove possession that is known here
	TokenBound            Reason = "token_bound"            // a token that is bound to a key, used as a bearer token
	TokenNotBound         Reason = "token_not_bound"        // the scheme DPoP with a token that is bound to no key
	WrongKey              Reason = "wrong_key"              // the proof was made with another key than the token's
	DPoPRequired          Reason = "dpop_required"          // the endpoint takes bound tokens only
	CertificateMissing    Reason = "certificate_missing"    // a token that is bound to a certificate, on a connection without one
	CertificateUnreadable Reason = "certificate_unreadable" // what the proxy wrote about the client's certificate cannot be read
	WrongCertificate      Reason = "wrong_certificate"      // the client's certificate is another than the token's
	KeysUnavailable              = Reason(jose.KeysUnavailable)
)

// OAuth error codes (RFC 6750 §3.1; temporarily_unavailable as in RFC 6749 §4.1.2.1).
const (
	codeInvalidRequest = "invalid_request"
	codeInvalidToken   = "invalid_token"
	codeScope          = "insufficient_scope"
	codeUnavailable    = "temporarily_unavailable"
)

// Refusal is why a request has no principal. Description is for the client: it says what is wrong with what the client
// sent and nothing about what would have been right. Cause is for the log.
type Refusal struct {
	Status      int
	Code        string // OAuth error code; empty when the client sent no credentials at all
	Reason      Reason
	Description string
	Scopes      identity.Scopes // for insufficient_scope: granted and needed
	RetryAfter  time.Duration   // for 503
	Cause       error

	dpop  bool   // it is about a key: the challenge is one for DPoP
	nonce string // for the next proof

	step int // how far the checks went, to pick the most telling of several
}

func (r *Refusal) Error() string {
	if r.Cause == nil {
		return string(r.Reason) + ": " + r.Description
	}
	return string(r.Reason) + ": " + r.Cause.Error()
}

func (r *Refusal) Unwrap() error { return r.Cause }

// The order in which a token is checked. Of several authorizers that refuse, the one that came furthest is reported.
const (
	stepRead = iota
	stepIssuer
	stepSignature
	stepType
	stepTime
	stepAudience
	stepClient
	stepClaims
	stepScope
	stepPossession
	stepUnavailable // a missing key set says more than any refusal: the token may well be good
)

func invalidToken(step int, reason Reason, description string, cause error) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Code: codeInvalidToken, Reason: reason, Description: description, Cause: cause, step: step}
}

// unavailable fails closed without blaming the token: a 401 would send the person to sign in again, which cannot help.
func unavailable(reason Reason, description string, cause error) *Refusal {
	return &Refusal{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Reason: reason, Description: description,
		RetryAfter: 10 * time.Second, Cause: cause, step: stepUnavailable}
}

// NewInsufficientScope is the refusal that lets a client step up. It names what the client has as well as what it
// needs, because a client that asks for exactly that must not lose anything.
func NewInsufficientScope(granted, needed identity.Scopes) *Refusal {
	return &Refusal{Status: http.StatusForbidden, Code: codeScope, Reason: InsufficientScope,
		Description: "the access token lacks a scope that this needs", Scopes: granted.Union(needed),
		Cause: fmt.Errorf("granted %q, needed %q", granted.String(), needed.String()), step: stepScope}
}

// fromJOSE turns what jose says about a token into a refusal.
func fromJOSE(err error) *Refusal {
	reason := jose.ReasonOf(err)
	if reason == jose.KeysUnavailable {
		return unavailable(KeysUnavailable, "the keys of the token's issuer cannot be had at the moment; try again shortly", err)
	}
	step, description := stepSignature, "the access token cannot be verified"
	switch reason {
	case jose.Malformed:
		step, description = stepRead, "the access token is not a signed JWT"
	case jose.TooLarge:
		step, description = stepRead, "the access token is too long"
	case jose.HeaderRefused:
		step, description = stepRead, "the access token has a header member that is not accepted"
	case jose.AlgRefused:
		description = "the access token is signed with an algorithm that is not accepted"
	case jose.UnknownKey:
		description = "the access token is signed with a key that its issuer does not publish"
	case jose.BadSignature:
		description = "the signature of the access token is wrong"
	}
	return invalidToken(step, Reason(reason), description, err)
}
