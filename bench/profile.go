package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

// profiles says what is profiled.
type profiles struct {
	kinds   []string
	seconds int // of each kind
	out     string
	svg     string
	in      string
}

func profileCommand() *cobra.Command {
	p := profiles{kinds: []string{"call"}, seconds: 20, out: "cpu.pprof"}
	cmd := &cobra.Command{
		Use: "profile", Short: "Write a CPU profile of Gatehouse under load, and draw it",
		Long: `Runs Gatehouse under load in a process of its own, writes what takes its CPU time as a profile for go tool pprof, and
draws it as a flame graph when asked to. Gatehouse itself has no switch for profiles: the process is this program, which
starts Gatehouse as "gatehouse serve" does.`,
		Example: "  go run ./bench profile --svg docs/callpath.svg\n  go run ./bench profile --kinds call,call-stateless,text-100k,rows-100k,bad-token --out pgo.pprof",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if p.seconds < 1 || p.seconds > 120 {
				return fmt.Errorf("--seconds %d: choose 1 to 120", p.seconds)
			}
			if p.in != "" {
				return draw(p.in, p.svg)
			}
			if done, err := onOwnCore(); done || err != nil {
				return err
			}
			return p.run()
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&p.kinds, "kinds", p.kinds, "kinds of call, one after the other: "+kindNames())
	f.IntVar(&p.seconds, "seconds", p.seconds, "how long each kind is called")
	f.StringVar(&p.out, "out", p.out, "the profile")
	f.StringVar(&p.svg, "svg", "", "the picture; without it, none is drawn")
	f.StringVar(&p.in, "from", "", "draw this profile in place of making one")
	return cmd
}

// profileEnv names the file into which a process that is profiled writes.
const profileEnv = "BENCH_PROFILE"

// serveCommand is Gatehouse as `gatehouse serve` runs it, with a profile.
func serveCommand() *cobra.Command {
	file := ""
	cmd := &cobra.Command{
		Use: "serve", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
			defer stop()
			return serveProfiled(ctx, file)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file")
	return cmd
}

func serveProfiled(ctx context.Context, file string) (err error) {
	debug.SetGCPercent(400) // as gatehouse serve does
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	a, err := app.New(ctx, app.Options{Config: c, File: file, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)), Level: new(slog.LevelVar), Version: "bench"})
	if err != nil {
		return err
	}
	out, err := os.Create(os.Getenv(profileEnv))
	if err != nil {
		return a.Abandon(fmt.Errorf("write the profile: %w", err))
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return a.Abandon(err)
	}
	defer func() {
		pprof.StopCPUProfile()
		err = errors.Join(err, out.Close())
	}()
	return a.Run(ctx, nil)
}

func (p profiles) run() error {
	for _, name := range p.kinds {
		if findKind(name) == nil {
			return fmt.Errorf("--kinds %s: choose of %s", name, kindNames())
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	out, err := filepath.Abs(p.out)
	if err != nil {
		return err
	}
	h, err := newHouse(self)
	if err != nil {
		return err
	}
	defer h.close()
	if _, err := h.startGatehouse(profileEnv + "=" + out); err != nil {
		return err
	}
	people := h.people(200)
	if err := beginAll(h.gatehouse, people); err != nil {
		return err
	}
	for _, name := range p.kinds {
		k := findKind(name)
		say("%s: %d seconds", name, p.seconds)
		for end := time.Now().Add(time.Duration(p.seconds) * time.Second); time.Now().Before(end); {
			if _, err := (load{to: h.gatehouse, call: k.call, people: people, connections: 16, calls: 2000, bad: h.badToken(*k)}).run(); err != nil {
				return fmt.Errorf("%w\n%s", err, tail(h.gatehouse.process.log.String()))
			}
		}
	}
	h.gatehouse.process.stop()
	info, err := os.Stat(out)
	if err != nil || info.Size() == 0 {
		return fmt.Errorf("there is no profile: %w\n%s", err, tail(h.gatehouse.process.log.String()))
	}
	say("%s: %d KiB of %s", p.out, info.Size()>>10, strings.Join(p.kinds, ", "))
	if p.svg == "" {
		return nil
	}
	return draw(p.out, p.svg)
}
