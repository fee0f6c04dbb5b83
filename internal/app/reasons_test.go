package app

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/internal/testkit"
)

// TestReasons: whoever is refused gets a word, and the one log record of the request has it. (That the logger of the
// program adds the request id is for telemetry to show.)
func TestReasons(t *testing.T) {
	t.Parallel()
	h := openHouse(t, demoOnly+"clients: [{client_id: web, redirect_uris: [\"https://app.example/callback\"]}]\n")
	authorize := func(q url.Values) string { return "/authorize?" + q.Encode() }
	for name, tc := range map[string]struct {
		method, path, body string
		change             func(*http.Request)
		status             int
		reason             string
	}{
		"no token":             {"GET", "/mcp", "", nil, 401, "token_missing"},
		"an opaque token":      {"GET", "/mcp", "", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "token_malformed"},
		"another host":         {"GET", "/mcp", "", func(r *http.Request) { r.Host = "evil.example" }, 421, "host_not_served"},
		"another origin":       {"GET", "/mcp", "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403, "origin_not_allowed"},
		"an unknown client":    {"POST", "/token", "grant_type=authorization_code&client_id=nobody", nil, 401, "client_unknown"},
		"an unknown code":      {"POST", "/token", "grant_type=authorization_code&client_id=web&code=x", nil, 400, "code_unknown"},
		"another redirect URI": {"GET", authorize(url.Values{"client_id": {"web"}, "redirect_uri": {"https://evil.example/"}}), "", nil, 400, "redirect_uri_unregistered"},
		"no such document":     {"GET", "/.well-known/oauth-authorization-server/other", "", nil, 404, "document_unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, h.url+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "application/json")
			if tc.body != "" {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if tc.change != nil {
				tc.change(req)
			}
			from := h.log.size()
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			var said struct {
				Error       string `json:"error"`
				Description string `json:"error_description"`
				RequestID   string `json:"request_id"`
			}
			if err := json.Unmarshal(raw, &said); err != nil || res.StatusCode != tc.status || said.RequestID == "" {
				t.Fatalf("status %d, %s, %v", res.StatusCode, raw, err)
			}
			if !strings.HasSuffix(said.Description, "("+tc.reason+")") && said.Error != tc.reason {
				t.Errorf("the answer says %s, want %s", raw, tc.reason)
			}
			if line := h.log.await(t, from, `"msg":"request"`); !strings.Contains(line, `"reason":"`+tc.reason+`"`) {
				t.Errorf("the log says %s, want %s", line, tc.reason)
			}
		})
	}
	// What a person gets wrong on a page.
	b := testkit.NewBrowser(t)
	from := h.log.size()
	b.Password(b.Open(h.url+"/account"), "alice", "not her password")
	h.log.await(t, from, `"reason":"credentials_wrong"`)
	// What comes back to the client's own redirect URI.
	q := url.Values{"client_id": {"web"}, "redirect_uri": {"https://app.example/callback"}, "response_type": {"code"}, "state": {"s"}}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	from = h.log.size()
	res, err := client.Get(h.url + authorize(q))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	back, err := res.Location()
	if err != nil || !strings.HasSuffix(back.Query().Get("error_description"), "(pkce_missing)") {
		t.Errorf("%v, %v", back, err)
	}
	if line := h.log.await(t, from, `"msg":"request"`); !strings.Contains(line, `"reason":"pkce_missing"`) {
		t.Error(line)
	}
}
