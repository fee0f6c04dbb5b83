package upauth

import (
	"net/http"
	"strings"

	"gatehouse/internal/identity"
)

// challenge is what a target says with 401 or 403 (RFC 6750 §3, RFC 9728 §5.1).
type challenge struct {
	metadata string // resource_metadata
	scopes   identity.Scopes
	code     string // error
}

// Bounds on what is read of a challenge.
const (
	maxChallenge = 8 << 10
	maxScopes    = 64 // of all that a target ever asks for
)

// readChallenge takes the first value of each parameter, of challenges of the scheme that is in use before the other.
func readChallenge(h http.Header, scheme string) challenge {
	var c challenge
	all := parseChallenges(h.Values("WWW-Authenticate"))
	for _, own := range []bool{true, false} {
		for _, a := range all {
			if (a.scheme == strings.ToLower(scheme)) != own || a.scheme != "bearer" && a.scheme != "dpop" {
				continue
			}
			if c.metadata == "" {
				c.metadata = a.params["resource_metadata"]
			}
			if c.scopes == nil {
				c.scopes = validScopes(a.params["scope"])
			}
			if c.code == "" {
				c.code = a.params["error"]
			}
		}
	}
	return c
}

// validScopes leaves out what is no scope, since it could not be asked for.
func validScopes(text string) identity.Scopes {
	var out identity.Scopes
	for _, s := range identity.ParseScopes(text) {
		if identity.ValidScope(s) && len(out) < maxScopes {
			out = append(out, s)
		}
	}
	return out
}

// authScheme is one challenge of a WWW-Authenticate field: its scheme and the names of its parameters in lower case.
type authScheme struct {
	scheme string
	params map[string]string
}

// parseChallenges reads the values of WWW-Authenticate (RFC 9110 §11.6.1): each may hold several challenges, and commas
// divide challenges as well as parameters. What comes after a fault in a value is left out.
func parseChallenges(values []string) []authScheme {
	var out []authScheme
	for _, v := range values {
		if len(v) > maxChallenge {
			continue
		}
		for s := (scanner{v}); ; {
			s.skip(" \t,")
			scheme := s.token()
			if scheme == "" {
				break
			}
			a := authScheme{strings.ToLower(scheme), map[string]string{}}
			s.params(a.params)
			out = append(out, a)
		}
	}
	return out
}

// scanner eats a field value from its front.
type scanner struct{ rest string }

func (s *scanner) skip(set string) { s.rest = strings.TrimLeft(s.rest, set) }

// token returns the token (RFC 9110 §5.6.2) at the front, which may be empty.
func (s *scanner) token() string {
	n := 0
	for n < len(s.rest) && isTokenByte(s.rest[n]) {
		n++
	}
	token := s.rest[:n]
	s.rest = s.rest[n:]
	return token
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// params reads parameters until the next challenge begins: a token that no = follows. A token68 is skipped.
func (s *scanner) params(into map[string]string) {
	for {
		before := *s
		s.skip(" \t,")
		name := s.token()
		s.skip(" \t")
		if name == "" || !strings.HasPrefix(s.rest, "=") {
			if name == "" || strings.Contains(before.rest[:len(before.rest)-len(s.rest)], ",") || !s.skipToken68(before) {
				*s = before
				return
			}
			continue
		}
		s.rest = s.rest[1:]
		s.skip(" \t")
		value, ok := s.value()
		if !ok {
			if !s.skipToken68(before) {
				s.rest = ""
			}
			continue
		}
		if name = strings.ToLower(name); into[name] == "" {
			into[name] = value
		}
	}
}

// skipToken68 skips a token68 (RFC 9110 §11.2) that begins where before stands, and says whether there is one.
func (s *scanner) skipToken68(before scanner) bool {
	rest := strings.TrimLeft(before.rest, " \t")
	end := strings.IndexAny(rest, " \t,")
	if end < 0 {
		end = len(rest)
	}
	if rest == before.rest || end == 0 {
		return false
	}
	for _, c := range []byte(strings.TrimRight(rest[:end], "=")) {
		if !isTokenByte(c) && c != '/' {
			return false
		}
	}
	s.rest = rest[end:]
	return true
}

// value reads a token or a quoted string.
func (s *scanner) value() (string, bool) {
	if !strings.HasPrefix(s.rest, `"`) {
		token := s.token()
		return token, token != ""
	}
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case '\\':
			if i++; i < len(s.rest) {
				b.WriteByte(s.rest[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
