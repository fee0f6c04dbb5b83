package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// size is how much of everything a Gatehouse has. What a call costs must not depend on it.
type size struct {
	name                                  string
	targets, tools, sessions, authorizers int
}

// sizes are the small one, each of the others with more of one thing, and all of that together.
var sizes = []size{
	{"small", 1, 10, 10, 1},
	{"targets", 100, 10, 10, 1},
	{"tools", 1, 10_000, 10, 1},
	{"sessions", 1, 10, 100_000, 1},
	{"authorizers", 1, 10, 10, 20},
	{"all", 100, 10_000, 100_000, 20},
}

// How much more a call may allocate when there is much of everything than when there is little. Allocations are the same in
// every run; bytes waver with the pools that the garbage collector empties.
const (
	moreAllocations = 1.03
	moreBytes       = 1.10
	wavering        = 512 // bytes
)

// grows takes the counts of BenchmarkGrowth out of the others, and reports those that are larger than at the small size.
func grows(now map[string]count) error {
	found := 0
	var bad []error
	for _, name := range sortedKeys(now) {
		era, of, _ := strings.Cut(strings.TrimPrefix(name, "./bench BenchmarkGrowth/"), "/")
		small, there := now["./bench BenchmarkGrowth/"+era+"/small"]
		if !there || of == "small" {
			continue
		}
		is := now[name]
		delete(now, name)
		found++
		fmt.Printf("growth, %s era, from small to %s: %.0f to %.0f B/op, %.0f to %.0f allocs/op\n", era, of, small.bytes, is.bytes, small.allocs, is.allocs)
		if is.allocs > small.allocs*moreAllocations || is.bytes > small.bytes*moreBytes+wavering {
			bad = append(bad, fmt.Errorf("a call of the %s era allocates more when there is more; to see of what, run: go test -run '^$' -bench Growth/%s -benchtime 20000x ./bench", era, era))
		}
	}
	maps.DeleteFunc(now, func(name string, _ count) bool { return strings.Contains(name, "BenchmarkGrowth/") })
	if found != 2 {
		bad = append(bad, fmt.Errorf("growth was measured %d times, not for both eras", found))
	}
	return errors.Join(bad...)
}

// calledTools is how many tools a stub has at least.
const calledTools = 4

// grown is a Gatehouse of a size. Its targets are one stub under many names, and calls go to the last of them; its
// authorizers take tokens of one issuer for different audiences, and the last of them takes ours.
type grown struct {
	size
	stub   *stub
	dir    string
	issuer *issuer
	calls  call
	subject
	people []person // who calls; some of those who have a session
}

// newGrown prepares one. Its files go to a new directory below dir.
func newGrown(s size, stateless bool, dir string, from *issuer) (*grown, error) {
	own, err := os.MkdirTemp(dir, "growth-")
	if err != nil {
		return nil, err
	}
	if stateless {
		s.sessions = callers // people, that is
	}
	stub, err := startStub(stateless, max(0, s.tools/s.targets-calledTools))
	if err != nil {
		return nil, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return &grown{
		size: s, stub: stub, dir: own, issuer: from, calls: call{tool: "echo", text: smallText, stateless: stateless},
		subject: subject{name: s.name, addr: addr, paths: [2]string{"/mcp", "/mcp"}, prefix: targetName(s.targets-1) + "___"},
	}, nil
}

// eraName names the era of a call.
func eraName(stateless bool) string {
	if stateless {
		return "stateless"
	}
	return "session"
}

func targetName(i int) string { return fmt.Sprintf("target%02d", i) }

// total is how many tools there are: no target has less than those that are called.
func (s size) total() int { return s.targets * max(calledTools, s.tools/s.targets) }

// config writes the configuration file and returns its path.
func (g *grown) config() (string, error) {
	var authorizers, targets, names strings.Builder
	for i := range g.authorizers {
		takes := audience
		if i < g.authorizers-1 {
			takes = fmt.Sprintf("https://other-%d.example", i)
		}
		fmt.Fprintf(&authorizers, "  - {name: a%d, discovery_url: \"%s/.well-known/openid-configuration\", allowed_audience: [%q], allowed_clients: [bench]}\n", i, g.issuer.url, takes)
	}
	for i := range g.targets {
		fmt.Fprintf(&targets, "  %s: {url: \"http://%s/%d\"}\n", targetName(i), g.stub.addr(), i)
		fmt.Fprintf(&names, "%s, ", targetName(i))
	}
	issuers := ""
	for i := range g.authorizers {
		issuers += fmt.Sprintf("a%d, ", i)
	}
	text := fmt.Sprintf(`listen: %s
public_url: http://%s
state_dir: %s
master_key: {env: BENCH_MASTER_KEY}
sign_in: {users: false}
limits: {sessions: 120000}
authorizers:
%stargets:
%sendpoints:
  /mcp: {issuers: [%s], access: {claim: groups, operator: contains_any, value: [engineering]}, targets: [%s]}
`, g.addr, g.addr, filepath.Join(g.dir, "state"), authorizers.String(), targets.String(), issuers, names.String())
	file := filepath.Join(g.dir, "gatehouse.yaml")
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// fill waits until all targets are known, and opens the sessions.
func (g *grown) fill() error {
	one := person{token: g.issuer.token("first", "")}
	if err := g.ready(&one); err != nil {
		return err
	}
	if err := g.listsAll(&one); err != nil {
		return err
	}
	// Who calls is ten people at every size: a connection remembers what its last request said of whom it is.
	each := min(100, max(1, g.sessions/callers)) // sessions of one person
	people := make([]person, 0, g.sessions)
	for i := range g.sessions {
		if i%each == 0 {
			people = append(people, person{token: g.issuer.token(fmt.Sprintf("person-%05d", i/each), "")})
		} else {
			people = append(people, person{token: people[len(people)-1].token})
		}
	}
	if !g.calls.stateless { // else they are people only
		if err := beginAll(&g.subject, people); err != nil {
			return err
		}
	}
	for i := 0; i < len(people); i += max(1, g.sessions/callers) {
		g.people = append(g.people, people[i])
	}
	_, err := g.load(20 * callers).run()
	return err
}

// callers is how many sessions make the calls: so many that the small one has, so that caches of the processor hold as
// much of one as of the other.
const callers = 10

// listsAll waits until the tools of the last target are listed.
func (g *grown) listsAll(p *person) error {
	c, err := g.dial()
	if err != nil {
		return err
	}
	defer c.close()
	for range 600 {
		n, cursor := 0, "null"
		for cursor != "" {
			r, err := c.do(p.listRequest(&g.subject, cursor, g.calls.stateless), nil)
			if err != nil {
				return err
			}
			n += strings.Count(string(r.body), `"inputSchema"`)
			cursor = string(field(r.body, "nextCursor"))
		}
		if n == g.total() {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s: not all of %d tools came to be listed", g.size.name, g.total())
}

// start starts the program, on the core of the gateway.
func (g *grown) start(command []string, env ...string) error {
	file, err := g.config()
	if err != nil {
		return err
	}
	if g.process, err = start(append(env, masterKey), slices.Concat(command, []string{"serve", "-c", file})...); err != nil {
		return err
	}
	if err := g.fill(); err != nil {
		return fmt.Errorf("%s: %w\n%s", g.size.name, err, tail(g.process.log.String()))
	}
	return nil
}

func (g *grown) close() {
	if g.process != nil {
		g.process.stop()
	}
	g.stub.close()
}

// printGrowth measures what a call costs at each size, and prints it as a multiple of what it costs at the small one. All
// run at once and take turns.
func (h *house) printGrowth(p plan, stateless bool) error {
	var all []*grown
	defer func() {
		for _, g := range all {
			g.close()
		}
	}()
	for _, s := range sizes {
		if stateless && s.name == "sessions" {
			continue
		}
		s.sessions = min(s.sessions, 10*p.held)
		g, err := newGrown(s, stateless, h.dir, h.issuer)
		if err != nil {
			return err
		}
		all = append(all, g)
		say("growth: %s", s.name)
		if err := g.start(h.command); err != nil {
			return err
		}
	}
	user := make([]time.Duration, len(all)) // of all rounds: the clock is too coarse for one
	cpu, ratio := make([][]float64, len(all)), make([][]float64, len(all))
	for round := range p.rounds {
		say("growth: round %d of %d", round+1, p.rounds)
		for i, g := range all {
			user[i] -= g.process.user()
			spent, _, err := cost(g.load(p.calls))
			if err != nil {
				return err
			}
			user[i] += g.process.user()
			cpu[i] = append(cpu[i], micro(spent))
			ratio[i] = append(ratio[i], cpu[i][round]/cpu[0][round])
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "growth\ttargets\ttools\tsessions\tauthorizers\tuser us\tx small\tall CPU us\tx small\tleast\tmost\t")
	for i, g := range all {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%.1f\t%.3f\t%.1f\t%.3f\t%.2f\t%.2f\t\n", g.size.name, g.targets, g.total(), g.sessions, g.authorizers,
			micro(user[i])/float64(p.rounds*p.calls), float64(user[i])/float64(user[0]),
			median(cpu[i]), median(ratio[i]), slices.Min(ratio[i]), slices.Max(ratio[i]))
	}
	return w.Flush()
}

// user is the time that the process has spent outside the kernel, to a hundredth of a second.
func (p *process) user() time.Duration {
	fields := statFields(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if len(fields) < 12 {
		return 0
	}
	ticks, _ := strconv.Atoi(fields[11])
	return time.Duration(ticks) * 10 * time.Millisecond
}

func (g *grown) load(calls int) load {
	return load{to: &g.subject, call: g.calls, people: g.people, connections: 4, calls: calls}
}
