package oauthclient

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/loopback"
	"gatehouse/internal/secret"
)

// Options describes one IdP and Gatehouse's application there.
type Options struct {
	Name         string // as the administrator calls it; stands in messages and in every Pending
	DiscoveryURL string
	Issuer       identity.Issuer // only when the IdP's document names another issuer than its URL does
	Tenants      []string        // entra with common or organizations: the tenant ids that may sign in
	Preset       string          // see Presets; empty for none

	ClientID     identity.ClientID
	ClientSecret secret.Text // or ClientKey
	ClientKey    *ClientKey
	AuthMethod   string // one of the Auth constants; empty: what the IdP's metadata offers
	RedirectURI  string

	Scopes          identity.Scopes // empty: the preset's; openid is added
	AuthorizeParams []Param         // on top of the preset's
	// GroupsClaim is the path of the claim that holds groups, as in an identity.ClaimRule. The claim may be a string, a
	// list of strings, or an object whose names are the groups. Empty: the preset's.
	GroupsClaim string
	UserInfo    bool           // ask the userinfo endpoint too
	Algorithms  []string       // allowed for ID tokens; empty: jose.DefaultAlgorithms
	Require     *identity.Rule // what a person's claims must satisfy; nil: nothing

	Client *http.Client // stays behind a fence for URLs of the administrator; redirects are never followed
	Now    func() time.Time
	Log    *slog.Logger

	KeysTold func(error) // how each fetch of the keys went; may be nil
}

// ClientKey signs client assertions (private_key_jwt, RFC 7523 §2.2).
type ClientKey struct {
	Private    crypto.Signer // *rsa.PrivateKey or *ecdsa.PrivateKey on P-256
	KeyID      string        // kid in the header, unless empty
	Algorithm  string        // RS256, PS256 or ES256; empty: RS256 or ES256 by the key
	CertSHA256 string        // x5t#S256 in the header, unless empty: how Entra finds the certificate (unverified)
}

// The client authentication methods (OpenID Connect Core §9).
const (
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"
)

func (o Options) validate() (Preset, error) {
	if o.Client == nil || o.Now == nil || o.Log == nil {
		return Preset{}, errors.New("HTTP client, clock and log are required")
	}
	return o.check()
}

// Check reports whether the settings can work, without HTTP client, clock and log.
func (o Options) Check() error {
	_, err := o.check()
	return err
}

// AsksForRefresh reports whether these settings are such that the IdP gives a refresh token.
func (o Options) AsksForRefresh() bool {
	preset, _ := LookupPreset(o.Preset)
	return preset.asksForRefresh(o.scopes(preset))
}

func (o Options) check() (Preset, error) {
	preset, known := LookupPreset(o.Preset)
	switch {
	case o.Name == "" || o.ClientID == "" || o.DiscoveryURL == "":
		return preset, errors.New("name, client id and discovery URL are required")
	case !known:
		return preset, fmt.Errorf("preset %q is unknown; choose one of %s, or none", o.Preset, strings.Join(PresetNames(), ", "))
	}
	for _, err := range []error{
		preset.CheckDiscoveryURL(o.DiscoveryURL), checkEndpoint(o.RedirectURI), o.checkCredential(), o.checkTenants(preset), o.checkRequest(),
	} {
		if err != nil {
			return preset, err
		}
	}
	return preset, nil
}

func (o Options) checkCredential() error {
	if o.ClientSecret.IsZero() == (o.ClientKey == nil) {
		return errors.New("give either a client secret or a client key: Gatehouse is a confidential client")
	}
	if o.ClientKey != nil {
		if o.AuthMethod != "" && o.AuthMethod != AuthPrivateKey {
			return fmt.Errorf("client authentication %q does not go with a client key", o.AuthMethod)
		}
		_, err := o.ClientKey.algorithm()
		return err
	}
	switch o.AuthMethod {
	case "", AuthBasic, AuthPost:
		return nil
	}
	return fmt.Errorf("client authentication %q does not go with a client secret; use %s or %s", o.AuthMethod, AuthBasic, AuthPost)
}

func (o Options) checkTenants(p Preset) error {
	many := o.tenantTemplate(p) != ""
	switch {
	case many && len(o.Tenants) == 0:
		return errors.New("common and organizations admit every company in the world: list the tenant ids that may sign in")
	case !many && len(o.Tenants) > 0:
		return errors.New("a list of tenants goes with the preset entra and a discovery URL of common or organizations only")
	}
	for _, t := range o.Tenants {
		if t == "" || strings.ContainsAny(t, "/{}?#% ") {
			return fmt.Errorf("tenant %q: write the tenant's id", t)
		}
	}
	return nil
}

func (o Options) checkRequest() error {
	for _, s := range o.Scopes {
		if !identity.ValidScope(s) {
			return fmt.Errorf("scope %q is not a scope", s)
		}
	}
	for _, a := range o.Algorithms {
		if !jose.KnownAlgorithm(a) {
			return fmt.Errorf("algorithm %q cannot be allowed; use some of %s", a, strings.Join(jose.DefaultAlgorithms(), ", "))
		}
	}
	for _, p := range o.AuthorizeParams {
		if p.Name == "" || slices.Contains(ownParams(), p.Name) {
			return fmt.Errorf("authorize parameter %q is Gatehouse's own to set, or has no place in a sign-in", p.Name)
		}
	}
	if o.GroupsClaim != "" {
		if err := (identity.ClaimRule{Claim: o.GroupsClaim, Operator: identity.OpExists}).Validate(); err != nil {
			return fmt.Errorf("groups claim: %w", err)
		}
	}
	if o.Require != nil {
		return o.Require.Validate()
	}
	return nil
}

// ownParams are the authorization request parameters that no administrator sets. resource (RFC 8707) is among them
// since what the MCP client asks for is not the IdP's business, and some answer it with an error.
func ownParams() []string {
	return []string{
		"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "resource", "request", "request_uri", "registration", "client_secret", "max_age", "login_hint",
	}
}

// tenantTemplate returns the issuer that Entra's documents for several tenants name, or "" for a single tenant.
func (o Options) tenantTemplate(p Preset) identity.Issuer {
	if p.UserKey != KeyTenantObject {
		return ""
	}
	for _, many := range []string{"/common/v2.0/", "/organizations/v2.0/"} {
		if before, _, found := strings.Cut(o.DiscoveryURL, many); found {
			return identity.Issuer(before + "/" + tenantMark + "/v2.0")
		}
	}
	return ""
}

const tenantMark = "{tenantid}"

func (o Options) scopes(p Preset) identity.Scopes {
	asked := o.Scopes
	if len(asked) == 0 {
		asked = p.Scopes
		if p.Name == "" {
			asked = identity.Scopes{"profile", "email", offlineAccess}
		}
	}
	return identity.Scopes{"openid"}.Union(asked)
}

// algorithm returns what the key signs with.
func (k *ClientKey) algorithm() (string, error) {
	switch key := k.Private.(type) {
	case *rsa.PrivateKey:
		if key.N.BitLen() < 2048 {
			return "", fmt.Errorf("client key: RSA with %d bits, want at least 2048", key.N.BitLen())
		}
		switch k.Algorithm {
		case "":
			return "RS256", nil
		case "RS256", "PS256":
			return k.Algorithm, nil
		}
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() && (k.Algorithm == "" || k.Algorithm == "ES256") {
			return "ES256", nil
		}
	}
	return "", fmt.Errorf("client key of type %T cannot sign %q; use an RSA key with RS256 or PS256, or a P-256 key with ES256", k.Private, k.Algorithm)
}

// checkEndpoint admits https, and http on the loopback interface.
func checkEndpoint(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return fmt.Errorf("read URL: %w", err)
	case u.Host == "" || u.User != nil || strings.Contains(raw, "#"):
		return fmt.Errorf("URL %q: want https://host/path without user and fragment", u.Redacted())
	case u.Scheme == "https" || u.Scheme == "http" && loopback.Is(u.Hostname()):
		return nil
	}
	return fmt.Errorf("URL %q: only https, or http on this very machine", raw)
}
