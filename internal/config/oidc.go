package config

import (
	"crypto"

	"gatehouse/internal/identity"
	"gatehouse/internal/oauthclient"
	"gatehouse/internal/secret"
)

// The values of SignIn.Unreachable.
const (
	UnreachableKeep = "keep"
	UnreachableEnd  = "end"
)

// OIDC is one identity provider at which people sign in, and Gatehouse's application there.
type OIDC struct {
	Name         string            `yaml:"name,required" doc:"Part of the callback URL: public_url/oauth/callback/NAME. People of another name are other people, so do not rename it."`
	Label        string            `yaml:"label" doc:"What the sign-in page calls it. Without it: name."`
	Preset       string            `yaml:"preset" enum:"okta,entra,cognito,auth0,keycloak,google,pingone,dex,authentik,zitadel" doc:"The vendor, for what is peculiar to it. Without it: as the specifications say."`
	DiscoveryURL string            `yaml:"discovery_url,required" doc:"Metadata of the provider: a URL with /.well-known/openid-configuration."`
	Issuer       identity.Issuer   `yaml:"issuer" doc:"Only when the provider's metadata names another issuer than its URL does."`
	Tenants      []string          `yaml:"tenants" doc:"For Entra with common or organizations: the ids of the tenants whose people may sign in."`
	ClientID     identity.ClientID `yaml:"client_id,required" doc:"Gatehouse's client there."`
	ClientSecret secret.Text       `yaml:"client_secret" doc:"Its secret, or instead of one:"`
	PrivateKey   *PrivateKey       `yaml:"private_key" doc:"The key with which Gatehouse signs its requests there (private_key_jwt)."`
	Scopes       identity.Scopes   `yaml:"scopes" doc:"What to ask for beside openid. Without it: what suits the preset, with a refresh token."`
	Parameters   map[string]string `yaml:"authorize_params" doc:"Further parameters of the authorization request."`
	GroupsClaim  string            `yaml:"groups_claim" doc:"Path of the claim that holds groups. Without it: the preset's, else none."`
	Require      *identity.Rule    `yaml:"require" doc:"Claim rule that a person must satisfy to sign in, and at every check."`
	Claims       []string          `yaml:"claims" doc:"Claims of the provider that tokens carry, for access rules. User name and groups they carry in any case."`
	EmailDomains []string          `yaml:"email_domains" doc:"E-mail addresses of these domains lead to this provider. It does not limit who may sign in: require does."`
	IDJAG        bool              `yaml:"id_jag" doc:"Clients may bring its word about a person (Enterprise-Managed Authorization, ID-JAG) instead of sending the person here. The provider then decides which clients may act for whom, and nobody is asked for consent."`
	Hidden       bool              `yaml:"hidden" doc:"The sign-in page does not offer it: only an e-mail address leads there."`
}

// PrivateKey is a client's key.
type PrivateKey struct {
	File       string `yaml:"file,path,required" doc:"RSA or P-256 key in PEM."`
	KeyID      string `yaml:"kid" doc:"Its id at the provider."`
	Algorithm  string `yaml:"alg" enum:"RS256,PS256,ES256" doc:"Without it: RS256 or ES256, by the key."`
	CertSHA256 string `yaml:"certificate_sha256" doc:"SHA-256 thumbprint of the certificate in base64url, by which Entra finds it."`

	Signer crypto.Signer `yaml:"-" json:"-"` // what File holds
}

// Client is the key in the words of the package that signs with it; nil without one.
func (p *PrivateKey) Client() *oauthclient.ClientKey {
	if p == nil || p.Signer == nil {
		return nil
	}
	return &oauthclient.ClientKey{Private: p.Signer, KeyID: p.KeyID, Algorithm: p.Algorithm, CertSHA256: p.CertSHA256}
}

// nobody reports whether the built-in authorization server knows no way to sign in.
func (s SignIn) nobody() bool { return !s.Users && len(s.OIDC) == 0 }
