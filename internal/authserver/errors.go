package authserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/clientdoc"
	"gatehouse/internal/dpop"
	"gatehouse/internal/page"
	"gatehouse/internal/web"
)

// Error codes of RFC 6749 §4.1.2.1 and §5.2, RFC 7591 §3.2.2, RFC 8628 §3.5, RFC 8707 §2, RFC 9449 §5 and §8, OpenID
// Connect Core §3.1.2.6 and RFC 6750.
const (
	codeAccessDenied        = "access_denied"
	codeAuthPending         = "authorization_pending"
	codeConsentRequired     = "consent_required"
	codeExpiredToken        = "expired_token"
	codeInvalidClient       = "invalid_client"
	codeInvalidDPoP         = "invalid_dpop_proof"
	codeInvalidGrant        = "invalid_grant"
	codeInvalidMetadata     = "invalid_client_metadata"
	codeInvalidRedirect     = "invalid_redirect_uri"
	codeInvalidRequest      = "invalid_request"
	codeInvalidScope        = "invalid_scope"
	codeInvalidTarget       = "invalid_target"
	codeInvalidToken        = "invalid_token"
	codeInsufficientScope   = "insufficient_scope"
	codeLoginRequired       = "login_required"
	codeNotFound            = "not_found"
	codeRequestNotSupported = "request_not_supported"
	codeRequestURINotSupp   = "request_uri_not_supported"
	codeServerError         = "server_error"
	codeSlowDown            = "slow_down"
	codeUnavailable         = "temporarily_unavailable"
	codeUnauthorizedClient  = "unauthorized_client"
	codeUnsupportedGrant    = "unsupported_grant_type"
	codeUnsupportedResponse = "unsupported_response_type"
	codeUseNonce            = "use_dpop_nonce"
)

// refuse is an answer with status 400 to what the client did wrong. The reason is one stable word of docs/reasons.md.
func refuse(code, reason, description string) *web.Error {
	return &web.Error{Status: http.StatusBadRequest, Code: code, Reason: reason, Message: description}
}

// refuseClient is for clients that are not who they say (RFC 6749 §5.2).
func refuseClient(reason, description string, cause error) *web.Error {
	return &web.Error{Status: http.StatusUnauthorized, Code: codeInvalidClient, Reason: reason, Message: description, Cause: cause}
}

// unavailable is for a back end that could not be asked; the caller may come again.
func unavailable(cause error) *web.Error {
	return &web.Error{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Cause: cause, RetryAfter: retryAfter,
		Reason: "unavailable", Message: "the server cannot answer at the moment; try again shortly"}
}

const retryAfter = 5 * time.Second

// logError logs what operators must act on, of a request that ends as a redirect: the records of others are errors themselves.
func (s *Server) logError(r *http.Request, e *web.Error) {
	if _, ok := errors.AsType[*clientdoc.Error](e.Cause); ok {
		return // the trouble of somebody else's host, which was logged when it was met
	}
	if e.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.Log.ErrorContext(r.Context(), "authorization server request failed", "path", r.URL.Path, "error_code", e.Code, "error", e.Cause)
	}
}

// api adapts a handler of the API edge: scripts of any origin may read it, errors are JSON, nothing is cached.
func (s *Server) api(h web.HandlerFunc, methods ...string) http.Handler {
	return web.PublicCORS(web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		if err := checkMethod(w, r, methods); err != nil {
			return err
		}
		return h(w, r)
	}, s.writeAPIError))
}

// writeAPIError is the one writer of errors at the API edge (RFC 6749 §5.2, RFC 6750 §3).
func (s *Server) writeAPIError(w http.ResponseWriter, r *http.Request, e *web.Error) {
	switch scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); {
	case e.Code == codeInvalidClient && strings.EqualFold(scheme, "Basic"):
		w.Header().Set("WWW-Authenticate", `Basic realm="gatehouse"`)
	case e.Status == http.StatusUnauthorized && (e.Code == codeInvalidDPoP || e.Code == codeUseNonce),
		e.Code == codeInvalidToken && strings.EqualFold(scheme, tokenTypeDPoP):
		w.Header().Set("WWW-Authenticate", `DPoP algs="`+strings.Join(dpop.Algorithms(), " ")+`", error="`+e.Code+`", error_description="`+e.Message+`"`)
	case e.Code == codeInvalidToken || e.Code == codeInsufficientScope:
		w.Header().Set("WWW-Authenticate", `Bearer error="`+e.Code+`", error_description="`+e.Public()+`"`)
	}
	web.WriteError(w, r, e)
}

// browser adapts a handler of the browser edge: errors become a page, or JSON for a program that asks for it.
func (s *Server) browser(h web.HandlerFunc, methods ...string) http.Handler {
	return web.Handler(func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		if err := checkMethod(w, r, methods); err != nil {
			return err
		}
		return h(w, r)
	}, s.writeBrowserError)
}

// errorPage is the data of templates/authorize_error.html.
type errorPage struct {
	Code, Reason, Description string
	Ours                      bool // our trouble, not the client's request
	RequestID                 string
}

// writeBrowserError is the one writer of errors that are shown instead of sent to the client. A program that probes
// the authorization endpoint, as mcp-remote does to see whether its registration still holds, gets JSON.
func (s *Server) writeBrowserError(w http.ResponseWriter, r *http.Request, e *web.Error) {
	if prefersJSON(r.Header.Get("Accept")) {
		web.WriteError(w, r, e)
		return
	}
	web.PrepareError(w, e)
	data := errorPage{Code: e.Code, Reason: e.Reason, Description: e.Message, Ours: e.Status >= http.StatusInternalServerError, RequestID: web.RequestID(r.Context())}
	if err := page.Render(w, r, e.Status, "authorize_error", data); err != nil {
		s.Log.ErrorContext(r.Context(), "error page not rendered", "error", err)
		http.Error(w, e.Message, e.Status)
	}
}

// checkMethod accepts HEAD wherever GET is. An empty list accepts all.
func checkMethod(w http.ResponseWriter, r *http.Request, methods []string) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if len(methods) == 0 || slices.Contains(methods, method) {
		return nil
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	return &web.Error{Status: http.StatusMethodNotAllowed, Code: codeInvalidRequest, Reason: "method_not_allowed", Message: "use " + strings.Join(methods, " or ")}
}

// writeJSON writes a value that always encodes.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, `{"error":"server_error"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the reader has gone; there is nobody left to tell
}

// prefersJSON reports whether an Accept header ranks JSON above HTML (RFC 9110 §12.5.1).
func prefersJSON(accept string) bool {
	var jsonQ, htmlQ float64
	for entry := range strings.SplitSeq(accept, ",") {
		mediaType, params, _ := strings.Cut(entry, ";")
		q := quality(params)
		switch strings.ToLower(strings.TrimSpace(mediaType)) {
		case "application/json":
			jsonQ = max(jsonQ, q)
		case "text/html", "application/xhtml+xml":
			htmlQ = max(htmlQ, q)
		}
	}
	return jsonQ > htmlQ
}

func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err != nil || q < 0 || q > 1 {
			return 0
		}
		return q
	}
	return 1
}
