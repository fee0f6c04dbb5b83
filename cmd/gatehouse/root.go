package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
	"gatehouse/internal/telemetry"
	"gatehouse/internal/web"
)

// quickFlags are the settings that the quickstart takes from the command line.
type quickFlags struct {
	listen, publicURL, stateDir string
	proxies                     []string
}

func newRoot(s streams) *cobra.Command {
	var q quickFlags
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "An MCP gateway that knows which person is behind every call",
		Long: `Gatehouse stands between coding assistants and MCP servers. Without a sub-command it starts the quickstart:
this machine only, a demo target, one user whose password is printed once.`,
		Example: `  gatehouse                           start right away, on http://localhost:8080
  gatehouse --listen 127.0.0.1:9000   the same on another port
  gatehouse serve -c gatehouse.yaml   start with a configuration file`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := q.config()
			if err != nil {
				return err
			}
			return serve(cmd.Context(), s, c, "")
		},
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	f := root.Flags()
	f.StringVar(&q.listen, "listen", os.Getenv("GATEHOUSE_LISTEN"), "loopback address and port to listen on, default 127.0.0.1:8080 (or $GATEHOUSE_LISTEN)")
	f.StringVar(&q.publicURL, "public-url", os.Getenv("GATEHOUSE_PUBLIC_URL"), "origin under which this machine reaches Gatehouse (or $GATEHOUSE_PUBLIC_URL)")
	f.StringVar(&q.stateDir, "state-dir", os.Getenv("GATEHOUSE_STATE_DIR"), "directory for database, key and records, default "+defaultStateDir()+" (or $GATEHOUSE_STATE_DIR)")
	f.StringSliceVar(&q.proxies, "trusted-proxy", nil, "refused: the quickstart is not for use behind a proxy")
	root.AddCommand(
		newServe(s), newCheck(s), newUser(s), newClientConfig(s), newClient(s), newKeys(s),
		newBackup(s), newRestore(s), newUpgrade(s), newConfigSchema(s), newHealthcheck(s), newExplain(s), newDoctor(s),
	)
	root.SetFlagErrorFunc(badUsage)
	explainUsage(root)
	return root
}

// explainUsage has a command that was called wrongly say how it is called, and refuses sub-commands that do not exist:
// cobra would answer "user delete" with the help of "user", and success.
func explainUsage(cmd *cobra.Command) {
	if cmd.Args == nil && cmd.HasSubCommands() {
		cmd.Args = cobra.NoArgs
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	check := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error { return badUsage(cmd, check(cmd, args)) }
	for _, sub := range cmd.Commands() {
		explainUsage(sub)
	}
}

func badUsage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	if cmd.HasSubCommands() {
		return fmt.Errorf("%w; help: %s --help", err, cmd.CommandPath())
	}
	return fmt.Errorf("%w; usage: %s; help: %s --help", err, cmd.UseLine(), cmd.CommandPath())
}

func (q quickFlags) config() (*config.Config, error) {
	o := config.QuickstartOptions{StateDir: q.stateDir, Listen: q.listen, PublicURL: q.publicURL}
	if o.StateDir == "" {
		o.StateDir = defaultStateDir()
	}
	for _, p := range q.proxies {
		prefix, err := netip.ParsePrefix(p)
		if err != nil {
			addr, err := netip.ParseAddr(p)
			if err != nil {
				return nil, fmt.Errorf("--trusted-proxy %q is neither an address nor a range", p)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		o.TrustedProxies = append(o.TrustedProxies, prefix)
	}
	return config.Quickstart(o)
}

// defaultStateDir is where the quickstart keeps its state: $XDG_STATE_HOME/gatehouse or ~/.local/state/gatehouse.
func defaultStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gatehouse")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "gatehouse")
}

// installation are the flags by which a command finds the installation that it is about.
type installation struct{ file, stateDir string }

func (i *installation) flags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVarP(&i.file, "config", "c", os.Getenv("GATEHOUSE_CONFIG"), "configuration file (or $GATEHOUSE_CONFIG); without it the command is about the quickstart")
	cmd.PersistentFlags().StringVar(&i.stateDir, "state-dir", os.Getenv("GATEHOUSE_STATE_DIR"), "state directory of the quickstart (or $GATEHOUSE_STATE_DIR)")
}

// config loads the configuration that the flags name.
func (i *installation) config() (*config.Config, error) {
	if i.file == "" {
		return quickFlags{stateDir: i.stateDir, listen: os.Getenv("GATEHOUSE_LISTEN"), publicURL: os.Getenv("GATEHOUSE_PUBLIC_URL")}.config()
	}
	if i.stateDir != "" && os.Getenv("GATEHOUSE_STATE_DIR") == "" {
		return nil, errors.New("--state-dir is for the quickstart; with a configuration file, state_dir in the file says where the state is")
	}
	return config.Load(i.file)
}

// with loads the configuration, opens the state, does one thing with it, and closes it again.
func (i *installation) with(cmd *cobra.Command, s streams, do func(*app.Admin) error) error {
	c, err := i.config()
	if err != nil {
		return err
	}
	log, err := newLogger(s, c, slog.LevelWarn)
	if err != nil {
		return err
	}
	a, err := app.OpenAdmin(cmd.Context(), c, log)
	if err != nil {
		return err
	}
	return errors.Join(do(a), a.Close())
}

func newLogger(s streams, c *config.Config, level slog.Leveler) (*slog.Logger, error) {
	return telemetry.NewLogger(telemetry.LogOptions{
		Writer: s.err, Format: c.Log.Format, Level: level, RequestID: web.RequestID, NoColor: os.Getenv("NO_COLOR") != "",
	})
}
