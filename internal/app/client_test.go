package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/testkit"
)

// client is a coding assistant: an OAuth client of its own making (not the code under test) that speaks MCP.
type client struct {
	t        *testing.T
	h        *house
	http     *http.Client
	browser  *testkit.Browser
	redirect string
	id       string
	endpoint string // URL

	access, refresh, idToken string
	code, state              string
	session                  string
	key                      *testkit.DPoPKey // binds tokens, when set
	nonce                    string
	minted                   int
}

// newClient makes a client without an identity.
func newClient(h *house, path string) *client {
	h.t.Helper()
	landing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "You may close this window.") }))
	h.t.Cleanup(landing.Close)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	h.t.Cleanup(transport.CloseIdleConnections)
	h.clients = append(h.clients, transport)
	c := &client{
		t: h.t, h: h, http: &http.Client{Transport: transport, Timeout: patience}, browser: testkit.NewBrowser(h.t),
		redirect: landing.URL + "/callback", endpoint: h.url + path,
	}
	c.browser.Client.Transport = transport
	return c
}

// connect is the whole way of a new client: registration, sign-in as alice, tokens, MCP session.
func connect(h *house, path string, scopes ...string) *client {
	h.t.Helper()
	c := newClient(h, path)
	c.register()
	c.signIn("alice", scopes...)
	c.initialize()
	return c
}

// register is dynamic registration (RFC 7591).
func (c *client) register() {
	c.t.Helper()
	status, doc := c.postJSON(c.h.url+"/register", map[string]any{
		"client_name": "Assistant", "redirect_uris": []string{c.redirect}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"},
	})
	if status != http.StatusCreated {
		c.t.Fatalf("register: %d %v", status, doc)
	}
	c.id = doc["client_id"].(string)
}

// authorizeURL begins an authorization code flow with PKCE.
func (c *client) authorizeURL(verifier string, scopes ...string) string {
	sum := sha256.Sum256([]byte(verifier))
	c.state = rand.Text()
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.id}, "redirect_uri": {c.redirect}, "state": {c.state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		"scope": {strings.Join(append(scopes, "openid", "offline_access"), " ")}, "resource": {c.endpoint},
	}
	return c.h.url + "/authorize?" + q.Encode()
}

// challenge reads the parameters of WWW-Authenticate (RFC 6750 §3).
func (a answer) challenge() map[string]string {
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(a.header.Get("WWW-Authenticate"), -1) {
		out[m[1]] = m[2]
	}
	return out
}

// signIn takes the person through the pages and redeems the code. A browser that is signed in sees the consent page
// only. Without scopes the client asks for what the endpoint's challenge names.
func (c *client) signIn(username string, scopes ...string) {
	c.t.Helper()
	if len(scopes) == 0 {
		c.access, c.session = "", ""
		scopes = strings.Fields(c.rpc("initialize", initializeParams).challenge()["scope"])
	}
	verifier := rand.Text() + rand.Text()
	p := c.browser.Open(c.authorizeURL(verifier, scopes...))
	if strings.HasPrefix(p.URL.Path, "/signin") {
		p = c.browser.Password(p, username, alicePassword)
	}
	last := c.browser.Submit(p, "allow", nil)
	q := last.URL.Query()
	if q.Get("code") == "" || q.Get("state") != c.state || q.Get("iss") != c.h.url {
		c.t.Fatalf("the sign-in ended at %s:\n%s", last, last.Text)
	}
	c.code = q.Get("code")
	if status, doc := c.token(url.Values{"grant_type": {"authorization_code"}, "code": {c.code}, "redirect_uri": {c.redirect}, "code_verifier": {verifier}}); status != http.StatusOK {
		c.t.Fatalf("token: %d %v", status, doc)
	}
}

// token asks the token endpoint and keeps what it hands out.
func (c *client) token(form url.Values) (int, map[string]any) {
	c.t.Helper()
	form.Set("client_id", c.id)
	status, doc := c.readJSON(c.sendForm(c.h.url+"/token", form))
	if doc["error"] == "use_dpop_nonce" {
		status, doc = c.readJSON(c.sendForm(c.h.url+"/token", form))
	}
	if status == http.StatusOK {
		c.access = doc["access_token"].(string)
		c.refresh, _ = doc["refresh_token"].(string)
		c.idToken, _ = doc["id_token"].(string)
	}
	return status, doc
}

// sendForm sends a proof along when the client has a key, and keeps the nonce that comes back.
func (c *client) sendForm(address string, form url.Values) (*http.Response, error) {
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.key != nil {
		claims := map[string]any{}
		if c.nonce != "" {
			claims["nonce"] = c.nonce
		}
		r.Header.Set("DPoP", c.key.Proof(c.t, http.MethodPost, address, time.Now(), claims))
	}
	resp, err := c.http.Do(r)
	if err == nil && resp.Header.Get("DPoP-Nonce") != "" {
		c.nonce = resp.Header.Get("DPoP-Nonce")
	}
	return resp, err
}

func (c *client) refreshTokens() (int, map[string]any) {
	c.t.Helper()
	return c.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.refresh}})
}

func (c *client) postJSON(address string, body any) (int, map[string]any) {
	c.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.http.Post(address, "application/json", bytes.NewReader(raw))
	return c.readJSON(resp, err)
}

func (c *client) getJSON(address string) (int, map[string]any) {
	c.t.Helper()
	resp, err := c.http.Get(address)
	return c.readJSON(resp, err)
}

func (c *client) readJSON(resp *http.Response, err error) (int, map[string]any) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var doc map[string]any
	if json.Unmarshal(raw, &doc) != nil {
		doc = map[string]any{"text": string(raw)}
	}
	return resp.StatusCode, doc
}

// answer is what came back for one MCP request.
type answer struct {
	status int
	header http.Header
	body   string
	Result map[string]any `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// text returns the first text of a tool's result.
func (a answer) text() string {
	content, _ := a.Result["content"].([]any)
	if len(content) == 0 {
		return ""
	}
	block, _ := content[0].(map[string]any)
	text, _ := block["text"].(string)
	return text
}

func (a answer) String() string {
	return fmt.Sprintf("%d %s (WWW-Authenticate: %s)", a.status, a.body, a.header.Get("WWW-Authenticate"))
}

// request builds an MCP request with everything that a client sends.
func (c *client) request(ctx context.Context, method, body string) *http.Request {
	c.t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.endpoint, content)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.access != "" {
		r.Header.Set("Authorization", "Bearer "+c.access)
	}
	if c.access != "" && c.key != nil {
		claims := map[string]any{"ath": testkit.TokenHash(c.access)}
		if body != "" {
			claims["content_digest"] = testkit.ContentDigest(body)
		}
		r.Header.Set("Authorization", "DPoP "+c.access)
		r.Header.Set("DPoP", c.key.Proof(c.t, method, c.endpoint, time.Now(), claims))
	}
	if c.session != "" {
		r.Header.Set("Mcp-Session-Id", c.session)
		r.Header.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	return r
}

// post sends one JSON-RPC message and reads the answer, which may come as JSON or as events.
func (c *client) post(body string) answer {
	c.t.Helper()
	a, err := c.tryPost(c.request(c.t.Context(), http.MethodPost, body))
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *client) tryPost(r *http.Request) (answer, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	last := a.body
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		for line := range strings.Lines(a.body) {
			if data, ok := strings.CutPrefix(line, "data: "); ok && strings.Contains(data, `"id"`) {
				last = data
			}
		}
	}
	_ = json.Unmarshal([]byte(last), &a) // an answer that is not JSON has neither result nor error
	return a, nil
}

func (c *client) message(method, params string) string {
	c.minted++
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q,"params":%s}`, c.minted, method, params)
}

func (c *client) rpc(method, params string) answer {
	c.t.Helper()
	return c.post(c.message(method, params))
}

const initializeParams = `{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"assistant","version":"1"}}`

// initialize begins an MCP session.
func (c *client) initialize() {
	c.t.Helper()
	c.session = ""
	a := c.rpc("initialize", initializeParams)
	if a.status != http.StatusOK || a.Result == nil {
		c.t.Fatalf("initialize: %s", a)
	}
	c.session = a.header.Get("Mcp-Session-Id")
	if a := c.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); a.status != http.StatusAccepted {
		c.t.Fatalf("notifications/initialized: %s", a)
	}
}

func (c *client) call(tool, arguments string) answer {
	c.t.Helper()
	return c.rpc("tools/call", fmt.Sprintf(`{"name":%q,"arguments":%s}`, tool, arguments))
}

// mustCall calls a tool that must work, and returns its text.
func (c *client) mustCall(tool, arguments string) string {
	c.t.Helper()
	a := c.call(tool, arguments)
	if a.status != http.StatusOK || a.Result == nil || a.Result["isError"] == true {
		c.t.Fatalf("call %s: %s", tool, a)
	}
	return a.text()
}

// tools lists the names of the tools.
func (c *client) tools() []string {
	c.t.Helper()
	a := c.rpc("tools/list", `{}`)
	items, ok := a.Result["tools"].([]any)
	if !ok {
		c.t.Fatalf("tools/list: %s", a)
	}
	names := make([]string, len(items))
	for i, item := range items {
		names[i] = item.(map[string]any)["name"].(string)
	}
	return names
}

// claims reads a JWT without checking it.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
