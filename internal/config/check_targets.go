package config

import (
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/loopback"
	"gatehouse/internal/secret"
)

const nameHint = "Use letters, digits, dots, dashes and underscores, at most 64."

// validName is the character set of names that people refer to.
func validName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
	})
}

func (k *checker) targets() {
	for i := range k.cfg.Targets {
		t := &k.cfg.Targets[i]
		k.target(join("targets", t.Name), t)
	}
}

func (k *checker) target(path string, t *Target) {
	switch {
	case !validName(t.Name):
		k.bad(path, fmt.Sprintf("%q is not a name", t.Name), nameHint)
	case strings.Contains(t.Name, "___"):
		k.bad(path, "has ___ in its name, which divides target and tool", "Use one or two underscores.")
	}
	kinds := 0
	for _, is := range []bool{t.URL != "", t.Command != nil, t.Demo} {
		if is {
			kinds++
		}
	}
	switch {
	case kinds == 0:
		k.bad(path, "does not say what it is", "Give it one of url, command, demo: true.")
	case kinds > 1:
		k.bad(path, "says more than once what it is", "Keep one of url, command, demo.")
	case t.URL != "":
		k.targetURL(path+".url", t.URL)
	case t.Command != nil:
		if len(t.Command) == 0 || t.Command[0] == "" {
			k.bad(path+".command", "names no program", "Write the program and its arguments: [npx, -y, some-server].")
		}
	}
	if t.URL == "" && t.Headers != nil {
		k.bad(path+".headers", "goes with url only", "For a command use env.")
	}
	if t.Command == nil && t.Env != nil {
		k.bad(path+".env", "goes with command only", "For a URL use headers.")
	}
	if t.OAuth != nil {
		k.targetOAuth(path, t)
	}
	k.command(path, t)
	if t.Prefix != "" {
		k.namePrefix(path+".prefix", t.Prefix)
	}
	k.headers(path+".headers", t.Headers)
	k.env(path+".env", t.Env)
	k.atLeast(path+".timeout", t.Timeout, time.Second)
	if t.Calls < 0 {
		k.bad(path+".max_calls", "is less than nothing", "Give a number above 0, or remove it.")
	}
	k.notAbove(path+".timeout", t.Timeout, "one day", 24*time.Hour)
}

// namePrefix checks what is to stand before names of tools: APIs of models take 64 characters of few kinds.
func (k *checker) namePrefix(path, prefix string) {
	const most = 32
	if !validName(prefix) || len(prefix) > most {
		k.bad(path, fmt.Sprintf("%q cannot stand before names of tools", prefix), fmt.Sprintf("Use letters, digits, dots, dashes and underscores, at most %d: gh_", most))
	}
}

func (k *checker) targetURL(path, s string) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		k.bad(path, "is not a URL", "Write the address of the MCP server: https://mcp.example.com/mcp")
	case u.User != nil:
		k.bad(path, "has a user name or password in it", "Use headers: {Authorization: {file: path, prefix: \"Basic \"}}.")
	case strings.Contains(s, "#"):
		k.bad(path, "has a fragment", "Remove the # and what follows.")
	case u.Scheme == "http" && !loopback.Is(u.Hostname()):
		k.doubtful(path, "is plain http to another machine: what is sent can be read on the way", "Use https where the server has it.")
	}
}

func (k *checker) headers(path string, headers map[string]secret.Text) {
	for name, value := range headers {
		at := join(path, name)
		switch {
		case !validHeaderName(name):
			k.bad(at, "is not a header name", "Use letters, digits and dashes.")
		case ownHeader(name):
			k.bad(at, "is set by Gatehouse itself", "Remove it.")
		case strings.ContainsFunc(value.Reveal(), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			k.bad(at, "has a line break or control character in its value", "Keep the value on one line.")
		}
	}
}

func validHeaderName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// ownHeader reports whether the protocol, not the administrator, decides on a header.
func ownHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return strings.HasPrefix(name, "Mcp-") || slices.Contains([]string{
		"Accept", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Expect", "Host", "Keep-Alive",
		"Last-Event-Id", "Te", "Trailer", "Transfer-Encoding", "Upgrade", http.CanonicalHeaderKey("Proxy-Connection"),
	}, name)
}

func (k *checker) env(path string, env map[string]secret.Text) {
	for name, value := range env {
		at := join(path, name)
		if name == "" || strings.ContainsAny(name, "= \x00") {
			k.bad(at, "is not the name of an environment variable", "Use letters, digits and underscores.")
		} else if strings.Contains(value.Reveal(), "\x00") {
			k.bad(at, "has a NUL in its value", "Check the file.")
		}
	}
}
