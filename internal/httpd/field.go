package httpd

import "net/textproto"

// ValidName reports whether s is a token, as names of headers and methods are (RFC 9110 §5.6.2).
func ValidName(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// tokenByte reports whether c may stand in a token: letters, digits and !#$%&'*+-.^_`|~. It looks c up in two sets of 64
// bits, one bit for each ASCII character.
func tokenByte(c byte) bool {
	const (
		low  = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' | (1<<10-1)<<'0'
		high = (1<<26-1)<<('A'-64) | (1<<26-1)<<('a'-64) | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
	)
	if c < 64 {
		return uint64(low)>>c&1 != 0
	}
	return c < 128 && uint64(high)>>(c-64)&1 != 0
}

// ValidValue reports whether s may be the value of a header: it holds no control character but the tab (RFC 9110 §5.5).
//
// It looks at eight bytes at a time: the high bit of a byte in the first expression below is set when that byte of x is less
// than a space, or is DEL. Such a group may still be fine, because of tabs, so plainBytes looks at it again.
func ValidValue(s string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for len(s) >= 8 {
		x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		y := x ^ each*0x7f
		if ((x-each*0x20)&^x|(y-each)&^y)&high != 0 && !plainBytes(s[:8]) {
			return false
		}
		s = s[8:]
	}
	return plainBytes(s)
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
		case !tokenByte(c):
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
