package identity

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
