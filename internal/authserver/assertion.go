package authserver

import (
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
)

// Bounds of client assertions.
const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	assertionLife = 10 * time.Minute                                         // the furthest that exp may lie ahead
	assertionSkew = time.Minute                                              // between the client's clock and ours
	maxJTI        = 512                                                      // bytes
)

// assertionAlgs are what clients may sign assertions with.
func assertionAlgs() []string { return jose.DefaultAlgorithms() }

// readAssertion finds out which client an assertion speaks for (RFC 7521 §4.2, RFC 7523 §2.2). Nothing in it is
// believed yet.
func readAssertion(form url.Values) (*credentials, error) {
	if form.Get("client_assertion_type") != assertionType {
		return nil, refuseClient("assertion_type", "client_assertion_type must be "+assertionType, nil)
	}
	token, err := jose.Parse(form.Get("client_assertion"))
	if err != nil {
		return nil, refuseClient("assertion_unreadable", "the client assertion cannot be read: send a signed JWT", err)
	}
	subject, _ := token.Claims.String("sub")
	if subject == "" {
		return nil, refuseClient("assertion_subject_missing", "the client assertion has no sub; it must be the client_id", nil)
	}
	if id := form.Get("client_id"); id != "" && id != subject {
		return nil, refuseClient("assertion_client_differs", "client_id and the client assertion name different clients", nil)
	}
	return &credentials{ids: []identity.ClientID{identity.ClientID(subject)}, assertion: token, method: AuthPrivateKey}, nil
}

// checkAssertion is private_key_jwt (OpenID Connect Core §9, RFC 7523 §3): signed by a key of the client's, meant for
// us alone, short-lived, and good for one request.
func (s *Server) checkAssertion(r *http.Request, form url.Values, client *Client, token *jose.Token) error {
	ctx := r.Context()
	switch typ := token.Header; {
	case typ.Typ != "" && !typ.IsType("jwt") && !typ.IsType("client-authentication+jwt"):
		return refuseClient("assertion_typ", "the typ of the client assertion must be JWT or client-authentication+jwt", nil)
	case client.AssertionAlg != "" && token.Header.Alg != client.AssertionAlg:
		return refuseClient("assertion_algorithm_differs", "this client is registered for assertions signed with "+client.AssertionAlg, nil)
	}
	if err := token.Verify(ctx, client.Keys, assertionAlgs()); err != nil {
		return refuseSignature(err)
	}
	if issuer, _ := token.Claims.String("iss"); issuer != string(client.ID) {
		return refuseClient("assertion_issuer", "iss and sub of the client assertion must both be the client_id", nil)
	}
	if !s.isAudience(token.Claims) {
		return refuseClient("assertion_audience", "the aud of the client assertion must be "+string(s.Issuer)+" or its token endpoint, and nothing else", nil)
	}
	expires, err := s.checkAssertionTimes(token.Claims)
	if err != nil {
		return err
	}
	jti, _ := token.Claims.String("jti")
	if jti == "" || len(jti) > maxJTI {
		return refuseClient("assertion_jti_missing", "the client assertion needs a jti", nil)
	}
	if err := s.mayBeRemembered(r, form, client); err != nil {
		return err
	}
	first, err := s.Store.UseOnce(ctx, "client assertion", string(client.ID)+"\x00"+jti, expires.Add(assertionSkew))
	switch {
	case err != nil:
		return unavailable(err)
	case !first:
		return refuseClient("assertion_used", "the client assertion was used before: make a new one for each request", nil)
	}
	return nil
}

// refuseSignature says why an assertion does not verify, as far as a stranger may know.
func refuseSignature(err error) error {
	switch jose.ReasonOf(err) {
	case jose.KeysUnavailable:
		return unavailable(err)
	case jose.AlgRefused:
		return refuseClient("assertion_algorithm_refused", "the client assertion is signed with an algorithm that is not accepted", err)
	case jose.UnknownKey:
		return refuseClient("assertion_key_unknown", "the client assertion is signed with a key that is not among the client's", err)
	}
	return refuseClient("assertion_signature", "the signature of the client assertion is wrong", err)
}

// isAudience reports whether aud names nobody but us. A second name could be that of a server that took the assertion
// to present it here (RFC 9700 §2.5, draft-ietf-oauth-rfc7523bis).
func (s *Server) isAudience(claims identity.Claims) bool {
	all, _ := claims.Strings("aud")
	return len(all) > 0 && !slices.ContainsFunc(all, func(aud string) bool {
		return aud != string(s.Issuer) && aud != string(s.Issuer)+tokenPath
	})
}

// checkAssertionTimes returns when the assertion ends.
func (s *Server) checkAssertionTimes(claims identity.Claims) (time.Time, error) {
	now := s.Now()
	expires, ok := claims.Time("exp")
	switch {
	case !ok:
		return expires, refuseClient("assertion_expiry_missing", "the client assertion needs an exp, in seconds since 1970", nil)
	case !now.Before(expires.Add(assertionSkew)):
		return expires, refuseClient("assertion_expired", "the client assertion has expired; is the client's clock right?", nil)
	case expires.After(now.Add(assertionLife + assertionSkew)):
		return expires, refuseClient("assertion_lifetime", "the client assertion lives too long: its exp may lie "+assertionLife.String()+" ahead at most", nil)
	}
	for _, name := range []string{"nbf", "iat"} {
		at, ok := claims.Time(name)
		if _, present := claims[name]; present && (!ok || at.After(now.Add(assertionSkew))) {
			return expires, refuseClient("assertion_in_future", "the "+name+" of the client assertion is in the future; is the client's clock right?", nil)
		}
	}
	return expires, nil
}
