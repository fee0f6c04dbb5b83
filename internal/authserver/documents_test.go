package authserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/clientdoc"
	"gatehouse/internal/identity"
	"gatehouse/internal/testkit"
	"gatehouse/internal/web"
)

const (
	docClient = "https://client.example/oauth.json"
	docURI    = "https://client.example/callback"
)

// sites is the internet as far as documents are on it.
type sites struct {
	mu      sync.Mutex // guards all below
	pages   map[string][]byte
	away    bool
	fetches []string
}

// RoundTrip answers without a network.
func (s *sites) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches = append(s.fetches, r.URL.String())
	page, found := s.pages[r.URL.String()]
	if s.away {
		return nil, errors.New("dial tcp 192.0.2.7: connection refused")
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	if !found {
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = w.Write(page)
	res := w.Result()
	res.Request = r
	return res, nil
}

func (s *sites) serve(at string, page any) {
	raw, err := json.Marshal(page)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pages[at] = raw
}

func (s *sites) leave(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *sites) fetched() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fetches)
}

// docHarness is a harness with documents.
type docHarness struct {
	*harness
	sites *sites
}

// newDocHarness publishes a document with an https and a loopback redirect URI.
func newDocHarness(t *testing.T, adjust ...func(*Options)) *docHarness {
	t.Helper()
	d := &docHarness{sites: &sites{pages: map[string][]byte{}}}
	d.publish(docClient, nil)
	d.harness = newHarness(t, append([]func(*Options){func(o *Options) {
		var err error
		if o.Documents, err = clientdoc.NewCache(clientdoc.Options{Client: &http.Client{Transport: d.sites}, Now: o.Now, Log: o.Log}); err != nil {
			t.Fatal(err)
		}
	}}, adjust...)...)
	return d
}

func (d *docHarness) publish(at string, changes map[string]any) {
	doc := map[string]any{
		"client_id": at, "client_name": "Claude", "redirect_uris": []string{docURI, "http://127.0.0.1/callback", "claude://cb", "javascript:alert(1)"},
		"token_endpoint_auth_method": "none", "logo_uri": "https://client.example/logo.png",
	}
	maps.Copy(doc, changes)
	d.sites.serve(at, doc)
}

// trusting makes a host trusted.
func trusting(host string) func(*Options) {
	return func(o *Options) { o.Snapshot.Documents.Trusted = []string{host} }
}

// ask is an authorization request of the client.
func ask(others map[string]string) url.Values {
	p := authorizeParams(map[string]string{"client_id": docClient, "redirect_uri": docURI})
	for name, value := range others {
		p.Set(name, value)
	}
	return p
}

func (d *docHarness) wantFetches(want ...string) {
	d.t.Helper()
	if got := d.sites.fetched(); !slices.Equal(got, want) {
		d.t.Errorf("fetched %v, want %v", got, want)
	}
}

// follow walks through our own redirects as a browser with the session does, and returns the page at the end.
func (d *docHarness) follow(path, session string) *httptest.ResponseRecorder {
	d.t.Helper()
	for range 5 {
		w := d.do(request{path: path, session: session})
		if next := w.Header().Get("Location"); w.Code == http.StatusSeeOther && strings.HasPrefix(next, "/consent?") {
			path = next
			continue
		}
		return w
	}
	d.t.Fatal("redirects without end")
	return nil
}

func (d *docHarness) authorize(params url.Values, session string) *httptest.ResponseRecorder {
	d.t.Helper()
	return d.follow("/authorize?"+params.Encode(), session)
}

// refusedWithPage checks that nothing was sent to the redirect URI.
func (d *docHarness) refusedWithPage(name string, w *httptest.ResponseRecorder, status int, says string) {
	d.t.Helper()
	if w.Code != status || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), says) {
		d.t.Errorf("%s: status %d, location %q, want %d and a page that says %q:\n%s", name, w.Code, w.Header().Get("Location"), status, says, w.Body)
	}
}

func (d *docHarness) lastStart() *identity.SignInStart {
	d.t.Helper()
	d.signIn.mu.Lock()
	defer d.signIn.mu.Unlock()
	if len(d.signIn.starts) == 0 {
		return nil
	}
	return &d.signIn.starts[len(d.signIn.starts)-1]
}

func TestDocumentedClientSignsIn(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	page := d.authorize(ask(nil), "a")
	if page.Code != http.StatusOK {
		t.Fatalf("status %d: %s", page.Code, page.Body)
	}
	form := hiddenFields(page.Body.String())
	form.Set("decision", "allow")
	code := d.callback(d.decide(form), docURI).Get("code")
	mine := map[string]string{"client_id": docClient, "redirect_uri": docURI}
	tokens := d.wantTokens(d.post("/token", codeForm(code, mine)))
	if _, claims := d.claims(tokens.AccessToken); claims["client_id"] != docClient || claims["aud"] != testResource {
		t.Errorf("claims %v", claims)
	}
	tokens = d.wantTokens(d.post("/token", refreshForm(tokens.RefreshToken, mine)))
	if w := d.post("/revoke", url.Values{"client_id": {docClient}, "token": {tokens.RefreshToken}}); w.Code != http.StatusOK {
		t.Errorf("revoke: status %d", w.Code)
	}
	d.wantFetches(docClient) // once, for all of this
}

// Nobody is signed in and the host is nobody's friend: nothing is fetched, everything is sealed, and the person signs in
// first. What is wrong with the request itself shows at once, on a page of ours.
func TestDocumentsAreFetchedAfterSignIn(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	w := d.authorize(ask(nil), "")
	if w.Header().Get("Location") != "/signin" {
		t.Fatalf("status %d, location %q: %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	d.wantFetches()
	start := d.lastStart()
	if f := start.Client; start.ClientName != "client.example" || f == nil || !f.Unchecked || f.Verified || f.Host != "client.example" || f.RedirectHost != "client.example" {
		t.Errorf("the sign-in page is told %+v, %+v", start, start.Client)
	}
	page := d.follow(start.ReturnTo, "a")
	d.wantFetches(docClient)
	form := hiddenFields(page.Body.String())
	form.Set("decision", "allow")
	got := d.callback(d.decide(form), docURI)
	if got.Get("code") == "" || got.Get("state") != "st" || got.Get("iss") != testIssuer {
		t.Errorf("callback %v", got)
	}
	// The request was answered: what is left of it answers no more.
	if w := d.follow(start.ReturnTo, "a"); w.Code == http.StatusOK {
		form := hiddenFields(w.Body.String())
		form.Set("decision", "deny")
		d.refusedWithPage("second answer", d.decide(form), http.StatusBadRequest, "answered already")
	}
	for name, change := range map[string]map[string]string{
		"no PKCE": {"code_challenge": ""}, "token": {"response_type": "token"}, "resource": {"resource": "https://other.example/"},
		"redirect http": {"redirect_uri": "http://evil.example/"}, "redirect script": {"redirect_uri": "javascript:alert(1)"}, "redirect scheme": {"redirect_uri": "evil://x"},
		"to this device": {"redirect_uri": "http://127.0.0.1:5555/callback", "response_type": "token"},
	} {
		fresh := newDocHarness(t)
		fresh.refusedWithPage(name, fresh.authorize(ask(change), ""), http.StatusBadRequest, "")
		fresh.wantFetches()
	}
}

// What a stranger wrote into redirect_uri is never gone to, not even with an error, whatever happens before it is checked.
func TestUncheckedRedirectIsNeverFollowed(t *testing.T) {
	t.Parallel()
	evil := map[string]string{"redirect_uri": "https://evil.example/phish"}
	d := newDocHarness(t)
	w := d.authorize(ask(evil), "")
	start := d.lastStart()
	if w.Header().Get("Location") != "/signin" || start.Client.RedirectHost != "evil.example" || start.Client.Verified {
		t.Fatalf("location %q, facts %+v", w.Header().Get("Location"), start.Client)
	}
	tx := strings.TrimPrefix(start.ReturnTo, "/consent?tx=")
	post := func(decision, session string) *httptest.ResponseRecorder {
		return d.do(request{method: http.MethodPost, path: "/consent", session: session, header: map[string]string{"Sec-Fetch-Site": "same-origin"},
			form: url.Values{"tx": {tx}, "decision": {decision}, "token": {"AAAA"}}})
	}
	if w := post("allow", ""); w.Header().Get("Location") != "/signin" {
		t.Errorf("an answer before the sign-in: status %d, location %q", w.Code, w.Header().Get("Location"))
	}
	d.refusedWithPage("after sign-in", d.follow(start.ReturnTo, "a"), http.StatusBadRequest, "not registered")
	for _, decision := range []string{"allow", "deny", "switch", ""} {
		d.refusedWithPage(decision, post(decision, "a"), http.StatusBadRequest, "not registered")
	}
	d.refusedWithPage("gone back", post("cancel", ""), http.StatusOK, "was not told")

	silent := ask(evil)
	silent.Set("prompt", "none")
	fresh := newDocHarness(t)
	fresh.refusedWithPage("silent", fresh.authorize(silent, ""), http.StatusBadRequest, "signed in")
	fresh.wantFetches()
	fresh.sites.leave(true)
	fresh.refusedWithPage("document away", fresh.authorize(ask(evil), "a"), http.StatusServiceUnavailable, "at client.example, cannot be used: its host could not be reached")
	fresh.clock.Advance(time.Minute)
	fresh.authorize(ask(evil), "")
	if err := fresh.store.RevokeClient(t.Context(), docClient, "test"); err != nil {
		t.Fatal(err)
	}
	fresh.refusedWithPage("revoked meanwhile", fresh.follow(fresh.lastStart().ReturnTo, "a"), http.StatusBadRequest, "no longer allowed")
}

// Somebody's page sends a person who is signed in here, in the name of a client of a trusted host that the person has
// allowed before: the person is asked.
func TestChecklist30_TrustedDocumentsAreAskedForEveryTime(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t, trusting("client.example"))
	d.grantTo(docClient)
	for _, site := range []string{"cross-site", "none", "same-origin"} {
		for _, prompt := range []string{"", "none"} {
			w := d.do(request{path: "/authorize", query: ask(map[string]string{"prompt": prompt}), session: "a", header: map[string]string{"Sec-Fetch-Site": site}})
			w = d.follow(w.Header().Get("Location"), "a")
			if w.Header().Get("Location") != "" || prompt == "" && !strings.Contains(w.Body.String(), "consent-allow") {
				t.Errorf("%s, prompt %q: status %d, location %q", site, prompt, w.Code, w.Header().Get("Location"))
			}
		}
	}
}

// The form of a page that was checked does not open one that was not.
func TestUncheckedTransactionIsNotAnswered(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	d.authorize(ask(nil), "")
	unchecked := strings.TrimPrefix(d.lastStart().ReturnTo, "/consent?tx=")
	form := hiddenFields(d.follow(d.lastStart().ReturnTo, "a").Body.String())
	form.Set("tx", unchecked) // its token was made for the same transaction
	form.Set("decision", "allow")
	if w := d.decide(form); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/consent?tx=") {
		t.Errorf("status %d, location %q, want to be checked first", w.Code, w.Header().Get("Location"))
	}
}

func TestSomebodyElseAndAgain(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	// max_age and prompt=login ask for another sign-in, of a person whose browser is signed in.
	w := d.authorize(ask(map[string]string{"max_age": "0"}), "a")
	if start := d.lastStart(); w.Header().Get("Location") != "/signin" || start.Client.Unchecked || !start.Reauthenticate || start.ClientName != "Claude" {
		t.Errorf("location %q, %+v", w.Header().Get("Location"), start)
	}
	d.wantFetches(docClient) // the person who sits there pays
}

func TestTrustedHosts(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t, trusting("client.example"), func(o *Options) { o.Limits.EarlyDocumentsPerAddress, o.Limits.EarlyDocuments = 2, 3 })
	w := d.authorize(ask(nil), "")
	start := d.lastStart()
	if f := start.Client; w.Header().Get("Location") != "/signin" || start.ClientName != "Claude" || f.Unchecked || !f.Verified || f.Host != "client.example" {
		t.Errorf("location %q, %+v, %+v", w.Header().Get("Location"), start, start.Client)
	}
	// What the client did wrong is known to be wrong before anybody has signed in.
	d.refusedWithPage("redirect URI", d.authorize(ask(map[string]string{"redirect_uri": "https://evil.example/"}), ""), http.StatusBadRequest, "not registered")
	loopback := ask(map[string]string{"redirect_uri": "http://127.0.0.1:5555/callback", "response_type": "token"})
	if w := d.authorize(loopback, ""); !strings.HasPrefix(w.Header().Get("Location"), "http://127.0.0.1:5555/callback?") {
		t.Errorf("location %q", w.Header().Get("Location"))
	}
	d.wantFetches(docClient)
	// The budget is small, and who comes when it is spent signs in first.
	for _, name := range []string{"2", "3", "4"} {
		d.publish("https://client.example/"+name, nil)
		if w := d.authorize(ask(map[string]string{"client_id": "https://client.example/" + name}), ""); w.Header().Get("Location") != "/signin" {
			t.Errorf("%s: status %d %s", name, w.Code, w.Body)
		}
	}
	d.wantFetches(docClient, "https://client.example/2")
	if start := d.lastStart(); !start.Client.Unchecked {
		t.Errorf("facts %+v", start.Client)
	}
	if w := d.follow(d.lastStart().ReturnTo, "a"); w.Code != http.StatusOK {
		t.Errorf("after sign-in: status %d: %s", w.Code, w.Body)
	}
	// Another host is not trusted with it.
	d.publish("https://other.example/c", nil)
	d.authorize(ask(map[string]string{"client_id": "https://other.example/c"}), "")
	if start := d.lastStart(); !start.Client.Unchecked || start.Client.Host != "other.example" {
		t.Errorf("facts %+v", start.Client)
	}
}

func TestDocumentSettings(t *testing.T) {
	t.Parallel()
	accept := map[string]string{"Accept": "application/json"}
	supported := func(d *docHarness) bool {
		var doc struct {
			Supported *bool `json:"client_id_metadata_document_supported"`
		}
		if err := json.Unmarshal(d.do(request{path: "/.well-known/oauth-authorization-server"}).Body.Bytes(), &doc); err != nil || doc.Supported == nil {
			t.Fatalf("metadata: %v", err)
		}
		return *doc.Supported
	}
	d := newDocHarness(t)
	if !supported(d) {
		t.Error("not advertised")
	}
	for name, policy := range map[string]Documents{"off": {Off: true}, "other hosts only": {Hosts: []string{"claude.ai", "sub.client.example"}}} {
		snapshot := testSnapshot()
		snapshot.Documents = policy
		if err := d.server.Swap(snapshot); err != nil {
			t.Fatal(err)
		}
		if supported(d) == policy.Off {
			t.Errorf("%s: advertised %v", name, supported(d))
		}
		d.wantError(d.do(request{path: "/authorize", query: ask(nil), session: "a", header: accept}), http.StatusBadRequest, codeInvalidClient)
		d.wantError(d.post("/token", refreshForm("x", map[string]string{"client_id": docClient})), http.StatusUnauthorized, codeInvalidClient)
	}
	d.wantFetches()
	snapshot := testSnapshot()
	snapshot.Documents.Hosts = []string{"client.example"}
	if err := d.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	if w := d.authorize(ask(nil), "a"); w.Code != http.StatusOK {
		t.Errorf("listed host: status %d", w.Code)
	}
	// An administrator may write such a client down: then nothing is fetched, and its name is vouched for.
	snapshot.Clients = append(snapshot.Clients, Client{ID: "https://written.example/c", Name: "Written", RedirectURIs: []string{docURI}})
	if err := d.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	if w := d.authorize(ask(map[string]string{"client_id": "https://written.example/c"}), "a"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "set up by your administrator") {
		t.Errorf("static client: status %d: %s", w.Code, w.Body)
	}
	d.wantFetches(docClient)

	without := newHarness(t) // no cache at all
	without.wantError(without.do(request{path: "/authorize", query: ask(nil), session: "a", header: accept}), http.StatusBadRequest, codeInvalidClient)
}

func TestChecklist8_DeniedDocument(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	form := hiddenFields(d.authorize(ask(nil), "a").Body.String())
	form.Set("decision", "allow")
	mine := map[string]string{"client_id": docClient, "redirect_uri": docURI}
	tokens := d.wantTokens(d.post("/token", codeForm(d.callback(d.decide(form), docURI).Get("code"), mine)))
	if err := d.store.RevokeClient(t.Context(), docClient, "test"); err != nil {
		t.Fatal(err)
	}
	d.clock.Advance(25 * time.Hour)
	fetches := d.sites.fetched()
	accept := map[string]string{"Accept": "application/json"}
	d.wantError(d.do(request{path: "/authorize", query: ask(nil), session: "a", header: accept}), http.StatusBadRequest, codeInvalidClient)
	d.wantError(d.post("/token", refreshForm(tokens.RefreshToken, mine)), http.StatusUnauthorized, codeInvalidClient)
	d.wantFetches(fetches...) // of a client that is denied nothing is fetched
	if grants, err := d.store.Grants(t.Context(), d.alice.Key); err != nil || len(grants) != 0 {
		t.Errorf("standing grants %v, %v", grants, err)
	}
}

func TestChecklist9_DocumentsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change map[string]any
		says   string
	}{
		"another client":    {map[string]any{"client_id": "https://other.example/x"}, "not the URL of the document"},
		"no name":           {map[string]any{"client_name": nil}, "client_name"},
		"no redirect URIs":  {map[string]any{"redirect_uris": nil}, "redirect_uris"},
		"not listed":        {map[string]any{"redirect_uris": []string{"https://client.example/other"}}, "not registered"},
		"longer than that":  {map[string]any{"redirect_uris": []string{docURI + "/"}}, "not registered"},
		"other port":        {map[string]any{"redirect_uris": []string{"https://client.example:8443/callback"}}, "not registered"},
		"secret":            {map[string]any{"token_endpoint_auth_method": "client_secret_basic"}, "none or private_key_jwt"},
		"weak key":          {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`)}, "no key"},
		"unknown algorithm": {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "HS256", "jwks_uri": "https://client.example/jwks"}, "algorithm"},
		"no code grant":     {map[string]any{"grant_types": []string{"client_credentials"}}, "authorization code"},
	} {
		d := newDocHarness(t)
		d.publish(docClient, tt.change)
		d.refusedWithPage(name, d.authorize(ask(nil), "a"), http.StatusBadRequest, tt.says)
		d.authorize(ask(nil), "") // and by way of the sign-in
		if start := d.lastStart(); start != nil {
			d.refusedWithPage(name+", later", d.follow(start.ReturnTo, "a"), http.StatusBadRequest, tt.says)
		}
	}
	d := newDocHarness(t)
	d.refusedWithPage("no document", d.authorize(ask(map[string]string{"client_id": "https://client.example/none"}), "a"), http.StatusBadRequest, "404")
	// A scheme that is in the document and not allowed here is named as the cause; once it is allowed, it works.
	private := ask(map[string]string{"redirect_uri": "claude://cb"})
	d.refusedWithPage("scheme", d.authorize(private, "a"), http.StatusBadRequest, "scheme that is not allowed here")
	snapshot := testSnapshot()
	snapshot.RedirectSchemes = []string{"claude"}
	if err := d.server.Swap(snapshot); err != nil {
		t.Fatal(err)
	}
	if w := d.authorize(private, "a"); w.Code != http.StatusOK {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	d.refusedWithPage("script", d.authorize(ask(map[string]string{"redirect_uri": "javascript:alert(1)"}), "a"), http.StatusBadRequest, "not allowed here")
}

func TestChecklist10_BadURLsCauseNoFetch(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t, trusting("client.example"))
	accept := map[string]string{"Accept": "application/json"}
	for _, id := range []string{
		"http://client.example/oauth.json", "https://client.example:8443/oauth.json", "https://u@client.example/oauth.json", "https://client.example/oauth.json#f",
		"https://client.example/oauth.json?a=b", "https://client.example/", "https://client.example", "https://client.example/a/../b", "https://client.example/%2e%2e/b",
		"https://127.0.0.1/x", "https://[::1]/x", "https://0x7f.1/x", "https://localhost/x", "HTTPS://client.example/oauth.json", "https://CLIENT.example/oauth.json",
		testIssuer + "/oauth.json",
	} {
		d.wantError(d.do(request{path: "/authorize", query: ask(map[string]string{"client_id": id}), session: "a", header: accept}), http.StatusBadRequest, codeInvalidClient)
		d.wantError(d.post("/token", refreshForm("x", map[string]string{"client_id": id})), http.StatusUnauthorized, codeInvalidClient)
	}
	d.wantFetches()
}

// The real client, and names that lead inside: nothing is dialled, and the answer does not tell why.
func TestChecklist11_DocumentsInside(t *testing.T) {
	for _, proxy := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"} {
		t.Setenv(proxy, "http://127.0.0.1:9")
	}
	for _, inside := range []string{
		"127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1", "fc00::1", "fd00:ec2::254",
		"fe80::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1",
	} {
		log := &bytes.Buffer{}
		client := web.NewClient(web.FencePublic, web.ClientOptions{Resolver: testkit.Resolver(t, inside)})
		h := newHarness(t, func(o *Options) {
			var err error
			o.Documents, err = clientdoc.NewCache(clientdoc.Options{Client: client, Now: o.Now, Log: slog.New(slog.NewTextHandler(log, nil))})
			if err != nil {
				t.Fatal(err)
			}
		})
		w := h.do(request{path: "/authorize", query: ask(nil), session: "a"})
		if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), inside) || strings.Contains(w.Body.String(), "not allowed") {
			t.Errorf("%s: status %d: %s", inside, w.Code, w.Body)
		}
		if !strings.Contains(log.String(), web.ErrFenced.Error()) {
			t.Errorf("%s: the log says %s", inside, log)
		}
	}
}

// A document that lists another redirect URI from now on: what was granted stays, what is asked for next is checked and
// consented to against the new document.
func TestChecklist15_ChangedRedirectURIs(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	mine := map[string]string{"client_id": docClient, "redirect_uri": docURI}
	allow := func(params url.Values) string {
		t.Helper()
		form := hiddenFields(d.authorize(params, "a").Body.String())
		form.Set("decision", "allow")
		return d.callback(d.decide(form), params.Get("redirect_uri")).Get("code")
	}
	tokens := d.wantTokens(d.post("/token", codeForm(allow(ask(nil)), mine)))
	const moved = "https://client.example/moved"
	d.publish(docClient, map[string]any{"redirect_uris": []string{moved}})
	d.clock.Advance(2 * time.Hour)
	d.signIn.change(func(f *fakeSignIn) { f.sessions["a"].AuthTime = d.clock.Now() })
	d.refusedWithPage("the old one", d.authorize(ask(nil), "a"), http.StatusBadRequest, "not registered")
	page := d.authorize(ask(map[string]string{"redirect_uri": moved}), "a")
	if page.Code != http.StatusOK || !strings.Contains(page.Body.String(), "Allow <bdi>Claude</bdi>?") {
		t.Errorf("the new one: status %d: %s", page.Code, page.Body)
	}
	tokens = d.wantTokens(d.post("/token", refreshForm(tokens.RefreshToken, mine)))
	code := allow(ask(map[string]string{"redirect_uri": moved}))
	d.wantTokens(d.post("/token", codeForm(code, map[string]string{"client_id": docClient, "redirect_uri": moved})))
	d.wantTokens(d.post("/token", refreshForm(tokens.RefreshToken, mine)))
}

// Portless loopback URIs of a document match any port (RFC 8252 §7.3), and nothing else.
func TestChecklist17_LoopbackOfADocument(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	for uri, ok := range map[string]bool{
		"http://127.0.0.1:43210/callback": true, "http://127.0.0.1/callback": true, "http://localhost:43210/callback": false,
		"http://127.0.0.1:43210/other": false, "https://127.0.0.1:43210/callback": false, "http://127.0.0.1.evil.example/callback": false,
	} {
		if w := d.authorize(ask(map[string]string{"redirect_uri": uri}), "a"); (w.Code == http.StatusOK) != ok || w.Header().Get("Location") != "" {
			t.Errorf("%s: status %d, location %q", uri, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestChecklist25_WhatTheConsentPageSaysOfDocuments(t *testing.T) {
	t.Parallel()
	d := newDocHarness(t)
	d.publish(docClient, map[string]any{"client_name": "<b>Claude</b>\u202e verified", "redirect_uris": []string{
		docURI, "https://client.example:443/callback", "http://127.0.0.1/callback", "https://other.example/cb", "https://sub.client.example/cb", "https://client.example.evil.example/cb"}})
	homograph := "https://xn--clent-n1a.example/oauth.json"
	d.publish(homograph, map[string]any{"redirect_uris": []string{"https://xn--clent-n1a.example/cb"}})
	for name, tt := range map[string]struct {
		client, redirect string
		shows, never     []string
	}{
		"own host":          {docClient, docURI, []string{"verified host", "<code>client.example</code>", "This is really <code>client.example</code>"}, []string{"unverified", "Nobody has verified"}},
		"own host and port": {docClient, "https://client.example:443/callback", []string{"verified host"}, []string{"unverified"}},
		"loopback":          {docClient, "http://127.0.0.1:5555/callback", []string{"unverified", "Nobody has verified", "says that it is of <code>client.example</code>", "program on this device", "127.0.0.1:5555"}, []string{"verified host", "This is really"}},
		"another host":      {docClient, "https://other.example/cb", []string{"unverified", "<code>other.example</code>"}, []string{"verified host", "This is really"}},
		"a host below":      {docClient, "https://sub.client.example/cb", []string{"unverified", "<code>sub.client.example</code>"}, []string{"verified host"}},
		"a longer host":     {docClient, "https://client.example.evil.example/cb", []string{"unverified"}, []string{"verified host"}},
		"another script":    {homograph, "https://xn--clent-n1a.example/cb", []string{"<code>xn--clent-n1a.example</code>"}, []string{"unverified"}},
	} {
		body := d.authorize(ask(map[string]string{"client_id": tt.client, "redirect_uri": tt.redirect}), "a").Body.String()
		for _, text := range append(tt.shows, "alice", "Tools", "mcp:tools") {
			if !strings.Contains(body, text) {
				t.Errorf("%s: the page does not show %q:\n%s", name, text, body)
			}
		}
		for _, text := range append(tt.never, "<b>Claude", "\u202e", "logo.png") {
			if strings.Contains(body, text) {
				t.Errorf("%s: the page shows %q", name, text)
			}
		}
	}
	d.wantFetches(slices.DeleteFunc(d.sites.fetched(), func(at string) bool { return strings.Contains(at, "logo") })...)
}
