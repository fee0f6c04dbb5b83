package authserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
)

func (h *harness) register(metadata map[string]any) *httptest.ResponseRecorder {
	h.t.Helper()
	body, err := json.Marshal(metadata)
	if err != nil {
		h.t.Fatal(err)
	}
	return h.registerRaw(string(body), "application/json")
}

func (h *harness) registerRaw(body, contentType string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.do(request{method: http.MethodPost, path: "/register", body: body, header: map[string]string{"Content-Type": contentType}})
}

// registered registers a client as mcp-remote does, with changes.
func (h *harness) registered(changes map[string]any) registrationResponse {
	h.t.Helper()
	metadata := map[string]any{
		"redirect_uris": []string{"http://localhost:4444/oauth/callback"}, "token_endpoint_auth_method": "none",
		"grant_types": []string{GrantCode, GrantRefresh}, "response_types": []string{"code"}, "client_name": "MCP CLI Proxy",
		"client_uri": "https://github.com/modelcontextprotocol/mcp-cli", "software_id": "2e6dc280", "software_version": "0.15.1",
		"scope": "mcp:tools offline_access", "application_type": "native",
	}
	for name, value := range changes {
		if metadata[name] = value; value == nil {
			delete(metadata, name)
		}
	}
	w := h.register(metadata)
	var out registrationResponse
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusCreated {
		h.t.Fatalf("register: status %d: %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		h.t.Errorf("headers %v, want no-store", w.Header())
	}
	return out
}

func registeredParams(c registrationResponse) url.Values {
	return authorizeParams(map[string]string{"client_id": string(c.ClientID), "redirect_uri": "http://localhost:5555/oauth/callback"})
}

func TestRegisteredClientSignsIn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.registered(nil)
	if c.Secret != "" || c.SecretExpiresAt != nil || c.AuthMethod != "none" || c.ClientName != "MCP CLI Proxy" || c.ApplicationType != "native" ||
		!slices.Equal(c.RedirectURIs, []string{"http://localhost:4444/oauth/callback"}) || c.IssuedAt != h.clock.Now().Unix() {
		t.Errorf("registration %+v", c)
	}
	tokens := h.wantTokens(h.post("/token", codeForm(h.code(registeredParams(c)), map[string]string{"client_id": string(c.ClientID), "redirect_uri": "http://localhost:5555/oauth/callback"})))
	if _, claims := h.claims(tokens.AccessToken); claims["client_id"] != string(c.ClientID) || tokens.RefreshToken == "" {
		t.Errorf("claims %v, refresh token %q", claims, tokens.RefreshToken)
	}
	if again := h.registered(nil); again.ClientID == c.ClientID {
		t.Error("two registrations share one id, so that they could only be revoked together")
	}
	if len(c.ClientID) > 600 {
		t.Errorf("the id of mcp-remote has %d characters", len(c.ClientID))
	}
}

func TestChecklist2_RegistrationLimits(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var many []string
	for i := range 11 {
		many = append(many, fmt.Sprintf("https://app.example/%d", i))
	}
	h.wantError(h.register(map[string]any{"redirect_uris": many}), http.StatusBadRequest, "invalid_redirect_uri")
	h.wantError(h.register(map[string]any{"redirect_uris": []string{}}), http.StatusBadRequest, "invalid_redirect_uri")
	h.wantError(h.register(map[string]any{"redirect_uris": many[:1], "x": strings.Repeat("x", maxBody)}), http.StatusRequestEntityTooLarge, "invalid_client_metadata")
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json-patch+json"} {
		h.wantError(h.registerRaw(`{"redirect_uris":["https://app.example/"]}`, contentType), http.StatusUnsupportedMediaType, "invalid_client_metadata")
	}
	for _, body := range []string{"", "[]", "null", `{"redirect_uris":"https://app.example/"}`, `{"redirect_uris":["https://a.example/"]} {}`,
		`{"redirect_uris":["https://a.example/"],"redirect_uris":["https://b.example/"]}`, "{\"client_name\":\"\xff\"}", `{"client_name":1}`} {
		if w := h.registerRaw(body, "application/json; charset=utf-8"); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", body, w.Code)
		}
	}
	long := strings.Repeat("y", 400)
	w := h.register(map[string]any{"redirect_uris": []string{"https://a.example/" + long, "https://b.example/" + long, "https://c.example/" + long}})
	h.wantError(w, http.StatusBadRequest, "invalid_client_metadata")
	if w := h.do(request{path: "/register"}); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET: status %d", w.Code)
	}
}

func TestChecklist3_RegistrationRate(t *testing.T) {
	t.Parallel()
	h := newHarness(t, func(o *Options) { o.Limits = Limits{RegistrationsPerAddress: 2, Registrations: 3} })
	attempt := func(address string) int {
		r := httptest.NewRequest(http.MethodPost, testIssuer+"/register", strings.NewReader(`{"redirect_uris":["https://app.example/"]}`))
		r.Header.Set("Content-Type", "application/json")
		r.RemoteAddr = address
		w := httptest.NewRecorder()
		h.mux.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return w.Code
	}
	var got []int
	for _, address := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1", "192.0.2.3:1"} {
		got = append(got, attempt(address))
	}
	if want := []int{201, 201, 429, 201, 429}; !slices.Equal(got, want) {
		t.Errorf("status %v, want %v", got, want)
	}
	h.clock.Advance(time.Minute)
	if got := attempt("192.0.2.1:4"); got != http.StatusCreated {
		t.Errorf("a minute later: status %d", got)
	}
}

func TestChecklist4_UnknownMetadataIsIgnored(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.registered(map[string]any{
		"scope": "openid everything admin", "grant_types": []string{GrantCode, GrantRefresh, "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"response_types": []string{"code", "token"}, "jwks": map[string]any{"keys": []any{}}, "foo": map[string]any{"bar": []int{1}}, "contacts": []string{"a@b"},
		"redirect_uris": []string{"https://app.example/", "https://app.example/"}, "application_type": "spaceship",
	})
	if !slices.Equal(c.GrantTypes, []string{GrantCode, GrantRefresh}) || !slices.Equal(c.ResponseTypes, []string{"code"}) || c.Scope != "mcp:tools" ||
		!slices.Equal(c.RedirectURIs, []string{"https://app.example/"}) || c.ApplicationType != "" {
		t.Errorf("in force: %+v", c)
	}
	if c := h.registered(map[string]any{"grant_types": nil}); !slices.Contains(c.GrantTypes, GrantRefresh) {
		t.Errorf("without grant types: %v, want both", c.GrantTypes)
	}
	if c := h.registered(map[string]any{"grant_types": []string{GrantCode}}); slices.Contains(c.GrantTypes, GrantRefresh) {
		t.Errorf("without refresh_token: %v", c.GrantTypes)
	}
	if c := h.registered(map[string]any{"token_endpoint_auth_method": nil}); c.AuthMethod != AuthBasic || c.Secret == "" || c.SecretExpiresAt == nil || *c.SecretExpiresAt != 0 {
		t.Errorf("without a method: %+v, want a secret that does not expire", c)
	}
	for name, change := range map[string]map[string]any{
		"no code grant":    {"grant_types": []string{"client_credentials"}},
		"no code response": {"response_types": []string{"token"}},
		"private_key_jwt":  {"token_endpoint_auth_method": "private_key_jwt"},
	} {
		change["redirect_uris"] = []string{"https://app.example/"}
		h.wantError(h.register(change), http.StatusBadRequest, "invalid_client_metadata")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestChecklist5_NamesAreEscaped(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.registered(map[string]any{"client_name": "<script>alert(1)</script>\u202e\n\"x", "logo_uri": "https://evil.example/logo.png", "client_uri": "https://evil.example/"})
	w := h.do(request{path: h.consentURL(registeredParams(c)), session: "a"})
	body := w.Body.String()
	if strings.Contains(body, "<script") || strings.Contains(body, "evil.example") || strings.Contains(body, "\u202e") || !strings.Contains(body, "&lt;script&gt;") {
		t.Errorf("consent page:\n%s", body)
	}
	if name := []rune(h.registered(map[string]any{"client_name": strings.Repeat("ü", 500)}).ClientName); len(name) != maxClientName {
		t.Errorf("a long name has %d characters", len(name))
	}
	for _, value := range []string{"<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`} {
		w := h.do(request{path: "/authorize", query: authorizeParams(map[string]string{"client_id": value})})
		if strings.Contains(w.Body.String(), "alert(1)") {
			t.Errorf("the error page repeats what the request said:\n%s", w.Body)
		}
	}
}

func TestChecklist6_ForeignClientID(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id := string(h.registered(nil).ClientID)
	other := "B"
	if id[len(id)-2] == 'B' {
		other = "C"
	}
	for name, bad := range map[string]string{
		"changed metadata": strings.Replace(id, "dcr1.e", "dcr1.f", 1), "changed tag": id[:len(id)-2] + other + id[len(id)-1:], "no tag": id[:strings.LastIndex(id, ".")],
		"line end": id[:10] + "\n" + id[10:], "line end in tag": id + "\n", "padding": id + "=", "prefix only": clientIDPrefix, "other version": "dcr2" + id[4:],
		"longer": id + strings.Repeat("A", 2000), "foreign key": foreignID(t), "trailing bits": nonCanonical(id),
	} {
		params := registeredParams(registrationResponse{ClientID: identity.ClientID(bad)})
		w := h.do(request{path: "/authorize", query: params, header: map[string]string{"Accept": "application/json"}})
		h.wantError(w, http.StatusBadRequest, "invalid_client")
		if w.Header().Get("Location") != "" {
			t.Errorf("%s: redirected to %s", name, w.Header().Get("Location"))
		}
		h.wantError(h.post("/token", codeForm("x", map[string]string{"client_id": bad})), http.StatusUnauthorized, "invalid_client")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

// foreignID is an id that another installation issued.
func foreignID(t *testing.T) string {
	return string(newHarness(t, func(o *Options) { o.Keys = otherKeys(t) }).registered(nil).ClientID)
}

// nonCanonical changes bits at the end of the tag that decode to nothing.
func nonCanonical(id string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return id[:len(id)-1] + string(alphabet[strings.IndexByte(alphabet, id[len(id)-1])^1])
}

func TestRegistrationSurvivesRestartAndKeyRotation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.registered(map[string]any{"token_endpoint_auth_method": AuthPost})
	rotated := newHarness(t, func(o *Options) { o.Keys = rotatedKeys(t) })
	params := registeredParams(c)
	form := codeForm(rotated.code(params), map[string]string{"client_id": string(c.ClientID), "client_secret": c.Secret, "redirect_uri": params.Get("redirect_uri")})
	rotated.wantTokens(rotated.post("/token", form))
}

func TestChecklist7_SecretsAndMethods(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	post, basic := h.registered(map[string]any{"token_endpoint_auth_method": AuthPost}), h.registered(map[string]any{"token_endpoint_auth_method": AuthBasic})
	public := h.registered(nil)
	attempt := func(id, secret, user, password string) *httptest.ResponseRecorder {
		form := url.Values{"grant_type": {GrantCode}, "code": {"unknown"}, "code_verifier": {verifier}}
		if id != "" {
			form.Set("client_id", id)
		}
		if secret != "" {
			form.Set("client_secret", secret)
		}
		r := httptest.NewRequest(http.MethodPost, testIssuer+"/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		w := httptest.NewRecorder()
		h.mux.ServeHTTP(w, r)
		return w
	}
	for name, c := range map[string]struct {
		id, secret, user, password string
		code                       string
	}{
		"public, nothing":                {string(public.ClientID), "", "", "", "invalid_grant"},
		"public, Basic without secret":   {"", "", string(public.ClientID), "", "invalid_grant"},
		"public, a secret":               {string(public.ClientID), "x", "", "", "invalid_client"},
		"public, Basic":                  {"", "", string(public.ClientID), "x", "invalid_client"},
		"post, right":                    {string(post.ClientID), post.Secret, "", "", "invalid_grant"},
		"post, none":                     {string(post.ClientID), "", "", "", "invalid_client"},
		"post, wrong":                    {string(post.ClientID), basic.Secret, "", "", "invalid_client"},
		"post, by Basic":                 {"", "", string(post.ClientID), post.Secret, "invalid_client"},
		"basic, right":                   {"", "", string(basic.ClientID), basic.Secret, "invalid_grant"},
		"basic, right, id twice":         {string(basic.ClientID), "", string(basic.ClientID), basic.Secret, "invalid_grant"},
		"basic, empty":                   {"", "", string(basic.ClientID), "", "invalid_client"},
		"static, right":                  {"", "", webClient, webSecret, "invalid_grant"},
		"static, wrong":                  {"", "", webClient, webSecret + "x", "invalid_client"},
		"static post, right":             {"poster", "posted", "", "", "invalid_grant"},
		"nobody":                         {"", "", "", "", "invalid_client"},
		"two methods":                    {string(basic.ClientID), basic.Secret, string(basic.ClientID), basic.Secret, "invalid_request"},
		"Basic and body name two":        {publicClient, "", string(basic.ClientID), basic.Secret, "invalid_request"},
		"Basic without a client":         {"", "", " ", "x", "invalid_client"},
		"unknown by Basic, known method": {"", "", "nobody", "x", "invalid_client"},
	} {
		w := attempt(c.id, c.secret, c.user, c.password)
		status := http.StatusBadRequest
		if c.code == "invalid_client" {
			status = http.StatusUnauthorized
		}
		h.wantError(w, status, c.code)
		if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (c.user != "" && c.code == "invalid_client") {
			t.Errorf("%s: WWW-Authenticate %q", name, w.Header().Get("WWW-Authenticate"))
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestChecklist8_RevokedClient(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	c := h.registered(nil)
	params := registeredParams(c)
	others := map[string]string{"client_id": string(c.ClientID), "redirect_uri": params.Get("redirect_uri")}
	tokens, code, form := h.tokens(params, others), h.code(params), h.consentForm(params, "allow")
	if err := h.store.RevokeClient(t.Context(), c.ClientID, "test"); err != nil {
		t.Fatal(err)
	}
	accept := map[string]string{"Accept": "application/json"}
	h.wantError(h.do(request{path: "/authorize", query: params, header: accept}), http.StatusBadRequest, "invalid_client")
	h.wantError(h.post("/token", codeForm(code, others)), http.StatusUnauthorized, "invalid_client")
	h.wantError(h.post("/token", refreshForm(tokens.RefreshToken, others)), http.StatusUnauthorized, "invalid_client")
	if w := h.decide(form); w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
		t.Errorf("consent: status %d, location %q", w.Code, w.Header().Get("Location"))
	}
	if w := h.userinfo(tokens.AccessToken); w.Code != http.StatusUnauthorized {
		t.Errorf("userinfo: status %d", w.Code)
	}
	if grants, err := h.store.Grants(t.Context(), h.alice.Key); err != nil || len(grants) != 0 {
		t.Errorf("standing grants %v, %v", grants, err)
	}
}

func TestRegistrationClosed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	before := h.registered(nil)
	snapshot := testSnapshot()
	snapshot.RegistrationClosed = true
	snapshot.Lifetimes.Access = 10 * time.Minute
	if err := h.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	h.wantError(h.register(map[string]any{"redirect_uris": []string{"https://app.example/"}}), http.StatusForbidden, "access_denied")
	if strings.Contains(h.do(request{path: "/.well-known/oauth-authorization-server"}).Body.String(), "registration_endpoint") {
		t.Error("the metadata still names the registration endpoint")
	}
	params := registeredParams(before)
	others := map[string]string{"client_id": string(before.ClientID), "redirect_uri": params.Get("redirect_uri")}
	if tokens := h.tokens(params, others); tokens.ExpiresIn != 590 {
		t.Errorf("a client from before gets tokens for %d s, want those of the new settings", tokens.ExpiresIn)
	}
}

func TestAuditFailureStopsRegistration(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.audit.err = audit.ErrUnavailable
	h.wantError(h.register(map[string]any{"redirect_uris": []string{"https://app.example/"}}), http.StatusServiceUnavailable, "temporarily_unavailable")
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	good := Client{ID: "x", RedirectURIs: []string{"https://app.example/"}}
	for name, change := range map[string]func(*Client){
		"empty id":           func(c *Client) { c.ID = "" },
		"registered prefix":  func(c *Client) { c.ID = clientIDPrefix + "x" },
		"secret and none":    func(c *Client) { c.Secret, c.AuthMethod = secret.New("s"), AuthNone },
		"basic, no secret":   func(c *Client) { c.AuthMethod = AuthBasic },
		"unknown method":     func(c *Client) { c.AuthMethod = "tls_client_auth" },
		"no keys":            func(c *Client) { c.AuthMethod = AuthPrivateKey },
		"keys and none":      func(c *Client) { c.Keys, c.AuthMethod = &awayKeys{}, AuthNone },
		"keys and a secret":  func(c *Client) { c.Keys, c.Secret = &awayKeys{}, secret.New("s") },
		"HMAC assertions":    func(c *Client) { c.Keys, c.AssertionAlg = &awayKeys{}, "HS256" },
		"algorithm, no keys": func(c *Client) { c.AssertionAlg = "ES256" },
		"unknown grant":      func(c *Client) { c.GrantTypes = []string{"password"} },
		"short access":       func(c *Client) { c.Lifetimes.Access = time.Minute },
		"short idle":         func(c *Client) { c.Lifetimes.RefreshIdle = time.Minute },
		"long access":        func(c *Client) { c.Lifetimes.Access = 48 * time.Hour },
		"http redirect":      func(c *Client) { c.RedirectURIs = []string{"http://app.example/"} },
		"relative redirect":  func(c *Client) { c.RedirectURIs = []string{"/cb"} },
		"script redirect":    func(c *Client) { c.RedirectURIs = []string{"javascript:x"} },
		"fragment":           func(c *Client) { c.RedirectURIs = []string{"https://app.example/#f"} },
		"skip on loopback":   func(c *Client) { c.SkipConsent, c.RedirectURIs = true, []string{desktopURI} },
		"reserved claim":     func(c *Client) { c.AccessTokenClaims = map[string]any{"sub": "x"} },
		"logout redirect":    func(c *Client) { c.PostLogoutRedirectURIs = []string{"http://app.example/"} },
		"skip on own scheme": func(c *Client) { c.SkipConsent, c.RedirectURIs = true, []string{"app://cb"} },
	} {
		bad := good
		change(&bad)
		if err := (Snapshot{Clients: []Client{bad}}).Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (Snapshot{Clients: []Client{good, good}}).Check(); err == nil {
		t.Error("one id for two clients: accepted")
	}
	if err := (Snapshot{Resources: []Resource{{URL: "mcp"}}}).Check(); err == nil {
		t.Error("a resource that is no URL: accepted")
	}
	if err := testSnapshot().Check(); err != nil {
		t.Error(err)
	}
	h := newHarness(t)
	if err := h.server.Swap(Snapshot{Clients: []Client{{}}}); err == nil {
		t.Error("a faulty snapshot was swapped in")
	}
	h.tokens(authorizeParams(nil), nil) // and changed nothing
}

// RFC 9700 §4.11.2: whoever registers a site of theirs must not turn our address into a way there.
func TestRegisteredSitesGetNoRedirectBeforeThePersonIsAsked(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const evil = "https://evil.example/phish"
	c := h.registered(map[string]any{"redirect_uris": []string{evil, "http://localhost:4444/oauth/callback"}})
	params := func(others map[string]string) url.Values {
		p := authorizeParams(map[string]string{"client_id": string(c.ClientID), "redirect_uri": evil})
		for name, value := range others {
			p.Set(name, value)
		}
		return p
	}
	refused := func(name string, w *httptest.ResponseRecorder) {
		t.Helper()
		if w.Code != http.StatusBadRequest || w.Header().Get("Location") != "" {
			t.Errorf("%s: status %d, location %q; want a page", name, w.Code, w.Header().Get("Location"))
		}
	}
	refused("bad request", h.do(request{path: "/authorize", query: params(map[string]string{"response_type": "token"})}))
	refused("bad resource", h.do(request{path: "/authorize", query: params(map[string]string{"resource": "https://other.example/"})}))
	silent := h.consentURL(params(map[string]string{"prompt": "none"}))
	refused("silent, nobody there", h.do(request{path: silent}))
	refused("silent", h.do(request{path: silent, session: "a"}))
	// A person who was asked goes there, and a program on the device learns what was wrong.
	if got := h.callback(h.decide(h.consentForm(params(nil), "deny")), evil); got.Get("error") != "access_denied" {
		t.Errorf("denied: %v", got)
	}
	local := map[string]string{"redirect_uri": "http://localhost:4444/oauth/callback", "response_type": "token"}
	if w := h.do(request{path: "/authorize", query: params(local)}); !strings.HasPrefix(w.Header().Get("Location"), "http://localhost:4444/oauth/callback?") {
		t.Errorf("loopback: status %d, location %q", w.Code, w.Header().Get("Location"))
	}
}
