package authserver

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/seal"
	"gatehouse/internal/web"
)

// Registration is stateless: the client id is the client's metadata with a MAC over it. It cannot be forgotten, costs
// no storage, and needs no cleaning up; what an administrator revokes goes to the store's deny list.
const (
	clientIDLabel  = "registered client id"
	clientIDPrefix = "dcr1." // dcr1.METADATA.MAC, both in base64url
	maxClientID    = 1536
	maxBody        = 8 << 10
	maxRedirects   = 10
	maxClientName  = 100
)

// clientRecord is what a client id carries. The keys are short because every authorization URL has them.
type clientRecord struct {
	Name         string         `json:"n,omitempty"`
	RedirectURIs []string       `json:"r"`
	AuthMethod   string         `json:"m"`
	Keys         jsontext.Value `json:"k,omitempty"` // JWK set
	AssertionAlg string         `json:"a,omitempty"`
	Refresh      bool           `json:"f,omitempty"`
	Device       bool           `json:"d,omitzero"` // the device grant
	NoCode       bool           `json:"c,omitzero"` // the device grant alone
	DPoP         bool           `json:"p,omitzero"` // no token without a proof of possession
	IssuedAt     int64          `json:"t"`
	Nonce        string         `json:"x"` // two registrations are two clients, however alike
}

// registrationRequest is the client metadata that we look at (RFC 7591 §2). Everything else is ignored.
type registrationRequest struct {
	RedirectURIs    []string       `json:"redirect_uris"`
	ClientName      string         `json:"client_name"`
	AuthMethod      string         `json:"token_endpoint_auth_method"`
	AssertionAlg    string         `json:"token_endpoint_auth_signing_alg"`
	Keys            jsontext.Value `json:"jwks"`
	KeysURI         string         `json:"jwks_uri"`
	GrantTypes      []string       `json:"grant_types"`
	ResponseTypes   []string       `json:"response_types"`
	ApplicationType string         `json:"application_type"`
	DPoPBound       bool           `json:"dpop_bound_access_tokens"`
}

// registrationResponse is the client information response (RFC 7591 §3.2.1): what is in force.
type registrationResponse struct {
	ClientID        identity.ClientID `json:"client_id"`
	IssuedAt        int64             `json:"client_id_issued_at"`
	Secret          string            `json:"client_secret,omitempty"`
	SecretExpiresAt *int64            `json:"client_secret_expires_at,omitempty"`
	ClientName      string            `json:"client_name,omitempty"`
	RedirectURIs    []string          `json:"redirect_uris"`
	AuthMethod      string            `json:"token_endpoint_auth_method"`
	AssertionAlg    string            `json:"token_endpoint_auth_signing_alg,omitempty"`
	Keys            jsontext.Value    `json:"jwks,omitempty"`
	GrantTypes      []string          `json:"grant_types"`
	ResponseTypes   []string          `json:"response_types"`
	ApplicationType string            `json:"application_type,omitempty"`
	DPoPBound       bool              `json:"dpop_bound_access_tokens,omitempty"`
	Scope           string            `json:"scope,omitempty"`
}

// register is dynamic client registration (RFC 7591). Scopes are not bound to the registration: clients register with
// the scope of their first challenge and would fail at every later step-up.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if s.current.Load().closed {
		return &web.Error{Status: http.StatusForbidden, Code: codeAccessDenied,
			Reason: "registration_closed", Message: "clients cannot register themselves here; ask the administrator for a client_id"}
	}
	if ok, wait := s.registrationsByAddr.Allow(web.AddrKey(web.ClientIP(r))); !ok {
		return web.TooMany(wait)
	}
	if ok, wait := s.registrations.Allow(""); !ok {
		return web.TooMany(wait)
	}
	asked, err := readRegistration(w, r)
	if err != nil {
		return err
	}
	record, err := s.checkRegistration(asked)
	if err != nil {
		return err
	}
	record.IssuedAt, record.Nonce = s.Now().Unix(), rand.Text()[:12]
	id, err := s.sealClientID(record)
	if err != nil {
		return err
	}
	out := registrationResponse{
		ClientID: id, IssuedAt: record.IssuedAt, ClientName: record.Name, RedirectURIs: record.RedirectURIs,
		AuthMethod: record.AuthMethod, AssertionAlg: record.AssertionAlg, Keys: record.Keys,
		GrantTypes: record.grantTypes(), ResponseTypes: record.responseTypes(), DPoPBound: record.DPoP,
		Scope: s.current.Load().defaultScopes().String(),
	}
	if asked.ApplicationType == "native" || asked.ApplicationType == "web" {
		out.ApplicationType = asked.ApplicationType
	}
	if record.AuthMethod == AuthBasic || record.AuthMethod == AuthPost {
		out.Secret = base64.RawURLEncoding.EncodeToString(s.clientSecret.Sum([]byte(id)))
		out.SecretExpiresAt = new(int64) // 0: never
	}
	if err := s.record(r, audit.Event{Kind: audit.KindRegistration, Client: id, Name: record.Name}); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, out)
	return nil
}

func readRegistration(w http.ResponseWriter, r *http.Request) (*registrationRequest, error) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return nil, &web.Error{Status: http.StatusUnsupportedMediaType, Code: codeInvalidMetadata, Reason: "media_type", Message: "send the client metadata as application/json"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, &web.Error{Status: http.StatusRequestEntityTooLarge, Code: codeInvalidMetadata, Reason: "client_metadata_too_large", Message: "the client metadata is too large"}
		}
		return nil, refuse(codeInvalidMetadata, "client_metadata_malformed", "the client metadata cannot be read")
	}
	var out registrationRequest
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, &web.Error{Status: http.StatusBadRequest, Code: codeInvalidMetadata, Reason: "client_metadata_malformed", Message: "the client metadata is not well-formed JSON of the expected types", Cause: err}
	}
	return &out, nil
}

// checkRegistration turns what was asked for into what is in force.
func (s *Server) checkRegistration(asked *registrationRequest) (*clientRecord, error) {
	out := &clientRecord{Name: cleanName(asked.ClientName), DPoP: asked.DPoPBound, AuthMethod: asked.AuthMethod}
	if out.AuthMethod == "" {
		out.AuthMethod = AuthBasic // RFC 7591 §2
	}
	if !slices.Contains(authMethods(), out.AuthMethod) {
		return nil, refuse(codeInvalidMetadata, "auth_method_unsupported", "token_endpoint_auth_method must be one of "+strings.Join(authMethods(), ", "))
	}
	if out.AuthMethod == AuthPrivateKey {
		if err := out.takeKeys(asked); err != nil {
			return nil, err
		}
	}
	if len(asked.ResponseTypes) > 0 && !slices.Contains(asked.ResponseTypes, "code") {
		return nil, refuse(codeInvalidMetadata, "response_type_unsupported", "response_types must contain code")
	}
	// A client that names no grant type gets both, so that its person need not sign in again every hour.
	out.Refresh = len(asked.GrantTypes) == 0 || slices.Contains(asked.GrantTypes, GrantRefresh)
	current := s.current.Load()
	out.Device = slices.Contains(asked.GrantTypes, GrantDevice) && !current.noDevices
	out.NoCode = len(asked.GrantTypes) > 0 && !slices.Contains(asked.GrantTypes, GrantCode)
	if out.NoCode && !out.Device {
		return nil, refuse(codeInvalidMetadata, "grant_type_unsupported", "grant_types must contain authorization_code")
	}
	out.RedirectURIs = []string{}
	if len(asked.RedirectURIs) == 0 && !out.NoCode || len(asked.RedirectURIs) > maxRedirects {
		return nil, refuse(codeInvalidRedirect, "redirect_uris_count", fmt.Sprintf("give between 1 and %d redirect URIs", maxRedirects))
	}
	for _, uri := range asked.RedirectURIs {
		if err := checkRedirect(uri, current.schemes); err != nil {
			return nil, refuse(codeInvalidRedirect, "redirect_uri_unacceptable", err.Error())
		}
		if !slices.Contains(out.RedirectURIs, uri) {
			out.RedirectURIs = append(out.RedirectURIs, uri)
		}
	}
	return out, nil
}

// takeKeys keeps what the client's assertions are checked against. The keys have to be in the registration itself: the
// id carries them, and nothing is fetched.
func (c *clientRecord) takeKeys(asked *registrationRequest) error {
	switch {
	case asked.KeysURI != "":
		return refuse(codeInvalidMetadata, "jwks_uri_unsupported", "jwks_uri is not supported here: register the keys themselves as jwks")
	case len(asked.Keys) == 0:
		return refuse(codeInvalidMetadata, "jwks_missing", "private_key_jwt needs the client's public keys, as jwks")
	case asked.AssertionAlg != "" && !slices.Contains(assertionAlgs(), asked.AssertionAlg):
		return refuse(codeInvalidMetadata, "assertion_algorithm_unsupported", "token_endpoint_auth_signing_alg must be one of "+strings.Join(assertionAlgs(), ", "))
	}
	keys, err := jose.ParseKeySet(asked.Keys)
	if err != nil {
		e := refuse(codeInvalidMetadata, "jwks_unusable", "jwks has no public key that can verify signatures")
		e.Cause = err
		return e
	}
	if c.Keys, err = keys.MarshalJSON(); err != nil {
		return fmt.Errorf("encode client keys: %w", err)
	}
	c.AssertionAlg = asked.AssertionAlg
	return nil
}

// cleanName keeps a name on one short line and free of characters that turn the text around it.
func cleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, name)
	runes := []rune(strings.Join(strings.Fields(name), " "))
	return string(runes[:min(len(runes), maxClientName)])
}

func (c *clientRecord) grantTypes() []string {
	var out []string
	if !c.NoCode {
		out = append(out, GrantCode)
	}
	if c.Refresh {
		out = append(out, GrantRefresh)
	}
	if c.Device {
		out = append(out, GrantDevice)
	}
	return out
}

func (c *clientRecord) responseTypes() []string {
	if c.NoCode {
		return []string{}
	}
	return []string{"code"}
}

func (s *Server) sealClientID(record *clientRecord) (identity.ClientID, error) {
	body, err := json.Marshal(record)
	if err != nil {
		return "", fmt.Errorf("encode client id: %w", err)
	}
	signed := clientIDPrefix + base64.RawURLEncoding.EncodeToString(body)
	id := signed + "." + base64.RawURLEncoding.EncodeToString(s.clientIDs.Sum([]byte(signed)))
	if len(id) > maxClientID {
		return "", refuse(codeInvalidMetadata, "client_metadata_too_large", "the redirect URIs, the name and the keys are too long together")
	}
	return identity.ClientID(id), nil
}

// openClientID reverses sealClientID. Only the exact text that was issued opens, so that an id has one spelling and
// the deny list cannot be passed by another.
func (s *Server) openClientID(id identity.ClientID) (*Client, error) {
	body, err := unseal(s.clientIDs, id)
	if err != nil {
		return nil, err
	}
	var record clientRecord
	if err := json.Unmarshal(body, &record); err != nil {
		return nil, fmt.Errorf("decode client id: %w", err)
	}
	current := s.current.Load()
	record.Device = record.Device && !current.noDevices
	client := &Client{
		ID: id, Name: record.Name, RedirectURIs: record.RedirectURIs, AuthMethod: record.AuthMethod, AssertionAlg: record.AssertionAlg,
		GrantTypes: record.grantTypes(), Lifetimes: current.lifetimes, DPoPBound: record.DPoP, registered: true,
	}
	if record.AuthMethod == AuthPrivateKey {
		keys, err := jose.ParseKeySet(record.Keys)
		if err != nil {
			return nil, fmt.Errorf("decode client id: %w", err)
		}
		client.Keys = keys
	}
	return client, nil
}

func unseal(ids *seal.MAC, id identity.ClientID) (body []byte, err error) {
	text, ok := strings.CutPrefix(string(id), clientIDPrefix)
	if !ok || len(id) > maxClientID {
		return nil, errors.New("neither a configured nor a registered client")
	}
	encoded, encodedTag, ok := strings.Cut(text, ".")
	if !ok {
		return nil, errors.New("registered client id without a tag")
	}
	tag, err := decodeExact(encodedTag)
	if err != nil || !ids.Check([]byte(clientIDPrefix+encoded), tag) {
		return nil, errors.New("registered client id is foreign or altered")
	}
	if body, err = decodeExact(encoded); err != nil {
		return nil, fmt.Errorf("decode client id: %w", err)
	}
	return body, nil
}

// Registered reports whether a client got its id here by registering. An id that only looks so is an error.
func Registered(keys *seal.Keyring, id identity.ClientID) (bool, error) {
	if !strings.HasPrefix(string(id), clientIDPrefix) {
		return false, nil
	}
	_, err := unseal(keys.MAC(clientIDLabel), id)
	return err == nil, err
}

// decodeExact decodes base64url and refuses every spelling but the canonical one; the package alone skips line ends.
func decodeExact(text string) ([]byte, error) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || base64.RawURLEncoding.EncodeToString(raw) != text {
		return nil, errors.New("not canonical base64url")
	}
	return raw, nil
}
