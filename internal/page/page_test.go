package page

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func render(t *testing.T, name string, data any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := Render(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), http.StatusTeapot, name, data); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRender(t *testing.T) {
	t.Parallel()
	w := render(t, "message", Message{Title: "Hello <b>", Text: "Text", LinkText: "On", LinkPath: "/x"})
	if w.Code != http.StatusTeapot || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, want := range []string{`<html lang="en">`, `name="viewport"`, `<title>Hello &lt;b&gt; · Gatehouse</title>`, `href="#main"`, `<main id="main"`, `href="/x"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestRenderWritesNothingOnError(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]any{"nonsense": nil, "layout": nil, "message": struct{}{}} {
		w := httptest.NewRecorder()
		if err := Render(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), 200, name, data); err == nil || w.Body.Len() > 0 || len(w.Header()) > 0 {
			t.Errorf("%s: %v, %q", name, err, w.Body)
		}
	}
}

func TestChecklist27_Headers(t *testing.T) {
	t.Parallel()
	h := render(t, "message", Message{}).Header()
	for name, want := range map[string]string{
		"Content-Security-Policy":    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
		"Cache-Control":              "no-store",
		"X-Content-Type-Options":     "nosniff",
		"Referrer-Policy":            "same-origin",
		"Cross-Origin-Opener-Policy": "same-origin",
		"X-Frame-Options":            "DENY",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
}

func TestChecklist28_NoFormActionWhereTheFlowLeavesUs(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"consent", "signin", "signout", "device", "device_consent"} {
		h := http.Header{}
		setHeaders(h, fenceOf(name))
		if csp := h.Get("Content-Security-Policy"); strings.Contains(csp, "form-action") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s: %q", name, csp)
		}
		if h.Get("Cross-Origin-Opener-Policy") != "" {
			t.Errorf("%s: cuts off the window that opened the flow", name)
		}
	}
}

// Whatever would break the content policy, or need the outside, may not get into a template.
func TestChecklist27_TemplatesHaveNothingInline(t *testing.T) {
	t.Parallel()
	forbidden := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(\s+defer)?\s*>|(src|href)="(https?:)?//|javascript:`)
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := templateFiles.ReadFile("templates/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(text); found != nil {
			t.Errorf("%s: %s", f.Name(), found)
		}
	}
}

func TestStatic(t *testing.T) {
	t.Parallel()
	for name, contentType := range map[string]string{
		"gatehouse.css": "text/css; charset=utf-8", "passkey.js": "text/javascript; charset=utf-8", "mark.svg": "image/svg+xml",
	} {
		p, err := assetPath(name)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		Static().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, p, nil))
		if w.Code != 200 || w.Header().Get("Content-Type") != contentType || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Body.Len() == 0 {
			t.Errorf("%s: %d %v", p, w.Code, w.Header())
		}
	}
	for _, p := range []string{"/static/", "/static/gatehouse.css", "/static/../page.go", "/static/mark.0000000000000000.svg"} {
		w := httptest.NewRecorder()
		Static().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, p, nil))
		if w.Code != 404 {
			t.Errorf("%s: %d", p, w.Code)
		}
	}
}

func TestHandlerHidesCauses(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		err    error
		status int
		text   string
	}{
		{errors.New("inner secret"), 500, "Something went wrong here"},
		{&Failure{Status: 403, Title: "No", Text: "Because", Cause: errors.New("inner secret")}, 403, "Because"},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("X-Request-Id", "abc")
		Handler(log, func(http.ResponseWriter, *http.Request) error { return tt.err }).
			ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
		body := w.Body.String()
		if w.Code != tt.status || !strings.Contains(body, tt.text) || strings.Contains(body, "inner secret") || !strings.Contains(body, "Request abc") {
			t.Errorf("%v: %d %s", tt.err, w.Code, body)
		}
	}
}
