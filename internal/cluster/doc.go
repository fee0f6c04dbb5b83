// Package cluster joins the copies of one Gatehouse: it hands a request on to the copy that owns the session or the parked
// call that the request is about, and brings the answer back as it comes. Who owns what is told by the sealed value that
// the client presents; the copy that took the request has verified who is asking and says so, and the client's token stays
// there. A request is handed on once.
//
// The internal address speaks HTTP/1.1 over TLS 1.3. Both sides prove that they know the master key: their key pair is
// derived from it (see identity.go). It knows nothing of MCP, and decides nothing about a request. See docs/adr/0019-copies.md.
package cluster
