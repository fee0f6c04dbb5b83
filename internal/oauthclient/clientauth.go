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

	"gatehouse/internal/identity"
)

// AssertionType is the client_assertion_type of client assertions (RFC 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const assertionLife = time.Minute

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
		form.Set("client_assertion_type", AssertionType)
		form.Set("client_assertion", assertion)
	}
	return nil
}

// assertion is a fresh one-time credential (RFC 7523 §3). Its audience is the IdP that the administrator configured
// for this very key, so an IdP that lies about its endpoints gains nothing.
func (p *Provider) assertion(m Metadata) (string, error) {
	audience := m.TokenEndpoint
	if p.preset.AssertionAudience == AudienceIssuer {
		audience = string(m.Issuer)
	}
	return p.o.ClientKey.Assertion(p.o.ClientID, audience, p.o.Now())
}

// Assertion makes a client assertion for one request (RFC 7523 §3), good for a minute. The audience is the issuer or the
// token endpoint of the one authorization server that knows the key.
func (k *ClientKey) Assertion(client identity.ClientID, audience string, now time.Time) (string, error) {
	alg, err := k.algorithm()
	if err != nil {
		return "", err
	}
	opts := (&gojose.SignerOptions{}).WithType("JWT")
	if k.CertSHA256 != "" {
		opts = opts.WithHeader("x5t#S256", k.CertSHA256)
	}
	signer, err := gojose.NewSigner(gojose.SigningKey{Algorithm: gojose.SignatureAlgorithm(alg), Key: gojose.JSONWebKey{Key: k.Private, KeyID: k.KeyID}}, opts)
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(map[string]any{
		"iss": client, "sub": client, "aud": audience, "jti": rand.Text(),
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

// Check reports whether the key can sign.
func (k *ClientKey) Check() error {
	_, err := k.algorithm()
	return err
}
