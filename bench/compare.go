package main

import (
	"fmt"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func compareCommand() *cobra.Command {
	p := plan{rounds: 9, calls: 12000, people: 200}
	cmd := &cobra.Command{
		Use: "compare OLD NEW", Short: "Compare the CPU time of two builds of Gatehouse",
		Long: `Runs two builds side by side and lets them take turns, round by round, so that what else the machine does meets both. What
is less than the distance between least and most says nothing.`,
		Example: "  go run ./bench compare bin/before bin/after",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			if done, err := onOwnCore(); done || err != nil {
				return err
			}
			return p.compare(args[0], args[1])
		},
	}
	cmd.Flags().IntVar(&p.rounds, "rounds", p.rounds, "how often each is measured")
	cmd.Flags().StringVar(&p.only, "only", "", "one kind of call only: "+kindNames())
	return cmd
}

func (p plan) compare(binaries ...string) error {
	var (
		houses [2]*house
		people [2][]person
	)
	for i, b := range binaries {
		h, err := newHouse(b)
		if err != nil {
			return err
		}
		defer h.close()
		if _, err := h.startGatehouse(); err != nil {
			return err
		}
		houses[i], people[i] = h, h.people(p.people)
		if err := beginAll(h.gatehouse, people[i]); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "kind\tnew / old\tleast\tmost\told us\tnew us\t")
	for _, k := range kinds {
		if p.only != "" && p.only != k.name {
			continue
		}
		ratios, olds, news, err := p.pair(houses, people, k)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.3f\t%.1f\t%.1f\t\n", k.name, median(ratios), slices.Min(ratios), slices.Max(ratios), median(olds), median(news))
	}
	return w.Flush()
}

// pair measures one kind at both. Who begins changes with each round.
func (p plan) pair(houses [2]*house, people [2][]person, k kind) (ratios, olds, news []float64, err error) {
	calls := max(200, p.calls*k.share/100)
	var us [2][]float64
	for round := range p.rounds + 1 { // the first one warms up
		for turn := range houses {
			i := (turn + round) % 2
			cpu, _, err := cost(load{to: houses[i].gatehouse, call: k.call, people: people[i], connections: 16, calls: calls, bad: houses[i].badToken(k)})
			if err != nil {
				return nil, nil, nil, err
			}
			if round > 0 {
				us[i] = append(us[i], micro(cpu))
			}
		}
		if round > 0 {
			ratios = append(ratios, us[1][round-1]/us[0][round-1])
		}
	}
	say("%s: %.3f", k.name, median(ratios))
	return ratios, us[0], us[1], nil
}
