package authserver

import (
	"crypto/sha256"
	"errors"
	"mime"
	"net/http"
	"net/url"

	"gatehouse/internal/web"
)

// maxForm bounds a form or a query, in bytes. The longest honest one carries a registered client id, a state and a
// sealed transaction.
const maxForm = 32 << 10

// readForm reads a body of type application/x-www-form-urlencoded. Parameters in the query are not looked at.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/x-www-form-urlencoded" {
		return nil, &web.Error{Status: http.StatusUnsupportedMediaType, Code: codeInvalidRequest, Reason: "media_type", Message: "send the parameters as application/x-www-form-urlencoded"}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, &web.Error{Status: http.StatusRequestEntityTooLarge, Code: codeInvalidRequest, Reason: "form_too_large", Message: "the form is too large"}
		}
		return nil, refuse(codeInvalidRequest, "form_unreadable", "the form cannot be read")
	}
	return r.PostForm, nil
}

// readQuery reads the parameters of a GET request.
func readQuery(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > maxForm {
		return nil, &web.Error{Status: http.StatusRequestURITooLong, Code: codeInvalidRequest, Reason: "query_too_long", Message: "the query is too long"}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(codeInvalidRequest, "query_unreadable", "the query cannot be read")
	}
	return values, nil
}

// readParams reads the query or the form, whichever the method says.
func readParams(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		return readForm(w, r)
	}
	return readQuery(r)
}

// checkRepeated refuses parameters that occur more than once (RFC 6749 §3.1). Only resource may (RFC 8707 §2), and
// findResource judges its values.
func checkRepeated(values url.Values) error {
	for name, v := range values {
		if len(v) > 1 && name != "resource" {
			return refuse(codeInvalidRequest, "parameter_repeated", "a parameter is given more than once")
		}
	}
	return nil
}

// hash is how codes and tokens are named to the store, which never sees them. They have 256 random bits, so that a
// plain digest is enough.
func hash(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
