package testkit

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// UpstreamIDP is an identity provider as a relying party sees it: authorization code with PKCE, ID tokens, rotating
// refresh tokens, userinfo, revocation. Everybody who is sent to it is signed in as the configured person at once. With
// a vendor's name it has that vendor's paths, metadata, claims and errors, as far as they are known.
type UpstreamIDP struct {
	*IDP
	t      testing.TB
	name   string // of the vendor
	vendor upstreamVendor

	// guarded by IDP.mu
	c        UpstreamConfig
	pages    refusals
	shown    errorPage             // on the page to which a browser was redirected
	codes    map[string]url.Values // authorization requests by code; an empty one was redeemed
	families map[string]*family    // by refresh token
	access   map[string]bool       // access tokens that userinfo takes
	jtis     map[string]bool
	requests []UpstreamRequest
}

// UpstreamConfig is what a test can change with Configure.
type UpstreamConfig struct {
	Now                    func() time.Time
	ClientID, ClientSecret string
	ClientKey              crypto.PublicKey // for private_key_jwt
	AuthMethod             string           // the only one accepted
	RedirectURI            string
	Subject                string
	Person                 map[string]any   // claims of the ID token besides those of the protocol
	Userinfo               map[string]any   // what userinfo says besides sub; nil is Person
	UserinfoAnswer         http.HandlerFunc // instead of the userinfo endpoint's own, when set
	SessionID              string

	Iss           string // sent in answers; "-" is none
	SignedIn      bool   // prompt=none finds somebody
	AuthorizeErr  string
	ErrText       string
	IDToken       func(claims map[string]any) // changes the claims before they are signed
	IDTokenHeader map[string]any
	IDTokenKey    *IDPKey
	NoIDToken     bool
	NoRefresh     bool // no refresh tokens
	NoRotation    bool
	Disabled      bool             // the person was removed: refresh fails
	TokenAnswer   http.HandlerFunc // instead of the token endpoint's own, when set
}

// UpstreamRequest is one request to an endpoint.
type UpstreamRequest struct {
	Endpoint string // authorize, token, userinfo, revoke
	Params   url.Values
	Header   http.Header
}

type family struct {
	newest string
	scope  string
	dead   bool
}

// NewUpstreamIDP starts a provider; vendor is a preset's name or empty. It stops with the test.
func NewUpstreamIDP(t testing.TB, vendor string) *UpstreamIDP {
	t.Helper()
	v, ok := upstreamVendors()[vendor]
	if !ok {
		t.Fatalf("unknown vendor %q", vendor)
	}
	u := &UpstreamIDP{
		IDP: &IDP{path: v.path, fetches: map[string]int{}}, t: t, name: vendor, vendor: v, pages: upstreamRefusals(vendor),
		codes: map[string]url.Values{}, families: map[string]*family{}, access: map[string]bool{}, jtis: map[string]bool{},
	}
	u.server = httptest.NewServer(u)
	u.origin = u.server.URL
	t.Cleanup(func() {
		u.Release()
		u.server.Close()
	})
	alg := "RS256"
	if vendor == "" {
		alg = "ES256" // quicker to make
	}
	u.AddKey(t, alg)
	u.c = UpstreamConfig{
		Now: time.Now, ClientID: "gatehouse", ClientSecret: "s3cret+/&=", AuthMethod: "client_secret_basic",
		RedirectURI: "https://gw.example/oauth/callback/" + vendor, Subject: v.subject, Person: v.person,
	}
	u.SetDocument(nil)
	return u
}

// Configure changes settings.
func (u *UpstreamIDP) Configure(f func(*UpstreamConfig)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(&u.c)
}

// SetDocument puts members on top of the vendor's discovery document; nil takes all of them away again.
func (u *UpstreamIDP) SetDocument(members map[string]any) {
	at := u.IDP.Issuer()
	doc := map[string]any{
		"issuer": u.Issuer(), "token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post", "private_key_jwt"},
		"userinfo_endpoint": at + "/userinfo", "revocation_endpoint": at + "/revoke", "end_session_endpoint": at + "/logout?tenant=1",
	}
	maps.Copy(doc, u.vendor.document)
	maps.Copy(doc, members)
	u.IDP.SetDocument(doc)
}

// Issuer is what the provider calls itself, with the vendor's slash.
func (u *UpstreamIDP) Issuer() string { return u.IDP.Issuer() + u.vendor.slash }

// Requests lists what an endpoint was asked.
func (u *UpstreamIDP) Requests(endpoint string) []UpstreamRequest {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []UpstreamRequest
	for _, r := range u.requests {
		if r.Endpoint == endpoint {
			out = append(out, r)
		}
	}
	return out
}

// Visit goes where a browser was sent, and returns the parameters with which it comes back.
func (u *UpstreamIDP) Visit(t testing.TB, to string) url.Values {
	t.Helper()
	client := *u.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := client.Get(to)
	if err != nil {
		t.Fatalf("visit the identity provider: %v", err)
	}
	defer res.Body.Close()
	back, err := res.Location()
	if err != nil {
		t.Fatalf("the identity provider shows a page with status %d", res.StatusCode)
	}
	return back.Query()
}

// LogoutToken is a good back-channel logout token for the configured person; extra goes on top, nil removes a claim.
func (u *UpstreamIDP) LogoutToken(t testing.TB, header, extra map[string]any) string {
	t.Helper()
	u.mu.Lock()
	c := u.c
	u.mu.Unlock()
	claims := map[string]any{
		"iss": u.Issuer(), "sub": c.Subject, "aud": c.ClientID, "iat": c.Now().Unix(), "exp": c.Now().Add(2 * time.Minute).Unix(),
		"jti": rand.Text(), "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	if c.SessionID != "" {
		claims["sid"] = c.SessionID
	}
	put(claims, extra)
	head := map[string]any{"typ": "logout+jwt"}
	maps.Copy(head, header)
	return MintToken(t, u.Newest(), head, claims)
}

// put copies members; nil removes one.
func put(to, from map[string]any) {
	for name, value := range from {
		if value == nil {
			delete(to, name)
		} else {
			to[name] = value
		}
	}
}

// ServeHTTP answers as the provider.
func (u *UpstreamIDP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	endpoint := strings.TrimPrefix(r.URL.Path, u.path+"/")
	serve := map[string]http.HandlerFunc{
		"authorize": u.authorize, "token": u.token, "userinfo": u.userinfo, "revoke": u.revoke,
	}[endpoint]
	switch {
	case endpoint == "login" || endpoint == "error" || endpoint == "signin/oauth/error":
		u.mu.Lock()
		defer u.mu.Unlock()
		u.page(w, endpoint)
		return
	case serve == nil:
		u.IDP.ServeHTTP(w, r)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	u.mu.Lock()
	u.requests = append(u.requests, UpstreamRequest{endpoint, maps.Clone(r.Form), r.Header.Clone()})
	down := u.down
	u.mu.Unlock()
	if down {
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
		return
	}
	serve(w, r)
}

func (u *UpstreamIDP) authorize(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	q := r.Form
	if u.refuseRequest(w, r) {
		return
	}
	back := url.Values{"state": {q.Get("state")}}
	switch {
	case u.c.Iss != "" && u.c.Iss != "-":
		back.Set("iss", u.c.Iss)
	case u.c.Iss == "" && u.document["authorization_response_iss_parameter_supported"] == true:
		back.Set("iss", u.Issuer())
	}
	code, text := u.c.AuthorizeErr, u.c.ErrText
	scopes := strings.Fields(q.Get("scope"))
	switch {
	case code != "":
	case q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		code, text = "invalid_request", "want a code with PKCE"
	case q.Has("resource") && u.vendor.resourceError != "":
		code, text = "invalid_target", u.vendor.resourceError
	case slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(u.vendor.unknownScopes, s) }):
		code, text = "invalid_scope", "a scope is not known here"
	case q.Get("prompt") == "none" && !u.c.SignedIn:
		code, text = "login_required", "nobody is signed in"
	}
	if code != "" {
		back.Set("error", code)
		back.Set("error_description", text)
	} else {
		code = rand.Text()
		u.codes[code] = q
		back.Set("code", code)
	}
	http.Redirect(w, r, u.c.RedirectURI+"?"+back.Encode(), http.StatusFound)
}

func (u *UpstreamIDP) token(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.c.TokenAnswer != nil {
		u.c.TokenAnswer(w, r)
		return
	}
	if !u.knowsClient(r) {
		tokenErr(w, http.StatusUnauthorized, "invalid_client", "client authentication failed")
		return
	}
	switch r.PostForm.Get("grant_type") {
	case "authorization_code":
		u.redeemCode(w, r.PostForm)
	case "refresh_token":
		u.refresh(w, r.PostForm.Get("refresh_token"))
	default:
		tokenErr(w, http.StatusBadRequest, "unsupported_grant_type", "")
	}
}

func (u *UpstreamIDP) redeemCode(w http.ResponseWriter, form url.Values) {
	asked := u.codes[form.Get("code")]
	u.codes[form.Get("code")] = nil
	challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
	if asked == nil || form.Get("redirect_uri") != asked.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(challenge[:]) != asked.Get("code_challenge") {
		tokenErr(w, http.StatusBadRequest, "invalid_grant", "the code is not valid")
		return
	}
	refresh := ""
	if !u.c.NoRefresh && u.vendor.refresh(asked) {
		refresh = rand.Text()
		u.families[refresh] = &family{newest: refresh, scope: asked.Get("scope")}
	}
	u.answerTokens(w, asked.Get("nonce"), asked.Get("scope"), refresh)
}

func (u *UpstreamIDP) refresh(w http.ResponseWriter, old string) {
	f := u.families[old]
	if f == nil || f.dead || f.newest != old || u.c.Disabled {
		if f != nil {
			f.dead = true
		}
		tokenErr(w, u.vendor.deadStatus(), u.vendor.deadCode(), "Refresh token is invalid, expired or revoked")
		return
	}
	next := ""
	if !u.c.NoRotation {
		next = rand.Text()
		f.newest = next
		u.families[next] = f
	}
	u.answerTokens(w, "", f.scope, next)
}

func (u *UpstreamIDP) answerTokens(w http.ResponseWriter, nonce, scope, refresh string) {
	now := u.c.Now()
	key := u.keys[len(u.keys)-1]
	access := u.accessToken(u.t, AccessRequest{ClientID: u.c.ClientID, Scope: scope})
	u.access[access] = true
	if u.c.IDTokenKey != nil {
		key = u.c.IDTokenKey
	}
	claims := map[string]any{
		"iss": u.Issuer(), "sub": u.c.Subject, "aud": u.c.ClientID, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"auth_time": now.Unix(), "at_hash": leftHalf(key.Alg, access),
	}
	maps.Copy(claims, u.c.Person)
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if u.c.SessionID != "" {
		claims["sid"] = u.c.SessionID
	}
	if u.c.IDToken != nil {
		u.c.IDToken(claims)
	}
	body := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": 3600, "scope": scope}
	if !u.c.NoIDToken {
		body["id_token"] = MintToken(u.t, key, u.c.IDTokenHeader, claims)
	}
	if refresh != "" {
		body["refresh_token"] = refresh
	}
	w.Header().Set("Cache-Control", "no-store")
	answerJSON(w, http.StatusOK, body)
}

// leftHalf is at_hash (OpenID Connect Core §3.1.3.6).
func leftHalf(alg, token string) string {
	h := crypto.SHA256.New()
	switch {
	case strings.HasSuffix(alg, "384"):
		h = crypto.SHA384.New()
	case strings.HasSuffix(alg, "512"), alg == "EdDSA":
		h = crypto.SHA512.New()
	}
	h.Write([]byte(token))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

func (u *UpstreamIDP) userinfo(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.c.UserinfoAnswer != nil {
		u.c.UserinfoAnswer(w, r)
		return
	}
	if token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !u.access[token] {
		tokenErr(w, http.StatusUnauthorized, "invalid_token", "")
		return
	}
	info := map[string]any{"sub": u.c.Subject}
	maps.Copy(info, u.c.Person)
	if u.c.Userinfo != nil {
		info = map[string]any{"sub": u.c.Subject}
		maps.Copy(info, u.c.Userinfo)
	}
	answerJSON(w, http.StatusOK, info)
}

func (u *UpstreamIDP) revoke(w http.ResponseWriter, r *http.Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.knowsClient(r) {
		tokenErr(w, http.StatusUnauthorized, "invalid_client", "")
		return
	}
	if f := u.families[r.PostForm.Get("token")]; f != nil {
		f.dead = true
	}
	w.WriteHeader(http.StatusOK)
}

func tokenErr(w http.ResponseWriter, status int, code, description string) {
	answerJSON(w, status, map[string]any{"error": code, "error_description": description})
}

func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err) // bodies are maps of plain values
	}
}

// IDJAG is a good identity assertion grant about the configured person, for a client of the authorization server with that
// issuer; extra goes on top, nil removes a claim.
func (u *UpstreamIDP) IDJAG(t testing.TB, audience, client string, header, extra map[string]any) string {
	t.Helper()
	u.mu.Lock()
	c := u.c
	u.mu.Unlock()
	claims := map[string]any{
		"iss": u.Issuer(), "sub": c.Subject, "aud": audience, "client_id": client, "jti": rand.Text(),
		"iat": c.Now().Unix(), "exp": c.Now().Add(5 * time.Minute).Unix(),
	}
	put(claims, extra)
	head := map[string]any{"typ": "oauth-id-jag+jwt"}
	maps.Copy(head, header)
	return MintToken(t, u.Newest(), head, claims)
}
