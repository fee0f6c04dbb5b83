package web

import (
	"maps"
	"net/http"

	"gatehouse/internal/httpd"
)

// SecurityHeaders sets safe defaults for everything that is served; a page widens its own content policy, static files
// and metadata set their own caching. hsts is for installations whose public_url is https.
//
// Over HTTP/1.1 they are not among the headers that a handler sees. It sets one to have another, or to nil to have none; to
// delete one does nothing.
//
// The referrer policy is same-origin and not no-referrer: under the latter browsers send "Origin: null" with our own
// forms (Fetch standard, "append a request Origin header"), and the checks of forms would refuse them.
func SecurityHeaders(hsts bool) Middleware {
	// The lists are shared by all answers: whoever adds to one gets a copy, because it is full.
	fixed := http.Header{
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
	defaults := httpd.NewDefaults(fixed)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if below, ok := recorderOf(w).ResponseWriter.(interface{ SetDefaults(*httpd.Defaults) }); ok {
				below.SetDefaults(defaults)
			} else {
				maps.Copy(w.Header(), fixed)
			}
			next.ServeHTTP(w, r)
		})
	}
}
