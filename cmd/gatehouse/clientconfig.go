package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/internal/clientconfig"
)

func newClientConfig(s streams) *cobra.Command {
	o := clientconfig.Options{URL: "http://localhost:8080/mcp"}
	cmd := &cobra.Command{
		Use:   "client-config CLIENT",
		Short: "Print what an assistant needs to connect: file content, where it goes, one-click link",
		Long: "Prints the configuration for one client. Known are: " + strings.Join(clientconfig.Names(), ", ") + `.
Any other program that starts stdio servers takes mcp-remote.`,
		Example: `  gatehouse client-config kiro --url https://tools.acme.example/mcp
  gatehouse client-config mcp-remote --url http://localhost:8080/mcp --client-id kiro-static --redirect-port 3334`,
		ValidArgs: clientconfig.Names(),
		Args:      cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := clientconfig.Render(args[0], o)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(s.out, r.Text())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.URL, "url", o.URL, "the endpoint")
	f.StringVar(&o.Name, "name", "gatehouse", "what the assistant calls the server")
	f.StringVar(&o.StaticClientID, "client-id", "", "a static client of the configuration; without it the assistant registers itself")
	f.StringSliceVar(&o.Scopes, "scope", nil, "scope to ask for; may be repeated; without it what the endpoint asks for")
	f.IntVar(&o.RedirectPort, "redirect-port", 0, "port of a static client's loopback redirect URI, default 3334")
	return cmd
}
