package mcp

import (
	"bytes"
	"encoding/binary"
)

// shape is the keys of an object in an array, in their order: known to be different, and written without escapes. The
// rows of a table all have the same keys in the same order, and then comparing a key with that of the row before stands
// for reading it and for looking whether it came before.
type shape struct {
	n    int
	keys [maxShape]shapeKey
}

const maxShape = 16

// shapeKey is a key, and for a short one what stands behind its opening quote up to the colon.
type shapeKey struct {
	key
	begin uint64 // the first eight bytes behind the quote, as far as they are the key's, its closing quote and the colon
	mask  uint64 // which of them are
}

// shapeKeyOf returns the key that stands at k in buf, with its closing quote and the colon behind it.
func shapeKeyOf(buf []byte, k key) shapeKey {
	var room [8]byte
	known := copy(room[:], buf[k.start:k.end])
	known += copy(room[known:], `":`)
	return shapeKey{k, binary.LittleEndian.Uint64(room[:]), ^uint64(0) >> (64 - 8*known)}
}

// row checks an object, whose brace is at s.pos and whose keys are likely those of last, and makes last its shape when they are not.
func (s *scanner) row(depth int, last *shape) bool {
	if depth >= s.maxDepth {
		return s.fail("nested too deeply")
	}
	buf, i, same := s.buf, s.pos+1, 0
	for {
		c := byte(0)
		if i < len(buf) {
			c = buf[i]
		}
		if c <= ' ' {
			s.pos = i
			c, i = s.peek(), s.pos
		}
		if c == '}' {
			s.pos = i + 1
			return true
		}
		at := i
		if same > 0 {
			if c != ',' {
				s.pos = i
				return s.fail("a comma or the end of the object was expected")
			}
			i++
		}
		if i = last.behind(buf, i, same); i < 0 {
			s.pos = at
			return s.unlike(depth, last, same)
		}
		same++
		if end := plain(buf, i, min(plainLevels, s.maxDepth-depth-1)); end > 0 {
			i = end
			continue
		}
		s.pos = i
		if !s.value(depth + 1) {
			return false
		}
		i = s.pos
	}
}

// unlike goes on with an object of which so many keys were those of last.
func (s *scanner) unlike(depth int, last *shape, same int) bool {
	o := object{base: s.keys.n, decodedBase: len(s.decoded)}
	for _, k := range last.keys[:same] {
		s.keys.push(k.key)
	}
	for s.peek() != '}' {
		if !s.next(&o) || !s.value(depth+1) {
			return false
		}
	}
	if s.pos+1 < len(s.buf) && s.buf[s.pos+1] == ',' { // the last row teaches nothing
		s.learn(last, o.base)
	}
	s.next(&o) // past the end: the keys are compared with each other
	return s.fault == ""
}

// learn makes last the shape of the object whose keys begin at base, if it is one.
func (s *scanner) learn(last *shape, base int) {
	n := s.keys.n - base
	if n > maxShape {
		return
	}
	for i := range n {
		k := s.keys.at(base + i)
		if k.escaped {
			last.n = i
			return
		}
		last.keys[i] = shapeKeyOf(s.buf, k)
	}
	last.n = n
}

// behind returns where the value begins when the k-th key stands at i, with its colon and without white space; else -1.
func (l *shape) behind(buf []byte, i, k int) int {
	if k >= l.n || i+9 > len(buf) || buf[i] != '"' {
		return -1
	}
	known := &l.keys[k]
	if (binary.LittleEndian.Uint64(buf[i+1:])^known.begin)&known.mask != 0 {
		return -1
	}
	start, n := int(known.start), int(known.end-known.start)
	end := i + 1 + n
	if n <= 6 { // all of it has been compared
		return end + 2
	}
	if end+1 >= len(buf) || buf[end] != '"' || buf[end+1] != ':' || n > 8 && !bytes.Equal(buf[i+9:end], buf[start+8:start+n]) {
		return -1
	}
	return end + 2
}
