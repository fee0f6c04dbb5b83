package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"gatehouse/internal/app"
	"gatehouse/internal/config"
)

func newCheck(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file: every fault at once, with line and hint",
		Long: `Reads a configuration file, and the secrets that it refers to, and says everything that is wrong with it. It
writes nothing and contacts nobody. The exit code is 0 when Gatehouse would start with the file.`,
		Example: "  gatehouse check gatehouse.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := config.Load(args[0])
			if err != nil {
				return err
			}
			if len(c.Warnings) > 0 {
				fmt.Fprintf(s.err, "%s\n", config.Format(c.Warnings))
			}
			for _, doubt := range app.Doubts(c) {
				fmt.Fprintf(s.err, "on this machine: %s\n", doubt)
			}
			fmt.Fprintf(s.out, "%s is fine: %s, %s, %s\n", args[0], count(len(c.Endpoints), "endpoint", "endpoints"),
				count(len(c.Targets), "target", "targets"), count(len(c.Warnings), "warning", "warnings"))
			return nil
		},
	}
}

func newConfigSchema(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "config-schema",
		Short: "Print the JSON Schema of the configuration file, for editors",
		Example: `  gatehouse config-schema > gatehouse.schema.json
  # first line of gatehouse.yaml:
  # yaml-language-server: $schema=gatehouse.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			schema, err := config.Schema()
			if err != nil {
				return err
			}
			_, err = s.out.Write(schema)
			return err
		},
	}
}

func newHealthcheck(s streams) *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask a running Gatehouse whether it is ready, for containers without a shell",
		Example: "  gatehouse healthcheck --url http://127.0.0.1:8080",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := askReady(cmd.Context(), url); err != nil {
				return err
			}
			fmt.Fprintln(s.out, "ready")
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "url", envOr("GATEHOUSE_HEALTH_URL", "http://127.0.0.1:8080"), "address of the running Gatehouse (or $GATEHOUSE_HEALTH_URL)")
	return cmd
}

func envOr(name, fallback string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return fallback
}
