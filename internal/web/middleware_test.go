package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logTo returns a logger into b without the parts that change from run to run.
func logTo(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "stack" {
			return slog.Attr{}
		}
		return a
	}}))
}

func fixedNow() time.Time { return time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC) }

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func origins(t *testing.T, list ...string) Origins {
	t.Helper()
	o, err := ParseOrigins(list...)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

var teapot = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

func TestRequestIDIsFreshAndReturned(t *testing.T) {
	t.Parallel()
	var seen []string
	h := WithRequestID(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = append(seen, RequestID(r.Context())) }))
	for range 2 {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("X-Request-Id", "chosen-by-the-client")
		if got := do(h, r).Header().Get("X-Request-Id"); got != seen[len(seen)-1] || len(got) != 32 {
			t.Errorf("header %q, context %q", got, seen)
		}
	}
	if seen[0] == seen[1] || RequestID(context.Background()) != "" {
		t.Errorf("ids %v", seen)
	}
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	proxies := Proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}
	for name, tc := range map[string]struct {
		peer, forwarded, want string
	}{
		"no proxy":                  {"192.0.2.1:5", "", "192.0.2.1"},
		"header from a stranger":    {"192.0.2.1:5", "198.51.100.9", "192.0.2.1"},
		"one proxy":                 {"10.1.2.3:5", "198.51.100.9", "198.51.100.9"},
		"client's own entry":        {"10.1.2.3:5", "203.0.113.66, 198.51.100.9", "198.51.100.9"},
		"two proxies":               {"10.1.2.3:5", "203.0.113.66, 198.51.100.9, 10.9.9.9", "198.51.100.9"},
		"proxies only":              {"10.1.2.3:5", "10.9.9.9", "10.9.9.9"},
		"rubbish":                   {"10.1.2.3:5", "198.51.100.9, unknown", "10.1.2.3"},
		"empty":                     {"10.1.2.3:5", "", "10.1.2.3"},
		"mapped peer, IPv6 client":  {"[::ffff:10.1.2.3]:5", "2001:db8:5::7", "2001:db8:5::7"},
		"IPv6 proxy, mapped client": {"[2001:db8::1]:5", "::ffff:198.51.100.9", "198.51.100.9"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tc.peer
		r.Header.Set("X-Forwarded-For", tc.forwarded)
		var got string
		do(Chain(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = ClientIP(r).String() }), WithRequestID, WithClientIP(proxies)), r)
		if got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestProxyOnly(t *testing.T) {
	t.Parallel()
	h := ProxyOnly(Proxies{netip.MustParsePrefix("10.0.0.0/8")})(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for peer, want := range map[string]int{
		"10.1.2.3:5": 200, "[::ffff:10.1.2.3]:5": 200, "192.0.2.1:5": 403, "127.0.0.1:5": 403, "rubbish": 403,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", "10.1.2.3")
		if got := do(h, r); got.Code != want {
			t.Errorf("peer %s: %d, want %d", peer, got.Code, want)
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("198.51.100.9, 10.0.0.1")
	f.Add(",,")
	f.Add("fe80::1%eth0")
	f.Fuzz(func(t *testing.T, header string) {
		p := Proxies{netip.MustParsePrefix("10.0.0.0/8")}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "192.0.2.1:1"
		if got := p.client(peerIP(r), []string{header}); got.String() != "192.0.2.1" {
			t.Errorf("a stranger became %s", got)
		}
		r.RemoteAddr = "10.0.0.1:1"
		if !p.client(peerIP(r), []string{header}).IsValid() {
			t.Error("no address")
		}
	})
}

func TestChecklist53_ForwardingHeadersFromOutsideCountForNothing(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	var id, ip string
	h := Chain(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { id, ip = RequestID(r.Context()), ClientIP(r).String() }),
		WithRequestID, WithClientIP(Proxies{}), Record(logTo(&logged), fixedNow, nil), HostCheck([]string{"tools.acme.example"}))
	r := httptest.NewRequest("GET", "https://tools.acme.example/", nil)
	r.RemoteAddr = "127.0.0.1:999"
	for name, value := range map[string]string{
		"X-Forwarded-For": "198.51.100.1", "X-Real-Ip": "198.51.100.2", "Forwarded": "for=198.51.100.3;host=evil.example", "X-Forwarded-Host": "evil.example",
		"X-Forwarded-Proto": "gopher", "X-Forwarded-User": "admin", "X-Request-Id": "forged",
	} {
		r.Header.Set(name, value)
	}
	if w := do(h, r); w.Code != 200 || ip != "127.0.0.1" || id == "forged" {
		t.Errorf("status %d, client %s, id %s", w.Code, ip, id)
	}
	for _, word := range []string{"198.51.100", "evil", "admin", "forged", "gopher"} {
		if strings.Contains(logged.String(), word) {
			t.Errorf("%q is in the log: %s", word, logged.String())
		}
	}
	r.Host = "evil.example"
	r.Header.Set("X-Forwarded-Host", "tools.acme.example")
	if w := do(h, r); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("X-Forwarded-Host opened the host check: %d", w.Code)
	}
}

func TestChecklist52_HostAndOriginAndContentType(t *testing.T) {
	t.Parallel()
	public, _ := url.Parse("http://localhost:8080")
	own := OwnOrigins(public, "127.0.0.1:8080")
	jsonOnly := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !IsJSON(r.Header) {
			w.WriteHeader(http.StatusUnsupportedMediaType)
			return
		}
		teapot.ServeHTTP(w, r)
	})
	api := Chain(jsonOnly, WithRequestID, HostCheck(OwnHosts(public, "127.0.0.1:8080")), CORS(origins(t, append(own, "https://inspector.example")...)))
	for name, tc := range map[string]struct {
		host, origin, contentType string
		want                      int
	}{
		"public name":        {"localhost:8080", "", "application/json", 418},
		"other port":         {"LOCALHOST.:9999", "", "application/json", 418},
		"loopback address":   {"127.0.0.1:8080", "", "application/json; charset=utf-8", 418},
		"IPv6 loopback":      {"[::1]:8080", "", "application/json", 418},
		"rebound name":       {"evil.example:8080", "", "application/json", 421},
		"rebound name alone": {"evil.example", "", "application/json", 421},
		"suffix trick":       {"localhost.evil.example", "", "application/json", 421},
		"no host":            {"", "", "application/json", 421},
		"own origin":         {"localhost:8080", "http://localhost:8080", "application/json", 418},
		"own other name":     {"127.0.0.1:8080", "http://127.0.0.1:8080", "application/json", 418},
		"allowed origin":     {"localhost:8080", "https://inspector.example", "application/json", 418},
		"foreign origin":     {"localhost:8080", "https://evil.example", "application/json", 403},
		"other scheme":       {"localhost:8080", "http://inspector.example", "application/json", 403},
		"prefix trick":       {"localhost:8080", "https://inspector.example.evil.example", "application/json", 403},
		"null":               {"localhost:8080", "null", "application/json", 403},
		"form":               {"localhost:8080", "", "application/x-www-form-urlencoded", 415},
		"text":               {"localhost:8080", "", "text/plain", 415},
		"lookalike":          {"localhost:8080", "", "application/jsonp", 415},
		"no type":            {"localhost:8080", "", "", 415},
	} {
		r := httptest.NewRequest("POST", "/mcp", strings.NewReader("{}"))
		r.Host = tc.host
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		if tc.contentType != "" {
			r.Header.Set("Content-Type", tc.contentType)
		}
		if w := do(api, r); w.Code != tc.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, tc.want, w.Body)
		}
	}
	twice := httptest.NewRequest("POST", "http://localhost:8080/mcp", nil)
	twice.Header["Origin"] = []string{"http://localhost:8080", "https://evil.example"}
	if w := do(api, twice); w.Code != 403 {
		t.Errorf("two origins: %d", w.Code)
	}
}

func TestCORSOpensToAllowedOriginsOnly(t *testing.T) {
	t.Parallel()
	h := CORS(origins(t, "https://tools.acme.example"))(teapot)
	for origin, want := range map[string]struct {
		status int
		open   string
	}{
		"":                           {418, ""},
		"https://tools.acme.example": {418, "https://tools.acme.example"},
		"https://other.acme.example": {403, ""},
		"null":                       {403, ""},
	} {
		r := httptest.NewRequest("POST", "/mcp", nil)
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := do(h, r)
		if w.Code != want.status || w.Header().Get("Access-Control-Allow-Origin") != want.open {
			t.Errorf("%q: %d, want %d, headers %v", origin, w.Code, want.status, w.Header())
		}
	}
}

func TestChecklist58_CORS(t *testing.T) {
	t.Parallel()
	h := CORS(origins(t, "https://inspector.example"))(teapot)
	preflight := func(origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("OPTIONS", "/mcp", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,mcp-protocol-version,Mcp-Param-Region,x-other,mcp-\r\nevil")
		return do(h, r)
	}
	w := preflight("https://inspector.example")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "https://inspector.example",
		"Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
		"Access-Control-Allow-Headers": "accept, authorization, content-type, dpop, last-event-id, mcp-protocol-version, mcp-param-region",
		"Vary":                         "Origin",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if w.Code != 204 {
		t.Errorf("preflight: %d", w.Code)
	}
	if w := preflight("https://evil.example"); w.Code != 403 || w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("foreign preflight: %d %v", w.Code, w.Header())
	}
	r := httptest.NewRequest("POST", "/mcp", nil)
	r.Header.Set("Origin", "https://inspector.example")
	exposed := do(h, r).Header().Get("Access-Control-Expose-Headers")
	if !strings.Contains(exposed, "WWW-Authenticate") || !strings.Contains(exposed, "Mcp-Session-Id") {
		t.Errorf("exposed: %q", exposed)
	}

	public := PublicCORS(teapot)
	r.Header.Set("Origin", "https://anybody.example")
	if w := do(public, r); w.Code != 418 || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("public document: %d %v", w.Code, w.Header())
	}
	for _, h := range []http.Handler{h, public} {
		for _, origin := range []string{"", "https://inspector.example"} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Origin", origin)
			if got := do(h, r).Header().Get("Access-Control-Allow-Credentials"); got != "" {
				t.Errorf("credentials allowed: %q", got)
			}
		}
	}
}

func TestParseOrigins(t *testing.T) {
	t.Parallel()
	o := origins(t, "HTTPS://Inspector.Example:443/", "http://localhost:6274", "vscode-webview://abc")
	for _, want := range []string{"https://inspector.example", "http://localhost:6274", "vscode-webview://abc"} {
		if !o.Has(want) {
			t.Errorf("%s is missing in %v", want, o.set)
		}
	}
	for _, bad := range []string{"*", "https://*.example", "inspector.example", "https://", "https://a.example/path", "https://u@a.example", "https://a.example?x", "null", ""} {
		if _, err := ParseOrigins(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestOwnNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ public, listen, hosts, origins string }{
		{"http://localhost:8080", "localhost:8080", "[localhost:8080 localhost 127.0.0.1 ::1]", "[http://localhost:8080 http://localhost:8080 http://127.0.0.1:8080 http://[::1]:8080]"},
		{"https://tools.acme.example", ":8443", "[tools.acme.example]", "[https://tools.acme.example]"},
		{"https://tools.acme.example", "0.0.0.0:8443", "[tools.acme.example]", "[https://tools.acme.example]"},
		{"https://tools.acme.example", "10.0.0.5:8443", "[tools.acme.example 10.0.0.5]", "[https://tools.acme.example]"},
	} {
		u, _ := url.Parse(tc.public)
		if got := fmt.Sprint(OwnHosts(u, tc.listen)); got != tc.hosts {
			t.Errorf("hosts of %s: %s", tc.listen, got)
		}
		if got := fmt.Sprint(OwnOrigins(u, tc.listen)); got != tc.origins {
			t.Errorf("origins of %s: %s", tc.listen, got)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	w := do(SecurityHeaders(true)(teapot), httptest.NewRequest("GET", "/", nil))
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cache-Control": "no-store", "Strict-Transport-Security": "max-age=31536000",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if w := do(SecurityHeaders(false)(teapot), httptest.NewRequest("GET", "/", nil)); w.Header().Get("Strict-Transport-Security") != "" {
		t.Error("HSTS without https")
	}
}

func TestErrorsAreMapped(t *testing.T) {
	t.Parallel()
	canary := errors.New("canary: password of the database is hunter2")
	for name, tc := range map[string]struct {
		err    error
		status int
		body   string
		retry  string
	}{
		"own":      {&Error{Status: 400, Code: "invalid_request", Message: "name is missing"}, 400, `"error":"invalid_request","error_description":"name is missing"`, ""},
		"wrapped":  {fmt.Errorf("register client: %w", &Error{Status: 409, Code: "exists", Message: "exists", Cause: canary}), 409, `"error":"exists"`, ""},
		"unmapped": {canary, 500, `"error":"internal_error","error_description":"internal error"`, ""},
		"too many": {TooMany(1500 * time.Millisecond), 429, `"error":"too_many_requests"`, "2"},
	} {
		var logged bytes.Buffer
		h := Chain(HandlerFunc(func(http.ResponseWriter, *http.Request) error { return tc.err }), WithRequestID, Record(logTo(&logged), fixedNow, nil))
		w := do(h, httptest.NewRequest("GET", "/", nil))
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.body) || w.Header().Get("Retry-After") != tc.retry {
			t.Errorf("%s: %d %s %v", name, w.Code, w.Body, w.Header())
		}
		if strings.Contains(w.Body.String(), "canary") || !strings.Contains(w.Body.String(), w.Header().Get("X-Request-Id")) {
			t.Errorf("%s: body %s", name, w.Body)
		}
		if errors.Is(tc.err, canary) && !strings.Contains(logged.String(), "canary") {
			t.Errorf("%s: the cause is not in the log: %s", name, logged.String())
		}
	}
}

func TestErrorsAreJSON(t *testing.T) {
	t.Parallel()
	const odd = "a \"b\" \\ c\n\x00<ü>\u2028\xff"
	r := httptest.NewRequest("GET", "/", nil)
	w := httptest.NewRecorder()
	WriteError(w, r, &Error{Status: 400, Code: odd, Reason: odd, Message: odd})
	var got map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("%v: %q", err, w.Body)
	}
	want := strings.ToValidUTF8(odd, "\ufffd")
	if got["error"] != want || got["error_description"] != want+" ("+want+")" || len(got) != 2 {
		t.Errorf("%q", got)
	}
	w = httptest.NewRecorder()
	WriteError(w, r, &Error{Status: 400, Code: "invalid_request"})
	if got := w.Body.String(); got != `{"error":"invalid_request"}`+"\n" {
		t.Errorf("%q", got)
	}
}

func TestHandlerWithItsOwnErrorPage(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, _ *http.Request, e *Error) {
		PrepareError(w, e)
		w.WriteHeader(e.Status)
		_, _ = io.WriteString(w, "<p>"+e.Message)
	}
	w := do(Handler(func(http.ResponseWriter, *http.Request) error { return errors.New("x") }, page), httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || w.Body.String() != "<p>internal error" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRecordIsOneLineWithWhatWasNoted(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	mux := http.NewServeMux()
	mux.Handle("GET /things/{id}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Note(r.Context(), "person", "first")
		Note(r.Context(), "person", "ada")
		_, _ = io.WriteString(w, "hello")
	}))
	h := Chain(mux, WithRequestID, WithClientIP(Proxies{}), Record(logTo(&logged), fixedNow, nil), Recover(logTo(&logged)))
	do(h, httptest.NewRequest("GET", "/things/7?code=secret", nil))
	want := `level=INFO msg=request method=GET route="GET /things/{id}" status=200 duration_ms=0 bytes=5 client_ip=192.0.2.1 person=ada` + "\n"
	if logged.String() != want {
		t.Errorf("got  %swant %s", logged.String(), want)
	}
	Note(context.Background(), "outside", "of a request") // must not panic
}

func TestPanics(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		status  int // 0: the connection is cut
		log     string
	}{
		"before the answer": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Leak", "1"); panic("boom") }, 500, "panic=boom"},
		"in the answer":     {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("boom") }, 0, "panic=boom"},
		"abort":             {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0, "aborted=true"},
		"late error": {HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = io.WriteString(w, "half")
			return errors.New("boom")
		}).ServeHTTP, 0, "error=boom"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged lockedBuffer
			log := slog.New(slog.NewTextHandler(&logged, nil))
			s := httptest.NewServer(Chain(tc.handler, WithRequestID, Record(log, time.Now, nil), Recover(log)))
			defer s.Close()
			resp, err := s.Client().Get(s.URL)
			if err == nil {
				defer resp.Body.Close()
				var body []byte
				body, err = io.ReadAll(resp.Body)
				if tc.status != 0 && (resp.StatusCode != tc.status || resp.Header.Get("X-Leak") != "" || !bytes.Contains(body, []byte(resp.Header.Get("X-Request-Id")))) {
					t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
				}
			}
			if (err != nil) != (tc.status == 0) {
				t.Errorf("error %v, want status %d", err, tc.status)
			}
			s.Close()
			if !strings.Contains(logged.String(), tc.log) || strings.Count(logged.String(), "msg=request") != 1 {
				t.Errorf("log: %s", logged.String())
			}
		})
	}
}

func TestStreamingPassesTheMiddleware(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
			<-next
		}
	})
	log := slog.New(slog.DiscardHandler)
	s := httptest.NewServer(Chain(h, WithRequestID, Record(log, time.Now, nil), Recover(log), SecurityHeaders(false), LimitBody(10, time.Second)))
	defer s.Close()
	resp, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 64)
	for i := range 3 {
		n, err := resp.Body.Read(buf)
		if want := fmt.Sprintf("data: %d\n\n", i); string(buf[:n]) != want {
			t.Fatalf("%q %v, want %q", buf[:n], err, want)
		}
		next <- struct{}{}
	}
}

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	h := Chain(HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		_, err := io.ReadAll(r.Body)
		return err
	}), WithRequestID, LimitBody(100, time.Minute), LimitBody(10, time.Minute))
	for name, tc := range map[string]struct {
		body   string
		length int64
		want   int
	}{
		"fits":            {"0123456789", 10, 200},
		"declared":        {"0123456789a", 11, 413},
		"declared huge":   {"", 1 << 40, 413},
		"chunked":         {"0123456789a", -1, 413},
		"chunked, fits":   {"0123456789", -1, 200},
		"chunked, longer": {strings.Repeat("x", 1000), -1, 413},
	} {
		r := httptest.NewRequest("POST", "/", io.NopCloser(strings.NewReader(tc.body)))
		r.ContentLength = tc.length
		w := do(h, r)
		if w.Code != tc.want || w.Code == 413 && (!json.Valid(w.Body.Bytes()) || w.Header().Get("Connection") != "close") {
			t.Errorf("%s: %d, want %d: %v %s", name, w.Code, tc.want, w.Header(), w.Body)
		}
	}
}

func TestRateLimiter(t *testing.T) {
	t.Parallel()
	now := fixedNow()
	l := NewRateLimiter(RateOptions{Every: 10 * time.Second, Burst: 2, Keys: 2, Now: func() time.Time { return now }})
	allow := func(key string, want bool, wantWait time.Duration) {
		t.Helper()
		if ok, wait := l.Allow(key); ok != want || wait.Round(time.Millisecond) != wantWait {
			t.Errorf("%s: %v %v, want %v %v", key, ok, wait, want, wantWait)
		}
	}
	allow("a", true, 0)
	allow("a", true, 0)
	allow("a", false, 10*time.Second)
	allow("a", false, 10*time.Second) // a refused use costs nothing
	allow("b", true, 0)
	now = now.Add(4 * time.Second)
	allow("a", false, 6*time.Second)
	now = now.Add(6 * time.Second)
	allow("a", true, 0)
	allow("a", false, 10*time.Second)
	allow("c", true, 0) // b, not seen for longest, is forgotten
	if len(l.byKey) != 2 || l.byKey["b"] != nil || l.order.Len() != 2 {
		t.Errorf("keys %v", l.byKey)
	}
	allow("a", false, 10*time.Second)
}

func TestAddrKey(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64"} {
		if got := AddrKey(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	state := OK
	var logged bytes.Buffer
	health := NewHealth(
		Dependency{"database", func(context.Context) (State, string) { return OK, "" }},
		Dependency{"target secret-name", func(context.Context) (State, string) { return state, "connection refused" }},
	)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", health.Livez)
	mux.HandleFunc("GET /readyz", health.Readyz)
	mux.HandleFunc("GET /healthz", health.Healthz)
	h := Chain(mux, WithRequestID, Record(logTo(&logged), fixedNow, nil))
	get := func(path, peer, forwarded string) (int, string) {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", forwarded)
		w := do(h, r)
		return w.Code, w.Body.String()
	}
	const local, remote = "127.0.0.1:1", "192.0.2.1:1"
	for _, tc := range []struct {
		state                 State
		path, peer, forwarded string
		status                int
		body                  string
	}{
		{OK, "/livez", remote, "", 200, "ok\n"},
		{OK, "/readyz", remote, "", 200, "ok\n"},
		{Degraded, "/readyz", remote, "", 200, "degraded\n"},
		{Down, "/readyz", remote, "", 503, "down\n"},
		{Down, "/livez", remote, "", 200, "ok\n"},
		{Down, "/healthz", remote, "", 503, `{"status":"down"}` + "\n"},
		{Degraded, "/readyz?verbose", local, "", 200, "database: ok \ntarget secret-name: degraded connection refused\ndegraded\n"},
		{Degraded, "/readyz?verbose", remote, "", 200, "degraded\n"},
		{Degraded, "/readyz?verbose", local, "192.0.2.1", 200, "degraded\n"},
	} {
		state = tc.state
		if status, body := get(tc.path, tc.peer, tc.forwarded); status != tc.status || body != tc.body {
			t.Errorf("%s from %s while %s: %d %q", tc.path, tc.peer, tc.state, status, body)
		}
	}
	if strings.Count(logged.String(), "level=DEBUG") != strings.Count(logged.String(), "msg=request") {
		t.Errorf("probes fill the log: %s", logged.String())
	}
}

func TestHealthCheckHasADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		health := NewHealth(Dependency{"slow", func(ctx context.Context) (State, string) {
			<-ctx.Done()
			return Down, ctx.Err().Error()
		}})
		start := time.Now()
		w := do(http.HandlerFunc(health.Readyz), httptest.NewRequest("GET", "/readyz", nil))
		if took := time.Since(start); w.Code != 503 || took != healthTimeout {
			t.Errorf("%d after %v", w.Code, took)
		}
	})
}

// Work that outlasts its request is written under the request's id, with what was noted in both.
func TestAside(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, nil))
	h := Chain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Note(r.Context(), "before", 1)
		ctx, write := Aside(r.Context(), log)
		if RequestID(ctx) == "" || RequestID(ctx) != RequestID(r.Context()) {
			t.Error("another request id")
		}
		Note(r.Context(), "after", 1)
		Note(ctx, "aside", 1)
		write()
	}), WithRequestID)
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
	if got := out.String(); !strings.Contains(got, `"before":1,"aside":1`) || strings.Contains(got, "after") {
		t.Errorf("wrote %s", got)
	}
}
