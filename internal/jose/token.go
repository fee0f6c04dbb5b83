package jose

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
)

var strict = base64.RawURLEncoding.Strict()

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

// Signed is a compact JWS that was read but whose signature was not checked yet. Its claims are not decoded: most tokens that
// are refused are refused for their header or issuer, and cost no more than that.
type Signed struct {
	Header Header
	Issuer identity.Issuer // iss; empty when it is missing or no string

	text      string // header and payload as they were signed
	payload   []byte // a JSON object
	signature []byte
}

// Token is a Signed with its claims.
type Token struct {
	Signed
	Claims identity.Claims
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
	s, err := Read(token)
	if err != nil {
		return Header{}, nil, err
	}
	t, err := s.Open(ctx, keys, algs)
	if err != nil {
		return s.Header, nil, err
	}
	return t.Header, t.Claims, nil
}

// Read reads a compact JWS without checking its signature, and strictly: three base64url parts without padding, a header
// and a payload that are JSON objects without duplicate names, and no header member that brings its own key or demands an
// extension. What it says is good for choosing an issuer, never for a decision.
func Read(token string) (*Signed, error) {
	return read(token, func(head []byte) (Header, error) {
		h, jwk, err := readHeader(head)
		if err == nil && jwk != nil {
			err = ownKey("jwk")
		}
		return h, err
	})
}

// Parse is Read for those who have to know the claims before they can check the signature, or explain why it is wrong.
func Parse(token string) (*Token, error) {
	s, err := Read(token)
	if err != nil {
		return nil, err
	}
	return s.token()
}

func read(token string, header func([]byte) (Header, error)) (*Signed, error) {
	if len(token) > MaxToken {
		return nil, fail(TooLarge, fmt.Sprintf("the token has %d bytes, at most %d are read", len(token), MaxToken), nil)
	}
	first, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	if parts := strings.Count(token, ".") + 1; parts != 3 {
		return nil, fail(Malformed, fmt.Sprintf("a compact JWS has 3 parts, this has %d", parts), nil)
	}
	room := make([]byte, 0, len(token)) // for all parts at once
	head, room, err := decodePart(room, "header", token[:first])
	if err != nil {
		return nil, err
	}
	s := &Signed{text: token[:last]}
	if s.payload, room, err = decodePart(room, "payload", token[first+1:last]); err != nil {
		return nil, err
	}
	if s.signature, _, err = decodePart(room, "signature", token[last+1:]); err != nil {
		return nil, err
	}
	if s.Header, err = header(head); err != nil {
		return nil, err
	}
	if err := s.readIssuer(); err != nil {
		return nil, err
	}
	return s, nil
}

// readIssuer checks that the payload is a strictly valid JSON object, and finds its iss. It looks at the payload twice, and
// token a third time; beside the check of the signature, which comes between, that does not show.
func (s *Signed) readIssuer() error {
	if !mcp.Valid(s.payload) {
		return fail(Malformed, "read the payload as a JSON object", faultOf(s.payload))
	}
	if bytes.TrimSpace(s.payload)[0] != '{' {
		return fail(Malformed, "the payload is no JSON object", nil)
	}
	iss, _ := mcp.LookupString(s.payload, "iss")
	s.Issuer = identity.Issuer(iss)
	return nil
}

// faultOf says what is wrong with a text that is not strictly valid JSON. It is slower than mcp.Valid, which only says no.
func faultOf(raw []byte) error {
	var v jsontext.Value
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	return errors.New("it is nested too deeply")
}

// Open checks the signature and reads the claims.
func (s *Signed) Open(ctx context.Context, keys KeySource, algs []string) (*Token, error) {
	if err := s.Verify(ctx, keys, algs); err != nil {
		return nil, err
	}
	return s.token()
}

func (s *Signed) token() (*Token, error) {
	t := &Token{Signed: *s}
	if err := json.Unmarshal(s.payload, &t.Claims); err != nil {
		return nil, fail(Malformed, "read the claims", err)
	}
	return t, nil
}

// Verify checks the signature.
func (s *Signed) Verify(ctx context.Context, keys KeySource, algs []string) error {
	if !allowed(s.Header.Alg, algs) {
		return fail(AlgRefused, fmt.Sprintf("algorithm %.32q is not on the list for this issuer", s.Header.Alg), nil)
	}
	key, err := keys.Key(ctx, s.Header.Kid, s.Header.Alg)
	if err != nil {
		return err
	}
	if !key.fits(s.Header.Alg) {
		return fail(UnknownKey, fmt.Sprintf("key %q is not for %s", key.kid, s.Header.Alg), nil)
	}
	alg, _ := algorithmOf(s.Header.Alg)
	if !alg.verify(key.key, []byte(s.text), s.signature) {
		return fail(BadSignature, "the signature is not that of key "+strconv.Quote(key.kid), nil)
	}
	return nil
}

// decodePart decodes one part into room and returns what is left of that. It refuses what encoding/base64 would forgive:
// line breaks and stray trailing bits.
func decodePart(room []byte, name, part string) (decoded, left []byte, err error) {
	if strings.IndexByte(part, '\n') >= 0 || strings.IndexByte(part, '\r') >= 0 {
		return nil, nil, fail(Malformed, "the "+name+" holds a line break", nil)
	}
	n, err := strict.Decode(room[:strict.DecodedLen(len(part))], []byte(part))
	if err != nil {
		return nil, nil, fail(Malformed, "decode the "+name+" as base64url", err)
	}
	return room[:n:n], room[n:n], nil
}

// ownKey refuses a header that says where its key is.
func ownKey(member string) error {
	return fail(HeaderRefused, "the header has "+member+": keys come from the issuer, never from the token", nil)
}

// readHeader returns beside the header the key in it, which only a proof may have.
func readHeader(raw []byte) (h Header, jwk []byte, err error) {
	if !mcp.Valid(raw) {
		return Header{}, nil, fail(Malformed, "read the header as a JSON object", faultOf(raw))
	}
	other, refused := "", ""
	text := func(name string, value []byte) string {
		s, ok := mcp.DecodeString(value)
		if !ok && string(value) != "null" {
			other = name
		}
		return s
	}
	if !mcp.EachMember(raw, func(key, _, value []byte) {
		switch string(key) {
		case "alg":
			h.Alg = text("alg", value)
		case "kid":
			h.Kid = text("kid", value)
		case "typ":
			h.Typ = text("typ", value)
		case "jwk":
			jwk = value
		case "jku", "x5u", "x5c", "crit", "b64":
			refused = string(key)
		}
	}) {
		return Header{}, nil, fail(Malformed, "the header is no JSON object", nil)
	}
	switch {
	case other != "":
		return Header{}, nil, fail(Malformed, "the header's "+other+" is no string", nil)
	case refused != "":
		return Header{}, nil, ownKey(refused)
	case len(h.Kid) > maxKid:
		return Header{}, nil, fail(HeaderRefused, fmt.Sprintf("the key id has %d bytes, at most %d are read", len(h.Kid), maxKid), nil)
	}
	return h, jwk, nil
}
