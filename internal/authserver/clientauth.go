package authserver

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/clientdoc"
	"gatehouse/internal/identity"
	"gatehouse/internal/jose"
	"gatehouse/internal/web"
)

// credentials are what a request to the token or revocation endpoint says about its client. Basic credentials come
// raw from some clients and form-encoded (RFC 6749 §2.3.1) from others, so that there may be two readings of each.
type credentials struct {
	ids       []identity.ClientID
	secrets   []string
	assertion *jose.Token // read, not believed
	method    string
}

// authenticate checks that the request comes from the client that it names, by the method that client is registered for.
func (s *Server) authenticate(r *http.Request, form url.Values) (*Client, error) {
	given, err := readCredentials(r, form)
	if err != nil {
		return nil, err
	}
	on := s.apiAccount(r, form)
	client, err := s.lookup(r.Context(), given.ids[0], on)
	if err != nil && len(given.ids) > 1 {
		client, err = s.lookup(r.Context(), given.ids[1], on)
	}
	if err != nil {
		e := web.AsError(err)
		if e.Code == codeInvalidClient {
			return nil, refuseClient(e.Reason, e.Message, e.Cause)
		}
		return nil, e
	}
	if client.Pending() {
		return nil, web.TooMany(time.Minute)
	}
	if client.AuthMethod != given.method {
		return nil, refuseClient("auth_method_differs", "this client is registered for the authentication method "+client.AuthMethod, nil)
	}
	switch {
	case client.AuthMethod == AuthNone:
	case client.AuthMethod == AuthPrivateKey:
		if err := s.checkAssertion(r, form, client, given.assertion); err != nil {
			return nil, err
		}
	case !slices.ContainsFunc(given.secrets, func(secret string) bool { return s.secretFits(client, secret) }):
		return nil, refuseClient("client_secret_wrong", "the client secret is wrong", nil)
	}
	return client, nil
}

// How many assertions and proofs of strangers are remembered, so that none comes twice. Each is a row.
const (
	rememberedPerAddress = 300 // a minute: devices that poll with proofs are among them
	rememberedPerMinute  = 3000
)

// mayBeRemembered rations what strangers can have written down. Everybody can register a client with keys or a secret of its
// own; so whoever shows no code or token that was issued here is one, unless an administrator wrote the client down and it
// authenticates.
func (s *Server) mayBeRemembered(r *http.Request, form url.Values, client *Client) error {
	if !client.registered && client.AuthMethod != AuthNone {
		return nil
	}
	if ours, err := s.showsOurs(r.Context(), client.ID, form); ours || err != nil {
		return err
	}
	if allowed(r, s.rememberedByAddr, s.remembered) == clientdoc.Refused {
		return web.TooMany(time.Minute / rememberedPerAddress)
	}
	return nil
}

// secretFits compares in constant time, whatever the lengths.
func (s *Server) secretFits(client *Client, given string) bool {
	if client.registered {
		tag, err := base64.RawURLEncoding.DecodeString(given)
		return err == nil && s.clientSecret.Check([]byte(client.ID), tag)
	}
	want, got := sha256.Sum256([]byte(client.Secret.Reveal())), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

func readCredentials(r *http.Request, form url.Values) (*credentials, error) {
	id, secret := form.Get("client_id"), form.Get("client_secret")
	scheme, encoded, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	basic := strings.EqualFold(scheme, "Basic")
	asserted := form.Get("client_assertion") != "" || form.Get("client_assertion_type") != ""
	switch {
	case basic && secret != "" || asserted && (basic || secret != ""):
		return nil, refuse(codeInvalidRequest, "client_auth_twice", "the client authenticates in two ways at once")
	case asserted:
		return readAssertion(form)
	case basic:
		out, err := parseBasic(strings.TrimSpace(encoded))
		if err != nil {
			return nil, refuseClient("basic_unreadable", "the Basic credentials cannot be read", err)
		}
		if id != "" && !slices.Contains(out.ids, identity.ClientID(id)) {
			return nil, refuse(codeInvalidRequest, "client_id_differs", "client_id and the Basic credentials name different clients")
		}
		return out, nil
	case id == "":
		return nil, refuseClient("client_id_missing", "client_id is missing", nil)
	case secret == "":
		return &credentials{ids: []identity.ClientID{identity.ClientID(id)}, method: AuthNone}, nil
	}
	return &credentials{ids: []identity.ClientID{identity.ClientID(id)}, secrets: []string{secret}, method: AuthPost}, nil
}

// parseBasic reads the credentials of RFC 7617. An empty secret is none.
func parseBasic(encoded string) (*credentials, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, err
	}
	id, secret, ok := strings.Cut(string(raw), ":")
	if !ok || id == "" {
		return nil, errors.New("no client id before a colon")
	}
	out := &credentials{ids: []identity.ClientID{identity.ClientID(id)}, method: AuthNone}
	if decoded, err := url.QueryUnescape(id); err == nil && decoded != id && decoded != "" {
		out.ids = append(out.ids, identity.ClientID(decoded))
	}
	if secret == "" {
		return out, nil
	}
	out.method, out.secrets = AuthBasic, []string{secret}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		out.secrets = append(out.secrets, decoded)
	}
	return out, nil
}
