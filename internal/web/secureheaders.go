package web

import (
	"maps"
	"net/http"
)

// SecurityHeaders sets safe defaults for everything that is served; a page widens its own content policy, static files
// and metadata set their own caching. hsts is for installations whose public_url is https.
//
// The referrer policy is same-origin and not no-referrer: under the latter browsers send "Origin: null" with our own
// forms (Fetch standard, "append a request Origin header"), and the checks of forms would refuse them.
func SecurityHeaders(hsts bool) Middleware {
	// The lists are shared by all answers: whoever adds to one gets a copy, because it is full.
	fixed := map[string][]string{
		"X-Content-Type-Options":       {"nosniff"},
		"X-Frame-Options":              {"DENY"},
		"Referrer-Policy":              {"same-origin"},
		"Content-Security-Policy":      {"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"Cache-Control":                {"no-store"},
	}
	if hsts {
		fixed["Strict-Transport-Security"] = []string{"max-age=31536000"}
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			maps.Copy(w.Header(), fixed)
			next.ServeHTTP(w, r)
		})
	}
}
