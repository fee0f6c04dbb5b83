package web

import "net/http"

// SecurityHeaders sets safe defaults for everything that is served; a page widens its own content policy, static files
// and metadata set their own caching. hsts is for installations whose public_url is https.
//
// The referrer policy is same-origin and not no-referrer: under the latter browsers send "Origin: null" with our own
// forms (Fetch standard, "append a request Origin header"), and the checks of forms would refuse them.
func SecurityHeaders(hsts bool) Middleware {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("X-Frame-Options", "DENY")
			h.Set("Referrer-Policy", "same-origin")
			h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
			h.Set("Cross-Origin-Resource-Policy", "same-origin")
			h.Set("Cache-Control", "no-store")
			if hsts {
				h.Set("Strict-Transport-Security", "max-age=31536000")
			}
			next.ServeHTTP(w, r)
		})
	}
}
