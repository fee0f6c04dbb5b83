package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/internal/app"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/signin"
	"gatehouse/internal/store"
)

func newUser(s streams) *cobra.Command {
	var in installation
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Manage the built-in users",
		Example: `  gatehouse user add alice --group eng -c gatehouse.yaml
  gatehouse user list -c gatehouse.yaml`,
	}
	in.flags(cmd)
	cmd.AddCommand(newUserAdd(s, &in), newUserList(s, &in), newUserPasswd(s, &in), newUserAccess(s, &in),
		newUserSwitch(s, &in, "disable", "End a user's access everywhere, at once"),
		newUserSwitch(s, &in, "enable", "Let a disabled user sign in again"))
	return cmd
}

// accessFlags are what a user brings into every token.
type accessFlags struct{ groups, claims []string }

func (a *accessFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.groups, "group", nil, "a group of the user; may be repeated")
	cmd.Flags().StringArrayVar(&a.claims, "claim", nil, "a claim of the user, NAME=TEXT or NAME:=JSON; may be repeated")
}

func (a *accessFlags) parse() (identity.Claims, error) {
	claims := identity.Claims{}
	for _, c := range a.claims {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" || name == ":" {
			return nil, fmt.Errorf("--claim %q: write NAME=TEXT, or NAME:=JSON for lists, numbers and truth values", c)
		}
		raw, isJSON := strings.CutSuffix(name, ":")
		if !isJSON {
			claims[name] = value
			continue
		}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			return nil, fmt.Errorf("--claim %q: what stands after := is not JSON: %w", c, err)
		}
		claims[raw] = v
	}
	return claims, nil
}

func newUserAdd(s streams, in *installation) *cobra.Command {
	var spec signin.UserSpec
	var access accessFlags
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user; without --password-stdin a random password is made and printed once",
		Example: `  gatehouse user add alice --name "Alice Doe" --email alice@example.com --group eng --claim team=platform
  gatehouse user add bob --password-stdin < password.txt`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			claims, err := access.parse()
			if err != nil {
				return err
			}
			spec.Username, spec.Groups, spec.Claims = args[0], access.groups, claims
			if spec.Password, err = passwordFrom(cmd.Context(), s, fromStdin); err != nil {
				return err
			}
			var generated secret.Text
			err = in.with(cmd, s, func(a *app.Admin) (err error) {
				generated, err = a.AddUser(cmd.Context(), spec)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "added user %s\n", spec.Username)
			printGenerated(s, generated)
			return nil
		},
	}
	cmd.Flags().StringVar(&spec.Name, "name", "", "full name")
	cmd.Flags().StringVar(&spec.Email, "email", "", "e-mail address")
	cmd.Flags().BoolVar(&spec.EmailVerified, "email-verified", false, "say in tokens that the address is verified")
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input, first line; at a terminal it is not shown")
	access.flags(cmd)
	return cmd
}

func newUserPasswd(s streams, in *installation) *cobra.Command {
	var fromStdin bool
	cmd := &cobra.Command{
		Use:     "passwd NAME",
		Short:   "Give a user a new password, remove the passkeys, and end what was signed in with the old ones",
		Example: "  gatehouse user passwd alice",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given, err := passwordFrom(cmd.Context(), s, fromStdin)
			if err != nil {
				return err
			}
			var generated secret.Text
			err = in.with(cmd, s, func(a *app.Admin) (err error) {
				generated, err = a.SetPassword(cmd.Context(), args[0], given)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "changed the password of %s\n", args[0])
			printGenerated(s, generated)
			return nil
		},
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input, first line; at a terminal it is not shown")
	return cmd
}

func newUserAccess(s streams, in *installation) *cobra.Command {
	var access accessFlags
	cmd := &cobra.Command{
		Use:     "access NAME",
		Short:   "Replace a user's groups and claims; tokens issued before are refused from now on",
		Example: "  gatehouse user access alice --group eng --group oncall --claim level:=3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			claims, err := access.parse()
			if err != nil {
				return err
			}
			err = in.with(cmd, s, func(a *app.Admin) error {
				return a.SetAccess(cmd.Context(), args[0], access.groups, claims)
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "changed the access of %s\n", args[0])
			return nil
		},
	}
	access.flags(cmd)
	return cmd
}

func newUserSwitch(s streams, in *installation, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Example: fmt.Sprintf("  gatehouse user %s alice", verb),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := in.with(cmd, s, func(a *app.Admin) error {
				return a.SetDisabled(cmd.Context(), args[0], verb == "disable")
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(s.out, "%sd user %s\n", verb, args[0])
			return nil
		},
	}
}

func newUserList(s streams, in *installation) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the users",
		Example: "  gatehouse user list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var users []store.User
			err := in.with(cmd, s, func(a *app.Admin) (err error) {
				users, err = a.Users(cmd.Context())
				return err
			})
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "USERNAME\tNAME\tE-MAIL\tGROUPS\tSTATE")
			for _, u := range users {
				state := "active"
				if u.Disabled {
					state = "disabled"
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", u.Username, dash(u.Name), dash(u.Email), dash(strings.Join(u.Groups, ", ")), state)
			}
			return w.Flush()
		},
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// passwordFrom reads the first line of standard input when asked to.
func passwordFrom(ctx context.Context, s streams, fromStdin bool) (secret.Text, error) {
	if !fromStdin {
		return secret.Text{}, nil
	}
	line, err := readSecretLine(ctx, s)
	if err != nil && !errors.Is(err, io.EOF) {
		return secret.Text{}, fmt.Errorf("read the password from standard input: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return secret.Text{}, errors.New("read the password from standard input: the first line is empty")
	}
	return secret.New(line), nil
}

// readSecretLine reads a line of standard input. A person at a terminal is asked for it, and does not see what is typed.
func readSecretLine(ctx context.Context, s streams) (string, error) {
	if !isTerminal(s.in) {
		return bufio.NewReader(io.LimitReader(s.input(ctx), 4096)).ReadString('\n')
	}
	fd := int(s.in.(*os.File).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	fmt.Fprint(s.err, "Password: ")
	defer fmt.Fprintln(s.err)
	line, err := until(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		_ = term.Restore(fd, before)
	}
	return string(line), err
}

func printGenerated(s streams, p secret.Text) {
	if !p.IsZero() {
		fmt.Fprintf(s.out, "password (shown this once): %s\n", p.Reveal())
	}
}
