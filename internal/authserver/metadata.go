package authserver

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"gatehouse/internal/dpop"
	"gatehouse/internal/identity"
	"gatehouse/internal/web"
)

// The scopes of OpenID Connect Core §5.4 and §11, for which every client may ask.
const (
	scopeOpenID  = "openid"
	scopeProfile = "profile"
	scopeEmail   = "email"
	scopeOffline = "offline_access"
)

func standardScopes() identity.Scopes {
	return identity.Scopes{scopeOpenID, scopeProfile, scopeEmail, scopeOffline}
}

// metadata is the one document for RFC 8414 and for OpenID Connect Discovery 1.0 §3. Its URLs come from the
// configured issuer, never from a request.
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint,omitempty"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	Scopes                []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	GrantProfiles         []string `json:"authorization_grant_profiles_supported,omitempty"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	IDTokenAlgs           []string `json:"id_token_signing_alg_values_supported"`
	DPoPAlgs              []string `json:"dpop_signing_alg_values_supported"`
	CertificateBound      bool     `json:"tls_client_certificate_bound_access_tokens,omitzero"`
	Claims                []string `json:"claims_supported"`
	Prompts               []string `json:"prompt_values_supported"`
	AnswersNameIssuer     bool     `json:"authorization_response_iss_parameter_supported"`
	ClaimsParameter       bool     `json:"claims_parameter_supported"`
	RequestParameter      bool     `json:"request_parameter_supported"`
	RequestURIParameter   bool     `json:"request_uri_parameter_supported"`
	ClientDocuments       bool     `json:"client_id_metadata_document_supported"`
}

func newMetadata(issuer identity.Issuer, c *settings) ([]byte, error) {
	base := string(issuer)
	doc := metadata{
		Issuer:                base,
		AuthorizationEndpoint: base + "/authorize",
		TokenEndpoint:         base + tokenPath,
		RegistrationEndpoint:  base + "/register",
		RevocationEndpoint:    base + "/revoke",
		UserinfoEndpoint:      base + "/userinfo",
		EndSessionEndpoint:    base + "/signout",
		JWKSURI:               base + "/.well-known/jwks.json",
		// What normal use needs; scopes for single tools are named when they are missing, not listed here.
		Scopes:                standardScopes().Union(c.defaultScopes()),
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{"query"},
		GrantTypes:            []string{GrantCode, GrantRefresh},
		TokenAuthMethods:      authMethods(),
		TokenAuthAlgs:         assertionAlgs(),
		RevocationAuthMethods: authMethods(),
		RevocationAuthAlgs:    assertionAlgs(),
		ChallengeMethods:      []string{"S256"},
		SubjectTypes:          []string{"public"},
		IDTokenAlgs:           []string{"ES256"},
		DPoPAlgs:              dpop.Algorithms(),
		CertificateBound:      c.certificates,
		Claims: []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "amr", "azp", "sid", "at_hash",
			"preferred_username", "name", "groups", "email", "email_verified"},
		Prompts:           []string{"none", "login", "consent", "select_account"},
		AnswersNameIssuer: true,
		ClientDocuments:   !c.documents.Off,
	}
	if c.closed {
		doc.RegistrationEndpoint = ""
	}
	if c.anyMay(GrantDevice) || !c.noDevices && !(c.closed && c.documents.Off) {
		doc.DeviceEndpoint = base + "/device_authorization" // RFC 8628 §4
		doc.GrantTypes = append(doc.GrantTypes, GrantDevice)
	}
	if c.assertions {
		doc.GrantTypes, doc.GrantProfiles = append(doc.GrantTypes, GrantIDJAG), []string{grantProfile}
	}
	if c.anyMay(GrantClientCredentials) {
		doc.GrantTypes = append(doc.GrantTypes, GrantClientCredentials)
	}
	return json.Marshal(doc)
}

// anyMay reports whether a static client may use a grant.
func (c *settings) anyMay(grant string) bool {
	for _, client := range c.clients {
		if client.allows(grant) {
			return true
		}
	}
	return false
}

// defaultScopes are the default scopes of all endpoints.
func (c *settings) defaultScopes() identity.Scopes {
	var out identity.Scopes
	for _, r := range c.resources {
		out = out.Union(r.DefaultScopes)
	}
	return out
}

// metadataRoutes serve the document wherever clients probe for it: at the root, with the path of an endpoint put
// after the well-known part (RFC 8414 §3.1), and with the well-known part after it (OpenID Connect Discovery §4.1).
func (s *Server) metadataRoutes() []web.Route {
	document := s.api(s.serveMetadata, http.MethodGet)
	missing := s.api(notFound)
	routes := []web.Route{{Pattern: "/.well-known/jwks.json", Handler: s.api(s.jwks, http.MethodGet)}}
	for _, name := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		routes = append(routes, web.Route{Pattern: name, Handler: document}, web.Route{Pattern: name + "/", Handler: missing})
		for _, path := range s.current.Load().paths() {
			routes = append(routes, web.Route{Pattern: name + path, Handler: document}, web.Route{Pattern: path + name, Handler: document})
		}
	}
	return routes
}

// paths are the paths of the endpoints that have one, each once.
func (c *settings) paths() []string {
	var out []string
	seen := map[string]bool{}
	for _, r := range c.resources {
		u, err := url.Parse(r.URL)
		if err != nil {
			continue // checked when the settings were made
		}
		if path := strings.TrimRight(u.Path, "/"); path != "" && !seen[path] {
			seen[path] = true
			out = append(out, path)
		}
	}
	return out
}

func (s *Server) serveMetadata(w http.ResponseWriter, _ *http.Request) error {
	writeDocument(w, s.current.Load().metadata)
	return nil
}

func (s *Server) jwks(w http.ResponseWriter, _ *http.Request) error {
	writeDocument(w, s.Signing.JWKS())
	return nil
}

// writeDocument writes a public document that is the same for everybody.
func writeDocument(w http.ResponseWriter, document []byte) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(document) // the reader has gone; there is nobody left to tell
}

func notFound(http.ResponseWriter, *http.Request) error {
	return &web.Error{Status: http.StatusNotFound, Code: codeNotFound, Reason: "document_unknown", Message: "there is no such document here"}
}
