package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/loopback"
)

func (k *checker) clients() {
	ids := make([]identity.ClientID, 0, len(k.cfg.Clients))
	for i := range k.cfg.Clients {
		k.client(fmt.Sprintf("clients[%d]", i), &k.cfg.Clients[i])
		ids = append(ids, k.cfg.Clients[i].ClientID)
	}
	for _, i := range repeated(ids) {
		k.bad(fmt.Sprintf("clients[%d].client_id", i), fmt.Sprintf("%q is taken by a client above", ids[i]), "Give each client its own client_id.")
	}
}

func (k *checker) client(path string, c *Client) {
	if c.ClientID == "" || strings.ContainsFunc(string(c.ClientID), func(r rune) bool { return r <= ' ' || r > '~' }) {
		k.bad(path+".client_id", "is not a client identifier", "Use printable ASCII characters without spaces.")
	}
	code, device, idJAG := slices.Contains(c.GrantTypes, GrantCode), slices.Contains(c.GrantTypes, GrantDevice), slices.Contains(c.GrantTypes, GrantIDJAG)
	if slices.Contains(c.GrantTypes, GrantClientCredentials) {
		k.service(path, c)
	} else if len(c.Groups) > 0 {
		k.bad(path+".groups", "is for services, and people come through this client", "Remove it; groups of people are set with gatehouse user.")
	} else if !code && !device && !idJAG {
		k.bad(path+".grant_types", "lacks authorization_code, without which the client never gets a token", "Add it, or leave grant_types out.")
	}
	if idJAG {
		k.idJAGClient(path, c)
	}
	if code && len(c.RedirectURIs) == 0 && !k.broken(path+".redirect_uris") {
		k.bad(path+".redirect_uris", "names no redirect URI", "Name the address at which the client takes the code.")
	}
	for i, uri := range c.RedirectURIs {
		k.redirectURI(fmt.Sprintf("%s.redirect_uris[%d]", path, i), uri, c.Consent)
	}
	k.clientAuth(path, c)
	if at := path + ".tls_client_certificate_bound_access_tokens"; c.CertificateBound && c.AuthMethod == AuthNone {
		k.bad(at, "is for clients that authenticate, and token_endpoint_auth_method is none", "Set client_secret_basic or private_key_jwt, or use dpop_bound_access_tokens.")
	} else if c.CertificateBound && !k.cfg.CertificatesShown() {
		k.bad(at, "leaves the client without tokens, because clients cannot show certificates here", "Set tls.client_certificates: true or, behind a proxy that terminates TLS, client_certificate_header.")
	}
	k.scopeList(path+".scopes", c.Scopes)
	for i, uri := range c.PostLogoutURIs {
		k.redirectURI(fmt.Sprintf("%s.post_logout_redirect_uris[%d]", path, i), uri, ConsentAlways)
	}
	if c.Audience == "" && k.index[path+".audience"] != nil {
		k.bad(path+".audience", "is empty", "Give it a value, or remove it.")
	}
	for name := range c.AccessTokenClaims {
		if why := reservedClaim(name); why != "" {
			k.bad(join(path+".access_token_claims", name), "cannot be set here: "+why, "Choose another name, such as cid for the client.")
		}
	}
	k.lifetimes(path, c.Lifetimes)
}

// idJAGClient checks a client that brings assertions of an identity provider.
func (k *checker) idJAGClient(path string, c *Client) {
	if c.Audience != "" {
		k.bad(path+".audience", "does not go with the grant jwt-bearer: the identity provider says which endpoint its tokens are for", "Remove it, or make another client for that.")
	}
	if c.AuthMethod == AuthNone {
		k.doubtful(path+".token_endpoint_auth_method", "is none, and whoever gets hold of an assertion for this client can use it", "Set client_secret_basic or private_key_jwt where the client can keep a secret.")
	}
	if !slices.ContainsFunc(k.cfg.SignIn.OIDC, func(p OIDC) bool { return p.IDJAG }) {
		k.doubtful(path+".grant_types", "has jwt-bearer, and no identity provider is trusted for that", "Set id_jag: true at one in sign_in.oidc.")
	}
}

// service checks a client that acts as itself.
func (k *checker) service(path string, c *Client) {
	if len(c.GrantTypes) > 1 {
		k.bad(path+".grant_types", "has client_credentials beside other grants", "Make one client for the service and another for people.")
	}
	if c.AuthMethod == AuthNone {
		k.bad(path+".token_endpoint_auth_method", "is none: anybody could be this service", "Set client_secret_basic with client_secret, or private_key_jwt with jwks.")
	}
	if len(c.Scopes) == 0 && !k.broken(path+".scopes") {
		k.bad(path+".scopes", "is missing: a service gets the scopes that stand here, and no others", "Name them, such as [mcp:tools].")
	}
	for i, s := range c.Scopes {
		if slices.Contains([]string{"openid", "profile", "email", "offline_access"}, s) {
			k.bad(fmt.Sprintf("%s.scopes[%d]", path, i), "is about people, and nobody signs in for a service", "Remove it.")
		}
	}
	k.noneEmpty(path+".groups", c.Groups)
	for _, unused := range []struct {
		key string
		set bool
	}{{".redirect_uris", len(c.RedirectURIs) > 0}, {".post_logout_redirect_uris", len(c.PostLogoutURIs) > 0}} {
		if unused.set {
			k.bad(path+unused.key, "is never used: a service has no browser", "Remove it.")
		}
	}
	for i := range k.cfg.Endpoints {
		for _, clients := range k.cfg.Endpoints[i].Services {
			if slices.Contains(clients, c.ClientID) {
				return
			}
		}
	}
	k.doubtful(path, "is a service that no endpoint admits", fmt.Sprintf("Name it at an endpoint: services: {%s: [%s]}.", Gatehouse, c.ClientID))
}

// clientAuth holds the authentication method against what there is to authenticate with.
func (k *checker) clientAuth(path string, c *Client) {
	withSecret, withKeys := c.AuthMethod == AuthBasic || c.AuthMethod == AuthPost, c.AuthMethod == AuthPrivateKey
	switch {
	case c.AuthMethod == AuthNone && !c.Secret.IsZero():
		k.bad(path+".client_secret", "is never used, because token_endpoint_auth_method is none", "Set token_endpoint_auth_method: client_secret_basic, or remove the secret.")
	case withKeys && !c.Secret.IsZero():
		k.bad(path+".client_secret", "is never used, because token_endpoint_auth_method is private_key_jwt", "Remove the secret.")
	case withSecret && c.Secret.IsZero():
		k.bad(path+".client_secret", "is missing, but token_endpoint_auth_method is "+c.AuthMethod, "Add client_secret: {file: path} or {env: NAME}, or set token_endpoint_auth_method: none.")
	}
	for _, unused := range []struct {
		key string
		set bool
	}{{".jwks", !c.JWKS.IsZero()}, {".jwks_uri", c.JWKSURI != ""}, {".token_endpoint_auth_signing_alg", c.AssertionAlg != ""}} {
		if unused.set && !withKeys {
			k.bad(path+unused.key, "is never used, because token_endpoint_auth_method is "+c.AuthMethod, "Set token_endpoint_auth_method: private_key_jwt, or remove it.")
		}
	}
	if !withKeys {
		return
	}
	switch {
	case c.JWKS.IsZero() && c.JWKSURI == "":
		k.bad(path+".jwks", "is missing, but token_endpoint_auth_method is private_key_jwt", "Add jwks: {file: path} with the client's public keys, or jwks_uri.")
	case !c.JWKS.IsZero() && c.JWKSURI != "":
		k.bad(path+".jwks_uri", "does not go together with jwks", "Remove one of them.")
	case c.JWKSURI != "":
		k.keysURL(path+".jwks_uri", c.JWKSURI)
	default:
		k.publicKeys(path+".jwks", []byte(c.JWKS.Reveal()))
	}
}

// keysURL admits URLs at which public keys may be fetched.
func (k *checker) keysURL(path, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || strings.Contains(s, "#"):
		k.bad(path, "is not the URL of a JWK set", "Write it as https://host/path, without user name and fragment.")
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.bad(path, "is plain http on another host than this machine: whoever sits on the way could name their own keys", "Write https.")
	}
}

// publicKeys checks a JWK set. The authorization server leaves out keys that it cannot use; a private one gave itself away.
func (k *checker) publicKeys(path string, raw []byte) {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil || len(set.Keys) == 0 {
		k.bad(path, "is not a JWK set with keys in it", `Write {"keys": [...]} in JSON, or name a file with that: jwks: {file: path}.`)
		return
	}
	for _, key := range set.Keys {
		if key["d"] != nil || key["k"] != nil || key["p"] != nil {
			k.bad(path, "holds a private key; nobody but the client may have that", "Export the public half of each key only, and replace the key that was here.")
			return
		}
	}
	if _, err := jose.ParseKeySet(raw); err != nil {
		k.bad(path, "has no key that can verify signatures: "+strings.ReplaceAll(err.Error(), "\n", "; "), "Use RSA of 2048 bits or more, P-256 or Ed25519.")
	}
}

// redirectURI admits https, http on loopback, and listed private-use schemes (RFC 9700 §2.1, RFC 8252 §7).
func (k *checker) redirectURI(path, uri, consent string) {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "" || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		k.bad(path, "is not an absolute URI", "Write it as the client sends it, such as http://localhost:3334/oauth/callback.")
	case strings.Contains(uri, "#"):
		k.bad(path, "has a fragment", "Remove the # and what follows.")
	case u.User != nil:
		k.bad(path, "has a user name or password in it", "Remove it.")
	case strings.Contains(uri, "*"):
		k.bad(path, "has a wildcard; redirect URIs are compared exactly", "Name each redirect URI in full.")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		k.bad(path, "has no host", "Write it as the client sends it.")
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.bad(path, "is plain http on another host than the person's own machine", "Use https, or http on localhost, 127.0.0.1 or [::1].")
	case u.Scheme != "http" && u.Scheme != "https" && !slices.Contains(k.cfg.Registration.PrivateRedirectSchemes, u.Scheme):
		k.bad(path, fmt.Sprintf("has the scheme %q, which is not allowed", u.Scheme), "Add it to registration.private_redirect_schemes, if an application of yours owns it.")
	case u.Scheme != "https" && consent == ConsentSkip:
		k.bad(path, "does not go with consent: skip, because any program on the person's machine could ask in the client's name", "Use an https redirect URI, or consent: always.")
	}
}

// reservedClaim says why a claim of an access token cannot be fixed by configuration.
func reservedClaim(name string) string {
	switch {
	case identity.ProtocolClaim(name):
		return "Gatehouse sets it itself"
	case identity.PersonClaim(name):
		return "it says who the person is"
	}
	return ""
}

// scopeList checks the values of a list of scopes.
func (k *checker) scopeList(path string, scopes identity.Scopes) {
	for i, s := range scopes {
		if !identity.ValidScope(s) {
			k.bad(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is not a scope", s), "A scope has no spaces, quotes or backslashes; write several as a list.")
		}
	}
}

// noneEmpty refuses empty members.
func (k *checker) noneEmpty(path string, values []string) {
	for i, v := range values {
		if v == "" {
			k.bad(fmt.Sprintf("%s[%d]", path, i), "is empty", "Give it a value, or remove it.")
		}
	}
}
