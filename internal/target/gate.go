package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
)

// gate refuses calls to a target that cannot be reached, so that they need not wait for a timeout. It is a circuit breaker
// (docs/adr/0015-targets-in-trouble.md). Its probes are the readings of the catalogue: one that cannot reach the target shuts
// the gate, and the next one that can opens it. Calls are never used as probes.
type gate struct {
	shut atomic.Pointer[closure] // nil: the gate is open
}

// closure says why the gate is shut. Each probe that fails replaces it.
type closure struct {
	why    *Trouble
	since  time.Time
	probed chan struct{} // closed when the next probe has ended
}

// Shut reports whether calls are refused because the target cannot be reached.
func (t *Target) Shut() bool { return t.catalog.gate.shut.Load() != nil }

// gateWait is how long a call waits for a probe before it is refused: together with the pause between two probes, less
// than a person notices.
const gateWait = 700 * time.Millisecond

// pass returns nil if the gate is open, else why it is shut. When it is shut, pass first asks for a probe and waits a moment
// for its outcome.
func (k *catalog) pass(ctx context.Context) error {
	c := k.gate.shut.Load()
	if c == nil {
		return nil
	}
	k.stale()
	wait := time.NewTimer(gateWait)
	defer wait.Stop()
	select {
	case <-c.probed:
	case <-wait.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c = k.gate.shut.Load(); c == nil {
		return nil
	}
	t := *c.why
	t.Unsent, t.refused = true, true
	t.Message = fmt.Sprintf("%s, since %s.", strings.TrimSuffix(t.Message, "."), c.since.UTC().Format("2006-01-02 15:04:05 UTC"))
	return &t
}

// probed opens or shuts the gate after a probe that ended with err. A target that answers at all, even with an error, keeps
// the gate open: each call then gets an answer of its own.
func (g *gate) probed(now time.Time, err error) {
	was := g.shut.Load()
	var next *closure
	if t, ok := errors.AsType[*Trouble](err); ok && unreachable(t) {
		next = &closure{why: t, since: now, probed: make(chan struct{})}
		if was != nil {
			next.since = was.since
		}
	}
	g.shut.Store(next)
	if was != nil {
		close(was.probed)
	}
}

// unreachable reports whether a probe's trouble is one that every call would meet, too.
func unreachable(t *Trouble) bool {
	return (t.Kind == Down || t.Kind == Timeout) && !t.heard && !errors.Is(t, errNoPlace)
}

// retryPause is how long a target that broke off has before it is asked again.
const retryPause = 150 * time.Millisecond

// again reports whether a call that failed should be sent a second time, and waits a moment before it says so. That holds for
// requests that may be repeated, when the connection failed and not a byte of an answer had come.
func (c *Conn) again(ctx context.Context, m *mcp.Message, name string, err error) bool {
	t, ok := errors.AsType[*Trouble](err)
	if !ok || t.Kind != Down || t.heard || t.refused || errors.Is(err, errClosed) || errors.Is(err, errNoPlace) || !c.repeatable(m, name) {
		return false
	}
	return sleep(ctx, retryPause) == nil
}

// repeatable reports whether it makes no difference how often a request arrives. For methods that read that is so; a tool says
// so itself (server/tools, annotations), and if it is wrong, that is the target's own harm.
func (c *Conn) repeatable(m *mcp.Message, name string) bool {
	switch m.Method {
	case mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodTemplatesList, mcp.MethodPromptsGet,
		mcp.MethodResourcesRead, mcp.MethodComplete, mcp.MethodSubscribe, mcp.MethodUnsubscribe, mcp.MethodPing:
		return m.RequestState == nil && m.InputResponses == nil
	case mcp.MethodToolsCall:
		if name == "" {
			name = m.Name
		}
		return m.RequestState == nil && m.InputResponses == nil && c.t.catalog.repeatable(name)
	}
	return false
}

// repeatable reports whether a tool says that calling it twice is like calling it once.
func (k *catalog) repeatable(tool string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.latest != nil && k.latest.repeatable[tool]
}

// ReadsOnly reports whether a tool of the catalogue says of itself that it changes nothing.
func (t *Target) ReadsOnly(tool string) bool {
	t.catalog.mu.Lock()
	defer t.catalog.mu.Unlock()
	return t.catalog.latest != nil && t.catalog.latest.readOnly[tool]
}

// noteRepeatable reads the annotations of tools.
func (c *Catalog) noteRepeatable() {
	c.repeatable, c.readOnly = map[string]bool{}, map[string]bool{}
	for _, tool := range c.Tools {
		annotations, _ := mcp.Lookup(tool.Raw, "annotations")
		for _, hint := range []string{"readOnlyHint", "idempotentHint"} {
			if v, _ := mcp.Lookup(annotations, hint); string(v) == "true" {
				c.repeatable[tool.Name] = true
				c.readOnly[tool.Name] = c.readOnly[tool.Name] || hint == "readOnlyHint"
			}
		}
	}
}

// unsent reports whether an error says that a request cannot have reached the target.
func unsent(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}
