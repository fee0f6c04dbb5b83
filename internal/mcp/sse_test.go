package mcp

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestSSEReader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"line feeds", "data: a\n\ndata: b\n\n", "|a|;|b|"},
		{"carriage returns", "data: a\r\rdata: b\r\r", "|a|;|b|"},
		{"both", "data: a\r\n\r\ndata: b\r\n\r\n", "|a|;|b|"},
		{"data on several lines", "data: {\ndata: }\n\n", "|{\n}|"},
		{"no space", "data:a\n\n", "|a|"},
		{"two spaces", "data:  a\n\n", "| a|"},
		{"comments", ": x\n\n:y\ndata: a\n\n", "|a|"},
		{"id stays", "id: 1\ndata: a\n\ndata: b\n\n", "1|a|;1|b|"},
		{"id with NUL is ignored", "id: 1\x00\ndata: a\n\n", "|a|"},
		{"priming", "id: 7\nretry: 1500\ndata: \n\n", "7||1.5s"},
		{"id alone", "id: 7\n\n", "7||"},
		{"bad retry", "retry: 1x\ndata: a\n\n", "|a|"},
		{"byte order mark", "\xef\xbb\xbfdata: a\n\n", "|a|"},
		{"unfinished", "data: a\n\ndata: b\n", "|a|"},
		{"unknown fields", "datax: a\nfoo\ndata: b\n\n", "|b|"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := NewSSEReader(iotest.HalfReader(strings.NewReader(tc.in)), 100)
			var got []string
			for {
				e, err := r.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				retry := ""
				if e.Retry > 0 {
					retry = e.Retry.String()
				}
				got = append(got, e.ID+"|"+string(e.Data)+"|"+retry)
			}
			if s := strings.Join(got, ";"); s != tc.want {
				t.Errorf("got %q, want %q", s, tc.want)
			}
		})
	}
}

func TestSSEReaderIsBounded(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"one long line":   "data: " + strings.Repeat("x", 200_000) + "\n\n",
		"many data lines": strings.Repeat("data: 0123456789\n", 10_000) + "\n",
		"no line end":     strings.Repeat("x", 200_000),
	} {
		r := NewSSEReader(strings.NewReader(in), 50_000)
		if _, err := r.Next(); !errors.Is(err, ErrEventTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.Next(); !errors.Is(err, ErrEventTooLarge) {
			t.Errorf("%s, asked again: %v", name, err)
		}
		if cap(r.buf) > 150_000 {
			t.Errorf("%s: a buffer of %d bytes", name, cap(r.buf))
		}
	}
}

func TestSSEWritersReadBack(t *testing.T) {
	t.Parallel()
	var b []byte
	b = AppendComment(b, "keep-alive")
	b = AppendPriming(b, "s-0", 2*time.Second)
	b = AppendEvent(b, "s-1", []byte("{\r\n\"a\":\r1,\n\"b\":2}"))
	b = AppendEvent(b, "", []byte(`{}`))
	r := NewSSEReader(bytes.NewReader(b), 1000)
	for _, want := range []Event{
		{ID: "s-0", Retry: 2 * time.Second},
		{ID: "s-1", Data: []byte("{\n\"a\":\n1,\n\"b\":2}")},
		{ID: "s-1", Data: []byte(`{}`)},
	} {
		e, err := r.Next()
		if err != nil || e.ID != want.ID || e.Retry != want.Retry || !bytes.Equal(e.Data, want.Data) {
			t.Errorf("got %+v (%q), want %+v, %v", e, e.Data, want, err)
		}
	}
}
