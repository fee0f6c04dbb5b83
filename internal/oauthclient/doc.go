// Package oauthclient is Gatehouse as a confidential web application at an organisation's identity provider (IdP): an
// OpenID Connect relying party (OpenID Connect Core 1.0 §3.1) with PKCE (RFC 7636), the check against mix-up (RFC 9207),
// client secret or signed assertion (RFC 6749 §2.3.1, RFC 7523 §2.2), refresh, revocation (RFC 7009), RP-initiated and
// back-channel logout. The differences between the vendors are data: see Preset.
//
// It talks to one IdP and says what the IdP said. Cookies, pages, storage, who may do what once signed in, and how often a
// person is asked about again belong to the callers: a Pending is theirs to seal into the browser and to spend once, a
// refresh token theirs to seal and to redeem one at a time.
//
// The resource that an MCP client asked for is Gatehouse's own affair and is never sent to the IdP.
package oauthclient
