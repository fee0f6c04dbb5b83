package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"gatehouse/internal/mcp"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/target"
	"gatehouse/internal/upauth"
)

// lookAtTarget connects to a target as Gatehouse does for itself and asks for its tools. A command is started, and
// stopped again.
func lookAtTarget(ctx context.Context, o target.Options, timeout time.Duration) []Finding {
	r := &report{about: "target " + o.Name}
	o.Timeout = timeout
	if o.Command != nil {
		c := *o.Command
		c.StartTimeout = 6 * timeout
		o.Command = &c
		if !r.commandExists(c.Args[0], c.Dir) {
			return r.all
		}
	}
	t, err := target.New(o)
	if err != nil {
		r.fail("settings", trouble{TargetSettings, clip(err.Error(), 200), "settings that can be used", "correct targets." + o.Name})
		return r.all
	}
	ended, stop := context.WithCancel(ctx)
	stop() // Run then only closes what was started
	defer func() { _ = t.Run(ended) }()
	conn, err := t.Connect(ctx, target.Caller{}, nobody{})
	if err != nil {
		r.fail("connection", r.targetTrouble(o, err))
		return r.all
	}
	defer conn.Close()
	server := conn.Server()
	name, _ := mcp.LookupString(server.Info, "name")
	r.ok("connection", "%s, revision %s", clip(orUnnamed(name), 60), server.Revision)
	if _, ok := mcp.Lookup(server.Capabilities, "tools"); !ok {
		r.ok("tools", "it offers none")
		return r.all
	}
	if _, err := conn.Call(ctx, mcp.MethodToolsList, nil, func(*mcp.Message) {}); err != nil {
		r.fail("tools", r.targetTrouble(o, err))
		return r.all
	}
	r.ok("tools", "are listed")
	return r.all
}

func orUnnamed(name string) string {
	if name == "" {
		return "a server without a name"
	}
	return name
}

// nobody answers none of the questions that a target may ask.
type nobody struct{}

func (nobody) Notify(*mcp.Message) {}

func (nobody) Request(context.Context, *mcp.Message) ([]byte, *mcp.Error) {
	return nil, mcp.Errorf(mcp.CodeMethodNotFound, "nobody is there to answer")
}

// Refused implements target.Events.
func (nobody) Refused(context.Context, *mcp.Message) {}

// commandExists looks for the program before it is started, since the message of the start is the system's.
func (r *report) commandExists(name, dir string) bool {
	found, err := exec.LookPath(name)
	if err == nil || strings.Contains(name, "/") && dir != "" {
		if err == nil {
			r.ok("command", "%s", found)
		}
		return true
	}
	t := trouble{CommandNotFound, "there is no program " + clip(name, 80), "a program in PATH, or an absolute path", "install it, or write its absolute path: services and containers have another PATH than your shell"}
	if !errors.Is(err, exec.ErrNotFound) {
		t = trouble{CommandNotRunnable, cause(err), "a program that may be started", "make it executable (chmod +x), or correct the path"}
	}
	r.fail("command", t)
	return false
}

// targetTrouble says why a target does not answer as it should.
func (r *report) targetTrouble(o target.Options, err error) trouble {
	setting := "targets." + o.Name
	tr, inferred := errors.AsType[*target.Trouble](err)
	if !inferred {
		return trouble{TargetRefuses, "it answers with an error: " + clip(err.Error(), 160), "an answer to initialize", "look at the log of the target"}
	}
	text := ""
	if tr.Cause != nil {
		text = clip(tr.Cause.Error(), 200)
	}
	if no, ok := errors.AsType[*upauth.Error](err); ok {
		return trouble{TargetCredential, clip(no.Error(), 300), "an access token that the target takes", "correct " + setting + ".oauth"}
	}
	switch {
	case tr.Kind == target.CredentialRefused && o.HTTP != nil && len(o.HTTP.Headers) == 0:
		return trouble{TargetWantsCredential, "it wants a credential: " + text, "an answer", "set " + setting + ".headers, such as Authorization, with the credential of Gatehouse at that server"}
	case tr.Kind == target.CredentialRefused:
		return trouble{TargetCredential, "it refuses the credential in " + setting + ".headers: " + text, "an answer", "renew it; is the word Bearer in front (prefix), and no line break behind?"}
	case tr.Kind == target.TooLarge:
		return trouble{TargetTooLarge, "one message is larger than limits.answer", "a smaller one", "raise limits.answer"}
	case o.Command != nil:
		return commandTrouble(o, tr, text)
	case o.HTTP != nil:
		return urlTrouble(o, tr, text, setting)
	}
	return trouble{TargetDown, text, "an answer", "look at the log"}
}

func commandTrouble(o target.Options, tr *target.Trouble, text string) trouble {
	switch tr.Kind {
	case target.Timeout:
		return trouble{CommandSilent, "the command starts and does not answer in time", "an answer to initialize on standard output",
			"run it by hand: " + clip(strings.Join(o.Command.Args, " "), 120) + "; a first start with npx or uvx downloads, which a second look shows"}
	case target.Rubbish:
		return trouble{CommandNotMCP, "what the command answers is not MCP: " + text, "an answer to initialize on standard output", "correct the command and its arguments; some servers speak over stdio only with --stdio or the like"}
	}
	for _, wall := range []string{sandbox.ErrNoFence.Error(), sandbox.ErrStrayUser.Error(), "find the user", "run as ", "Gatehouse's own"} {
		if strings.Contains(text, wall) {
			return trouble{CommandNotIsolated, text, "a command that cannot reach Gatehouse's own files", "see run_as, sandbox and files in docs/config.md; gatehouse check says what this machine lacks"}
		}
	}
	return trouble{CommandEnds, "the command does not stay: " + text, "a process that answers", "run it by hand: " + clip(strings.Join(o.Command.Args, " "), 120) + "; it gets PATH, HOME, TMPDIR and what env sets, nothing else"}
}

func urlTrouble(o target.Options, tr *target.Trouble, text, setting string) trouble {
	at, err := url.Parse(o.HTTP.URL)
	if err != nil {
		return trouble{TargetSettings, text, "a URL", "correct " + setting + ".url"}
	}
	for status, t := range map[int]trouble{
		http.StatusNotFound:         {TargetPath, "there is nothing at " + at.Path, "an MCP endpoint", "correct the path in " + setting + ".url; many servers have it at /mcp"},
		http.StatusMethodNotAllowed: {TargetOldTransport, "it takes no POST there", "streamable HTTP (MCP 2025-03-26 and later)", "if it is an old server of HTTP with SSE, use its newer address, or put supergateway in front"},
	} {
		if strings.Contains(text, fmt.Sprintf("HTTP status %d", status)) {
			return t
		}
	}
	switch {
	case strings.Contains(text, "redirects are not followed"):
		return trouble{TargetRedirects, text, "an answer", "write the URL to which it redirects in " + setting + ".url"}
	case strings.Contains(text, "HTTP status"):
		return trouble{TargetDown, "it answers with " + text, "an answer to initialize", "look at the log of the target"}
	case tr.Kind == target.Rubbish:
		return trouble{TargetNotMCP, "what answers is no MCP server: " + text, "an answer to initialize", "correct " + setting + ".url"}
	case tr.Kind == target.Timeout:
		return trouble{NoAnswerInTime, "no answer in time from " + hostPort(at), "an answer within seconds", "look at the target, and at firewalls on the way"}
	}
	_, t := way(tr.Cause, at, setting+".url")
	return t
}
