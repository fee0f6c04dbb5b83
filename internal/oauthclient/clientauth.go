package oauthclient

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	assertionLife = time.Minute
)

// authMethod chooses how we authenticate: as the administrator said, or the best that the IdP offers for what we have.
func (p *Provider) authMethod(m Metadata) (string, error) {
	ours := []string{AuthBasic, AuthPost}
	if p.o.ClientKey != nil {
		ours = []string{AuthPrivateKey}
	}
	switch {
	case p.o.AuthMethod != "":
		return p.o.AuthMethod, nil
	case len(m.TokenAuthMethods) == 0: // client_secret_basic is then understood (RFC 8414 §2)
		return ours[0], nil
	}
	for _, method := range ours {
		if slices.Contains(m.TokenAuthMethods, method) {
			return method, nil
		}
	}
	e := p.fail(Misconfigured, ReasonDiscovery, fmt.Sprintf("the IdP authenticates clients by %.200q, and we can do %q",
		strings.Join(m.TokenAuthMethods, " "), strings.Join(ours, " ")), nil)
	e.Hint = "use a client secret where the IdP takes secrets, a client key where it takes signed assertions"
	return "", e
}

// authenticate adds our credential to a request for the endpoint at the IdP.
func (p *Provider) authenticate(m Metadata, form url.Values, header http.Header) error {
	method, err := p.authMethod(m)
	if err != nil {
		return err
	}
	switch method {
	case AuthBasic: // form-encoded first (RFC 6749 §2.3.1)
		pair := url.QueryEscape(string(p.o.ClientID)) + ":" + url.QueryEscape(p.o.ClientSecret.Reveal())
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	case AuthPost:
		form.Set("client_id", string(p.o.ClientID))
		form.Set("client_secret", p.o.ClientSecret.Reveal())
	case AuthPrivateKey:
		assertion, err := p.assertion(m)
		if err != nil {
			return p.fail(Misconfigured, ReasonClientRefused, "sign the client assertion", err)
		}
		form.Set("client_id", string(p.o.ClientID))
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", assertion)
	}
	return nil
}

// assertion is a fresh one-time credential (RFC 7523 §3). Its audience is the IdP that the administrator configured
// for this very key, so an IdP that lies about its endpoints gains nothing.
func (p *Provider) assertion(m Metadata) (string, error) {
	key := p.o.ClientKey
	alg, err := key.algorithm()
	if err != nil {
		return "", err
	}
	opts := (&gojose.SignerOptions{}).WithType("JWT")
	if key.CertSHA256 != "" {
		opts = opts.WithHeader("x5t#S256", key.CertSHA256)
	}
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.SignatureAlgorithm(alg), Key: gojose.JSONWebKey{Key: key.Private, KeyID: key.KeyID}}, opts)
	if err != nil {
		return "", err
	}
	audience := m.TokenEndpoint
	if p.preset.AssertionAudience == AudienceIssuer {
		audience = string(m.Issuer)
	}
	now := p.o.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": p.o.ClientID, "sub": p.o.ClientID, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
