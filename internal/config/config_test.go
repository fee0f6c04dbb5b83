package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

const (
	testKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" // 0123456789abcdef0123456789abcdef
	hexKey  = "6665646362613938373635343332313066656463626139383736353433323130"
)

func testEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"MASTER_KEY": testKey, "OLD_MASTER_KEY": hexKey, "SHORT_KEY": "c2hvcnQ=", "SOME_SECRET": "a-secret-from-env",
		"EMPTY": "",
	}[name]
	return v, ok
}

func parseFile(t *testing.T, path string) (*Config, error) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(data, Options{File: filepath.Base(path), Dir: filepath.Dir(path), Getenv: testEnv})
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run the test with -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs; read it, then run with -update when it is right\n got:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestFaults: each file is named after what is wrong in it.
func TestFaults(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			_, err := parseFile(t, file)
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("no faults: %v", err)
			}
			for _, f := range faults {
				if f.Line == 0 || f.Hint == "" {
					t.Errorf("no place or no hint: %+v", f)
				}
			}
			got := Format(faults)
			if strings.Contains(got, "hunter2") || strings.Contains(faults.Error(), "hunter2") {
				t.Errorf("shows a secret:\n%s", got)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".golden", got)
		})
	}
}

// TestByteOrderMark: editors on Windows put one before the first key.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	text := "master_key: {env: MASTER_KEY}\r\ntargets:\r\n  demo: {demo: true}\r\nendpoints:\r\n  /mcp: {issuers: [gatehouse], access: any_signed_in, targets: [demo]}\r\n"
	if _, err := Parse([]byte("\ufeff"+text), Options{File: "windows.yaml", Getenv: testEnv}); err != nil {
		t.Error(err)
	}
}
