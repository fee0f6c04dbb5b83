package web

import (
	"net/http"
	"strings"
)

// What scripts of an allowed origin may send and read (Fetch standard §3.3). Headers that begin with Mcp- are allowed
// as a family, because later revisions put tool parameters there.
const (
	corsMethods = "GET, POST, DELETE, OPTIONS"
	corsHeaders = "accept, authorization, content-type, dpop, last-event-id"
	corsExposed = "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, Mcp-Protocol-Version, Retry-After, X-Request-Id"
	corsMaxAge  = "600"
)

// CORS refuses what browsers send from other than the allowed origins, and lets scripts of those read the answers.
// Credentials are never allowed: the API knows bearer tokens only, which a browser does not send by itself.
func CORS(allowed Origins) Middleware {
	vary := []string{"Origin"} // shared by all answers; whoever adds to it gets a copy, because it is full
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			if h["Vary"] == nil {
				h["Vary"] = vary
			} else {
				h.Add("Vary", "Origin")
			}
			if origin := r.Header["Origin"]; len(origin) > 0 {
				if len(origin) > 1 || !allowed.Has(origin[0]) {
					refuseOrigin(w, r, origin)
					return
				}
				openTo(w, origin[0])
				if isPreflight(r) {
					answerPreflight(w, r)
					return
				}
			}
			next.ServeHTTP(w, r)
		})
	}
}

// PublicCORS lets every script read the answers, for documents that are the same for everybody: metadata and keys.
func PublicCORS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		openTo(w, "*")
		if isPreflight(r) {
			answerPreflight(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func openTo(w http.ResponseWriter, origin string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsExposed)
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

func answerPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsHeaders+mcpHeaders(r.Header.Get("Access-Control-Request-Headers")))
	h.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
}

// mcpHeaders returns ", name" for each requested header of the Mcp- family.
func mcpHeaders(requested string) string {
	var b strings.Builder
	for name := range strings.SplitSeq(clip(requested, 2048), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if strings.HasPrefix(name, "mcp-") && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == "" {
			b.WriteString(", " + name)
		}
	}
	return b.String()
}
