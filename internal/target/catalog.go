package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatehouse/internal/mcp"
)

// Catalog is what a target offers. It is never changed after it was handed out.
type Catalog struct {
	Revision     mcp.Revision
	Capabilities []byte // raw JSON, as the target said it
	ServerInfo   []byte // raw JSON
	Instructions string
	Tools        []mcp.Item
	Prompts      []mcp.Item
	Resources    []mcp.Item
	Templates    []mcp.Item
	Skills       []string // URIs of skills and of their files
	Version      uint64   // grows with each change

	repeatable map[string]bool // tools that say that calling them twice is like calling them once
	readOnly   map[string]bool // tools that say that they change nothing

	// TTL is how long the server says that its lists may be kept; negative when it says nothing, as servers before
	// 2026-07-28 do.
	TTL time.Duration

	copied map[string][]mcp.HeaderParam // by tool, what a server of the stateless era wants in headers too
}

// Offers returns the capabilities in a form to merge.
func (c *Catalog) Offers() mcp.Capabilities { return mcp.ParseCapabilities(c.Capabilities) }

// State says how a target was when it was last tried.
type State string

// The states.
const (
	Connecting State = "connecting" // not tried to the end yet
	OK         State = "ok"
	Offline    State = "down"
)

// Health is a target's state.
type Health struct {
	State     State
	Since     time.Time
	LastError string // full text for operators, empty when OK
}

// Bounds of a catalogue, against an upstream that never stops listing.
const (
	maxPages     = 200
	maxItems     = 20_000
	maxListBytes = 32 << 20    // of one list, all pages together
	refreshPause = time.Second // at least, between two refreshes
	maxBackoff   = time.Minute
)

// catalog keeps the lists of one target.
type catalog struct {
	t    *Target
	wake chan struct{} // asks run for a refresh; holds one
	gate gate

	mu      sync.Mutex // guards what follows
	latest  *Catalog
	readAt  time.Time // when latest was read
	lastErr error
	health  Health
	tried   chan struct{} // closed after the first try
	changed map[int]func(kind string)
	nextKey int
}

func newCatalog(t *Target) *catalog {
	return &catalog{
		t:       t,
		wake:    make(chan struct{}, 1),
		tried:   make(chan struct{}),
		health:  Health{State: Connecting, Since: t.opt.Now()},
		changed: map[int]func(string){},
	}
}

func (k *catalog) get(ctx context.Context) (*Catalog, error) {
	wait := time.NewTimer(k.t.opt.CatalogWait)
	defer wait.Stop()
	select {
	case <-k.tried:
	case <-ctx.Done():
		return nil, k.t.explain(ctx, ctx.Err())
	case <-wait.C:
		return nil, k.t.trouble(Down, errors.New("its catalogue has not been read yet"))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.latest == nil {
		return nil, k.t.explain(ctx, k.lastErr)
	}
	return k.latest, nil
}

func (k *catalog) currentHealth() Health {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.health
}

func (k *catalog) onChange(f func(kind string)) (stop func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := k.nextKey
	k.nextKey++
	k.changed[key] = f
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.changed, key)
	}
}

// stale asks for a refresh; many asks at once make one.
func (k *catalog) stale() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run refreshes the catalogue when it is stale or old, and more and more slowly while the target is down.
func (k *catalog) run(ctx context.Context) error {
	var conn *Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	backoff := refreshPause
	for {
		var err error
		conn, err = k.refresh(ctx, conn)
		pause := k.pause()
		if err != nil && ctx.Err() == nil {
			pause, backoff = backoff, min(backoff*2, maxBackoff)
		} else {
			backoff = refreshPause
		}
		if !k.sleep(ctx, pause) {
			return nil
		}
	}
}

// Bounds of how often a catalogue is read again by itself, whatever its server says.
const (
	shortestTTL = 10 * time.Second
	longestTTL  = time.Hour
)

// pause is how long a catalogue is good without news: as long as its server says, or CatalogTTL. One that must not be
// kept at all is read again when somebody asks for it.
func (k *catalog) pause() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.latest == nil || k.latest.TTL <= 0 {
		return k.t.opt.CatalogTTL
	}
	return min(max(k.latest.TTL, shortestTTL), longestTTL)
}

// touch asks for a refresh when the catalogue is older than its server wants it to be.
func (k *catalog) touch() {
	k.mu.Lock()
	old := k.latest != nil && k.latest.TTL >= 0 && k.t.opt.Now().Sub(k.readAt) >= k.latest.TTL
	k.mu.Unlock()
	if old {
		k.stale()
	}
}

// sleep waits until the next refresh is due. The target, or a call that it did not answer, may ask for one, but not
// without a pause.
func (k *catalog) sleep(ctx context.Context, pause time.Duration) bool {
	least := time.NewTimer(min(pause, refreshPause))
	defer least.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-least.C:
	}
	rest := time.NewTimer(pause - min(pause, refreshPause))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-rest.C:
	case <-k.wake:
	}
	return true
}

// refresh reads all lists over conn, which it opens when it is nil, and closes when it fails.
func (k *catalog) refresh(ctx context.Context, conn *Conn) (*Conn, error) {
	next, conn, err := k.read(ctx, conn)
	if ctx.Err() != nil {
		return conn, ctx.Err()
	}
	if err != nil && conn != nil {
		conn.Close()
		conn = nil
	}
	for _, kind := range k.store(next, err) {
		k.tell(kind)
	}
	return conn, err
}

func (k *catalog) read(ctx context.Context, conn *Conn) (*Catalog, *Conn, error) {
	if conn == nil {
		var err error
		// Some servers list a tool only to clients that can answer what it asks, in the very way. The catalogue is for all clients.
		able := []byte(`{"elicitation":{"form":{},"url":{}},"extensions":{"` + mcp.ExtensionApps + `":{"mimeTypes":["text/html;profile=mcp-app"]},"` +
			mcp.ExtensionTasks + `":{},"` + mcp.ExtensionSkills + `":{}},"roots":{},"sampling":{"context":{},"tools":{}}}`)
		connecting, cancel := k.soon(ctx)
		defer cancel()
		if conn, err = k.t.Connect(connecting, Caller{Revision: mcp.Latest, Capabilities: able}, nil); err != nil {
			return nil, nil, err
		}
	}
	c := &Catalog{TTL: -1}
	can := mcp.ParseCapabilities(conn.Server().Capabilities)
	for _, list := range []struct {
		on   bool
		kind mcp.ListKind
		into *[]mcp.Item
	}{
		{can.Tools, mcp.Tools, &c.Tools},
		{can.Prompts, mcp.Prompts, &c.Prompts},
		{can.Resources, mcp.Resources, &c.Resources},
		{can.Resources, mcp.Templates, &c.Templates},
	} {
		if !list.on {
			continue
		}
		listing, cancel := k.soon(ctx)
		items, ttl, err := conn.list(listing, list.kind)
		cancel()
		if said, ok := errors.AsType[*mcp.Error](err); ok && said.Code == mcp.CodeMethodNotFound {
			continue // many servers offer resources and know no templates
		}
		if err != nil {
			return nil, conn, fmt.Errorf("list %s: %w", list.kind, err)
		}
		*list.into = items
		if ttl >= 0 && (c.TTL < 0 || ttl < c.TTL) {
			c.TTL = ttl
		}
	}
	if can.HasExtension(mcp.ExtensionSkills) {
		listing, cancel := k.soon(ctx)
		c.Skills = conn.skills(listing)
		cancel()
	}
	server := conn.Server()
	c.noteRepeatable()
	c.Revision, c.Capabilities, c.ServerInfo, c.Instructions = server.Revision, server.Capabilities, server.Info, server.Instructions
	if mcp.Stateless(server.Revision) {
		c.dropMisannotated(k.t)
	}
	return c, conn, nil
}

// probeLimit bounds each step of reading the catalogue of a server over HTTP: who takes longer for a list is not there.
const probeLimit = 30 * time.Second

// soon bounds a step. A command has its own bound on starting.
func (k *catalog) soon(ctx context.Context) (context.Context, context.CancelFunc) {
	if k.t.opt.Command != nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, probeLimit, errTimeout)
}

// dropMisannotated leaves out tools whose x-mcp-header annotations are not valid: a client must not use them (2026-07-28
// server/tools, x-mcp-header).
func (c *Catalog) dropMisannotated(t *Target) {
	c.copied = map[string][]mcp.HeaderParam{}
	c.Tools = slices.DeleteFunc(c.Tools, func(tool mcp.Item) bool {
		params, err := mcp.HeaderParams(tool.Raw)
		if err != nil {
			t.opt.Log.Warn("tool left out of the catalogue", "name", tool.Name, "error", err)
			return true
		}
		if len(params) > 0 {
			c.copied[tool.Name] = params
		}
		return false
	})
}

// copied returns which arguments of a tool are copied into headers.
func (k *catalog) copied(tool string) []mcp.HeaderParam {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.latest == nil {
		return nil
	}
	return k.latest.copied[tool]
}

// list reads all pages of one list, and how long it may be kept; negative when that is not said. Of two items with one
// name the first counts.
func (c *Conn) list(ctx context.Context, kind mcp.ListKind) ([]mcp.Item, time.Duration, error) {
	ttl := time.Duration(-1)
	var all []mcp.Item
	seen := map[string]bool{}
	size, twice := 0, 0
	cursor := ""
	for range maxPages {
		var params []byte
		if cursor != "" {
			params = append(mcp.AppendString([]byte(`{"cursor":`), cursor), '}')
		}
		result, err := c.Call(ctx, kind.Method(), params, nil)
		if err != nil {
			return nil, 0, err
		}
		items, next, err := mcp.SplitList(result, kind)
		if err != nil {
			return nil, 0, c.t.trouble(Rubbish, err)
		}
		size += len(result) // the items keep all of it
		if raw, said := mcp.Lookup(result, "ttlMs"); said {
			ttl = time.Duration(min(mcp.Milliseconds(raw), longestTTL.Milliseconds())) * time.Millisecond
		}
		for _, it := range items {
			if seen[it.Name] {
				twice++
				continue
			}
			seen[it.Name] = true
			all = append(all, it)
		}
		if len(all)+twice > maxItems {
			return nil, 0, c.t.trouble(TooLarge, fmt.Errorf("more than %d %s", maxItems, kind))
		}
		if size > maxListBytes {
			return nil, 0, c.t.trouble(TooLarge, fmt.Errorf("more than %d bytes of %s", maxListBytes, kind))
		}
		if next == "" {
			if twice > 0 {
				c.t.opt.Log.Warn("target lists names twice; the first of each counts", "list", string(kind), "names", twice)
			}
			return all, ttl, nil
		}
		cursor = next
	}
	return nil, 0, c.t.trouble(TooLarge, fmt.Errorf("more than %d pages of %s", maxPages, kind))
}

// store takes over the outcome of a refresh and returns which lists have changed.
func (k *catalog) store(next *Catalog, err error) (changed []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	state := Health{State: OK, Since: k.t.opt.Now()}
	if err != nil {
		state.State, state.LastError = Offline, err.Error()
	}
	if k.health.State == state.State {
		state.Since = k.health.Since
	} else {
		k.logState(state)
	}
	k.health, k.lastErr = state, err
	k.gate.probed(state.Since, err)
	if err == nil {
		changed = differences(k.latest, next)
		if k.latest != nil {
			next.Version = k.latest.Version
		}
		if len(changed) > 0 || k.latest == nil {
			next.Version++
		}
		k.latest, k.readAt = next, k.t.opt.Now()
	}
	select {
	case <-k.tried:
	default:
		close(k.tried)
	}
	return changed
}

func (k *catalog) logState(h Health) {
	if h.State == OK {
		k.t.opt.Log.Info("target is up")
		return
	}
	k.t.opt.Log.Warn("target is down", "error", h.LastError)
}

func (k *catalog) tell(kind string) {
	k.mu.Lock()
	listeners := make([]func(string), 0, len(k.changed))
	for _, f := range k.changed {
		listeners = append(listeners, f)
	}
	k.mu.Unlock()
	for _, f := range listeners {
		f(kind)
	}
}

func differences(old, now *Catalog) []string {
	if old == nil {
		old = &Catalog{}
	}
	same := func(a, b []mcp.Item) bool {
		return slices.EqualFunc(a, b, func(x, y mcp.Item) bool { return bytes.Equal(x.Raw, y.Raw) })
	}
	var kinds []string
	if !same(old.Tools, now.Tools) {
		kinds = append(kinds, string(mcp.Tools))
	}
	if !same(old.Prompts, now.Prompts) {
		kinds = append(kinds, string(mcp.Prompts))
	}
	if !same(old.Resources, now.Resources) || !same(old.Templates, now.Templates) || !slices.Equal(old.Skills, now.Skills) {
		kinds = append(kinds, string(mcp.Resources))
	}
	return kinds
}
