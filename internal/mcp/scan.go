package mcp

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks a JSON text once (RFC 8259), and refuses what JSON parsers are known to read in different ways: invalid UTF-8,
// lone surrogate escapes, and two keys of one object that are equal once decoded. When it finds a fault it keeps that and moves
// to the end of the text, where nothing more can be found, so that callers need to check only their last step.
type scanner struct {
	buf      []byte
	pos      int
	maxDepth int
	lone     bool   // accept lone surrogate escapes in values, but not in keys
	fault    string // the first fault; empty for none
	faultPos int

	keyAt   int      // where the key that next found last begins, with its quote
	keys    keyStack // the keys of all open objects, those of the innermost last
	decoded []byte   // the decoded forms of keys that are written with escapes
}

// key is one object key, decoded: a span of buf, or of decoded when it was written with escapes.
type key struct {
	start, end int32
	escaped    bool
}

// keyStack is a stack of keys. The first ones stand in an array, so that usual messages need no allocation. (A slice over that
// array would be shorter to write, but would move the scanner to the heap.)
type keyStack struct {
	n     int
	first [48]key
	more  []key // those after first
}

func (k *keyStack) push(v key) {
	if k.n < len(k.first) {
		k.first[k.n] = v
	} else {
		k.more = append(k.more, v)
	}
	k.n++
}

func (k *keyStack) at(i int) key {
	if i < len(k.first) {
		return k.first[i]
	}
	return k.more[i-len(k.first)]
}

// cut forgets the keys from n on.
func (k *keyStack) cut(n int) {
	k.n = n
	k.more = k.more[:max(0, n-len(k.first))]
}

// from returns the keys from base on, which may be copies.
func (k *keyStack) from(base int) []key {
	if k.n <= len(k.first) {
		return k.first[base:k.n]
	}
	out := make([]key, 0, k.n-base)
	for i := base; i < k.n; i++ {
		out = append(out, k.at(i))
	}
	return out
}

// pairwiseKeys is how many keys an object may have before they are sorted to find equal ones.
const pairwiseKeys = 16

func (s *scanner) init(buf []byte, maxDepth int) {
	s.buf, s.maxDepth = buf, maxDepth
}

func (s *scanner) fail(fault string) bool {
	if s.fault == "" {
		s.fault, s.faultPos = fault, s.pos
	}
	s.pos = len(s.buf)
	return false
}

func (s *scanner) space() {
	for s.pos < len(s.buf) {
		switch s.buf[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, 0 at the end (0 is never valid there).
func (s *scanner) peek() byte {
	if s.pos < len(s.buf) && s.buf[s.pos] > ' ' {
		return s.buf[s.pos]
	}
	s.space()
	if s.pos < len(s.buf) {
		return s.buf[s.pos]
	}
	return 0
}

// value checks one value of any type at the given depth.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case c == '"':
		_, ok := s.str(s.lone)
		return ok
	case c == '{':
		o, ok := s.object(depth)
		for ok && s.next(&o) {
			ok = s.value(depth + 1)
		}
		return ok && s.fault == ""
	case c == '[':
		return s.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	case s.pos >= len(s.buf):
		return s.fail("the text ends early")
	}
	return s.fail("a value was expected")
}

func (s *scanner) array(depth int) bool {
	var (
		a    list
		last shape
	)
	ok := s.elements(depth)
	for ok && s.nextElement(&a) {
		if s.peek() == '{' {
			ok = s.row(depth+1, &last)
		} else if end := plain(s.buf, s.pos, 0); end > 0 {
			s.pos = end
		} else {
			ok = s.value(depth + 1)
		}
	}
	return ok && s.fault == ""
}

// list is an array that is being walked.
type list struct{ started bool }

// elements enters an array.
func (s *scanner) elements(depth int) bool {
	if depth >= s.maxDepth {
		return s.fail("nested too deeply")
	}
	if s.peek() != '[' {
		return s.fail("an array was expected")
	}
	s.pos++
	return true
}

// nextElement moves to the next element, or past the end of the array and returns false.
func (s *scanner) nextElement(a *list) bool {
	c := s.peek()
	switch {
	case c == ']':
		s.pos++
		return false
	case !a.started:
		a.started = true
		return s.fault == ""
	case c == ',':
		s.pos++
		if s.peek() == ']' {
			return s.fail("a comma before the end of an array")
		}
		return true
	}
	return s.fail("a comma or the end of the array was expected")
}

// object is an object that is being walked; key is the current key, decoded.
type object struct {
	base        int // its first key in scanner.keys
	decodedBase int
	key         []byte
}

// object enters an object.
func (s *scanner) object(depth int) (object, bool) {
	if depth >= s.maxDepth {
		return object{}, s.fail("nested too deeply")
	}
	if s.peek() != '{' {
		return object{}, s.fail("an object was expected")
	}
	s.pos++
	return object{base: s.keys.n, decodedBase: len(s.decoded)}, true
}

// next moves to the next member's value and sets o.key, or moves past the end of the object and returns false.
func (s *scanner) next(o *object) bool {
	c := s.peek()
	if c == '}' {
		s.pos++
		return s.leave(o)
	}
	if s.keys.n > o.base {
		if c != ',' {
			return s.fail("a comma or the end of the object was expected")
		}
		s.pos++
		c = s.peek()
	}
	if c != '"' {
		return s.fail("a key was expected")
	}
	start := s.pos + 1
	s.keyAt = s.pos
	escaped, ok := s.str(false)
	if !ok {
		return false
	}
	k := key{start: int32(start), end: int32(s.pos - 1)}
	if escaped {
		at := len(s.decoded)
		s.decoded = appendUnescaped(s.decoded, s.buf[k.start:k.end])
		k = key{start: int32(at), end: int32(len(s.decoded)), escaped: true}
	}
	s.keys.push(k)
	o.key = s.keyBytes(k)
	if s.peek() != ':' {
		return s.fail("a colon was expected")
	}
	s.pos++
	return true
}

// leave refuses equal keys and forgets the object's keys. It always returns false.
func (s *scanner) leave(o *object) bool {
	keys := s.keys.from(o.base)
	if len(keys) <= pairwiseKeys {
		lengths := uint64(0) // a bit for each, modulo 64
		for i, k := range keys {
			length := uint64(1) << ((k.end - k.start) & 63)
			if lengths&length == 0 { // no key before is as long
				lengths |= length
				continue
			}
			for _, b := range keys[:i] {
				if b.end-b.start == k.end-k.start && bytes.Equal(s.keyBytes(k), s.keyBytes(b)) {
					return s.fail("the same key twice in one object")
				}
			}
		}
	} else {
		slices.SortFunc(keys, func(a, b key) int { return bytes.Compare(s.keyBytes(a), s.keyBytes(b)) })
		for i := 1; i < len(keys); i++ {
			if bytes.Equal(s.keyBytes(keys[i-1]), s.keyBytes(keys[i])) {
				return s.fail("the same key twice in one object")
			}
		}
	}
	s.keys.cut(o.base)
	s.decoded = s.decoded[:o.decodedBase]
	return false
}

func (s *scanner) keyBytes(k key) []byte {
	if k.escaped {
		return s.decoded[k.start:k.end]
	}
	return s.buf[k.start:k.end]
}

// Masks for looking at eight bytes at once.
const (
	eachLow  = 0x0101010101010101
	eachHigh = 0x8080808080808080
)

// special has the high bit of each byte set that is a quote, a backslash, a control character or not ASCII; bytes above
// the first that is not ASCII may be wrong. Flipping the second bit swaps the quote with the space, so that one
// comparison finds it together with the control characters.
func special(x uint64) uint64 {
	y, b := x^(eachLow*0x02), x^(eachLow*'\\')
	return (^((y + eachLow*0x5f) & (b + eachLow*0x7f)) | x) & eachHigh
}

// shortString is how many bytes ordinary looks at by itself before it tries blocks, whose start takes longer than a short string.
const shortString = 16

// ordinary moves over the inside of a string, eight bytes at a time, while there are only ASCII characters and escapes
// of one letter. It returns where something else begins, the closing quote for one, or where less than eight bytes are
// left; an escape across two of its steps may end it, too.
func ordinary(buf []byte, i int) (at int, escaped bool) {
	for try := i + shortString; i+8 <= len(buf); i += 8 {
		if i >= try { // a long string
			moved, some := blocks(buf[i:])
			i, escaped = i+moved, escaped || some
			if try = i + blockSize; i+8 > len(buf) {
				break
			}
		}
		x := binary.LittleEndian.Uint64(buf[i:])
		for hit := special(x); hit != 0; {
			n := bits.TrailingZeros64(hit) &^ 7
			if n == 56 || byte(x>>n) != '\\' || !oneLetter(byte(x>>(n+8))) {
				return i + n/8, escaped
			}
			escaped = true
			hit &^= 0xffff << n
		}
	}
	return i, escaped
}

// oneLetter tells what may stand behind a backslash, but for the u.
func oneLetter(c byte) bool {
	const low, high = 1<<'"' | 1<<'/', 1<<('\\'-64) | 1<<('b'-64) | 1<<('f'-64) | 1<<('n'-64) | 1<<('r'-64) | 1<<('t'-64)
	if c < 64 {
		return low>>c&1 != 0
	}
	return c < 128 && high>>(c-64)&1 != 0
}

// str checks a string and moves past it; s.pos is at the opening quote.
func (s *scanner) str(lone bool) (escaped, ok bool) {
	buf, i := s.buf, s.pos+1
	if i+8 <= len(buf) { // most keys and many values are short
		hit := special(binary.LittleEndian.Uint64(buf[i:]))
		if hit == 0 {
			i += 8
		} else if end := i + bits.TrailingZeros64(hit)/8; buf[end] == '"' {
			s.pos = end + 1
			return false, true
		}
	}
	for {
		at, some := ordinary(buf, i)
		i, escaped = at, escaped || some
		if i >= len(buf) {
			s.pos = i
			return escaped, s.fail("a string does not end")
		}
		switch c := buf[i]; {
		case c == '"':
			s.pos = i + 1
			return escaped, true
		case c == '\\':
			escaped = true
			s.pos = i
			if !s.escape(lone) {
				return escaped, false
			}
			i = s.pos
		case c < 0x20:
			s.pos = i
			return escaped, s.fail("a control character inside a string")
		case c < utf8.RuneSelf:
			i++
		default:
			r, n := utf8.DecodeRune(buf[i:])
			if r == utf8.RuneError && n <= 1 {
				s.pos = i
				return escaped, s.fail("invalid UTF-8")
			}
			i += n
		}
	}
}

// escape checks one escape sequence and moves past it; s.pos is at the backslash.
func (s *scanner) escape(lone bool) bool {
	rest := s.buf[s.pos:]
	if len(rest) < 2 {
		return s.fail("a string does not end")
	}
	if oneLetter(rest[1]) {
		s.pos += 2
		return true
	}
	if rest[1] != 'u' {
		return s.fail("an unknown escape")
	}
	r, ok := hex4(rest[2:])
	switch {
	case !ok:
		return s.fail("an escape without four hexadecimal digits")
	case !utf16.IsSurrogate(r):
		s.pos += 6
	case surrogatePair(rest) >= 0:
		s.pos += 12
	case lone:
		s.pos += 6
	default:
		return s.fail("a lone surrogate")
	}
	return true
}

// surrogatePair decodes the pair of escapes that b begins with, -1 when there is none.
func surrogatePair(b []byte) rune {
	if len(b) < 12 || b[6] != '\\' || b[7] != 'u' {
		return -1
	}
	high, _ := hex4(b[2:])
	low, ok := hex4(b[8:])
	if r := utf16.DecodeRune(high, low); ok && r != utf8.RuneError {
		return r
	}
	return -1
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var v rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	return v, true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.buf) && s.buf[s.pos] >= '0' && s.buf[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start || s.fail("a digit was expected")
}

func (s *scanner) number() bool {
	if s.buf[s.pos] == '-' {
		s.pos++
	}
	if s.pos < len(s.buf) && s.buf[s.pos] == '0' {
		s.pos++
	} else if !s.digits() {
		return false
	}
	if s.pos < len(s.buf) && s.buf[s.pos] == '.' {
		s.pos++
		if !s.digits() {
			return false
		}
	}
	if s.pos < len(s.buf) && (s.buf[s.pos] == 'e' || s.buf[s.pos] == 'E') {
		s.pos++
		if s.pos < len(s.buf) && (s.buf[s.pos] == '+' || s.buf[s.pos] == '-') {
			s.pos++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) literal(word string) bool {
	if len(s.buf)-s.pos < len(word) || string(s.buf[s.pos:s.pos+len(word)]) != word {
		return s.fail("a value was expected")
	}
	s.pos += len(word)
	return true
}

// end reports whether nothing but white space follows.
func (s *scanner) end() bool {
	s.space()
	return s.fault == "" && (s.pos == len(s.buf) || s.fail("data after the message"))
}
