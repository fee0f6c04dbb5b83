package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/jose"
)

// Header is the header field of a proof (RFC 9449 §4.1).
const Header = "Dpop" // in the form of http.CanonicalHeaderKey

const (
	typ = "dpop+jwt"

	// Window is how far the time of a proof may lie from ours, on either side. The MCP extension asks for this much.
	Window = 5 * time.Minute

	minJTI = 8
	maxJTI = 512
	maxURL = 2 << 10
)

// Algorithms are what proofs may be signed with, as metadata lists them.
func Algorithms() []string { return []string{"ES256", "EdDSA", "PS256", "RS256"} }

// Reason says in one stable word what is wrong with a proof.
type Reason string

// The reasons.
const (
	Missing       Reason = "proof_missing"        // no proof where one is needed
	Repeated      Reason = "proof_repeated"       // more than one
	Malformed     Reason = "proof_malformed"      // not a compact JWS, or a claim is missing or of another type
	WrongType     Reason = "proof_wrong_type"     // some other JWT
	AlgRefused    Reason = "proof_alg_refused"    // not on the list
	KeyRefused    Reason = "proof_key_refused"    // no key, a weak one, or more than a public key
	BadSignature  Reason = "proof_bad_signature"  // not made with the key in it
	WrongMethod   Reason = "proof_wrong_method"   // htm
	WrongURL      Reason = "proof_wrong_url"      // htu
	WrongTime     Reason = "proof_wrong_time"     // iat
	WrongToken    Reason = "proof_wrong_token"    // ath
	WrongBody     Reason = "proof_wrong_body"     // content_digest
	Replayed      Reason = "proof_replayed"       // its jti was seen before
	NonceNeeded   Reason = "proof_nonce_needed"   // none, or one that has had its time
	TooManyProofs Reason = "proof_memory_is_full" // so many that a replay could not be told; our trouble
)

// Description says it for the maker of the proof, and nothing about what would have been right.
func (r Reason) Description() string {
	switch r {
	case Missing:
		return "a DPoP proof is needed"
	case Repeated:
		return "there is more than one DPoP header"
	case Malformed:
		return "the DPoP proof is no signed JWT with jti, htm, htu and iat"
	case WrongType:
		return "the typ of the DPoP proof is not dpop+jwt"
	case AlgRefused:
		return "the DPoP proof is signed with an algorithm that is not accepted"
	case KeyRefused:
		return "the jwk of the DPoP proof is missing, weak, or more than a public key"
	case BadSignature:
		return "the signature of the DPoP proof is wrong"
	case WrongMethod:
		return "the htm of the DPoP proof is not the method of the request"
	case WrongURL:
		return "the htu of the DPoP proof is not the URL of the request"
	case WrongTime:
		return "the iat of the DPoP proof is too far from the time here"
	case WrongToken:
		return "the ath of the DPoP proof is not that of the access token"
	case WrongBody:
		return "the content_digest of the DPoP proof is not that of the body"
	case Replayed:
		return "the DPoP proof was used before; make a new one for each request"
	case NonceNeeded:
		return "the DPoP proof needs the nonce of the DPoP-Nonce header"
	}
	return "the DPoP proof cannot be checked at the moment; try again shortly"
}

// Error is every error about a proof. Its text is for logs, and holds no proof.
type Error struct {
	Reason Reason
	Detail string
	Cause  error
}

func (e *Error) Error() string {
	if e.Cause == nil {
		return string(e.Reason) + ": " + e.Detail
	}
	return string(e.Reason) + ": " + e.Detail + ": " + e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

// ReasonOf returns the reason inside err, or "".
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

func fail(r Reason, format string, args ...any) error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// Proof is a proof whose signature holds. What it was made for is looked at by Check.
type Proof struct {
	Key      string    // thumbprint of its key, as in jkt (RFC 7638)
	ID       string    // jti
	IssuedAt time.Time // iat

	method, url, token, nonce, digest string
}

// Read takes the proof out of the values of the header field. Without any it returns nil.
func Read(values []string) (*Proof, error) {
	switch {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return nil, nil
	case len(values) > 1:
		return nil, fail(Repeated, "there are %d DPoP headers", len(values))
	}
	t, err := jose.ParseProof(values[0], typ, Algorithms())
	if err != nil {
		return nil, fromJOSE(err)
	}
	p := &Proof{Key: t.Thumbprint}
	for _, c := range []struct {
		name   string
		into   *string
		needed bool
	}{{"jti", &p.ID, true}, {"htm", &p.method, true}, {"htu", &p.url, true}, {"ath", &p.token, false}, {"nonce", &p.nonce, false}, {"content_digest", &p.digest, false}} {
		value, present := t.Claims[c.name]
		text, ok := value.(string)
		if present && (!ok || text == "") || !present && c.needed {
			return nil, fail(Malformed, "the claim %s is missing or no text", c.name)
		}
		*c.into = text
	}
	var ok bool
	switch p.IssuedAt, ok = t.Claims.Time("iat"); {
	case !ok:
		return nil, fail(Malformed, "the claim iat is missing or no number of seconds")
	case len(p.ID) < minJTI || len(p.ID) > maxJTI:
		return nil, fail(Malformed, "jti has %d bytes, want %d to %d", len(p.ID), minJTI, maxJTI)
	}
	return p, nil
}

func fromJOSE(err error) error {
	reason := Malformed
	switch jose.ReasonOf(err) {
	case jose.TypeRefused:
		reason = WrongType
	case jose.AlgRefused:
		reason = AlgRefused
	case jose.KeyRefused, jose.HeaderRefused:
		reason = KeyRefused
	case jose.BadSignature:
		reason = BadSignature
	}
	return &Error{Reason: reason, Detail: "read proof", Cause: err}
}

// Request is what a proof must have been made for.
type Request struct {
	Method string
	URL    string // the public one, from the configuration
	Token  string // the access token that comes along; empty at the token endpoint
}

// Check holds the proof against the request that it came with (RFC 9449 §4.3).
func (p *Proof) Check(r Request, now time.Time) error {
	switch {
	case p.method != r.Method:
		return fail(WrongMethod, "htm is %.16q, the request is %s", p.method, r.Method)
	case !sameURL(p.url, r.URL):
		return fail(WrongURL, "htu is %.200q, the request is for %s", p.url, r.URL)
	case p.IssuedAt.Before(now.Add(-Window)) || p.IssuedAt.After(now.Add(Window)):
		return fail(WrongTime, "iat is %s, our clock %s; is one of the clocks wrong?", p.IssuedAt.UTC(), now.UTC())
	}
	if r.Token == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(r.Token))
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); subtle.ConstantTimeCompare([]byte(p.token), []byte(want)) != 1 {
		return fail(WrongToken, "ath is missing, or that of another access token")
	}
	return nil
}

// sameURL compares htu with the URL of a request, without query and fragment, by the rules of RFC 3986 §6.2.2 and §6.2.3
// as far as our own URLs give cause: case of scheme and host, the default port, and an empty path. An htu with a user name
// or with escapes in its path is never the same.
func sameURL(htu, want string) bool {
	if len(htu) > maxURL || strings.ContainsAny(htu, "\\ \t\r\n") {
		return false
	}
	a, errA := url.Parse(htu)
	b, errB := url.Parse(want)
	if errA != nil || errB != nil || a.User != nil || a.Opaque != "" || strings.Contains(a.EscapedPath(), "%") {
		return false
	}
	return a.Scheme == b.Scheme && a.Host != "" && authority(a) == authority(b) && pathOf(a) == pathOf(b)
}

func authority(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		return strings.TrimSuffix(host, ":443")
	case "http":
		return strings.TrimSuffix(host, ":80")
	}
	return host
}

func pathOf(u *url.URL) string {
	if u.Path == "" {
		return "/"
	}
	return u.Path
}

// HasDigest reports whether the proof is for one body only.
func (p *Proof) HasDigest() bool { return p.digest != "" }

// CheckBody holds the proof's digest against the body of the request. A proof without one goes with any.
func (p *Proof) CheckBody(body []byte) error {
	if p.digest == "" {
		return nil
	}
	found, err := digestIn(p.digest)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(body); subtle.ConstantTimeCompare(found, sum[:]) != 1 {
		return fail(WrongBody, "content_digest is that of another body")
	}
	return nil
}

// digestIn finds the SHA-256 in a dictionary of digests (RFC 9530 §2, RFC 9651 §3.2). Of other algorithms there may be
// some besides.
func digestIn(dictionary string) ([]byte, error) {
	if len(dictionary) > 1<<10 {
		return nil, fail(WrongBody, "content_digest is too long")
	}
	var found []byte
	for member := range strings.SplitSeq(dictionary, ",") {
		name, value, _ := strings.Cut(strings.Trim(member, " \t"), "=")
		if name != "sha-256" {
			continue
		}
		if len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
			return nil, fail(WrongBody, "content_digest is not of the form sha-256=:…:")
		}
		inner := value[1 : len(value)-1]
		raw, err := base64.StdEncoding.Strict().DecodeString(inner)
		if err != nil || len(raw) != sha256.Size || strings.ContainsAny(inner, "\r\n") || found != nil {
			return nil, fail(WrongBody, "content_digest holds no one SHA-256 in base64")
		}
		found = raw
	}
	if found == nil {
		return nil, fail(WrongBody, "content_digest has no sha-256")
	}
	return found, nil
}

// ValidKey reports whether text can be the thumbprint of a key, as in jkt and dpop_jkt.
func ValidKey(text string) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(raw) == sha256.Size && len(text) == 43
}
