package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"30s": 30 * time.Second, "90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "0s": 0,
	} {
		got, err := parseDuration(in)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
		if again, err := parseDuration(formatDuration(got)); err != nil || again != got {
			t.Errorf("%s is written as %s", in, formatDuration(got))
		}
	}
	for _, in := range []string{"", "5", "d", "-1h", "1d-30h", "99999999999d", "1h1d", "soon", "106751d25h"} {
		if d, err := parseDuration(in); err == nil {
			t.Errorf("%q is taken for %v", in, d)
		}
	}
}

func TestByteSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]ByteSize{"10": 10, "4MiB": 4 << 20, "1 GiB": 1 << 30, "3KiB": 3 << 10} {
		if got, err := parseByteSize(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-1", "MiB", "4MB", "1e3"} {
		if got, err := parseByteSize(in); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Origin{
		"https://Example.COM": "https://example.com", "https://a:443": "https://a", "http://a:80": "http://a",
		"http://[::1]:8080": "http://[::1]:8080", "https://a:80": "https://a:80",
	} {
		if got, err := parseOrigin(in); err != nil || got != want {
			t.Errorf("%s: %v, %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", "*", "null", "a", "ftp://a", "https://", "https://a/", "https://a?x", "https://a#", "https://a?", "https://u@a",
		"https://*.a", "https://a:0", "https://a:99999", "https://a:", "https://:80", "https:a",
	} {
		if got, err := parseOrigin(in); err == nil {
			t.Errorf("%q is taken for %v", in, got)
		}
	}
}

func TestClosest(t *testing.T) {
	t.Parallel()
	known := []string{"file", "env", "allowed_audience", "targets"}
	for in, want := range map[string]string{
		"fiel": "file", "enc": "env", "allowedAudience": "allowed_audience", "allowed_audiences": "allowed_audience",
		"target": "targets", "a": "", "xyz": "", "": "",
	} {
		if got := closest(in, known); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// TestColonInFlowStyle: a colon divides key and value only with a space behind it.
func TestColonInFlowStyle(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]any{
		"a: {b: [mcp:tools, http://localhost:3334/cb, x:1, a:b:c]}": []any{"mcp:tools", "http://localhost:3334/cb", "x:1", "a:b:c"},
		"a: {b: [q: r]}":          []any{map[string]any{"q": "r"}},
		"a: {b: [{\"q\":\"r\"}]}": []any{map[string]any{"q": "r"}},
		"a: {b: ['q':r]}":         []any{map[string]any{"q": "r"}},
		"a:\n  b:\n    - q: r":    []any{map[string]any{"q": "r"}},
		"a:\n  b:\n    - q:r":     []any{"q:r"},
	} {
		r := &report{}
		n := parseDocument("f", "", []byte(in), r)
		if n == nil || len(r.faults) > 0 {
			t.Errorf("%s: %v", in, finish(r.faults))
			continue
		}
		same(t, in, n.get("a").get("b").plain(), want)
	}
}

// FuzzParse: whatever the file holds, parsing ends in a configuration or in faults that say something.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/faults/*.yaml", "testdata/good/*.yaml", "testdata/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("<<: {a: b}\n"))
	f.Add([]byte("master_key: !!binary |\n  aGVsbG8=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, Options{File: "f", Getenv: testEnv})
		faults, isFaults := err.(Faults)
		switch {
		case err == nil && c == nil, err != nil && (!isFaults || len(faults) == 0):
			t.Fatalf("neither configuration nor faults: %v", err)
		case err == nil:
			Format(c.Warnings)
		default:
			Format(faults)
		}
	})
}
