package mcp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func sample1KB() []byte {
	return []byte(`{"jsonrpc":"2.0","id":12,"method":"tools/call","params":{"name":"github___search","arguments":{"query":"` +
		strings.Repeat("some words to look for, ", 38) + `","limit":20,"tags":["a","b"],"exact":true},"_meta":{"progressToken":12}}}`)
}

func sampleRows(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":12,"result":{"structuredContent":{"rows":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"id":%d,"name":"row %d","price":%d.25,"ok":true,"tags":["x","y"]}`, i, i, i*3)
	}
	b.WriteString(`]},"content":[]}}`)
	return b.Bytes()
}

func BenchmarkDecode(b *testing.B) {
	text100 := []byte(`{"jsonrpc":"2.0","id":12,"result":{"content":[{"type":"text","text":"` + strings.Repeat(`Some words, \"quoted\", and more of them up to the end of the line.\n`, 1400) + `"}]}}`)
	for name, in := range map[string][]byte{
		"1KB-text":   sample1KB(),
		"1KB-rows":   sampleRows(1000),
		"100KB-text": text100,
		"100KB-rows": sampleRows(100_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, err := Decode(in, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkForward(b *testing.B) {
	in := sample1KB()
	out := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		m, err := Decode(in, Limits{})
		if err != nil {
			b.Fatal(err)
		}
		out = m.AppendRequest(out[:0], []byte("77"), Edit{Name: "search", ProgressToken: []byte("77")})
	}
}

func BenchmarkSSEReader(b *testing.B) {
	event := AppendEvent(nil, "1", sample1KB())
	b.ReportAllocs()
	for b.Loop() {
		r := NewSSEReader(bytes.NewReader(event), 1<<20)
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
