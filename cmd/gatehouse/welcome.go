package main

import (
	"context"
	"fmt"
	"os/user"
	"strings"

	"gatehouse/internal/app"
	"gatehouse/internal/clientconfig"
	"gatehouse/internal/config"
)

// welcome makes the first user when there is none, and prints what a newcomer needs.
func welcome(ctx context.Context, s streams, a *app.App, c *config.Config) error {
	name := "demo"
	if u, err := user.Current(); err == nil && u.Username != "" && u.Uid != "0" {
		name = strings.ToLower(u.Username)
	}
	first, err := a.FirstUser(ctx, name)
	if err != nil {
		return err
	}
	endpoint := c.Resource(c.Endpoints[0].Path)
	kiro, err := clientconfig.Render("kiro", clientconfig.Options{Name: "gatehouse", URL: endpoint})
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nGatehouse %s is running, for this machine only.\n\n", version)
	fmt.Fprintf(&b, "  MCP endpoint  %s\n", endpoint)
	fmt.Fprintf(&b, "  Home page     %s/\n", c.PublicURL)
	fmt.Fprintf(&b, "  State         %s\n\n", c.StateDir)
	if first.Created {
		fmt.Fprintf(&b, "Sign in with this user. The password is shown this once:\n\n  username  %s\n  password  %s\n\n", first.Username, first.Password.Reveal())
	} else {
		fmt.Fprintf(&b, "Sign in with a user made before: %s. Lost the password? gatehouse user passwd %s\n\n", strings.Join(first.Existing, ", "), first.Existing[0])
	}
	fmt.Fprintf(&b, "Connect Kiro: put this into %s\n\n%s\n", "~/.kiro/settings/mcp.json", indented(kiro.Content))
	fmt.Fprintf(&b, "Other assistants: gatehouse client-config --help\n\n")
	fmt.Fprintf(&b, "See the door from outside (it answers 401 and says where to sign in):\n\n")
	fmt.Fprintf(&b, "  curl -i %s -H 'Content-Type: application/json' \\\n    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}'\n\n", endpoint)
	fmt.Fprintf(&b, "Your own servers: docs/config.md, then gatehouse serve -c FILE. Ctrl-C stops.\n\n")
	_, err = fmt.Fprint(s.out, b.String())
	return err
}

func indented(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ") + "\n"
}
