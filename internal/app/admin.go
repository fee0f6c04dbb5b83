package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/authserver"
	"gatehouse/internal/clientdoc"
	"gatehouse/internal/config"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/signin"
	"gatehouse/internal/store"
)

// Admin does what the commands of an administrator ask for, on the same state that a running server uses: what it
// changes is in force there within two seconds.
type Admin struct {
	c     *config.Config
	log   *slog.Logger
	state *State
	users *signin.Users
}

// OpenAdmin opens the state of an installation.
func OpenAdmin(ctx context.Context, c *config.Config, log *slog.Logger) (*Admin, error) {
	state, err := openState(ctx, c, log, time.Now)
	if err != nil {
		return nil, err
	}
	return &Admin{c: c, log: log, state: state, users: signin.NewUsers(state.Store, time.Now)}, nil
}

// Close closes the state.
func (a *Admin) Close() error { return a.state.Store.Close() }

// record writes the audit event of something that has been done.
func (a *Admin) record(ctx context.Context, e audit.Event) error {
	return recordCommand(ctx, a.c, a.log, time.Now, e)
}

// recordUser writes the audit event of something that has been done to a user.
func (a *Admin) recordUser(ctx context.Context, kind audit.Kind, username string) error {
	u, err := a.state.Store.UserByName(ctx, username)
	if err != nil {
		return err
	}
	return a.record(ctx, audit.Event{Kind: kind, Person: identity.PersonKey{Issuer: a.c.Issuer(), Subject: u.ID}})
}

// AddUser adds a user. It returns the generated password, if one had to be made.
func (a *Admin) AddUser(ctx context.Context, spec signin.UserSpec) (secret.Text, error) {
	_, generated, err := a.users.Add(ctx, spec)
	if err != nil {
		return secret.Text{}, err
	}
	return generated, a.recordUser(ctx, audit.KindUserAdded, spec.Username)
}

// SetPassword gives a user a new password, and removes the passkeys: whoever had the old password may have added one.
// It returns the generated password when none is given.
func (a *Admin) SetPassword(ctx context.Context, username string, given secret.Text) (secret.Text, error) {
	generated, err := a.users.SetPassword(ctx, username, given)
	if err != nil {
		return secret.Text{}, err
	}
	if err := a.removePasskeys(ctx, username); err != nil {
		return generated, fmt.Errorf("the password of %s is changed, but not all passkeys are removed; run the command again: %w", username, err)
	}
	return generated, a.recordUser(ctx, audit.KindPasswordChanged, username)
}

func (a *Admin) removePasskeys(ctx context.Context, username string) error {
	u, err := a.state.Store.UserByName(ctx, username)
	if err != nil {
		return err
	}
	keys, err := a.state.Store.Passkeys(ctx, u.ID)
	for _, k := range keys {
		err = errors.Join(err, a.state.Store.RemovePasskey(ctx, u.ID, k.CredentialID))
	}
	return err
}

// SetAccess replaces a user's groups and claims.
func (a *Admin) SetAccess(ctx context.Context, username string, groups []string, claims identity.Claims) error {
	if err := a.users.SetAccess(ctx, username, groups, claims); err != nil {
		return err
	}
	return a.recordUser(ctx, audit.KindUserChanged, username)
}

// SetDisabled ends a user's access, or lets the user sign in again.
func (a *Admin) SetDisabled(ctx context.Context, username string, disabled bool) error {
	change, kind := a.users.Enable, audit.KindUserEnabled
	if disabled {
		change, kind = a.users.Disable, audit.KindUserDisabled
	}
	if err := change(ctx, username); err != nil {
		return err
	}
	return a.recordUser(ctx, kind, username)
}

// Users lists the users.
func (a *Admin) Users(ctx context.Context) ([]store.User, error) { return a.users.List(ctx) }

// RevokeClient puts a client on the deny list and ends its grants. An id that was copied from the log is not whole: to
// put that on the list would revoke nobody.
func (a *Admin) RevokeClient(ctx context.Context, id identity.ClientID) error {
	known, err := authserver.Registered(a.state.Keys, id)
	if err == nil && strings.Contains(string(id), "…") {
		err = errors.New("the id is cut short")
	}
	if err != nil {
		return fmt.Errorf("revoke client %s: %w; give it whole, as the audit record of the grant has it", id, err)
	}
	known = known || clientdoc.IsURL(string(id)) || slices.ContainsFunc(a.c.Clients, func(c config.Client) bool { return c.ClientID == id })
	if !known {
		a.log.Warn("no client of this id is configured; it is refused all the same", "client", string(id))
	}
	if err := a.state.Store.RevokeClient(ctx, id, "revoked by an administrator"); err != nil {
		return err
	}
	return a.record(ctx, audit.Event{Kind: audit.KindRevoke, Client: id})
}

// WithdrawKeys makes a new signing key that signs at once, and has everything refused that the others signed.
func (a *Admin) WithdrawKeys(ctx context.Context) error {
	keys, err := a.state.SigningKeys(ctx, a.c, a.log, time.Now)
	if err != nil {
		return err
	}
	if err := keys.Withdraw(ctx); err != nil {
		return err
	}
	return a.record(ctx, audit.Event{Kind: audit.KindKeyAdded, Reason: "all others withdrawn"})
}

// RotateKeys makes a new signing key. It signs once every copy and client has had time to learn of it.
func (a *Admin) RotateKeys(ctx context.Context) error {
	keys, err := a.state.SigningKeys(ctx, a.c, a.log, time.Now)
	if err != nil {
		return err
	}
	if err := keys.Rotate(ctx); err != nil {
		return err
	}
	return a.record(ctx, audit.Event{Kind: audit.KindKeyAdded})
}

// Backup writes a consistent copy of the database to path, also while the server runs.
func (a *Admin) Backup(ctx context.Context, path string) error {
	if err := a.state.Store.Backup(ctx, path); err != nil {
		return err
	}
	return a.record(ctx, audit.Event{Kind: audit.KindBackup})
}

// SchemaVersion returns the version of the database's schema, which opening it has brought up to date.
func (a *Admin) SchemaVersion(ctx context.Context) (int, error) {
	return a.state.Store.SchemaVersion(ctx)
}

// AfterRestore ends what a restored PostgreSQL database would bring back to life.
func (a *Admin) AfterRestore(ctx context.Context) error {
	if err := a.state.Store.AfterRestore(ctx); err != nil {
		return err
	}
	return a.record(ctx, audit.Event{Kind: audit.KindRestore})
}

// Restore puts a backup in place of the database. Codes, browser sessions and refresh tokens of the backup are ended,
// so that nothing that was used or revoked since comes back to life.
func Restore(ctx context.Context, c *config.Config, log *slog.Logger, path string) error {
	keys, err := keyring(c)
	if err != nil {
		return err
	}
	if err := store.Restore(ctx, path, store.Options{DSN: c.Database.Reveal(), Keys: keys, Log: log}); err != nil {
		return err
	}
	return recordCommand(ctx, c, log, time.Now, audit.Event{Kind: audit.KindRestore})
}
