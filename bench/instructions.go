package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// instructionsFile holds how many instructions each call takes. It is committed, so that a change of it is seen in review.
const instructionsFile = "bench/instructions.txt"

// moreInstructions is how many times as many instructions a call may take as the file says, and at a Gatehouse that has much of
// everything as at one that has little. Two runs differ by one in a hundred, or three when the machine is very busy.
const moreInstructions = 1.10

// counting says what is counted.
type counting struct {
	update bool
	binary string
	only   string
	top    int
}

func instructionsCommand() *cobra.Command {
	var c counting
	cmd := &cobra.Command{
		Use: "instructions", Short: "Count the instructions of a call",
		Long: `Runs Gatehouse under callgrind, a part of valgrind, which counts the instructions that a call takes outside the kernel.
Unlike times, they are the same whatever else the machine does. They are compared with bench/instructions.txt, and those of
a Gatehouse that has much of everything with those of one that has little. Two things are left out: the instructions of
SHA-256, because processors have special ones for it, which callgrind does not know; and the collection of garbage, which
goes with the bytes that "bench counts" compares.`,
		Example: "  go run ./bench instructions\n  go run ./bench instructions --only call --top 40",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if done, err := onOwnCore(); done || err != nil {
				return err
			}
			return c.run()
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.update, "update", false, "write "+instructionsFile)
	f.StringVar(&c.binary, "binary", "", "count for this program instead of building one")
	f.StringVar(&c.only, "only", "", "one kind of call only: "+kindNames())
	f.IntVar(&c.top, "top", 0, "also print the functions that take most, so many of them")
	cmd.MarkFlagsMutuallyExclusive("update", "only")
	return cmd
}

func (c counting) run() error {
	if _, err := exec.LookPath("callgrind_control"); err != nil {
		return errors.New("valgrind is missing: install it (on Debian: apt-get install valgrind)")
	}
	if c.binary == "" { // others are built without the names of functions
		dir, err := os.MkdirTemp("", "gatehouse-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.binary = filepath.Join(dir, "gatehouse")
		if err := build(c.binary); err != nil {
			return err
		}
	}
	h, err := newHouse(c.binary)
	if err != nil {
		return err
	}
	defer h.close()
	now := map[string]int64{}
	if err := c.kinds(h, now); err != nil {
		return err
	}
	if c.only == "" {
		if err := c.growth(h, now); err != nil {
			return err
		}
	}
	if c.update {
		return writeInstructions(now)
	}
	want, err := readInstructions()
	return errors.Join(err, judgeInstructions(now, want))
}

// kinds counts a call of each kind that is accepted. What a refused one takes is nearly all the signature's.
func (c counting) kinds(h *house, into map[string]int64) error {
	under := newCallgrind(h.dir)
	h.command = under.command(h.binary)
	if _, err := h.startGatehouse(quietRuntime()...); err != nil {
		return err
	}
	people := h.people(100)
	if err := beginAll(h.gatehouse, people); err != nil {
		return err
	}
	for _, k := range kinds {
		if k.bad || c.only != "" && c.only != k.name {
			continue
		}
		l := load{to: h.gatehouse, call: k.call, people: people, connections: 16, calls: 40 * k.share}
		if err := c.count(under, k.name, l, into); err != nil {
			return err
		}
	}
	return nil
}

// growth counts a call at the small Gatehouse and at the large one.
func (c counting) growth(h *house, into map[string]int64) error {
	for _, stateless := range []bool{false, true} {
		for _, s := range []size{sizes[0], sizes[len(sizes)-1]} {
			if err := c.atSize(h, s, stateless, into); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c counting) atSize(h *house, s size, stateless bool, into map[string]int64) error {
	g, err := newGrown(s, stateless, h.dir, h.issuer)
	if err != nil {
		return err
	}
	defer g.close()
	under := newCallgrind(g.dir)
	if err := g.start(under.command(h.binary), quietRuntime()...); err != nil {
		return err
	}
	return c.count(under, growthName(stateless, s), g.load(2000), into)
}

func growthName(stateless bool, s size) string { return eraName(stateless) + "/" + s.name }

// count counts the instructions of one call of a load.
func (c counting) count(under callgrind, name string, l load, into map[string]int64) error {
	say("%s", name)
	if _, err := l.run(); err != nil { // warms up
		return err
	}
	by, err := under.count(l.to.process.cmd.Process.Pid, func() error {
		_, err := l.run()
		return err
	})
	if err != nil {
		return fmt.Errorf("count the instructions of %s: %w\n%s", name, err, tail(l.to.process.log.String()))
	}
	for _, n := range by {
		into[name] += n
	}
	into[name] /= int64(l.calls)
	printFunctions(by, c.top, int64(l.calls))
	return nil
}

// printFunctions prints the functions that take most, with how many instructions of their own they take for a call.
func printFunctions(by map[string]int64, top int, calls int64) {
	names := sortedKeys(by)
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(by[b], by[a]) })
	for _, name := range names[:min(top, len(names))] {
		fmt.Printf("%8d  %s\n", by[name]/calls, name)
	}
}

func judgeInstructions(now, want map[string]int64) error {
	var bad []error
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "instructions of a call\tnow\tcommitted\tx committed\t")
	for _, name := range sortedKeys(now) {
		ratio := float64(now[name]) / float64(want[name])
		fmt.Fprintf(w, "%s\t%d\t%d\t%.3f\t\n", name, now[name], want[name], ratio)
		if !(ratio <= moreInstructions) { // nor is it when the file does not have it
			bad = append(bad, fmt.Errorf("%s takes over a tenth more instructions than %s says; if that is meant, run: go run ./bench instructions --update", name, instructionsFile))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, stateless := range []bool{false, true} {
		small, all := growthName(stateless, sizes[0]), growthName(stateless, sizes[len(sizes)-1])
		if float64(now[all]) > float64(now[small])*moreInstructions {
			bad = append(bad, fmt.Errorf("%s takes over a tenth more instructions than %s", all, small))
		}
	}
	return errors.Join(bad...)
}

func writeInstructions(now map[string]int64) error {
	var b strings.Builder
	b.WriteString("# Instructions of each call outside the kernel; `go run ./bench instructions --update` writes this file.\n")
	for _, name := range sortedKeys(now) {
		fmt.Fprintf(&b, "%s %d\n", name, now[name])
	}
	return os.WriteFile(instructionsFile, []byte(b.String()), 0o644)
}

func readInstructions() (map[string]int64, error) {
	raw, err := os.ReadFile(instructionsFile)
	if err != nil {
		return nil, fmt.Errorf("read the instructions that are committed (run this from the repository's root): %w", err)
	}
	out := map[string]int64{}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var name string
		var n int64
		if _, err := fmt.Sscan(line, &name, &n); err != nil {
			return nil, fmt.Errorf("read %s: line %q: %w", instructionsFile, line, err)
		}
		out[name] = n
	}
	return out, nil
}
