package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"gatehouse/internal/app"
	"gatehouse/internal/identity"
)

// admin makes a command that does one thing with the installation, and says so.
func admin(s streams, in *installation, done string, do func(cmd *cobra.Command, a *app.Admin, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := in.with(cmd, s, func(a *app.Admin) error { return do(cmd, a, args) }); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.out, done)
		return err
	}
}

func newClient(s streams) *cobra.Command {
	var in installation
	cmd := &cobra.Command{Use: "client", Short: "Manage OAuth clients", Example: "  gatehouse client revoke CLIENT_ID -c gatehouse.yaml"}
	in.flags(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:     "revoke CLIENT_ID",
		Short:   "Refuse a client from now on, and end all access that people gave it",
		Example: "  gatehouse client revoke dcr1.eyJuIjo… -c gatehouse.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: admin(s, &in, "revoked the client", func(cmd *cobra.Command, a *app.Admin, args []string) error {
			return a.RevokeClient(cmd.Context(), identity.ClientID(args[0]))
		}),
	})
	return cmd
}

func newKeys(s streams) *cobra.Command {
	var in installation
	cmd := &cobra.Command{Use: "keys", Short: "Manage the keys that sign tokens", Example: "  gatehouse keys rotate -c gatehouse.yaml"}
	in.flags(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:   "rotate",
		Short: "Make a new signing key now",
		Long: `Makes a new signing key. It is published at once and signs an hour later, when everybody who caches the key set
knows it. The old key is served until the last token that it signed has expired.`,
		Example: "  gatehouse keys rotate -c gatehouse.yaml",
		Args:    cobra.NoArgs,
		RunE: admin(s, &in, "made a new signing key; it signs from an hour from now on", func(cmd *cobra.Command, a *app.Admin, _ []string) error {
			return a.RotateKeys(cmd.Context())
		}),
	}, &cobra.Command{
		Use:   "withdraw",
		Short: "Refuse everything that the present signing keys have signed",
		Long: `For signing keys that somebody else may have. A new key signs at once, and access and ID tokens of all others are
refused within a minute. Clients renew theirs by their refresh tokens; nobody has to sign in again.`,
		Example: "  gatehouse keys withdraw -c gatehouse.yaml",
		Args:    cobra.NoArgs,
		RunE: admin(s, &in, "made a new signing key; what the others signed is refused within a minute", func(cmd *cobra.Command, a *app.Admin, _ []string) error {
			return a.WithdrawKeys(cmd.Context())
		}),
	})
	return cmd
}

func newBackup(s streams) *cobra.Command {
	var in installation
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the database, also while Gatehouse runs",
		Long: `Writes a copy of the SQLite database to FILE, which must not exist. Keep the master key apart from it: neither is
of use without the other. For PostgreSQL use pg_dump.`,
		Example: "  gatehouse backup gatehouse-2026-11-23.db -c gatehouse.yaml",
		Args:    cobra.ExactArgs(1),
		RunE: admin(s, &in, "wrote the backup", func(cmd *cobra.Command, a *app.Admin, args []string) error {
			return a.Backup(cmd.Context(), args[0])
		}),
	}
	in.flags(cmd)
	return cmd
}

func newUpgrade(s streams) *cobra.Command {
	var in installation
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Upgrade the database to this version of Gatehouse",
		Long: `Brings the schema of the database up to this version. Starting Gatehouse does the same; the command is for doing it
apart from the start, such as before new copies take over. Make a backup first: there is no way back but restore.`,
		Example: "  gatehouse backup before-upgrade.db -c gatehouse.yaml && gatehouse upgrade -c gatehouse.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version := 0
			err := in.with(cmd, s, func(a *app.Admin) (err error) { // opening upgrades
				version, err = a.SchemaVersion(cmd.Context())
				return err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.out, "the database is at schema version %d, the newest that this version knows\n", version)
			return err
		},
	}
	in.flags(cmd)
	return cmd
}

func newRestore(s streams) *cobra.Command {
	var in installation
	var afterPg bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in place of the database, while Gatehouse is stopped",
		Long: `Replaces the SQLite database by a backup. The database that was there is kept beside it. Users, passkeys and keys
come back; people have to sign in again, because what was used or revoked since the backup must not come back to life.

With PostgreSQL, restore with pg_restore, then run gatehouse restore --after-pg-restore for that last part.`,
		Example: `  gatehouse restore gatehouse-2026-11-23.db -c gatehouse.yaml
  gatehouse restore --after-pg-restore -c gatehouse.yaml`,
		Args: func(cmd *cobra.Command, args []string) error {
			if afterPg {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if afterPg {
				return admin(s, &in, "ended what the backup would have brought back to life; people sign in again from here on", func(cmd *cobra.Command, a *app.Admin, _ []string) error {
					return a.AfterRestore(cmd.Context())
				})(cmd, args)
			}
			c, err := in.config()
			if err != nil {
				return err
			}
			log, err := newLogger(s, c, slog.LevelWarn)
			if err != nil {
				return err
			}
			if err := app.Restore(cmd.Context(), c, log, args[0]); err != nil {
				return err
			}
			_, err = fmt.Fprintln(s.out, "restored the database; people sign in again from here on")
			return err
		},
	}
	in.flags(cmd)
	cmd.Flags().BoolVar(&afterPg, "after-pg-restore", false, "the database is on PostgreSQL, and pg_restore has run")
	return cmd
}
