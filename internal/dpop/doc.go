// Package dpop checks proofs of possession (RFC 9449): that whoever sends a request has the private half of the key that
// an access token is bound to, made the proof for this very request, and made it just now. It serves both sides, the token
// endpoint (authserver) and the MCP endpoints (authn), and owns server nonces and the memory of proofs that were seen.
//
// It does not own what a key may do: which token or grant a key is bound to is known by its two callers.
//
// The claim content_digest, which ties a proof to the body of a request, comes from the MCP extension
// io.modelcontextprotocol/dpop (draft).
package dpop
