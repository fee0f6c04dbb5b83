package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/jose"
	"gatehouse/internal/seal"
	"gatehouse/internal/store"
)

// State is what lies on disk, opened: what the server and the commands of an administrator share.
type State struct {
	Keys  *seal.Keyring
	Store *store.Store
}

// openState makes the state directory if need be, and opens the database in it.
func openState(ctx context.Context, c *config.Config, log *slog.Logger, now func() time.Time) (*State, error) {
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory %s: %w; name another one with state_dir or --state-dir", c.StateDir, err)
	}
	keys, err := keyring(c)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, store.Options{DSN: c.Database.Reveal(), Keys: keys, Now: now, Log: log})
	if err != nil {
		return nil, err
	}
	return &State{Keys: keys, Store: s}, nil
}

// SigningKeys loads the keys that sign Gatehouse's own tokens, and makes the first one.
func (s *State) SigningKeys(ctx context.Context, c *config.Config, log *slog.Logger, now func() time.Time) (*jose.SigningKeys, error) {
	keys, err := jose.NewSigningKeys(jose.SigningOptions{
		Store: keyStore{s.Store}, Box: s.Keys.Box("signing key"), Now: now, Log: log, LongestToken: longestToken(c),
	})
	if err != nil {
		return nil, err
	}
	if err := keys.Load(ctx); err != nil {
		return nil, err
	}
	return keys, nil
}

// longestToken is how long a retired key must still be served.
func longestToken(c *config.Config) time.Duration {
	longest := max(c.Tokens.AccessToken, c.Tokens.IDToken)
	for _, cl := range c.Clients {
		longest = max(longest, cl.AccessToken, cl.IDToken)
	}
	return max(longest, 24*time.Hour)
}

// keyStore lets jose keep its keys in the store; neither knows the other.
type keyStore struct{ *store.Store }

func (k keyStore) Keys(ctx context.Context) ([]jose.StoredKey, error) {
	rows, err := k.SigningKeys(ctx)
	keys := make([]jose.StoredKey, len(rows))
	for i, r := range rows {
		keys[i] = jose.StoredKey(r)
	}
	return keys, err
}

func (k keyStore) AddKey(ctx context.Context, key jose.StoredKey) error {
	return k.AddSigningKey(ctx, store.SigningKey(key))
}

func (k keyStore) UpdateKey(ctx context.Context, key jose.StoredKey) error {
	return k.UpdateSigningKey(ctx, store.SigningKey(key))
}

// recordCommand writes one event of a command into the audit records. A command has segments of its own, because the
// server may be writing to its at the same time.
func recordCommand(ctx context.Context, c *config.Config, log *slog.Logger, now func() time.Time, e audit.Event) error {
	records, err := audit.Open(audit.Options{Dir: filepath.Join(c.StateDir, "audit", "commands"), Now: now, Log: log})
	if err != nil {
		return err
	}
	e.Actor = "command line"
	recorded := records.Record(ctx, e)
	stopped, cancel := context.WithCancel(ctx)
	cancel() // Run writes what is left, then returns
	return errors.Join(recorded, records.Run(stopped))
}
