package authn

// CachedTokens counts the tokens in the cache.
func (a *Authenticator) CachedTokens() int {
	n := 0
	for i := range a.cache.shards {
		n += len(a.cache.shards[i].index)
	}
	return n
}
