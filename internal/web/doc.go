// Package web is the HTTP kit: the middleware that every request passes, the adapter from handlers that return an
// error, guarded clients for outgoing requests, rate limits, health endpoints and the server with its graceful stop.
// It decides nothing about OAuth or MCP, draws no pages and lists no routes.
//
// Middleware is listed once, in front in internal/app/routes.go, in the order in which it runs:
//
//	WithRequestID, WithClientIP, WithClientCertificate (if a proxy tells of certificates), Record, Recover,
//	SecurityHeaders, HostCheck, LimitBody, ProxyOnly (if a proxy ends TLS); then by route CORS (MCP endpoints)
//	or PublicCORS (metadata, the authorization server's API). Pages check their own forms.
//
// Where to look: server.go is the server, over httpd for HTTP/1.1 and net/http for HTTP/2. client.go makes the clients for
// outgoing requests, fence.go says which addresses they may reach, and wire.go is the HTTP/1.1 client for calls to targets.
//
// Scheme and host of the installation come from its configuration, never from a request.
package web
