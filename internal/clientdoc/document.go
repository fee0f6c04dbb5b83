package clientdoc

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a document. Those that are published have under 2 KiB; keys inside make one longer.
const (
	maxDocument = 32 << 10
	maxDepth    = 16
	maxURIs     = 64
)

// The client authentication methods that a client without a shared secret can have (draft §4.1).
const (
	methodNone       = "none"
	methodPrivateKey = "private_key_jwt"
)

// Document is what a client says of itself (RFC 7591 §2), as far as we use it. It never changes.
type Document struct {
	URL          string // the client_id
	Host         string // of URL
	Name         string // as it came; never empty
	RedirectURIs []string
	AuthMethod   string // none or private_key_jwt
	AssertionAlg string // token_endpoint_auth_signing_alg; may be empty
	Keys         []byte // JWK set with public keys only; nil when there is a KeysURI, or none is needed
	KeysURI      string
	GrantTypes   []string // as they came; nil when the document names none
}

// members are the parts of the document that we read. Everything else is ignored, logo_uri and client_uri among it.
type members struct {
	ClientID      string         `json:"client_id"`
	Name          string         `json:"client_name"`
	RedirectURIs  []string       `json:"redirect_uris"`
	AuthMethod    string         `json:"token_endpoint_auth_method"`
	AuthMethods   []string       `json:"token_endpoint_auth_methods_supported"`
	AssertionAlg  string         `json:"token_endpoint_auth_signing_alg"`
	Keys          jsontext.Value `json:"jwks"`
	KeysURI       string         `json:"jwks_uri"`
	GrantTypes    []string       `json:"grant_types"`
	Secret        jsontext.Value `json:"client_secret"`
	SecretExpires jsontext.Value `json:"client_secret_expires_at"`
}

// Parse reads the document that was found at a URL for which CheckURL holds.
func Parse(at string, raw []byte) (*Document, error) {
	host, err := CheckURL(at)
	if err != nil {
		return nil, fail(Invalid, "the client_id cannot name a document: "+err.Error(), nil)
	}
	if len(raw) > maxDocument {
		return nil, fail(TooLarge, fmt.Sprintf("the document is longer than %d bytes", maxDocument), nil)
	}
	if tooDeep(raw) {
		return nil, fail(Invalid, fmt.Sprintf("the document is nested deeper than %d levels", maxDepth), nil)
	}
	var m members
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fail(Invalid, "the document is not well-formed JSON of the expected types", err)
	}
	switch {
	case m.ClientID != at:
		return nil, fail(Mismatch, "the client_id in the document is not the URL of the document", nil)
	case strings.TrimSpace(m.Name) == "":
		return nil, fail(Invalid, "the document has no client_name", nil)
	case len(m.RedirectURIs) == 0 || len(m.RedirectURIs) > maxURIs:
		return nil, fail(Invalid, fmt.Sprintf("the document needs between 1 and %d redirect_uris", maxURIs), nil)
	case m.Secret != nil || m.SecretExpires != nil:
		return nil, fail(Invalid, "the document has a client secret, which everybody can read", nil)
	}
	d := &Document{URL: at, Host: host, Name: m.Name, RedirectURIs: m.RedirectURIs, GrantTypes: m.GrantTypes}
	if d.AuthMethod, err = m.method(); err != nil {
		return nil, err
	}
	if d.AuthMethod == methodPrivateKey {
		d.AssertionAlg, d.Keys, d.KeysURI = m.AssertionAlg, m.Keys, m.KeysURI
		if err := d.checkKeys(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// method is how the client authenticates. The document says so in token_endpoint_auth_method. Some publish a list of what
// they can do instead, or beside it; of a list the strongest counts, as far as there are keys for it. Who says
// nothing has no secret, whatever RFC 7591 takes as its default, and signs if it has keys.
func (m *members) method() (string, error) {
	keyed := m.Keys != nil || m.KeysURI != ""
	switch {
	case m.AuthMethod == methodNone, m.AuthMethod == methodPrivateKey:
		return m.AuthMethod, nil
	case m.AuthMethod != "":
		return "", fail(Invalid, "token_endpoint_auth_method of the document must be none or private_key_jwt", nil)
	case keyed && (m.AuthMethods == nil || slices.Contains(m.AuthMethods, methodPrivateKey)):
		return methodPrivateKey, nil
	case m.AuthMethods == nil || slices.Contains(m.AuthMethods, methodNone):
		return methodNone, nil
	}
	return "", fail(Invalid, "token_endpoint_auth_methods_supported of the document has none that works here: none, or private_key_jwt with keys", nil)
}

func (d *Document) checkKeys() error {
	switch {
	case d.Keys != nil && d.KeysURI != "":
		return fail(Invalid, "the document has both jwks and jwks_uri", nil)
	case d.Keys == nil && d.KeysURI == "":
		return fail(Invalid, "the document has neither jwks nor jwks_uri, which private_key_jwt needs", nil)
	case d.KeysURI != "":
		if _, _, err := split(d.KeysURI); err != nil {
			return fail(Invalid, "jwks_uri of the document cannot be fetched: "+err.Error(), nil)
		}
		return nil
	}
	return checkPublic(d.Keys)
}

// checkPublic refuses key sets that give secrets away (draft §4.1): whoever read them can sign as the client.
func checkPublic(raw []byte) error {
	var set struct {
		Keys []map[string]jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil || len(set.Keys) == 0 {
		return fail(Invalid, "the key set is not a JWK set with keys in it", err)
	}
	for _, key := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // RFC 7518 §6
			if key[private] != nil {
				return fail(Invalid, "the key set holds a private key, which everybody can read", nil)
			}
		}
	}
	return nil
}

// tooDeep counts brackets outside of strings, without reading further than the first that is too many.
func tooDeep(raw []byte) bool {
	depth, inText := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
