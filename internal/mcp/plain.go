package mcp

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// plainLevels is how deep arrays may nest in values that plain reads. It is small, because the scanner has to read again
// whatever plain gives up on.
const plainLevels = 2

// plain is a short cut for the scanner. It checks the value that begins at i, and returns where that ends, if it is of the kind
// that large messages mostly consist of, written without white space: a string without \u escapes, a number without exponent,
// a literal, or an array of such values, nested up to levels deep. For everything else, valid or not, it returns 0, and the
// scanner reads the value from its beginning. It is faster than the scanner because it keeps all its state in registers.
func plain(buf []byte, i, levels int) int {
	if i >= len(buf) {
		return 0
	}
	switch c := buf[i]; {
	case c == '"':
		return plainString(buf, i+1)
	case c >= '0' && c <= '9' || c == '-':
		return plainNumber(buf, i)
	case c == 't':
		return plainWord(buf, i, "true")
	case c == 'f':
		return plainWord(buf, i, "false")
	case c == 'n':
		return plainWord(buf, i, "null")
	case c != '[' || levels <= 0:
		return 0
	}
	if i++; i < len(buf) && buf[i] == ']' {
		return i + 1
	}
	for {
		if i = plain(buf, i, levels-1); i == 0 || i >= len(buf) {
			return 0
		}
		switch buf[i] {
		case ',':
			i++
		case ']':
			return i + 1
		default:
			return 0
		}
	}
}

// plainString begins behind the opening quote.
func plainString(buf []byte, i int) int {
	for i+8 <= len(buf) {
		hit := special(binary.LittleEndian.Uint64(buf[i:]))
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) / 8
		switch c := buf[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			if i+1 == len(buf) {
				return 0
			}
			if !oneLetter(buf[i+1]) {
				return 0
			}
			i += 2
		case c < utf8.RuneSelf: // a control character
			return 0
		default:
			r, n := utf8.DecodeRune(buf[i:])
			if r == utf8.RuneError && n <= 1 {
				return 0
			}
			i += n
		}
	}
	return 0 // so near to the end that it does not matter
}

func plainNumber(buf []byte, i int) int {
	if buf[i] == '-' {
		i++
	}
	first := i
	for i < len(buf) && buf[i]-'0' <= 9 {
		i++
	}
	if i == first || buf[first] == '0' && i > first+1 {
		return 0
	}
	if i < len(buf) && buf[i] == '.' {
		point := i
		for i++; i < len(buf) && buf[i]-'0' <= 9; {
			i++
		}
		if i == point+1 {
			return 0
		}
	}
	if i < len(buf) && buf[i]|0x20 == 'e' {
		return 0
	}
	return i
}

func plainWord(buf []byte, i int, word string) int {
	if end := i + len(word); end <= len(buf) && string(buf[i:end]) == word {
		return end
	}
	return 0
}
