package identity

import "time"

// Claims are the members of a token or of a person's record, as decoded from JSON: string, bool, float64 or
// json.Number, nil, []any, map[string]any.
type Claims map[string]any

// String returns the claim's value when it is a string.
func (c Claims) String(name string) (string, bool) {
	s, ok := c[name].(string)
	return s, ok
}

// Strings returns the claim's value as a list: a string counts as a list of one, a list must hold strings only.
func (c Claims) Strings(name string) ([]string, bool) {
	switch v := c[name].(type) {
	case string:
		return []string{v}, true
	case []string:
		return v, true
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			out = append(out, s)
		}
		return out, true
	}
	return nil, false
}

// Confirmation is what the holder of a token has to prove besides having it (cnf, RFC 7800). Both empty: nothing.
type Confirmation struct {
	Key         string // jkt: thumbprint of a key for proofs of possession (RFC 9449 §6.1)
	Certificate string // x5t#S256: thumbprint of the client's certificate (RFC 8705 §3.1)
}

// Confirmation reads cnf. It reports false when the token is bound in ways of which none is known here, or not
// readably so: such a token must not pass for one that is not bound. Unknown ways beside known ones are overlooked.
func (c Claims) Confirmation() (Confirmation, bool) {
	cnf, present := c["cnf"]
	if !present {
		return Confirmation{}, true
	}
	var out Confirmation
	members, _ := cnf.(map[string]any)
	for name, into := range map[string]*string{"jkt": &out.Key, "x5t#S256": &out.Certificate} {
		if value, present := members[name]; present {
			if *into, _ = value.(string); *into == "" {
				return Confirmation{}, false
			}
		}
	}
	return out, out != Confirmation{}
}

// Time reads a NumericDate (RFC 7519 §2) within the years that time.Time can bear.
func (c Claims) Time(name string) (time.Time, bool) {
	seconds, ok := c[name].(float64)
	if !ok || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	whole := int64(seconds)
	return time.Unix(whole, int64((seconds-float64(whole))*1e9)), true
}
