package authserver

import (
	"net/http"
	"net/url"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/store"
)

// issue is what a grant type's hook decided to hand out.
type issue struct {
	grant   store.Grant
	person  identity.Person
	scopes  identity.Scopes // of this access token; within the grant's
	refresh string          // empty for none
	nonce   string          // of the authorization request, for the first ID token only
}

// redemption is one token request, its client authenticated.
type redemption struct {
	r           *http.Request
	client      *Client
	form        url.Values
	key         string    // thumbprint of the key of its DPoP proof; empty without one
	certificate string    // thumbprint of the client's certificate, when its tokens are bound to it
	now         time.Time // taken before anything is read, so that a revocation in between counts against the tokens
}

// token is the token endpoint (OAuth 2.1 §3.2). What all grant types share happens here; each adds one hook.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := checkRepeated(form); err != nil {
		return err
	}
	proof, err := s.readProof(w, r, tokenPath, "")
	if err != nil {
		return err
	}
	client, err := s.authenticate(r, form)
	if err != nil {
		return err
	}
	kind, hook, err := s.grantType(form.Get("grant_type"))
	if err != nil {
		return err
	}
	if !client.allows(form.Get("grant_type")) {
		return refuse(codeUnauthorizedClient, "grant_type_not_allowed", "this client may not use this grant type")
	}
	request := &redemption{r: r, client: client, form: form, now: s.Now()}
	if proof != nil {
		request.key = proof.Key
		if err := s.mayBeRemembered(r, form, client); err != nil {
			return err
		}
	}
	if request.certificate, err = s.boundTo(r, client); err != nil {
		return err
	}
	if err := s.useProof(r, proof); err != nil {
		return err
	}
	if err := s.checkProofNeeded(request, ""); err != nil {
		return err
	}
	what, err := hook(request)
	if err != nil {
		return err
	}
	response, err := s.mint(request, what)
	if err != nil {
		return err
	}
	event := audit.Event{Kind: kind, Person: what.grant.Person, Client: client.ID, Grant: what.grant.ID, Scopes: what.scopes, Endpoint: what.grant.Resource, Method: eventMethod(form.Get("grant_type"))}
	if err := s.record(r, event); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, response)
	return nil
}

// eventMethod says how tokens came about, where no person consented in a browser of theirs just before.
func eventMethod(grant string) string {
	switch grant {
	case GrantIDJAG:
		return "jwt-bearer"
	case GrantClientCredentials:
		return GrantClientCredentials
	case GrantDevice:
		return methodDevice
	}
	return ""
}

type grantHook func(*redemption) (*issue, error)

func (s *Server) grantType(name string) (audit.Kind, grantHook, error) {
	switch name {
	case GrantCode:
		return audit.KindIssue, s.redeemCode, nil
	case GrantRefresh:
		return audit.KindRefresh, s.redeemRefreshToken, nil
	case GrantDevice:
		return audit.KindIssue, s.redeemDeviceCode, nil
	case GrantClientCredentials:
		return audit.KindIssue, s.serviceToken, nil
	case GrantIDJAG:
		if s.Assertions != nil && s.current.Load().assertions {
			return audit.KindIssue, s.redeemIDJAG, nil
		}
	case "":
		return "", nil, refuse(codeInvalidRequest, "grant_type_missing", "grant_type is missing")
	}
	return "", nil, refuse(codeUnsupportedGrant, "grant_type_unsupported", "this grant type is not supported; the metadata lists those that are")
}

// checkResource compares the resource parameters with what the grant is bound to. A client may leave them out.
func checkResource(asked []string, bound string) error {
	want, err := canonicalResource(bound)
	for _, text := range asked {
		if text == "" {
			continue
		}
		if got, gotErr := canonicalResource(text); err != nil || gotErr != nil || got != want {
			return refuse(codeInvalidTarget, "resource_not_authorized", "the resource is not the one that was authorized")
		}
	}
	return nil
}
