package target

import (
	"net/http"
	"time"
)

// NewHTTPClient returns a client with room for many idle connections to few hosts: the default keeps two a host and
// opens a new one for most calls under load.
func NewHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		MaxIdleConnsPerHost:    2048,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // what is bounded is what was sent
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

// isOwnHeader reports whether Gatehouse sets a header itself, so that configuration cannot. The name is canonical.
func isOwnHeader(name string) bool {
	switch name {
	case "Accept", "Accept-Encoding", "Connection", "Content-Length", "Content-Type", "Host", "Last-Event-Id",
		"Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}
