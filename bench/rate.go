package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// rates says what is sent at a constant rate.
type rates struct {
	rate        int // calls a second
	seconds     int // at each subject
	connections int
	kind        string
	binary      string
}

// Bounds of it. A machine that cannot keep up ends the run.
const (
	maxRate        = 20_000
	maxSeconds     = 60
	maxConnections = 512
	maxBehind      = 5 * time.Second
)

func rateCommand() *cobra.Command {
	r := rates{rate: 3000, seconds: 15, connections: 64, kind: "call"}
	cmd := &cobra.Command{
		Use: "rate", Short: "Send calls at a constant rate and print latencies",
		Long: `Sends calls at a constant rate, whether or not earlier ones have been answered, to Gatehouse, to nginx and to the MCP
server itself, which take turns second by second. A latency counts from the moment at which its call was due: calls that
had to wait because something before them was slow are not left out.`,
		Example: "  go run ./bench rate --rate 5000 --seconds 20",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := r.check(); err != nil {
				return err
			}
			if done, err := onOwnCore(); done || err != nil {
				return err
			}
			return r.run()
		},
	}
	f := cmd.Flags()
	f.IntVar(&r.rate, "rate", r.rate, fmt.Sprintf("calls a second, at most %d", maxRate))
	f.IntVar(&r.seconds, "seconds", r.seconds, fmt.Sprintf("how long at each, at most %d", maxSeconds))
	f.IntVar(&r.connections, "connections", r.connections, fmt.Sprintf("how many calls can be under way at once, at most %d", maxConnections))
	f.StringVar(&r.kind, "kind", r.kind, "kind of call: "+kindNames())
	f.StringVar(&r.binary, "binary", "", "measure this program instead of building one")
	return cmd
}

func (r rates) check() error {
	for _, b := range []struct {
		name       string
		value, max int
	}{{"rate", r.rate, maxRate}, {"seconds", r.seconds, maxSeconds}, {"connections", r.connections, maxConnections}} {
		if b.value < 1 || b.value > b.max {
			return fmt.Errorf("--%s %d: choose 1 to %d", b.name, b.value, b.max)
		}
	}
	if k := findKind(r.kind); k == nil || k.bad {
		return fmt.Errorf("--kind %s: choose one of %s that is answered", r.kind, kindNames())
	}
	return nil
}

func findKind(name string) *kind {
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	return nil
}

// paced is what one subject did at a constant rate.
type paced struct {
	to    *subject
	times []time.Duration // from when a call was due to its answer
	late  []time.Duration // from when it was due until it was sent: what the load generator adds
	cpu   time.Duration
}

func (r rates) run() error {
	runtime.GOMAXPROCS(4) // the clock sleeps in one
	debug.SetGCPercent(400)
	h, _, err := startHouse(r.binary)
	if err != nil {
		return err
	}
	defer h.close()
	k := findKind(r.kind)
	people := h.people(200)
	if err := beginAll(h.gatehouse, people); err != nil {
		return err
	}
	direct := &subject{name: "server alone", addr: h.behind(k.call).addr(), paths: [2]string{"/", "/"}}
	all := []*paced{{to: direct}, {to: h.nginx}, {to: h.gatehouse}}
	for _, s := range all { // warm
		if _, err := (load{to: s.to, call: k.call, people: people, connections: 16, calls: 2000}).run(); err != nil {
			return err
		}
	}
	for second := range r.seconds {
		for _, s := range all {
			if err := r.second(s, k.call, people); err != nil {
				return fmt.Errorf("%s: %w", s.to.name, err)
			}
		}
		if (second+1)%5 == 0 {
			say("%d of %d seconds at each", second+1, r.seconds)
		}
	}
	fmt.Println()
	r.print(all)
	return nil
}

// second sends one second's calls.
func (r rates) second(s *paced, k call, people []person) error {
	var before time.Duration
	if s.to.process != nil {
		before = s.to.process.cpu()
	}
	due := make(chan time.Time, r.rate)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		faults []error
	)
	lines := make([]*connection, r.connections)
	for i := range lines {
		var err error
		if lines[i], err = s.to.dial(); err != nil {
			return err
		}
		defer func() { lines[i].close() }()
	}
	for i := range lines {
		wg.Go(func() {
			times, late, err := answer(lines[i], s.to, k, people[i%len(people)], due)
			mu.Lock()
			defer mu.Unlock()
			s.times, s.late = append(s.times, times...), append(s.late, late...)
			if err != nil {
				faults = append(faults, err)
				for range due { // nobody waits for what is not sent any more
				}
			}
		})
	}
	tick(due, r.rate)
	wg.Wait()
	if s.to.process != nil {
		s.cpu += s.to.process.cpu() - before
	}
	return errors.Join(faults...)
}

// tick says when each call is due, and closes the channel. Go's own timers may be a millisecond late.
func tick(due chan<- time.Time, rate int) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	defer close(due)
	begin := time.Now()
	for n := range rate {
		at := begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
		if wait := time.Until(at); wait > 0 {
			ts := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		}
		due <- at
	}
}

// answer makes calls on one connection as they become due.
func answer(c *connection, to *subject, k call, p person, due <-chan time.Time) (times, late []time.Duration, err error) {
	for at := range due {
		behind := time.Since(at)
		if behind > maxBehind {
			return times, late, fmt.Errorf("it is %s behind: choose a lower --rate", behind.Round(time.Second))
		}
		late = append(late, behind)
		id := lastID.Add(1)
		c.out = k.append(c.out[:0], to, &p, id)
		r, err := c.do(c.out, nil)
		if err == nil {
			err = k.check(r, id)
		}
		if err != nil {
			return times, late, err
		}
		times = append(times, time.Since(at))
	}
	return times, late, nil
}

func (r rates) print(all []*paced) {
	fmt.Printf("%s at %d calls a second, %d s each, %d connections; times from when a call was due\n", r.kind, r.rate, r.seconds, r.connections)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	quantiles := []float64{0.5, 0.9, 0.99, 0.999}
	fmt.Fprintln(w, "\tp50\tp90\tp99\tp99.9\tmost\tcalls\tus CPU\tof a core\tsent late by, p50\tp99\t")
	for _, s := range all {
		slices.Sort(s.times)
		slices.Sort(s.late)
		var b strings.Builder
		for _, q := range quantiles {
			fmt.Fprintf(&b, "%s\t", quantile(s.times, q).Round(time.Microsecond))
		}
		cpu, core := "-", "-"
		if s.to.process != nil {
			cpu = fmt.Sprintf("%.1f", micro(s.cpu)/float64(len(s.times)))
			core = fmt.Sprintf("%.0f %%", 100*s.cpu.Seconds()/float64(r.seconds))
		}
		fmt.Fprintf(w, "%s\t%s%s\t%d\t%s\t%s\t%s\t%s\t\n", s.to.name, b.String(), slices.Max(s.times).Round(10*time.Microsecond), len(s.times), cpu, core,
			quantile(s.late, 0.5).Round(time.Microsecond), quantile(s.late, 0.99).Round(time.Microsecond))
	}
	_ = w.Flush()
}
