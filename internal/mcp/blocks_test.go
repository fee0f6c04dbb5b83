package mcp

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// plainEnd walks over ASCII characters and escapes of one letter one by one, to the first that is something else or has
// not come whole.
func plainEnd(buf []byte) (at int, escaped bool) {
	for at < len(buf) {
		switch c := buf[at]; {
		case c == '\\':
			if at+1 == len(buf) || bytes.IndexByte([]byte(`"\/bfnrt`), buf[at+1]) < 0 {
				return at, escaped
			}
			escaped = true
			at += 2
		case c == '"' || c < 0x20 || c > 0x7e && c != 0x7f:
			return at, escaped
		default:
			at++
		}
	}
	return at, escaped
}

// checkBlocks holds what blocks does with a buffer against what it promises.
func checkBlocks(t *testing.T, buf []byte) {
	t.Helper()
	moved, escaped := blocks(buf)
	end, some := plainEnd(buf[:moved])
	if end != moved || some != escaped && !(moved%blockSize != 0 && buf[moved] == '\\') {
		t.Fatalf("%q: moved %d, which is plain up to %d; escaped %t, want %t", buf, moved, end, escaped, some)
	}
	if moved%blockSize != 0 && (moved%blockSize != blockSize-1 || buf[moved] != '\\') {
		t.Fatalf("%q: moved %d, which is no end of a step", buf, moved)
	}
	at, some := ordinary(buf, 0)
	want, _ := plainEnd(buf)
	if at > want || want-at >= 8 && at+8 <= len(buf) && buf[at] != '\\' || some != bytes.Contains(buf[:at], []byte{'\\'}) {
		t.Fatalf("%q: ordinary up to %d, plain up to %d, escaped %t", buf, at, want, some)
	}
}

// Every byte, alone and behind a backslash, at every place of three steps.
func TestBlocksStopAtEveryPlace(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte("The answer, in plain words; ~100\x7f.\\n"), 7)[:3*blockSize]
	for at := range len(plain) {
		for c := range 256 {
			buf := bytes.Clone(plain)
			buf[at] = byte(c)
			checkBlocks(t, buf)
			if at > 0 {
				buf[at-1] = '\\'
				checkBlocks(t, buf)
			}
		}
	}
}

// Strings of what is dangerous next to each other, at every length.
func TestStringsLikeTheLibrary(t *testing.T) {
	t.Parallel()
	pieces := []string{`\\`, `\"`, `\n`, `\/`, `\u00e4`, `é`, `"`, `\`, "\x1f", "\xff", "plain text, of some length", "x", "日本"}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		buf := []byte(`{"jsonrpc":"2.0","method":"a","params":{"k":"`)
		plain := r.IntN(40)
		for range r.IntN(30) {
			i := r.IntN(len(pieces))
			if r.IntN(40) < plain { // some of them without faults
				i = r.IntN(6)
			}
			buf = append(buf, pieces[i]...)
		}
		buf = append(buf, `"}}`...)
		_, err := Decode(buf, Limits{})
		if valid := json.Valid(buf) && !bytes.Contains(buf, []byte("\xff")); (err == nil) != valid {
			var m map[string]any
			if json.Unmarshal(buf, &m) == nil && valid && len(m) != 3 { // a piece ended the string, and what follows is more than a message has
				continue
			}
			t.Fatalf("%s: valid %t, decoded with %v", buf, valid, err)
		}
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add([]byte(`a \"quoted\" word`), 70)
	f.Add([]byte(`C:\\dir\\file`), 1)
	f.Fuzz(func(t *testing.T, piece []byte, times int) {
		if times < 0 || times > 300 || len(piece) > 300 {
			return
		}
		checkBlocks(t, bytes.Repeat(piece, times))
	})
}
