package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/internal/sandbox"
	"gatehouse/internal/telemetry"
)

func newServe(s streams) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "serve -c FILE",
		Short: "Start Gatehouse with a configuration file",
		Long: `Starts Gatehouse. When the file changes, or on SIGHUP, it is read again: a good one takes effect without dropping
a request, a bad one changes nothing. SIGTERM and Ctrl-C stop it gracefully.`,
		Example: "  gatehouse serve -c /etc/gatehouse/gatehouse.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return fmt.Errorf("serve: name a configuration file with -c FILE; to start without one, run gatehouse alone")
			}
			c, err := config.Load(file)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), s, c, file)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", os.Getenv("GATEHOUSE_CONFIG"), "configuration file (or $GATEHOUSE_CONFIG)")
	return cmd
}

// serve runs until ctx ends. file is empty for the quickstart.
func serve(ctx context.Context, s streams, c *config.Config, file string) error {
	collectLess()
	lines := telemetry.NewLines(s.err)
	defer func() { _ = lines.Close() }() // as for each line, nobody is left to tell
	s.err = lines
	level := new(slog.LevelVar)
	level.Set(c.Log.Level)
	log, err := newLogger(s, c, level)
	if err != nil {
		return err
	}
	if err := sandbox.HideMemory(); err != nil { // it holds every key
		return err
	}
	a, err := app.New(ctx, app.Options{Config: c, File: file, Log: log, Level: level, Version: version})
	if err != nil {
		return err
	}
	if c.Quickstart {
		if err := welcome(ctx, s, a, c); err != nil {
			return a.Abandon(err)
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	return a.Run(ctx, hup)
}

// collectLess has garbage collected when the heap has grown to five times what is in use, in place of twice: what is in
// use is a few megabytes, and with that little the collector would run many times a second under load. GOGC and GOMEMLIMIT
// count as ever.
func collectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
