package testkit

import (
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/go-jose/go-jose/v4"
)

// knowsClient authenticates the client by the one configured method; IDP.mu is held.
func (u *UpstreamIDP) knowsClient(r *http.Request) bool {
	id, password, basic := r.BasicAuth()
	form := r.PostForm
	switch u.c.AuthMethod {
	case "client_secret_basic": // form-encoded first (RFC 6749 §2.3.1)
		id, errID := url.QueryUnescape(id)
		password, errPassword := url.QueryUnescape(password)
		return basic && errID == nil && errPassword == nil && id == u.c.ClientID && password == u.c.ClientSecret &&
			!form.Has("client_secret") && !form.Has("client_assertion")
	case "client_secret_post":
		return !basic && form.Get("client_id") == u.c.ClientID && form.Get("client_secret") == u.c.ClientSecret
	case "private_key_jwt":
		return !basic && !form.Has("client_secret") && u.acceptsAssertion(form)
	}
	return false
}

// acceptsAssertion checks a client assertion (RFC 7523 §3), each once.
func (u *UpstreamIDP) acceptsAssertion(form url.Values) bool {
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return false
	}
	jws, err := jose.ParseSignedCompact(form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return false
	}
	payload, err := jws.Verify(u.c.ClientKey)
	if err != nil {
		return false
	}
	var c struct {
		Iss, Sub, Aud, Jti string
		Iat, Exp           int64
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return false
	}
	audience := u.IDP.Issuer() + "/token"
	if u.vendor.assertionToIssuer {
		audience = u.Issuer()
	}
	now := u.c.Now().Unix()
	fresh := c.Jti != "" && !u.jtis[c.Jti] && c.Iat <= now && now < c.Exp && c.Exp-now <= 300
	u.jtis[c.Jti] = true
	return fresh && c.Iss == u.c.ClientID && c.Sub == u.c.ClientID && c.Aud == audience
}
