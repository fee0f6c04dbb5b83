// Package jose reads, checks and signs JSON Web Tokens (RFC 7515, RFC 7517, RFC 7519): the strict reading of a
// compact token, the key sets of other issuers (RemoteKeys) and Gatehouse's own signing keys (SigningKeys).
//
// It decides whether a token was signed by the issuer that the caller has in mind, and nothing more: what the claims
// allow is authn's business, what goes into a token is authserver's. Keys are stored through the KeyStore interface.
//
// JWKs are read and written by go-jose; signatures are checked with the standard library, so that exactly one reader
// looks at a token's header.
package jose
