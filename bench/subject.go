package main

import (
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// subject is something that calls can be sent to.
type subject struct {
	name    string
	addr    string
	prefix  string   // of tool names
	process *process // nil for the MCP server itself
	paths   [2]string
	tls     *tls.Config // nil for plain HTTP; it says which HTTP is spoken

	handshakes, resumed *atomic.Int64 // with TLS: how many there were, and how many of them resumed a session
}

func (s *subject) path(stateless bool) string {
	if stateless {
		return s.paths[1]
	}
	return s.paths[0]
}

// house is everything that a run needs.
type house struct {
	dir       string
	binary    string
	command   []string // what Gatehouse is started with, before its arguments: mostly the binary alone
	metrics   string   // where Gatehouse serves them
	limits    string   // of its configuration, besides those that all have
	issuer    *issuer
	session   *stub // of the session era
	stateless *stub
	many      []*stub // targets of the long list
	gatehouse *subject
	nginx     *subject
}

func (h *house) close() {
	for _, s := range []*subject{h.gatehouse, h.nginx} {
		if s != nil && s.process != nil {
			s.process.stop()
		}
	}
	for _, s := range append(h.many, h.session, h.stateless) {
		if s != nil {
			s.close()
		}
	}
	if h.issuer != nil {
		h.issuer.close()
	}
	_ = os.RemoveAll(h.dir)
}

// newHouse builds Gatehouse, unless there is a binary, and starts what stands around it.
func newHouse(binary string) (*house, error) {
	dir, err := os.MkdirTemp("", "gatehouse-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	h := &house{dir: dir, binary: filepath.Join(dir, "gatehouse")}
	fail := func(err error) (*house, error) { h.close(); return nil, err }
	if binary != "" {
		h.binary = binary
	} else if err := build(h.binary, "-s", "-w"); err != nil {
		return fail(err)
	}
	h.command = []string{h.binary}
	if err := h.surround(); err != nil {
		return fail(err)
	}
	return h, nil
}

// surround starts what stands around Gatehouse: identity provider and MCP servers.
func (h *house) surround() (err error) {
	if h.issuer, err = startIssuer(); err != nil {
		return err
	}
	if h.session, err = startStub(false, 0); err != nil {
		return err
	}
	if h.stateless, err = startStub(true, 0); err != nil {
		return err
	}
	for range manyTargets {
		s, err := startStub(false, toolsEach-calledTools)
		if err != nil {
			return err
		}
		h.many = append(h.many, s)
	}
	return nil
}

// behind is the server that calls of a kind reach.
func (h *house) behind(k call) *stub {
	if k.stateless {
		return h.stateless
	}
	return h.session
}

// startHouse is newHouse with Gatehouse and nginx running in it. It returns how much CPU time Gatehouse took until its first
// answer.
func startHouse(binary string) (h *house, startCPU time.Duration, err error) {
	say("building and starting")
	if h, err = newHouse(binary); err != nil {
		return nil, 0, err
	}
	if startCPU, err = h.startGatehouse(); err == nil {
		err = h.startNginx()
	}
	if err != nil {
		h.close()
		return nil, 0, err
	}
	return h, startCPU, nil
}

func build(to string, linker ...string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", strings.Join(linker, " "), "-o", to, "./cmd/gatehouse")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build gatehouse (run this from the repository's root): %w\n%s", err, out)
	}
	return nil
}

// The long list: 20 targets with 1,000 tools.
const (
	manyTargets = 20
	toolsEach   = 50
)

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// config has everything on that costs something on the path of a call.
func (h *house) config(addr string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `listen: %s
metrics: {listen: "%s"}
public_url: http://%s
state_dir: %s
master_key: {env: BENCH_MASTER_KEY}
sign_in: {users: false}
limits: {sessions: 120000%s}
authorizers:
  - {name: bench, discovery_url: "%s/.well-known/openid-configuration", allowed_audience: [%q], allowed_clients: [bench]}
targets:
  session: {url: "http://%s/"}
  stateless: {url: "http://%s/"}
`, addr, h.metrics, addr, filepath.Join(h.dir, "state"), h.limits, h.issuer.url, audience, h.session.addr(), h.stateless.addr())
	names := make([]string, len(h.many))
	for i, s := range h.many {
		names[i] = fmt.Sprintf("many%02d", i)
		fmt.Fprintf(&b, "  %s: {url: \"http://%s/\"}\n", names[i], s.addr())
	}
	fmt.Fprintf(&b, `endpoints:
  /mcp: {issuers: [bench], access: {claim: groups, operator: contains_any, value: [engineering]}, targets: [session], prefix: false}
  /modern: {issuers: [bench], access: {claim: groups, operator: contains_any, value: [engineering]}, targets: [stateless], prefix: false}
  /many: {issuers: [bench], access: {claim: groups, operator: contains_any, value: [engineering]}, targets: [%s]}
`, strings.Join(names, ", "))
	return b.String()
}

const masterKey = "BENCH_MASTER_KEY=YmVuY2htYXJrLWJlbmNobWFyay1iZW5jaG1hcmstMzI="

// startGatehouse starts the gateway, with more in its environment, and returns how much CPU time it took until its first
// answer.
func (h *house) startGatehouse(env ...string) (time.Duration, error) {
	addr, err := freeAddress()
	if err != nil {
		return 0, err
	}
	if h.metrics, err = freeAddress(); err != nil {
		return 0, err
	}
	p, err := h.runGatehouse("gatehouse.yaml", h.config(addr), env...)
	if err != nil {
		return 0, err
	}
	h.gatehouse = &subject{name: "gatehouse", addr: addr, process: p, paths: [2]string{"/mcp", "/modern"}}
	one := person{token: h.issuer.token("first", "")}
	if err := h.gatehouse.ready(&one); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, p.log.String())
	}
	return p.cpu(), nil
}

// ready waits for the first good answer.
func (s *subject) ready(p *person) error {
	var last error
	for range 1500 {
		if last = p.begin(s); last == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s did not become ready: %w", s.name, last)
}

//go:embed nginx.conf
var nginxConf string

func (h *house) startNginx() error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	p, err := h.runNginx("nginx.conf", strings.NewReplacer("DIR", h.dir, "LISTEN", addr, "SESSION", h.session.addr(), "STATELESS", h.stateless.addr()).Replace(nginxConf))
	if err != nil {
		return err
	}
	h.nginx = &subject{name: "nginx", addr: addr, process: p, paths: [2]string{"/mcp", "/modern"}}
	return h.nginx.ready(&person{token: "none"})
}

// runNginx runs nginx with a configuration.
func (h *house) runNginx(name, config string) (*process, error) {
	if _, err := exec.LookPath("nginx"); err != nil {
		return nil, errors.New("nginx is missing: install it (on Debian: apt-get install nginx-light)")
	}
	file := filepath.Join(h.dir, name)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := os.Chmod(h.dir, 0o755); err != nil { // the worker is another user
		return nil, err
	}
	return start(nil, "nginx", "-p", h.dir, "-c", file)
}

// runGatehouse runs the program under test with a configuration.
func (h *house) runGatehouse(name, config string, env ...string) (*process, error) {
	file := filepath.Join(h.dir, name)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return start(append(env, masterKey), slices.Concat(h.command, []string{"serve", "-c", file})...)
}

// people makes callers, with sessions at s when they need them.
func (h *house) people(n int) []person {
	out := make([]person, n)
	for i := range out {
		out[i].token = h.issuer.token(fmt.Sprintf("person-%05d", i), "")
	}
	return out
}

// hello is the first message of a session.
const hello = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`

// begin opens a session.
func (p *person) begin(s *subject) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.close()
	return p.beginOn(c, s)
}

func (p *person) beginOn(c *connection, s *subject) error {
	p.session = ""
	r, err := c.do(append(p.head(nil, s, call{}, len(hello)), hello...), nil)
	if err != nil {
		return err
	}
	if r.status != 200 {
		return fmt.Errorf("initialize: status %d: %.300s", r.status, r.body)
	}
	p.session = r.session
	second := `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	r, err = c.do(append(p.head(nil, s, call{}, len(second)), second...), nil)
	if err == nil && r.status != 202 {
		err = fmt.Errorf("notifications/initialized: status %d: %.300s", r.status, r.body)
	}
	return err
}

// beginAll opens a session for each.
func beginAll(s *subject, people []person) error {
	c, err := s.dial()
	if err != nil {
		return err
	}
	defer c.close()
	for i := range people {
		if err := people[i].beginOn(c, s); err != nil {
			return fmt.Errorf("open session %d of %d at %s: %w", i+1, len(people), s.name, err)
		}
	}
	return nil
}
