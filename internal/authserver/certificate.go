package authserver

import (
	"net/http"

	"gatehouse/internal/web"
)

// boundTo returns the thumbprint of the certificate that a client's access tokens are to be bound to, or nothing for one
// whose tokens are not (RFC 8705 §3). Whoever issued the certificate: the client has authenticated itself besides.
func (s *Server) boundTo(r *http.Request, client *Client) (string, error) {
	if !client.CertificateBound {
		return "", nil
	}
	der, err := s.certificate(r)
	switch {
	case err != nil:
		e := refuse(codeInvalidRequest, "certificate_unreadable", "the client's certificate cannot be read")
		e.Cause = err
		return "", e
	case der == nil:
		return "", refuse(codeInvalidRequest, "certificate_missing", "this client gets only tokens that are bound to its certificate, and the request came with none")
	}
	return web.Thumbprint(der), nil
}

// certificate returns the certificate that the client has shown. Where none can be shown, there is none.
func (s *Server) certificate(r *http.Request) ([]byte, error) {
	if !s.current.Load().certificates {
		return nil, nil
	}
	return web.ClientCertificate(r)
}

// checkCertificate holds the certificate of a request against the one that an access token is bound to.
func (s *Server) checkCertificate(r *http.Request, bound string) error {
	if bound == "" {
		return nil
	}
	der, err := s.certificate(r)
	refused := &web.Error{Status: http.StatusUnauthorized, Code: codeInvalidToken, Cause: err,
		Reason: "certificate_missing", Message: "the access token is bound to a client certificate, and the request came with none"}
	switch {
	case err != nil:
		refused.Reason, refused.Message = "certificate_unreadable", "the access token is bound to a client certificate, and that of the request cannot be read"
	case der == nil:
	case web.Thumbprint(der) != bound:
		refused.Reason, refused.Message = "wrong_certificate", "the access token is bound to another client certificate than that of the request"
	default:
		return nil
	}
	return refused
}
