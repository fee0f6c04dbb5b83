package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func installPeersCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install-peers [NAME]...", Short: "Install the programs that run --peers measures beside Gatehouse",
		Long: `Installs pinned versions into the user's cache directory: Go programs with go install, Python ones into a virtual
environment of their own. What comes from the system it names with the command that installs it.`,
		Example: "  go run ./bench install-peers oauth2-proxy fastmcp",
		RunE: func(_ *cobra.Command, names []string) error {
			var faults []error
			all := peers()
			for _, name := range names {
				if !slices.ContainsFunc(all, func(p peer) bool { return p.name == name }) {
					return fmt.Errorf("there is no peer %s; there are %s", name, peerNames())
				}
			}
			for _, p := range all {
				if len(names) > 0 && !slices.Contains(names, p.name) {
					continue
				}
				if _, err := p.find(); err == nil {
					say("%s is installed", p.name)
					continue
				}
				if err := p.install(); err != nil {
					faults = append(faults, err)
				}
			}
			return errors.Join(faults...)
		},
	}
}

func peerNames() string { return namesOf(peers(), func(p peer) string { return p.name }) }

// contender is one program in the comparison.
type contender struct {
	s        *subject
	does     string
	copies   int
	people   []person
	calls    int // in a round
	cpu      []time.Duration
	ratios   []float64 // to nginx's, a round
	rate     []float64
	p50      time.Duration
	opened   int64 // connections to the server
	memory   int64 // the most, after a round
	accepted []string
}

// runPeers lets Gatehouse, nginx and the peers make the same call, in turns.
func (p plan) runPeers() error {
	began := time.Now()
	h, _, err := startHouse(p.binary)
	if err != nil {
		return err
	}
	defer h.close()
	all := []*contender{{s: h.nginx, does: "checks nothing, passes bytes on"}, {s: h.gatehouse, does: "checks each token, reads each message, decides, records"}}
	for _, one := range peers() {
		if p.only != "" && p.only != one.name {
			continue
		}
		say("starting %s", one.name)
		s, err := one.start(h)
		if err != nil {
			say("SKIPPED: %v", err)
			continue
		}
		defer s.process.stop()
		all = append(all, &contender{s: s, does: one.does, copies: one.copies})
	}
	people := h.people(min(p.people, 100))
	for _, c := range all {
		if err := c.prepare(h, people, p.calls); err != nil {
			return fmt.Errorf("%w\n%s", err, tail(c.s.process.log.String()))
		}
	}
	for round := range p.rounds {
		for _, c := range all {
			if err := c.round(h); err != nil {
				return fmt.Errorf("%w\n%s", err, tail(c.s.process.log.String()))
			}
			c.ratios = append(c.ratios, float64(c.cpu[round])/float64(all[0].cpu[round]))
		}
		say("round %d of %d", round+1, p.rounds)
	}
	fmt.Println()
	printPeers(all, p.rounds)
	fmt.Printf("\n%s in all\n", time.Since(began).Round(time.Second))
	return nil
}

// prepare opens sessions, tries bad tokens, warms up, and finds out how many calls take a second.
func (c *contender) prepare(h *house, people []person, most int) error {
	c.people = slices.Clone(people)
	if err := beginAll(c.s, c.people); err != nil {
		return err
	}
	var err error
	if c.accepted, err = c.s.refuses(h); err != nil {
		return err
	}
	for range 2 {
		o, err := c.load(100).run()
		if err != nil {
			return err
		}
		c.calls = min(most, max(50, int(o.rate())))
	}
	return nil
}

func (c *contender) load(calls int) load {
	return load{to: c.s, call: call{tool: "echo", text: smallText, copies: c.copies}, people: c.people, connections: 16, calls: calls}
}

func (c *contender) round(h *house) error {
	opened := h.session.connections.Load()
	cpu, o, err := cost(c.load(c.calls))
	if err != nil {
		return err
	}
	c.opened += h.session.connections.Load() - opened
	c.cpu, c.rate, c.p50 = append(c.cpu, cpu), append(c.rate, o.rate()), quantile(o.times, 0.5)
	c.memory = max(c.memory, c.s.process.memory())
	return nil
}

func printPeers(all []*contender, rounds int) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "peer\tx nginx\tleast\tmost\tus CPU\tcalls/s\tp50\tMiB\tnew connections\t")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.2f\t%.1f\t%.0f\t%s\t%.0f\t%.1f %%\t\n", c.s.name, median(c.ratios), slices.Min(c.ratios), slices.Max(c.ratios), micro(median(c.cpu)),
			median(c.rate), c.p50.Round(10*time.Microsecond), mib(c.memory), 100*float64(c.opened)/float64(c.calls*rounds))
	}
	_ = w.Flush()
	fmt.Println()
	for _, c := range all {
		fmt.Printf("%s: %s", c.s.name, c.does)
		if len(c.accepted) > 0 && c != all[0] {
			slices.Sort(c.accepted)
			fmt.Printf("; it accepts a token with %s", strings.Join(c.accepted, ", "))
		}
		fmt.Println()
	}
}
