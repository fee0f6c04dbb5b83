// Package clientconfig writes what an MCP client needs to find Gatehouse: the content of its configuration file and where
// that file is, a command, a one-click link, and what to know besides. It is pure: it reads and writes nothing.
// It knows the clients' formats, which change often; what was not tried with a real client says so in its notes.
package clientconfig

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"gatehouse/internal/loopback"
)

// Options describe one endpoint, and the client's registration if it has one of its own.
type Options struct {
	Name           string   // what the client calls the server; "gatehouse" when empty
	URL            string   // the endpoint, such as https://tools.example.com/mcp
	StaticClientID string   // a client of the configuration file; empty for clients that register themselves
	Scopes         []string // what to ask for; empty for what the endpoint asks for
	RedirectPort   int      // port of a static client's loopback redirect URI; 3334 when 0
}

// Result is what to do with one client. Empty parts do not apply to it.
type Result struct {
	Client   string // as given to Render
	Title    string // its name for people
	Places   []Place
	Content  string   // of the file
	Format   string   // of the content: json, toml or yaml
	Commands []string // shell commands that do the same
	Link     string   // opens the client with the server filled in
	Steps    []string // for clients that are configured by hand, in their own pages
	Notes    []string
}

// Place is where the content goes.
type Place struct{ System, Path string }

// client is one MCP client and how it is configured.
type client struct {
	name, title string
	render      func(Options, *Result)
}

// Names lists the clients that Render knows.
func Names() []string {
	names := make([]string, 0, len(clients()))
	for _, c := range clients() {
		names = append(names, c.name)
	}
	return names
}

// Render writes the configuration of one client.
func Render(name string, o Options) (Result, error) {
	all := clients()
	i := slices.IndexFunc(all, func(c client) bool { return c.name == name })
	if i < 0 {
		return Result{}, fmt.Errorf("client %q is not known; known are %s; any program that starts stdio servers takes mcp-remote", name, strings.Join(Names(), ", "))
	}
	if o.Name == "" {
		o.Name = "gatehouse"
	}
	if o.RedirectPort == 0 {
		o.RedirectPort = 3334
	}
	if err := o.validate(); err != nil {
		return Result{}, err
	}
	r := Result{Client: all[i].name, Title: all[i].title}
	all[i].render(o, &r)
	return r, nil
}

func (o Options) validate() error {
	plain := func(r rune) bool {
		return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || r == '-' || r == '_'
	}
	if len(o.Name) > 64 || strings.ContainsFunc(o.Name, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("name %q: use letters, digits, dashes and underscores, at most 64", o.Name)
	}
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return errors.New("the URL is not one of an endpoint, such as https://tools.example.com/mcp")
	case u.Scheme == "http" && !o.loopback():
		return errors.New("the URL is plain http on another host than this machine; clients refuse to sign in there")
	case o.RedirectPort < 1 || o.RedirectPort > 65535:
		return fmt.Errorf("redirect port %d is not between 1 and 65535", o.RedirectPort)
	case slices.ContainsFunc(o.Scopes, func(s string) bool { return s == "" || strings.ContainsAny(s, " \"\\") }):
		return errors.New("a scope is empty, or has a space, quote or backslash in it")
	}
	return nil
}

// loopback reports whether only this machine reaches the endpoint.
func (o Options) loopback() bool {
	u, err := url.Parse(o.URL)
	return err == nil && loopback.Is(u.Hostname())
}

// static reports whether the client has a registration of its own.
func (o Options) static() bool { return o.StaticClientID != "" }

// Text shows a result to a person at a terminal.
func (r Result) Text() string {
	var b strings.Builder
	section := func(title string, lines ...string) {
		if len(lines) == 0 {
			return
		}
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		b.WriteString(title + "\n")
		for _, l := range lines {
			b.WriteString("  " + l + "\n")
		}
	}
	if r.Content != "" {
		places := make([]string, 0, len(r.Places))
		for _, p := range r.Places {
			places = append(places, fmt.Sprintf("%-16s %s", p.System, p.Path))
		}
		section("Put this into the configuration of "+r.Title+":", places...)
		b.WriteString("\n" + r.Content)
	}
	section("Do this in "+r.Title+":", r.Steps...)
	section("Or run:", r.Commands...)
	if r.Link != "" {
		section("Or open:", r.Link)
	}
	notes := make([]string, 0, len(r.Notes))
	for _, n := range r.Notes {
		notes = append(notes, "- "+n)
	}
	section("Notes for "+r.Title+":", notes...)
	return b.String()
}
