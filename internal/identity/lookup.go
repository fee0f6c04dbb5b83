package identity

// Lookup returns every value that a claim path finds, in no particular order where * stands for several, and whether the
// issuer moved the claim out of the token (OpenID Connect Core §5.6.2), so that nobody knows. See checkPath for what
// paths look like.
func (c Claims) Lookup(path string) (values []any, moved bool) {
	if _, moved = c.moved(path); moved {
		return nil, true
	}
	c.each(path, func(v any) bool {
		values = append(values, v)
		return true
	})
	return values, false
}
