package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/router"
	"gatehouse/internal/target"
)

// endpoint is an Endpoint with the latest view of what its targets offer.
type endpoint struct {
	Endpoint
	targets map[string]*target.Target // by name
	finder  *finder
	log     *slog.Logger
	changes atomic.Uint64 // counts the changes that targets told of; a view made at an earlier count is stale
	stops   []func()      // undo watch

	view atomic.Pointer[view] // nil until the first was made; replaced under mu

	mu     sync.Mutex                // guards what follows
	warned map[router.Collision]bool // the collisions of names that were logged
}

// view is what the targets of an endpoint offered at one moment, put together for clients. It is never changed.
type view struct {
	at      uint64 // endpoint.changes when it was made
	pending bool   // some target had not been reached for the first time
	table   *router.Table
	known   map[string]*target.Catalog     // by target; absent for targets whose catalogue is unknown
	offered map[string]mcp.Capabilities    // what those targets can do, by target
	lists   map[mcp.ListKind]*list         // the lists, written out
	plain   bool                           // clients see what targets send as it is: nothing has another name, and there are no extensions
	copied  map[entryKey][]mcp.HeaderParam // for tools whose calls repeat arguments in HTTP headers
	search  *Search
	offers  mcp.Capabilities // what all targets together can do
	ttl     time.Duration    // how long a client may keep what the view shows
}

// entry is one tool, prompt, resource or template as the endpoint shows it.
type entry struct {
	target string
	name   string // the target's own
	alias  string // see router.Owner

	item  mcp.Item
	older *mcp.Item // for clients of the session era, if they see something else; else nil
}

// as returns the item as clients of an era see it.
func (e *entry) as(modern bool) mcp.Item {
	if e.older != nil && !modern {
		return *e.older
	}
	return e.item
}

type entryKey struct {
	kind         mcp.ListKind
	target, name string
}

func newEndpoint(e Endpoint, log *slog.Logger) (*endpoint, error) {
	if !strings.HasPrefix(e.Path, "/") {
		return nil, fmt.Errorf("endpoint %q: the path must begin with a slash", e.Path)
	}
	made := &endpoint{
		Endpoint: e, targets: make(map[string]*target.Target, len(e.Targets)),
		finder: newFinder(), log: log.With("endpoint", e.Path), warned: make(map[router.Collision]bool),
	}
	for _, t := range e.Targets {
		if made.targets[t.Name()] != nil {
			return nil, fmt.Errorf("endpoint %s: target %s is named twice", e.Path, t.Name())
		}
		made.targets[t.Name()] = t
	}
	return made, nil
}

// watch calls tell with the endpoint's path and the kind of list, each time that a list of a target changes, until unwatch.
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
func (e *endpoint) latest() *view { return e.view.Load() }

// fresh returns a view that is not stale. It waits, for at most wait, for targets that are being reached for the first time.
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
	if old := e.latest(); old == nil || v.at >= old.at {
		e.view.Store(v)
	}
	e.warn(v)
	return v
}

// warn logs which names two targets have in common, each once. It needs e.mu.
func (e *endpoint) warn(v *view) {
	for _, c := range v.table.Collisions() {
		if !e.warned[c] && len(e.warned) < maxWarned {
			e.warned[c] = true
			e.log.Warn("two targets have the same name; the later one's is shown under another", "list", string(c.Kind),
				"name", c.Name, "kept_by", c.Keeps, "target", c.Target, "shown_as", c.Public)
		}
	}
}

// maxWarned bounds endpoint.warned.
const maxWarned = 1000

// prefix is what stands before a target's names.
func (e *endpoint) prefix(name string) string {
	if own, ok := e.Prefixes[name]; ok {
		return own
	}
	if e.Prefix {
		return name + mcp.NameSeparator
	}
	return ""
}

// look makes a view. It asks all targets for their catalogues at the same time.
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
		known:   make(map[string]*target.Catalog, len(catalogs)),
		offered: make(map[string]mcp.Capabilities, len(catalogs)),
		lists:   map[mcp.ListKind]*list{mcp.Tools: {}, mcp.Prompts: {}, mcp.Resources: {}, mcp.Templates: {}},
		copied:  make(map[entryKey][]mcp.HeaderParam),
	}
	routed := make([]router.Target, len(catalogs))
	for i, c := range catalogs {
		t := e.Targets[i]
		routed[i].Name, routed[i].Prefix = t.Name(), e.prefix(t.Name())
		if c == nil {
			v.pending = v.pending || t.Health().State == target.Connecting
			continue
		}
		v.known[t.Name()], v.offered[t.Name()] = c, c.Offers()
		routed[i] = router.Target{
			Name: t.Name(), Prefix: routed[i].Prefix, Known: true, Tools: c.Tools, Prompts: c.Prompts, Resources: c.Resources, Templates: c.Templates,
			Skills: c.Skills, HasResources: v.offered[t.Name()].Resources,
		}
	}
	v.table = router.NewTable(routed, !e.OwnURIs, e.Search.ownTools()...)
	for _, r := range routed {
		v.add(mcp.Tools, r.Name, r.Tools)
		v.add(mcp.Prompts, r.Name, r.Prompts)
		v.add(mcp.Resources, r.Name, r.Resources)
		v.add(mcp.Templates, r.Name, r.Templates)
	}
	v.addOwn(e.Search)
	for kind, l := range v.lists {
		l.write(kind)
	}
	v.offers, v.ttl = v.merge(), v.leastTTL()
	v.plain = !v.table.Mapped() && !slices.ContainsFunc(v.table.Targets(), v.extended)
	return v
}

// add adds the items of one target to a list, under the names that clients see.
func (v *view) add(kind mcp.ListKind, from string, items []mcp.Item) {
	for _, it := range items {
		public, shown := v.table.Public(kind, from, it.Name)
		if !shown {
			continue
		}
		e := entry{target: from, name: it.Name, item: it}
		switch {
		case public == it.Name:
		case kind == mcp.Tools || kind == mcp.Prompts:
			e.item = it.Renamed(public)
		default:
			e.item = it.WithName(public)
		}
		if kind == mcp.Tools {
			owner, _ := v.table.Resolve(mcp.MethodToolsCall, public)
			e.alias = owner.Alias
			e.item.Raw = v.renaming(from).Apply(e.item.Raw)
			// A tool with a wrong annotation is left to its target: clients of this era do not use it.
			if params, err := mcp.HeaderParams(it.Raw); err == nil && len(params) > 0 {
				v.copied[entryKey{kind, from, it.Name}] = params
			}
		}
		if kind == mcp.Prompts {
			owner, _ := v.table.Resolve(mcp.MethodPromptsGet, public)
			e.alias = owner.Alias
		}
		if older := e.item.InSessions(); kind == mcp.Tools && len(older.Raw) != len(e.item.Raw) {
			e.older = &older
		}
		v.lists[kind].entries = append(v.lists[kind].entries, e)
	}
}

// renaming says how clients see URIs of a target.
func (v *view) renaming(from string) mcp.Renaming {
	if v == nil || !v.table.Mapped() {
		return mcp.Renaming{}
	}
	return mcp.Renaming{URI: func(uri string) string { return v.table.PublicURI(from, uri) }}
}

// merge joins the capabilities of all targets. While those of one target are not known, it claims all of them, because the
// client asks only once, in initialize.
func (v *view) merge() mcp.Capabilities {
	c := mcp.Capabilities{Tools: true, Prompts: true, Resources: true, Completions: true, Logging: true, Subscribe: true}
	if len(v.known) == len(v.table.Targets()) {
		c = mcp.Capabilities{}
	}
	for _, name := range v.table.Targets() {
		c = c.Merge(v.offered[name])
	}
	c.Tools = c.Tools || v.search != nil
	// Lists change when a target's catalogue does, whether or not the target tells.
	c.ToolsListChanged, c.PromptsListChanged, c.ResourcesListChanged = c.Tools, c.Prompts, c.Resources
	return c
}
