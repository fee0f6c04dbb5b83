package testkit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// NewStatelessMCPServer starts a server of the stateless era (2026-07-28), with the tool echo.
func NewStatelessMCPServer(t testing.TB) *MCPServer {
	t.Helper()
	s := newMCPServer()
	s.Stateless = true
	s.start(t)
	return s
}

// serveStateless answers one request of the stateless era. A request that does not say that it is one is refused as such
// a server does it: with a status that tells a prober of the other era.
func (s *MCPServer) serveStateless(c *MCPCall) {
	switch {
	case c.HTTPMethod != http.MethodPost:
		c.W.WriteHeader(http.StatusMethodNotAllowed)
	case c.Header.Get("Mcp-Protocol-Version") != "2026-07-28" || c.Header.Get("Mcp-Method") != c.Method:
		http.Error(c.W, "this server has no sessions", http.StatusBadRequest)
	case s.handler(c.Method, "") == nil && c.Method == "server/discover":
		instructions, _ := json.Marshal(s.Instructions)
		c.Result(fmt.Sprintf(`{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":%s,"instructions":%s,"ttlMs":0,"cacheScope":"public","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"raw","version":"1"}}}`,
			s.Capabilities, instructions))
	case s.handler(c.Method, "") == nil && c.Method == "subscriptions/listen":
		c.Listen()
	case c.ID == nil:
		c.W.WriteHeader(http.StatusAccepted)
	default:
		s.call(c)
	}
}

// Listen acknowledges everything that the client wants to hear of and keeps the stream open for Push, until DropStreams
// or the client ends it.
func (c *MCPCall) Listen() {
	var p struct{ Notifications json.RawMessage }
	_ = json.Unmarshal(c.Params, &p)
	ch := c.s.addStream("")
	defer c.s.removeStream(ch)
	c.Stream()
	c.Send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":%s},"notifications":%s}}`,
		c.ID, p.Notifications))
	c.s.follow(c, ch)
}

// DropStreams ends all open streams of events, and leaves sessions as they are.
func (s *MCPServer) DropStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endStreams()
}
