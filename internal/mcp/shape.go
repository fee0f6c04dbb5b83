package mcp

import "bytes"

// shape is the keys of an object in an array, in their order: known to be different, and written without escapes. The
// rows of a table all have the same keys in the same order, and then comparing a key with that of the row before stands
// for reading it and for looking whether it came before.
type shape struct {
	n    int
	keys [maxShape]key
}

const maxShape = 16

// row checks an object whose keys are likely those of last, and makes last its shape when they are not.
func (s *scanner) row(depth int, last *shape) bool {
	o, ok := s.object(depth)
	if !ok {
		return false
	}
	same, at := 0, 0
	for {
		c := s.peek()
		if c == '}' {
			s.pos++
			return true
		}
		if at = s.pos; same > 0 {
			if c != ',' {
				return s.fail("a comma or the end of the object was expected")
			}
			s.pos++
		}
		if !s.sameKey(last, same) {
			break
		}
		same++
		if !s.value(depth + 1) {
			return false
		}
	}
	s.pos = at
	for _, k := range last.keys[:same] {
		s.keys.push(k)
	}
	for s.peek() != '}' {
		if !s.next(&o) || !s.value(depth+1) {
			return false
		}
	}
	s.learn(last, o.base)
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
		last.keys[i] = k
	}
	last.n = n
}

// sameKey moves past a key and its colon when the key is the i-th of last.
func (s *scanner) sameKey(last *shape, i int) bool {
	if i >= last.n || s.peek() != '"' {
		return false
	}
	want := s.buf[last.keys[i].start:last.keys[i].end]
	start, end := s.pos+1, s.pos+1+len(want)
	if end >= len(s.buf) || s.buf[end] != '"' || !bytes.Equal(s.buf[start:end], want) {
		return false
	}
	s.pos = end + 1
	if s.peek() != ':' {
		return false
	}
	s.pos++
	return true
}
