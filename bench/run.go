package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// plan is how much is measured.
type plan struct {
	rounds int
	calls  int // of one kind, at one subject, in one round
	people int
	only   string
	binary string
	held   int // sessions and streams
	peers  bool
	quick  bool // leaves out what takes long and is much like something else
}

func runCommand() *cobra.Command {
	p := plan{rounds: 7, calls: 12000, people: 1000, held: held}
	cmd := &cobra.Command{
		Use: "run", Short: "Measure Gatehouse beside nginx and print ratios",
		Example: "  go run ./bench run --quick",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if done, err := onOwnCore(); done || err != nil {
				return err
			}
			if p.quick {
				p.rounds, p.calls, p.people, p.held = 3, 4000, 200, 1000
			}
			if p.peers {
				return p.runPeers()
			}
			return p.run()
		},
	}
	cmd.Flags().BoolVar(&p.quick, "quick", false, "under a minute, with wider spread; of TLS and of growth, a part")
	cmd.Flags().IntVar(&p.rounds, "rounds", p.rounds, "how often each is measured")
	cmd.Flags().BoolVar(&p.peers, "peers", false, "one kind of call, beside the other programs that install-peers has installed, and nothing else")
	cmd.Flags().StringVar(&p.binary, "binary", "", "measure this program instead of building one")
	cmd.Flags().StringVar(&p.only, "only", "", "one part only: "+kindNames()+", "+secureKindNames()+", tls-all for all with TLS, lists, growth")
	return cmd
}

// kind is one line of the table.
type kind struct {
	name  string
	call  call
	share int // of plan.calls, in percent
	bad   bool
}

var kinds = []kind{
	{"call", call{tool: "echo", text: smallText}, 100, false},
	{"call-stateless", call{tool: "echo", text: smallText, stateless: true}, 100, false},
	{"text-100k", call{tool: "text"}, 20, false},
	{"rows-100k", call{tool: "rows"}, 20, false},
	{"bad-token", call{tool: "echo", text: smallText}, 50, true},
}

func kindNames() string { return namesOf(kinds, func(k kind) string { return k.name }) }

func namesOf[T any](all []T, name func(T) string) string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = name(one)
	}
	return strings.Join(names, ", ")
}

func (p plan) run() error {
	began := time.Now()
	h, startCPU, err := startHouse(p.binary)
	if err != nil {
		return err
	}
	defer h.close()
	idle := h.gatehouse.process.memory()
	info, err := os.Stat(h.binary)
	if err != nil {
		return err
	}
	say("signing %d tokens, opening their sessions", p.people)
	people := h.people(p.people)
	if err := beginAll(h.gatehouse, people); err != nil {
		return err
	}
	var table []line
	for _, k := range kinds {
		if p.only != "" && p.only != k.name {
			continue
		}
		l, err := p.measure(h, k, people)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, tail(h.gatehouse.process.log.String()))
		}
		table = append(table, l)
	}
	fmt.Println()
	printTable(table)
	fmt.Printf("\nstart to first answer: %d ms of CPU; idle: %.1f MiB; binary: %.1f MiB\n", startCPU.Milliseconds(), mib(idle), mib(info.Size()))
	if kinds := p.wantedSecure(); len(kinds) > 0 {
		if err := p.printSecure(h, kinds); err != nil {
			return err
		}
	}
	if p.only == "" || p.only == "lists" {
		if err := h.printLists(p.rounds); err != nil {
			return fmt.Errorf("%w\n%s", err, tail(h.gatehouse.process.log.String()))
		}
	}
	if p.only == "" || p.only == "growth" {
		for _, stateless := range []bool{false, true} {
			if stateless && p.quick {
				break
			}
			if err := h.printGrowth(p, stateless); err != nil {
				return err
			}
		}
	}
	if p.only == "" {
		if err := p.others(h); err != nil {
			return fmt.Errorf("%w\n%s", err, tail(h.gatehouse.process.log.String()))
		}
	}
	fmt.Printf("%s in all\n", time.Since(began).Round(time.Second))
	return nil
}

// others measures what does not fit into the table.
func (p plan) others(h *house) error {
	say("events of streams")
	fmt.Println("\ndelay of one streamed event, p50 and p99:")
	people := h.people(256)
	if err := beginAll(h.gatehouse, people); err != nil {
		return err
	}
	for _, connections := range []int{1, 16, 256} {
		for _, s := range []*subject{h.gatehouse, h.nginx} {
			to := *s
			if s == h.nginx {
				to.paths[0] = "/stream"
			}
			o, err := load{to: &to, call: call{tool: "progress"}, people: people, connections: connections, calls: 4 * connections}.run()
			if err != nil {
				return err
			}
			fmt.Printf("  %3d connections, %-9s  %s  %s\n", connections, s.name, quantile(o.delays, 0.5).Round(time.Microsecond), quantile(o.delays, 0.99).Round(time.Microsecond))
		}
	}
	fetches, err := h.fetchesForForgedKeys(500)
	if err != nil {
		return err
	}
	fmt.Printf("\nfetches of the key set for 500 tokens of unknown keys: %d\n", fetches)
	say("holding %d sessions and streams", p.held)
	m, err := h.measureMemory(p.held)
	if err != nil {
		return err
	}
	fmt.Printf("memory: %.1f MiB idle; %.1f KiB a session, %.1f KiB a stream, of %d held\n", m.idle/(1<<20), m.perSession/1024, m.perStream/1024, p.held)
	return nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func tail(s string) string { return s[max(0, len(s)-2000):] }

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// line is what was measured of one kind.
type line struct {
	kind          kind
	ratios        []float64 // CPU time of Gatehouse to that of nginx, a round
	gateway, base []time.Duration
	rate          []float64
	connections   float64 // opened to the server, of all calls
	p50, p99      time.Duration
}

// measure interleaves the subjects, so that what else the machine does meets them alike.
func (p plan) measure(h *house, k kind, people []person) (line, error) {
	l := line{kind: k}
	behind := h.behind(k.call)
	calls := max(200, p.calls*k.share/100)
	if err := p.warm(h, k, people); err != nil {
		return l, err
	}
	for round := range p.rounds {
		opened := behind.connections.Load()
		gateway, out, err := cost(load{to: h.gatehouse, call: k.call, people: people, connections: 16, calls: calls, bad: h.badToken(k)})
		if err != nil {
			return l, err
		}
		l.connections += float64(behind.connections.Load()-opened) / float64(calls) / float64(p.rounds)
		l.rate = append(l.rate, out.rate())
		l.p50, l.p99 = quantile(out.times, 0.5), quantile(out.times, 0.99)
		other := load{to: h.nginx, call: k.call, people: people, connections: 16, calls: calls}
		if k.bad { // beside good tokens at Gatehouse itself
			other.to = h.gatehouse
		}
		base, _, err := cost(other)
		if err != nil {
			return l, err
		}
		if k.bad { // half of the calls were good
			gateway = 2*gateway - base
		}
		l.gateway, l.base = append(l.gateway, gateway), append(l.base, base)
		l.ratios = append(l.ratios, float64(gateway)/float64(base))
		say("%s: round %d of %d: %.1f us, %.2f x", k.name, round+1, p.rounds, micro(gateway), l.ratios[round])
	}
	return l, nil
}

// warm opens what is opened once.
func (p plan) warm(h *house, k kind, people []person) error {
	for _, s := range []*subject{h.gatehouse, h.nginx} {
		if _, err := (load{to: s, call: k.call, people: people, connections: 16, calls: max(2*len(people), 400)}).run(); err != nil {
			return err
		}
	}
	return nil
}

// badToken returns bad tokens: half of them with a wrong signature, half with an unknown key.
func (h *house) badToken(k kind) func(int64) string {
	if !k.bad {
		return nil
	}
	pattern := h.issuer.token("mallory", "")
	foreign := h.issuer.token("mallory", "other-key")
	return func(n int64) string {
		if n%4 == 1 {
			return pattern[:len(pattern)-80] + fmt.Sprintf("%012d", n) + pattern[len(pattern)-68:]
		}
		return foreign[:len(foreign)-80] + fmt.Sprintf("%012d", n) + foreign[len(foreign)-68:]
	}
}

// cost is the CPU time of the subject for each call.
func cost(l load) (time.Duration, *outcome, error) {
	before := l.to.process.cpu()
	o, err := l.run()
	if err != nil {
		return 0, nil, err
	}
	return (l.to.process.cpu() - before) / time.Duration(l.calls), o, nil
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func median[T float64 | time.Duration](v []T) T {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func printTable(lines []line) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kind\tx base\tleast\tmost\tus CPU\tbase us\tcalls/s\tp50\tp99\tnew connections\t")
	for _, l := range lines {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.1f\t%.1f\t%.0f\t%s\t%s\t%.2f %%\t\n", l.kind.name, median(l.ratios), slices.Min(l.ratios), slices.Max(l.ratios),
			micro(median(l.gateway)), micro(median(l.base)), median(l.rate), l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond), 100*l.connections)
	}
	_ = w.Flush()
}
