package gateway

import (
	"strconv"
	"time"

	"gatehouse/internal/mcp"
)

// How long clients of the stateless era may keep a list. Changes reach those that listen at once.
const (
	listTTL    = time.Minute
	pendingTTL = time.Second // while some target has not been reached for the first time
)

// leastTTL is how long a client may keep what the view shows: no longer than any of the targets says.
func (v *view) leastTTL() time.Duration {
	ttl := listTTL
	if v.pending {
		ttl = pendingTTL
	}
	for _, c := range v.known {
		if c.TTL >= 0 {
			ttl = min(ttl, c.TTL)
		}
	}
	return ttl
}

// appendDiscovered writes the response to server/discover (2026-07-28 server/discover).
func (g *Gateway) appendDiscovered(dst []byte, id mcp.ID, v *view) []byte {
	r := appendRevisions([]byte(`{"supportedVersions":`))
	r = append(r, `,"capabilities":`...)
	r = v.offers.AppendJSON(r, mcp.Rev20260728)
	if text := v.instructions(); text != "" {
		r = append(r, `,"instructions":`...)
		r = mcp.AppendString(r, text)
	}
	r = append(r, ',')
	r = append(g.appendCacheable(r, v.ttl), '}')
	return mcp.AppendResult(dst, id, r)
}

// appendCacheable writes the members that a result of our own has in the stateless era. It is private always: whoever
// reads it has signed in, and what a person sees may depend on who that is.
func (g *Gateway) appendCacheable(dst []byte, ttl time.Duration) []byte {
	dst = append(dst, `"resultType":"complete","_meta":{"`+mcp.MetaServerInfo+`":`...)
	dst = append(dst, g.serverInfo...)
	dst = append(dst, `},`...)
	return appendCacheHints(dst, ttl.Milliseconds())
}

func appendCacheHints(dst []byte, ms int64) []byte {
	dst = append(dst, `"ttlMs":`...)
	dst = strconv.AppendInt(dst, ms, 10)
	return append(dst, `,"cacheScope":"private"`...)
}

// appendServerInfo writes who we are.
func appendServerInfo(dst []byte, version string) []byte {
	dst = append(dst, `{"name":"gatehouse","title":"Gatehouse","version":`...)
	return append(mcp.AppendString(dst, version), '}')
}
