// Package target owns one upstream MCP server each: its connections, its credential, its catalogue, its health. A
// target is reached over HTTP, runs as a command over stdio, or is the demo that lives in the binary. What
// is sent upstream is always built afresh: a client's headers, ids and tokens never come here.
//
// It does not know which client session or endpoint a call belongs to, nor whether the call is allowed.
//
// Where to look: conn.go has Conn, the connection that one client session has to a target, and Forward, which every call goes
// through. Below it a dialer opens links, one kind for each transport and era: http.go, statelesshttp.go, sse.go, command.go
// with process.go, statelessstdio.go, demo.go; era.go finds out which one a server speaks. catalog.go reads the lists, gate.go
// keeps calls from a target that is down, clock.go has the timeouts, trouble.go the words for failures.
//
// Sources: MCP 2024-11-05 to 2026-07-28, basic/lifecycle, basic/transports, basic/utilities, basic/patterns.
package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"

	"gatehouse/internal/identity"
	"gatehouse/internal/mcp"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/secret"
)

// Options says which server a target is; exactly one of HTTP, Command and Demo is set.
type Options struct {
	Name    string
	HTTP    *HTTPOptions
	Command *CommandOptions
	Demo    bool

	Client  *http.Client // for HTTP; its redirects, cookies and timeout are not used. Default: NewHTTPClient
	Log     *slog.Logger // default: none
	Now     func() time.Time
	Version string // of Gatehouse, for clientInfo

	Opened   func()            // told of each upstream session that was opened; may be nil
	Troubled func(TroubleKind) // told of each request that got no proper answer, unless the caller gave up; may be nil

	Timeout     time.Duration // for one call, started anew by each progress notification; default 60 s
	MaxTimeout  time.Duration // for one call, progress or not; default 15 min, or Timeout when that is longer
	MaxCalls    int           // calls at the same time; more wait for their turn. Default: no bound
	CatalogTTL  time.Duration // how long a catalogue is good without news; default 5 min
	CatalogWait time.Duration // how long Catalog waits for the first one; default 5 s
	MaxMessage  int           // bytes of one message from the target; default 16 MiB
}

// HTTPOptions names a server that speaks streamable HTTP, or the older HTTP+SSE.
type HTTPOptions struct {
	URL     string
	Headers map[string]secret.Text // sent with every request: the target's static credential
}

// CommandOptions names a server that is started as a command and speaks over stdio. Each person gets a process; the
// target's own catalogue comes from one more that belongs to nobody.
type CommandOptions struct {
	Args  []string               // the command and its arguments; never given to a shell
	Env   map[string]secret.Text // all of the environment but PATH, HOME and TMPDIR; when they are not listed, they are Gatehouse's PATH, the home and the own directory
	Dir   string                 // working directory; default: the own directory
	Home  string                 // directory in which each person has a home that lasts; default: HOME is the own directory
	RunAs string                 // user, or uid:gid; default: whoever runs Gatehouse

	Shared bool // one process for all persons

	Sandbox sandbox.Mode     // default: sandbox.Required
	Hidden  []string         // files and directories that processes cannot reach
	Read    []string         // with Write: all that they can reach beside the system's programs; both nil: what is not hidden
	Write   []string         //
	Limits  sandbox.Limits   // of each process
	Scratch *sandbox.Scratch // where own directories are made; default: the target's own, among temporary files
	Places  *Places          // the processes that targets may have together; default: the target's own

	ownScratch bool

	IdleTimeout  time.Duration // a person's process stops this long after its last connection; default 10 min
	StartTimeout time.Duration // for start and initialize together; default 60 s
}

// Target is one upstream server. It is safe for concurrent use.
type Target struct {
	opt     Options
	dial    dialer
	catalog *catalog
	turns   *turns

	mu     sync.Mutex // guards what follows
	closed bool
}

// Caller says on whose behalf a connection is made. ClientInfo and Capabilities are the client's own, raw, from its
// initialize; only capabilities that a gateway can relay are passed on.
type Caller struct {
	Principal    *identity.Principal // nil for the target's own connection
	ClientInfo   []byte
	Capabilities []byte
	Revision     mcp.Revision
}

// Events receives what the upstream sends on its own to one connection. Its methods may be called concurrently, and
// messages are valid only during the call.
type Events interface {
	// Notify takes a notification that belongs to no call. It must not block, because calls may wait behind it. The
	// notifications list_changed do not come here: the catalogue is read again first, and then OnChange tells.
	Notify(m *mcp.Message)
	// Request answers a request of the server: sampling, elicitation or roots. It is called only for what the client declared
	// that it can do. Its context ends with the call that the request came along with, and carries that call's values; for
	// a request outside any call it ends with the connection.
	Request(ctx context.Context, m *mcp.Message) (result []byte, err *mcp.Error)
	// Refused is told of a request that was refused because the client did not declare that it can do that.
	Refused(ctx context.Context, m *mcp.Message)
}

// New checks the options and builds a target. Nothing is started or contacted before Run or Connect.
func New(o Options) (*Target, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.setDefaults()
	t := &Target{opt: o, turns: newTurns(o.MaxCalls)}
	switch {
	case o.HTTP != nil:
		d, err := newHTTPDialer(t)
		if err != nil {
			return nil, err
		}
		t.dial = d
	case o.Command != nil:
		t.dial = newCommandDialer(t)
	default:
		t.dial = &demoDialer{t}
	}
	t.catalog = newCatalog(t)
	return t, nil
}

func (o *Options) check() error {
	kinds := 0
	for _, on := range []bool{o.HTTP != nil, o.Command != nil, o.Demo} {
		if on {
			kinds++
		}
	}
	switch {
	case !mcp.ValidTargetName(o.Name):
		return fmt.Errorf("target %q: a name has up to 48 letters, digits, dots, dashes and underscores, begins and ends with a letter or digit, and holds no %q", o.Name, mcp.NameSeparator)
	case kinds != 1:
		return fmt.Errorf("target %s: exactly one of url, command and demo is needed", o.Name)
	case o.Command != nil && (len(o.Command.Args) == 0 || o.Command.Args[0] == ""):
		return fmt.Errorf("target %s: command is empty; name the program to start and its arguments", o.Name)
	case o.HTTP != nil:
		u, err := url.Parse(o.HTTP.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("target %s: url is not an absolute http or https URL", o.Name)
		}
		if u.User != nil {
			return fmt.Errorf("target %s: url holds a user name or password; put credentials in headers, from a secret", o.Name)
		}
		for name, value := range o.HTTP.Headers {
			switch {
			case isOwnHeader(http.CanonicalHeaderKey(name)):
				return fmt.Errorf("target %s: header %s is set by Gatehouse itself; remove it", o.Name, name)
			case !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value.Reveal()):
				return fmt.Errorf("target %s: header %q has a name or value that HTTP does not allow; does the secret end with a line feed?", o.Name, name)
			}
		}
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("target", o.Name)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Client == nil {
		o.Client = NewHTTPClient()
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Opened == nil {
		o.Opened = func() {}
	}
	if o.Troubled == nil {
		o.Troubled = func(TroubleKind) {}
	}
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	o.MaxTimeout = cmp.Or(o.MaxTimeout, max(15*time.Minute, o.Timeout))
	o.CatalogTTL = cmp.Or(o.CatalogTTL, 5*time.Minute)
	o.CatalogWait = cmp.Or(o.CatalogWait, 5*time.Second)
	o.MaxMessage = cmp.Or(o.MaxMessage, 16<<20)
	if o.Command != nil {
		c := *o.Command
		c.IdleTimeout = cmp.Or(c.IdleTimeout, 10*time.Minute)
		c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
		if c.Scratch == nil {
			c.Scratch, c.ownScratch = sandbox.NewScratch(""), true
		}
		if c.Places == nil {
			c.Places = NewPlaces(0, 0)
		}
		o.Command = &c
	}
}

// Name returns the target's name.
func (t *Target) Name() string { return t.opt.Name }

// Run keeps the catalogue fresh until ctx ends, then closes everything that the target started and waits for it.
// Without Run, Catalog never has anything.
func (t *Target) Run(ctx context.Context) error {
	defer t.close()
	return t.catalog.run(ctx)
}

// close ends the target: later connections are refused, processes are stopped.
func (t *Target) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.dial.close()
}

func (t *Target) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// Catalog returns what the target offers, as it was last read; that works while the target is down, too. If it was never read
// yet, Catalog waits for that, for at most CatalogWait, and not at all when the target is known to be down. The error is a
// *Trouble.
func (t *Target) Catalog(ctx context.Context) (*Catalog, error) { return t.catalog.get(ctx) }

// Touch has the catalogue read again in the background, if it is older than the server allows (its ttl).
func (t *Target) Touch() { t.catalog.touch() }

// Latest returns what the target offered when it was last read, nil when it never was.
func (t *Target) Latest() *Catalog {
	t.catalog.mu.Lock()
	defer t.catalog.mu.Unlock()
	return t.catalog.latest
}

// Processes returns how many processes a target that is a command has.
func (t *Target) Processes() int {
	if d, ok := t.dial.(*commandDialer); ok {
		return d.running()
	}
	return 0
}

// Health says how the target was when it was last tried.
func (t *Target) Health() Health { return t.catalog.currentHealth() }

// OnChange calls f after each refresh that changed a list ("tools", "prompts" or "resources") until stop is called.
// f must not block.
func (t *Target) OnChange(f func(kind string)) (stop func()) { return t.catalog.onChange(f) }

// errClosed is the cause when a connection is used after its end.
var errClosed = errors.New("closed")
