package upauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

// token is an access token with what came along.
type token struct {
	access  secret.Text
	bound   bool // to the key (RFC 9449)
	refresh secret.Text
	issuer  identity.Issuer
	born    time.Time
	expires time.Time // zero: not said

	worked  atomic.Bool // the target has taken it
	renewal bool        // it was asked for because the target refused the one before
}

func (t *token) scheme() string {
	if t != nil && t.bound {
		return "DPoP"
	}
	return "Bearer"
}

// due reports whether the token is to be renewed: a little before it expires, so that it does not on its way.
func (t *token) due(now time.Time) bool {
	if t.expires.IsZero() {
		return false
	}
	return !now.Before(t.expires.Add(-min(time.Minute, t.expires.Sub(t.born)/10)))
}

// tokenResponse is a successful token response (RFC 6749 §5.1).
type tokenResponse struct {
	Access  string         `json:"access_token"`
	Type    string         `json:"token_type"`
	Refresh string         `json:"refresh_token"`
	Expires jsontext.Value `json:"expires_in"` // a number, and at some servers a string
	Issued  string         `json:"issued_token_type"`
}

// lifetime is zero when the server does not say.
func (r tokenResponse) lifetime() time.Duration {
	const most = 10 * 365 * 24 * 3600
	seconds, err := strconv.ParseFloat(strings.Trim(string(r.Expires), `"`), 64)
	if err != nil || !(seconds > 0 && seconds <= most) {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// redeem asks the token endpoint, and again with the nonce when it wants one (RFC 9449 §8).
func (s *Source) redeem(ctx context.Context, p *place, c Client, form url.Values) (*token, error) {
	for name, value := range s.o.Parameters {
		form.Set(name, value)
	}
	if s.o.WithoutResource {
		form.Del("resource")
	}
	at, err := url.Parse(p.server.TokenEndpoint)
	if err != nil {
		return nil, err
	}
	if s.key != nil && len(p.server.ProofAlgorithms) > 0 && !can(p.server.ProofAlgorithms, "", dpop.KeyAlgorithm) {
		return nil, s.fail("bind the token to a key", fmt.Errorf("the authorization server takes proofs with %.100q, and ours are %s", p.server.ProofAlgorithms, dpop.KeyAlgorithm), "")
	}
	a, err := s.askTwice(ctx, at, p, c, form)
	if err != nil {
		return nil, s.fail("ask the token endpoint", err, "")
	}
	if a.status != http.StatusOK {
		return nil, s.refusedBy("the token endpoint", a)
	}
	var r tokenResponse
	if err := json.Unmarshal(a.body, &r); err != nil {
		return nil, s.fail("read the answer of the token endpoint", err, "")
	}
	if err := s.checkToken(r); err != nil {
		return nil, s.fail("read the answer of the token endpoint", err, "")
	}
	t := &token{access: secret.New(r.Access), bound: s.key != nil, refresh: secret.New(r.Refresh), issuer: p.server.Issuer, born: s.o.Now()}
	if life := r.lifetime(); life > 0 {
		t.expires = t.born.Add(life)
	}
	return t, nil
}

func (s *Source) checkToken(r tokenResponse) error {
	want := "Bearer"
	if s.key != nil {
		want = "DPoP"
	}
	switch {
	case r.Access == "" || strings.ContainsFunc(r.Access, func(c rune) bool { return c <= ' ' || c > '~' }):
		return errors.New("there is no access token that could stand in a header")
	case !strings.EqualFold(r.Type, want):
		return fmt.Errorf("the token is of type %.32q, want %s", r.Type, want)
	}
	return nil
}

func (s *Source) askTwice(ctx context.Context, at *url.URL, p *place, c Client, form url.Values) (answer, error) {
	a, err := s.askToken(ctx, at, p, c, form)
	if err != nil || s.key == nil || a.status != http.StatusBadRequest || errorIn(a).Code != "use_dpop_nonce" || a.header.Get("DPoP-Nonce") == "" {
		return a, err
	}
	return s.askToken(ctx, at, p, c, form)
}

func (s *Source) askToken(ctx context.Context, at *url.URL, p *place, c Client, form url.Values) (answer, error) {
	header := http.Header{}
	if err := s.authenticate(p.server, c, form, header); err != nil {
		return answer{}, err
	}
	if s.key != nil {
		proof, err := s.key.Proof(dpop.Made{Method: http.MethodPost, URL: at, Nonce: s.nonce(at)}, s.o.Now())
		if err != nil {
			return answer{}, err
		}
		header[dpop.Header] = []string{proof}
	}
	return s.post(ctx, at, p.trusted, form, header)
}

func (s *Source) post(ctx context.Context, to *url.URL, trusted bool, form url.Values, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header = header
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.do(req, trusted)
}

// authenticate adds what shows who we are to a request for the token endpoint (RFC 6749 §2.3, RFC 7523 §2.2).
func (s *Source) authenticate(m server, c Client, form url.Values, header http.Header) error {
	switch method := s.authMethod(m, c); method {
	case oauthclient.AuthBasic: // form-encoded first (RFC 6749 §2.3.1)
		pair := url.QueryEscape(string(c.ID)) + ":" + url.QueryEscape(c.Secret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case oauthclient.AuthPost:
		form.Set("client_id", string(c.ID))
		form.Set("client_secret", c.Secret.Reveal())
	case oauthclient.AuthPrivateKey:
		assertion, err := c.Key.Assertion(c.ID, string(m.Issuer), s.o.Now())
		if err != nil {
			return fmt.Errorf("sign the client assertion: %w", err)
		}
		form.Set("client_id", string(c.ID))
		form.Set("client_assertion_type", oauthclient.AssertionType)
		form.Set("client_assertion", assertion)
	default:
		form.Set("client_id", string(c.ID))
	}
	return nil
}

// authMethod is as the administrator or the registration said, else what goes with what we have and with the server.
func (s *Source) authMethod(m server, c Client) string {
	switch {
	case c.AuthMethod != "":
		return c.AuthMethod
	case c.Key != nil:
		return oauthclient.AuthPrivateKey
	case c.Secret.IsZero():
		return authNone
	case !can(m.AuthMethods, "", oauthclient.AuthBasic) && can(m.AuthMethods, "", oauthclient.AuthPost):
		return oauthclient.AuthPost
	}
	return oauthclient.AuthBasic
}

// saidError is an error response (RFC 6749 §5.2, RFC 7591 §3.2.2).
type saidError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func errorIn(a answer) (said saidError) {
	_ = json.Unmarshal(a.body, &said) // without one, the status has to do
	return said
}

func (s *Source) refusedBy(whom string, a answer) error {
	said := errorIn(a)
	text := fmt.Sprintf("HTTP status %d", a.status)
	if said.Code != "" {
		text += fmt.Sprintf(": %.100q %.300q", said.Code, said.Description)
	}
	e := &Error{Target: s.o.Target, Doing: "ask " + whom, Code: said.Code, Cause: errors.New(text)}
	switch said.Code {
	case "invalid_client", "unauthorized_client":
		e.Hint = "check the client, its secret or key, and how it authenticates"
	case "invalid_scope":
		e.Hint = "check the scopes"
	case "invalid_target":
		e.Hint = "the authorization server does not know the target under its URL"
	}
	return e
}

// noteNonce keeps the nonce that a server wants in the next proof (RFC 9449 §8.2).
func (s *Source) noteNonce(at *url.URL, h http.Header) {
	nonce := h.Get("DPoP-Nonce")
	if s.key == nil || nonce == "" || len(nonce) > 1<<10 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.nonces) > 16 {
		clear(s.nonces)
	}
	s.nonces[origin(at)] = nonce
}

func (s *Source) nonce(at *url.URL) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nonces[origin(at)]
}
