package authn

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"gatehouse/internal/dpop"
	"gatehouse/internal/web"
)

// codeInvalidDPoP and codeUseNonce are of RFC 9449 §7.1 and §9.
const (
	codeInvalidDPoP = "invalid_dpop_proof"
	codeUseNonce    = "use_dpop_nonce"
)

// possession checks that whoever sent the request holds the key that the token is bound to: with a DPoP proof (RFC 9449) or a
// client certificate (RFC 8705 §3). A token that is bound to nothing passes, unless the endpoint requires bound tokens.
func (a *Authenticator) possession(r *http.Request, e *Endpoint, given credentials, v *verified) *Refusal {
	if v.confirmation.Certificate != "" {
		der, err := web.ClientCertificate(r)
		if refusal := e.checkCertificate(v.confirmation.Certificate, der, err); refusal != nil {
			return refusal
		}
	}
	switch {
	case v.confirmation.Key == "" && given.dpop:
		return keyBound(TokenNotBound, "the access token is bound to no key; use the scheme Bearer", nil)
	case v.confirmation.Key == "" && e.DPoPRequired:
		return keyBound(DPoPRequired, "this endpoint takes only access tokens that are bound to a key of the client (DPoP)", nil)
	case v.confirmation.Key == "":
		return nil
	case !given.dpop:
		return keyBound(TokenBound, "the access token is bound to a key; use the scheme DPoP with a proof", nil)
	}
	return a.checkProof(r, e, given.token, v.confirmation.Key)
}

// checkCertificate compares the client's certificate with the one that the token is bound to. Who issued the certificate does
// not matter, because the token names this very one (RFC 8705 §3); that the client has its private key, TLS has shown.
func (e *Endpoint) checkCertificate(bound string, der []byte, err error) *Refusal {
	const missing = "the access token is bound to a client certificate, and the request came with none"
	switch {
	case !e.Certificates:
		return invalidToken(stepPossession, CertificateMissing, missing, errNoCertificates)
	case err != nil:
		return invalidToken(stepPossession, CertificateUnreadable, "the access token is bound to a client certificate, and that of the request cannot be read", err)
	case der == nil:
		return invalidToken(stepPossession, CertificateMissing, missing, nil)
	}
	if shown := web.Thumbprint(der); shown != bound {
		return invalidToken(stepPossession, WrongCertificate, "the access token is bound to another client certificate than that of the request",
			fmt.Errorf("the certificate's x5t#S256 is %s, that of cnf %.64q", shown, bound))
	}
	return nil
}

var errNoCertificates = errors.New("clients cannot show certificates here: neither tls.client_certificates nor client_certificate_header is set")

// checkProof checks that a DPoP proof belongs to this request, this token and its key, and that it was not used before. The
// body is read last, when everything else is right.
func (a *Authenticator) checkProof(r *http.Request, e *Endpoint, token, key string) *Refusal {
	now := a.now()
	proof, err := dpop.Read(r.Header[dpop.Header])
	if err == nil && proof == nil {
		err = &dpop.Error{Reason: dpop.Missing, Detail: "there is no DPoP header"}
	}
	if err == nil {
		err = proof.Check(dpop.Request{Method: r.Method, URL: e.Resource, Token: token}, now)
	}
	if err == nil && a.nonces != nil {
		err = a.nonces.Check(proof, e.NonceRequired)
	}
	if err != nil {
		return a.proofRefused(err)
	}
	if proof.Key != key {
		return keyBound(WrongKey, "the access token is bound to another key than that of the DPoP proof",
			fmt.Errorf("the proof's key is %s, cnf.jkt is %.64q", proof.Key, key))
	}
	if err := a.seen.Use(proof, now); err != nil {
		return a.proofRefused(err)
	}
	if err := checkBody(r, proof); err != nil {
		return a.proofRefused(err)
	}
	return nil
}

// checkBody reads the body of a request whose proof is for one body only, and puts it back.
func checkBody(r *http.Request, proof *dpop.Proof) error {
	if !proof.HasDigest() {
		return nil
	}
	if r.Body == nil {
		return proof.CheckBody(nil)
	}
	body, err := io.ReadAll(r.Body) // web.LimitBody bounds it
	if err != nil {                 // whoever reads the body next meets the same error, and reports it
		r.Body = unread{io.MultiReader(bytes.NewReader(body), failing{err}), r.Body}
		return nil //nolint:nilerr // it is an error of the body's, not of the proof's
	}
	r.Body = unread{bytes.NewReader(body), r.Body}
	return proof.CheckBody(body)
}

// unread is a body that was read and put back.
type unread struct {
	io.Reader
	io.Closer
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// proofRefused says what is wrong with a proof, and hands out a nonce where one is missing.
func (a *Authenticator) proofRefused(err error) *Refusal {
	reason := dpop.ReasonOf(err)
	if reason == dpop.TooManyProofs {
		return unavailable(Reason(reason), reason.Description(), err)
	}
	refusal := keyBound(Reason(reason), reason.Description(), err)
	refusal.Code = codeInvalidDPoP
	if reason == dpop.NonceNeeded {
		refusal.Code, refusal.nonce = codeUseNonce, a.nonces.Current()
	}
	return refusal
}

// keyBound is a refusal about the token's key. Its challenge is one for DPoP.
func keyBound(reason Reason, description string, cause error) *Refusal {
	refusal := invalidToken(stepPossession, reason, description, cause)
	refusal.dpop = true
	return refusal
}
