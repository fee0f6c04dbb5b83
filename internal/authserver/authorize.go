package authserver

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// Bounds of parameters in bytes; with them a transaction fits into a URL that every proxy lets through.
const (
	maxState     = 2 << 10
	maxNonce     = 512
	maxLoginHint = 256
	maxScope     = 2 << 10
)

// authorize is the authorization endpoint (OAuth 2.1 §4.1.1, OpenID Connect Core §3.1.2.1). It validates the request
// and sends the browser on to consent. It writes nothing, so that clients may probe it as often as they like.
//
// Until client and redirect URI are known to belong together, nothing is ever sent to the redirect URI.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	params, err := readParams(w, r)
	if err != nil {
		return err
	}
	client, redirectURI, err := s.checkRedirectTarget(r, params)
	if err != nil {
		return err
	}
	t := &transaction{Client: client.ID, RedirectURI: redirectURI, Unchecked: client.Pending()}
	if states := params["state"]; len(states) == 1 && len(states[0]) <= maxState && utf8.ValidString(states[0]) {
		t.State = states[0]
	}
	if err := s.fillTransaction(t, client, params); err != nil {
		return s.answerUnasked(w, r, t, client, web.AsError(err))
	}
	sealed, err := s.sealTransaction(t)
	if err != nil {
		return err
	}
	w.Header().Set("Location", consentPath(sealed))
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

func consentPath(sealed string) string { return "/consent?tx=" + sealed }

// checkRedirectTarget finds the client and checks that the redirect URI is its own (checklist 16). That of a client that
// is pending is checked for what it is alone.
func (s *Server) checkRedirectTarget(r *http.Request, params url.Values) (*Client, string, error) {
	if len(params["client_id"]) != 1 || params.Get("client_id") == "" {
		return nil, "", refuse(codeInvalidRequest, "client_id_missing", "the request names no client, or more than one")
	}
	client, err := s.lookup(r.Context(), identity.ClientID(params.Get("client_id")), s.browserAccount(r))
	if err != nil {
		return nil, "", err
	}
	if len(params["redirect_uri"]) != 1 || params.Get("redirect_uri") == "" {
		return nil, "", refuse(codeInvalidRequest, "redirect_uri_missing", "the request names no redirect_uri, or more than one")
	}
	redirectURI := params.Get("redirect_uri")
	if client.Pending() {
		if err := checkRedirect(redirectURI, s.current.Load().schemes); err != nil {
			return nil, "", refuse(codeInvalidRequest, "redirect_uri_unacceptable", err.Error())
		}
		return client, redirectURI, nil
	}
	return client, redirectURI, s.checkRegistered(client, redirectURI)
}

// checkRegistered says why a redirect URI is not one of the client's.
func (s *Server) checkRegistered(client *Client, redirectURI string) error {
	if matchRedirect(client.RedirectURIs, redirectURI) {
		return nil
	}
	if client.Host != "" { // whose document may list it all the same
		if err := checkRedirect(redirectURI, s.current.Load().schemes); err != nil {
			return refuse(codeInvalidRequest, "redirect_uri_unacceptable", err.Error())
		}
	}
	return refuse(codeInvalidRequest, "redirect_uri_unregistered", "the redirect_uri is not registered for this client")
}

// fillTransaction checks everything that is answered by redirect.
func (s *Server) fillTransaction(t *transaction, client *Client, params url.Values) error {
	if err := checkRepeated(params); err != nil {
		return err
	}
	if err := checkBasics(t, client, params); err != nil {
		return err
	}
	current := s.current.Load()
	resource, err := current.findResource(params["resource"])
	if err != nil {
		return err
	}
	if resource != nil {
		t.Resource = resource.URL
	}
	t.Scopes = current.grantable(client, resource, params.Get("scope"))
	t.DPoPKey = params.Get("dpop_jkt")
	t.Challenge, t.Nonce, t.LoginHint = params.Get("code_challenge"), params.Get("nonce"), params.Get("login_hint")
	return s.fillPrompt(t, params)
}

// checkBasics checks the parameters that leave no trace in the transaction, and the sizes of those that do.
func checkBasics(t *transaction, client *Client, params url.Values) error {
	switch {
	case params.Get("request") != "":
		return refuse(codeRequestNotSupported, "request_object_unsupported", "request objects are not supported")
	case params.Get("request_uri") != "":
		return refuse(codeRequestURINotSupp, "request_object_unsupported", "request objects are not supported")
	case params.Get("response_type") == "":
		return refuse(codeInvalidRequest, "response_type_missing", "response_type is missing")
	case params.Get("response_type") != "code":
		return refuse(codeUnsupportedResponse, "response_type_unsupported", "response_type must be code")
	case !client.Pending() && !client.allows(GrantCode):
		return refuse(codeUnauthorizedClient, "grant_type_not_allowed", "this client may not use the authorization code grant")
	case params.Get("response_mode") != "" && params.Get("response_mode") != "query":
		return refuse(codeInvalidRequest, "response_mode_unsupported", "response_mode must be query")
	case params.Get("code_challenge") == "":
		return refuse(codeInvalidRequest, "pkce_missing", "code_challenge is missing: PKCE is required")
	case params.Get("code_challenge_method") != "S256":
		return refuse(codeInvalidRequest, "pkce_method", "code_challenge_method must be S256")
	case !isPKCEText(params.Get("code_challenge")):
		return refuse(codeInvalidRequest, "pkce_malformed", "code_challenge must have 43 to 128 unreserved characters")
	case params.Get("state") != t.State:
		return refuse(codeInvalidRequest, "state_unacceptable", "state is too long or not UTF-8")
	case len(params.Get("nonce")) > maxNonce || len(params.Get("login_hint")) > maxLoginHint || len(params.Get("scope")) > maxScope:
		return refuse(codeInvalidRequest, "parameter_too_long", "nonce, login_hint or scope is too long")
	case !isText(params.Get("nonce")) || !isText(params.Get("login_hint")):
		return refuse(codeInvalidRequest, "parameter_unprintable", "nonce or login_hint has characters that are not text")
	case params.Get("dpop_jkt") != "" && !dpop.ValidKey(params.Get("dpop_jkt")):
		return refuse(codeInvalidRequest, "dpop_jkt_malformed", "dpop_jkt must be a SHA-256 thumbprint in base64url")
	}
	return nil
}

// isText reports whether s can be stored and shown.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// isPKCEText reports whether s may be a verifier or a challenge (RFC 7636 §4.1, §4.2).
func isPKCEText(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	return strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") == ""
}

// fillPrompt reads prompt and max_age (OpenID Connect Core §3.1.2.1). Prompts that we do not know are ignored.
func (s *Server) fillPrompt(t *transaction, params url.Values) error {
	prompts := strings.Fields(params.Get("prompt"))
	t.Silent = slices.Contains(prompts, "none")
	if t.Silent && len(prompts) > 1 {
		return refuse(codeInvalidRequest, "prompt_combined", "prompt none cannot be combined with others")
	}
	t.Choose = slices.Contains(prompts, "select_account")
	t.Ask = t.Choose || slices.Contains(prompts, "consent")
	now := s.Now().Unix()
	if text := params.Get("max_age"); text != "" {
		age, err := strconv.ParseInt(text, 10, 32)
		if err != nil || age < 0 {
			return refuse(codeInvalidRequest, "max_age_malformed", "max_age must be a number of seconds")
		}
		t.NotBefore = now - age
	}
	if slices.Contains(prompts, "login") {
		t.NotBefore = now
	}
	return nil
}

// needsSignIn reports whether the person's sign-in is too old for the transaction. Times count in whole seconds, as
// in tokens.
func (t *transaction) needsSignIn(at time.Time) bool { return at.Unix() < t.NotBefore }

// findResource returns the endpoint that the resource parameters name. Without any it is the only endpoint there is;
// with several endpoints it is none, and the token is good for userinfo only.
func (c *settings) findResource(asked []string) (*Resource, error) {
	var found *Resource
	for _, text := range asked {
		if text == "" {
			continue
		}
		wanted, err := canonicalResource(text)
		i := slices.IndexFunc(c.resources, func(r Resource) bool { return r.canonical == wanted })
		switch {
		case err != nil || i < 0:
			return nil, refuse(codeInvalidTarget, "resource_unknown", "the resource is not an endpoint of this server")
		case found != nil && found != &c.resources[i]:
			return nil, refuse(codeInvalidTarget, "resource_repeated", "only one resource at a time")
		}
		found = &c.resources[i]
	}
	if found == nil && len(c.resources) == 1 {
		return &c.resources[0], nil
	}
	return found, nil
}

// canonicalResource makes spellings of one URL equal: case of scheme and host, default port, trailing slashes.
func canonicalResource(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.Contains(text, "#") || u.RawQuery != "" || len(text) > 2<<10 {
		return "", errors.New("not an absolute URL without user name, query and fragment")
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme { // url.Parse has made it lower case
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return "", errors.New("not an http or https URL")
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// grantable is what of the requested scope can be granted. Unknown scopes are dropped; when nothing is left the
// endpoint's default scopes are granted, and if it has none, those that the administrator wrote down for the client. The
// token response names the result.
func (c *settings) grantable(client *Client, resource *Resource, asked string) identity.Scopes {
	known := standardScopes()
	var defaults identity.Scopes
	switch {
	case resource != nil:
		known, defaults = known.Union(resource.Scopes), resource.DefaultScopes
	case client.Audience != "": // the audience, not one endpoint, says where such a token is accepted
		for _, r := range c.resources {
			known = known.Union(r.Scopes)
		}
	}
	if len(client.Scopes) > 0 {
		known, defaults = known.Intersect(client.Scopes), defaults.Intersect(client.Scopes)
		if len(defaults) == 0 {
			defaults = known
		}
	}
	if scopes := identity.ParseScopes(asked).Intersect(known); len(scopes) > 0 {
		return scopes
	}
	return defaults
}
