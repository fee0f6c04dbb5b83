package authn

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse/internal/dpop"
)

// Shown is how the holder of a token shows it, as far as an explanation is told.
type Shown struct {
	Proof       string // the DPoP header that came with the token
	Method      string // of the request; default POST
	Certificate []byte // of the client, in DER
}

// checkBinding looks at what the holder of the token has to prove, and at the proof, if there is one. It returns the refusal
// that follows from it.
func (x *explainer) checkBinding(how Shown) *Refusal {
	const expected = "what cnf asks for"
	confirmation, ok := x.t.Claims.Confirmation()
	if !ok {
		x.check("binding", false, "no cnf, or one with jkt or x5t#S256", show(x.t.Claims, "cnf"))
		return nil // which readToken refused
	}
	if confirmation.Certificate != "" {
		if refusal := x.checkCertificate(confirmation.Certificate, how.Certificate); refusal != nil {
			return refusal
		}
	}
	switch {
	case confirmation.Key == "" && x.e.DPoPRequired:
		x.check("binding", false, "a token that is bound to a key (dpop: required)", "a token that is bound to none")
		return keyBound(DPoPRequired, "this endpoint takes only access tokens that are bound to a key of the client (DPoP)", nil)
	case confirmation.Key == "" && how.Proof != "":
		x.check("binding", false, "a token that is bound to the key of the proof", "a token that is bound to none")
		return keyBound(TokenNotBound, "the access token is bound to no key; use the scheme Bearer", nil)
	case confirmation.Key == "" && confirmation.Certificate != "":
		return nil
	case confirmation.Key == "":
		x.skip("binding", "bound to no key: whoever has the token can use it")
		return nil
	case how.Proof == "":
		x.skip("binding", fmt.Sprintf("bound to the key %.64q: it is good only with the scheme DPoP and a proof made with that key for each request; with the scheme Bearer it is refused (%s)", confirmation.Key, TokenBound))
		return nil
	}
	proof, refusal := x.checkProof(confirmation.Key, how)
	if refusal != nil {
		x.check("binding", false, expected, causeOf(refusal).Error())
		return refusal
	}
	x.check("binding", true, expected, fmt.Sprintf("a proof with the key %q, for this token and this endpoint", proof.Key))
	return nil
}

func (x *explainer) checkCertificate(bound string, der []byte) *Refusal {
	if x.e.Certificates && der == nil {
		x.skip("certificate", fmt.Sprintf("bound to the client certificate %.64q: it is good only where the client has shown that certificate", bound))
		return nil
	}
	refusal := x.e.checkCertificate(bound, der, nil)
	found := fmt.Sprintf("the client certificate %.64q", bound)
	if refusal != nil {
		found = causeOf(refusal).Error()
	}
	x.check("certificate", refusal == nil, "the client certificate that cnf names", found)
	return refusal
}

// checkProof checks the proof as Authenticate does, except for what has passed since: it may be old, and it may have been
// used.
func (x *explainer) checkProof(key string, how Shown) (*dpop.Proof, *Refusal) {
	refused := func(err error) *Refusal {
		reason := dpop.ReasonOf(err)
		r := keyBound(Reason(reason), reason.Description(), err)
		r.Code = codeInvalidDPoP
		return r
	}
	method := how.Method
	if method == "" {
		method = "POST"
	}
	proof, err := dpop.Read([]string{strings.TrimSpace(how.Proof)})
	if err != nil {
		return nil, refused(err)
	}
	at := proof.IssuedAt
	if at.After(x.now.Add(dpop.Window)) {
		at = x.now // from the future, which waiting does not explain
	}
	if err := proof.Check(dpop.Request{Method: method, URL: x.e.Resource, Token: x.token}, at); err != nil {
		return nil, refused(err)
	}
	if proof.Key != key {
		return nil, keyBound(WrongKey, "the access token is bound to another key than that of the DPoP proof",
			fmt.Errorf("the proof's key is %s, cnf.jkt is %.64q", proof.Key, key))
	}
	if age := x.now.Sub(proof.IssuedAt); age > dpop.Window {
		x.skip("proof age", fmt.Sprintf("made %s ago: a request with it would be refused by now", age.Round(time.Second)))
	}
	return proof, nil
}

// bindingCause says what is behind a binding that does not hold.
func (x *explainer) bindingCause() Cause {
	const ask = "Have the client make a new proof for each request: the key of the token, htm the method, htu "
	if _, ok := x.t.Claims.Confirmation(); !ok {
		return Cause{"the token is bound to its holder in a way that Gatehouse does not know", "Have the issuer bind it with DPoP (cnf.jkt) or to a client certificate (cnf.x5t#S256), or not at all."}
	}
	switch x.out.Refusal.Reason {
	case DPoPRequired:
		return Cause{"the client got a bearer token, and this endpoint has dpop: required", "Use a client that can do DPoP, or set dpop: offered at the endpoint. Tokens from before the setting: sign in again, or refresh with a proof."}
	case TokenNotBound:
		return Cause{"the client asked for the token without a proof, and sends one now", "Have the client send a proof with its token requests too, or use the scheme Bearer."}
	case CertificateMissing:
		return Cause{"the issuer binds its tokens to client certificates, and clients cannot show any here", "Set tls.client_certificates: true; or, behind a proxy that terminates TLS, client_certificate_header to the header in which it hands them on. Or have the issuer not bind its tokens."}
	case WrongCertificate:
		return Cause{"the client has got a new certificate since it got the token, or somebody else uses the token", "Have the client get a new token with the certificate that it uses now."}
	case WrongKey:
		return Cause{"the client has changed its key since it got the token, or somebody else uses the token", "Have the client keep the key as long as the token; sign in again when it is lost."}
	case Reason(dpop.WrongURL):
		return Cause{"the proof was made for another address: often the one behind a proxy, or another spelling", ask + x.e.Resource + "."}
	case Reason(dpop.WrongTime):
		return Cause{"the client's clock is ahead", "Set the client's clock."}
	case Reason(dpop.WrongToken):
		return Cause{"the proof was made for another token, or without ath", ask + x.e.Resource + ", ath the SHA-256 of this token in base64url."}
	case Reason(dpop.WrongMethod):
		return Cause{"the proof was made for another method", "Give the method of the request with --method; or " + strings.ToLower(ask[:1]) + ask[1:] + x.e.Resource + "."}
	case Reason(dpop.KeyRefused), Reason(dpop.AlgRefused):
		return Cause{"the proof's key or algorithm is none that is accepted", "Use a new key for " + strings.Join(dpop.Algorithms(), ", ") + "; jwk in the header holds its public half and nothing else."}
	case Reason(dpop.WrongType), Reason(dpop.Malformed), Reason(dpop.BadSignature):
		return Cause{"what was given as a proof is none, or was damaged", "Give the value of the DPoP header, as one line; it has typ dpop+jwt."}
	}
	return Cause{"the proof does not go with the token", ask + x.e.Resource + "."}
}

var errUnknownBinding = errors.New("cnf has none of jkt and x5t#S256, or one that is no text")
