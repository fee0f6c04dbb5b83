package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// baselineFile holds how much each benchmark allocates. It is committed, so that a change of it is seen in review.
const baselineFile = "bench/baseline.txt"

// tolerance is how much more than the baseline passes: pools and maps make counts waver a little.
const tolerance = 1.10

func countsCommand() *cobra.Command {
	update := false
	cmd := &cobra.Command{
		Use: "counts", Short: "Compare what the Go benchmarks allocate with the baseline",
		Long: `Runs the Go benchmarks of the request's path and compares allocations and bytes for each operation with
bench/baseline.txt. What a call allocates when there is much of everything is compared with what it allocates when
there is little. Times are not compared: they depend on the machine.`,
		Example: "  go run ./bench counts\n  go run ./bench counts --update",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return counts(update) },
	}
	cmd.Flags().BoolVar(&update, "update", false, "write the baseline")
	return cmd
}

// count is what one operation allocates.
type count struct{ bytes, allocs float64 }

var benchmarkLine = regexp.MustCompile(`^(Benchmark\S+?)(?:-\d+)?\s+\d+\s.*?([\d.]+) B/op\s+([\d.]+) allocs/op`)

// benchmarks are the packages and how long each of their benchmarks runs.
var benchmarks = [][]string{
	{"./internal/mcp", "2000x", "Decode|Forward"},
	{"./internal/router", "2000x", "."},
	{"./internal/policy", "2000x", "."},
	{"./internal/authn", "2000x", "."},
	{"./bench", "3000x", "Call|List|Refuse"},
	{"./bench", "20000x", "Growth/.*/(small|all)"},
}

func counts(update bool) error {
	now := map[string]count{}
	for _, b := range benchmarks {
		say("%s", b[0])
		cmd := exec.Command("go", "test", "-run", "^$", "-bench", b[2], "-benchtime", b[1], "-benchmem", b[0])
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOMAXPROCS=2")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("benchmarks of %s: %w\n%s", b[0], err, out)
		}
		for line := range strings.SplitSeq(string(out), "\n") {
			if m := benchmarkLine.FindStringSubmatch(line); m != nil {
				size, _ := strconv.ParseFloat(m[2], 64)
				allocs, _ := strconv.ParseFloat(m[3], 64)
				now[b[0]+" "+m[1]] = count{size, allocs}
			}
		}
	}
	grown := grows(now)
	if update {
		return errors.Join(writeBaseline(now), grown)
	}
	return errors.Join(compare(now), grown)
}

func writeBaseline(now map[string]count) error {
	var b bytes.Buffer
	b.WriteString("# Bytes and allocations of each operation; `go run ./bench counts --update` writes this file.\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, name := range sortedKeys(now) {
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\n", name, now[name].bytes, now[name].allocs)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return os.WriteFile(baselineFile, b.Bytes(), 0o644)
}

func sortedKeys[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func compare(now map[string]count) error {
	want, err := readBaseline()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "benchmark\tB/op\tbaseline\tallocs/op\tbaseline\t\t")
	bad := 0
	for _, name := range sortedKeys(want) {
		had, is := want[name], now[name]
		verdict := "ok"
		switch _, there := now[name]; {
		case !there:
			verdict = "MISSING"
		case is.allocs > had.allocs*tolerance+0.5 || is.bytes > had.bytes*tolerance+64:
			verdict = "MORE"
		}
		if verdict != "ok" {
			bad++
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%s\t\n", name, is.bytes, had.bytes, is.allocs, had.allocs, verdict)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d benchmarks allocate over a tenth more than %s says, or are gone; if that is meant, run: go run ./bench counts --update", bad, baselineFile)
	}
	return nil
}

func readBaseline() (map[string]count, error) {
	raw, err := os.ReadFile(baselineFile)
	if err != nil {
		return nil, fmt.Errorf("read the baseline (run this from the repository's root): %w", err)
	}
	out := map[string]count{}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 || f[0] == "#" {
			continue
		}
		size, err1 := strconv.ParseFloat(f[2], 64)
		allocs, err2 := strconv.ParseFloat(f[3], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("read %s: %w", baselineFile, err)
		}
		out[f[0]+" "+f[1]] = count{size, allocs}
	}
	return out, lines.Err()
}
