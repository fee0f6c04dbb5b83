package telemetry

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const redacted = "REDACTED"

// A bearer token, or the shape of a JWS: three base64url parts of which the first begins with {" in JSON.
var tokenShape = regexp.MustCompile(`(?i:\b(bearer|basic|dpop)\s+)[A-Za-z0-9._~+/=-]{8,}|\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)

// redact is the ReplaceAttr hook of slog: the second guard, behind code that logs no secrets in the first place.
func redact(groups []string, a slog.Attr) slog.Attr {
	if isSecretKey(a.Key) {
		return slog.String(a.Key, redacted)
	}
	for _, g := range groups {
		if isSecretKey(g) {
			return slog.String(a.Key, redacted)
		}
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); tokenMayBeIn(s) {
			return slog.String(a.Key, guardText(s))
		}
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error:
			return slog.String(a.Key, guardText(fmt.Sprint(v)))
		case http.Header, url.Values, *http.Request, *http.Response, *http.Cookie, *url.Userinfo:
			return slog.String(a.Key, redacted)
		case *url.URL:
			return slog.String(a.Key, guardText(v.Redacted()))
		}
	}
	return a
}

// isSecretKey reports whether a value under this key is secret by its name.
func isSecretKey(key string) bool {
	if !isPlainKey(key) {
		key = strings.ToLower(strings.ReplaceAll(key, "-", "_"))
	}
	switch key {
	case "authorization", "proxy_authorization", "cookie", "set_cookie", "token", "password", "passwd", "secret", "code",
		"code_verifier", "assertion", "client_assertion", "arguments", "master_key", "private_key", "api_key", "session_id", "mcp_session_id":
		return true
	}
	return strings.HasSuffix(key, "_token") || strings.HasSuffix(key, "_secret") || strings.HasSuffix(key, "_password") || strings.HasSuffix(key, "_cookie")
}

// isPlainKey reports whether a key is written as they all should be.
func isPlainKey(key string) bool {
	for i := range len(key) {
		if c := key[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// guardText replaces what looks like a token inside a text.
func guardText(s string) string {
	if !tokenMayBeIn(s) {
		return s
	}
	return tokenShape.ReplaceAllString(s, redacted)
}

// tokenMayBeIn is the cheap question before the expensive one.
func tokenMayBeIn(s string) bool {
	if len(s) < 12 {
		return false
	}
	return strings.Contains(s, "eyJ") || schemeMayBeIn(s) && tokenShape.MatchString(s)
}

// schemeMayBeIn reports whether some white space comes behind the last letters of a scheme that has a credential.
func schemeMayBeIn(s string) bool {
	for i := 3; i < len(s); i++ {
		if s[i] > ' ' {
			continue
		}
		switch a, b, c := s[i-3]|0x20, s[i-2]|0x20, s[i-1]|0x20; {
		case a == 'r' && b == 'e' && c == 'r', a == 'p' && b == 'o' && c == 'p', b == 'i' && c == 'c': // bearer, dpop, basic
			return true
		}
	}
	return false
}
