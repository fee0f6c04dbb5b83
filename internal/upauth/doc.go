// Package upauth is Gatehouse as the OAuth client of a target: it finds out which authorization server a target trusts,
// is or becomes a client there, gets access tokens for exactly this target, keeps them fresh, and puts them on requests
// to the target and to nobody else. A token of a client of Gatehouse never comes here.
//
// A Source belongs to one target. What a target says decides where requests go only as far as the fence for foreign
// URLs lets it, and never where a credential goes: a credential belongs to one issuer (SEP-2352).
//
// It does not speak MCP, does not keep anything on disk, and knows no configuration file.
//
// Sources: MCP 2026-07-28 basic/authorization with its extensions (client credentials SEP-1046, enterprise-managed
// authorization SEP-990, DPoP SEP-1932), RFC 6749, 6750, 7523, 7591, 7636, 8414, 8693, 8707, 9207, 9449, 9728.
package upauth
