package gateway

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/router"
	"gatehouse/internal/target"
)

// endpoint is an Endpoint at work: it keeps a view of what its targets offer.
type endpoint struct {
	Endpoint
	targets map[string]*target.Target
	changes atomic.Uint64 // counts what targets told; a view that is older than it is stale
	stops   []func()

	mu   sync.Mutex // guards view
	view *view
}

// view is what the targets of an endpoint offered at one moment. It is never changed.
type view struct {
	at      uint64 // endpoint.changes when it was made
	pending bool   // some target had not been reached for the first time
	table   *router.Table
	known   map[string]*target.Catalog // by target; absent while unknown
	lists   map[mcp.ListKind][]entry
	listed  map[entryKey]struct{}
	copied  map[entryKey][]mcp.HeaderParam // of tools whose arguments are copied into headers
}

// entry is one item as the endpoint shows it.
type entry struct {
	target string
	name   string // the target's own
	item   mcp.Item
}

type entryKey struct {
	kind         mcp.ListKind
	target, name string
}

func newEndpoint(e Endpoint) (*endpoint, error) {
	if !strings.HasPrefix(e.Path, "/") {
		return nil, fmt.Errorf("endpoint %q: the path must begin with a slash", e.Path)
	}
	made := &endpoint{Endpoint: e, targets: make(map[string]*target.Target, len(e.Targets))}
	for _, t := range e.Targets {
		if made.targets[t.Name()] != nil {
			return nil, fmt.Errorf("endpoint %s: target %s is named twice", e.Path, t.Name())
		}
		made.targets[t.Name()] = t
	}
	return made, nil
}

// watch has tell called with the endpoint's path and the list that changed.
func (e *endpoint) watch(tell func(path, kind string)) {
	for _, t := range e.Targets {
		e.stops = append(e.stops, t.OnChange(func(kind string) {
			e.changes.Add(1)
			tell(e.Path, kind)
		}))
	}
}

func (e *endpoint) unwatch() {
	for _, stop := range e.stops {
		stop()
	}
}

// latest returns the newest view without waiting, nil when there is none yet.
func (e *endpoint) latest() *view {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.view
}

// fresh returns a view that is not stale. While targets are still being reached it waits for them, but not long.
func (e *endpoint) fresh(ctx context.Context, wait time.Duration) *view {
	at := e.changes.Load()
	if v := e.latest(); v != nil && v.at == at && !v.pending {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	v := e.look(ctx)
	v.at = at
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.view == nil || v.at >= e.view.at {
		e.view = v
	}
	return v
}

// look asks all targets at once.
func (e *endpoint) look(ctx context.Context) *view {
	catalogs := make([]*target.Catalog, len(e.Targets))
	var wg sync.WaitGroup
	for i, t := range e.Targets {
		wg.Go(func() {
			if c, err := t.Catalog(ctx); err == nil { // its health says why not
				catalogs[i] = c
			}
		})
	}
	wg.Wait()
	v := &view{
		known:  make(map[string]*target.Catalog, len(catalogs)),
		lists:  make(map[mcp.ListKind][]entry, 4),
		listed: make(map[entryKey]struct{}),
		copied: make(map[entryKey][]mcp.HeaderParam),
	}
	routed := make([]router.Target, len(catalogs))
	for i, c := range catalogs {
		t := e.Targets[i]
		routed[i].Name = t.Name()
		if c == nil {
			v.pending = v.pending || t.Health().State == target.Connecting
			continue
		}
		v.known[t.Name()] = c
		routed[i] = router.Target{
			Name: t.Name(), Tools: c.Tools, Prompts: c.Prompts, Resources: c.Resources, Templates: c.Templates,
			HasResources: c.Offers().Resources,
		}
	}
	v.table = router.NewTable(routed, e.Prefix)
	for _, r := range routed {
		v.add(mcp.Tools, r.Name, r.Tools)
		v.add(mcp.Prompts, r.Name, r.Prompts)
		v.add(mcp.Resources, r.Name, r.Resources)
		v.add(mcp.Templates, r.Name, r.Templates)
	}
	return v
}

func (v *view) add(kind mcp.ListKind, from string, items []mcp.Item) {
	for _, it := range items {
		public, shown := v.table.Public(kind, from, it.Name)
		if !shown {
			continue
		}
		own := it.Name
		if public != own {
			it = it.WithName(public)
		}
		v.listed[entryKey{kind, from, own}] = struct{}{}
		if kind == mcp.Tools {
			// A tool with a wrong annotation is left to its target: clients of this era do not use it.
			if params, err := mcp.HeaderParams(it.Raw); err == nil && len(params) > 0 {
				v.copied[entryKey{kind, from, own}] = params
			}
		}
		v.lists[kind] = append(v.lists[kind], entry{from, own, it})
	}
}

// lacks reports whether a target is known not to list a name. What the list does not show does not exist.
func (v *view) lacks(kind mcp.ListKind, from, name string) bool {
	_, listed := v.listed[entryKey{kind, from, name}]
	return v.known[from] != nil && !listed
}

// offers merges the capabilities of all targets. While one of them is unknown, everything may yet be offered.
func (v *view) offers() mcp.Capabilities {
	c := mcp.Capabilities{Tools: true, Prompts: true, Resources: true, Completions: true, Logging: true, Subscribe: true}
	if len(v.known) == len(v.table.Targets()) {
		c = mcp.Capabilities{}
		for _, k := range v.known {
			c = c.Merge(k.Offers())
		}
	}
	// Lists change when a target's catalogue does, whether or not the target tells.
	c.ToolsListChanged, c.PromptsListChanged, c.ResourcesListChanged = c.Tools, c.Prompts, c.Resources
	return c
}
