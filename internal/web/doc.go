// Package web is the HTTP kit: the middleware that every request passes, the adapter from handlers that return an
// error, guarded clients for outgoing requests, rate limits, health endpoints and the server with its graceful stop.
// It knows nothing of OAuth or MCP, draws no pages and lists no routes.
//
// Middleware is listed once, by app, in the order in which it runs:
//
//	WithRequestID, WithClientIP, Record, Recover, SecurityHeaders, HostCheck, LimitBody, then by route
//	CORS (MCP endpoints) or PublicCORS (metadata, the authorization server's API). Pages check their own forms.
//
// Scheme and host of the installation come from its configuration, never from a request.
package web
