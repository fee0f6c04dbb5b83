package jose

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/internal/identity"
)

// Limits on what is read at all.
const (
	MaxToken = 16 << 10 // bytes of a compact token
	maxKid   = 256      // bytes of a key id
)

// Header is what a JWS header says about the token (RFC 7515 §4.1).
type Header struct{ Alg, Kid, Typ string }

// IsType reports whether the header's typ is the media type application/typ. The prefix may be left out and case does
// not count (RFC 7515 §4.1.9).
func (h Header) IsType(typ string) bool {
	got := strings.ToLower(h.Typ)
	return strings.TrimPrefix(got, "application/") == typ
}

// Token is a compact JWS that was read, and not yet believed.
type Token struct {
	Header Header
	Claims identity.Claims

	signed    string // header and payload as they were signed
	signature []byte
}

// KeySource finds the public keys of one issuer. Implementations are pointers, so that callers can compare them.
type KeySource interface {
	// Key returns the key that kid names and that may be used with alg. An empty kid means the only key for alg.
	Key(ctx context.Context, kid, alg string) (PublicKey, error)
	// Generation changes when a key was withdrawn: what was verified before must then be verified again.
	Generation() uint64
}

// Verify reads a compact JWS and checks its signature against the issuer's keys. Without algs the default list holds.
func Verify(ctx context.Context, token string, keys KeySource, algs []string) (Header, identity.Claims, error) {
	t, err := Parse(token)
	if err != nil {
		return Header{}, nil, err
	}
	if err := t.Verify(ctx, keys, algs); err != nil {
		return t.Header, nil, err
	}
	return t.Header, t.Claims, nil
}

// Parse reads a compact JWS without checking its signature, and strictly: three base64url parts without padding, a
// header and a payload that are JSON objects without duplicate names, and no header member that brings its own key or
// demands an extension. What it says is good for choosing an issuer and for explaining a refusal, never for a decision.
func Parse(token string) (*Token, error) {
	return parse(token, func(head []byte) (Header, error) {
		h, jwk, err := readHeader(head)
		if err == nil && jwk != nil {
			err = ownKey("jwk")
		}
		return h, err
	})
}

func parse(token string, header func([]byte) (Header, error)) (*Token, error) {
	if len(token) > MaxToken {
		return nil, fail(TooLarge, fmt.Sprintf("the token has %d bytes, at most %d are read", len(token), MaxToken), nil)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fail(Malformed, fmt.Sprintf("a compact JWS has 3 parts, this has %d", len(parts)), nil)
	}
	head, err := decodePart("header", parts[0])
	if err != nil {
		return nil, err
	}
	payload, err := decodePart("payload", parts[1])
	if err != nil {
		return nil, err
	}
	t := &Token{signed: token[:len(parts[0])+1+len(parts[1])]}
	if t.signature, err = decodePart("signature", parts[2]); err != nil {
		return nil, err
	}
	if t.Header, err = header(head); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(payload, &t.Claims); err != nil {
		return nil, fail(Malformed, "read the payload as a JSON object", err)
	}
	if t.Claims == nil {
		return nil, fail(Malformed, "the payload is null", nil)
	}
	return t, nil
}

// Verify checks the signature.
func (t *Token) Verify(ctx context.Context, keys KeySource, algs []string) error {
	if !allowed(t.Header.Alg, algs) {
		return fail(AlgRefused, fmt.Sprintf("algorithm %.32q is not on the list for this issuer", t.Header.Alg), nil)
	}
	key, err := keys.Key(ctx, t.Header.Kid, t.Header.Alg)
	if err != nil {
		return err
	}
	if !key.fits(t.Header.Alg) {
		return fail(UnknownKey, fmt.Sprintf("key %q is not for %s", key.kid, t.Header.Alg), nil)
	}
	alg, _ := algorithmOf(t.Header.Alg)
	if !alg.verify(key.key, []byte(t.signed), t.signature) {
		return fail(BadSignature, fmt.Sprintf("the signature is not that of key %q", key.kid), nil)
	}
	return nil
}

// decodePart refuses what encoding/base64 would forgive: line breaks and stray trailing bits.
func decodePart(name, part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, fail(Malformed, "the "+name+" holds a line break", nil)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, fail(Malformed, "decode the "+name+" as base64url", err)
	}
	return b, nil
}

// ownKey refuses a header that says where its key is.
func ownKey(member string) error {
	return fail(HeaderRefused, "the header has "+member+": keys come from the issuer, never from the token", nil)
}

// readHeader returns beside the header the key in it, which only a proof may have.
func readHeader(raw []byte) (Header, jsontext.Value, error) {
	var h struct {
		Alg  string         `json:"alg"`
		Kid  string         `json:"kid"`
		Typ  string         `json:"typ"`
		JKU  jsontext.Value `json:"jku"`
		JWK  jsontext.Value `json:"jwk"`
		X5U  jsontext.Value `json:"x5u"`
		X5C  jsontext.Value `json:"x5c"`
		Crit jsontext.Value `json:"crit"`
		B64  jsontext.Value `json:"b64"`
	}
	if err := json.Unmarshal(raw, &h); err != nil {
		return Header{}, nil, fail(Malformed, "read the header as a JSON object", err)
	}
	for _, m := range []struct {
		name  string
		value jsontext.Value
	}{{"jku", h.JKU}, {"x5u", h.X5U}, {"x5c", h.X5C}, {"crit", h.Crit}, {"b64", h.B64}} {
		if m.value != nil {
			return Header{}, nil, ownKey(m.name)
		}
	}
	if len(h.Kid) > maxKid {
		return Header{}, nil, fail(HeaderRefused, fmt.Sprintf("the key id has %d bytes, at most %d are read", len(h.Kid), maxKid), nil)
	}
	return Header{Alg: h.Alg, Kid: h.Kid, Typ: h.Typ}, h.JWK, nil
}
