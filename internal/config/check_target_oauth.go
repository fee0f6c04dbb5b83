package config

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/loopback"
)

// targetOAuth checks Gatehouse's client at the authorization server of a target.
func (k *checker) targetOAuth(target string, t *Target) {
	path, o := target+".oauth", t.OAuth
	if t.URL == "" {
		k.bad(path, "goes with url only", "For a command use env.")
	}
	for name := range t.Headers {
		if http.CanonicalHeaderKey(name) == "Authorization" || http.CanonicalHeaderKey(name) == "Dpop" {
			k.bad(join(target+".headers", name), "stands beside oauth, which sets this header", "Keep one of the two.")
		}
	}
	k.issuer(path+".issuer", string(o.Issuer))
	if o.ClientID == "" && !k.broken(path+".client_id") {
		k.bad(path+".client_id", "is empty", "Copy it from the client at the authorization server.")
	}
	switch {
	case o.PrivateKey == nil && o.ClientSecret.IsZero() && !k.broken(path+".client_secret"):
		k.bad(path, "has neither client_secret nor private_key", "Tokens for a service go to confidential clients only: give one of the two.")
	case o.PrivateKey != nil && !o.ClientSecret.IsZero():
		k.bad(path+".private_key", "stands beside client_secret", "Keep one of the two.")
	case o.PrivateKey != nil && o.AuthMethod != "":
		k.bad(path+".auth_method", "is never used, because private_key is the credential", "Remove it.")
	case o.PrivateKey != nil && !k.broken(path+".private_key"):
		k.clientKey(path+".private_key", o.PrivateKey)
	}
	k.scopeList(path+".scopes", o.Scopes)
	for _, name := range slices.Sorted(maps.Keys(o.Parameters)) {
		switch name {
		case "", "grant_type", "scope", "resource", "client_id", "client_secret", "client_assertion", "client_assertion_type":
			k.bad(join(path+".parameters", name), "is Gatehouse's own to set", "Remove it; scopes has a setting of its own.")
		}
	}
}

// clientKey reads a key and sees whether it can sign.
func (k *checker) clientKey(path string, key *PrivateKey) {
	const hint = "It must be an RSA or P-256 private key in PEM that Gatehouse may read."
	signer, err := k.readSigner(key.File)
	if err == nil {
		key.Signer = signer
		err = key.Client().Check()
	}
	if err != nil {
		k.bad(path+".file", fmt.Sprintf("cannot use the key: %v", err), hint)
	}
}

// issuer checks the identifier of an authorization server (RFC 8414 §2).
func (k *checker) issuer(path, s string) {
	u, err := url.Parse(s)
	switch {
	case s == "" && k.index[path] == nil: // reported where it was looked for
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		k.bad(path, "is not a URL", "Copy issuer from the authorization server's metadata: https://as.example.com")
	case u.User != nil || strings.ContainsAny(s, "?#"):
		k.bad(path, "has a user name, a query or a fragment in it", "Copy issuer from the authorization server's metadata.")
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.bad(path, "is plain http on another host than this machine: whoever sits on the way could read the client's secret", "Write https.")
	case strings.Contains(u.Path, "/.well-known/"):
		k.bad(path, "is a discovery URL", "Write the issuer that its document names, without /.well-known/….")
	}
}
