package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestReadCallgrind(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "out.1")
	text := `# callgrind format
pid: 1375
positions: line
events: Ir
summary: 0

fl=/a.go
fn=main.a
487 327
fi=/inlined.go
488 3
cfn=main.b
calls=109 18
520 3803
521 70
fn=main.b'2
1 11
fn=main.b
1 5
fn=crypto/internal/fips140/sha256.blockAVX2.abi0
9 100000

totals: 100416
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readCallgrind(file)
	want := map[string]int64{"main.a": 400, "main.b": 16}
	if err != nil || !maps.Equal(got, want) {
		t.Fatalf("got %v, %v, want %v", got, err, want)
	}
}
