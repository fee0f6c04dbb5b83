package mcp

import (
	"strings"
	"testing"
)

// Rows that look like the one before are checked as strictly as others.
func TestRows(t *testing.T) {
	t.Parallel()
	wide := func(n int, last string) string {
		var b strings.Builder
		b.WriteByte('{')
		for i := range n {
			b.WriteString(`"k` + strings.Repeat("x", i) + `":1,`)
		}
		return b.String() + last + `}`
	}
	for text, want := range map[string]bool{
		`[{"a":1,"b":2},{"a":3,"b":4}]`:                                         true,
		`[{"a":1,"b":2},{"a":3},{"a":3,"b":4},{}]`:                              true,
		`[{"a":1,"b":2},{"b":3,"a":4},{"a":1,"b":2}]`:                           true,
		`[{"a":1,"b":2},{"a":3,"c":4},{"a":5,"b":6,"c":7}]`:                     true,
		`[{"a":1},{"a":1,"b":{"a":[{"a":1},{"a":2}]}}]`:                         true,
		`[{"a" : 1 , "b":2} , { "a" :3,"b": 4 }, 5, {"a":1,"b":2}]`:             true,
		`[[{"a":1},{"a":2}],[{"b":1},{"b":2}]]`:                                 true,
		`[{},{"a":1},{}]`:                                                       true,
		"[" + wide(maxShape, `"z":1`) + "," + wide(maxShape, `"z":1`) + "]":     true,
		"[" + wide(maxShape-1, `"z":1`) + "," + wide(maxShape-1, `"z":1`) + "]": true,

		`[{"a":"x\\","b":[1,-0.5,true,null,[],["é\"\n"]]},{"a":"\\"},"\\\\"]`: true,
		`[{"a":1},{"a":01}]`:                   false,
		`[{"a":1},{"a":-}]`:                    false,
		`[{"a":1},{"a":1.}]`:                   false,
		`[{"a":1},{"a":1e}]`:                   false,
		`[{"a":1},{"a":1e5}]`:                  true,
		`[{"a":1},{"a":trux}]`:                 false,
		`[{"a":1},{"a":truex}]`:                false,
		`[{"a":1},{"a":"\x"}]`:                 false,
		`[{"a":1},{"a":[1,]}]`:                 false,
		`[{"a":1},{"a":[1 ,2]}]`:               true,
		"[{\"a\":1},{\"a\":\"\xff12345678\"}]": false,
		"[{\"a\":1},{\"a\":\"\n12345678\"}]":   false,
		`[{"a":1,"b":2},{"a":3,"b":4,"a":5}]`:  false,
		`[{"a":1,"b":2},{"a":3,"a":4}]`:        false,
		`[{"a":1,"b":2},{"b":3,"b":4}]`:        false,
		`[{"a":1},{"a":2,"\u0061":3}]`:         false,
		`[{"\u0061":1},{"\u0061":2,"a":3}]`:    false,
		`[{"a":1},{"a":2,}]`:                   false,
		`[{"a":1},{"a":2 "b":3}]`:              false,
		`[{"a":1},{"a" 2}]`:                    false,
		`[{"a":1},{"a":}]`:                     false,
		`[{"a":1},{"a`:                         false,
		`[{"a":1},{"a"`:                        false,
		`[{"a":1},{"a":1`:                      false,
		`[{"a":1},{,"a":1}]`:                   false,
		`[{"a":1,"b":1},{"a":1,,"b":1}]`:       false,
		"[" + wide(maxShape, `"z":1`) + "," + wide(maxShape, `"kx":1`) + "]":     false,
		"[" + wide(maxShape-1, `"z":1`) + "," + wide(maxShape-1, `"kx":1`) + "]": false,
	} {
		for cut := range len(text) {
			if Valid([]byte(text[:cut])) { // and nothing is read beyond the end
				t.Errorf("%.120s, cut at %d, is taken", text, cut)
			}
		}
		if got := Valid([]byte(text)); got != want {
			t.Errorf("%.120s: %v", text, got)
		}
	}
}
