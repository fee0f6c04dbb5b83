package clientdoc

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
)

const testURL = "https://client.example/oauth.json"

const (
	publicKey  = `{"kty":"EC","crv":"P-256","x":"AA","y":"AA","kid":"1"}`
	privateKey = `{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}`
)

// document is a good one with changes; nil removes.
func document(t testing.TB, changes map[string]any) []byte {
	t.Helper()
	doc := map[string]any{
		"client_id": testURL, "client_name": "Client", "redirect_uris": []string{"https://client.example/cb", "http://127.0.0.1/cb"},
		"token_endpoint_auth_method": "none", "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"logo_uri": "https://client.example/logo.png", "client_uri": "https://client.example/", "contacts": []any{1, nil}, "x": map[string]any{"y": 1},
	}
	maps.Copy(doc, changes)
	for name, value := range changes {
		if value == nil {
			delete(doc, name)
		}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func raw(text string) json.RawMessage { return json.RawMessage(text) }

func TestParse(t *testing.T) {
	t.Parallel()
	d, err := Parse(testURL, document(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if d.URL != testURL || d.Host != "client.example" || d.Name != "Client" || len(d.RedirectURIs) != 2 || d.AuthMethod != "none" ||
		len(d.GrantTypes) != 2 || d.Keys != nil || d.KeysURI != "" {
		t.Errorf("%+v", d)
	}
}

// What ChatGPT publishes, and every mixture of the single method, the list and keys.
func TestChecklist14_AuthMethods(t *testing.T) {
	t.Parallel()
	chatGPT := map[string]any{
		"token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"},
		"token_endpoint_auth_signing_alg": "RS256", "jwks_uri": "https://client.example/jwks.json",
	}
	keys := raw(`{"keys":[` + publicKey + `]}`)
	for name, tt := range map[string]struct {
		changes map[string]any
		method  string // empty: refused
	}{
		"as ChatGPT":               {chatGPT, "private_key_jwt"},
		"nothing said":             {map[string]any{"token_endpoint_auth_method": nil}, "none"},
		"nothing said, keys":       {map[string]any{"token_endpoint_auth_method": nil, "jwks": keys}, "private_key_jwt"},
		"none beside keys":         {map[string]any{"jwks": keys}, "none"},
		"list, keys":               {map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"none", "private_key_jwt"}, "jwks": keys}, "private_key_jwt"},
		"list without keys":        {map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"private_key_jwt", "none"}}, "none"},
		"list of none":             {map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"none"}, "jwks": keys}, "none"},
		"method before list":       {map[string]any{"token_endpoint_auth_methods_supported": []string{"private_key_jwt"}, "jwks": keys}, "none"},
		"list of what needs keys":  {map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"private_key_jwt"}}, ""},
		"list of secrets":          {map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{"client_secret_basic"}}, ""},
		"empty list":               {map[string]any{"token_endpoint_auth_method": nil, "token_endpoint_auth_methods_supported": []string{}}, ""},
		"secret":                   {map[string]any{"token_endpoint_auth_method": "client_secret_post"}, ""},
		"secret in the list alone": {map[string]any{"token_endpoint_auth_method": "client_secret_jwt", "jwks": keys}, ""},
		"mutual TLS":               {map[string]any{"token_endpoint_auth_method": "tls_client_auth"}, ""},
		"no keys":                  {map[string]any{"token_endpoint_auth_method": "private_key_jwt"}, ""},
		"both kinds of keys":       {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": keys, "jwks_uri": "https://client.example/jwks"}, ""},
		"private key":              {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": raw(`{"keys":[` + publicKey + `,` + privateKey + `]}`)}, ""},
		"symmetric key":            {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": raw(`{"keys":[{"kty":"oct","k":"AA"}]}`)}, ""},
		"no key in the set":        {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": raw(`{"keys":[]}`)}, ""},
		"keys of a wrong type":     {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": []any{1}}, ""},
		"jwks_uri http":            {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://client.example/jwks"}, ""},
		"jwks_uri an address":      {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://169.254.169.254/jwks"}, ""},
		"jwks_uri with a port":     {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example:22/jwks"}, ""},
		"jwks_uri a file":          {map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "file:///etc/passwd"}, ""},
	} {
		d, err := Parse(testURL, document(t, tt.changes))
		switch {
		case (err == nil) != (tt.method != ""):
			t.Errorf("%s: %v", name, err)
		case err == nil && (d.AuthMethod != tt.method || (tt.method == "none") != (d.Keys == nil && d.KeysURI == "")):
			t.Errorf("%s: method %s, keys %s %s; want %s", name, d.AuthMethod, d.Keys, d.KeysURI, tt.method)
		}
	}
	if d, err := Parse(testURL, document(t, chatGPT)); err != nil || d.AssertionAlg != "RS256" || d.KeysURI != "https://client.example/jwks.json" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestChecklist9_RequiredFields(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		raw    []byte
		reason Reason
	}{
		"client_id missing":           {document(t, map[string]any{"client_id": nil}), Mismatch},
		"client_id of another":        {document(t, map[string]any{"client_id": "https://other.example/oauth.json"}), Mismatch},
		"client_id spelled otherwise": {document(t, map[string]any{"client_id": "https://client.example:443/oauth.json"}), Mismatch},
		"client_id no text":           {document(t, map[string]any{"client_id": 7}), Invalid},
		"name missing":                {document(t, map[string]any{"client_name": nil}), Invalid},
		"name blank":                  {document(t, map[string]any{"client_name": " \t"}), Invalid},
		"redirect URIs missing":       {document(t, map[string]any{"redirect_uris": nil}), Invalid},
		"redirect URIs empty":         {document(t, map[string]any{"redirect_uris": []string{}}), Invalid},
		"redirect URIs as text":       {document(t, map[string]any{"redirect_uris": "https://client.example/cb"}), Invalid},
		"too many redirect URIs":      {document(t, map[string]any{"redirect_uris": strings.Split(strings.Repeat("https://a.example/ ", 65), " ")}), Invalid},
		"secret":                      {document(t, map[string]any{"client_secret": "s"}), Invalid},
		"secret's expiry":             {document(t, map[string]any{"client_secret_expires_at": 0}), Invalid},
		"empty":                       {nil, Invalid},
		"not JSON":                    {[]byte("<html>"), Invalid},
		"a list":                      {[]byte("[]"), Invalid},
		"null":                        {[]byte("null"), Mismatch},
		"two documents":               {append(document(t, nil), document(t, nil)...), Invalid},
		"client_id twice":             {[]byte(strings.Replace(string(document(t, nil)), "{", `{"client_id":"https://other.example/x",`, 1)), Invalid},
		"not UTF-8":                   {[]byte(strings.Replace(string(document(t, nil)), "Client", "\xff", 1)), Invalid},
		"too long":                    {document(t, map[string]any{"x": strings.Repeat("x", maxDocument)}), TooLarge},
	} {
		_, err := Parse(testURL, tt.raw)
		if e, ok := errors.AsType[*Error](err); !ok || e.Reason != tt.reason {
			t.Errorf("%s: %v, want %s", name, err, tt.reason)
		}
	}
	// Names of members count as they are spelled.
	if _, err := Parse(testURL, []byte(strings.Replace(string(document(t, nil)), "client_id", "Client_ID", 1))); err == nil {
		t.Error("Client_ID was taken for client_id")
	}
}

func TestChecklist12_DepthBomb(t *testing.T) {
	t.Parallel()
	nested := func(depth int) json.RawMessage {
		return raw(strings.Repeat(`{"a":[`, depth/2) + strings.Repeat(`]}`, depth/2))
	}
	if _, err := Parse(testURL, document(t, map[string]any{"x": nested(14)})); err != nil {
		t.Error(err)
	}
	for _, depth := range []int{16, 5000} {
		if _, err := Parse(testURL, document(t, map[string]any{"x": nested(depth)})); err == nil {
			t.Errorf("depth %d was read", depth)
		}
	}
	if _, err := Parse(testURL, []byte(strings.Repeat("[", maxDocument))); err == nil {
		t.Error("brackets without an end were read")
	}
	// Brackets in text are no nesting.
	if _, err := Parse(testURL, document(t, map[string]any{"x": strings.Repeat(`[{\"`, 100)})); err != nil {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(document(f, nil))
	f.Add(document(f, map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": raw(`{"keys":[` + publicKey + `]}`)}))
	f.Add(document(f, map[string]any{"token_endpoint_auth_methods_supported": []string{"none"}, "token_endpoint_auth_method": nil, "jwks_uri": "https://client.example/k"}))
	f.Add([]byte(`{"client_id":"https://client.example/oauth.json","client_name":"\u202e","redirect_uris":[""]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d, err := Parse(testURL, raw)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok || d != nil {
				t.Errorf("%+v, error %T %v", d, err, err)
			}
			return
		}
		signs := d.AuthMethod == methodPrivateKey
		if d.URL != testURL || d.Name == "" || len(d.RedirectURIs) == 0 || !signs && d.AuthMethod != methodNone ||
			signs != (d.Keys != nil || d.KeysURI != "") || d.Keys != nil && d.KeysURI != "" {
			t.Errorf("%q was read as %+v", raw, d)
		}
	})
}
