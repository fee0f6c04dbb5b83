package upauth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/internal/secret"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a target and two authorization servers, each a real server at an origin of its own.
type world struct {
	t      *testing.T
	target *httptest.Server
	as     []*authServer
	clock  *testkit.Clock
	log    bytes.Buffer

	mu      sync.Mutex // guards what follows
	prm     map[string]any
	prmAt   string           // where the document is, empty for nowhere
	header  string           // of every 401; %s is the URL of the document
	valid   func(string) int // status for what stands in Authorization
	seen    []*http.Request  // at the target
	bodies  []string
	refuses string // challenge of a 403
}

// authServer is one authorization server.
type authServer struct {
	*httptest.Server
	mu       sync.Mutex // guards what follows
	metadata map[string]any
	forms    []url.Values // that came to the token endpoint
	headers  []http.Header
	asked    []url.Values // authorization requests
	regs     int
	answer   func(w http.ResponseWriter, form url.Values, n int) bool // before the usual answer; true when it has answered
	redirect func(q url.Values)                                       // changes an authorization response
	life     int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: testkit.NewClock(time.Unix(1_800_000_000, 0)), prmAt: "/.well-known/oauth-protected-resource/mcp", header: `Bearer resource_metadata="%s"`}
	w.target = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.target.Close)
	for range 2 {
		a := &authServer{life: 3600}
		a.Server = httptest.NewServer(http.HandlerFunc(a.serve))
		t.Cleanup(a.Close)
		a.metadata = map[string]any{
			"issuer": a.URL, "authorization_endpoint": a.URL + "/authorize", "token_endpoint": a.URL + "/token", "registration_endpoint": a.URL + "/register",
			"code_challenge_methods_supported": []string{"S256"}, "token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "none", "private_key_jwt"},
		}
		w.as = append(w.as, a)
	}
	w.prm = map[string]any{"resource": w.target.URL + "/mcp", "authorization_servers": []string{w.as[0].URL}}
	w.valid = func(string) int { return http.StatusOK }
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.URL.Path == w.prmAt {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(w.prm)
		return
	}
	if r.URL.Path != "/mcp" {
		http.NotFound(rw, r)
		return
	}
	w.seen, w.bodies = append(w.seen, r), append(w.bodies, string(body))
	status := http.StatusUnauthorized
	if a := r.Header.Get("Authorization"); a != "" {
		status = w.valid(a)
	}
	switch status {
	case http.StatusUnauthorized:
		challenge := w.header
		if strings.Contains(challenge, "%s") {
			challenge = fmt.Sprintf(challenge, w.target.URL+w.prmAt)
		}
		rw.Header().Set("WWW-Authenticate", challenge)
	case http.StatusForbidden:
		rw.Header().Set("WWW-Authenticate", w.refuses)
	}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, "answer to "+string(body))
}

func (a *authServer) serve(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server":
		_ = json.NewEncoder(w).Encode(a.metadata)
	case "/authorize":
		q := r.URL.Query()
		a.asked = append(a.asked, q)
		back := url.Values{"code": {fmt.Sprintf("code-%d", len(a.asked))}, "state": {q.Get("state")}}
		if a.redirect != nil {
			a.redirect(back)
		}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	case "/register":
		a.regs++
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"client_id": fmt.Sprintf("%s-client-%d", r.Host, a.regs), "client_secret": "registered-secret"})
	case "/token":
		a.forms, a.headers = append(a.forms, r.PostForm), append(a.headers, r.Header)
		if a.answer != nil && a.answer(w, r.PostForm, len(a.forms)) {
			return
		}
		kind := "Bearer"
		if r.Header.Get("Dpop") != "" {
			kind = "DPoP"
		}
		out := map[string]any{"access_token": fmt.Sprintf("token-%d", len(a.forms)), "token_type": kind, "expires_in": a.life}
		if r.PostForm.Get("grant_type") == "authorization_code" {
			out["refresh_token"] = "refresh-1"
		}
		_ = json.NewEncoder(w).Encode(out)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// options are those of a service with a secret, known at the first server.
func (w *world) options() Options {
	near := web.NewClient(web.FenceAdmin, web.ClientOptions{})
	w.t.Cleanup(near.CloseIdleConnections)
	return Options{
		Target: "up", URL: w.target.URL + "/mcp", Issuer: issuerOf(w.as[0]), Client: Client{ID: "svc", Secret: secret.New("s3cret")},
		Grant: ClientCredentials(), Near: near, Far: web.NewClient(web.FencePublic, web.ClientOptions{}),
		Now: w.clock.Now, Log: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// person are the options of somebody who signs in at whatever server the target names, all of them on this machine.
func (w *world) person() Options {
	o := w.options()
	o.Issuer, o.Client, o.Far = "", Client{}, o.Near
	o.Grant = AuthorizationCode("http://127.0.0.1:1/callback", visit)
	return o
}

// post sends one request through a source and returns status and body.
func (w *world) post(s *Source, body string) (int, string, error) {
	w.t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.target.URL+"/mcp", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := s.Transport(transport).RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(text), nil
}

// must is post for what has to work.
func (w *world) must(s *Source, body string) {
	w.t.Helper()
	status, text, err := w.post(s, body)
	if err != nil || status != http.StatusOK || text != "answer to "+body {
		w.t.Fatalf("%d %q %v", status, text, err)
	}
}

func (w *world) source(o Options) *Source {
	w.t.Helper()
	s, err := New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}
