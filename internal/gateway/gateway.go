// Package gateway is the MCP endpoint. Every request goes through the same steps in the same order: authenticate, decode
// once, find the session, find the target, ask the policy, forward, answer, record.
//
// MCP has two eras. In the session era (revisions 2024-11-05 to 2025-11-25) a client begins with initialize and then has a
// session. In the stateless era (2026-07-28), which the code calls modern, each request says all that is needed. Both are
// served at the same URL; isModern tells them apart.
//
// It owns the wire towards the client: status codes, JSON or server-sent events, the merging of lists. It does not own
// tokens (authn), session state (session), upstream connections (target) or rules (policy).
//
// Where to look: serve.go is the way in, post.go and stream.go the HTTP methods, lifecycle.go, lists.go and
// call.go the MCP methods, answer.go how an answer is written, trouble.go what a client is told when a target fails,
// events.go what targets say on their own. batch.go takes several messages at once (2025-03-26), line.go is the older
// transport HTTP+SSE (2024-11-05).
//
// modern.go is the way in for the stateless era: stateless.go has its calls, discover.go what it adds to results,
// inputs.go, dialogue.go and state.go what targets ask back, listen.go its streams.
//
// extension.go and tasks.go serve methods of extensions, search.go and calltool.go the search of tools. endpoint.go has the
// view of what all targets of an endpoint offer, handon.go the way to other copies of Gatehouse, retire.go what a reload
// leaves behind.
//
// Sources: MCP 2024-11-05 to 2026-07-28, basic/transports, basic/lifecycle, basic/patterns, server/*.
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/cluster"
	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/policy"
	"gatehouse/internal/seal"
	"gatehouse/internal/session"
	"gatehouse/internal/target"
)

// Authenticator turns requests to one endpoint into principals, and answers those that it refuses. See authn.Authenticator.
type Authenticator interface {
	// Authenticate returns the principal. It is called once for each request.
	Authenticate(r *http.Request) (*identity.Principal, error)
	// Recheck is Authenticate for a request that was let in before and lasts.
	Recheck(r *http.Request) (*identity.Principal, error)
	// Refuse answers a request with the error of Authenticate.
	Refuse(w http.ResponseWriter, r *http.Request, err error)
	// InsufficientScope answers a request with the challenge that names the scopes it needs.
	InsufficientScope(w http.ResponseWriter, r *http.Request, p *identity.Principal, needed identity.Scopes)
}

// Options are what a gateway is made of. Sessions, State and Tasks are required.
type Options struct {
	Sessions *session.Table
	State    *seal.Box       // of StatePurpose
	Tasks    *seal.MAC       // of TaskPurpose
	Copies   *cluster.Copies // the way to other copies; nil when there are none
	Audit    *audit.Log      // nil keeps no record
	Log      *slog.Logger
	Now      func() time.Time
	Version  string // of Gatehouse, for serverInfo

	CatalogWait time.Duration // how long lists wait for targets that are still being reached; default 2 s
	Heartbeat   time.Duration // silence on a stream after which a comment is sent; default 15 s
	AnswerWait  time.Duration // how long a client of the stateless era may take to answer a target; default 10 min
	Orphan      time.Duration // how long a call goes on after its client vanished; default 1 min
	PageSize    int           // items on one page of a list; default 500

	MaxCalls          int // calls in flight; default 4096
	MaxCallsPerPerson int // calls in flight of one person; default 256
}

func (o *Options) validate() error {
	switch {
	case o.Sessions == nil:
		return errors.New("gateway: no session table given")
	case o.State == nil:
		return errors.New("gateway: no box for requestState given")
	case o.Tasks == nil:
		return errors.New("gateway: no key for the handles of tasks given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	setDefault(&o.CatalogWait, 2*time.Second)
	setDefault(&o.Heartbeat, 15*time.Second)
	setDefault(&o.AnswerWait, 10*time.Minute)
	setDefault(&o.Orphan, time.Minute)
	setDefault(&o.PageSize, 500)
	setDefault(&o.MaxCalls, defaultMaxCalls)
	setDefault(&o.MaxCallsPerPerson, defaultMaxCallsPerPerson)
	return nil
}

func setDefault[T ~int | ~int64](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Endpoint is one MCP URL as the configuration has it.
type Endpoint struct {
	Path    string
	Targets []*target.Target // in the order in which lists show them
	Prefix  bool             // names are target___tool
	Policy  *policy.Policy   // nil lets nobody in
	Auth    Authenticator    // whose tokens it takes: it goes with the policy, so that no request meets the one without the other

	Prefixes map[string]string // by target: what stands before its names in place of that; may be empty
	OwnURIs  bool              // resource URIs are never marked: the first target that lists one owns it

	Search *Search // nil: tools are found in their list only
}

// Snapshot is everything that a reload replaces.
type Snapshot struct{ Endpoints []Endpoint }

// Gateway serves the endpoints of the current snapshot. It is safe for concurrent use.
type Gateway struct {
	o          Options
	bodies     buffers
	calls      inflight
	listeners  listeners
	lines      lines
	watched    waits        // calls of the session era so young that nobody looks whether their clients are still there
	quiet      waits        // calls of the stateless era so young that their answers need no heartbeat yet
	streams    atomic.Int64 // how many streams clients keep open
	current    atomic.Pointer[served]
	wake       chan struct{} // tells Run that there are leftovers; holds one
	reindex    chan struct{} // tells Index that a list has changed; holds one
	serverInfo []byte        // who we are, raw JSON
	ownMeta    []byte        // the member _meta of a result in which a target has put none; whoever appends to it gets a copy

	swapping  sync.Mutex // one Swap at a time; guards leftovers
	leftovers []leftover // what Swaps have replaced, the oldest first
}

// New makes a gateway without endpoints: Swap gives it some.
func New(o Options) (*Gateway, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		watched: waits{while: min(watchAfter, o.Heartbeat)}, quiet: waits{while: o.Heartbeat},
		o: o, calls: inflight{max: o.MaxCalls, maxPerPerson: o.MaxCallsPerPerson},
		wake: make(chan struct{}, 1), reindex: make(chan struct{}, 1), serverInfo: appendServerInfo(nil, o.Version),
	}
	g.ownMeta = slices.Clip([]byte(`"_meta":{"` + mcp.MetaServerInfo + `":` + string(g.serverInfo) + `}`))
	g.listeners.open = make(map[*session.Session]*subscriptions)
	g.lines.open = make(map[*session.Session]*line)
	g.current.Store(newServed(nil))
	return g, nil
}

// Calls returns how many calls are under way.
func (g *Gateway) Calls() int { return g.calls.count() }

// Streams returns how many streams clients keep open.
func (g *Gateway) Streams() int { return int(g.streams.Load()) }

// Swap puts another snapshot in place. Requests under way end on the snapshot that they began on; sessions stay. Run closes
// the channel unused when the last request on the old snapshot has ended: from then on, targets that are only in the old one
// can be stopped.
func (g *Gateway) Swap(s Snapshot) (unused <-chan struct{}, err error) {
	next := make(map[string]*endpoint, len(s.Endpoints))
	for _, e := range s.Endpoints {
		if _, twice := next[e.Path]; twice {
			return nil, fmt.Errorf("endpoint %s is named twice", e.Path)
		}
		if e.Auth == nil {
			return nil, fmt.Errorf("endpoint %s has no authenticator", e.Path)
		}
		made, err := newEndpoint(e, g.o.Log)
		if err != nil {
			return nil, err
		}
		next[e.Path] = made
	}
	g.swapping.Lock()
	defer g.swapping.Unlock()
	for _, e := range next {
		e.watch(func(path, kind string) {
			g.tellChanged(path, kind)
			g.wakeIndex()
		})
	}
	old := g.current.Swap(newServed(next))
	old.retire()
	for _, e := range old.endpoints {
		e.unwatch()
	}
	for path := range next {
		if old.endpoints[path] != nil {
			g.tellAllChanged(path)
		}
	}
	g.wakeIndex()
	left := leftover{old, make(chan struct{})}
	g.leftovers = append(g.leftovers, left)
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return left.unused, nil
}
