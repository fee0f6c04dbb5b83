package identity

// The claims of Gatehouse's own access tokens that are private to it.
const (
	GrantClaim    = "gid" // the grant
	ProviderClaim = "idp" // the name of the identity provider that vouches for the person; absent for built-in users
)

// ProtocolClaim reports whether the protocols give a claim its meaning, so that only a server may set it (RFC 7519
// §4.1, RFC 8693 §4, RFC 9068 §2.2, RFC 9396 §9.1, OpenID Connect Core §2, §3.1.3.6 and §5.6.2).
func ProtocolClaim(name string) bool {
	switch name {
	case "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "typ", "client_id", "scope", "azp", "nonce", "auth_time", "acr", "amr",
		"sid", "at_hash", "c_hash", "s_hash", "cnf", "act", "may_act", "events", "toe", "txn", "authorization_details",
		"token_use", "_claim_names", "_claim_sources", GrantClaim, ProviderClaim:
		return true
	}
	return false
}

// PersonClaim reports whether a claim says who a person is, from the fields of the person's own record (OpenID Connect
// Core §5.1).
func PersonClaim(name string) bool {
	switch name {
	case "name", "username", "preferred_username", "email", "email_verified", "groups", "updated_at":
		return true
	}
	return false
}

// ReservedClaim reports whether nobody may set a claim by hand.
func ReservedClaim(name string) bool { return ProtocolClaim(name) || PersonClaim(name) }
