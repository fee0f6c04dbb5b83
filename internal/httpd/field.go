package httpd

import (
	"net/textproto"

	"golang.org/x/net/http/httpguts"
)

// ValidName reports whether s is a token, as names of headers and methods are (RFC 9110 §5.6.2).
func ValidName(s string) bool { return httpguts.ValidHeaderFieldName(s) }

// ValidValue reports whether s may be the value of a header: it holds no control character but the tab (RFC 9110 §5.5).
// It looks at 32 bytes at a time, then at 8, and one by one only at groups that hold something unusual.
func ValidValue(s string) bool {
	const high = 0x8080808080808080
	for len(s) >= 32 {
		if (unusual(s)|unusual(s[8:])|unusual(s[16:])|unusual(s[24:]))&high != 0 && !plainBytes(s[:32]) {
			return false
		}
		s = s[32:]
	}
	for len(s) >= 8 {
		if unusual(s)&high != 0 && !plainBytes(s[:8]) {
			return false
		}
		s = s[8:]
	}
	return plainBytes(s)
}

// unusual sets the high bit of at least one byte if one of the first eight of s is a control character or not ASCII: among
// ASCII characters, adding 1 does it to DEL, and taking off a space to those that are less than it.
func unusual(s string) uint64 {
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	const each = 0x0101010101010101
	return x | (x + each) | (x - each*' ')
}

// plainBytes is ValidValue, one byte at a time.
func plainBytes(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// trim takes spaces and tabs off both ends.
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// canonical returns a header's name in the spelling of http.Header's keys, such as Content-Type, and "" when it is no token.
func canonical(name string) string {
	upper, already := true, true
	for i := range len(name) {
		c := name[i]
		switch {
		case !httpguts.IsTokenRune(rune(c)):
			return ""
		case c >= 'a' && c <= 'z':
			already = already && !upper
		case c >= 'A' && c <= 'Z':
			already = already && upper
		}
		upper = c == '-'
	}
	if already {
		return name
	}
	switch name { // those of MCP in lower case, which textproto would make anew each time
	case "mcp-session-id":
		return "Mcp-Session-Id"
	case "mcp-protocol-version":
		return "Mcp-Protocol-Version"
	case "mcp-method":
		return "Mcp-Method"
	case "mcp-name":
		return "Mcp-Name"
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}
