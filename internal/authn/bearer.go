package authn

import (
	"errors"
	"mime"
	"net/http"
	"strings"
)

// The schemes of the Authorization header.
const (
	schemeBearer = "Bearer"
	schemeDPoP   = "DPoP"
)

// credentials are an access token and the scheme under which it came.
type credentials struct {
	token string
	dpop  bool // with a proof of possession (RFC 9449 §7.1)
}

// readCredentials takes the token from where RFC 6750 §2.1 and RFC 9449 §7.1 put it. The other two places of RFC 6750, URL
// and form body, are refused even beside a good header: what stands in a URL ends up in logs.
func readCredentials(r *http.Request) (credentials, *Refusal) {
	if r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return credentials{}, badRequest(TokenInQuery, "the access token belongs in the Authorization header, not in the URL")
	}
	if isForm(r) {
		return credentials{}, badRequest(TokenInBody, "form bodies are not accepted; the access token belongs in the Authorization header")
	}
	values := r.Header["Authorization"]
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return credentials{}, noCredentials(TokenMissing, "an access token is needed")
	case len(values) > 1:
		return credentials{}, badRequest(HeaderRepeated, "there is more than one Authorization header")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	out := credentials{token: strings.Trim(token, " "), dpop: strings.EqualFold(scheme, schemeDPoP)}
	switch {
	case !out.dpop && !strings.EqualFold(scheme, schemeBearer):
		return credentials{}, noCredentials(SchemeUnsupported, "the Authorization scheme must be Bearer or DPoP") // not named: it may be a bare token
	case out.token == "":
		return credentials{}, invalidToken(stepRead, TokenMalformed, "the access token is empty", nil)
	}
	return out, nil
}

func isForm(r *http.Request) bool {
	values := r.Header["Content-Type"]
	if len(values) == 0 || values[0] == "" || values[0] == "application/json" {
		return false
	}
	kind, _, err := mime.ParseMediaType(values[0])
	return (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter)) &&
		(kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data")
}

func badRequest(reason Reason, description string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Code: codeInvalidRequest, Reason: reason, Description: description}
}

// noCredentials carries no error code, as RFC 6750 §3.1 asks for a request without credentials that we understand.
func noCredentials(reason Reason, description string) *Refusal {
	return &Refusal{Status: http.StatusUnauthorized, Reason: reason, Description: description}
}
