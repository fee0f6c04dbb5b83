package authserver

import (
	"fmt"
	"net/http"
	"strings"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

const (
	tokenTypeBearer = "Bearer"
	tokenTypeDPoP   = "DPoP"
)

// readProof reads the proof of a request, if there is one, and holds it against the request (RFC 9449 §4.3, §5). With a
// nonce that is missing or old it is refused before anything is taken or burned, and the client gets one to come again
// with (RFC 9449 §8).
func (s *Server) readProof(w http.ResponseWriter, r *http.Request, path, accessToken string) (*dpop.Proof, error) {
	proof, err := dpop.Read(r.Header[dpop.Header])
	if proof == nil && err == nil {
		return nil, nil
	}
	if err == nil {
		err = proof.Check(dpop.Request{Method: r.Method, URL: string(s.Issuer) + path, Token: accessToken}, s.Now())
	}
	if err == nil {
		err = s.nonces.Check(proof, !s.current.Load().nonceOptional)
	}
	if err != nil {
		if dpop.ReasonOf(err) == dpop.NonceNeeded {
			w.Header().Set(dpop.NonceHeader, s.nonces.Current())
		}
		return nil, refuseProof(err)
	}
	if s.nonces.Ageing(proof) {
		w.Header().Set(dpop.NonceHeader, s.nonces.Current())
	}
	return proof, nil
}

// useProof takes a proof once, on whichever copy it comes in (RFC 9449 §11.1).
func (s *Server) useProof(r *http.Request, proof *dpop.Proof) error {
	if proof == nil {
		return nil
	}
	first, err := s.Store.UseOnce(r.Context(), "dpop proof", proof.Key+"\x00"+proof.ID, proof.IssuedAt.Add(dpop.Window))
	switch {
	case err != nil:
		return unavailable(err)
	case !first:
		return refuseProof(&dpop.Error{Reason: dpop.Replayed, Detail: "a proof with this jti was used before"})
	}
	return nil
}

// refuseProof says what is wrong with a proof: the error code for programs, and a stable reason for people.
func refuseProof(err error) *web.Error {
	reason := dpop.ReasonOf(err)
	e := refuse(codeInvalidDPoP, string(reason), reason.Description())
	if reason == dpop.NonceNeeded {
		e.Code = codeUseNonce
	}
	e.Cause = err
	return e
}

// checkProofNeeded refuses requests without a proof where one must be: the client said that it always sends one (RFC 9449
// §5.2), or the endpoint takes bound tokens only. Hooks ask before they use up what the client has.
func (s *Server) checkProofNeeded(req *redemption, resource string) error {
	if req.key != "" {
		return nil
	}
	needed := req.client.DPoPBound
	for _, r := range s.current.Load().resources {
		needed = needed || r.DPoPRequired && r.URL == resource
	}
	if needed {
		return refuseProof(&dpop.Error{Reason: dpop.Missing, Detail: "the client or the endpoint takes bound tokens only"})
	}
	return nil
}

// checkKey compares the key of the request's proof with the one that a code or a grant is bound to.
func checkKey(bound, key, what string) error {
	switch {
	case bound == "" || bound == key:
		return nil
	case key == "":
		return refuseProof(&dpop.Error{Reason: dpop.Missing, Detail: what + " is bound to a key"})
	}
	return refuse(codeInvalidGrant, "wrong_key", what+" is bound to another key than that of the DPoP proof")
}

// possession checks that whoever shows one of our own access tokens may: a token that is bound to a certificate needs that,
// one that is bound to a key needs a proof with that key, and one that is not is no DPoP token (RFC 9449 §7.1).
func (s *Server) possession(w http.ResponseWriter, r *http.Request, scheme, token string, claims identity.Claims) error {
	refused := &web.Error{Status: http.StatusUnauthorized, Code: codeInvalidToken, Reason: "unknown_binding", Message: "the access token is bound in a way that cannot be checked here"}
	confirmation, ok := claims.Confirmation()
	bound, isDPoP := confirmation.Key, strings.EqualFold(scheme, tokenTypeDPoP)
	if !ok {
		refused.Cause = fmt.Errorf("cnf is %.200v, which cannot be checked here", claims["cnf"])
		return refused
	}
	if err := s.checkCertificate(r, confirmation.Certificate); err != nil {
		return err
	}
	switch {
	case bound == "" && !isDPoP:
		return nil
	case bound == "" || !isDPoP:
		refused.Reason, refused.Message = "token_bound", "the access token is bound to a key; use the scheme DPoP with a proof"
		if isDPoP {
			refused.Reason, refused.Message = "token_not_bound", "the access token is bound to no key; use the scheme Bearer"
		}
		return refused
	}
	proof, err := s.readProof(w, r, r.URL.Path, token)
	if err == nil && proof == nil {
		err = refuseProof(&dpop.Error{Reason: dpop.Missing, Detail: "there is no DPoP header"})
	}
	if err == nil {
		err = s.useProof(r, proof)
	}
	if err != nil {
		e := web.AsError(err)
		if e.Status == http.StatusBadRequest {
			e.Status = http.StatusUnauthorized // at a resource; RFC 9449 §7.1
		}
		return e
	}
	if proof.Key != bound {
		refused.Reason, refused.Message = "wrong_key", "the access token is bound to another key than that of the DPoP proof"
		return refused
	}
	return nil
}
