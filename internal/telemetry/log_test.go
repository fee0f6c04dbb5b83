package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"gatehouse/internal/secret"
)

const (
	canary = "c4n4ryc4n4ryc4n4ry"
	jwt    = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
)

func logger(t *testing.T, o LogOptions) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	var b bytes.Buffer
	o.Writer = &b
	l, err := NewLogger(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, &b
}

func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	attrs := []any{
		"authorization", canary, "Cookie", canary, "Set-Cookie", canary, "access_token", canary, "refresh_token", canary,
		"client_secret", canary, "password", canary, "new_password", canary, "code", canary, "code_verifier", canary, "arguments", canary,
		slog.Group("token", "value", canary),
		"headers", http.Header{"X": {canary}}, "form", url.Values{"x": {canary}},
		"url", &url.URL{Scheme: "https", User: url.UserPassword("u", canary), Host: "h"},
		"error", errors.New("dial: Bearer " + canary + " refused"), "text", "got basic " + canary, "jwt", "token was " + jwt,
		"wrapped", secret.New(canary),
	}
	for _, format := range []string{FormatJSON, FormatText} {
		l, b := logger(t, LogOptions{Format: format})
		l.Info("request "+jwt, attrs...)
		l.With(attrs...).WithGroup("g").Info("request", attrs...)
		if out := b.String(); strings.Contains(out, canary) || strings.Contains(out, "eyJ") {
			t.Errorf("%s: a secret is in %s", format, out)
		}
	}
}

func TestOrdinaryValuesStay(t *testing.T) {
	t.Parallel()
	l, b := logger(t, LogOptions{Format: FormatJSON, RequestID: func(context.Context) string { return "r1" }})
	l.Info("request", "status", 200, "error_code", "invalid_grant", "reason", "the bearer token has expired", "error", errors.New("read x: no such file"))
	var m map[string]any
	if err := json.Unmarshal(b.Bytes(), &m); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"msg": "request", "status": 200.0, "error_code": "invalid_grant", "error": "read x: no such file", "request_id": "r1", "level": "INFO"} {
		if m[key] != want {
			t.Errorf("%s is %v, want %v", key, m[key], want)
		}
	}
}

func TestTextIsForPeople(t *testing.T) {
	t.Parallel()
	l, b := logger(t, LogOptions{Format: FormatText, RequestID: func(context.Context) string { return "" }})
	l.With("a", 1).Warn("two\nlines", "b", "x y")
	_, rest, _ := strings.Cut(b.String(), " ")
	if want := "WARN  two lines                    a=1 b=\"x y\"\n"; rest != want {
		t.Errorf("%q, want %q", rest, want)
	}
	l.Debug("not shown")
	if strings.Contains(b.String(), "not shown") || strings.Contains(b.String(), "\x1b") {
		t.Errorf("%q", b.String())
	}
}

func TestColourByLevel(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	l := slog.New(newTextHandler(&b, slog.LevelDebug, true))
	l.Debug("d")
	l.Info("i")
	l.Warn("w")
	l.Error("e")
	for _, want := range []string{"\x1b[90mDEBUG\x1b[0m", "\x1b[32mINFO \x1b[0m", "\x1b[33mWARN \x1b[0m", "\x1b[31mERROR\x1b[0m"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q has no %q", b.String(), want)
		}
	}
}

func TestAutoIsJSONWithoutATerminal(t *testing.T) {
	t.Parallel()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := NewLogger(LogOptions{Writer: f})
	if err != nil {
		t.Fatal(err)
	}
	l.Info("x")
	if b, _ := os.ReadFile(f.Name()); !json.Valid(b) {
		t.Errorf("%q", b)
	}
}

func TestFaultySettings(t *testing.T) {
	t.Parallel()
	if _, err := NewLogger(LogOptions{Writer: &bytes.Buffer{}, Format: "xml"}); err == nil || !strings.Contains(err.Error(), "auto, json or text") {
		t.Error(err)
	}
}

// FuzzTokensStayOut holds the cheap question against the expensive one.
func FuzzTokensStayOut(f *testing.F) {
	for _, s := range []string{"Bearer abcdefghij", "x BASIC\tdXNlcjpwYXNz", "dpop \n abcdefgh12", "bearer", "no tokens here at all", jwt} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if tokenShape.MatchString(s) && !tokenMayBeIn(s) {
			t.Errorf("%q is not looked at", s)
		}
	})
}

// BenchmarkRecord writes the record of a request that was refused.
func BenchmarkRecord(b *testing.B) {
	l, err := NewLogger(LogOptions{Writer: io.Discard, Format: FormatJSON, RequestID: func(context.Context) string { return "0123456789abcdef0123456789abcdef" }})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.LogAttrs(b.Context(), slog.LevelInfo, "request",
			slog.String("method", "POST"), slog.String("route", "/mcp"), slog.Int("status", 401), slog.Float64("duration_ms", 0.123),
			slog.Int64("bytes", 170), slog.String("client_ip", "127.0.0.1"), slog.String("endpoint", "/mcp"),
			slog.String("auth_refused", "bad_signature"), slog.String("auth_detail", `bad_signature: the signature is not that of key "key-1"`),
			slog.String("reason", "bad_signature"))
	}
}
