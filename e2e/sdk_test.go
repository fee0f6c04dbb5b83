//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/internal/testkit"
)

// publisher serves client ID metadata documents at client.example, on an internet that only its client reaches.
type publisher struct {
	internet *testkit.Internet

	mu      sync.Mutex // guards all below
	pages   map[string]any
	fetches int
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{internet: testkit.NewInternet(t), pages: map[string]any{}}
	p.internet.Serve(t, "client.example", p)
	return p
}

// ServeHTTP implements http.Handler.
func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches++
	page, ok := p.pages[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=600")
	_ = json.NewEncoder(w).Encode(page)
}

// publish puts a document there and returns its URL, the client's id.
func (p *publisher) publish(path string, document map[string]any) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := "https://client.example" + path
	document["client_id"] = id
	p.pages[path] = document
	return id
}

// inside is Gatehouse in this process, for tests that plug something in.
func inside(t *testing.T, settings string, documents *http.Client) (url string) {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	url = fmt.Sprintf("http://localhost:%d", port)
	file := filepath.Join(dir, "gatehouse.yaml")
	writeFile(t, filepath.Join(dir, "master.key"), base64.StdEncoding.EncodeToString(make([]byte, 32)))
	writeFile(t, file, fmt.Sprintf("listen: 127.0.0.1:%d\nstate_dir: state\nmaster_key: {file: master.key}\n", port)+settings)
	(&house{t: t, dir: dir}).run(password+"\n", "user", "add", username, "-c", file, "--password-stdin")
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log := newOutput()
	ctx, cancel := context.WithCancel(context.Background())
	a, err := app.New(ctx, app.Options{Config: c, File: file, Level: new(slog.LevelVar), Log: slog.New(slog.NewTextHandler(log, nil)), Version: "e2e", ClientDocuments: documents})
	if err != nil {
		cancel()
		t.Fatalf("start gatehouse: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("gatehouse did not stop cleanly: %v", err)
		}
		if t.Failed() {
			t.Logf("log of gatehouse:\n%s", log)
		}
	})
	return url
}

const sdkSettings = `
registration: {documents: {trusted_hosts: [%s]}}
clients:
  - {client_id: written, name: Written, redirect_uris: ["http://127.0.0.1/callback"]}
targets: {demo: {demo: true}}
endpoints:
  /mcp:
    issuers: [gatehouse]
    access: any_signed_in
    targets: [demo]
    scopes: {tools: {demo___time: ["mcp:admin"]}}
`

// sdkReport is what sdk.mjs found.
type sdkReport struct {
	Error           string
	Tools           []string
	Whoami          string
	AfterRefresh    struct{ SignIns, RefreshTokens int }
	StepUp          string
	AskedForStepUp  string
	Scope, ClientID string
	Registrations   int
	SignIns         int
	Answers         []map[string]string
}

// runSDK runs a TypeScript SDK client, plays the person with one browser, and returns the client's report and the pages
// that the person saw first.
func runSDK(t *testing.T, version, url string, port int, options map[string]any) (sdkReport, []testkit.Page) {
	t.Helper()
	raw, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, kit.node, filepath.Join("node", "sdk.mjs"), version, url, fmt.Sprint(port), string(raw))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the SDK client: %v", err)
	}
	browser := testkit.NewBrowser(t)
	var report sdkReport
	var pages []testkit.Page
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "OPEN "); ok {
			p := browser.Open(address)
			pages = append(pages, p)
			if strings.Contains(p.Text, `id="signin-form"`) {
				p = browser.Password(p, username, password)
			}
			browser.Submit(p, "allow", nil)
		}
		if text, ok := strings.CutPrefix(lines.Text(), "REPORT "); ok {
			if err := json.Unmarshal([]byte(text), &report); err != nil {
				t.Fatalf("read the report: %v: %s", err, text)
			}
		}
	}
	if err := cmd.Wait(); err != nil || report.Error != "" {
		t.Fatalf("SDK %s: %v %s\n%s", version, err, report.Error, stderr.String())
	}
	return report, pages
}

// The official TypeScript SDK, old and new, as each kind of client: it signs in, its tokens rotate, and it steps up where
// it can. 1.x refreshes instead of stepping up while it has a refresh token, so it steps up without one.
func TestTypeScriptSDK(t *testing.T) {
	docs := newPublisher(t)
	key := testkit.NewIDPKey(t, "ES256")
	private := key.PrivateJWK(t)
	document := func(more map[string]any) map[string]any {
		d := map[string]any{"client_name": "SDK by document", "redirect_uris": []string{"http://127.0.0.1/callback"}, "token_endpoint_auth_method": "none"}
		for name, value := range more {
			d[name] = value
		}
		return d
	}
	plain := docs.publish("/oauth/client.json", document(nil))
	brief := docs.publish("/oauth/brief.json", document(map[string]any{"grant_types": []string{"authorization_code"}}))
	signing := docs.publish("/oauth/signing.json", document(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example/oauth/jwks.json"}))
	docs.publish("/oauth/jwks.json", map[string]any{"keys": []any{key.JWK()}})

	url := inside(t, fmt.Sprintf(sdkSettings, ""), docs.internet.Client()) + "/mcp"
	for _, version := range []string{"1", "2"} {
		for _, tt := range []struct {
			name     string
			options  map[string]any
			clientID string // empty for one of ours
		}{
			{"document", map[string]any{"metadataUrl": plain}, plain},
			{"document, step-up", map[string]any{"metadataUrl": brief, "refresh": false, "scoped": "demo___time"}, brief},
			{"document with keys", map[string]any{"metadataUrl": signing, "key": private}, signing},
			{"registration", map[string]any{}, ""},
			{"registration, step-up", map[string]any{"refresh": false, "scoped": "demo___time"}, ""},
			{"written down", map[string]any{"clientInformation": map[string]any{"client_id": "written"}}, "written"},
			{"step-up with a refresh token", map[string]any{"metadataUrl": plain, "scoped": "demo___time"}, plain},
		} {
			if version == "1" && tt.name == "step-up with a refresh token" {
				continue
			}
			t.Run("v"+version+" "+tt.name, func(t *testing.T) {
				report, _ := runSDK(t, version, url, freePort(t), tt.options)
				checkSDK(t, report, tt.clientID, tt.options)
			})
		}
	}
	if docs.fetches == 0 || docs.fetches > 6 {
		t.Errorf("%d fetches of documents and keys, want each once in a while", docs.fetches)
	}
}

func checkSDK(t *testing.T, report sdkReport, clientID string, options map[string]any) {
	t.Helper()
	if !strings.Contains(report.Whoami, username) || !slices.Contains(report.Tools, "demo___whoami") {
		t.Errorf("whoami says %s, tools %v", report.Whoami, report.Tools)
	}
	if clientID == "" && !strings.HasPrefix(report.ClientID, "dcr1.") || clientID != "" && report.ClientID != clientID {
		t.Errorf("client_id %s, want %s", report.ClientID, clientID)
	}
	signIns := 1
	if options["refresh"] != false {
		if report.AfterRefresh.SignIns != 1 || report.AfterRefresh.RefreshTokens != 4 {
			t.Errorf("after three refreshes: %+v, want one sign-in and four refresh tokens", report.AfterRefresh)
		}
	}
	if options["scoped"] != nil {
		signIns = 2
		if report.StepUp == "" || !strings.Contains(report.AskedForStepUp, "mcp:tools") || !strings.Contains(report.AskedForStepUp, "mcp:admin") ||
			!strings.Contains(report.Scope, "mcp:admin") {
			t.Errorf("step-up: asked for %q, granted %q, answer %q", report.AskedForStepUp, report.Scope, report.StepUp)
		}
	}
	if report.SignIns != signIns || len(report.Answers) != signIns {
		t.Errorf("%d sign-ins with answers %v, want %d", report.SignIns, report.Answers, signIns)
	}
	for _, answer := range report.Answers {
		if !strings.HasPrefix(answer["iss"], "http://localhost:") || answer["state"] == "" || answer["error"] != "" {
			t.Errorf("answer %v", answer)
		}
	}
}

// What the person sees of such a client, before and after the sign-in.
func TestDocumentOnThePages(t *testing.T) {
	docs := newPublisher(t)
	id := docs.publish("/oauth/client.json", map[string]any{"client_name": "Claude", "redirect_uris": []string{"http://127.0.0.1/callback"}, "logo_uri": "https://client.example/logo.png"})
	for _, trusted := range []string{"", "client.example"} {
		url := inside(t, fmt.Sprintf(sdkSettings, trusted), docs.internet.Client())
		report, pages := runSDK(t, "2", url+"/mcp", freePort(t), map[string]any{"metadataUrl": id, "scoped": "demo___time"})
		if len(pages) != 2 || report.SignIns != 2 {
			t.Fatalf("%d pages, %d sign-ins", len(pages), report.SignIns)
		}
		before := map[string][]string{"": {"not checked yet", "client.example", "127.0.0.1:"}, "client.example": {"to continue to <strong>Claude</strong>"}}
		pages[0].MustShow(t, before[trusted]...)
		pages[1].MustShow(t, "Allow <bdi>Claude</bdi>?", "unverified", "says that it is of <code>client.example</code>", "program on this device", "mcp:admin")
		if strings.Contains(pages[0].Text+pages[1].Text, "logo.png") {
			t.Error("a page has the client's logo")
		}
	}
}

// The real program keeps its fence: a document on this machine is not fetched, whatever name leads here.
func TestDocumentInsideIsNotFetched(t *testing.T) {
	tm, _ := newTeam(t)
	browser := testkit.NewBrowser(t)
	account := browser.Password(browser.Open(tm.url+"/account"), username, password)
	account.MustShow(t, "Connected clients")
	for _, id := range []string{"https://localhost/client.json", "https://127.0.0.1/client.json", "http://localhost/client.json", "https://localtest.localhost/client.json"} {
		p := browser.Open(tm.url + "/authorize?response_type=code&code_challenge_method=S256&code_challenge=" + strings.Repeat("A", 43) +
			"&redirect_uri=http://127.0.0.1/callback&client_id=" + id)
		if p.Status < 400 || p.URL.Host != strings.TrimPrefix(tm.url, "http://") {
			t.Errorf("%s: %s", id, p)
		}
	}
}

func TestMCPRemoteWithDocument(t *testing.T) {
	docs := newPublisher(t)
	id := docs.publish("/mcp-remote.json", map[string]any{"client_name": "mcp-remote by document", "redirect_uris": []string{"http://localhost/oauth/callback", "http://127.0.0.1/oauth/callback"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none"})
	url := inside(t, fmt.Sprintf(sdkSettings, ""), docs.internet.Client())
	r := signedInRemote(t, t.TempDir(), url+"/mcp", "--client-metadata-url", id)
	if claims := whoami(t, r); claims["client_id"] != id {
		t.Errorf("whoami claims = %v, want the document's URL as client_id", claims)
	}
}

// shortLived makes the Go SDK believe that its tokens are about to expire, so that it refreshes before each request.
type shortLived struct {
	mu       sync.Mutex // guards refreshes
	refresh  []string
	requests int
}

// RoundTrip implements http.RoundTripper.
func (s *shortLived) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || r.URL.Path != "/token" {
		return res, err
	}
	defer res.Body.Close()
	var token map[string]any
	if err := json.NewDecoder(res.Body).Decode(&token); err != nil {
		return nil, err
	}
	token["expires_in"] = 1
	raw, err := json.Marshal(token)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.requests++
	if text, _ := token["refresh_token"].(string); !slices.Contains(s.refresh, text) {
		s.refresh = append(s.refresh, text)
	}
	s.mu.Unlock()
	res.Body, res.ContentLength = io.NopCloser(strings.NewReader(string(raw))), int64(len(raw))
	res.Header.Del("Content-Length")
	return res, nil
}

// The official Go SDK as each kind of client. It insists on iss (RFC 9207), rotates, and steps up.
func TestGoSDKKindsOfClients(t *testing.T) {
	docs := newPublisher(t)
	id := docs.publish("/go.json", map[string]any{"client_name": "Go SDK by document", "redirect_uris": []string{"http://127.0.0.1/callback"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none"})
	url := inside(t, fmt.Sprintf(sdkSettings, ""), docs.internet.Client())
	for name, kind := range map[string]func(*auth.AuthorizationCodeHandlerConfig){
		"document": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: id}
		},
		"written down": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "written"}
		},
		"registration": func(c *auth.AuthorizationCodeHandlerConfig) {
			c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName: "Go SDK", RedirectURIs: []string{c.RedirectURL}, GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			redirect, answers := callbackServer(t)
			wire, browser, signIns := &shortLived{}, testkit.NewBrowser(t), 0
			c := &auth.AuthorizationCodeHandlerConfig{
				RedirectURL: redirect, RequestRefreshToken: true, Client: &http.Client{Transport: wire},
				AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
					p := browser.Open(args.URL)
					if signIns++; signIns == 1 {
						p = browser.Password(p, username, password)
					}
					browser.Submit(p, "allow", nil)
					a := <-answers
					return &a, nil
				},
			}
			kind(c)
			handler, err := auth.NewAuthorizationCodeHandler(c)
			if err != nil {
				t.Fatal(err)
			}
			session, err := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, nil).Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: url + "/mcp", OAuthHandler: handler}, nil)
			if err != nil {
				t.Fatalf("connect: %v", err)
			}
			defer session.Close()
			for _, tool := range []string{"demo___whoami", "demo___time"} {
				if result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool}); err != nil || result.IsError {
					t.Errorf("%s: %v %v", tool, result, err)
				}
			}
			wire.mu.Lock()
			defer wire.mu.Unlock()
			if signIns != 2 || len(wire.refresh) < 4 || len(wire.refresh) != wire.requests {
				t.Errorf("%d sign-ins, %d token requests with %d refresh tokens; want a step-up, and another refresh token each time", signIns, wire.requests, len(wire.refresh))
			}
		})
	}
}
